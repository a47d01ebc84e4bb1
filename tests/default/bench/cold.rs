//! A prompt that was never sent before is a miss: what the counters say of that.

use std::time::Duration;

use serde_json::{Value, json};
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::Server;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{measure, workload};

/// Every workload whose prompts are new, but for `kv-cache`, which has its own.
fn workloads() -> [(&'static str, Value); 4] {
    [
        ("long-context", json!({"contexts": 1000, "depths": [0.2, 0.8], "max_tokens": 16})),
        ("conversation", json!({"turns": 3, "turn_tokens": 300, "output_tokens": 2})),
        ("reasoning", json!({"kinds": "logic", "instances": 2, "max_tokens": 1000})),
        ("tool-calling", json!({"scenarios": "single", "instances": 2, "max_tokens": 1000})),
    ]
}

async fn measured(behaviour: Behaviour, warmup: u64) -> Vec<(&'static str, Measurement)> {
    let miss = Duration::from_millis(1);
    let counting = Counting::start(Behaviour { miss, hit: miss, ..behaviour }).await;
    let mut rows = Vec::new();
    for (name, mut options) in workloads() {
        let server = Server::open(counting.endpoint(), None).await.expect("it serves");
        options["warmup"] = json!(warmup);
        let mut measured = measure(&server, &[workload(name, &options)], 1).await;
        measured.ended.expect("a living server");
        rows.push((name, measured.measurements.pop().expect("a row")));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_certified_and_what_was_cached_voids_or_is_said() {
    for (name, row) in measured(Behaviour::default(), 0).await {
        assert_eq!((row.status, row.reason), (Status::Ok, None), "{name}");
    }
    let knows_all = Behaviour { knows_all: true, ..Behaviour::default() };
    for (name, row) in measured(knows_all, 1).await {
        let reason = row.reason.expect("said");
        assert!(reason.contains("of a prompt never sent before came from the cache"), "{reason}");
        // Where the time to the first token is what it is about.
        let expected = match name {
            "long-context" | "conversation" => Status::Void,
            _ => Status::Ok,
        };
        assert_eq!(row.status, expected, "{name}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_opens_with_blocks_of_its_own_is_recognised() {
    let preamble = Behaviour { preamble: 48, ..Behaviour::default() };
    for (name, row) in measured(preamble, 1).await {
        assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, None), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_turns_of_a_conversation_have_one_salt() {
    let preamble = Behaviour { preamble: 48, ..Behaviour::default() };
    let counting = Counting::start(preamble).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let options = json!({"conversations": 2, "turns": 4, "output_tokens": 2, "warmup": 0});
    let measured = measure(&server, &[workload("conversation", &options)], 1).await;
    assert_eq!(measured.measurements[0].status, Status::Ok);
    // That of each conversation, and none in what was sent to fit the messages.
    assert_eq!(counting.cache_salts(), 3);
}
