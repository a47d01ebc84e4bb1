//! The streaming client's connections: kept, replaced, and what is reported of them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vllm_grid::client::clock::Clock;
use vllm_grid::client::{Client, Slot};

use crate::bench::client::{ORDER, ask, captured, limits, plain, request};
use crate::bench::scripted::{DONE, END, STREAM, Scripted, Step, USAGE, chunk, delta, writes};

#[tokio::test]
async fn a_connection_is_used_again_and_replaced_when_it_was_closed() {
    let good = captured("sse-chat-nothink.txt");
    let stop = CancellationToken::new();
    let kept = Scripted::start(good.clone()).await;
    let client = Client::new(&kept.server(), limits()).await.expect("an address");
    let mut slots = client.open(1).await.expect("open");
    for _ in 0..3 {
        let outcome = client.send(&mut slots[0], &request(), ORDER, Clock::start(), &stop).await;
        assert_eq!(outcome.record.error, None);
    }
    assert_eq!((kept.seen().connections, kept.seen().requests.len()), (1, 3));
    // What will be too old when it is used is replaced before.
    client.ready_for(&mut slots[0], Duration::from_secs(1)).await.expect("open");
    assert_eq!(kept.seen().connections, 1);
    client.ready_for(&mut slots[0], Duration::from_secs(5)).await.expect("open");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(kept.seen().connections, 2);

    // As vLLM does to idle ones, only sooner.
    let mut steps = good;
    steps.push(Step::Wait(Duration::from_millis(20)));
    steps.push(Step::Close);
    let closing = Scripted::start(steps).await;
    let client = Client::new(&closing.server(), limits()).await.expect("an address");
    let mut slot = Slot::default();
    for _ in 0..3 {
        let outcome = client.send(&mut slot, &request(), ORDER, Clock::start(), &stop).await;
        assert_eq!(outcome.record.error, None);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!((closing.seen().connections, closing.seen().requests.len()), (3, 3));
}

/// A proxy that refuses a key may well repeat it.
#[tokio::test]
async fn the_key_is_reported_nowhere_whoever_repeats_it() {
    let body = r#"{"error": {"message": "unknown key sk-secret (sk-secret)"}}"#;
    let odd = "data: {sk-secret}\n\n";
    let stream = writes(&[STREAM.to_owned(), chunk(odd), END.to_owned()]);
    for steps in [plain("401 Unauthorized", "application/json", body), stream] {
        let scripted = Scripted::start(steps).await;
        let record = ask(&scripted).await.record;
        let message = record.error.expect("an error").message;
        assert!(message.contains("***") && !message.contains("sk-secret"), "{message}");
        assert!(scripted.seen().requests[0].contains("sk-secret"), "it was sent");
    }
}

/// What is late in reading adds nothing to what is read: a thread that is held up
/// finds the time at which the first token came.
#[tokio::test]
async fn a_client_that_reads_late_measures_no_lateness_of_its_own() {
    let mut steps = writes(&[STREAM.to_owned()]);
    steps.push(Step::Wait(Duration::from_millis(100)));
    steps.extend(writes(&[chunk(&delta(r#"{"content":"a"}"#))]));
    steps.push(Step::Wait(Duration::from_millis(200)));
    steps.extend(writes(&[chunk(USAGE), chunk(DONE), END.to_owned()]));
    // The server has threads of its own, and the client's one sleeps as it must not.
    let server = tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let scripted = runtime.block_on(Scripted::start(steps));
        (runtime, scripted)
    });
    let (runtime, scripted) = server.await.expect("it listens");
    // The kernel begins to stamp some time after it was first asked to.
    let mut late = Duration::MAX;
    for _ in 0..5 {
        let asked = ask(&scripted);
        let held_up = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::thread::sleep(Duration::from_millis(200));
        };
        let record = tokio::join!(asked, held_up).0.record;
        assert_eq!(record.error, None);
        let ttft = Duration::from_secs_f64(record.ttft_ms().expect("a token") / 1e3);
        let own = Duration::from_millis(100);
        late = late.min(ttft.checked_sub(own).expect("no sooner than it was sent"));
    }
    runtime.shutdown_background();
    assert!(late < Duration::from_millis(100), "it could read 150 ms after: {late:?}");
}
