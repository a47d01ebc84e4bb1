//! Which reports of gates count. A server that somebody stopped in mid-gate answers nothing more:
//! what was found then says nothing of its configuration, and the gate is still to be asked.
//! What gates find is [`crate::gate`]'s, and which are asked is the sweep's.

use super::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use super::record::{LaunchRecord, SweepRecord};
use crate::configuration::Configuration;
use crate::gate::{BaselineFailures, Gate, GateReport, GateVerdict};

/// Whether the end of a server during a gate is what the gate looks for; one from outside says
/// nothing of the configuration.
pub fn is_own_death(gate: Gate, failure: &LaunchFailure) -> bool {
    gate.is_of_death() && !failure.class.is_foreign()
}

impl LaunchRecord {
    /// Reports of gates that were brought to their end.
    pub fn counted_gates(&self) -> impl Iterator<Item = &GateReport> {
        let cut = usize::from(self.is_last_gate_cut());
        self.gates.iter().take(self.gates.len() - cut)
    }

    /// Whether the server ended during the last gate, for a reason that is not the gate's.
    fn is_last_gate_cut(&self) -> bool {
        let Some(report) = self.gates.last().filter(|_| self.measurements.is_empty()) else {
            return false;
        };
        // What was answered in full was asked, whatever came then.
        if report.is_clean() {
            return false;
        }
        match &self.outcome {
            Some(LaunchOutcome::Failed(failure)) if failure.class == FailureClass::GateFailed => {
                false
            }
            Some(LaunchOutcome::Failed(failure)) => !is_own_death(report.gate, failure),
            // A failed gate ends its launch, and why this one ended is not known.
            Some(LaunchOutcome::Interrupted | LaunchOutcome::Lost { .. }) | None => {
                report.verdict == GateVerdict::Failed
            }
            Some(_) => false,
        }
    }
}

impl SweepRecord {
    /// The baseline of the grid, and what its launches showed in their gates so far.
    pub fn baseline_failures(&self) -> Option<(&Configuration, BaselineFailures)> {
        let name = self.manifest.baseline.as_deref()?;
        let baseline = self.manifest.configurations.iter().find(|it| it.answers_to(name))?;
        let launches = self.launches.iter().filter(|it| it.configuration == baseline.name);
        let failures = BaselineFailures::of(launches.flat_map(LaunchRecord::counted_gates));
        Some((baseline, failures))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gate::{Against, Finding};

    fn counted(gate: Gate, finding: &Finding, outcome: Option<LaunchOutcome>) -> bool {
        let findings = vec![finding.clone()];
        let report = GateReport::judged(gate, findings, BTreeMap::new(), &Against::Nothing);
        let launch = LaunchRecord { gates: vec![report], outcome, ..LaunchRecord::default() };
        launch.counted_gates().count() == 1
    }

    #[test]
    fn a_gate_that_a_death_from_outside_cut_short_does_not_count() {
        let request = Finding::failing("french", "request", "refused".to_owned(), String::new());
        let ended = |class| Some(LaunchOutcome::Failed(LaunchFailure::new(class, "it ended")));
        let of = |gate, class| counted(gate, &request, ended(class));
        assert!(!of(Gate::Survival, FailureClass::Killed));
        assert!(!of(Gate::Survival, FailureClass::Environment));
        assert!(of(Gate::Survival, FailureClass::EngineDied), "what is to be survived");
        assert!(!of(Gate::Canary, FailureClass::EngineDied), "not what the canary looks for");
        assert!(of(Gate::Canary, FailureClass::GateFailed));
        assert!(counted(Gate::Canary, &request, Some(LaunchOutcome::Measured)));
        assert!(!counted(Gate::Survival, &request, Some(LaunchOutcome::Interrupted)));
        let told = Finding::reported("french", "right", "not French".to_owned(), String::new());
        assert!(counted(Gate::Survival, &told, ended(FailureClass::Killed)), "it was answered");
    }
}
