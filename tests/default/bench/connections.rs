//! The streaming client's connections: kept, replaced, and what is reported of them.

use std::io::{IoSliceMut, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use vllm_grid::client::clock::Clock;
use vllm_grid::client::{Client, Limits, Slot};

use crate::bench::client::{ORDER, ask, captured, limits, plain, request};
use crate::bench::scripted::{DONE, END, STREAM, Scripted, Step, USAGE, chunk, delta, writes};
use crate::support::{PATIENCE, until};

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
    kept.until("another connection", |seen| seen.connections == 2).await;

    // As vLLM does to idle ones, only sooner.
    let mut steps = good;
    steps.push(Step::Close);
    let closing = Scripted::start(steps).await;
    let client = Client::new(&closing.server(), limits()).await.expect("an address");
    let mut slot = Slot::default();
    for number in 1..=3 {
        let outcome = client.send(&mut slot, &request(), ORDER, Clock::start(), &stop).await;
        assert_eq!(outcome.record.error, None);
        closing.until("the server hangs up", |seen| seen.hung_up == number).await;
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

/// A kernel stamps what arrives only some time after a first socket asked it to, and as
/// long as one does: waits until it does, and gives that socket.
fn stamped() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (mut theirs, _) = listener.accept().expect("connected");
    setsockopt(&ours, sockopt::ReceiveTimestampns, &true).expect("Linux has the option");
    until("the kernel stamps what arrives", || {
        theirs.write_all(b"a").expect("connected");
        let written = SystemTime::now();
        std::thread::sleep(Duration::from_millis(20));
        let (mut byte, mut control) = ([0], nix::cmsg_space!(TimeSpec));
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let received =
            recvmsg::<()>(ours.as_raw_fd(), &mut bytes, Some(&mut control), MsgFlags::empty());
        let received = received.expect("it is there");
        let stamp = received.cmsgs().expect("room for one").find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
            _ => None,
        });
        // Without one, the time at which it is read is given.
        stamp.is_some_and(|stamp| SystemTime::UNIX_EPOCH + stamp <= written)
    });
    (ours, theirs)
}

/// What is late in reading adds nothing to what is read: a thread that is held up
/// finds the time at which the first token came.
#[tokio::test]
async fn a_client_that_reads_late_measures_no_lateness_of_its_own() {
    const LATE: Duration = Duration::from_millis(200);
    let _stamped = stamped();
    let gate = Arc::new(Notify::new());
    let mut steps = vec![Step::Gate(Arc::clone(&gate))];
    steps.extend(writes(&[format!("{STREAM}{}", chunk(&delta(r#"{"content":"a"}"#)))]));
    steps.push(Step::Wait(2 * LATE));
    steps.extend(writes(&[chunk(USAGE), chunk(DONE), END.to_owned()]));
    // The server has threads of its own, and the client's one sleeps as it must not.
    let server = tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let scripted = runtime.block_on(Scripted::start(steps));
        (runtime, scripted)
    });
    let (runtime, scripted) = server.await.expect("it listens");
    let limits = Limits { first_token: PATIENCE, silence: PATIENCE, ..Limits::default() };
    let client = Client::new(&scripted.server(), limits).await.expect("an address");
    let (mut slot, stop, clock) = (Slot::default(), CancellationToken::new(), Clock::start());
    let request = request();
    let asked = client.send(&mut slot, &request, ORDER, clock, &stop);
    let held_up = async {
        scripted.until("a request", |seen| !seen.requests.is_empty()).await;
        // From here on the client can do nothing until long after the token has come.
        gate.notify_one();
        until("the token is written", || !scripted.seen().written.is_empty());
        std::thread::sleep(LATE);
    };
    let record = tokio::join!(asked, held_up).0.record;
    runtime.shutdown_background();
    assert_eq!(record.error, None);
    let (began, done) = scripted.seen().written[0];
    let arrived = record.first_token_ns.expect("a token");
    // Two clocks are compared, which is right to some microseconds.
    let slack = LATE.as_nanos() as u64 / 2;
    let sent = clock.since(began).saturating_sub(slack)..=clock.since(done) + slack;
    assert!(sent.contains(&arrived), "{arrived} ns is not in {sent:?}");
}
