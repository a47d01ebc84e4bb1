//! Prompts as long as the server counts them, and what becomes of a repeat whose
//! server counts something else.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError};
use vllm_grid::event::Emit;
use vllm_grid::server::Server;

use crate::counting::{Behaviour, Counting, Counts};
use crate::simulated::{Kept, Measured, measure, settings, workload};

/// A server without an end to its context that says of a prompt what `counts` makes of its length.
async fn counting(counts: Counts) -> (Counting, Server) {
    let miss = Duration::from_millis(1);
    let behaviour = Behaviour {
        context: u64::MAX,
        miss,
        hit: miss,
        counts,
        context_told: false,
        ..Behaviour::default()
    };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    (counting, server)
}

/// Every workload that asks for lengths, with prompts of `tokens`.
fn workloads(tokens: u64) -> Vec<(&'static str, Value)> {
    vec![
        ("kv-cache", json!({"prefix_tokens": tokens, "prompts": 1, "output_tokens": 2})),
        ("load", json!({"prompt_tokens": tokens, "requests": 2, "output_tokens": 2})),
        ("stability", json!({"prompt_tokens": tokens, "requests": 2, "output_tokens": 2})),
        ("long-context", json!({"contexts": tokens, "depths": 0.5})),
        ("conversation", json!({"turn_tokens": tokens, "turns": 2, "output_tokens": 2})),
    ]
}

async fn one(server: &Server, name: &str, options: &Value) -> Measured {
    let mut options = options.clone();
    options["warmup"] = json!(0);
    let measured = measure(server, &[workload(name, &options)], 1).await;
    assert_eq!(measured.measurements.len(), 1, "{name}");
    measured
}

/// Whatever a server counts, no prompt is larger than 16 bytes for each token asked
/// for, and few are sent to find out.
#[tokio::test(flavor = "multi_thread")]
async fn fitting_is_bounded_whatever_is_counted() {
    let counts: [(&str, Counts); 5] = [
        ("cut at 2048", |tokens, _| tokens.min(2048)),
        ("always 1", |_, _| 1),
        ("nothing", |_, _| 0),
        ("noise", |tokens, number| tokens * (60 + 37 * number as u64 % 81) / 100),
        ("backwards", |tokens, _| 40_000u64.saturating_sub(tokens)),
    ];
    for (what, counts) in counts {
        let (counting, server) = counting(counts).await;
        for (name, options) in workloads(10_000) {
            let before = counting.served();
            let measured = one(&server, name, &options).await;
            measured.ended.expect("a living server");
            let sent = counting.served() - before;
            assert!(sent <= 15, "{what}, {name}: {sent} requests");
        }
        let largest = counting.largest();
        assert!(largest <= 2 * 10_100 * 16, "{what}: {largest} bytes");
    }
}

/// Also while texts of 100,000 tokens are being made and sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_while_a_length_is_fitted() {
    for (number, (name, options)) in (0..).zip(workloads(100_000)) {
        let (_, server) = counting(|tokens, number| tokens + 5000 * number as u64).await;
        let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
        let mut bench =
            Bench::new(&server, &kept, &emit, &cancel, settings()).await.expect("an address");
        let stop = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(15 * number)).await;
            stop.cancel();
        });
        let workload = workload(name, &options);
        let repeat = bench.repeat(&workload, "", 0);
        let ended = tokio::time::timeout(Duration::from_secs(3), repeat).await;
        assert!(matches!(ended, Ok(Err(BenchError::Cancelled))), "{name}: {ended:?}");
    }
}
