//! What is to be taken for a use (conversation, reasoning, tools, throughput), by the metric
//! that the use is about. Each configuration is compared with the baseline by its own
//! launches, and what is shown is shown over all of these comparisons together (Holm).

use super::source::{Source, metric};
use super::{Figure, Use};
use crate::history::record::LaunchRecord;
use crate::history::values::{case_of, value};
use crate::metric::{Counted, Goal, Measurement, MetricRef, Scale, Status};
use crate::results::arm::{self, Arm};
use crate::results::chosen::claimed_from;
use crate::results::confirmed::{ConfirmedGain, Standing};
use crate::results::measured::Measured;
use crate::results::sheet::{self, Read};
use crate::statistics::{GroupedValues, SIGNIFICANCE, Share, holm};
use crate::workload::{LoadCase, Spec};

/// A use, and a metric that it is judged by.
struct Question {
    name: &'static str,
    workload: &'static str,
    metric: &'static str,
    goal: Goal,
}

const fn question(
    name: &'static str,
    workload: &'static str,
    metric: &'static str,
    goal: Goal,
) -> Question {
    Question { name, workload, metric, goal }
}

const QUESTIONS: [Question; 5] = [
    question("conversation", "conversation", "median_ttft_ms", Goal::Minimize),
    question("reasoning", "reasoning", "mean_e2el_ms", Goal::Minimize),
    question("tools", "tool_calling", "accuracy", Goal::Maximize),
    question("tools", "tool_calling", "mean_e2el_ms", Goal::Minimize),
    question("throughput", "load", "output_throughput", Goal::Maximize),
];

/// The uses in their order; tools are judged by what is right and by their time.
pub(super) fn uses(source: &Source<'_>) -> Vec<Use> {
    let baseline = source.baseline();
    let rows: Vec<usize> = (0..source.count())
        .filter(|row| !source.is_another(*row))
        .filter(|row| source.ranking.rows[*row].eligible || Some(*row) == baseline)
        // What fresh launches refute is recommended for nothing.
        .filter(|row| source.confirmed(*row).is_none_or(|it| !it.is_refuted()))
        .collect();
    let mut uses = Vec::new();
    let mut tested: Vec<(usize, usize, f64)> = Vec::new();
    for question in &QUESTIONS {
        let judged = Judged::of(source, question);
        let mut made = answer(question, judged.as_ref(), &rows, baseline);
        let of = made.best.filter(|_| judged.as_ref().is_some_and(|it| it.is_objective));
        if let Some(standing) =
            of.and_then(|row| source.confirmed(row)).map(ConfirmedGain::standing)
        {
            // Fresh launches of it say more than all that chose it.
            made.confirmed = Some(standing == Standing::Confirmed);
            made.shown = standing == Standing::Confirmed;
        } else if let (Some(judged), Some(base), None) = (&judged, baseline, &made.without) {
            let others = rows.iter().filter(|row| **row != base);
            let p = others.filter_map(|row| Some((uses.len(), *row, judged.p_better(*row, base)?)));
            tested.extend(p);
        }
        uses.push(made);
    }
    let adjusted = holm(&tested.iter().map(|(.., p)| *p).collect::<Vec<_>>());
    for ((at, row, _), p) in tested.into_iter().zip(adjusted) {
        let it: &mut Use = &mut uses[at];
        if it.best == Some(row) && p < SIGNIFICANCE {
            it.shown = true;
        }
    }
    // Time says nothing more of tools that were not measured.
    let mut seen = Vec::new();
    uses.retain(|it| {
        let again = it.without.is_some() && seen.contains(&it.name);
        seen.push(it.name);
        !again
    });
    uses
}

fn answer(
    question: &Question,
    judged: Option<&Judged<'_>>,
    rows: &[usize],
    baseline: Option<usize>,
) -> Use {
    let without = |metric: MetricRef, why: &str| Use {
        name: question.name,
        metric,
        goal: question.goal,
        best: None,
        by_ranking: false,
        against: baseline,
        figure: None,
        baseline: None,
        ratio: None,
        shown: false,
        confirmed: None,
        without: Some(why.to_owned()),
    };
    let Some(judged) = judged else {
        let why = if question.workload == "load" {
            "no closed loop of `load` was measured, and at a fixed rate throughput is what is offered"
        } else {
            "its workload was not measured"
        };
        return without(MetricRef::of(question.workload, question.metric), why);
    };
    // What has no rank is compared with nothing, however good its figure is.
    let excluded = baseline.map(|row| &judged.source.ranking.rows[row]).filter(|it| !it.eligible);
    if let Some(row) = excluded {
        let reason = row.reason().unwrap_or_else(|| "it has no rank".to_owned());
        return without(judged.metric.clone(), &format!("the baseline is not ranked: {reason}"));
    }
    let figures: Vec<(usize, Figure)> =
        rows.iter().filter_map(|row| Some((*row, judged.figure(*row)?))).collect();
    let better = |a: f64, b: f64| match question.goal {
        Goal::Minimize => a < b,
        Goal::Maximize => a > b,
    };
    let mut best: Option<(usize, Figure)> =
        figures.iter().find(|(row, _)| Some(*row) == baseline).copied();
    for (row, figure) in &figures {
        if best.is_none_or(|(_, known)| better(figure.value, known.value)) {
            best = Some((*row, *figure));
        }
    }
    if best.is_none() {
        return without(judged.metric.clone(), "no configuration with a rank has a figure of it");
    }
    // Of the objective it is what the result is about.
    let candidate = candidate_of(judged, &figures);
    let by_ranking = candidate.zip(best).is_some_and(|(own, best)| own.0 != best.0);
    let best = candidate.or(best);
    let of_baseline = figures.iter().find(|(row, _)| Some(*row) == baseline).map(|it| it.1);
    let row = best.map(|(row, _)| row);
    let ratio = row.zip(baseline).filter(|(row, base)| row != base);
    Use {
        name: question.name,
        metric: judged.metric.clone(),
        goal: question.goal,
        best: row,
        by_ranking,
        against: baseline,
        figure: best.map(|(_, figure)| figure),
        baseline: of_baseline,
        ratio: ratio.and_then(|(row, base)| judged.ratio(row, base)),
        shown: false,
        confirmed: None,
        without: None,
    }
}

/// What the result is about, where the metric is what it was chosen by.
fn candidate_of(judged: &Judged<'_>, figures: &[(usize, Figure)]) -> Option<(usize, Figure)> {
    let candidate = judged.source.taken().filter(|_| judged.is_objective)?;
    figures.iter().find(|(row, _)| *row == candidate).copied()
}

/// A metric over the rows, over all cases of its workload where it is of several.
struct Judged<'s> {
    source: &'s Source<'s>,
    metric: MetricRef,
    goal: Goal,
    measured: Measured,
    /// Whether configurations are ranked by it: the ranking's figures hold then, with the
    /// machine's level taken out.
    is_objective: bool,
    /// Of what is counted over several cases, by arm.
    shares: Option<Vec<Option<Share>>>,
}

impl<'s> Judged<'s> {
    /// `None` where nothing was measured.
    fn of(source: &'s Source<'_>, question: &Question) -> Option<Self> {
        let cases = source.cases(question.workload);
        if cases.is_empty() {
            return None;
        }
        let one = match question.workload {
            "load" => Some(busiest(source, question)?),
            _ => (cases.len() == 1).then(|| cases[0].clone()),
        };
        let (wanted, goal) = (
            metric(question.workload, one.as_deref().unwrap_or_default(), question.metric),
            question.goal,
        );
        let mut shares = None;
        let measured = if one.is_some() {
            let manifest = &source.record.manifest;
            let read = sheet::read_one(manifest, &source.arms, &wanted);
            Measured::new(&source.arms, read)
        } else {
            if let Some(Scale::Share(counted)) = wanted.known().map(|it| it.scale) {
                let of_arm = |arm: &Arm<'_>| shared(arm, &wanted, &cases, counted);
                shares = Some(source.arms.iter().map(of_arm).collect());
            }
            let by_arm = source.arms.iter().map(|arm| over_cases(arm, &wanted, &cases));
            let (by_arm, case) = (Some(by_arm.collect()), Some(String::new()));
            Measured::new(&source.arms, Read { metric: &wanted, case, by_arm })
        };
        let measured = measured.claimed_from(claimed_from(&source.record.manifest));
        let is_objective = one.is_some() && source.place(&wanted) == Some(0);
        let judged = Self { source, metric: wanted, goal, measured, is_objective, shares };
        (0..source.count()).any(|row| judged.figure(row).is_some()).then_some(judged)
    }

    fn share(&self, row: usize) -> Option<Share> {
        *self.shares.as_ref()?.get(self.source.arm_index(row)?)?
    }

    fn figure(&self, row: usize) -> Option<Figure> {
        if self.is_objective {
            return self.source.figure(row, 0);
        }
        let index = self.source.arm_index(row)?;
        let figure = Figure::from(self.measured.judged(index)?);
        if self.shares.is_none() {
            return Some(figure);
        }
        let share = self.share(row)?;
        Some(Figure { value: share.value(), interval: Some(share.interval()), ..figure })
    }

    /// The row relative to the baseline; `None` where no ratio is taken.
    fn ratio(&self, row: usize, base: usize) -> Option<Figure> {
        let (own, other) = (self.figure(row)?, self.figure(base)?);
        let indices = (self.source.arm_index(row)?, self.source.arm_index(base)?);
        let ratio = if self.is_objective {
            let fresh = self.source.confirmed(row).and_then(|it| it.effect);
            fresh.or(self.source.ranking.rows[row].baseline_ratio)?
        } else {
            self.measured.ratio(indices.0, indices.1)?
        };
        Some(Figure {
            value: ratio.ratio,
            interval: Some(ratio.interval),
            launches: own.launches + other.launches,
            repeats: own.repeats + other.repeats,
        })
    }

    /// Two-sided p-value of "the row is better than the baseline", 1 where it is not; `None`
    /// where nothing could be tested.
    fn p_better(&self, row: usize, base: usize) -> Option<f64> {
        let (own, other) = (self.figure(row)?.value, self.figure(base)?.value);
        let better = if self.goal == Goal::Minimize { own < other } else { own > other };
        let (a, b) = (self.source.arm_index(row)?, self.source.arm_index(base)?);
        if self.is_objective {
            let ranking = self.source.ranking;
            let is_overruled =
                !ranking.overruled.is_empty() && self.source.candidate() == Some(row);
            return ranking.rows[row].p_baseline_alone.filter(|_| !is_overruled);
        }
        if self.measured.is_choosing()
            && (self.measured.has_too_few(a) || self.measured.has_too_few(b))
        {
            return None;
        }
        let p = if self.shares.is_some() {
            (2.0 * self.share(row)?.p_of_difference(self.share(base)?)).min(1.0)
        } else if self.measured.scale() == Scale::Ratios {
            self.measured.p_of_ratio(a, b)?
        } else {
            self.measured.p_unless_once(a, b)?
        };
        Some(if better { p } else { 1.0 })
    }
}

/// The closed loop with most requests in flight that as many configurations as any have a
/// figure of: a ladder ends earlier for those that saturate.
fn busiest(source: &Source<'_>, question: &Question) -> Option<String> {
    let objective = &source.record.manifest.objective.metric;
    let mut closed: Vec<(usize, u64, String)> = Vec::new();
    for workload in &source.record.manifest.workloads {
        let Spec::Load(load) = &workload.spec else { continue };
        for name in workload.cases() {
            let Some(LoadCase::Concurrency(count)) = load.case(&name) else { continue };
            let place = source.place(&metric(question.workload, &name, question.metric));
            let has = |row: &usize| place.is_some_and(|at| source.figure(*row, at).is_some());
            let rows = (0..source.count()).filter(has).count();
            closed.push((rows, count, name));
        }
    }
    let is_objective = |name: &String| {
        objective.workload == question.workload
            && objective.name == question.metric
            && case_of(&source.record.manifest, objective).as_ref() == Some(name)
    };
    let of_objective = closed.iter().find(|(.., name)| is_objective(name)).cloned();
    of_objective.or_else(|| closed.into_iter().max()).map(|(.., name)| name)
}

/// By launch, the mean over all cases of each repeat that has all of them.
fn over_cases(arm: &Arm<'_>, metric: &MetricRef, cases: &[String]) -> GroupedValues {
    let is_ratio = metric.known().is_none_or(|known| known.scale == Scale::Ratios);
    let of_launch = |launch: &&LaunchRecord| {
        let most = launch.measurements.iter().map(|it| it.repeat).max().unwrap_or_default();
        let of_repeat = |repeat: u32| -> Option<f64> {
            let values = of_all_cases(launch, metric, cases, repeat)?;
            let of = |it: &f64| if is_ratio { it.ln() } else { *it };
            let mean = values.iter().map(of).sum::<f64>() / values.len() as f64;
            Some(if is_ratio { mean.exp() } else { mean }).filter(|it| it.is_finite())
        };
        (1..=most).filter_map(of_repeat).collect()
    };
    GroupedValues::new(arm.launches.iter().map(of_launch).collect())
}

/// The values of a repeat in all cases; `None` where it lacks one.
fn of_all_cases(
    launch: &LaunchRecord,
    metric: &MetricRef,
    cases: &[String],
    repeat: u32,
) -> Option<Vec<f64>> {
    let is_valid = |it: &&Measurement| {
        it.repeat == repeat && it.status == Status::Ok && it.is_of(&metric.workload)
    };
    let of_case = |case: &String| {
        let mut valid = launch.measurements.iter().filter(is_valid);
        value(valid.find(|it| it.case == *case)?, &metric.name)
    };
    if repeat == 0 { None } else { cases.iter().map(of_case).collect() }
}

/// What was right of what was asked, over all cases: of repeats that have all of them, since
/// a launch that ended after an easy case says nothing of the others.
fn shared(arm: &Arm<'_>, metric: &MetricRef, cases: &[String], counted: Counted) -> Option<Share> {
    let is_whole =
        |launch: &LaunchRecord, repeat: u32| of_all_cases(launch, metric, cases, repeat).is_some();
    let of_case = |case: &String| arm::share_of(&arm.launches, metric, case, counted, is_whole);
    let add =
        |a: Share, b: Share| Share { happened: a.happened + b.happened, tried: a.tried + b.tried };
    cases.iter().filter_map(of_case).reduce(add)
}
