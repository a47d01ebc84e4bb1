//! Who has no rank and why, and what is to be known of a configuration that has
//! one. What either says is in `exclusion` and `remark`.

use super::arm::Arm;
use super::bounded::{Bounded, ConstraintVerdict};
use super::disturbance;
use super::evidence::Evidence;
use super::exclusion::{Exclusion, MissingValue};
use super::failed_repeats::{Place, Repeats, shows_too_many};
use super::gated;
use super::measured::Measured;
use super::missing::{MissingMetric, MissingValues};
use super::not_again::cut_before_duels;
use super::pattern;
use super::remark::Remark;
use super::under_load::{Repeating, repeating};
use crate::history::journal;
use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use crate::history::record::{LaunchRecord, SweepEnd};
use crate::history::values::kept;
use crate::metric::{MetricRef, Status};
use crate::strategy::Purpose;

/// Why a configuration has no rank; empty where it has one.
pub(super) fn exclusions(
    evidence: &Evidence<'_>,
    index: usize,
    bounded: &[Bounded],
    repeats: &[Repeats],
) -> Vec<Exclusion> {
    let arm = &evidence.arms[index];
    let (metric, objective) = (&evidence.metrics[0], &evidence.measured[0]);
    let not_measured = |metric: &MetricRef, measured: &Measured| Exclusion::NotMeasured {
        cause: unfinished(arm, measured, metric).unwrap_or_else(|| {
            match missing_value(arm, metric, measured) {
                MissingValue::NotLaunched => left_out(evidence),
                other => other,
            }
        }),
        metric: metric.clone(),
    };
    if !arm.overrides.is_empty() {
        let name = |owner: usize| evidence.arms[owner].configuration.name.clone();
        let counted_as = arm.same_as.map(name);
        return vec![Exclusion::Overridden { flags: arm.overrides.clone(), counted_as }];
    }
    if let Some(owner) = arm.same_as {
        let counted_as = evidence.arms[owner].configuration.name.clone();
        return vec![Exclusion::RanAs { counted_as }];
    }
    // However fast it is.
    if let Some(failed) = gated::failed(evidence.sweep, arm) {
        return vec![failed];
    }
    if let Some(looping) = repeating(evidence, index).into_iter().find(Repeating::is_clear) {
        return vec![Exclusion::LoopsUnderLoad(looping)];
    }
    let Some(values) = objective.values(index) else {
        return vec![not_measured(metric, objective)];
    };
    if objective.estimate(index).is_none() {
        let not_positive = values.values().iter().flatten().filter(|value| **value <= 0.0).count();
        let (metric, values) = (metric.clone(), values.repeats());
        return vec![Exclusion::NotPositive { metric, not_positive, values }];
    }
    let failed = repeats.iter().filter_map(Repeats::too_many).map(Exclusion::FailedRepeats);
    let missing = missing(evidence, index, bounded).into_iter().filter(MissingValues::too_many);
    let failed = failed.chain(missing.map(Exclusion::MissingValues)).chain(fails_often(arm));
    let broken = bounded.iter().filter_map(|bounded| match bounded.verdict {
        ConstraintVerdict::Violated => {
            Some(Exclusion::Violated { bounded: bounded.clone(), dropped: None })
        }
        ConstraintVerdict::NotMeasured => Some(match evidence.of(&bounded.metric) {
            Some(measured) => not_measured(&bounded.metric, measured),
            None => Exclusion::NotMeasured {
                metric: bounded.metric.clone(),
                cause: MissingValue::Unexplained,
            },
        }),
        ConstraintVerdict::Holds | ConstraintVerdict::NotShown => None,
    });
    failed.chain(broken).collect()
}

fn fails_often(arm: &Arm<'_>) -> Option<Exclusion> {
    let lived = Survival::of(arm);
    let failed = lived.launches - lived.lived;
    let (launches, class) = (lived.launches, lived.class?);
    shows_too_many(failed, launches).then_some(Exclusion::FailedLaunches {
        failed,
        launches,
        class,
        dropped: None,
    })
}

/// Launches that came to an end of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Survival {
    /// Those that booted and lived until they were stopped.
    pub(super) lived: usize,
    /// All of them.
    pub(super) launches: usize,
    /// The class of the last failure.
    pub(super) class: Option<FailureClass>,
}

impl Survival {
    /// What others did to a launch says nothing of the configuration.
    pub(super) fn of(arm: &Arm<'_>) -> Self {
        let failed = failures(arm).filter(|failure| !failure.class.is_foreign());
        let failed: Vec<&LaunchFailure> = failed.collect();
        let measured = |it: &&&LaunchRecord| matches!(it.outcome, Some(LaunchOutcome::Measured));
        let lived = arm.launches.iter().filter(measured).count();
        let class = failed.last().map(|failure| failure.class);
        Self { lived, launches: lived + failed.len(), class }
    }
}

/// What a configuration lacks of the objective and of bounded metrics.
pub(super) fn missing(
    evidence: &Evidence<'_>,
    index: usize,
    bounded: &[Bounded],
) -> Vec<MissingValues> {
    let mut metrics = vec![&evidence.metrics[0]];
    for it in bounded.iter().map(|bounded| &bounded.metric) {
        if !metrics.contains(&it) {
            metrics.push(it);
        }
    }
    let of = |metric: &&MetricRef| {
        let case = evidence.of(metric)?.case.clone()?;
        MissingValues::of(&evidence.arms[index], metric, &case)
    };
    metrics.iter().filter_map(of).collect()
}

/// The judged metrics that configurations lack, the objective first.
pub(super) fn missing_metrics(
    evidence: &Evidence<'_>,
    bounded: &[Vec<Bounded>],
    baseline: Option<usize>,
) -> Vec<MissingMetric> {
    let mut found: Vec<MissingMetric> = Vec::new();
    let measured = |arm: &&Arm<'_>| arm.launches.iter().any(|it| !it.measurements.is_empty());
    let of = evidence.arms.iter().filter(measured).count();
    for (index, bounded) in bounded.iter().enumerate() {
        for missing in missing(evidence, index, bounded) {
            let name = evidence.arms[index].configuration.name.clone();
            let is_baseline = baseline == Some(index);
            if let Some(known) = found.iter_mut().find(|known| known.metric == missing.metric) {
                known.configurations.push(name);
                known.baseline |= is_baseline;
                known.repeats += missing.count;
                known.first_reason = known.first_reason.take().or(missing.first_reason);
                continue;
            }
            found.push(MissingMetric {
                metric: missing.metric,
                configurations: vec![name],
                of,
                baseline: is_baseline,
                repeats: missing.count,
                first_reason: missing.first_reason,
            });
        }
    }
    let objective = &evidence.metrics[0];
    found.sort_by_key(|it| it.metric != *objective);
    found
}

/// What a reader should know of an eligible configuration.
pub(super) fn remarks(
    evidence: &Evidence<'_>,
    index: usize,
    bounded: &[Bounded],
    repeats: &[Repeats],
    failures: &[&LaunchFailure],
) -> Vec<Remark> {
    let arm = &evidence.arms[index];
    let mut remarks: Vec<Remark> =
        repeats.iter().flat_map(Repeats::lost).map(Remark::LostRepeats).collect();
    remarks.extend(missing(evidence, index, bounded).into_iter().map(Remark::MissingValues));
    remarks.extend(failures.last().map(|failure| Remark::FailedLaunches {
        failed: failures.len(),
        launches: arm.launches.len(),
        class: failure.class,
    }));
    remarks.extend(disturbance::of_arm(evidence, index).map(Remark::Disturbed));
    remarks.extend(repeating(evidence, index).into_iter().map(Remark::LoopsUnderLoad));
    remarks.extend(arm.further.iter().map(|&further| Remark::RanAsThis {
        configuration: evidence.arms[further].configuration.name.clone(),
    }));
    remarks.extend(patterns(evidence, index));
    remarks
}

fn patterns(evidence: &Evidence<'_>, index: usize) -> Vec<Remark> {
    let (metric, measured) = (&evidence.metrics[0], &evidence.measured[0]);
    let Some(case) = &measured.case else { return Vec::new() };
    let goal = evidence.sweep.manifest.objective.goal;
    let groups = pattern::two_groups(&measured.rests(index));
    let groups = groups.map(|(low, high, ratio)| Remark::TwoGroups { low, high, ratio });
    let slow = pattern::slow_first_repeat(&evidence.arms[index], metric, case, goal);
    groups.into_iter().chain(slow.map(|ratio| Remark::SlowFirstRepeat { ratio })).collect()
}

/// The cases that the objective and the bounds are of.
pub(super) fn judged_places(evidence: &Evidence<'_>, constrained: &[MetricRef]) -> Vec<Place> {
    std::iter::once(&evidence.metrics[0])
        .chain(constrained)
        .filter_map(|metric| {
            let case = evidence.of(metric)?.case.clone()?;
            Some((metric.workload.clone(), case))
        })
        .collect()
}

/// Launches that failed. One that we gave up ourselves says nothing of the
/// configuration.
pub(super) fn failures<'a>(arm: &Arm<'a>) -> impl Iterator<Item = &'a LaunchFailure> {
    arm.launches.clone().into_iter().filter_map(|launch| match &launch.outcome {
        Some(LaunchOutcome::Failed(failure)) if !failure.cancelled => Some(failure),
        _ => None,
    })
}

/// Where the last launch has no end: what the others came to, and this one so far, is not all
/// that is to come. A valid repeat without a value says more.
fn unfinished(arm: &Arm<'_>, measured: &Measured, metric: &MetricRef) -> Option<MissingValue> {
    let (case, last) = (measured.case.as_ref()?, arm.launches.last()?);
    let mut repeats = arm.launches.iter().flat_map(|it| kept(it, &metric.workload, case));
    if last.is_over() || repeats.any(|repeat| repeat.status == Status::Ok) {
        return None;
    }
    // Several run at once; what a session left open is closed by the next one.
    let is_open = last.outcome.is_none();
    Some(MissingValue::NotFinished { is_open, is_job: last.runs_on() })
}

/// Why a configuration was never launched: the sweep ended too early, or left it out by what the
/// launches before the last ones' own showed.
fn left_out(evidence: &Evidence<'_>) -> MissingValue {
    let sweep = evidence.sweep;
    // One that was stopped goes on.
    let is_over = |it: &SweepEnd| it.complete || journal::is_budget_spent(&it.reason);
    let chooses = sweep.manifest.strategy.chooses();
    if !sweep.ended.as_ref().is_some_and(is_over) || !chooses {
        return MissingValue::NotLaunched;
    }
    let is_decided = sweep.own_launches().any(|it| it.purpose == Purpose::Final);
    if let Some(reason) = cut_before_duels(evidence).filter(|_| !is_decided) {
        return MissingValue::Cut { reason };
    }
    let mut screen = sweep.own_launches().filter(|it| it.purpose != Purpose::Final);
    match screen.next_back() {
        Some(last) => MissingValue::LeftOut { after_launch: last.launch },
        None => MissingValue::NotLaunched,
    }
}

/// Why there is no value of a metric: the cause that explains most.
fn missing_value(arm: &Arm<'_>, metric: &MetricRef, measured: &Measured) -> MissingValue {
    let Some(case) = &measured.case else { return MissingValue::AmbiguousCase };
    let tried = arm.launches.iter().flat_map(|launch| kept(launch, &metric.workload, case));
    let repeats: Vec<_> = tried.collect();
    let lost = repeats.iter().filter(|m| m.status != Status::Ok).find_map(|m| m.reason.as_ref());
    let started = arm.launches.iter().filter(|launch| !is_skipped(launch)).count();
    // A launch that came to the case says more than one that came to nothing.
    let failed =
        failures(arm).last().filter(|_| lost.is_none() || failures(arm).count() == started);
    if let Some(failure) = failed {
        // An engine's message may have it already.
        let is_new = |tokens: &u64| !failure.message.contains(&tokens.to_string());
        return MissingValue::LaunchFailed {
            class: failure.class,
            message: failure.message.clone(),
            estimated_max_model_len: failure.estimated_max_model_len.filter(is_new),
            dropped: None,
        };
    }
    let skipped = arm.launches.iter().find_map(|launch| match &launch.outcome {
        Some(LaunchOutcome::Skipped { reason, .. }) => Some(reason.clone()),
        _ => None,
    });
    if let (Some(reason), true) = (skipped, repeats.is_empty()) {
        return MissingValue::Skipped { reason };
    }
    if arm.launches.is_empty() {
        return MissingValue::NotLaunched;
    }
    let valid_repeats = repeats.iter().filter(|m| m.status == Status::Ok).count();
    match (lost, metric.known()) {
        (Some(reason), _) => MissingValue::NoValidRepeat { reason: reason.clone() },
        (None, Some(known)) if valid_repeats > 0 => {
            let own = repeats.iter().find_map(|m| m.metric_reasons.get(&metric.name));
            let reason = own.or_else(|| repeats.iter().find_map(|m| m.reason.as_ref())).cloned();
            MissingValue::NoValue { valid_repeats, definition: known.definition, reason }
        }
        (None, _) => MissingValue::Unexplained,
    }
}

fn is_skipped(launch: &LaunchRecord) -> bool {
    matches!(launch.outcome, Some(LaunchOutcome::Skipped { .. }))
}
