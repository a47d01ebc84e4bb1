//! What the simulator does at real speed, by the stamps of its own engine: what the
//! machine does besides changes none of them.

use std::time::Instant;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::simulator;

use crate::simulator::served::{Running, memory_log, prompt, words};
use crate::support::until_async;

/// Seconds of one request's prefill as the engine counted them, and from sending to the
/// first chunk as a client sees them.
async fn prefill(server: &Running, body: &Value) -> (f64, f64) {
    let (seconds, count) =
        ("vllm:request_prefill_time_seconds_sum", "vllm:request_prefill_time_seconds_count");
    let (before, requests) = (server.metric(seconds).await, server.metric(count).await);
    let sent = Instant::now();
    let response = server.chat(body.clone()).await;
    let mut stream = response.bytes_stream();
    let mut first = None;
    while let Some(bytes) = stream.next().await {
        bytes.unwrap();
        first.get_or_insert_with(|| sent.elapsed());
    }
    until_async("it is counted", async || server.metric(count).await > requests).await;
    (server.metric(seconds).await - before, first.unwrap().as_secs_f64())
}

/// At real speed a resent prefix of 4096
/// tokens comes back at least three times faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resent_prefix_comes_back_faster_by_the_clock() {
    let line = "serve Qwen/Qwen3-1.7B --max-model-len 16384 --sim-speed 10000";
    let (argv, options) = simulator::command_line(&words(line), []).unwrap();
    let (sink, log) = memory_log();
    let cancel = CancellationToken::new();
    let booted = simulator::boot(&argv, &options, sink, &cancel).await.unwrap();
    let server = Running::serve_booted(booted.at_speed(1.0), log, cancel).await;
    let ask = |salt: &str| json!({"messages": prompt(salt, 4096), "max_tokens": 2, "ignore_eos": true, "stream": true});
    prefill(&server, &ask("warm up")).await;
    let (miss, waited) = prefill(&server, &ask("salt")).await;
    let (hit, _) = prefill(&server, &ask("salt")).await;
    assert!(miss >= 3.0 * hit && hit > 0.0, "miss {miss} s, hit {hit} s");
    // The server spends that time: nobody has a token sooner.
    assert!(waited >= 0.9 * miss, "first token after {waited} s of {miss} s");
    server.stop().await;
}
