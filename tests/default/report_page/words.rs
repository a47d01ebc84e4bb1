//! What the sections say of made-up sweeps: recommendations, axes, gates.

use serde_json::json;
use vllm_grid::gate::{Finding, Gate, GateReport, GateVerdict};
use vllm_grid::history::record::SweepRecord;
use vllm_grid::server::effective::FlagProof;

use super::made::Made;
use crate::results::analysis::loads;
use crate::results::builder::{Building as _, around, sweep};
use crate::results::refuted::used;

fn markdown(record: SweepRecord) -> String {
    Made::of(record, None).markdown()
}

/// The line that begins so.
fn line<'a>(text: &'a str, begins: &str) -> &'a str {
    text.lines().find(|it| it.starts_with(begins)).unwrap_or_else(|| panic!("{begins}: {text}"))
}

#[test]
fn a_candidate_without_the_best_mean_is_not_said_to_have_the_best_figure() {
    let record = loads(&[("base", &[(8, 100.0, 50.0)]), ("even", &[(8, 100.3, 50.0)])]);
    let text = markdown(record.flags("even", json!({"max-num-seqs": 8})).baseline("base"));
    let said = line(&text, "- **throughput**");
    assert!(said.contains("it is the ranking's candidate") && !said.contains("best"), "{said}");
}

/// What chose a configuration says less of it than what did not.
#[test]
fn what_fresh_launches_show_is_what_is_recommended_and_labelled() {
    let text = markdown(used("a"));
    let said = line(&text, "- **throughput**");
    assert!(said.contains("take ") && said.contains("confirmed on fresh launches"), "{said}");
    assert!(text.contains(", confirmed |"), "{text}");
    let text = markdown(used("production"));
    let said = line(&text, "- **throughput**");
    assert!(said.contains("keep ") && said.contains("is not confirmed to be better"), "{said}");
    assert!(text.contains(", not confirmed by fresh launches"), "{text}");
    assert!(!text.contains(", confirmed |"), "{text}");
}

#[test]
fn a_baseline_that_ran_as_the_best_one_is_kept_as_that_one() {
    let mut record = loads(&[("a", &[(8, 150.0, 50.0)]), ("prod", &[(8, 150.0, 50.0)])])
        .flags("a", json!({"max-num-seqs": 8}))
        .flags("prod", json!({"max-num-seqs": 16}))
        .baseline("prod");
    for launch in record.launches.iter_mut().filter(|it| it.configuration == "prod") {
        let mut one = sweep(&["prod"]).launch("prod", &[]);
        one = one.shown("max-num-seqs", json!(8), FlagProof::Overridden);
        launch.effective = one.launches.remove(0).effective;
    }
    let text = markdown(record);
    let said = line(&text, "- **throughput**");
    assert!(said.contains("(it ran as ") && said.contains("it has the best figure"), "{said}");
    assert!(!said.contains("not shown to be better"), "{said}");
}

#[test]
fn axes_that_change_together_are_named_apart_from_what_is_said_of_others() {
    let names = ["a", "b", "c", "d"];
    let mut record = sweep(&names);
    for (at, name) in names.iter().enumerate() {
        let flags = json!({"max-num-seqs": 8 << (at % 2), "max-num-batched-tokens": 2048 << (at % 2),
            "enable-prefix-caching": at < 2});
        record = record.flags(name, flags);
    }
    for _ in 0..2 {
        for (name, value) in names.iter().zip([100.0, 110.0, 100.0, 110.0]) {
            record = record.launch(name, &around(value));
        }
    }
    let text = markdown(record);
    assert!(!text.contains("Nothing is said of axes"), "{text}");
    let said = line(&text, "Not estimable, since their values always change together");
    assert!(said.contains("max-num-seqs") && said.contains("max-num-batched-tokens"), "{said}");
    assert!(text.contains("enable-prefix-caching is not shown to act"), "{text}");
}

/// A confirmation's launches are not of the ranking; what failed in them is still to be seen.
#[test]
fn gates_are_counted_over_the_launches_of_the_ranking() {
    let report = |verdict, findings| GateReport {
        gate: Gate::Canary,
        verdict,
        reason: None,
        findings,
        metrics: std::collections::BTreeMap::new(),
    };
    let mut record = sweep(&["a"]);
    for _ in 0..3 {
        record = record.launch("a", &around(100.0));
    }
    let said = "the answer loops".to_owned();
    let finding = Finding::failing("french", "period", said, "la la la".to_owned());
    for launch in &mut record.launches {
        launch.gates = vec![report(GateVerdict::Passed, Vec::new())];
    }
    record.launches[2].confirmation = Some(1);
    record.launches[2].gates = vec![report(GateVerdict::Failed, vec![finding])];
    let text = markdown(record);
    let cells: Vec<&str> = line(&text, "| canary").split('|').map(str::trim).collect();
    assert_eq!(cells[1..5], ["canary", "2", "0", "0"], "{text}");
    assert!(text.contains("the answer loops"), "{text}");
}
