//! The ranking: which configurations can be ranked, in which order, and what
//! that order carries. Computed as plain values first; the frame, the findings and
//! every renderer read the same ranking.
//!
//! - Only `ok` repeats count, never a warm-up (repeat 0).
//! - Configurations that failed, lost more than a quarter of their repeats to
//!   failures, ran with another flag than they asked for, or violate a constraint
//!   are rows without a rank, with the reason; they are never scored as "worst". A
//!   bound that lies in the interval leaves the rank and is remarked.
//! - `rank` is the order of the means: geometric ones, or arithmetic ones of metrics
//!   that may be zero or negative ([`Scale`](crate::metric::Scale)). `rank_label` says what the order
//!   carries: all that are not distinguishable from rank 1 share their places as one label,
//!   `1-3`, or `1,4` where those between are shown to be worse. Any other label is the place by mean; neighbours there are
//!   not claimed to differ from each other, only from rank 1.
//! - What to take, and what is shown of it against the baseline, are two statements
//!   ([`Decision`]).

use std::collections::BTreeSet;

pub use super::arm::OverriddenFlag;
use super::arm::{self, Arm};
pub use super::bounded::{Bounded, ConstraintVerdict};
use super::bounds::constrained;
use super::chosen::{CLAIMED_FROM, chosen, claimed_from};
use super::confirmed::confirmed;
use super::decision::{Candidate, Claim, Decision, PassedOver};
use super::disturbance::Undecided;
use super::eligibility::{
    Survival, exclusions, failures, judged_places, missing, missing_metrics, remarks,
};
pub use super::estimate::{Effect, Estimate, Ratio};
use super::evidence::Evidence;
pub use super::exclusion::{Exclusion, MissingValue};
pub use super::failed_repeats::LostRepeats;
use super::failed_repeats::{Place, Repeats};
use super::front::front;
use super::gated::gated;
use super::machine::Conclusion;
use super::measured::Measured;
pub use super::missing::{MissingMetric, MissingValues};
use super::not_again::{not_again, unranked_since};
use super::not_counted::{not_counted, unswept};
use super::preference::{preferred, within_bounds};
pub use super::ranked::{RankedConfiguration, Ranking};
pub use super::remark::Remark;
use super::sheet::{self, Read};
use super::taken::taken;
use super::undecided;
use super::verdict;
pub use super::verdict::{NothingRanked, RankingVerdict};
use super::witness;
use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::values::{case_of, number};
use crate::metric::{Direction, Form, Goal, MetricRef};
use crate::statistics::{GroupedValues, SIGNIFICANCE, holm};
use crate::workload::LAUNCH_METRICS;

/// A mean within this part of rank 1's is as good: what else is known decides.
const NEAR: f64 = 0.01;

/// Ranks the configurations of a sweep by its objective.
pub fn rank(sweep: &SweepRecord) -> Ranking {
    rank_with(sweep, metrics(sweep))
}

/// The same with estimates of the objective and of bounded metrics alone: what decides, in a
/// fraction of the time.
pub fn rank_judged(sweep: &SweepRecord) -> Ranking {
    let objective = &sweep.manifest.objective;
    let judged = 1 + objective.constraints.len();
    let mut metrics = metrics(sweep);
    metrics.truncate(judged);
    rank_with(sweep, metrics)
}

fn rank_with(sweep: &SweepRecord, metrics: Vec<MetricRef>) -> Ranking {
    let objective = &sweep.manifest.objective;
    let arms = arm::arms(sweep);
    let read = sheet::read(&sweep.manifest, &arms, &metrics).into_iter().enumerate();
    let measured: Vec<Measured> =
        read.map(|(at, read)| of_metric(sweep, &arms, at, read)).collect();
    let constrained = constrained(objective);
    let evidence = Evidence { sweep, arms: &arms, metrics: &metrics, measured: &measured };
    let places = judged_places(&evidence, &constrained);
    let mut rows: Vec<RankedConfiguration> =
        (0..arms.len()).map(|index| evidence.row(index, &constrained, &places)).collect();
    let order = evidence.order(&rows);
    let verdict = place(&mut rows, &order, &measured[0]);
    evidence.compare_with_baseline(&mut rows, &order);
    let compared = evidence.compared_baseline().filter(|base| order.contains(base));
    // What the verdict rests on, and what of it can be separated, is between these.
    let claimed = evidence.in_claims(&order);
    let (judged, compared) = match claimed.len() {
        0 | 1 => (&order, compared),
        _ => (&claimed, compared.filter(|base| claimed.contains(base))),
    };
    let machine = measured[0].machine(judged, compared);
    let moved = machine.as_ref().is_some_and(|it| it.conclusion == Conclusion::Moved);
    let witness = moved.then(|| witness::explain(&evidence, &measured[0].residuals())).flatten();
    let detectable = claimed.split_first().and_then(|(&first, others)| {
        measured[0].detectable(first, others).filter(|it| it.launches > 1)
    });
    let rests_on = undecided::compared(&verdict, &claimed, &rows, compared);
    let causes = undecided::undecided(&evidence, &rests_on, machine.as_ref(), detectable.as_ref());
    let verdict = undecided::decided(verdict, &causes);
    let mut decision = evidence.decide(&mut rows, &order, &verdict);
    let overruled = evidence.overruled(decision.as_ref(), &rows);
    if !overruled.is_empty() {
        decision = decision.map(Decision::without_claim);
    }
    let bounded: Vec<Vec<Bounded>> = rows.iter().map(|row| row.constraints.clone()).collect();
    let missing = missing_metrics(&evidence, &bounded, evidence.baseline());
    let all_zero = measured[0].all_zero(&order);
    let leader = evidence.best_guess(&order);
    let (chosen, front) = (chosen(&evidence, &order, leader), front(&evidence, &order));
    for (row, reason) in rows.iter_mut().zip(not_again(&evidence, &order, leader)) {
        row.remarks.extend(reason.map(Remark::NotLaunchedAgain));
    }
    for (row, since) in rows.iter_mut().zip(unranked_since(&evidence)) {
        row.exclusions.iter_mut().for_each(|it| it.set_dropped(since));
    }
    let mut places: Vec<usize> = order;
    places.extend((0..rows.len()).filter(|&index| !rows[index].eligible));
    Ranking {
        sweep: sweep.manifest.sweep.clone(),
        simulated: sweep.manifest.simulated,
        objective: objective.clone(),
        scale: measured[0].scale(),
        components: measured[0].components(),
        deviations: measured[0].deviations(),
        rows: places.into_iter().map(|index| rows[index].clone()).collect(),
        metrics,
        constrained,
        verdict,
        decision,
        confirmed: confirmed(sweep, &bounded),
        not_counted: not_counted(sweep),
        taken: taken(sweep),
        replaced: sweep.replaced.clone(),
        environment_works: environment_works(sweep),
        unswept: unswept(sweep),
        gated: gated(sweep),
        missing,
        machine,
        course: measured[0].course(),
        witness,
        undecided: causes,
        overruled,
        detectable,
        all_zero,
        chosen,
        front,
    }
}

/// Whether what the environment did not allow at one time it allowed later.
fn environment_works(sweep: &SweepRecord) -> bool {
    let mut ended = sweep.launches.iter().rev().filter_map(|launch| launch.outcome.as_ref());
    let last = ended.find_map(|outcome| match outcome {
        LaunchOutcome::Measured => Some(true),
        LaunchOutcome::Failed(failure) => {
            (failure.class == FailureClass::Environment).then_some(false)
        }
        _ => None,
    });
    last.unwrap_or(false)
}

/// The objective is the first metric.
fn of_metric(sweep: &SweepRecord, arms: &[Arm<'_>], at: usize, read: Read<'_>) -> Measured {
    let measured =
        if at == 0 { Measured::objective(sweep, arms, read) } else { Measured::new(arms, read) };
    measured.claimed_from(claimed_from(&sweep.manifest))
}

/// The objective first, then what is bounded, then the rest of the catalogue:
/// a metric once, whether or not a reference names its only case. Those of launches are
/// listed where a launch has any.
fn metrics(sweep: &SweepRecord) -> Vec<MetricRef> {
    let manifest = &sweep.manifest;
    let of_launches = LAUNCH_METRICS
        .iter()
        .filter(|metric| {
            let has = |launch: &LaunchRecord| number(launch.own.as_ref()?, metric.name);
            sweep.launches.iter().any(|launch| has(launch).is_some())
        })
        .map(|metric| MetricRef::of(metric.workload, metric.name));
    let objective = &manifest.objective;
    let named = std::iter::once(&objective.metric).chain(objective.others()).cloned();
    let listed = manifest.workloads.iter().flat_map(|workload| {
        let several = workload.cases().len() > 1;
        workload.cases().into_iter().flat_map(move |case| {
            let metrics = workload.kind().all_metrics();
            let ranked = metrics.filter(|m| {
                m.direction != Direction::Neutral && m.form() == Form::Number && m.unit != "1"
            });
            ranked
                .map(move |metric| MetricRef {
                    workload: metric.workload.to_owned(),
                    case: several.then(|| case.clone()),
                    name: metric.name.to_owned(),
                })
                .collect::<Vec<_>>()
        })
    });
    let mut seen = BTreeSet::new();
    named
        .chain(listed)
        .chain(of_launches)
        .filter(|metric| {
            let case = case_of(manifest, metric);
            seen.insert((metric.workload.clone(), case, metric.name.clone()))
        })
        .collect()
}

impl Evidence<'_> {
    fn row(
        &self,
        index: usize,
        constrained: &[MetricRef],
        judged: &[Place],
    ) -> RankedConfiguration {
        let arm = &self.arms[index];
        let constraints = self.constraints(index, constrained);
        let repeats = Repeats::of(arm, judged);
        let exclusions = exclusions(self, index, &constraints, &repeats);
        let failures: Vec<&LaunchFailure> = failures(arm).collect();
        let eligible = exclusions.is_empty();
        let remarks = if eligible {
            remarks(self, index, &constraints, &repeats, &failures)
        } else {
            Vec::new()
        };
        let missing = missing(self, index, &constraints).iter().map(|it| it.count).sum::<usize>();
        let lived = Survival::of(arm);
        // The first one is the objective's, which is compared.
        let objective = self.measured.iter().take(1).map(|it| it.estimate(index));
        let others = self.measured.iter().skip(1).map(|it| it.shown(index));
        let estimates: Vec<Option<Estimate>> = objective.chain(others).collect();
        let mut aliases = arm.configuration.aliases.clone();
        for &further in &arm.further {
            let further = self.arms[further].configuration;
            aliases.push(further.name.clone());
            aliases.extend(further.aliases.iter().cloned());
        }
        let started = arm
            .launches
            .iter()
            .filter(|l| !matches!(l.outcome, Some(LaunchOutcome::Skipped { .. })));
        RankedConfiguration {
            rank: None,
            rank_label: None,
            name: arm.configuration.name.clone(),
            id: arm.configuration.id.clone(),
            aliases,
            baseline: self.baseline() == Some(index),
            varied: arm.configuration.varied.clone(),
            eligible,
            exclusions,
            remarks,
            launches: started.count() as u32,
            repeats: self.measured[0].values(index).map_or(0, |values| values.repeats() as u32),
            failures: failures.len() as u32,
            failed_repeats: repeats.iter().map(Repeats::failed).sum::<usize>() as u32,
            void_repeats: repeats.iter().map(Repeats::void).sum::<usize>() as u32,
            missing_repeats: missing as u32,
            lived: lived.lived as u32,
            settled: lived.launches as u32,
            failure_class: failures.last().map(|failure| failure.class.as_str()),
            estimates,
            constraints,
            p_first: None,
            chances: None,
            preferred: false,
            baseline_ratio: None,
            baseline_difference: None,
            p_baseline: None,
            p_baseline_alone: None,
        }
    }

    /// Eligible rows, best mean first; equal ones in the grid's order.
    fn order(&self, rows: &[RankedConfiguration]) -> Vec<usize> {
        let mean = |index: usize| rows[index].estimates[0].map_or(f64::NAN, |e| e.mean);
        let mut order: Vec<usize> = (0..rows.len()).filter(|&i| rows[i].eligible).collect();
        order.sort_by(|&a, &b| match self.sweep.manifest.objective.goal {
            Goal::Minimize => mean(a).total_cmp(&mean(b)),
            Goal::Maximize => mean(b).total_cmp(&mean(a)),
        });
        order
    }

    /// Those of these arms, best first, that have enough launches to be in a claim; none where
    /// the first one has not.
    fn in_claims(&self, order: &[usize]) -> Vec<usize> {
        let objective = &self.measured[0];
        if claimed_from(&self.sweep.manifest) <= 2 {
            return order.to_vec();
        }
        let first = order.first().filter(|first| !objective.has_too_few(**first));
        let enough = |index: &usize| first.is_some() && !objective.has_too_few(*index);
        order.iter().copied().filter(enough).collect()
    }

    fn compare_with_baseline(&self, rows: &mut [RankedConfiguration], order: &[usize]) {
        let measured = &self.measured[0];
        let (Some(named), Some(baseline)) = (self.baseline(), self.compared_baseline()) else {
            return;
        };
        let is_ranked = order.contains(&baseline);
        let others: Vec<usize> = order.iter().copied().filter(|it| *it != baseline).collect();
        let goal = self.sweep.manifest.objective.goal;
        let raw = measured.p_better(baseline, &others, goal);
        let mut adjusted = holm(&raw.iter().flatten().copied().collect::<Vec<_>>()).into_iter();
        for (&index, p) in others.iter().zip(raw) {
            rows[index].p_baseline_alone = p;
            rows[index].p_baseline = p.and_then(|_| adjusted.next());
        }
        for (index, row) in rows.iter_mut().enumerate() {
            // Of a baseline that has no rank no gain is stated anywhere.
            if index == named || index == baseline || !row.eligible || !is_ranked {
                continue;
            }
            row.baseline_ratio = measured.ratio(index, baseline);
            row.baseline_difference = measured.difference(index, baseline);
        }
    }

    /// Chances of the ranked ones; what to take, and what is shown of it.
    fn decide(
        &self,
        rows: &mut [RankedConfiguration],
        order: &[usize],
        verdict: &RankingVerdict,
    ) -> Option<Decision> {
        let (measured, goal) = (&self.measured[0], self.sweep.manifest.objective.goal);
        for (&index, chances) in order.iter().zip(measured.chances(order, goal)) {
            rows[index].chances = chances;
        }
        let (first, best) = (*order.first()?, self.best_guess(order)?);
        // What was launched too rarely is no better guess than the best one, however near it
        // seems.
        let claimed = self.in_claims(order);
        let near = |index: &usize| {
            let shown_worse = rows[*index].p_first.is_some_and(|p| p < SIGNIFICANCE);
            let known = *index == best || claimed.contains(index);
            known && !shown_worse && measured.is_within(*index, best, NEAR)
        };
        let near: Vec<usize> = order.iter().copied().filter(near).collect();
        let configuration = |index: usize| self.arms[index].configuration;
        let tied: Vec<_> = near.iter().map(|&it| (&rows[it], configuration(it))).collect();
        let (place, criterion) = preferred(&tied, self.baseline().map(configuration))?;
        let chosen = near[place];
        let row = &rows[chosen];
        let candidate = Candidate {
            configuration: row.name.clone(),
            rank: row.rank?,
            within_1_percent: near.len(),
            criterion,
            p_within_5_percent: row.chances.map(|chances| chances.near),
            within_bounds: within_bounds(row),
            passed_over: (best != first).then(|| PassedOver {
                configuration: rows[first].name.clone(),
                launches: measured.values(first).map_or(0, GroupedValues::launches),
            }),
        };
        let claim = self.claim(rows, chosen);
        rows[chosen].preferred = matches!(verdict, RankingVerdict::Tie { .. });
        Some(Decision { candidate, claim })
    }

    /// What keeps the decision's claim from being made; empty without a claim.
    fn overruled(
        &self,
        decision: Option<&Decision>,
        rows: &[RankedConfiguration],
    ) -> Vec<Undecided> {
        let claims = decision.filter(|it| it.claims()).map(|it| &it.candidate.configuration);
        let candidate = claims.and_then(|name| rows.iter().position(|row| row.name == *name));
        let pair = candidate.zip(self.compared_baseline());
        pair.map_or_else(Vec::new, |(candidate, base)| undecided::of_claim(self, candidate, base))
    }

    fn claim(&self, rows: &[RankedConfiguration], candidate: usize) -> Claim {
        let Some((named, base)) = self.baseline().zip(self.compared_baseline()) else {
            return Claim::NoBaseline;
        };
        let row = &rows[candidate];
        if candidate == base || candidate == named {
            return Claim::IsBaseline;
        }
        let baseline = rows[named].name.clone();
        let launches =
            |index: usize| self.measured[0].values(index).map_or(0, GroupedValues::launches);
        let needed = claimed_from(&self.sweep.manifest);
        let few = needed > 2 && launches(candidate).min(launches(base)) < needed;
        match (row.effect(), row.p_baseline) {
            _ if !rows[base].eligible => {
                Claim::BaselineNotRanked { baseline, reason: rows[base].reason() }
            }
            (effect, _) if few => Claim::TooFewLaunches {
                baseline,
                effect,
                of_candidate: launches(candidate),
                of_baseline: launches(base),
                needed,
            },
            (Some(effect), Some(p)) if p < SIGNIFICANCE => Claim::Better { baseline, effect, p },
            (effect, p) => Claim::NotShown { baseline, effect, p },
        }
    }
}

/// Ranks, labels and p-values; what the first rank carries.
fn place(
    rows: &mut [RankedConfiguration],
    order: &[usize],
    objective: &Measured,
) -> RankingVerdict {
    let Some((&first, others)) = order.split_first() else {
        let cause = match rows {
            [] => NothingRanked::NoConfiguration,
            [row] => NothingRanked::OnlyExcluded { exclusions: row.exclusions.clone() },
            _ => NothingRanked::NoneEligible { configurations: rows.len() },
        };
        return RankingVerdict::Nothing { cause };
    };
    let p_values = objective.p_to_first(first, others);
    for (&index, p) in others.iter().zip(&p_values) {
        rows[index].p_first = *p;
    }
    // Launches that were chosen leave some without a claim: theirs is a place by mean alone.
    let no_claim = |index: usize| {
        let few = |index: usize| objective.has_too_few(index);
        objective.is_choosing() && !others.is_empty() && (few(first) || few(index))
    };
    // One that is shown to be worse is not in the group, wherever it stands: with unequal
    // numbers of launches a better mean may be known worse.
    let shares_first = |index: usize| {
        let worse = rows[index].p_first.is_some_and(|p| p < SIGNIFICANCE);
        index == first || !(worse || no_claim(index))
    };
    let group: Vec<u32> = (1..)
        .zip(order)
        .filter(|(_, index)| shares_first(**index))
        .map(|(place, _)| place)
        .collect();
    let shared = verdict::listed(&group).replace(' ', "");
    for (place, &index) in (1..).zip(order) {
        rows[index].rank = Some(place);
        rows[index].rank_label = Some(if objective.is_choosing() && objective.has_too_few(index) {
            format!("({place})")
        } else if group.contains(&place) && group.len() > 1 {
            shared.clone()
        } else {
            place.to_string()
        });
    }
    let name = |index: usize| rows[index].name.clone();
    if others.is_empty() {
        return RankingVerdict::Only { name: name(first) };
    }
    if objective.is_choosing() && others.iter().all(|&other| no_claim(other)) {
        let few = order.iter().filter(|index| objective.has_too_few(**index)).count();
        let (of, claimed_from) = (order.len(), CLAIMED_FROM);
        return RankingVerdict::Unclaimed { leader: name(first), few, of, claimed_from };
    }
    if !objective.is_choosing() && objective.assumed(order) {
        let once = |index: &&usize| objective.launched_once(**index);
        let more_launches = order.iter().filter(once).count().max(1) as u32;
        return RankingVerdict::Insufficient { leader: name(first), more_launches };
    }
    if group.len() == 1 {
        return RankingVerdict::First { name: name(first) };
    }
    let names = group.iter().map(|place| name(order[*place as usize - 1])).collect();
    RankingVerdict::Tie { names, ranks: group }
}
