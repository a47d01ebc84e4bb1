//! What the gates of a sweep say to who reads its ranking: that there were none, or on which
//! prompts the baseline fails, so that nobody is judged there. A configuration that failed
//! a gate has no rank: that is in `eligibility`.

use std::fmt;

use serde::Serialize;

use super::arm::Arm;
use super::exclusion::Exclusion;
use crate::gate::{Against, Gate, GateReport};
use crate::history::launch::{FailureClass, LaunchOutcome};
use crate::history::record::{LaunchRecord, SweepRecord};

/// What is to be known of a sweep's gates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "gates", rename_all = "snake_case")]
pub enum Gated {
    /// The grid switched them off.
    Off,
    /// The baseline fails on some prompts.
    BaselineFails {
        /// The baseline.
        baseline: String,
        /// Gates, each with the prompts.
        prompts: Vec<(Gate, Vec<String>)>,
    },
}

/// `None` where gates ran and the baseline passed, and of a version without gates.
pub(super) fn gated(sweep: &SweepRecord) -> Option<Gated> {
    if sweep.manifest.gates.as_ref()?.is_off() {
        return Some(Gated::Off);
    }
    let (baseline, failures) = sweep.baseline_failures()?;
    let mut prompts: Vec<(Gate, Vec<String>)> = Vec::new();
    for (gate, prompt) in failures.iter() {
        match prompts.last_mut() {
            Some((last, names)) if *last == gate => names.push(prompt.to_owned()),
            _ => prompts.push((gate, vec![prompt.to_owned()])),
        }
    }
    let baseline = baseline.name.clone();
    (!prompts.is_empty()).then_some(Gated::BaselineFails { baseline, prompts })
}

/// Why a configuration has no rank, where a gate ended one of its launches: however the
/// others were measured, it answers so at times. It is judged by all launches of the baseline:
/// a later one may have failed on the same prompts.
pub(super) fn failed(sweep: &SweepRecord, arm: &Arm<'_>) -> Option<Exclusion> {
    let failed = arm.launches.iter().filter_map(|launch| match &launch.outcome {
        Some(LaunchOutcome::Failed(failure)) if failure.class == FailureClass::GateFailed => {
            Some((launch, &failure.message))
        }
        _ => None,
    });
    let mut failed = failed.peekable();
    failed.peek()?;
    let baseline = sweep.baseline_failures();
    let against = baseline.map_or(Against::Nothing, |(_, known)| Against::Baseline(known));
    let (_, message) = failed.find(|(launch, _)| still_fails(launch, &against))?;
    Some(Exclusion::GateFailed { message: message.clone() })
}

/// Whether a launch that a gate ended would be ended today.
fn still_fails(launch: &LaunchRecord, against: &Against) -> bool {
    let is_excused = |report: &GateReport| {
        let mut failures = report.failures().peekable();
        failures.peek().is_some() && failures.all(|it| against.excuses(report.gate, it))
    };
    // Without its report, what the launch ended with counts.
    !launch.gates.last().is_some_and(is_excused)
}

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("gates: off, so what was answered was not looked at"),
            Self::BaselineFails { baseline, prompts } => {
                let each: Vec<String> = prompts
                    .iter()
                    .map(|(gate, names)| format!("`{gate}` on {}", names.join(", ")))
                    .collect();
                let each = each.join(" and ");
                write!(f, "the baseline {baseline} fails {each}: nobody is judged there")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gate::{BaselineFailures, Finding};

    fn report(prompt: &str, against: &Against) -> GateReport {
        let finding = Finding::failing(prompt, "period", "it loops".to_owned(), String::new());
        GateReport::judged(Gate::Canary, vec![finding], BTreeMap::new(), against)
    }

    #[test]
    fn what_a_later_launch_of_the_baseline_fails_on_too_excludes_nobody() {
        let launch = |gates| LaunchRecord { gates, ..LaunchRecord::default() };
        let failed = launch(vec![report("french", &Against::Nothing)]);
        let later = |prompt| {
            let baseline = report(prompt, &Against::Itself);
            Against::Baseline(BaselineFailures::of([&baseline]))
        };
        assert!(still_fails(&failed, &Against::Nothing));
        assert!(still_fails(&failed, &later("list")));
        assert!(!still_fails(&failed, &later("french")));
        assert!(still_fails(&launch(Vec::new()), &later("french")), "there is no report");
    }
}
