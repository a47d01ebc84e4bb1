//! The arrivals of open loops: the same for every configuration of a block of launches,
//! and others in the next block and in each repeat.

use serde_json::json;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchSettings};
use vllm_grid::event::Emit;
use vllm_grid::server::Server;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{Kept, settings, workload};

/// When the requests of two repeats were due, in milliseconds since the first.
async fn due(server: &Server, launch: u32, block: u32) -> [Vec<u64>; 2] {
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let settings = BenchSettings { launch, block, ..settings() };
    let bench = Bench::new(server, &kept, &emit, &cancel, settings).await.expect("an address");
    let mut bench = bench.accepting_late_client();
    let load = workload(
        "load",
        &json!({"rate": 100, "requests": 12, "prompt_tokens": 64, "output_tokens": 2, "warmup": 0}),
    );
    for repeat in 1..=2 {
        bench.repeat(&load, "", repeat).await.expect("a living server");
    }
    let records = kept.0.lock().expect("no panic");
    [0, 1].map(|repeat: usize| {
        let sent = records[repeat].1.iter().filter(|it| it.purpose.starts_with("rate="));
        let due: Vec<u64> = sent.map(|it| it.scheduled_ns).collect();
        due.iter().map(|at| (at - due[0]) / 1_000_000).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_are_those_of_the_block_and_of_the_repeat() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let first = due(&server, 1, 0).await;
    assert_eq!(first[0].len(), 12);
    assert_eq!(due(&server, 2, 0).await, first, "another configuration of the block");
    let next = due(&server, 3, 1).await;
    assert_ne!(first[0], first[1], "repeats");
    assert!(first[0] != next[0] && first[1] != next[1], "blocks");
}
