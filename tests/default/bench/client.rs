//! The streaming client: what it records of every shape of stream and error.

use std::time::Duration;

use crate::bench::scripted::{
    DONE, END, STREAM, Scripted, Step, USAGE, chunk, delta, server, writes,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::client::clock::Clock;
use vllm_grid::client::record::RequestErrorClass::{
    self, Cancelled, ClientError, Connect, Cut, InStream, Malformed, MissingUsage, ServerError,
    Silent, TooLarge,
};
use vllm_grid::client::request::{Input, Prepared, RequestSpec, Target};
use vllm_grid::client::{Client, Limits, Order, Outcome, Slot};

use crate::support::{PATIENCE, in_time};

pub(crate) const ORDER: Order<'static> = Order { index: 0, purpose: "test", scheduled_ns: None };

pub(crate) fn request() -> Prepared {
    let input = Input::Chat(vec![json!({"role": "user", "content": "Hi"})]);
    let mut spec = RequestSpec::speed(input, 3);
    spec.keep_answer = true;
    spec.prepare(&Target::new("m"))
}

/// A busy machine breaks none of these.
pub(crate) fn limits() -> Limits {
    Limits { after_done: PATIENCE, ..Limits::default() }
}

/// For servers that say nothing more.
fn impatient() -> Limits {
    Limits { silence: Duration::from_millis(400), ..limits() }
}

pub(crate) async fn ask(scripted: &Scripted) -> Outcome {
    ask_with(scripted, limits()).await
}

async fn ask_with(scripted: &Scripted, limits: Limits) -> Outcome {
    ask_since(Clock::start(), scripted, limits).await
}

async fn ask_since(clock: Clock, scripted: &Scripted, limits: Limits) -> Outcome {
    let client = Client::new(&scripted.server(), limits).await.expect("an address");
    let (mut slot, stop) = (Slot::default(), CancellationToken::new());
    client.send(&mut slot, &request(), ORDER, clock, &stop).await
}

async fn fails(steps: Vec<Step>) -> (RequestErrorClass, String) {
    fails_with(steps, limits()).await
}

async fn fails_with(steps: Vec<Step>, limits: Limits) -> (RequestErrorClass, String) {
    let scripted = Scripted::start(steps).await;
    let outcome = in_time("an error", ask_with(&scripted, limits)).await;
    let error = outcome.record.error.expect("an error");
    (error.class, error.message)
}

pub(crate) fn plain(status: &str, kind: &str, body: &str) -> Vec<Step> {
    writes(&[format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )])
}

/// A body as captured from vLLM, each event a chunk of its own.
pub(crate) fn captured(name: &str) -> Vec<Step> {
    let path = format!("{}/tests/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a capture");
    let body = text.split_once("\n\n").map_or("", |(_, body)| body).trim_start();
    let mut pieces = vec![STREAM.to_owned()];
    pieces.extend(body.split_inclusive("\n\n").map(chunk));
    pieces.push(END.to_owned());
    writes(&pieces)
}

#[tokio::test]
async fn a_stream_has_its_times_tokens_and_usage() {
    let pause = Duration::from_millis(150);
    let mut steps = writes(&[STREAM, &chunk(&delta(r#"{"role":"assistant","content":""}"#))]);
    steps.push(Step::Wait(pause));
    steps.extend(writes(&[chunk(&delta(r#"{"reasoning":"hm"}"#))]));
    steps.push(Step::Wait(pause));
    steps.extend(writes(&[
        chunk(&delta(r#"{"content":"a b"}"#)),
        chunk(USAGE),
        chunk(DONE),
        END.to_owned(),
    ]));
    let scripted = Scripted::start(steps).await;
    let clock = Clock::start();
    let Outcome { record, answer } = ask_since(clock, &scripted, limits()).await;
    assert_eq!(record.error, None);
    assert_eq!(record.http_status, Some(200));
    let at = |time: Option<u64>| time.expect("recorded");
    let times = [
        record.sent_ns,
        at(record.headers_ns),
        at(record.first_byte_ns),
        at(record.first_token_ns),
        at(record.first_answer_ns),
        at(record.end_ns),
    ];
    assert!(times.is_sorted(), "{times:?}");
    // What the server wrote by then; two clocks are compared, which is right to some microseconds.
    let written = scripted.seen().written;
    let since = |write: usize| clock.since(written[write].0) - pause.as_nanos() as u64 / 2;
    assert!(times[3] >= since(2), "the role chunk is no token: {times:?} {written:?}");
    assert!(times[4] >= since(3), "thinking is no answer: {times:?} {written:?}");
    assert_eq!(record.last_token_ns, record.first_answer_ns);
    assert_eq!(record.scheduled_ns, record.sent_ns);
    let bytes: Vec<u32> = record.chunks.iter().map(|chunk| chunk.bytes).collect();
    assert_eq!(bytes, [2, 3]);
    assert_eq!(record.usage.expect("usage").completion_tokens, 3);
    assert_eq!(answer.expect("kept").content, "a b");
}

#[tokio::test]
async fn a_request_says_what_vllm_needs_and_hides_nothing() {
    let scripted = Scripted::start(captured("sse-chat-nothink.txt")).await;
    ask(&scripted).await;
    let seen = scripted.seen();
    let (head, body) = seen.requests[0].split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
    assert!(head.contains("authorization: Bearer sk-secret"), "{head}");
    assert!(head.contains(&format!("host: {}", scripted.address)), "{head}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["stream_options"]["include_usage"], true);
    assert_eq!((&body["max_tokens"], &body["ignore_eos"]), (&json!(3), &json!(true)));
}

#[tokio::test]
async fn captured_streams_of_vllm() {
    let read = async |name: &str| {
        let Outcome { record, answer } = ask(&Scripted::start(captured(name)).await).await;
        assert_eq!(record.error, None, "{name}");
        (record, answer.expect("kept"))
    };
    let (record, answer) = read("sse-chat-nothink.txt").await;
    assert_eq!((record.chunks.len(), answer.content.as_str()), (5, "\n\n\n\n\n\n\n\n"));
    assert_eq!(record.usage.map(|usage| usage.completion_tokens), Some(8));
    assert_eq!(record.finish_reason.as_deref(), Some("length"));

    // Usage in every chunk, and an answer of thinking alone.
    let (record, answer) = read("sse-chat-think.txt").await;
    assert_eq!(record.usage.and_then(|usage| usage.reasoning_tokens), Some(6));
    assert_eq!((record.first_answer_ns, answer.content.as_str()), (None, ""));
    assert_eq!(answer.reasoning, "\n\n\n\n\n\n");

    // Name and arguments in one chunk.
    let (record, answer) = read("sse-tool-named.txt").await;
    assert_eq!((record.chunks.len(), record.first_answer_ns.is_some()), (1, true));
    assert_eq!(
        (answer.tool_calls[0].name.as_str(), answer.tool_calls[0].arguments.as_str()),
        ("get_weather", "true")
    );

    // Two calls, each in pieces.
    let (record, answer) = read("sse-tool-required.txt").await;
    assert_eq!((record.chunks.len(), answer.tool_calls.len()), (4, 2));
    assert_eq!(answer.tool_calls[1].arguments, "{");
    assert_eq!(record.finish_reason.as_deref(), Some("length"));
}

#[tokio::test]
async fn a_refusal_carries_the_servers_message() {
    let long = r#"{"error":{"message":"maximum context length is 8192","code":400}}"#;
    assert_eq!(
        fails(plain("400 Bad Request", "application/json", long)).await,
        (ClientError, "HTTP 400: maximum context length is 8192".to_owned())
    );
    let key = r#"{"error":"Unauthorized"}"#;
    assert_eq!(
        fails(plain("401 Unauthorized", "application/json", key)).await,
        (ClientError, "HTTP 401: Unauthorized".to_owned())
    );
    assert_eq!(
        fails(plain("503 Service Unavailable", "text/plain", "engine dead")).await,
        (ServerError, "HTTP 503: engine dead".to_owned())
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let there = Scripted::start(captured("sse-chat-nothink.txt")).await;
    let steps = writes(&[format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
        there.address
    )]);
    let (class, message) = fails(steps).await;
    assert_eq!(class, ClientError);
    assert!(message.contains("not followed"), "{message}");
    assert_eq!(there.seen().connections, 0);
}

#[tokio::test]
async fn an_error_inside_a_stream() {
    let error = "data: {\"error\": {\"message\": \"EngineCore encountered an issue.\", \
        \"type\": \"InternalServerError\", \"param\": null, \"code\": 500}}\n\n";
    let steps = writes(&[
        STREAM.to_owned(),
        chunk(&delta(r#"{"content":"a"}"#)),
        chunk(error),
        chunk(DONE),
        END.to_owned(),
    ]);
    assert_eq!(fails(steps).await, (InStream, "EngineCore encountered an issue.".to_owned()));
}

#[tokio::test]
async fn a_stream_that_is_cut() {
    let token = chunk(&delta(r#"{"content":"a"}"#));
    // In the middle of a chunk, before the end of the body, at its end without [DONE].
    let mut steps = writes(&[STREAM, &token[..20]]);
    steps.push(Step::Close);
    assert_eq!(fails(steps).await.0, Cut);
    let mut steps = writes(&[STREAM, &token]);
    steps.push(Step::Close);
    assert_eq!(fails(steps).await.0, Cut);
    let (class, message) = fails(writes(&[STREAM, &token, END])).await;
    assert_eq!((class, message.contains("[DONE]")), (Cut, true));
    // Before the head.
    assert_eq!(fails(vec![Step::Close]).await.0, Cut);
}

#[tokio::test]
async fn a_silent_stream_times_out_and_is_hung_up_on() {
    let mut steps = writes(&[STREAM, &chunk(&delta(r#"{"content":"a"}"#))]);
    steps.push(Step::Hang);
    let scripted = Scripted::start(steps).await;
    let record = in_time("silence", ask_with(&scripted, impatient())).await.record;
    assert_eq!(record.error.expect("an error").class, Silent);
    assert_eq!(record.chunks.len(), 1, "what came is kept");
    scripted.until("the client hangs up", |seen| seen.closed == 1).await;

    let limits = Limits { first_token: Duration::from_millis(400), ..limits() };
    let (class, message) = fails_with(vec![Step::Hang], limits).await;
    assert_eq!((class, message.contains("no token")), (Silent, true), "{message}");
}

#[tokio::test]
async fn a_first_token_may_take_longer_than_silence() {
    let mut steps = vec![Step::Wait(Duration::from_millis(500))];
    // All at once: nothing can come between.
    let token = chunk(&delta(r#"{"content":"a"}"#));
    steps.extend(writes(&[format!("{STREAM}{token}{}{}{END}", chunk(USAGE), chunk(DONE))]));
    let limits = Limits { silence: Duration::from_millis(200), ..limits() };
    let record = ask_with(&Scripted::start(steps).await, limits).await.record;
    assert_eq!(record.error, None);
}

/// Comments and chunks without text keep a connection alive; they are no answer.
#[tokio::test]
async fn only_tokens_break_a_silence_and_no_answer_lasts_for_ever() {
    let token = chunk(&delta(r#"{"content":"a"}"#));
    let drip = |what: &str| {
        let mut steps = writes(&[STREAM, &token]);
        for _ in 0..200 {
            steps.push(Step::Wait(Duration::from_millis(50)));
            steps.extend(writes(&[chunk(what)]));
        }
        steps
    };
    let empty = [r"{}", r#"{"content":""}"#, r#"{"content":null,"reasoning":""}"#].map(delta);
    let usage = USAGE.to_owned();
    for idle in [": ping\n\n".to_owned(), "data:\n\n".to_owned(), usage].iter().chain(&empty) {
        let (class, message) = fails_with(drip(idle), impatient()).await;
        assert_eq!(
            (class, message.as_str()),
            (Silent, "no further token came for 0.4 s"),
            "{idle}"
        );
    }
    let scripted = Scripted::start(drip(&delta(r#"{"content":"b"}"#))).await;
    let limits = Limits { total: Duration::from_millis(1500), ..limits() };
    let record = ask_with(&scripted, limits).await.record;
    assert_eq!(record.error.expect("an error").message, "the answer was not over after 1.5 s");
    assert!(!record.chunks.is_empty(), "what came is kept");
}

/// Heads that announce the answer, bodies that end with the connection, and
/// connections that are not kept.
#[tokio::test]
async fn what_http_allows_is_read() {
    let events = [delta(r#"{"content":"a"}"#), USAGE.to_owned(), DONE.to_owned()].concat();
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    let mut old =
        writes(&[early, "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", &events]);
    old.push(Step::Close);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
    let closes = writes(&[format!("{head}content-length: {}\r\n\r\n{events}", events.len())]);
    for steps in [old, closes] {
        let scripted = Scripted::start(steps).await;
        let client = Client::new(&scripted.server(), limits()).await.expect("an address");
        let stop = CancellationToken::new();
        let mut slot = Slot::default();
        for _ in 0..2 {
            let record =
                client.send(&mut slot, &request(), ORDER, Clock::start(), &stop).await.record;
            assert_eq!(record.error, None);
            assert_eq!(record.chunks.len(), 1);
        }
        assert_eq!(scripted.seen().connections, 2, "a connection each");
    }
}

/// A server may refuse a prompt before it has read it.
#[tokio::test]
async fn a_refusal_that_comes_before_the_prompt_was_read() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the client");
        let answer = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 4\r\n\r\nlong";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.expect("sent");
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let client =
        Client::new(&server(&format!("http://{address}")), limits()).await.expect("an address");
    let message = json!({"role": "user", "content": "x".repeat(32 << 20)});
    let request = RequestSpec::speed(Input::Chat(vec![message]), 3).prepare(&Target::new("m"));
    let stop = CancellationToken::new();
    let outcome = client.send(&mut Slot::default(), &request, ORDER, Clock::start(), &stop).await;
    let error = outcome.record.error.expect("an error");
    assert_eq!((error.class, error.message.as_str()), (ClientError, "HTTP 413: long"));
}

#[tokio::test]
async fn bytes_that_are_no_chunk() {
    let bad = chunk("data: {\"choices\": oops}\n\n");
    assert_eq!(fails(writes(&[STREAM, &bad, END])).await.0, Malformed);
    let frame = format!("{STREAM}zz\r\nhello\r\n");
    assert_eq!(fails(writes(&[frame])).await.0, Malformed);
    assert_eq!(fails(writes(&["SSH-2.0-OpenSSH_9.2\r\n\r\n"])).await.0, Malformed);
    let json = plain("200 OK", "application/json", r#"{"choices":[]}"#);
    assert_eq!(fails(json).await.0, Malformed);
}

#[tokio::test]
async fn a_stream_without_usage() {
    let steps = writes(&[
        STREAM.to_owned(),
        chunk(&delta(r#"{"content":"a"}"#)),
        chunk(DONE),
        END.to_owned(),
    ]);
    assert_eq!(fails(steps).await.0, MissingUsage);
}

#[tokio::test]
async fn a_strangers_server_cannot_exhaust_the_client() {
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70 << 10));
    assert_eq!(fails(writes(&[head])).await.0, TooLarge);
    let event = format!("data: {}\n\n", "x".repeat(2 << 20));
    assert_eq!(fails(writes(&[STREAM, &chunk(&event), END])).await.0, TooLarge);
    // An endless body of an error is cut where it stops being a message.
    let mut steps = writes(&["HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n"]);
    steps.extend(vec![Step::Write(chunk(&"y".repeat(32 << 10)).into_bytes()); 8]);
    steps.push(Step::Hang);
    let (class, message) = fails(steps).await;
    assert_eq!(class, ServerError);
    assert!(message.len() <= (64 << 10) + 100, "{}", message.len());
}

#[tokio::test]
async fn no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let client =
        Client::new(&server(&format!("http://{address}")), limits()).await.expect("an address");
    let stop = CancellationToken::new();
    let outcome = client.send(&mut Slot::default(), &request(), ORDER, Clock::start(), &stop).await;
    assert_eq!(outcome.record.error.expect("an error").class, Connect);
}

#[tokio::test]
async fn cancelling_drops_the_connection_at_once() {
    let mut steps = writes(&[STREAM, &chunk(&delta(r#"{"content":"a"}"#))]);
    steps.push(Step::Hang);
    let scripted = Scripted::start(steps).await;
    let client = Client::new(&scripted.server(), Limits::default()).await.expect("an address");
    let stop = CancellationToken::new();
    let mut slot = Slot::default();
    let request = request();
    let sent = client.send(&mut slot, &request, ORDER, Clock::start(), &stop);
    let cancelled = async {
        scripted.until("a token", |seen| seen.written.len() == 2).await;
        stop.cancel();
    };
    let (outcome, ()) = in_time("a stop", async { tokio::join!(sent, cancelled) }).await;
    assert_eq!(outcome.record.error.expect("an error").class, Cancelled);
    // While the slot still exists.
    scripted.until("the client hangs up", |seen| seen.closed == 1).await;
    drop(slot);
}

#[tokio::test]
async fn a_response_that_does_not_end_after_done_costs_the_connection_alone() {
    let mut steps = writes(&[
        STREAM.to_owned(),
        chunk(&delta(r#"{"content":"a"}"#)),
        chunk(USAGE),
        chunk(DONE),
    ]);
    steps.push(Step::Hang);
    let scripted = Scripted::start(steps).await;
    let silence = Duration::from_hours(1);
    let limits = Limits { first_token: silence, silence, total: silence, ..Limits::default() };
    let record = in_time("the end", ask_with(&scripted, limits)).await.record;
    assert_eq!(record.error, None);
}

#[tokio::test]
async fn chunk_boundaries_mean_nothing() {
    let body: String = [
        delta(r#"{"role":"assistant","content":""}"#),
        delta(r#"{"content":"é😀"}"#),
        delta(r#"{"content":"b"}"#),
        USAGE.to_owned(),
        DONE.to_owned(),
    ]
    .concat()
    .replace('\n', "\r\n");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: ";
    let head = format!("{head}{}\r\n\r\n", body.len());
    for size in [1, 7, 64] {
        let mut steps = writes(&[&head]);
        for piece in body.as_bytes().chunks(size) {
            steps.push(Step::Write(piece.to_vec()));
        }
        let Outcome { record, answer } = ask(&Scripted::start(steps).await).await;
        assert_eq!(record.error, None);
        assert_eq!(answer.expect("kept").content, "é😀b");
    }
}
