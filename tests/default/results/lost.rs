//! Repeats that gave no figure are reported, and can cost the rank.

use serde_json::json;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::report::{reading, table};
use vllm_grid::results::ranking::{ConstraintVerdict, Remark, rank};
use vllm_grid::results::reading::{Place, Reading};
use vllm_grid::workload::Workload;

use crate::results::builder::{Building, around, measured, sweep};

/// The last launch's repeat of this number ended so.
fn ended(mut record: SweepRecord, repeat: u32, status: Status, reason: &str) -> SweepRecord {
    let launch = record.launches.last_mut().unwrap();
    let m = launch.measurements.iter_mut().find(|m| m.repeat == repeat).unwrap();
    (m.status, m.reason) = (status, Some(reason.to_owned()));
    record
}

/// The block above the table, at 120 columns.
fn block(record: &SweepRecord) -> String {
    let reading = Reading::of(&rank(record), &record.manifest, &Place::default());
    reading::render(&reading, 120)
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
    let text = table::render(&ranking, &record.manifest, 120, true);
    let first = block(&record);
    assert!(first.contains("FAILED   flaky: repeats failed (2 repeats)"), "{first}");
    assert!(text.contains("n    lost\n") && text.contains("2x3     2\n"), "{text}");
}

#[test]
fn repeats_that_are_shown_to_fail_at_more_than_a_quarter_cost_the_rank() {
    // 4 of 8: at least 19.3 %. A quarter is not shown to be exceeded.
    let some = rank(&flaky(2));
    assert_eq!((some.rows[0].name.as_str(), some.rows[0].rank), ("flaky", Some(1)));
    // 6 of 8: at least 40.0 %.
    let ranking = rank(&flaky(3));
    assert_eq!(ranking.rows[0].name, "steady");
    let flaky = &ranking.rows[1];
    assert_eq!((flaky.rank, flaky.failed_repeats), (None, 6));
    let reason = flaky.reason().unwrap();
    assert!(reason.starts_with("6 of 8 repeats of kv_cache failed (20 of 40"), "{reason}");
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

/// The last launch's repeat of this number is valid and has no value, for this reason.
fn without_value(mut record: SweepRecord, repeat: u32, reason: &str) -> SweepRecord {
    let launch = record.launches.last_mut().unwrap();
    let m = launch.measurements.iter_mut().find(|m| m.repeat == repeat).unwrap();
    m.metrics.insert("ttft_resent_ms".to_owned(), None);
    m.reason = Some(reason.to_owned());
    record
}

const UNSTEADY: &str = "throughput is not reported: 128 requests end before a steady state";

#[test]
fn a_repeat_without_a_value_counts_as_lost_and_is_reported_with_the_verdict() {
    let mut record = sweep(&["a", "b", "plain"]).baseline("plain");
    for _ in 0..2 {
        record = record.launch("a", &around(100.0));
        record = record.launch("b", &around(90.0));
        for repeat in 1..=3 {
            record = without_value(record, repeat, UNSTEADY);
        }
        record = record.launch("plain", &around(110.0));
        record = without_value(record, 3, UNSTEADY);
    }
    let ranking = rank(&record);
    let row = |name: &str| ranking.rows.iter().find(|row| row.name == name).unwrap();
    // 6 of 10 are too many (at least 30.4 %), 2 of 10 are not.
    let reason = row("b").reason().unwrap();
    let expected = "kv_cache.ttft_resent_ms is missing in 6 of 10 repeats (throughput is not";
    assert!(row("b").rank.is_none() && reason.starts_with(expected), "{reason}");
    assert_eq!((row("plain").rank, row("plain").missing_repeats), (Some(2), 2));
    assert!(matches!(row("plain").remarks[..], [Remark::MissingValues(_)]));
    assert_eq!(row("a").missing_repeats, 0);
    let [missing] = &ranking.missing[..] else { panic!("{:?}", ranking.missing) };
    assert_eq!((missing.of, missing.baseline, missing.repeats), (3, true, 8));
    let expected = format!(
        "kv_cache.ttft_resent_ms is missing for 2 of 3 configurations, the baseline included: \
         {UNSTEADY}"
    );
    assert_eq!(missing.to_string(), expected);
    let text = table::render(&ranking, &record.manifest, 300, true);
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn what_has_no_value_at_all_says_what_the_repeats_say() {
    let mut record = sweep(&["a"]).launch("a", &[100.0]);
    record = without_value(record, 1, UNSTEADY);
    let reason = rank(&record).rows[0].reason().unwrap();
    assert!(
        reason.ends_with(&format!("1 valid repeats have no value of it ({UNSTEADY})")),
        "{reason}"
    );
}

#[test]
fn a_percentile_among_failed_requests_breaks_a_maximum() {
    let build = |reason: &str, there: usize| {
        let mut record = sweep(&["a"]).constraint("kv_cache.p99_ttft_ms", None, Some(100.0));
        for _ in 0..2 {
            record = record.launch("a", &around(100.0));
            record =
                record.and("p99_ttft_ms", &[50.0, 51.0, 49.0][..there]).and("failed", &[3.0; 5]);
            for measurement in &mut record.launches.last_mut().unwrap().measurements[there..] {
                let own = ("p99_ttft_ms".to_owned(), reason.to_owned());
                measurement.metric_reasons.extend((!reason.is_empty()).then_some(own));
            }
        }
        rank(&record).rows.remove(0)
    };
    // Two of five percentiles of each launch are missing.
    let broken = build("3 of 300 requests failed: it falls among them", 3);
    assert_eq!(broken.constraints[0].verdict, ConstraintVerdict::Violated);
    assert!(broken.rank.is_none());
    // The same failures, but too few requests for any p99.
    let unknown = build("", 2);
    assert_ne!(unknown.constraints[0].verdict, ConstraintVerdict::Violated);
    let reason = unknown.reason().unwrap();
    assert!(reason.contains("is missing in 6 of 10 repeats"), "{reason}");
    assert!(build("", 3).rank.is_some(), "4 of 10 show no quarter");
}

#[test]
fn what_a_repeat_says_of_the_metric_comes_before_what_it_says_of_itself() {
    let mut record = sweep(&["a"]).launch("a", &around(100.0));
    record = without_value(record, 1, "1 of 300 requests failed; the first: x");
    let launch = record.launches.last_mut().unwrap();
    let own = ("ttft_resent_ms".to_owned(), "too few prompts".to_owned());
    launch.measurements[0].metric_reasons = [own].into();
    let row = rank(&record).rows.remove(0);
    let expected = "kv_cache.ttft_resent_ms is missing in 1 of 5 repeats (too few prompts)";
    assert_eq!(texts(&row.remarks), [expected]);
    // Journals without reasons are read, and such are written as they were.
    let mut old = serde_json::to_value(&record.launches[0].measurements[1]).unwrap();
    assert!(old.as_object_mut().unwrap().remove("metric_reasons").is_none());
    assert!(serde_json::from_value::<Measurement>(old).is_ok());
}

#[test]
fn failed_launches_stand_in_the_verdict_and_too_many_cost_the_rank() {
    let mut record = sweep(&["plain", "brittle"]).baseline("plain");
    for _ in 0..2 {
        record = record.launch("plain", &around(200.0)).launch("brittle", &around(100.0));
    }
    // Dead after its repeats: the launch counts as failed, its figures as figures.
    let Some(last) = record.launches.last_mut() else { panic!("a launch") };
    let died = sweep(&["x"]).failed("x", FailureClass::EngineDied, "EngineDeadError");
    last.outcome.clone_from(&died.launches[0].outcome);
    let text = block(&record);
    assert!(text.contains("brittle: the engine died (1 of 2 launches lived)"), "{text}");
    // What others did does not count, however often.
    for _ in 0..8 {
        record = record.failed("brittle", FailureClass::Killed, "exit code 137");
    }
    let ranking = rank(&record);
    let brittle = ranking.rows.iter().find(|row| row.name == "brittle").unwrap();
    assert_eq!((brittle.rank, brittle.lived, brittle.settled), (Some(1), 1, 2));
    // 5 of 6: at least 41.8 %.
    for _ in 0..4 {
        record = record.failed("brittle", FailureClass::Timeout, "no answer for 600 s");
    }
    let ranking = rank(&record);
    let brittle = ranking.rows.iter().find(|row| row.name == "brittle").unwrap();
    assert_eq!(brittle.rank, None);
    assert_eq!(brittle.reason().unwrap(), "5 of 6 launches failed (timeout)");
}
