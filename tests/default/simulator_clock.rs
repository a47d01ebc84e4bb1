//! What the simulator does by the clock. A binary of its own, because cargo runs
//! test binaries one after another: nothing else runs beside it.

// Helpers of tests are not recognised as such.

use std::time::Instant;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::simulator;

use crate::simulator::served::{Running, memory_log, prompt, words};

/// Milliseconds from sending to the first chunk of a stream.
async fn time_to_first_token(server: &Running, body: &Value) -> f64 {
    let sent = Instant::now();
    let response = server.chat(body.clone()).await;
    let mut stream = response.bytes_stream();
    let mut first = None;
    while let Some(bytes) = stream.next().await {
        bytes.unwrap();
        first.get_or_insert_with(|| sent.elapsed());
    }
    first.unwrap().as_secs_f64() * 1e3
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
    time_to_first_token(&server, &ask("warm up")).await;
    let mut best = 0.0_f64;
    for attempt in 0..3 {
        let body = ask(&format!("attempt {attempt}"));
        let miss = time_to_first_token(&server, &body).await;
        let hit = time_to_first_token(&server, &body).await;
        best = best.max(miss / hit);
    }
    assert!(best >= 3.0, "miss over hit {best}");
    server.stop().await;
}
