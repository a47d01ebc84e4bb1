//! Prompts as long as the server counts them, and what becomes of a repeat whose
//! server counts something else.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError};
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::Server;

use crate::bench::counting::{Behaviour, Counting, Counts};
use crate::bench::simulated::{Kept, measure, number, settings, workload};
use crate::support::{in_time, until_async};

/// A server without an end to its context that says of a prompt what `counts` makes of its length.
async fn counting(counts: Counts) -> (Counting, Server) {
    let miss = Duration::from_millis(1);
    let behaviour = Behaviour {
        context: u64::MAX,
        miss,
        hit: miss,
        counts,
        reports_context: false,
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

async fn one(server: &Server, name: &str, options: &Value) -> Measurement {
    let mut options = options.clone();
    options["warmup"] = json!(0);
    let mut measured = measure(server, &[workload(name, &options)], 1).await;
    measured.ended.expect("a living server");
    assert_eq!(measured.measurements.len(), 1, "{name}");
    measured.measurements.remove(0)
}

/// Whatever a server counts, no prompt is larger than 16 bytes for each token asked
/// for, few are sent to find out, and nothing of another length is a measurement.
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
            let row = one(&server, name, &options).await;
            assert_ne!(row.status, Status::Ok, "{what}, {name}: {:?}", row.reason);
            let sent = counting.served() - before;
            assert!(sent <= 15, "{what}, {name}: {sent} requests");
        }
        let largest = counting.largest();
        assert!(largest <= 2 * 10_100 * 16, "{what}: {largest} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_the_server_does_not_count_is_skipped() {
    let (counting, server) = counting(|tokens, _| tokens.min(2048)).await;
    for (name, options) in workloads(10_000) {
        let before = counting.served();
        let row = one(&server, name, &options).await;
        assert_eq!(row.status, Status::Skipped, "{name}");
        let reason = row.reason.as_deref().expect("said");
        if name == "conversation" {
            assert!(
                reason.contains("of a part of the prompt where 10000 are asked for"),
                "{reason}"
            );
        } else {
            assert_eq!(reason, "the server counts 2048 tokens where 10000 are asked for");
        }
        assert!(counting.served() - before <= 3, "it is known after two prompts");
    }
    let mix = json!({"prompt_tokens": [1000, 10_000], "output_tokens": 2, "requests": 2});
    let row = one(&server, "stability", &mix).await;
    let reason = "1 lengths of the mix are left out: the server counts 2048 tokens where 10000 are \
                  asked for";
    assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, Some(reason)));
    let tokens = number(&row, "prompt_tokens").expect("counted");
    assert!((1000.0..1020.0).contains(&tokens), "{tokens}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_than_an_unreported_context_is_skipped() {
    let behaviour = Behaviour { context: 3000, reports_context: false, ..Behaviour::default() };
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let mut asked = workloads(10_000);
    // The prompt fits, and its answer does not.
    asked.push(("long-context", json!({"contexts": 2700, "depths": 0.5})));
    for (name, options) in asked {
        let row = one(&server, name, &options).await;
        let reason = row.reason.as_deref().expect("said");
        assert_eq!(row.status, Status::Skipped, "{name}: {reason}");
        assert!(reason.contains("the context length is 3000 tokens"), "{name}: {reason}");
    }
}

/// It counts rightly until the lengths are fitted.
#[tokio::test(flavor = "multi_thread")]
async fn prompts_of_another_length_than_was_fitted_are_void() {
    let cut: Counts = |tokens, number| if number < 7 { tokens } else { tokens.min(300) };
    for (name, options) in workloads(1000) {
        let (_, server) = counting(cut).await;
        let mut options = options;
        let (option, more) = match name {
            "kv-cache" => ("prompts", json!(8)),
            "long-context" => ("depths", json!([0.0, 0.2, 0.4, 0.6, 0.8])),
            "conversation" => ("turns", json!(5)),
            _ => ("requests", json!(8)),
        };
        options[option] = more;
        let row = one(&server, name, &options).await;
        let reason = row.reason.as_deref().expect("said");
        assert_eq!(row.status, Status::Void, "{name}: {reason}");
        assert!(reason.contains("the server counts"), "{name}: {reason}");
    }
}

/// Figures per request depend on how long the answers are.
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_another_length_are_said() {
    for (longest_answer, expected) in [
        (2, None),
        (1, Some("answers do not have the tokens that were asked for; the first: 1 of 2")),
    ] {
        let behaviour = Behaviour { longest_answer, ..Behaviour::default() };
        let counting = Counting::start(behaviour).await;
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        // In `long-context` an answer ends by itself.
        for (name, options) in
            workloads(500).into_iter().filter(|(name, _)| *name != "long-context")
        {
            let row = one(&server, name, &options).await;
            let reason = row.reason.unwrap_or_default();
            assert_eq!(row.status, Status::Ok, "{name}: {reason}");
            let remarked = reason.contains("answers do not have");
            assert_eq!(remarked, expected.is_some(), "{name}: {reason}");
            assert!(reason.contains(expected.unwrap_or_default()), "{name}: {reason}");
        }
    }
}

/// Also while texts of 100,000 tokens are being made and sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_while_a_length_is_fitted() {
    for (name, options) in workloads(100_000) {
        let (counting, server) = counting(|tokens, number| tokens + 5000 * number as u64).await;
        let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
        let mut bench =
            Bench::new(&server, &kept, &emit, &cancel, settings()).await.expect("an address");
        let workload = workload(name, &options);
        let repeat = bench.repeat(&workload, "", 0);
        let stop = async {
            until_async("a first try", async || counting.served() > 0).await;
            cancel.cancel();
        };
        let (ended, ()) = in_time("a stop", async { tokio::join!(repeat, stop) }).await;
        assert!(matches!(ended, Err(BenchError::Cancelled)), "{name}: {ended:?}");
    }
}
