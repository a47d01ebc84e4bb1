//! The workload `stability` against the simulated server.

use std::time::Duration;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{Kept, Measured, Simulated, measure, number, settings, workload};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError};
use vllm_grid::event::{Emit, NoticeKind};
use vllm_grid::metric::Status;
use vllm_grid::server::Server;

/// Requests of one short length, on a server that dies with the 14th of all and is
/// down for so many looks at its health.
async fn downed(looks: usize, options: Value) -> Measured {
    let miss = Duration::from_millis(5);
    let down = Some((14, looks));
    let counting = Counting::start(Behaviour { miss, down, ..Behaviour::default() }).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let mut all = json!({"prompt_tokens": 100, "output_tokens": 2, "warmup": 0});
    all.as_object_mut().expect("an object").extend(options.as_object().cloned().expect("too"));
    measure(&server, &[workload("stability", &all)], 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_the_same_mix_and_what_they_show() {
    let line = "Qwen/Qwen3-1.7B --max-model-len 2048 --sim-speed 20";
    let simulated = Simulated::start(line).await;
    let stability = workload(
        "stability",
        &json!({
            "prompt_tokens": [100, 400, 4000], "output_tokens": [2, 8],
        }),
    );
    let measured = measure(&simulated.server, &[stability], 1).await;
    measured.ended.expect("a living server");
    let [warmup, kept] = &measured.measurements[..] else { panic!("a warm-up and a repeat") };
    assert_eq!(number(warmup, "requests"), Some(4.0), "one block of what fits");
    assert_eq!(kept.status, Status::Ok);
    let reason = kept.reason.as_deref().expect("what is left out is said");
    assert!(reason.starts_with("2 lengths of the mix do not fit"), "{reason}");
    // 20 asked for: six blocks of four, so that both halves hold the same mix.
    assert_eq!(number(kept, "requests"), Some(24.0));
    assert_eq!(number(kept, "failure_rate"), Some(0.0));
    let bound = number(kept, "failure_rate_high").expect("reported");
    assert!((bound - (1.0 - 0.05f64.powf(1.0 / 24.0))).abs() < 1e-6, "{bound}");
    let slope = |name: &str| number(kept, name).expect("reported");
    assert!(slope("ttft_drift_per_request_low") < slope("ttft_drift_per_request"));
    assert!(slope("ttft_drift_per_request") < slope("ttft_drift_per_request_high"));
    assert!(slope("e2el_halves_ratio_low") < 3.0 && slope("e2el_halves_ratio_high") > 1.0 / 3.0);
    assert_eq!(number(kept, "restarts"), Some(0.0));
    let (_, records) = measured.records.last().expect("kept");
    let lengths = |records: &[vllm_grid::client::record::RequestRecord]| {
        let mut lengths: Vec<String> = records.iter().map(|r| r.purpose.clone()).collect();
        lengths.sort_unstable();
        lengths
    };
    assert_eq!(lengths(&records[..12]), lengths(&records[12..]), "halves compare like with like");
}

#[tokio::test(flavor = "multi_thread")]
async fn some_failures_are_a_rate_and_many_are_a_failure() {
    let behaviour = Behaviour { refuse_after: Some(8), ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let stability = workload(
        "stability",
        &json!({
            "prompt_tokens": 100, "output_tokens": 2, "warmup": 0,
        }),
    );
    let measured = measure(&server, &[stability], 1).await;
    let row = &measured.measurements[0];
    assert_eq!(row.status, Status::Failed);
    assert!(number(row, "failure_rate").expect("reported") > 0.0);
    assert!(number(row, "requests").expect("reported") < 20.0, "it does not continue for ever");
}

/// What voids other workloads is what this one is to find out.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_a_finding() {
    let restarted = Behaviour { restart_at: Some(14), ..Behaviour::default() };
    let one = async |behaviour: &Behaviour, name: &str, options: serde_json::Value| {
        let counting = Counting::start(behaviour.clone()).await;
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        let mut measured = measure(&server, &[workload(name, &options)], 1).await;
        measured.ended.expect("a living server");
        measured.measurements.remove(0)
    };
    let stability = json!({"prompt_tokens": 100, "output_tokens": 2, "warmup": 0});
    let row = one(&restarted, "stability", stability.clone()).await;
    assert_eq!((row.status, number(&row, "restarts")), (Status::Ok, Some(1.0)));
    let reason = row.reason.as_deref().expect("said");
    assert_eq!(reason, "restarts of the server: 1; foreign traffic is not detected across them");
    assert_eq!(number(&row, "requests"), Some(20.0), "it goes on");
    let failing = Behaviour { refuse_after: Some(16), ..restarted.clone() };
    let row = one(&failing, "stability", stability.clone()).await;
    assert_eq!((row.status, number(&row, "restarts")), (Status::Failed, Some(1.0)));
    assert!(
        row.reason.as_deref().expect("said").contains("restarts of the server: 1"),
        "{:?}",
        row.reason
    );
    let silent = Behaviour { metrics: false, ..restarted.clone() };
    let row = one(&silent, "stability", stability).await;
    assert_eq!((row.status, number(&row, "restarts")), (Status::Ok, None));
    let load = json!({"prompt_tokens": 100, "output_tokens": 2, "requests": 20, "warmup": 0});
    assert_eq!(one(&restarted, "load", load).await.status, Status::Void);
}

/// An outage costs one failure and the time until the server is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_for_some_time_is_waited_for() {
    let measured = downed(3, json!({"max_outage": 600})).await;
    measured.ended.expect("it is back");
    let row = &measured.measurements[0];
    let value = |name| number(row, name);
    let reason = row.reason.as_deref().expect("said");
    assert_eq!(row.status, Status::Ok, "{reason}");
    assert!(reason.starts_with("1 of 20 requests failed"), "{reason}");
    assert!(reason.contains("outages of the server: 1, of up to "), "{reason}");
    assert_eq!((value("requests"), value("failed")), (Some(20.0), Some(1.0)), "{reason}");
    assert_eq!((value("outages"), value("restarts")), (Some(1.0), Some(1.0)), "{reason}");
    // Looks are 0.1, 0.2, 0.4 s apart.
    assert!(value("outage_seconds_max").expect("reported") >= 0.7);
    assert_eq!(value("memory_growth_bytes"), None, "it is another process");
    let (_, records) = &measured.records[0];
    let while_down = records.iter().filter(|record| record.purpose == "outage").count();
    assert_eq!(while_down, 0, "its health is asked");
    let (last, before) = records.split_last().expect("sent");
    assert!(last.error.is_none() && before.iter().any(|record| record.error.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_back_in_time_is_unreachable() {
    // In a sweep nobody starts it again: it is not waited for unless that is asked for.
    for (options, least) in [(json!({}), 0.0), (json!({"max_outage": 0.4}), 0.4)] {
        let measured = downed(usize::MAX, options).await;
        let Err(BenchError::EngineDied { message, .. }) = measured.ended else {
            panic!("{:?}", measured.ended)
        };
        assert!(message.ends_with("/health is 503"), "{message}");
        let row = &measured.measurements[0];
        let reason = row.reason.as_deref().expect("said");
        assert_eq!(row.status, Status::Failed);
        assert!(reason.ends_with("it was not back at the end"), "{reason}");
        assert_eq!(number(row, "outages"), Some(1.0));
        let lasted = number(row, "outage_seconds_max").expect("reported");
        assert!((least..60.0).contains(&lasted), "{lasted}");
        assert_eq!(number(row, "restarts"), None, "nobody saw what came then");
        assert_eq!(number(row, "failed"), Some(1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_while_a_server_is_waited_for() {
    let miss = Duration::from_millis(5);
    let down = Some((9, usize::MAX));
    let counting = Counting::start(Behaviour { miss, down, ..Behaviour::default() }).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let (kept, cancel) = (Kept::default(), CancellationToken::new());
    let stop = cancel.clone();
    let emit = Emit::to(move |notice| {
        if let NoticeKind::Warning(text) = notice.kind {
            assert_eq!(text, "the server is down: it is waited for up to 3600 s");
            stop.cancel();
        }
    });
    let mut bench =
        Bench::new(&server, &kept, &emit, &cancel, settings()).await.expect("an address");
    let options = json!({"prompt_tokens": 100, "output_tokens": 2, "max_outage": 3600});
    let stability = workload("stability", &options);
    let repeat = tokio::time::timeout(Duration::from_mins(1), bench.repeat(&stability, "", 1));
    assert!(matches!(repeat.await, Ok(Err(BenchError::Cancelled))));
}

/// Calibrations come before it in the records.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_named_is_the_one_of_that_number_in_the_records() {
    let behaviour = Behaviour {
        miss: Duration::from_millis(5),
        context: u64::MAX,
        reports_context: false,
        counts: |tokens, number| if number < 7 { tokens } else { tokens.min(300) },
        ..Behaviour::default()
    };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let options = json!({"prompt_tokens": 1000, "output_tokens": 2, "requests": 8, "warmup": 0});
    let measured = measure(&server, &[workload("stability", &options)], 1).await;
    let row = &measured.measurements[0];
    let reason = row.reason.as_deref().expect("said");
    let (_, number) = reason.split_once("the first: request ").expect(reason);
    let number: usize = number.split(':').next().and_then(|n| n.parse().ok()).expect(reason);
    let (_, records) = &measured.records[0];
    let tokens = |index: usize| records[index].usage.expect("reported").prompt_tokens;
    assert_eq!(records[number].index as usize, number);
    assert_eq!((tokens(number), tokens(number - 1) > 300), (300, true), "{reason}");
}

/// What the chat template opens with is no reason for a hit.
#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_distinct_from_the_first_block_on() {
    for (preamble, least) in [(0, 1), (64, 20)] {
        let miss = Duration::from_millis(5);
        let counting = Counting::start(Behaviour { miss, preamble, ..Behaviour::default() }).await;
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        let options = json!({"prompt_tokens": [200, 300], "output_tokens": 2});
        let measured = measure(&server, &[workload("stability", &options)], 1).await;
        measured.ended.expect("a living server");
        let salts = counting.cache_salts();
        assert!(salts >= least && (preamble > 0 || salts == 1), "{preamble}: {salts}");
    }
}
