//! The columns that others rely on.

use polars::prelude::{AnyValue, DataFrame, DataType, PlSmallStr};
use serde_json::json;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::metric::{Measurement, MetricValue, MetricValues, Status};
use vllm_grid::results::frame::results;
use vllm_grid::results::ranking::rank;
use vllm_grid::server::effective::FlagProof;

use crate::results::builder::{Building, around, conversations, measured, sweep};

fn names(frame: &DataFrame) -> Vec<&str> {
    frame.get_column_names().into_iter().map(PlSmallStr::as_str).collect()
}

fn cell<'a>(frame: &'a DataFrame, column: &str, row: usize) -> AnyValue<'a> {
    frame.column(column).unwrap().get(row).unwrap()
}

fn text(frame: &DataFrame, column: &str, row: usize) -> Option<String> {
    frame.column(column).unwrap().str().unwrap().get(row).map(str::to_owned)
}

#[test]
fn the_columns_of_results_are_in_the_contracts_order() {
    let sweep = sweep(&["a"])
        .flags("a", json!({"enable-prefix-caching": true, "max-num-seqs": null}))
        .launch("a", &[100.0])
        .shown("enable-prefix-caching", json!(true), FlagProof::Honoured)
        .shown("block-size", json!(16), FlagProof::Unknown);
    insta::assert_json_snapshot!(names(&results(&sweep).unwrap()));
}

#[test]
fn the_columns_of_ranking_are_in_the_contracts_order() {
    let sweep = sweep(&["a"])
        .constraint("kv_cache.ttft_miss_ms", None, Some(4000.0))
        .launch("a", &around(100.0));
    insta::assert_json_snapshot!(names(&rank(&sweep).frame().unwrap()));
}

#[test]
fn a_measurement_is_a_row_and_so_is_a_launch_without_one() {
    let mut record = sweep(&["a", "big", "late"])
        .launch("a", &[100.0, 110.0])
        .measurement(measured(0, "ttft_resent_ms", 900.0))
        .failed("big", FailureClass::OutOfMemory, "CUDA out of memory")
        .launch("late", &[]);
    record.launches[2].outcome =
        Some(LaunchOutcome::Skipped { reason: "budget".to_owned(), by_strategy: true });
    let frame = results(&record).unwrap();
    assert_eq!(frame.height(), 5);
    // The warm-up is kept.
    assert_eq!(cell(&frame, "repeat", 2), AnyValue::UInt32(0));
    assert_eq!(text(&frame, "status", 3).as_deref(), Some("failed"));
    assert_eq!(text(&frame, "failure_class", 3).as_deref(), Some("out_of_memory"));
    assert_eq!(text(&frame, "reason", 3).as_deref(), Some("CUDA out of memory"));
    for column in ["workload", "case", "repeat", "started_at", "kv_cache.ttft_resent_ms"] {
        assert_eq!(cell(&frame, column, 3), AnyValue::Null, "{column}");
    }
    assert_eq!(text(&frame, "status", 4).as_deref(), Some("skipped"));
    assert_eq!(text(&frame, "case", 0).as_deref(), Some(""));
}

#[test]
fn a_server_that_died_after_its_last_repeat_is_a_row_too() {
    let mut record = sweep(&["a"]).failed("a", FailureClass::EngineDied, "EngineDeadError");
    record.launches[0].measurements.push(measured(1, "ttft_resent_ms", 100.0));
    let frame = results(&record).unwrap();
    assert_eq!(frame.height(), 2);
    assert_eq!(text(&frame, "failure_class", 0), None);
    assert_eq!(text(&frame, "failure_class", 1).as_deref(), Some("engine_died"));
    // Where a repeat has the failure already, there is no second row.
    record.launches[0].measurements.push(Measurement {
        status: Status::Failed,
        reason: Some("stream cut".to_owned()),
        metrics: MetricValues::new(),
        ..measured(2, "ttft_resent_ms", 0.0)
    });
    let frame = results(&record).unwrap();
    assert_eq!(frame.height(), 2);
    assert_eq!(text(&frame, "failure_class", 1).as_deref(), Some("engine_died"));
}

#[test]
fn a_launch_given_up_on_a_stop_is_no_failure() {
    let mut record = sweep(&["a"]).failed("a", FailureClass::Unknown, "cancelled");
    if let Some(LaunchOutcome::Failed(failure)) = &mut record.launches[0].outcome {
        failure.cancelled = true;
    }
    let frame = results(&record).unwrap();
    assert_eq!(text(&frame, "status", 0).as_deref(), Some("void"));
    assert_eq!(text(&frame, "reason", 0).as_deref(), Some("interrupted"));
    assert_eq!(text(&frame, "failure_class", 0), None);
    assert_eq!(rank(&record).rows[0].failures, 0);
}

#[test]
fn flags_have_the_type_of_their_values_and_null_where_not_passed() {
    let record = sweep(&["a", "b"])
        .flags(
            "a",
            json!({"enable-prefix-caching": true, "max-num-seqs": 32,
                "gpu-memory-utilization": 0.85, "kv-cache-dtype": "fp8", "seed": 1,
                "hf-overrides": {"rope_type": "yarn"}, "max-model-len": null}),
        )
        .flags("b", json!({"enable-prefix-caching": false, "seed": "random"}))
        .launch("a", &[1.0])
        .launch("b", &[1.0]);
    let frame = results(&record).unwrap();
    let kind = |name: &str| frame.column(name).unwrap().dtype().clone();
    assert_eq!(kind("flag.enable-prefix-caching"), DataType::Boolean);
    assert_eq!(kind("flag.max-num-seqs"), DataType::Int64);
    assert_eq!(kind("flag.gpu-memory-utilization"), DataType::Float64);
    assert_eq!(kind("flag.kv-cache-dtype"), DataType::String);
    assert_eq!(kind("flag.seed"), DataType::String);
    assert_eq!(text(&frame, "flag.seed", 0).as_deref(), Some("1"));
    assert_eq!(text(&frame, "flag.hf-overrides", 0).as_deref(), Some(r#"{"rope_type":"yarn"}"#));
    assert_eq!(cell(&frame, "flag.max-num-seqs", 1), AnyValue::Null);
    assert_eq!(cell(&frame, "flag.max-model-len", 0), AnyValue::Null);
    // What the server shows has its column whether it shows it or not.
    assert_eq!(kind("effective.max-num-seqs"), DataType::Int64);
    assert_eq!(cell(&frame, "effective.max-num-seqs", 0), AnyValue::Null);
}

#[test]
fn a_secret_has_no_column() {
    let record = sweep(&["a"])
        .flags("a", json!({"api-key": "sk-secret", "max-num-seqs": 1}))
        .launch("a", &[1.0])
        .shown("api-key", json!("sk-secret"), FlagProof::Echoed);
    let frame = results(&record).unwrap();
    assert!(!names(&frame).iter().any(|name| name.contains("api-key")));
    assert!(names(&frame).contains(&"flag.max-num-seqs"));
}

#[test]
fn every_metric_has_its_column_measured_or_not() {
    let mut record = sweep(&["a"]).launch("a", &[100.0]);
    record.launches[0].measurements[0]
        .metrics
        .insert("hit_state".to_owned(), Some(MetricValue::Text("certified".to_owned())));
    record.launches[0].measurements[0].metrics.insert("ttft_hit_ms".to_owned(), None);
    let frame = results(&record).unwrap();
    for name in ["ttft_miss_ms", "ttft_hit_ms", "tpot_ms"] {
        let column = frame.column(&format!("kv_cache.{name}")).unwrap();
        assert_eq!((column.dtype(), column.null_count()), (&DataType::Float64, 1), "{name}");
    }
    assert_eq!(text(&frame, "kv_cache.hit_state", 0).as_deref(), Some("certified"));
    // Nothing launched: the columns are there all the same.
    let empty = results(&sweep(&["a"])).unwrap();
    assert_eq!(empty.height(), 0);
    assert_eq!(empty.column("kv_cache.ttft_miss_ms").unwrap().dtype(), &DataType::Float64);
}

#[test]
fn a_metric_of_several_numbers_is_a_column_of_lists() {
    let times = vec![Some(12.5), None, Some(13.0)];
    let frame = results(&conversations([Some(times.clone()), None])).unwrap();
    let column = frame.column("conversation.ttft_by_turn_ms").unwrap();
    assert_eq!(column.dtype(), &DataType::List(Box::new(DataType::Float64)));
    let lists = column.list().unwrap();
    let first = lists.get_as_series(0).unwrap();
    assert_eq!(first.f64().unwrap().iter().collect::<Vec<_>>(), times);
    assert!(lists.get_as_series(1).is_none(), "not measured");
    let share = frame.column("conversation.cache_share_by_turn").unwrap();
    assert_eq!((share.dtype(), share.null_count()), (column.dtype(), 2));
}

#[test]
fn an_unranked_configuration_has_null_in_rank_and_means() {
    let record = sweep(&["big", "a"])
        .failed("big", FailureClass::OutOfMemory, "CUDA out of memory")
        .launch("a", &around(100.0));
    let frame = rank(&record).frame().unwrap();
    assert_eq!(text(&frame, "configuration", 1).as_deref(), Some("big"));
    for column in ["rank", "rank_label", "kv_cache.ttft_resent_ms.geomean", "assumed"] {
        assert_eq!(cell(&frame, column, 1), AnyValue::Null, "{column}");
    }
    assert_eq!(cell(&frame, "eligible", 1), AnyValue::Boolean(false));
    assert_eq!(cell(&frame, "failures", 1), AnyValue::UInt32(1));
    assert_eq!(cell(&frame, "simulated", 0), AnyValue::Boolean(true));
}
