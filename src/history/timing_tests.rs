use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn configuration(name: &str, id: &str) -> Value {
    json!({"name": name, "aliases": [], "id": id, "flags": {}, "varied": {}, "environment": {}})
}

fn workloads(options: &Value) -> Vec<Workload> {
    let options = options.as_object().unwrap().clone();
    vec![Workload::from_options("kv-cache", &options).unwrap()]
}

fn manifest(engine: &str, host: &str, service: Option<(&str, Option<&str>)>) -> Manifest {
    let service = service.map(|(source, model)| json!({"source": source, "model": model}));
    serde_json::from_value(json!({
        "schema_version": 1, "tool_version": "0.1.0", "sweep": "s", "grid": "g",
        "grid_path": "g.yaml", "grid_sha256": "", "created_at": "2026-11-28T18:00:00Z",
        "engine": engine, "simulated": false, "service": service, "baseline": null,
        "configurations": [configuration("a", "1"), configuration("b", "2")], "varied": [],
        "workloads": workloads(&json!({})),
        "objective": {"metric": "kv_cache.ttft_resent_ms", "goal": "minimize", "constraints": []},
        "strategy": {"grid": {"launches": 2, "repeats": 2, "seed": 1}},
        "budget_seconds": null, "host": host,
    }))
    .unwrap()
}

fn asked(source: &str, model: Option<&str>, ids: &[&str]) -> Asked {
    Asked {
        engine: "docker",
        host: "here".to_owned(),
        service: Service { source: source.to_owned(), model: model.map(str::to_owned) },
        ids: ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>(),
    }
}

#[test]
fn only_sweeps_of_the_same_service_and_host_tell_something() {
    let asked = asked("compose.yaml#vllm", Some("m"), &["7"]);
    let same = |manifest: Manifest| asked.is_same(&manifest);
    assert!(same(manifest("docker", "here", Some(("compose.yaml#vllm", Some("m"))))));
    // A compose file that was not read does not say the model.
    assert!(same(manifest("docker", "here", Some(("compose.yaml#vllm", None)))));
    for other in [
        manifest("docker", "here", Some(("compose.yaml#vllm", Some("another")))),
        manifest("docker", "here", Some(("compose.yaml#other", Some("m")))),
        manifest("docker", "there", Some(("compose.yaml#vllm", Some("m")))),
        manifest("process", "here", Some(("compose.yaml#vllm", Some("m")))),
        manifest("docker", "here", None),
    ] {
        assert!(!same(other.clone()), "{:?} {} {}", other.service, other.engine, other.host);
    }
}

#[test]
fn an_older_manifest_is_of_the_same_service_where_a_configuration_is() {
    let old = manifest("docker", "here", None);
    assert!(asked("x", None, &["2", "9"]).is_same(&old));
    assert!(!asked("x", None, &["9"]).is_same(&old));
}

/// One launch of `a`: 30 s of boot, a warm-up of 9 s, repeats of 5 s and 7 s, a stop of 4 s.
fn launched() -> SweepRecord {
    let at = |seconds: i64| format!("2026-11-28T18:00:{seconds:02}Z");
    let case = workloads(&json!({}))[0].cases().remove(0);
    let measurement = |repeat: u32| {
        json!({"workload": "kv-cache", "case": case, "repeat": repeat, "status": "ok",
               "reason": null, "metrics": {}})
    };
    let launch = serde_json::from_value(json!({
        "launch": 1, "slot": 0, "configuration": "a", "repeats": 2,
        "started_at": at(0), "ended_at": at(55), "effective": {},
        "facts": {"started_at": at(0), "boot_seconds": 30.0, "image_id": null,
                  "engine_version": null},
        "measurements": [measurement(0), measurement(1), measurement(2)],
        "measured_at": [at(39), at(44), at(51)],
        "outcome": {"outcome": "measured"},
    }));
    SweepRecord {
        launches: vec![launch.unwrap()],
        ..SweepRecord::new(manifest("docker", "here", None))
    }
}

#[test]
fn a_launch_is_what_is_around_its_repeats_and_each_of_these() {
    let mut timing = Timing::default();
    timing.learn(&launched());
    assert_eq!((timing.sweeps(), timing.knows("1"), timing.knows("2")), (1, true, false));
    let of = |options: Value, repeats| timing.launch_seconds("1", &workloads(&options), repeats);
    assert_eq!(of(json!({}), 2), Some(34.0 + 9.0 + 2.0 * 6.0));
    assert_eq!(of(json!({}), 5), Some(34.0 + 9.0 + 5.0 * 6.0), "other numbers of repeats");
    assert_eq!(of(json!({"warmup": 0, "repeats": 1}), 5), Some(34.0 + 6.0));
    // Another workload takes another time: it is not known.
    assert_eq!(of(json!({"prefix-tokens": [8192]}), 2), None);
    // A configuration that was not launched is taken to be as the others.
    assert_eq!(timing.launch_seconds("2", &workloads(&json!({})), 2), Some(55.0));
}

#[test]
fn launches_that_were_not_measured_to_their_end_tell_nothing() {
    for outcome in ["interrupted", "unknown"] {
        let mut record = launched();
        record.launches[0].outcome = serde_json::from_value(json!({"outcome": outcome})).unwrap();
        let mut timing = Timing::default();
        timing.learn(&record);
        assert!(timing.is_empty() && timing.sweeps() == 0);
        assert_eq!(timing.launch_seconds("1", &workloads(&json!({})), 2), None);
    }
    let mut old = launched();
    old.launches[0].measured_at.clear();
    let mut timing = Timing::default();
    timing.learn(&old);
    assert!(timing.is_empty(), "an older journal without times");
}

/// The same launch with gates before its warm-up: the first takes 3 s, the second 2 s.
fn with_gates(gates: &[&str], verdict: &str) -> SweepRecord {
    let mut record = launched();
    record.manifest.gates =
        Some(Gates { function: Some(crate::gate::FunctionSettings {}), ..Gates::default() });
    let report =
        |gate: &&str| serde_json::from_value(json!({"gate": gate, "verdict": verdict})).unwrap();
    record.launches[0].gates = gates.iter().map(report).collect();
    let at = |seconds: i64| format!("2026-11-28T18:00:{seconds:02}Z").parse().unwrap();
    record.launches[0].gated_at = [33, 35].map(at)[..gates.len()].to_vec();
    record
}

#[test]
fn gates_are_learned_by_themselves_and_those_of_a_first_launch_once() {
    let record = with_gates(&["canary", "function"], "passed");
    let mut timing = Timing::default();
    timing.learn(&record);
    let launch = timing.launch_seconds("1", &workloads(&json!({})), 2);
    assert_eq!(launch, Some(34.0 + 4.0 + 2.0 * 6.0), "they are not in the first repeat");
    let gates = Gates::default();
    let both = Gates { function: Some(crate::gate::FunctionSettings {}), ..gates.clone() };
    let is = |value: Option<f64>, expected: f64| {
        assert!((value.unwrap() - expected).abs() < 1e-9, "{value:?}");
    };
    for id in ["1", "2"] {
        is(timing.gate_seconds(id, &both, Gate::Function), 2.0);
        is(timing.longest_gate_seconds(id, &gates, Gate::Canary), 3.0);
    }
    is(timing.own_gate_seconds("1", &gates, Gate::Canary), 3.0);
    assert_eq!(timing.own_gate_seconds("2", &gates, Gate::Canary), None);
    assert_eq!(timing.own_longest_gate_seconds("2", &gates, Gate::Canary), None);
    is(timing.seconds_of_gate(&gates, Gate::Canary), 3.0);
    assert_eq!(timing.seconds_of_gate(&gates, Gate::Survival), None);
}

#[test]
fn a_gates_time_counts_for_its_settings_where_it_asked_something() {
    use crate::gate::SurvivalSettings;
    let of = |tokens: u32| Gates {
        survival: Some(SurvivalSettings { prompt_tokens: vec![tokens] }),
        ..Gates::default()
    };
    let learned = |verdict: &str| {
        let mut record = with_gates(&["survival"], verdict);
        record.manifest.gates = Some(of(500));
        let mut timing = Timing::default();
        timing.learn(&record);
        assert_eq!(timing.sweeps(), 1);
        timing
    };
    let passed = learned("passed");
    assert!(passed.gate_seconds("1", &of(500), Gate::Survival).is_some());
    assert_eq!(passed.gate_seconds("1", &of(100_000), Gate::Survival), None);
    assert_eq!(passed.seconds_of_gate(&of(100_000), Gate::Survival), None);
    let skipped = learned("skipped");
    assert_eq!(skipped.gate_seconds("1", &of(500), Gate::Survival), None);
    let launch = skipped.launch_seconds("1", &workloads(&json!({})), 2);
    assert_eq!(launch, Some(34.0 + 6.0 + 2.0 * 6.0), "its time is not in the first repeat");
}

#[test]
fn nothing_is_learned_of_a_launch_with_an_unknown_workload() {
    let mut record = with_gates(&["canary"], "passed");
    let mut other = record.launches[0].measurements[0].clone();
    other.workload = "another".to_owned();
    record.launches[0].measurements[2] = other;
    let mut timing = Timing::default();
    timing.learn(&record);
    assert_eq!(timing, Timing::default());
}
