//! Servers behind https: whom the client believes, and that TLS changes no figure.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use vllm_grid::client::clock::{Clock, now_ns};
use vllm_grid::client::record::RequestErrorClass;
use vllm_grid::client::{Client, Outcome, Slot};
use vllm_grid::results::records;
use vllm_grid::server::{Endpoint, Server, Trust};

use crate::bench::client::{ORDER, limits, request};
use crate::bench::scripted::{
    DONE, END, STREAM, Scripted, Step, USAGE, chunk, delta, server, writes,
};
use crate::bench::simulated::Simulated;
use crate::support::tls::{Accepted, Forwarder, Identity};
use crate::support::{Ran, Workplace, in_time, until_async};

/// A server at `url` that is believed by `identity`'s file.
fn behind(url: &str, identity: &Identity) -> Server {
    let trust = Trust::with_file(&identity.file()).expect("it has a certificate");
    let mut server = server(url);
    server.endpoint.trust = trust;
    server
}

async fn ask(server: &Server, slot: &mut Slot) -> Outcome {
    let client = Client::new(server, limits()).await.expect("an address");
    send(&client, slot).await
}

async fn send(client: &Client, slot: &mut Slot) -> Outcome {
    let stop = CancellationToken::new();
    let sent = async { client.send(slot, &request(), ORDER, Clock::start(), &stop).await };
    in_time("an answer", sent).await
}

/// What a person reads who names this server.
async fn refusal(url: &str, trust: Trust) -> String {
    let endpoint = Endpoint { trust, ..Endpoint::new(url, None) };
    in_time("a refusal", Server::open(endpoint, None)).await.expect_err("refused").to_string()
}

fn trust(identity: &Identity) -> Trust {
    Trust::with_file(&identity.file()).expect("it has a certificate")
}

/// A server of plain HTTP, which refuses what is none.
async fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

/// A load's measurement and records, as `bench` gives them.
fn measured(ran: &Ran, records: &Path) -> (Value, BTreeSet<String>) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let output: Value = serde_json::from_str(&ran.out).expect("JSON");
    let records = records::read(records).expect("records");
    assert!(!records.is_empty() && records.iter().all(|record| record.error.is_none()));
    let fields = records.iter().flat_map(|record| {
        let Ok(Value::Object(fields)) = serde_json::to_value(record) else { panic!("an object") };
        fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name)
    });
    (output["measurements"][0]["metrics"].clone(), fields.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_measures_behind_https_what_it_measures_behind_http() {
    let simulated = Simulated::start("Qwen/Qwen3-8B --sim-gpu rtx-4090").await;
    let plain = simulated.server.endpoint.base_url.clone();
    let to: SocketAddr = plain.strip_prefix("http://").expect("plain").parse().expect("bound");
    let identity = Identity::new();
    let forwarder = Forwarder::start(&identity, to, true).await;
    let (url, file) = (forwarder.url.clone(), identity.file().display().to_string());
    let ran = tokio::task::spawn_blocking(move || {
        let place = Workplace::new("");
        let mut all = Vec::new();
        for (name, address) in [("plain", plain.as_str()), ("tls", url.as_str())] {
            let path = place.path(name);
            let mut words = vec!["bench", address, "--workload", "load", "--repeats", "1"];
            for option in ["concurrency=4", "requests=12", "prompt_tokens=64", "output_tokens=8"] {
                words.extend(["--set", option]);
            }
            words.extend(["--format", "json", "--records", path.to_str().unwrap()]);
            if name == "tls" {
                words.extend(["--ca-file", &file]);
            }
            // Proxies of the environment are not used: nobody listens there.
            let mut command = place.command(&words);
            for variable in ["http_proxy", "https_proxy", "ALL_PROXY", "HTTPS_PROXY"] {
                command.env(variable, "http://127.0.0.1:1");
            }
            all.push(measured(&Ran::of(command.output().unwrap()), &path));
        }
        all
    });
    let ran = ran.await.expect("no panic");
    let [(plain, plain_fields), (tls, tls_fields)] = &ran[..] else { panic!("two") };
    assert_eq!(plain_fields, tls_fields, "the same is recorded");
    let names = |metrics: &Value| -> BTreeSet<String> {
        let metrics = metrics.as_object().expect("metrics").iter();
        metrics.filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(plain), names(tls), "the same is measured");
    assert_eq!(tls["total_output_tokens"], 96.0);
    assert!(forwarder.connections() > 0);
}

#[test]
fn a_file_of_certificates_is_checked_before_anything_is_asked() {
    let place = Workplace::new("");
    std::fs::write(place.path("empty.pem"), "nothing\n").expect("written");
    let ran = place.run(&["bench", "https://localhost:1", "--ca-file", "empty.pem"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("empty.pem has no certificate"), "{}", ran.err);
    let ran = place.run(&["bench", "https://localhost:1", "--ca-file", "missing.pem"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("there is no such file"), "{}", ran.err);
    let ran = place.run(&["bench", "http://localhost:1", "--ca-file", "empty.pem"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("begins with https://"), "{}", ran.err);
    let ran = place.run(&["bench", "https://localhost:1", "--workload", "load"]);
    assert_eq!(ran.code, Some(3), "nobody is there: {ran:?}");
}

#[tokio::test]
async fn who_is_not_believed_is_told_why() {
    let to = plain().await;
    let good = Identity::new();
    let forwarder = Forwarder::start(&good, to, true).await;
    let unknown = refusal(&forwarder.url, Trust::default()).await;
    assert!(unknown.contains("no known authority issued its certificate"), "{unknown}");
    assert!(unknown.contains("--ca-file"), "{unknown}");
    let other = refusal(&forwarder.url, trust(&Identity::new())).await;
    assert!(other.contains("--ca-file"), "another authority of the same name: {other}");

    let elsewhere = Identity::with(&["llm.example.org", "gpu.example.org"], |_| {});
    let forwarder = Forwarder::start(&elsewhere, to, true).await;
    let name = refusal(&forwarder.url, trust(&elsewhere)).await;
    assert!(name.contains("is not for localhost, but for"), "{name}");
    assert!(name.contains("llm.example.org"), "{name}");

    let expired = Identity::with(&["localhost"], |leaf| {
        leaf.not_before = rcgen::date_time_ymd(2019, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2020, 2, 3);
    });
    let forwarder = Forwarder::start(&expired, to, true).await;
    let time = refusal(&forwarder.url, trust(&expired)).await;
    assert!(time.contains("expired on 2020-02-03"), "{time}");

    let early = Identity::with(&["localhost"], |leaf| {
        leaf.not_before = rcgen::date_time_ymd(2190, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2191, 1, 1);
    });
    let forwarder = Forwarder::start(&early, to, true).await;
    let time = refusal(&forwarder.url, trust(&early)).await;
    assert!(time.contains("valid from 2190-01-01 on"), "{time}");
}

#[tokio::test]
async fn a_server_that_made_its_own_certificate_is_believed_by_its_file_alone() {
    let scripted = Scripted::start(answer()).await;
    let own = Identity::self_made();
    let forwarder = Forwarder::start(&own, scripted.address, true).await;
    let outcome = ask(&behind(&forwarder.url, &own), &mut Slot::default()).await;
    assert_eq!(outcome.record.error, None);
    for other in [Trust::default(), trust(&Identity::self_made())] {
        let refused = refusal(&forwarder.url, other).await;
        assert!(refused.contains("--ca-file"), "{refused}");
    }
    let by_address = forwarder.url.replace("localhost", "127.0.0.1");
    let name = refusal(&by_address, trust(&own)).await;
    assert!(name.contains("is not for 127.0.0.1"), "{name}");
}

#[tokio::test]
async fn the_wrong_scheme_is_named() {
    let url = format!("https://{}", plain().await);
    let no_tls = refusal(&url, Trust::default()).await;
    assert!(no_tls.contains("no TLS there") && no_tls.contains("http://"), "{no_tls}");
    let closing = Scripted::start(vec![Step::Close]).await;
    let identity = Identity::new();
    let forwarder = Forwarder::start(&identity, closing.address, true).await;
    let tls = refusal(&format!("http://{}", forwarder.address), Trust::default()).await;
    assert!(tls.contains("https://"), "{tls}");
    // Some servers say nothing to what is no TLS.
    let silent = refusal(&format!("http://{}", closing.address), Trust::default()).await;
    assert!(silent.contains("https://"), "{silent}");
}

#[tokio::test]
async fn who_speaks_tls_is_not_said_to_speak_none() {
    // It ends TLS well, without an answer.
    let closing = Scripted::start(vec![Step::Close]).await;
    let identity = Identity::new();
    let forwarder = Forwarder::start(&identity, closing.address, true).await;
    let closed = refusal(&forwarder.url, trust(&identity)).await;
    assert!(closed.ends_with("the connection was closed without an answer"), "{closed}");
    let (outcomes, _) = asked(Way::Garbage, 1).await;
    let error = outcomes[0].record.error.clone().expect("no TLS behind the first token");
    assert_eq!(error.class, RequestErrorClass::Cut);
    assert!(error.message.contains("bytes that do not belong to its TLS"), "{}", error.message);
}

/// An answer of three tokens.
fn answer() -> Vec<Step> {
    writes(&pieces())
}

fn pieces() -> Vec<String> {
    vec![
        STREAM.to_owned(),
        chunk(&delta(r#"{"content":"a"}"#)),
        chunk(&delta(r#"{"content":"b"}"#)),
        chunk(&delta(r#"{"content":"c"}"#)),
        chunk(USAGE),
        chunk(DONE),
        END.to_owned(),
    ]
}

/// How a TLS server writes its answer.
#[derive(Clone)]
enum Way {
    /// All records in one write.
    AtOnce,
    /// Each record in pieces of so many bytes.
    Pieces(usize),
    /// A token of this size.
    Large(usize),
    /// The first token's record in two halves, the second when it is notified.
    Halves(Arc<Notify>),
    /// The connection breaks inside a record.
    Cut,
    /// What follows the first token is no TLS.
    Garbage,
    /// It closes after the answer, by TCP alone or by TLS first; half of the answer, or all of it.
    Close { notify: bool, whole: bool },
    /// An answer that ends with the connection.
    UntilClose { notify: bool },
}

/// A TLS server that answers each request of its connections in one way.
struct Talks {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Default)]
struct Seen {
    /// How each handshake was.
    handshakes: Vec<String>,
    /// When halves were written, in time of `now_ns`.
    halves: Vec<u64>,
}

impl Talks {
    async fn start(identity: &Identity, way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (config, shared) = (Arc::clone(&identity.config), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepted = Accepted::new(stream, Arc::clone(&config)).await.expect("shaken");
                let kind = format!("{:?}", accepted.tls.handshake_kind().expect("it is over"));
                shared.lock().expect("no panic").handshakes.push(kind);
                tokio::spawn(talk(accepted, way.clone(), Arc::clone(&shared)));
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn talk(mut accepted: Accepted, way: Way, seen: Arc<Mutex<Seen>>) -> std::io::Result<()> {
    let mut asked = Vec::new();
    loop {
        // A small request comes whole.
        asked.clear();
        while !asked.ends_with(b"}") {
            if !accepted.read(&mut asked).await? {
                return Ok(());
            }
        }
        let mut pieces = pieces();
        match &way {
            Way::AtOnce => {
                let mut out = Vec::new();
                for piece in pieces {
                    out.extend(accepted.record(piece.as_bytes())?);
                }
                accepted.write_raw(&out).await?;
            }
            Way::Pieces(size) => {
                accepted.pieces = (*size, Duration::from_micros(200));
                for piece in pieces {
                    accepted.write(piece.as_bytes()).await?;
                }
            }
            Way::Large(size) => {
                pieces[2] = chunk(&delta(&format!(r#"{{"content":"{}"}}"#, "x".repeat(*size))));
                accepted.write(pieces.concat().as_bytes()).await?;
            }
            Way::Halves(gate) => {
                accepted.write(pieces[0].as_bytes()).await?;
                let out = accepted.record(pieces[1].as_bytes())?;
                let (one, other) = out.split_at(out.len() / 2);
                accepted.write_raw(one).await?;
                seen.lock().expect("no panic").halves.push(now_ns());
                gate.notified().await;
                seen.lock().expect("no panic").halves.push(now_ns());
                accepted.write_raw(other).await?;
                accepted.write(pieces[2..].concat().as_bytes()).await?;
            }
            Way::Cut => {
                accepted.write(pieces[..2].concat().as_bytes()).await?;
                let out = accepted.record(pieces[2].as_bytes())?;
                return accepted.write_raw(&out[..out.len() / 2]).await;
            }
            Way::Garbage => {
                accepted.write(pieces[..2].concat().as_bytes()).await?;
                accepted.write_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
                return accepted.read(&mut asked).await.map(|_| ());
            }
            Way::Close { notify, whole } => {
                let count = if *whole { pieces.len() } else { 3 };
                accepted.write(pieces[..count].concat().as_bytes()).await?;
                if *notify {
                    accepted.close().await?;
                }
                if *whole && *notify {
                    // What TLS closed is closed, though TCP is open.
                    accepted.stream.readable().await?;
                }
                return Ok(());
            }
            Way::UntilClose { notify } => {
                let events = [delta(r#"{"content":"a"}"#), USAGE.to_owned()].concat();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                let ended = delta(r#"{"content":"b"}"#)
                    .replace("\"finish_reason\":null", "\"finish_reason\":\"length\"");
                accepted.write(format!("{head}{events}{ended}").as_bytes()).await?;
                return if *notify { accepted.close().await } else { Ok(()) };
            }
        }
    }
}

/// The records of requests that are sent one after the other on one slot.
async fn asked(way: Way, requests: usize) -> (Vec<Outcome>, Seen) {
    let identity = Identity::new();
    let talks = Talks::start(&identity, way).await;
    let client = Client::new(&behind(&talks.url, &identity), limits()).await.expect("an address");
    let (mut slot, mut outcomes) = (Slot::default(), Vec::new());
    for _ in 0..requests {
        outcomes.push(send(&client, &mut slot).await);
    }
    (outcomes, talks.seen())
}

async fn fails(way: Way) -> RequestErrorClass {
    asked(way, 1).await.0.remove(0).record.error.expect("an error").class
}

#[tokio::test]
async fn records_and_reads_need_not_agree() {
    for way in [Way::AtOnce, Way::Pieces(1), Way::Pieces(100), Way::Large(300_000)] {
        let size = if let Way::Large(size) = way { size } else { 1 };
        let (outcomes, seen) = asked(way, 2).await;
        for Outcome { record, answer } in outcomes {
            assert_eq!(record.error, None);
            let bytes: Vec<u32> = record.chunks.iter().map(|chunk| chunk.bytes).collect();
            assert_eq!(bytes, [1, size as u32, 1]);
            assert_eq!(answer.expect("kept").content.len(), size + 2);
        }
        assert_eq!(seen.handshakes.len(), 1, "one connection for both");
    }
}

#[tokio::test]
async fn both_versions_are_spoken() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let identity = Identity::new().speaking(version);
        let talks = Talks::start(&identity, Way::AtOnce).await;
        let outcome = ask(&behind(&talks.url, &identity), &mut Slot::default()).await;
        assert_eq!(outcome.record.error, None, "{version:?}");
    }
}

/// What is there before the rest of its record came cannot be read.
#[tokio::test]
async fn a_token_arrives_with_the_last_piece_of_its_record() {
    const APART: Duration = Duration::from_millis(300);
    let gate = Arc::new(Notify::new());
    let identity = Identity::new();
    let talks = Talks::start(&identity, Way::Halves(Arc::clone(&gate))).await;
    let client = Client::new(&behind(&talks.url, &identity), limits()).await.expect("an address");
    let (mut slot, stop, clock) = (Slot::default(), CancellationToken::new(), Clock::start());
    let request = request();
    let sent = client.send(&mut slot, &request, ORDER, clock, &stop);
    let opened = async {
        until_async("the first half", async || !talks.seen().halves.is_empty()).await;
        tokio::time::sleep(APART).await;
        gate.notify_one();
    };
    let (outcome, ()) = in_time("an answer", async { tokio::join!(sent, opened) }).await;
    assert_eq!(outcome.record.error, None);
    let [first, second] = talks.seen().halves[..] else { panic!("two halves") };
    let token = outcome.record.first_token_ns.expect("a token");
    // Two clocks are compared, which is right to some microseconds.
    let slack = APART.as_nanos() as u64 / 2;
    assert!(clock.since(first) + slack < token, "{first} {second} {token}");
    assert!(token + slack >= clock.since(second), "{first} {second} {token}");
}

#[tokio::test]
async fn the_ends_length_and_not_tls_says_whether_an_answer_is_whole() {
    for notify in [false, true] {
        let (outcomes, seen) = asked(Way::Close { notify, whole: true }, 2).await;
        for outcome in outcomes {
            assert_eq!(outcome.record.error, None, "{notify}");
            assert_eq!(outcome.record.chunks.len(), 3);
        }
        assert_eq!(seen.handshakes.len(), 2, "what was closed is not used again");
        let class = fails(Way::Close { notify, whole: false }).await;
        assert_eq!(class, RequestErrorClass::Cut, "{notify}");
    }
    assert_eq!(fails(Way::Cut).await, RequestErrorClass::Cut);
    // Where the connection's end is the answer's, TLS alone tells it from a cut.
    assert_eq!(fails(Way::UntilClose { notify: false }).await, RequestErrorClass::Cut);
    let (outcomes, _) = asked(Way::UntilClose { notify: true }, 1).await;
    assert_eq!(outcomes[0].record.error, None);
}

#[tokio::test]
async fn what_tls_sends_for_itself_costs_no_connection_and_sessions_are_resumed() {
    let identity = Identity::new();
    let talks = Talks::start(&identity, Way::AtOnce).await;
    let client = Client::new(&behind(&talks.url, &identity), limits()).await.expect("an address");
    let mut slot = Slot::default();
    client.ready(&mut slot).await.expect("open");
    // The tickets of the session are written by then, and lie before the client.
    until_async("a handshake", async || !talks.seen().handshakes.is_empty()).await;
    for _ in 0..2 {
        assert!(client.is_ready_for(&mut slot, Duration::ZERO), "tickets are no answer");
    }
    assert_eq!(send(&client, &mut slot).await.record.error, None);
    assert_eq!(talks.seen().handshakes.len(), 1);
    let mut other = Slot::default();
    assert_eq!(send(&client, &mut other).await.record.error, None);
    assert_eq!(talks.seen().handshakes[1], "Resumed");
}

/// Where the server is late with a token by the same time, TLS adds nothing that could be seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_the_same_time_behind_tls() {
    const LATE: Duration = Duration::from_millis(300);
    let mut steps = answer();
    steps.insert(1, Step::Wait(LATE));
    let scripted = Scripted::start(steps).await;
    let identity = Identity::new();
    let forwarder = Forwarder::start(&identity, scripted.address, true).await;
    let ttft = async |server: &Server| {
        let client = Client::new(server, limits()).await.expect("an address");
        let mut slot = Slot::default();
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            // The handshake is over when a request is due.
            client.ready(&mut slot).await.expect("open");
            let record = send(&client, &mut slot).await.record;
            assert_eq!(record.error, None);
            best = best.min(record.ttft_ms().expect("a token"));
        }
        best
    };
    let plain = ttft(&scripted.server()).await;
    let tls = ttft(&behind(&forwarder.url, &identity)).await;
    let late = LATE.as_secs_f64() * 1e3;
    assert!(plain >= late - 2.0 && tls >= late - 2.0, "{plain} {tls} ms");
    assert!((tls - plain).abs() < 100.0, "{plain} and {tls} ms");
    assert_eq!(forwarder.failed(), [""; 0]);
}
