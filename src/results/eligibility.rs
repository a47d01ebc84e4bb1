//! Why a configuration has no rank, and what is to be known of one that has.

use super::arm::{Arm, kept};
use super::failed_repeats::{Place, Repeats};
use super::measured::Measured;
use super::number;
use super::ranking::{Bounded, ConstraintVerdict, Context, RankedConfiguration};
use crate::configuration::canonical;
use crate::history::launch::LaunchFailure;
use crate::history::launch::LaunchOutcome;
use crate::history::record::LaunchRecord;
use crate::metric::{MetricRef, Status};

impl Context<'_> {
    /// Why a configuration has no rank; `None` where it has one.
    pub(super) fn reason(
        &self,
        index: usize,
        bounded: &[Bounded],
        repeats: &[Repeats],
    ) -> Option<String> {
        let arm = &self.arms[index];
        let metric = &self.metrics[0];
        if !arm.overrides.is_empty() {
            return Some(self.overridden(arm));
        }
        let Some(values) = self.measured[0].values(index) else {
            return Some(not_measured(arm, metric, &self.measured[0]));
        };
        if self.measured[0].estimate(index).is_none() {
            let without_log =
                values.values().iter().flatten().filter(|value| **value <= 0.0).count();
            return Some(format!(
                "{without_log} of {} values of {metric} are zero or negative: there is no \
                 geometric mean to rank by",
                values.repeats()
            ));
        }
        let failed = repeats.iter().filter_map(|repeats| {
            let told = repeats.too_many()?;
            Some(format!("{told}: what the others measured is not ranked"))
        });
        let broken = bounded.iter().filter_map(|bounded| match bounded.verdict {
            ConstraintVerdict::Violated => {
                Some(format!("violates the bound of {}", bounded.told()))
            }
            ConstraintVerdict::NotMeasured => match self.of(&bounded.metric) {
                Some(measured) => Some(not_measured(arm, &bounded.metric, measured)),
                None => Some(format!("{} was not measured", bounded.metric)),
            },
            ConstraintVerdict::Holds | ConstraintVerdict::NotShown => None,
        });
        let reasons: Vec<String> = failed.chain(broken).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn overridden(&self, arm: &Arm<'_>) -> String {
        let flags: Vec<String> = arm
            .overrides
            .iter()
            .map(|over| {
                let text = |value: &Option<serde_json::Value>| {
                    value.as_ref().map_or_else(|| "nothing".to_owned(), canonical)
                };
                format!("{}={} (asked: {})", over.flag, text(&over.shown), text(&over.requested))
            })
            .collect();
        let same = arm.same_as.map_or_else(String::new, |honest| {
            format!("; counted as {}", self.arms[honest].configuration.name)
        });
        format!("overridden: ran with {}{same}", flags.join(", "))
    }

    /// What a reader should know of an eligible configuration.
    pub(super) fn remarks(
        &self,
        index: usize,
        repeats: &[Repeats],
        failures: &[&LaunchFailure],
    ) -> Vec<String> {
        let arm = &self.arms[index];
        let mut remarks: Vec<String> = repeats.iter().flat_map(Repeats::remarks).collect();
        if let Some(failure) = failures.last() {
            remarks.push(format!(
                "{} of {} launches failed ({})",
                failures.len(),
                arm.launches.len(),
                failure.class.as_str()
            ));
        }
        for &further in &arm.further {
            remarks.push(format!("{} ran as this one", self.arms[further].configuration.name));
        }
        remarks
    }

    /// The cases that the objective and the bounds are of.
    pub(super) fn judged_places(&self, constrained: &[MetricRef]) -> Vec<Place> {
        std::iter::once(&self.metrics[0])
            .chain(constrained)
            .filter_map(|metric| {
                let case = self.of(metric)?.case.clone()?;
                Some((metric.workload.clone(), case))
            })
            .collect()
    }
}

impl RankedConfiguration {
    /// What a reader should know of an eligible one, bounds that are not shown to
    /// hold first.
    pub fn all_remarks(&self) -> Vec<String> {
        let open =
            |bounded: &&Bounded| self.eligible && bounded.verdict == ConstraintVerdict::NotShown;
        let bounds = self.constraints.iter().filter(open);
        bounds
            .map(|bounded| format!("not shown to hold the bound of {}", bounded.told()))
            .chain(self.remarks.iter().cloned())
            .collect()
    }
}

impl Bounded {
    /// `load.median_ttft_ms: 4003 ms [3801, 4200], at most 3000 ms`.
    fn told(&self) -> String {
        let bounds: Vec<String> = self.bounds.iter().map(number::bound).collect();
        let figure = self.estimate.as_ref().map_or_else(
            || "-".to_owned(),
            |estimate| number::estimate(estimate, number::unit(&self.metric)),
        );
        format!("{}: {figure}, {}", self.metric, bounds.join(" and "))
    }
}

/// Launches that failed. One that we gave up ourselves says nothing of the
/// configuration.
pub(super) fn failures<'a>(arm: &Arm<'a>) -> impl Iterator<Item = &'a LaunchFailure> {
    arm.launches.clone().into_iter().filter_map(|launch| match &launch.outcome {
        Some(LaunchOutcome::Failed(failure)) if !failure.cancelled => Some(failure),
        _ => None,
    })
}

/// Why there is no value of a metric: the most telling cause.
fn not_measured(arm: &Arm<'_>, metric: &MetricRef, measured: &Measured) -> String {
    let Some(case) = &measured.case else {
        return format!("{metric} names no case, and there are several");
    };
    let tried = arm.launches.iter().flat_map(|launch| kept(launch, &metric.workload, case));
    let repeats: Vec<_> = tried.collect();
    let lost = repeats.iter().filter(|m| m.status != Status::Ok).find_map(|m| m.reason.as_ref());
    let started = arm.launches.iter().filter(|launch| !is_skipped(launch)).count();
    // A launch that came to the case says more than one that came to nothing.
    let failed =
        failures(arm).last().filter(|_| lost.is_none() || failures(arm).count() == started);
    if let Some(failure) = failed {
        let word = if failure.class.is_deterministic() { "infeasible" } else { "failed" };
        // An engine's message may have said it already.
        let untold = |tokens: &u64| !failure.message.contains(&tokens.to_string());
        let fits =
            failure.estimated_max_model_len.filter(untold).map_or_else(String::new, |tokens| {
                format!("; the engine estimates that {tokens} tokens of context fit")
            });
        return format!("{word} ({}): {}{fits}", failure.class.as_str(), failure.message);
    }
    let skipped = arm.launches.iter().find_map(|launch| match &launch.outcome {
        Some(LaunchOutcome::Skipped { reason }) => Some(reason),
        _ => None,
    });
    if let (Some(reason), true) = (skipped, repeats.is_empty()) {
        return format!("not launched: {reason}");
    }
    if arm.launches.is_empty() {
        return "not launched so far".to_owned();
    }
    let valid = repeats.iter().filter(|m| m.status == Status::Ok).count();
    match (lost, metric.known()) {
        (Some(reason), _) => format!("{metric} was not measured: {reason}"),
        // What it needs stands in its definition.
        (None, Some(known)) if valid > 0 => format!(
            "{metric} was not measured: {valid} valid repeats have no value of it ({})",
            known.definition.trim_end_matches('.')
        ),
        (None, _) => format!("{metric} was not measured"),
    }
}

fn is_skipped(launch: &LaunchRecord) -> bool {
    matches!(launch.outcome, Some(LaunchOutcome::Skipped { .. }))
}
