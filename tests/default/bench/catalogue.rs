//! Every metric of the catalogue has a run that fills it. That no workload reports
//! anything else is asserted in each run, here and elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchSettings, run_suite};
use vllm_grid::client::Limits;
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, Metric};
use vllm_grid::server::{ResourceProbe, ResourceSample, Server};
use vllm_grid::telemetry::{Telemetry, TelemetrySettings};
use vllm_grid::workload::KINDS;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{Kept, Simulated, settings, workload};

/// Filled elsewhere: the unit tests of `stability` have what is measured from ten
/// minutes on, the tests of `search` the rate that a search finds, those of `gates` an answer that loops, and those of `shared` what
/// is accepted of drafts: the program of `command` here sends no request.
fn is_elsewhere(metric: &Metric) -> bool {
    (metric.workload == "stability" && metric.name.contains("_per_hour"))
        || (metric.workload == "load" && metric.name == "max_rate")
        || (metric.workload == "load" && metric.name == "repetition_example")
        || (metric.workload == "command" && metric.name.starts_with("acceptance"))
}

/// Metrics of resources have unit tests of their own.
fn is_of_resources(metric: &Metric) -> bool {
    let sources = ["NVML", "host of", "Windows", "Docker's statistics"];
    let is_shared = |name: &&str| metric.source.starts_with(name);
    sources.iter().any(is_shared)
}

/// An engine whose server takes more memory at each look.
struct Growing(AtomicU64);

#[async_trait]
impl ResourceProbe for Growing {
    async fn sample(&self) -> Option<ResourceSample> {
        let looks = self.0.fetch_add(1, Ordering::Relaxed);
        let memory_bytes = Some(1_000_000 * (looks + 1));
        Some(ResourceSample { memory_bytes, restarts: Some(0), ..ResourceSample::default() })
    }
}

/// One kept repeat of every case, without a warm-up.
async fn run(server: &Server, runs: &[(&str, Value)]) -> Vec<Measurement> {
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let settings = BenchSettings { launch: 1, limits: Limits::default(), ..settings() };
    let probe = Arc::new(Growing(AtomicU64::new(0)));
    let telemetry = TelemetrySettings { probe: Some(probe), ..TelemetrySettings::default() };
    let mut bench = Bench::new(server, &kept, &emit, &cancel, settings)
        .await
        .expect("an address")
        .with_telemetry(Telemetry::start(&telemetry));
    let workloads: Vec<_> = runs
        .iter()
        .map(|(name, options)| {
            let mut options = options.clone();
            options["warmup"] = json!(0);
            workload(name, &options)
        })
        .collect();
    let mut measurements = Vec::new();
    run_suite(&mut bench, &workloads, 1, &mut measurements).await.expect("a living server");
    measurements
}

/// Answers of hundreds of tokens, of a quick simulated server with parsers.
async fn quick() -> Vec<Measurement> {
    let flags = "--max-model-len 8192 --enable-auto-tool-choice --tool-call-parser hermes \
                 --reasoning-parser qwen3 --sim-speed 50 --speculative-config {\"num_speculative_tokens\":3}";
    let simulated = Simulated::start(&format!("Qwen/Qwen3-1.7B {flags}")).await;
    let runs = [
        ("reasoning", json!({"kinds": "logic", "instances": 2, "max_tokens": 4000})),
        ("tool-calling", json!({"scenarios": ["named", "balanced"], "instances": 4})),
    ];
    run(&simulated.server, &runs).await
}

/// Answers of some tokens, at the pace of a real server: each lasts longer than a busy
/// machine keeps the client from reading, else its tokens come in one piece, and of
/// such answers there is no time per token.
async fn paced() -> Vec<Measurement> {
    let flags = "--max-model-len 8192 --enable-prefix-caching --sim-speed 1 \
                 --speculative-config {\"num_speculative_tokens\":3}";
    let simulated = Simulated::start(&format!("Qwen/Qwen3-1.7B {flags}")).await;
    let runs = [
        ("kv-cache", json!({"prefix_tokens": 1000, "prompts": 2, "output_tokens": 64})),
        ("conversation", json!({"conversations": 1, "turns": 5, "output_tokens": 64})),
        ("long-context", json!({"contexts": 1000, "depths": 0.5})),
        // Enough for every percentile, for an SLO, and from a schedule.
        (
            "load",
            json!({"rate": 100, "requests": 400, "prompt_tokens": 64, "output_tokens": 64,
                   "slo_ttft_ms": 60_000}),
        ),
        // What a closed loop alone measures, and a prefix that is shared.
        (
            "load",
            json!({"concurrency": 2, "requests": 16, "prompt_tokens": 400, "output_tokens": 8,
                   "shared_prefix_tokens": 200}),
        ),
    ];
    run(&simulated.server, &runs).await
}

/// Long enough for the engine to be looked at more than once.
async fn slow() -> Vec<Measurement> {
    let flags = "--max-model-len 8192 --sim-speed 1 \
                 --speculative-config {\"num_speculative_tokens\":3}";
    let simulated = Simulated::start(&format!("Qwen/Qwen3-1.7B {flags}")).await;
    let mix = json!({"prompt_tokens": [100, 300], "output_tokens": 80, "requests": 12});
    run(&simulated.server, &[("stability", mix)]).await
}

/// A server that is down for a moment.
async fn outage() -> Vec<Measurement> {
    let down = Some((5, 2));
    let counting = Counting::start(Behaviour { down, ..Behaviour::default() }).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let mix = json!({"prompt_tokens": 100, "output_tokens": 2, "requests": 4, "max_outage": 600});
    run(&server, &[("stability", mix)]).await
}

/// An external benchmark that writes what `vllm bench serve` writes.
async fn command() -> Vec<Measurement> {
    let drafts = Some(("draft", "_total"));
    let counting = Counting::start(Behaviour { drafts, ..Behaviour::default() }).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let mut result = json!({
        "date": "20261124-061353", "backend": "vllm", "model_id": "m", "num_prompts": 8,
        "request_rate": "inf", "max_concurrency": 4, "duration": 2.5, "completed": 8, "failed": 0,
        "total_input_tokens": 800, "total_output_tokens": 64, "request_throughput": 3.2,
        "request_goodput:": 3.1, "output_throughput": 25.6, "total_token_throughput": 345.6,
        "max_output_tokens_per_s": 40.0, "max_concurrent_requests": 4, "ttfts": [0.1], "errors": [],
    });
    for latency in ["ttft", "tpot", "itl", "e2el"] {
        for statistic in ["mean", "median", "std", "p95", "p99"] {
            result[format!("{statistic}_{latency}_ms")] = json!(12.5);
        }
    }
    let script = format!("echo '{result}' > \"$0\"");
    run(&server, &[("command", json!({"command": ["sh", "-c", script, "{result}"]}))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_a_run_that_fills_it() {
    let (quick, paced, slow, outage, command) =
        tokio::join!(quick(), paced(), slow(), outage(), command());
    let all = [quick, paced, slow, outage, command].concat();
    let filled: BTreeSet<(String, &str)> = all
        .iter()
        .flat_map(|row| {
            let measured = row.metrics.iter().filter(|(_, value)| value.is_some());
            measured.map(|(name, _)| (row.workload.replace('-', "_"), name.as_str()))
        })
        .collect();
    let is_filled = |workload: &str, name: &str| filled.contains(&(workload.to_owned(), name));
    let own = KINDS.iter().flat_map(|kind| kind.all_metrics().filter(|it| !is_of_resources(it)));
    let (elsewhere, here): (Vec<&Metric>, Vec<&Metric>) =
        own.partition(|metric| is_elsewhere(metric));
    let missing: Vec<String> = here
        .iter()
        .filter(|metric| !is_filled(metric.workload, metric.name))
        .map(|metric| format!("{}.{}", metric.workload, metric.name))
        .collect();
    let reasons: Vec<_> = all.iter().map(|row| (&row.workload, row.status, &row.reason)).collect();
    assert!(missing.is_empty(), "no run fills {missing:?}: {reasons:?}");
    assert!(
        !elsewhere.is_empty()
            && elsewhere.iter().all(|metric| !is_filled(metric.workload, metric.name))
    );
}
