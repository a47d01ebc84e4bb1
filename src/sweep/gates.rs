//! Which gates a launch goes through, what their findings are held against, and what a
//! failed one means for the launch. Who asks a server is the suite's. Pure.

use crate::configuration::Configuration;
use crate::gate::{Against, Finding, GateOrder, GateReport};
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::workload::{RequestFields, Workload};

/// Findings that a message shows; the journal has all.
const SHOWN: usize = 3;

/// The gates of the next launch of a configuration.
pub(super) fn of(record: &SweepRecord, configuration: &Configuration) -> GateOrder {
    let Some(settings) = record.manifest.gates.clone() else { return GateOrder::default() };
    let asked = |gate| reports(record, &configuration.name).any(|report| report.gate == gate);
    let gates = settings.of_launch(asked);
    let against = match record.baseline_failures() {
        None => Against::Nothing,
        Some((baseline, _)) if baseline.id == configuration.id => Against::Itself,
        Some((_, failures)) => Against::Baseline(failures),
    };
    GateOrder {
        settings,
        gates,
        against,
        batched_tokens: None,
        flags: configuration.flags.clone(),
        request: shared(&record.manifest.workloads),
    }
}

/// The fields that the requests of all workloads have.
fn shared(workloads: &[Workload]) -> RequestFields {
    let Some((first, others)) = workloads.split_first() else { return RequestFields::default() };
    let is_shared = |name: &str, value: &serde_json::Value| {
        others.iter().all(|other| other.request.fields().get(name) == Some(value))
    };
    first.request.clone().keeping(is_shared)
}

/// What the gates said of a configuration's launches, where they were brought to their end.
fn reports<'a>(record: &'a SweepRecord, name: &'a str) -> impl Iterator<Item = &'a GateReport> {
    let launches = record.launches.iter().filter(move |it| it.configuration == name);
    launches.flat_map(LaunchRecord::counted_gates)
}

/// The failure of a launch that a gate ended; `death` is the engine's own account, where it
/// did not survive the gate.
pub(super) fn failure(report: &GateReport, death: Option<LaunchFailure>) -> LaunchFailure {
    let mut failures = report.failures();
    let mut shown: Vec<String> = failures.by_ref().take(SHOWN).map(Finding::to_string).collect();
    match failures.count() {
        0 => {}
        more => shown.push(format!("and {more} more")),
    }
    let mut message = format!("the gate `{}` failed: {}", report.gate, shown.join("; "));
    let Some(death) = death else { return LaunchFailure::new(FailureClass::GateFailed, message) };
    message = format!("{message}; {}", death.message);
    LaunchFailure { class: FailureClass::GateFailed, message, ..death }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::fakes::manifest;
    use super::*;
    use crate::gate::{Gate, GateVerdict, Gates};
    use crate::history::launch::LaunchOutcome;

    fn record(baseline: Option<&str>, launches: &[(&str, Gate, &str)]) -> SweepRecord {
        let mut manifest = manifest(3, 1, 1);
        let survival = Some(crate::gate::SurvivalSettings::default());
        manifest.gates = Some(Gates { survival, ..Gates::default() });
        manifest.baseline = baseline.map(str::to_owned);
        let mut record = SweepRecord::new(manifest);
        for (number, (name, gate, prompt)) in (1..).zip(launches) {
            let finding = Finding::failing(prompt, "period", "it loops".into(), "la la".into());
            let findings = if prompt.is_empty() { Vec::new() } else { vec![finding] };
            let report = GateReport::judged(*gate, findings, BTreeMap::new(), &Against::Nothing);
            record.launches.push(LaunchRecord {
                launch: number,
                configuration: (*name).to_owned(),
                gates: vec![report],
                outcome: Some(LaunchOutcome::Measured),
                ..LaunchRecord::default()
            });
        }
        record
    }

    fn order(record: &SweepRecord, index: usize) -> GateOrder {
        of(record, &record.manifest.configurations[index])
    }

    #[test]
    fn the_canary_is_asked_in_each_launch_and_the_others_until_they_answered_once() {
        let both = [Gate::Canary, Gate::Survival];
        assert_eq!(order(&record(None, &[]), 0).gates, both);
        let once = record(None, &[("c0", Gate::Canary, "")]);
        assert_eq!(order(&once, 0).gates, both, "it ended before the second gate");
        let whole = record(None, &[("c0", Gate::Survival, "")]);
        assert_eq!(order(&whole, 0).gates, [Gate::Canary]);
        assert_eq!(order(&whole, 1).gates, both, "another configuration");
        let mut older = whole;
        older.manifest.gates = None;
        assert_eq!(order(&older, 0), GateOrder::default());
    }

    #[test]
    fn a_gate_during_which_somebody_killed_the_server_is_asked_again_and_excuses_nobody() {
        let mut killed =
            record(Some("c0"), &[("c0", Gate::Survival, "x"), ("c1", Gate::Survival, "x")]);
        for launch in &mut killed.launches {
            let failure = LaunchFailure::new(FailureClass::Killed, "killed");
            launch.outcome = Some(LaunchOutcome::Failed(failure));
        }
        assert_eq!(order(&killed, 1).gates, [Gate::Canary, Gate::Survival]);
        let Against::Baseline(failures) = order(&killed, 1).against else { panic!("a baseline") };
        assert!(failures.is_empty());
        killed.launches[1].outcome =
            Some(LaunchOutcome::Failed(LaunchFailure::new(FailureClass::GateFailed, "it loops")));
        assert_eq!(order(&killed, 1).gates, [Gate::Canary], "it was asked and failed");
    }

    #[test]
    fn gates_ask_with_the_fields_that_all_workloads_share() {
        let workload = |request: serde_json::Value| {
            let options = serde_json::json!({"request": request});
            Workload::from_options("kv-cache", options.as_object().unwrap()).unwrap()
        };
        let off = serde_json::json!({"chat_template_kwargs": {"enable_thinking": false}});
        let mut both = off.clone();
        both["top_p"] = serde_json::json!(0.9);
        let fields = |all: &[Workload]| serde_json::to_value(shared(all)).unwrap();
        assert_eq!(fields(&[workload(both.clone()), workload(off.clone())]), off);
        assert_eq!(fields(&[workload(both.clone())]), both);
        assert_eq!(
            fields(&[workload(both), workload(serde_json::json!({}))]),
            serde_json::json!({})
        );
    }

    #[test]
    fn findings_are_held_against_what_the_baseline_fails() {
        let none = record(None, &[("c0", Gate::Canary, "french")]);
        assert_eq!(order(&none, 1).against, Against::Nothing);
        let some = record(Some("c0"), &[("c0", Gate::Canary, "french")]);
        assert_eq!(order(&some, 0).against, Against::Itself);
        let Against::Baseline(failures) = order(&some, 1).against else { panic!("a baseline") };
        assert!(failures.has(Gate::Canary, "french") && !failures.has(Gate::Canary, "list"));
    }

    #[test]
    fn a_failure_names_the_prompts_and_keeps_the_engines_account() {
        let findings = ["french", "code", "list", "json"]
            .map(|name| Finding::failing(name, "period", "it loops".into(), "la la".into()));
        let report =
            GateReport::judged(Gate::Canary, findings.to_vec(), BTreeMap::new(), &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Failed);
        let failed = failure(&report, None);
        assert_eq!(failed.class, FailureClass::GateFailed);
        assert!(failed.message.starts_with("the gate `canary` failed: french: it loops"));
        assert!(failed.message.ends_with("and 1 more"), "{}", failed.message);
        let mut death = LaunchFailure::new(FailureClass::EngineDied, "the engine died");
        death.log_lines = vec!["CUDA error".to_owned()];
        let failed = failure(&report, Some(death));
        assert_eq!((failed.class, failed.log_lines.len()), (FailureClass::GateFailed, 1));
        assert!(failed.message.ends_with("the engine died"), "{}", failed.message);
    }
}
