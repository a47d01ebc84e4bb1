//! Compares sweeps: whether what was found in the first one is still true in the
//! last. Each sweep keeps the ranking that it has by itself; between sweeps there is
//! one ratio for each configuration, of the last one to the first one.
//!
//! The interval of that ratio has the variance of both means, each from its own
//! sweep's components, with Welch's degrees of freedom
//! ([`Uncertainty::plus`](crate::statistics::Uncertainty::plus)); a metric that may
//! be zero is compared by differences, as within a sweep. What the nights
//! themselves differ in is part of the ratio and not of the interval: two sweeps do
//! not show it.

use std::collections::{BTreeSet, HashMap};

use super::arm::{self, Arm};
use super::chosen::{CLAIMED_FROM, claimed_from};
pub use super::compared::{
    Beyond, Change, Compared, ComparedConfiguration, Comparison, Figure, Judgement, Namesake,
    NotJudged, Outcome, Run, RunDifference, Shift, Standing, Way, WorseThan,
};
pub use super::compared_metric::CompareError;
use super::compared_metric::chosen;
pub use super::comparison_findings::{ComparisonFinding, LaterPlace};
use super::difference::{differences, images, not_recorded, versions};
use super::estimate::Estimate;
use super::failed_repeats::Repeats;
use super::measured::Measured;
use super::number;
use super::ranked::{RankedConfiguration, Ranking};
use super::ranking::rank;
use super::reading::{Place, Reading, Statement};
use super::sheet;
use super::shift::{LogChange, separated};
use super::worse;
use crate::configuration::Configuration;
use crate::history::record::SCHEMA_VERSION;
use crate::metric::{Goal, MetricRef, Scale};
use crate::statistics::{SIGNIFICANCE, holm};

/// Compares sweeps, by their objective or by the metric asked for.
///
/// # Errors
/// When there are fewer than two, or no metric that all of them have.
pub fn compare(runs: Vec<Run>, asked: Option<&MetricRef>) -> Result<Comparison, CompareError> {
    compare_within(runs, asked, None)
}

/// The same, and whether the last sweep is shown to be worse than the first by more than
/// `share`: at least 0 and below 1.
///
/// # Errors
/// As [`compare`].
pub fn compare_within(
    mut runs: Vec<Run>,
    asked: Option<&MetricRef>,
    share: Option<f64>,
) -> Result<Comparison, CompareError> {
    let (metric, goal) = chosen(&runs, asked)?;
    if asked.is_some() {
        for run in &mut runs {
            let objective = &mut run.record.manifest.objective;
            (objective.metric, objective.goal) = (metric.clone(), goal);
        }
    }
    let judged: Vec<Judged<'_>> = runs.iter().map(Judged::new).collect();
    let matched = matched(&judged);
    let (configurations, logs) = configurations(&judged, &matched, goal);
    let scale = judged[0].measured.scale();
    let worse_than = share.map(|share| {
        let compared = configurations.iter().zip(&logs).zip(&matched);
        let compared: Vec<worse::OneChange<'_>> = compared
            .map(|((configuration, log), entry)| {
                let means = means(&judged, entry);
                worse::OneChange { configuration, log: *log, means }
            })
            .collect();
        worse::judge(&compared, (goal, scale), share, is_mixed(&runs))
    });
    let (configurations, shift) = with_shift(configurations, &logs, goal);
    let shared: Vec<BTreeSet<String>> = (0..runs.len())
        .map(|at| {
            let everywhere = matched.iter().filter(|row| row.iter().all(Option::is_some));
            let names = everywhere.filter_map(|row| Some(judged[at].configuration(row[at]?)));
            names.map(|configuration| configuration.name.clone()).collect()
        })
        .collect();
    Ok(Comparison {
        schema_version: SCHEMA_VERSION,
        simulated: runs.iter().any(|run| run.record.manifest.simulated),
        unit: number::unit(&metric),
        scale,
        differences: differences(&runs, &shared),
        not_recorded: not_recorded(&runs),
        configurations,
        shift,
        worse_than,
        runs: judged.iter().enumerate().map(|(at, judged)| judged.described(at)).collect(),
        metric,
        goal,
    })
}

/// A sweep with its ranking and what that was made from.
struct Judged<'a> {
    run: &'a Run,
    ranking: Ranking,
    arms: Vec<Arm<'a>>,
    /// Indices of the arms in the order of the ranking, which has every one once.
    order: Vec<usize>,
    measured: Measured,
}

impl<'a> Judged<'a> {
    fn new(run: &'a Run) -> Self {
        let arms = arm::arms(&run.record);
        let metric = &run.record.manifest.objective.metric;
        let sheet = sheet::read_one(&run.record.manifest, &arms, metric);
        let measured = Measured::new(&arms, sheet).claimed_from(claimed_from(&run.record.manifest));
        let ranking = rank(&run.record);
        let by_name: HashMap<&str, usize> = arms
            .iter()
            .enumerate()
            .map(|(index, arm)| (arm.configuration.name.as_str(), index))
            .collect();
        let order = ranking.rows.iter().map(|row| by_name[row.name.as_str()]).collect();
        Self { run, ranking, arms, order, measured }
    }

    /// The configuration of a row of the ranking.
    fn configuration(&self, row: usize) -> &'a Configuration {
        self.arms[self.order[row]].configuration
    }

    /// Whether a figure is one of the configuration: it ran as asked for, and did not
    /// lose too much. A broken bound takes its rank and not its figure.
    fn comparable(&self, row: usize) -> bool {
        let arm = &self.arms[self.order[row]];
        let workload = &self.run.record.manifest.objective.metric.workload;
        let Some(case) = self.measured.case.clone() else { return false };
        let repeats = Repeats::of(arm, &[(workload.clone(), case)]);
        arm.overrides.is_empty() && repeats.iter().all(|it| it.too_many().is_none())
    }

    /// Whether an arm has too few launches for a claim, since they were chosen.
    fn has_too_few(&self, arm: usize) -> bool {
        self.measured.is_choosing() && self.measured.has_too_few(arm)
    }

    /// What a confirmation shows, as `report` and `list` have it; `None` where there is none with
    /// a result. With it the configuration that it confirmed.
    fn confirmation(&self) -> Option<(String, Option<String>)> {
        let manifest = &self.run.record.manifest;
        match Reading::of(&self.ranking, manifest, &Place::default()).result {
            Statement::Better { configuration, baseline, confirmed: true, .. } => Some((
                format!("{configuration} is better than {baseline}, confirmed on fresh launches"),
                Some(configuration),
            )),
            Statement::NotConfirmed { configuration, baseline, worse, .. } => {
                let said = if worse {
                    format!("{configuration} is worse than {baseline} on fresh launches")
                } else {
                    format!(
                        "that {configuration} is better than {baseline} is not confirmed on fresh \
                         launches"
                    )
                };
                Some((said, None))
            }
            Statement::BoundBroken { configuration, .. } => {
                Some((format!("{configuration} breaks a bound on fresh launches"), None))
            }
            Statement::Unfit { configuration, .. } => {
                Some((format!("{configuration} failed its confirmation"), None))
            }
            _ => None,
        }
    }

    fn described(&self, at: usize) -> Compared {
        let manifest = &self.run.record.manifest;
        let (verdict, confirmed) =
            self.confirmation().unwrap_or_else(|| (self.ranking.verdict.to_string(), None));
        Compared {
            label: label(at),
            folder: self.run.folder.clone(),
            sweep: manifest.sweep.clone(),
            created_at: manifest.created_at.clone(),
            simulated: manifest.simulated,
            engine_versions: versions(self.run).into_iter().collect(),
            image_ids: images(self.run).into_iter().collect(),
            not_counted: self.ranking.not_counted.clone(),
            verdict,
            confirmed,
        }
    }
}

/// `A` to `Z`, then `27` and so on.
pub(crate) fn label(run: usize) -> String {
    let letter = u8::try_from(run).ok().filter(|run| *run < 26).map(|run| char::from(b'A' + run));
    letter.map_or_else(|| (run + 1).to_string(), String::from)
}

/// Which rows of the rankings are the same configuration: by id, else by name where
/// the same is asked for, which is a change of engine, image or model.
fn matched(judged: &[Judged<'_>]) -> Vec<Vec<Option<usize>>> {
    let mut matched: Vec<Vec<Option<usize>>> = Vec::new();
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    let mut by_name: HashMap<&str, Vec<(usize, &Configuration)>> = HashMap::new();
    for (at, run) in judged.iter().enumerate() {
        let mut open = Vec::new();
        for row in 0..run.ranking.rows.len() {
            match by_id.get(run.configuration(row).id.as_str()) {
                Some(&place) if matched[place][at].is_none() => matched[place][at] = Some(row),
                _ => open.push(row),
            }
        }
        for row in open {
            let own = run.configuration(row);
            let mut namesakes = own.names().filter_map(|name| by_name.get(name)).flatten();
            let known = namesakes.find(|(place, other)| {
                matched[*place][at].is_none() && differs_in(own, other).is_empty()
            });
            let place = known.map_or(matched.len(), |(place, _)| *place);
            if place == matched.len() {
                matched.push(vec![None; judged.len()]);
            }
            matched[place][at] = Some(row);
        }
        for (place, entry) in matched.iter().enumerate() {
            let Some(row) = entry[at] else { continue };
            let own = run.configuration(row);
            by_id.entry(&own.id).or_insert(place);
            for name in own.names() {
                by_name.entry(name).or_default().push((place, own));
            }
        }
    }
    matched
}

/// Flags and variables that differ between what two configurations ask for.
fn differs_in(a: &Configuration, b: &Configuration) -> Vec<String> {
    let flags: BTreeSet<&String> = a.flags.keys().chain(b.flags.keys()).collect();
    let flags = flags.into_iter().filter(|name| a.flags.get(name) != b.flags.get(name));
    let variables: BTreeSet<&String> = a.environment.keys().chain(b.environment.keys()).collect();
    let variables =
        variables.into_iter().filter(|name| a.environment.get(*name) != b.environment.get(*name));
    flags.chain(variables).cloned().collect()
}

fn configurations(
    judged: &[Judged<'_>],
    matched: &[Vec<Option<usize>>],
    goal: Goal,
) -> (Vec<ComparedConfiguration>, Vec<Option<LogChange>>) {
    let changes: Vec<_> = matched.iter().map(|entry| change(judged, entry)).collect();
    let mut all: Vec<ComparedConfiguration> = matched
        .iter()
        .zip(&changes)
        .map(|(entry, change)| {
            let there = || entry.iter().zip(judged).filter_map(|(row, run)| Some((run, (*row)?)));
            let configuration = |(run, row): (&Judged<'_>, usize)| run.configuration(row).clone();
            let first = there().map(configuration).next();
            let same = |(run, row): (&Judged<'_>, usize)| {
                first.as_ref().is_some_and(|first| first.id == run.configuration(row).id)
            };
            let standing = |(row, run): (&Option<usize>, &Judged<'_>)| {
                row.map(|row| Standing::of(&run.ranking.rows[row], run.has_too_few(run.order[row])))
            };
            ComparedConfiguration {
                same_id: there().all(same),
                runs: entry.iter().zip(judged).map(standing).collect(),
                change: change.map(|(change, _)| change),
                beyond: None,
                namesakes: first.as_ref().map_or_else(Vec::new, |it| namesakes(it, entry, judged)),
                configuration: first.map_or_else(String::new, |first| first.name),
            }
        })
        .collect();
    adjust(&mut all, goal, judged[0].measured.scale());
    (all, changes.iter().map(|change| change.as_ref()?.1).collect())
}

/// The configurations with what is left of each change when the shared one is taken out.
fn with_shift(
    mut all: Vec<ComparedConfiguration>,
    logs: &[Option<LogChange>],
    goal: Goal,
) -> (Vec<ComparedConfiguration>, Option<Shift>) {
    let logs: Vec<(usize, LogChange)> =
        logs.iter().enumerate().filter_map(|(at, log)| Some((at, (*log)?))).collect();
    let only: Vec<LogChange> = logs.iter().map(|(_, log)| *log).collect();
    let Some((shift, beyond)) = separated(&only, goal) else { return (all, None) };
    for ((at, _), beyond) in logs.iter().zip(beyond) {
        all[*at].beyond = Some(beyond);
    }
    (all, Some(shift))
}

/// Whether some figures are simulated and others are not.
fn is_mixed(runs: &[Run]) -> bool {
    let simulated = |run: &Run| run.record.manifest.simulated;
    runs.iter().any(simulated) && !runs.iter().all(simulated)
}

/// Configurations of the same name in the sweeps that do not have this one.
fn namesakes(own: &Configuration, entry: &[Option<usize>], judged: &[Judged<'_>]) -> Vec<Namesake> {
    let lacking = entry.iter().zip(judged).enumerate().filter(|(_, (row, _))| row.is_none());
    lacking
        .filter_map(|(run, (_, judged))| {
            let other = judged.arms.iter().map(|arm| arm.configuration);
            let other = other.clone().find(|other| other.answers_to(&own.name))?;
            Some(Namesake { run, differs_in: differs_in(own, other) })
        })
        .collect()
}

impl Standing {
    fn of(row: &RankedConfiguration, has_too_few: bool) -> Self {
        let figure = row.estimates.first().copied().flatten().map(|estimate| Figure {
            mean: estimate.mean,
            low: estimate.interval.map(|interval| interval.low),
            high: estimate.interval.map(|interval| interval.high),
            assumed: estimate.assumed,
            launches: estimate.launches,
            repeats: estimate.repeats,
        });
        Self {
            name: row.name.clone(),
            id: row.id.clone(),
            rank: row.rank,
            rank_label: row.rank_label.clone(),
            preferred: row.preferred,
            exclusions: row.exclusions.clone(),
            figure,
            claims_need: has_too_few.then_some(CLAIMED_FROM),
        }
    }
}

/// The last sweep to the first, the p-value not yet adjusted.
fn change(judged: &[Judged<'_>], entry: &[Option<usize>]) -> Option<(Change, Option<LogChange>)> {
    let (first, last) = (judged.first()?, judged.last()?);
    let (base, row) = ((*entry.first()?)?, (*entry.last()?)?);
    if !first.comparable(base) || !last.comparable(row) {
        return None;
    }
    let (base, arm) = (first.order[base], last.order[row]);
    let contrast = last.measured.contrast(arm, &first.measured, base)?;
    // Of launches that were chosen a few claim nothing, here as in the ranking.
    let claims = !(first.has_too_few(base) || last.has_too_few(arm));
    let assumed =
        |run: &Judged<'_>, arm| run.measured.estimate(arm).is_some_and(|figure| figure.assumed);
    let change = Change {
        value: contrast.value,
        low: contrast.interval.low,
        high: contrast.interval.high,
        p: contrast.p.filter(|_| claims),
        assumed: assumed(first, base) || assumed(last, arm),
        shown: None,
    };
    Some((change, contrast.log.filter(|_| claims)))
}

/// The means that a difference is made of.
fn means(judged: &[Judged<'_>], entry: &[Option<usize>]) -> Option<(Estimate, Estimate)> {
    let of = |run: &Judged<'_>, row: usize| run.measured.judged(run.order[row]);
    let (first, last) = (judged.first()?, judged.last()?);
    Some((of(first, (*entry.first()?)?)?, of(last, (*entry.last()?)?)?))
}

/// Adjusts for the number of configurations that were tested.
fn adjust(all: &mut [ComparedConfiguration], goal: Goal, scale: Scale) {
    let mut tested: Vec<(&mut Change, f64)> = all
        .iter_mut()
        .filter_map(|it| it.change.as_mut())
        .filter_map(|change| change.p.map(|p| (change, p)))
        .collect();
    let adjusted = holm(&tested.iter().map(|(_, p)| *p).collect::<Vec<_>>());
    let same = if scale == Scale::Ratios { 1.0 } else { 0.0 };
    for ((change, _), p) in tested.iter_mut().zip(adjusted) {
        let way = if (change.value < same) == (goal == Goal::Minimize) {
            Way::Better
        } else {
            Way::Worse
        };
        change.p = Some(p);
        change.shown = (p < SIGNIFICANCE).then_some(way);
    }
}
