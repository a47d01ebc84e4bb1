//! Repeats that gave no figure are reported, and can cost the rank.

use serde_json::json;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::report::table;
use vllm_grid::results::ranking::{Remark, rank};
use vllm_grid::workload::Workload;

use crate::results::builder::{Building, around, measured, sweep};

/// The last launch's repeat of this number ended so.
fn ended(mut record: SweepRecord, repeat: u32, status: Status, reason: &str) -> SweepRecord {
    let launch = record.launches.last_mut().unwrap();
    let m = launch.measurements.iter_mut().find(|m| m.repeat == repeat).unwrap();
    (m.status, m.reason) = (status, Some(reason.to_owned()));
    record
}

fn texts(remarks: &[Remark]) -> Vec<String> {
    remarks.iter().map(Remark::to_string).collect()
}

/// Two launches of four repeats; the first `failed` ones of each fail.
fn flaky(failed: u32) -> SweepRecord {
    let mut record = sweep(&["flaky", "steady"]);
    for _ in 0..2 {
        record = record.launch("steady", &[200.0, 201.0, 199.0, 200.0]);
        record = record.launch("flaky", &[100.0, 101.0, 99.0, 100.0]);
        for repeat in 1..=failed {
            let reason = "20 of 40 requests failed; the first: HTTP 500";
            record = ended(record, repeat, Status::Failed, reason);
        }
    }
    record
}

#[test]
fn a_repeat_that_failed_is_reported_and_counted() {
    let record = flaky(1);
    let ranking = rank(&record);
    let first = &ranking.rows[0];
    assert_eq!((first.name.as_str(), first.rank, first.failed_repeats), ("flaky", Some(1), 2));
    assert_eq!(
        texts(&first.remarks),
        ["2 of 8 repeats of kv_cache failed (20 of 40 requests failed; the first: HTTP 500)"]
    );
    let frame = ranking.frame().unwrap();
    let failed = frame.column("failed_repeats").unwrap().u32().unwrap();
    assert_eq!((failed.get(0), failed.get(1)), (Some(2), Some(0)));
    let text = table::render(&ranking, &record.manifest, 120);
    assert!(text.contains("flaky ranks first; 2 repeats of it failed"), "{text}");
    assert!(text.contains("n    lost\n") && text.contains("2x3     2\n"), "{text}");
}

#[test]
fn more_than_a_quarter_of_failed_repeats_costs_the_rank() {
    let ranking = rank(&flaky(2));
    assert_eq!(ranking.rows[0].name, "steady");
    let flaky = &ranking.rows[1];
    assert_eq!((flaky.rank, flaky.failed_repeats), (None, 4));
    let reason = flaky.reason().unwrap();
    assert!(reason.starts_with("4 of 8 repeats of kv_cache failed (20 of 40"), "{reason}");
}

#[test]
fn void_repeats_are_reported_and_cost_nothing() {
    let mut record = sweep(&["a"]).launch("a", &around(100.0));
    for repeat in 1..=3 {
        record = ended(record, repeat, Status::Void, "foreign traffic");
    }
    let row = rank(&record).rows.remove(0);
    assert_eq!((row.rank, row.failed_repeats, row.void_repeats), (Some(1), 0, 3));
    assert_eq!(texts(&row.remarks), ["3 of 5 repeats of kv_cache void (foreign traffic)"]);
    // A warm-up is no repeat.
    let warmup = Measurement { status: Status::Failed, ..measured(0, "ttft_resent_ms", 1.0) };
    let row = rank(&sweep(&["a"]).launch("a", &around(100.0)).measurement(warmup)).rows.remove(0);
    assert_eq!((row.failed_repeats, row.remarks.len()), (0, 0));
}

fn of(workload: &str, case: &str, status: Status, reason: &str) -> Measurement {
    Measurement {
        workload: workload.to_owned(),
        case: case.to_owned(),
        status,
        reason: Some(reason.to_owned()),
        ..measured(1, "x", 1.0)
    }
}

/// A sweep by `load[concurrency=32].output_throughput`, with `long-context` as a second workload.
fn loads() -> SweepRecord {
    let mut record = sweep(&["plain"]).launch("plain", &[]);
    let workload = |name, options: serde_json::Value| {
        Workload::from_options(name, options.as_object().unwrap()).unwrap()
    };
    record.manifest.workloads = vec![
        workload("long-context", json!({"contexts": [40_000]})),
        workload("load", json!({"concurrency": [8, 32]})),
    ];
    record.manifest.objective.metric = "load[concurrency=32].output_throughput".parse().unwrap();
    record.measurement(of("long-context", "", Status::Skipped, "40000 tokens do not fit"))
}

#[test]
fn a_reason_is_that_of_the_metrics_own_case() {
    let record = loads()
        .measurement(of("load", "concurrency=8", Status::Void, "foreign traffic"))
        .measurement(of("load", "concurrency=32", Status::Skipped, "saturated at concurrency=8"));
    let reason = rank(&record).rows[0].reason().unwrap();
    assert_eq!(
        reason,
        "load[concurrency=32].output_throughput was not measured: saturated at concurrency=8"
    );
    let reason = rank(&loads()).rows[0].reason().unwrap();
    assert_eq!(reason, "load[concurrency=32].output_throughput was not measured");
}

#[test]
fn a_bound_that_was_not_measured_has_its_own_reason() {
    let mut record = loads().constraint("long_context.accuracy", Some(0.6), None);
    let mut ok = of("load", "concurrency=32", Status::Ok, "");
    ok.metrics = measured(1, "output_throughput", 900.0).metrics;
    record = record.measurement(ok);
    let reason = rank(&record).rows[0].reason().unwrap();
    assert_eq!(reason, "long_context.accuracy was not measured: 40000 tokens do not fit");
}

#[test]
fn a_launch_that_came_to_the_case_says_more_than_one_that_did_not() {
    let record = loads()
        .measurement(of("load", "concurrency=32", Status::Skipped, "saturated at concurrency=8"))
        .failed("plain", FailureClass::Timeout, "no answer for 600 s");
    let reason = rank(&record).rows[0].reason().unwrap();
    assert!(reason.ends_with("was not measured: saturated at concurrency=8"), "{reason}");
}
