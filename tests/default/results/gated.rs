//! What gates, and answers that loop under load, take from a ranking.

use std::collections::BTreeMap;

use serde_json::json;
use vllm_grid::gate::{Against, Finding, Gate, GateReport};
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Measurement, MetricValue, MetricValues};
use vllm_grid::results::ranking::{RankedConfiguration, rank};
use vllm_grid::workload::Workload;

use crate::results::builder::{Building, around, measured, sweep};

fn row(sweep: &SweepRecord, name: &str) -> RankedConfiguration {
    rank(sweep).rows.into_iter().find(|row| row.name == name).unwrap()
}

/// What a row says of itself, excluded or not.
fn said(row: &RankedConfiguration) -> String {
    let excluded = row.exclusions.iter().map(ToString::to_string);
    excluded.chain(row.remarks.iter().map(ToString::to_string)).collect::<Vec<_>>().join("; ")
}

/// A repeat of a load in which so many of so many sampled answers loop.
fn sampled(repeat: u32, repeating: f64, of: f64) -> Measurement {
    let values = [("repeating_answers", repeating), ("sampled_answers", of)];
    let values = values.map(|(name, it)| (name.to_owned(), Some(MetricValue::Number(it))));
    Measurement {
        workload: "load".to_owned(),
        case: String::new(),
        metrics: MetricValues::from(values),
        ..measured(repeat, "sampled_answers", of)
    }
}

/// Each configuration with its repeats: looping answers, and all that were sampled.
fn loaded(configurations: &[(&str, &[(f64, f64)])]) -> SweepRecord {
    let names: Vec<&str> = configurations.iter().map(|(name, _)| *name).collect();
    let mut record = sweep(&names);
    let options = json!({"concurrency": [8]});
    record
        .manifest
        .workloads
        .push(Workload::from_options("load", options.as_object().unwrap()).unwrap());
    for (name, repeats) in configurations {
        record = record.launch(name, &around(200.0));
        for (repeat, (repeating, of)) in (1..).zip(*repeats) {
            record = record.measurement(sampled(repeat, *repeating, *of));
        }
    }
    record
}

#[test]
fn what_loops_under_load_is_excluded_against_the_baseline_alone() {
    let all: [(&str, &[(f64, f64)]); 3] =
        [("plain", &[(0.0, 32.0)]), ("loops", &[(20.0, 32.0)]), ("other", &[(1.0, 32.0)])];
    let looping = row(&loaded(&all).baseline("plain"), "loops");
    assert!(!looping.eligible);
    let words = "answers loop under load: 20 of 32 sampled, 0 of 32 sampled of plain";
    assert!(said(&looping).contains(words), "{}", said(&looping));
    assert!(row(&loaded(&all).baseline("plain"), "other").eligible);

    // The best of the others is found by the same figures: no yardstick.
    let alone = row(&loaded(&all), "loops");
    assert!(alone.eligible, "{}", said(&alone));
    assert!(said(&alone).contains("answers loop under load: 20 of 32 sampled"), "{}", said(&alone));
    // Nor is a baseline of few answers.
    let few: [(&str, &[(f64, f64)]); 2] =
        [("plain", &[(0.0, 10.0), (0.0, 10.0)]), ("loops", &[(20.0, 32.0)])];
    assert!(row(&loaded(&few).baseline("plain"), "loops").eligible);
}

#[test]
fn one_prompt_of_a_data_set_that_loops_in_each_repeat_excludes_nobody() {
    let all: [(&str, &[(f64, f64)]); 2] =
        [("plain", &[(0.0, 64.0); 9]), ("loops", &[(1.0, 64.0); 9])];
    let looping = row(&loaded(&all).baseline("plain"), "loops");
    assert!(looping.eligible, "{}", said(&looping));
    assert!(said(&looping).contains("9 of 576 sampled"), "{}", said(&looping));
    let often: [(&str, &[(f64, f64)]); 2] =
        [("plain", &[(0.0, 64.0); 9]), ("loops", &[(12.0, 64.0); 9])];
    assert!(!row(&loaded(&often).baseline("plain"), "loops").eligible);
}

#[test]
fn a_gate_that_a_later_launch_of_the_baseline_fails_too_takes_no_rank() {
    let report = |against: &Against| {
        let finding = Finding::failing("french", "period", "it loops".to_owned(), String::new());
        GateReport::judged(Gate::Canary, vec![finding], BTreeMap::new(), against)
    };
    let mut record = sweep(&["plain", "fast"])
        .baseline("plain")
        .launch("plain", &around(200.0))
        .launch("fast", &around(100.0))
        .failed("fast", FailureClass::GateFailed, "the gate `canary` failed: french: it loops");
    record.launches[2].gates = vec![report(&Against::Nothing)];
    assert!(!row(&record, "fast").eligible);
    let mut record = record.launch("plain", &around(201.0));
    record.launches[3].gates = vec![report(&Against::Itself)];
    let fast = row(&record, "fast");
    assert!(fast.eligible, "{}", said(&fast));
}
