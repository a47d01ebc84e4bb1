//! The search for the highest rate that holds an SLO: what it finds, and that the
//! figures beside it are those of the rate that was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::client::Limits;
use vllm_grid::bench::record::RequestRecord;
use vllm_grid::bench::suite::{Bench, BenchSettings};
use vllm_grid::bench::telemetry::{Telemetry, TelemetrySettings};
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::{ResourceProbe, ResourceSample, Server};
use vllm_grid::workload::Workload;

use crate::counting::{Behaviour, Counting};
use crate::simulated::{Kept, Simulated, measure, number, workload};

/// One request after the other is served: a rate breaks the SLO when the last one waits too long.
fn searching(requests: u32, prompt_tokens: u32, slo_ms: f64) -> Workload {
    workload(
        "load",
        &json!({
            "find_max_rate": true, "requests": requests, "prompt_tokens": prompt_tokens,
            "output_tokens": 2, "slo_e2el_ms": slo_ms, "warmup": 0, "arrivals": "constant",
        }),
    )
}

/// Whether the machine was too busy for the client to keep its schedule.
fn was_late(row: &Measurement) -> bool {
    row.status == Status::Void && row.reason.as_deref().is_some_and(|r| r.contains("send lag"))
}

/// A search; again, where the client was late.
async fn search(server: &Server, requests: u32, slo_ms: f64) -> Measurement {
    let load = searching(requests, 4000, slo_ms);
    let mut last = None;
    for _ in 0..8 {
        let row = measure(server, std::slice::from_ref(&load), 1).await.measurements.remove(0);
        if !was_late(&row) {
            return row;
        }
        last = row.reason;
    }
    panic!("the client was never in time: {last:?}");
}

/// One request at a time, each nearly all prefill, some 600 ms: a client that is
/// late by less than 30 ms is no bottleneck, and the knee is known. Of `n` requests
/// at a rate r the last one waits (n - 1)(T - 1/r), where T is the time of one alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_highest_rate_that_holds_the_slo() {
    // Both searches send the same prompts: nothing of them may be cached.
    let flags = "--max-num-seqs 1 --no-enable-prefix-caching --sim-speed 0.24";
    let simulated =
        Simulated::start(&format!("Qwen/Qwen3-1.7B --max-model-len 8192 {flags}")).await;
    let none = search(&simulated.server, 1, 0.5).await;
    assert_eq!((none.status, number(&none, "max_rate")), (Status::Ok, None));
    assert_eq!(none.reason.as_deref(), Some("no rate was found that holds the SLO"));

    let alone = number(&none, "min_e2el_ms").expect("timed");
    assert!((300.0..3000.0).contains(&alone), "{alone}");
    let some = search(&simulated.server, 3, 1.5 * alone).await;
    assert_eq!((some.status, some.reason.as_deref()), (Status::Ok, None));
    // It breaks where 2 (T - 1/r) + T > 1.5 T: above 1.33 requests in the time of one.
    let rate = number(&some, "max_rate").expect("found") * alone / 1e3;
    assert!((0.8..1.6).contains(&rate), "{rate} of the server's own pace");
    assert!(number(&some, "good_share") >= Some(0.95));
}

/// Tells as memory how many requests the server has been sent.
struct Served(Counting);

#[async_trait]
impl ResourceProbe for Served {
    async fn sample(&self) -> Option<ResourceSample> {
        let served = self.0.served() as u64;
        Some(ResourceSample { memory_bytes: Some(served), ..ResourceSample::default() })
    }
}

/// A search on a server that counts; its row, its records, and what the server had
/// been sent before.
async fn counted(counting: &Counting) -> (Measurement, Vec<RequestRecord>, usize) {
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let settings =
        BenchSettings { salt: "a sweep".to_owned(), seed: 1, launch: 1, limits: Limits::default() };
    let probe: Arc<dyn ResourceProbe> = Arc::new(Served(counting.clone()));
    let telemetry = TelemetrySettings { probe: Some(probe), ..TelemetrySettings::default() };
    let mut bench = Bench::new(&server, &kept, &emit, &cancel, settings)
        .await
        .expect("an address")
        .with_telemetry(Telemetry::start(&telemetry));
    for _ in 0..8 {
        let before = counting.served();
        let row = bench.repeat(&searching(3, 64, 750.0), "", 1).await.expect("a living server");
        let (_, records) = kept.0.lock().expect("no panic").pop().expect("kept");
        if !was_late(&row) {
            return (row, records, before);
        }
    }
    panic!("the client was never in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_beside_a_search_is_told_of_the_found_rate_alone() {
    let behaviour =
        Behaviour { miss: Duration::from_millis(500), serial: true, ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let (row, records, before) = counted(&counting).await;
    assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, None));
    let told = |name| number(&row, name).unwrap_or_else(|| panic!("{name} was not measured"));
    let name = format!("rate={}", told("max_rate"));
    let of = |purpose: &str| records.iter().filter(|record| record.purpose == purpose).count();
    let rates = records.iter().filter(|record| record.purpose.starts_with("rate=")).count();
    assert_eq!(of(&name), 3);
    assert!(rates >= 9, "other rates were tried, under their own names: {records:?}");
    // The server puts each request back once, and tells so.
    assert_eq!((told("completed"), told("preemptions")), (3.0, 3.0));
    // What the machine used, too, is what it used while that rate was sent.
    let first = records.iter().position(|record| record.purpose == name).expect("sent");
    let (least, most) = ((before + first) as f64, (before + first + 3) as f64);
    assert!(told("engine_memory_mean") >= least, "{row:?}");
    assert!(told("engine_memory_max") <= most, "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rate_is_tried_for_the_duration() {
    let behaviour =
        Behaviour { miss: Duration::from_millis(100), serial: true, ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let load = workload(
        "load",
        &json!({
            "find_max_rate": true, "duration": 0.5, "prompt_tokens": 64, "output_tokens": 2,
            "slo_e2el_ms": 300, "warmup": 0, "arrivals": "constant",
        }),
    );
    let measured = measure(&server, &[load], 1).await;
    let row = &measured.measurements[0];
    assert!(row.status == Status::Ok || was_late(row), "{:?}", row.reason);
    let mut due: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for record in &measured.records[0].1 {
        if let Some(rate) = record.purpose.strip_prefix("rate=") {
            due.entry(rate).or_default().push(record.scheduled_ns);
        }
    }
    assert!(!due.is_empty());
    for (rate, due) in due {
        let (first, last) = (due[0], due[due.len() - 1]);
        assert!(last - first <= 500_000_000, "{rate}: from {first} to {last}");
        let most = rate.parse::<f64>().expect("a number") * 0.5 + 1.0;
        assert!(due.len() as f64 <= most, "{rate}: {} requests", due.len());
    }
}
