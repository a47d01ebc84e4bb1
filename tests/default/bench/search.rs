//! The search for the highest rate that holds an SLO: what it finds, and that the
//! other figures are those of the rate that was found.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::routing::post;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchSettings};
use vllm_grid::client::Limits;
use vllm_grid::client::record::RequestRecord;
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::{Endpoint, ResourceProbe, ResourceSample, Server};
use vllm_grid::telemetry::{Telemetry, TelemetrySettings};
use vllm_grid::workload::Workload;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{
    Kept, Measured, Simulated, measure, measure_late, number, settings, workload,
};

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

async fn search(server: &Server, requests: u32, slo_ms: f64) -> Measured {
    measure_late(server, searching(requests, 4000, slo_ms)).await
}

/// One request at a time, each nearly all prefill, some 180 ms. Which rate is found of a
/// queue is shown where it is computed (`load/step.rs`): here it is that the search is
/// driven by what requests show, and a busy machine has seconds for that.
#[tokio::test(flavor = "multi_thread")]
async fn the_highest_rate_that_holds_the_slo() {
    // Both send the same prompts: nothing of them may be cached.
    let flags = "--max-num-seqs 1 --no-enable-prefix-caching --sim-speed 0.8";
    let simulated =
        Simulated::start(&format!("Qwen/Qwen3-1.7B --max-model-len 8192 {flags}")).await;
    let one = workload(
        "load",
        &json!({
            "concurrency": 1, "requests": 2, "prompt_tokens": 4000, "output_tokens": 2, "warmup": 0,
        }),
    );
    let one = measure(&simulated.server, &[one], 1).await.measurements.remove(0);
    let alone = number(&one, "min_e2el_ms").expect("timed");
    let measured = search(&simulated.server, 3, 4.0 * alone).await;
    let some = &measured.measurements[0];
    assert_eq!(some.status, Status::Ok, "{:?}", some.reason);
    let found = number(some, "max_rate").expect("found");
    // A server that takes one at a time ends no more of them.
    assert!((0.3..3.0).contains(&(found * alone / 1e3)), "{found} of {alone} ms each");
    let mut tried: Vec<f64> = Vec::new();
    for record in &measured.records[0].1 {
        let rate = record.purpose.strip_prefix("rate=");
        tried.extend(rate.map(|rate| rate.parse::<f64>().expect("a number")));
    }
    // What was left over at the end is taken off.
    let near = tried.iter().any(|rate| (0.7..=1.0).contains(&(found / rate)));
    assert!(near, "{found} of {tried:?}");
    assert!(tried.iter().any(|rate| *rate > found), "a higher one broke it: {tried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_rate_holds_the_slo_that_is_said() {
    let miss = Duration::from_millis(200);
    let counting = Counting::start(Behaviour { miss, ..Behaviour::default() }).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let none = search(&server, 1, 0.5).await.measurements.remove(0);
    assert_eq!((none.status, number(&none, "max_rate")), (Status::Ok, None));
    let reason = none.reason.expect("said");
    assert!(reason.starts_with("no rate was found that meets the SLO"), "{reason}");
}

/// A server whose first tokens come soon, whoever else asks, and whose answers end one after
/// the other: each takes a turn.
async fn eager(first_token: Duration, each: Duration) -> Server {
    let turn: Arc<tokio::sync::Mutex<()>> = Arc::default();
    let token = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":64,\"completion_tokens\":2}}\n\n";
    let answering = move || {
        let turn = Arc::clone(&turn);
        async move {
            let first = async move {
                tokio::time::sleep(first_token).await;
                Ok::<_, Infallible>(token.to_owned())
            };
            let rest = async move {
                let _turn = turn.lock().await;
                tokio::time::sleep(each).await;
                Ok(format!("{token}{usage}data: [DONE]\n\n"))
            };
            let body = Body::from_stream(stream::once(first).chain(stream::once(rest)));
            ([("content-type", "text/event-stream")], body)
        }
    };
    let router = Router::new().route("/v1/chat/completions", post(answering));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server {
        endpoint: Endpoint::new(base_url, None),
        model: "m".to_owned(),
        choice: vllm_grid::server::ModelChoice::Clear,
        max_model_len: None,
        version: None,
        simulated: false,
    }
}

/// A few requests are all in flight at once at any rate, and all their first tokens
/// come in time: a rate is held only when its pipe was full.
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_the_server_does_not_sustain_is_not_held() {
    let server = eager(Duration::from_millis(150), Duration::from_millis(70)).await;
    let load = workload(
        "load",
        &json!({
            "find_max_rate": true, "requests": 3, "prompt_tokens": 64, "output_tokens": 2,
            "slo_ttft_ms": 2000, "warmup": 0, "arrivals": "constant",
        }),
    );
    let measured = measure_late(&server, load).await;
    let row = &measured.measurements[0];
    let reason = row.reason.as_deref().expect("said");
    assert_eq!(row.status, Status::Ok, "{reason}");
    let rate = number(row, "max_rate").expect("found");
    // Of no more than thirty requests, ten times those that were asked for.
    assert!((7.0..28.0).contains(&rate), "{rate} of 14");
    assert!(reason.contains("/s is not counted as meeting the SLO: "), "{reason}");
    let most = number(row, "completed").expect("counted");
    assert!(most <= 30.0, "{most} requests");
    assert!(number(row, "output_throughput").is_some(), "{reason}");
}

/// First tokens come at once, so that every request meets the SLO, and 50 answers end in a
/// second at the most: a busy machine only makes them fewer.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_does_not_end_above_what_the_server_ends() {
    let server = eager(Duration::from_millis(5), Duration::from_millis(20)).await;
    let load = workload(
        "load",
        &json!({
            "find_max_rate": true, "requests": 40, "prompt_tokens": 64, "output_tokens": 2,
            "slo_ttft_ms": 2000, "warmup": 0,
        }),
    );
    let measured = measure_late(&server, load).await;
    let row = &measured.measurements[0];
    let rate = number(row, "max_rate").expect("found");
    assert!((20.0..=1.03 * 50.0).contains(&rate), "{rate} of 50: {:?}", row.reason);
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
    let settings = BenchSettings { launch: 1, limits: Limits::default(), ..settings() };
    let probe: Arc<dyn ResourceProbe> = Arc::new(Served(counting.clone()));
    let telemetry = TelemetrySettings { probe: Some(probe), ..TelemetrySettings::default() };
    let mut bench = Bench::new(&server, &kept, &emit, &cancel, settings)
        .await
        .expect("an address")
        .accepting_late_client()
        .with_telemetry(Telemetry::start(&telemetry));
    let before = counting.served();
    let row = bench.repeat(&searching(3, 64, 800.0), "", 1).await.expect("a living server");
    let (_, records) = kept.0.lock().expect("no panic").pop().expect("kept");
    (row, records, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_observed_during_a_search_is_reported_of_the_found_rate_alone() {
    let behaviour =
        Behaviour { miss: Duration::from_millis(200), serial: true, ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let (row, records, before) = counted(&counting).await;
    assert_eq!(row.status, Status::Ok, "{:?}", row.reason);
    let value = |name| number(&row, name).unwrap_or_else(|| panic!("{name} was not measured"));
    // The step that confirmed the rate is the last one.
    let name = records.last().expect("sent").purpose.clone();
    let offered: f64 = name.strip_prefix("rate=").expect("a rate").parse().expect("a number");
    assert!((0.7..=1.0).contains(&(value("max_rate") / offered)), "{name}");
    let of = |purpose: &str| records.iter().filter(|record| record.purpose == purpose).count();
    let rates = records.iter().filter(|record| record.purpose.starts_with("rate=")).count();
    let completed = value("completed");
    // Those of a shorter try come before.
    assert!(completed >= 3.0 && of(&name) as f64 >= completed, "{completed} {}", of(&name));
    assert!(rates >= of(&name) + 6, "other rates were tried, under their own names: {records:?}");
    // The server puts each request back once, and reports so.
    assert_eq!(value("preemptions").to_bits(), completed.to_bits());
    // What the machine used, too, is what it used while that rate was sent.
    let last = records.iter().rposition(|record| record.purpose == name).expect("sent");
    let most = (before + last + 1) as f64;
    let least = most - completed;
    assert!(value("engine_memory_mean") >= least, "{row:?}");
    assert!(value("engine_memory_max") <= most, "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rate_is_tried_for_the_duration_or_as_long_as_requests_need() {
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
    let measured = measure_late(&server, load).await;
    let row = &measured.measurements[0];
    assert_eq!(row.status, Status::Ok, "{:?}", row.reason);
    let mut due: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for record in &measured.records[0].1 {
        if let Some(rate) = record.purpose.strip_prefix("rate=") {
            due.entry(rate).or_default().push(record.scheduled_ns);
        }
    }
    assert!(!due.is_empty());
    for (name, due) in due {
        let gap = 1e9 / name.parse::<f64>().expect("a number");
        // One that was too short to say anything is tried again, for longer.
        for due in due.chunk_by(|one, next| ((next - one) as f64) < 1.5 * gap) {
            let lasting = (due[due.len() - 1] - due[0]) as f64;
            assert!(lasting + gap >= 0.4e9, "{name}: {lasting} ns");
            assert!(lasting <= 5e9, "{name}: {lasting} ns, of ten times the duration at most");
        }
    }
}
