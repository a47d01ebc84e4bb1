//! Why a configuration has no rank, and what is to be known of one that has.

use super::arm::Arm;
use super::ranking::{ConstraintVerdict, Context};
use crate::configuration::canonical;
use crate::engine::LaunchFailure;
use crate::metric::{MetricRef, Status};
use crate::sweep::record::LaunchOutcome;

impl Context<'_> {
    /// Why a configuration has no rank; `None` where it has one.
    pub(super) fn reason(
        &self,
        index: usize,
        constrained: &[MetricRef],
        verdicts: &[ConstraintVerdict],
    ) -> Option<String> {
        let arm = &self.arms[index];
        let metric = &self.metrics[0];
        if !arm.overrides.is_empty() {
            return Some(self.overridden(arm));
        }
        let Some(values) = self.measured[0].values(index) else {
            return Some(not_measured(arm, metric, self.measured[0].arms.is_none()));
        };
        let without_log = values.values().iter().flatten().filter(|value| **value <= 0.0).count();
        if without_log > 0 {
            return Some(format!(
                "{without_log} of {} values of {metric} are zero or negative: there is no \
                 geometric mean to rank by",
                values.repeats()
            ));
        }
        let broken: Vec<String> = constrained
            .iter()
            .zip(verdicts)
            .filter_map(|(metric, verdict)| match verdict {
                ConstraintVerdict::Violated => Some(format!("violates the bound of {metric}")),
                ConstraintVerdict::NotMeasured => Some(format!("{metric} was not measured")),
                ConstraintVerdict::Holds | ConstraintVerdict::NotShown => None,
            })
            .collect();
        (!broken.is_empty()).then(|| broken.join("; "))
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
        constrained: &[MetricRef],
        verdicts: &[ConstraintVerdict],
        failures: &[&LaunchFailure],
    ) -> Vec<String> {
        let arm = &self.arms[index];
        let mut remarks: Vec<String> = constrained
            .iter()
            .zip(verdicts)
            .filter(|(_, verdict)| **verdict == ConstraintVerdict::NotShown)
            .map(|(metric, _)| format!("the bound of {metric} is not shown to hold"))
            .collect();
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
}

/// Launches that failed. One that we gave up ourselves says nothing of the
/// configuration.
pub(super) fn failures<'a>(arm: &Arm<'a>) -> impl Iterator<Item = &'a LaunchFailure> {
    arm.launches.clone().into_iter().filter_map(|launch| match &launch.outcome {
        Some(LaunchOutcome::Failed(failure)) if !failure.cancelled => Some(failure),
        _ => None,
    })
}

/// Why there is no value of the objective: the most telling cause.
fn not_measured(arm: &Arm<'_>, metric: &MetricRef, ambiguous: bool) -> String {
    if ambiguous {
        return format!("{metric} names no case, and there are several");
    }
    if let Some(failure) = failures(arm).last() {
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
    if let Some(reason) = skipped {
        return format!("not launched: {reason}");
    }
    if arm.launches.is_empty() {
        return "not launched: the sweep ended before".to_owned();
    }
    let void = arm
        .launches
        .iter()
        .flat_map(|launch| &launch.measurements)
        .filter(|m| m.status != Status::Ok)
        .find_map(|m| m.reason.as_ref());
    match void {
        Some(reason) => format!("{metric} was not measured: {reason}"),
        None => format!("{metric} was not measured"),
    }
}
