//! The client's side: closed loops that ramp up over one expected request time,
//! on connections that are open before the clock matters.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::client::{Client, Limits, Order, Slot};
use vllm_grid::bench::clock::Clock;
use vllm_grid::bench::record::RequestRecord;
use vllm_grid::bench::request::{Input, RequestSpec};
use vllm_grid::server::{Endpoint, Server};

use crate::scenario::{Scenario, spent};

/// Runs the scenario's load against `url`; records and summary as lines.
pub(crate) fn measure(scenario: &'static Scenario, url: &str) -> String {
    let server = Server {
        endpoint: Endpoint { base_url: url.to_owned(), api_key: None },
        model: "m".to_owned(),
        max_model_len: None,
        version: None,
        simulated: false,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (records, seconds) = runtime.block_on(load(scenario, server));
    let (cpu, peak) = spent("self").expect("/proc");
    let tokens: usize = records.iter().map(|record| record.chunks.len()).sum();
    assert_eq!(tokens, scenario.requests * scenario.tokens, "every token is recorded");
    let mut text = String::new();
    for record in &records {
        let ttft = record.ttft_ms().expect("a token");
        let _ = writeln!(text, "ttft {} {ttft}", record.index);
    }
    let _ = writeln!(
        text,
        "cpu_seconds {cpu}\npeak_mb {peak}\ntokens_per_second {}",
        tokens as f64 / seconds
    );
    text
}

async fn load(scenario: &'static Scenario, server: Server) -> (Vec<RequestRecord>, f64) {
    let client = Arc::new(Client::new(&server, Limits::default()).await.expect("an address"));
    let slots = client.open(scenario.streams).await.expect("a server");
    let expected = scenario.first + scenario.gap * u32::try_from(scenario.tokens).expect("few");
    let next = Arc::new(AtomicUsize::new(0));
    let (clock, started) = (Clock::start(), Instant::now());
    let workers: Vec<_> = slots
        .into_iter()
        .enumerate()
        .map(|(number, slot)| {
            let delay = expected.mul_f64(number as f64 / scenario.streams as f64);
            tokio::spawn(worker(
                scenario,
                Arc::clone(&client),
                slot,
                Arc::clone(&next),
                delay,
                clock,
            ))
        })
        .collect();
    let mut records = Vec::with_capacity(scenario.requests);
    for worker in workers {
        records.extend(worker.await.expect("no panic"));
    }
    (records, started.elapsed().as_secs_f64())
}

async fn worker(
    scenario: &Scenario,
    client: Arc<Client>,
    mut slot: Slot,
    next: Arc<AtomicUsize>,
    delay: Duration,
    clock: Clock,
) -> Vec<RequestRecord> {
    let stop = CancellationToken::new();
    tokio::time::sleep(delay).await;
    let mut records = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= scenario.requests {
            return records;
        }
        let text = format!("bench-id-{number}: {}", "a prompt of a few words. ".repeat(8));
        let input = Input::Chat(vec![json!({"role": "user", "content": text})]);
        let request = RequestSpec::speed(input, scenario.tokens as u64).prepare("m");
        let index = u32::try_from(number).expect("few");
        let order = Order { index, purpose: "load", scheduled_ns: None };
        let record = client.send(&mut slot, &request, order, clock, &stop).await.record;
        assert_eq!(record.error, None);
        records.push(record);
    }
}
