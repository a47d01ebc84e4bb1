//! The workload `load` against the simulated server: loops, ladders, what acts
//! under load, and what makes a repeat void.

use std::time::Duration;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{Simulated, measure, measure_late, number, workload};
use crate::support::in_time;
use serde_json::json;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::{Endpoint, Server};
use vllm_grid::workload::Spec;

const SMALL: &str = "Qwen/Qwen3-1.7B --max-model-len 8192";

/// One request after the other, and each takes longer the more are there: more load gives
/// less, far beyond what a busy machine adds.
fn crowded() -> Behaviour {
    let (miss, crowd) = (Duration::from_millis(100), Duration::from_millis(30));
    Behaviour { miss, crowd, serial: true, ..Behaviour::default() }
}

fn value(measurement: &Measurement, name: &str) -> f64 {
    number(measurement, name).unwrap_or_else(|| panic!("{name} was not measured: {measurement:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_keeps_its_slots_busy_and_reports_what_vllm_reports() {
    let simulated = Simulated::start(&format!("{SMALL} --sim-speed 4")).await;
    let load = workload(
        "load",
        &json!({
            "concurrency": 8, "requests": 64, "prompt_tokens": 100, "output_tokens": 16,
        }),
    );
    let measured = measure(&simulated.server, &[load], 1).await;
    measured.ended.expect("a living server");
    let [warmup, kept] = &measured.measurements[..] else { panic!("a warm-up and a repeat") };
    assert_eq!(number(warmup, "completed"), Some(8.0), "as wide as the load");
    assert_eq!((kept.status, kept.reason.as_deref()), (Status::Ok, None));
    assert_eq!((number(kept, "completed"), number(kept, "failed")), (Some(64.0), Some(0.0)));
    assert_eq!(number(kept, "total_output_tokens"), Some(64.0 * 16.0));
    let tokens = value(kept, "prompt_tokens");
    assert!((100.0..=108.0).contains(&tokens), "as the server counts: {tokens}");
    assert_eq!(number(kept, "max_concurrent_requests"), Some(8.0));
    // Eight slots, each as fast as a request takes.
    let expected = 8.0 * 16.0 / (value(kept, "mean_e2el_ms") / 1e3);
    let ratio = value(kept, "output_throughput") / expected;
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
    assert!(value(kept, "window") < value(kept, "duration"));
    assert_eq!(number(kept, "preemptions"), Some(0.0));
    assert!((0.0..0.5).contains(&value(kept, "slot_idle_share")));
    assert!(value(kept, "p95_ttft_ms") >= value(kept, "median_ttft_ms"));
    for absent in ["p99_ttft_ms", "max_rate", "request_goodput", "max_send_lag_ms"] {
        assert_eq!(number(kept, absent), None, "{absent}");
    }
    let named = vllm_grid::workload::catalogue();
    let known = |name: &String| named.iter().any(|m| m.workload == "load" && m.name == name);
    assert!(kept.metrics.keys().all(known));
    let (_, records) = measured.records.last().expect("kept");
    assert!(records.iter().enumerate().all(|(n, record)| record.index as usize == n));
    // Each slot's first request is due when it is sent, the others when the slot is free.
    let waited = records.iter().filter(|record| record.sent_ns > record.scheduled_ns).count();
    assert_eq!(waited, 64 - 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sequences_act_under_load_and_a_ladder_ends_at_saturation() {
    let throughput = async |sequences: u32| {
        let line = format!("{SMALL} --max-num-seqs {sequences} --sim-speed 2");
        let simulated = Simulated::start(&line).await;
        let load = workload(
            "load",
            &json!({
                "concurrency": 16, "requests": 48, "prompt_tokens": 64, "output_tokens": 24,
                "warmup": 0,
            }),
        );
        let measured = measure_late(&simulated.server, load).await;
        let kept = &measured.measurements[0];
        assert_eq!((kept.status, kept.reason.as_deref()), (Status::Ok, None));
        (value(kept, "output_throughput"), value(kept, "mean_queue_ms"))
    };
    let (one, thirty_two) = (throughput(1).await, throughput(32).await);
    assert!(thirty_two.0 >= 3.0 * one.0, "{thirty_two:?} {one:?}");
    assert!(one.1 >= 3.0 * thirty_two.1, "who waits, waits at the server: {one:?} {thirty_two:?}");

    let counting = Counting::start(crowded()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let load = workload(
        "load",
        &json!({
            "concurrency": [1, 3, 9], "requests": 18, "prompt_tokens": 64, "output_tokens": 4,
            "warmup": 0,
        }),
    );
    let measured = measure_late(&server, load).await;
    let [_, third, ninth] = &measured.measurements[..] else { panic!("three rungs") };
    assert_eq!(third.status, Status::Ok);
    assert_eq!(ninth.status, Status::Skipped);
    let reason = ninth.reason.as_deref().expect("a reason");
    assert!(reason.starts_with("saturated at concurrency=3"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_configurations_are_judged_by_is_measured_beyond_saturation() {
    let counting = Counting::start(crowded()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let mut load = workload(
        "load",
        &json!({
            "concurrency": [1, 3, 6, 9], "requests": 18, "prompt_tokens": 64, "output_tokens": 4,
            "warmup": 0,
        }),
    );
    let Spec::Load(spec) = &mut load.spec else { panic!("a load") };
    spec.judged = vec!["concurrency=9".to_owned()];
    let measured = measure_late(&server, load).await;
    let statuses: Vec<Status> = measured.measurements.iter().map(|row| row.status).collect();
    assert_eq!(statuses, [Status::Ok, Status::Ok, Status::Skipped, Status::Ok]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_prefix_is_as_long_as_asked_and_found_in_the_cache_and_salts_are_not() {
    let line = format!("{SMALL} --enable-prefix-caching --sim-speed 10");
    let simulated = Simulated::start(&line).await;
    let rows = async |shared: serde_json::Value| {
        let load = workload(
            "load",
            &json!({
                "concurrency": 1, "requests": 11, "prompt_tokens": 1000, "output_tokens": 4,
                "shared_prefix_tokens": shared,
            }),
        );
        let measured = measure(&simulated.server, &[load], 2).await;
        assert!(measured.measurements.iter().all(|row| row.status == Status::Ok));
        measured.measurements
    };
    let shared = rows(json!(800)).await;
    let tokens_of_each: Vec<f64> =
        shared.iter().map(|row| value(row, "shared_prefix_tokens")).collect();
    assert!(
        tokens_of_each.iter().all(|tokens| (800.0..=808.0).contains(tokens)),
        "{tokens_of_each:?}"
    );
    assert!(
        tokens_of_each.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.5),
        "all of one length"
    );
    // Each but the first finds it, in whole blocks; what stands around it is little.
    for row in &shared[1..] {
        let looked_up = value(row, "total_input_tokens");
        let found = value(row, "hit_tokens_share") * looked_up / 10.0;
        assert!((784.0..=824.0).contains(&found), "{found} tokens were found by each");
        let tokens = value(row, "prompt_tokens");
        assert!((996.0..=1012.0).contains(&tokens), "{tokens}");
    }
    let own = &rows(serde_json::Value::Null).await[1];
    assert!(value(own, "hit_tokens_share") < 0.05);
    assert_eq!(number(own, "shared_prefix_tokens"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_is_timed_from_its_schedule() {
    let behaviour = Behaviour { miss: Duration::from_secs(3), ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let load = workload(
        "load",
        &json!({
            "rate": 50, "arrivals": "constant", "requests": 60, "prompt_tokens": 64,
            "output_tokens": 4, "slo_ttft_ms": 60_000, "warmup": 0,
        }),
    );
    let measured = measure_late(&server, load).await;
    let kept = &measured.measurements[0];
    assert_eq!(kept.status, Status::Ok, "{:?}", kept.reason);
    assert_eq!(number(kept, "completed"), Some(60.0));
    // In flight together: none is answered before all are sent.
    assert_eq!(number(kept, "max_concurrent_requests"), Some(60.0));
    assert!(value(kept, "mean_scheduled_ttft_ms") >= value(kept, "mean_ttft_ms"));
    assert_eq!(number(kept, "good_share"), Some(1.0));
    let (_, records) = measured.records.last().expect("kept");
    let scheduled = records.iter().filter(|record| record.purpose == "rate=50");
    let due: Vec<u64> = scheduled.map(|record| record.scheduled_ns / 1_000_000).collect();
    assert!(due.windows(2).all(|pair| (19..=20).contains(&(pair[1] - pair[0]))), "{due:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_a_repeat_void_failed_or_skipped() {
    let load = |requests: u32| {
        workload(
            "load",
            &json!({
                "concurrency": 4, "requests": requests, "prompt_tokens": 64, "output_tokens": 4,
                "warmup": 0,
            }),
        )
    };
    let one = async |behaviour: Behaviour, requests: u32| {
        let counting = Counting::start(behaviour).await;
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        let measured = measure(&server, &[load(requests)], 1).await;
        let row = measured.measurements.into_iter().next().expect("a row");
        (row.status, row.reason.unwrap_or_default())
    };
    let (status, reason) =
        one(Behaviour { foreign_after: Some(12), ..Behaviour::default() }, 16).await;
    assert_eq!(status, Status::Void);
    assert!(reason.contains("foreign traffic"), "{reason}");
    let (status, reason) =
        one(Behaviour { refuse_after: Some(12), ..Behaviour::default() }, 16).await;
    assert_eq!(status, Status::Failed);
    assert!(reason.contains("requests failed; the first"), "{reason}");
    let (status, reason) = one(Behaviour { metrics: false, ..Behaviour::default() }, 16).await;
    assert_eq!(status, Status::Ok, "{reason}");

    let simulated = Simulated::start(&format!("{SMALL} --sim-speed 50")).await;
    let long = workload("load", &json!({"prompt_tokens": 8190, "output_tokens": 16}));
    let row = measure(&simulated.server, &[long], 1).await.measurements.remove(1);
    assert_eq!(row.status, Status::Skipped);
    assert!(row.reason.expect("a reason").contains("do not fit into the context of 8192"));
    let row = measure(&simulated.server, &[load(3)], 1).await.measurements.remove(0);
    assert_eq!((row.status, number(&row, "output_throughput")), (Status::Ok, None));
    let reason = row.reason.expect("a reason");
    assert!(reason.contains("at concurrency 4, 3 requests end before a steady state"), "{reason}");
    assert_eq!(
        row.metric_reasons["output_throughput"],
        reason.trim_start_matches("throughput is not reported: ")
    );
}

/// What `plan` advises where there are too few requests gives a throughput in every repeat.
#[tokio::test(flavor = "multi_thread")]
async fn the_requests_that_are_advised_do() {
    let simulated = Simulated::start(&format!("{SMALL} --sim-speed 4")).await;
    for slots in [1, 2, 6, 24] {
        let load = |requests: u64| {
            let options = json!({
                "concurrency": slots, "requests": requests, "prompt_tokens": 64,
                "output_tokens": 16,
            });
            workload("load", &options)
        };
        let absence = load(slots).unmeasurable(None, "output_throughput").expect("too few");
        assert!(absence.is_certain, "{absence:?}");
        let advised: u64 =
            absence.help.split(['(', ' ']).find_map(|word| word.parse().ok()).expect("a number");
        assert_eq!(load(advised).unmeasurable(None, "output_throughput"), None);
        let few = measure_late(&simulated.server, load(slots)).await.measurements.remove(0);
        assert_eq!(number(&few, "output_throughput"), None, "{slots}: {few:?}");
        let measured = measure(&simulated.server, &[load(advised)], 3).await;
        for row in measured.measurements.iter().filter(|row| row.repeat > 0) {
            assert!(number(row, "output_throughput").is_some(), "{slots}: {row:?}");
        }
    }
}

/// Requests one after another, at rates that are all too high.
#[tokio::test(flavor = "multi_thread")]
async fn a_rung_without_a_window_says_so_and_ends_the_ladder_all_the_same() {
    let counting = Counting::start(crowded()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let load = workload(
        "load",
        &json!({
            "rate": [20, 60, 160], "arrivals": "constant", "requests": 20, "prompt_tokens": 64,
            "output_tokens": 4, "warmup": 0,
        }),
    );
    let measured = measure_late(&server, load).await;
    let [low, high, skipped] = &measured.measurements[..] else { panic!("three rungs") };
    for row in [low, high] {
        let reason = row.reason.as_deref().expect("said");
        assert_eq!((row.status, number(row, "output_throughput")), (Status::Ok, None));
        assert!(reason.starts_with("throughput is not reported: arrivals lasted "), "{reason}");
    }
    assert_eq!(skipped.status, Status::Skipped, "{skipped:?}");
    let reason = skipped.reason.as_deref().expect("a reason");
    assert!(reason.starts_with("saturated at rate=60: output throughput "), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_that_just_fit_into_the_context_are_sent() {
    let behaviour =
        Behaviour { miss: Duration::from_millis(5), context: 2048, ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let load = |prompt: u32| {
        workload(
            "load",
            &json!({
                "concurrency": 2, "requests": 12, "prompt_tokens": prompt, "output_tokens": 128,
                "warmup": 0,
            }),
        )
    };
    let measured = measure(&server, &[load(1920), load(1910), load(1921)], 1).await;
    let [all, nearly, beyond] = &measured.measurements[..] else { panic!("three rows") };
    for row in [all, nearly] {
        assert_eq!((row.status, number(row, "failed")), (Status::Ok, Some(0.0)), "{row:?}");
        let tokens = value(row, "prompt_tokens");
        assert!((1900.0..=1920.0).contains(&tokens), "{tokens}");
    }
    assert_eq!(beyond.status, Status::Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_without_requests_of_its_own_has_no_figures() {
    let behaviour = Behaviour { refuse_after: Some(1), ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let load = workload("load", &json!({"rate": 10, "slo_ttft_ms": 500, "warmup": 0}));
    let row = measure(&server, &[load], 1).await.measurements.remove(0);
    assert_eq!(
        (row.status, row.reason.as_deref()),
        (Status::Failed, Some("request 0 (calibration): HTTP 400: no more"))
    );
    assert!(row.metrics.contains_key("completed"), "null is reported");
    let measured: Vec<_> = row.metrics.iter().filter(|(_, value)| value.is_some()).collect();
    assert!(measured.is_empty(), "{measured:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_named_is_found_in_the_records() {
    let counts =
        |tokens, number: usize| if number > 8 && number.is_multiple_of(4) { 10 } else { tokens };
    for loops in [json!({"concurrency": 4}), json!({"rate": 200, "arrivals": "constant"})] {
        let miss = Duration::from_millis(20);
        let counting = Counting::start(Behaviour { miss, counts, ..Behaviour::default() }).await;
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        let mut options =
            json!({"requests": 24, "prompt_tokens": 300, "output_tokens": 4, "warmup": 0});
        options.as_object_mut().expect("one").extend(loops.as_object().cloned().expect("too"));
        let measured = measure(&server, &[workload("load", &options)], 1).await;
        let row = &measured.measurements[0];
        let reason = row.reason.as_deref().expect("said");
        assert_eq!(row.status, Status::Void, "{reason}");
        let (_, named) = reason.split_once("the first: request ").expect("named");
        let (named, _) = named.split_once(": the server counts 10 tokens").expect("counted");
        let named: usize = named.parse().expect("a number");
        let (_, records) = measured.records.last().expect("kept");
        let short = |record: &vllm_grid::client::record::RequestRecord| {
            record.usage.is_some_and(|usage| usage.prompt_tokens == 10)
        };
        let first = records.iter().position(short);
        assert_eq!(Some(named), first, "{loops}: {reason}");
        assert_eq!(records[named].index as usize, named);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_ends_a_load_soon() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let stopped = Endpoint::new("http://127.0.0.1:1".to_owned(), None);
    let server = Server { endpoint: stopped, ..server };
    let load = workload("load", &json!({"rate": 1000.0, "duration": 600, "warmup": 0}));
    // Of ten minutes that it would last.
    let measured = in_time("it ends", measure(&server, &[load], 1)).await;
    measured.ended.expect_err("nobody answers");
}
