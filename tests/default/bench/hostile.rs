//! Servers that mean harm, or are broken in the same ways: every wait ends, every size has
//! a limit, and what they say cannot act on a terminal.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vllm_grid::client::clock::Clock;
use vllm_grid::client::record::{RequestErrorClass, RequestRecord};
use vllm_grid::client::{Client, Limits, Slot};
use vllm_grid::server::counters::Counters;
use vllm_grid::server::http::{Http, HttpError};
use vllm_grid::server::{Endpoint, ModelChoice, Server, ServerError};

use crate::bench::client::{ORDER, limits, request};
use crate::bench::scripted::{END, STREAM, Scripted, Step, chunk, delta, writes};
use crate::support::{PATIENCE, in_time};

const SHORT: Duration = Duration::from_millis(200);

fn repeat(text: &str) -> Step {
    let block = text.repeat(8192usize.div_ceil(text.len()));
    Step::Repeat(block.into_bytes(), Duration::ZERO)
}

fn drip(text: &str) -> Step {
    Step::Repeat(text.as_bytes().to_vec(), Duration::from_millis(20))
}

fn after(head: &str, step: Step) -> Vec<Step> {
    let mut steps = writes(&[head]);
    steps.push(step);
    steps
}

async fn recorded(steps: Vec<Step>, limits: Limits) -> RequestRecord {
    let scripted = Scripted::start(steps).await;
    let client = Client::new(&scripted.server(), limits).await.expect("an address");
    let (mut slot, stop) = (Slot::default(), CancellationToken::new());
    let request = request();
    let sending = client.send(&mut slot, &request, ORDER, Clock::start(), &stop);
    let record = in_time("the request ends", sending).await.record;
    // The connection is not left to a server that will not end.
    drop(slot);
    scripted.until("the connection is closed", |seen| seen.closed > 0 || seen.hung_up > 0).await;
    record
}

async fn failure(steps: Vec<Step>) -> (RequestErrorClass, String) {
    failure_within(steps, limits()).await
}

async fn failure_within(steps: Vec<Step>, limits: Limits) -> (RequestErrorClass, String) {
    let error = recorded(steps, limits).await.error.expect("an error");
    assert!(error.message.len() < 1000, "{} bytes", error.message.len());
    assert!(!error.message.contains(char::is_control), "{:?}", error.message);
    (error.class, error.message)
}

#[tokio::test]
async fn what_has_no_end_is_ended() {
    use RequestErrorClass::{Malformed, TooLarge};

    let endless = |head: &str, text: &str| after(head, repeat(text));
    let one_byte = format!("1;{}\r\nx\r\n", "y".repeat(10_000));
    for (steps, limits, class, says) in [
        (endless("", "HTTP/1.1 103 Early\r\n\r\n"), limits(), TooLarge, "one 1xx after the other"),
        (endless("", "HTTP/1.1 100 \r\na: b\r\n\r\n"), limits(), TooLarge, "one 1xx"),
        (endless("HTTP/1.1 200 OK\r\n", "a: b\r\n"), limits(), TooLarge, "head of the response"),
        (endless("HTTP/1.1 200 OK\r\na: ", "bbbb"), limits(), TooLarge, "head of the response"),
        (endless("HTTP/1.1 ", "2"), limits(), Malformed, "not HTTP"),
        (endless(STREAM, "7\r\n: ping\n\r\n"), small(), TooLarge, "larger than 1048576 bytes"),
        (endless(STREAM, &chunk(&"x".repeat(9000))), limits(), TooLarge, "an event of the stream"),
        (endless(STREAM, &one_byte), limits(), TooLarge, "in pieces of a few bytes"),
        (endless(STREAM, "1\r\n:\r\n"), limits(), TooLarge, "in pieces of a few bytes"),
        (endless(&format!("{STREAM}0\r\n"), "a: b\r\n"), limits(), Malformed, "endless trailer"),
        (endless(STREAM, &chunk(&delta(r#"{"content":"a"}"#))), limits(), TooLarge, "max_tokens"),
    ] {
        let (found, message) = failure_within(steps, limits).await;
        assert_eq!(found, class, "{message}");
        assert!(message.contains(says), "{message}");
    }
}

/// Comments are no event, so only the size of the stream ends them before the time does.
fn small() -> Limits {
    let mut limits = limits();
    limits.stream.total = 1 << 20;
    limits
}

#[tokio::test]
async fn a_slow_drip_ends_with_the_time() {
    let impatient = Limits { first_token: SHORT, silence: SHORT, ..limits() };
    for steps in [
        vec![drip("HTTP/1.1 100 \r\n\r\n")].into_iter().chain([Step::Hang]).collect(),
        after("HTTP/1.1 200 OK\r\n", drip("a")),
        after(STREAM, drip("1\r\n:\r\n")),
        after("HTTP/1.1 500 No\r\n\r\n", drip("x")),
    ] {
        let limits = Limits { interim: u32::MAX, ..impatient };
        let (class, message) = failure_within(steps, limits).await;
        assert_eq!(class, RequestErrorClass::Silent, "{message}");
        assert!(message.contains("for 0.2 s"), "{message}");
    }
}

#[tokio::test]
async fn what_is_sent_is_shown_short_and_clean() {
    let bad = "\\u001b]0;owned\\u0007".repeat(3000);
    let located = format!(
        "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: http://x/{}\r\n\r\n",
        "é".repeat(9000)
    );
    let (class, message) = failure(writes(&[located])).await;
    assert!(class == RequestErrorClass::ClientError && message.contains("…: not followed"));
    let typed = format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\n\r\n", "z".repeat(60_000));
    // Its body is not waited for.
    let (_, message) = failure_within(writes(&[typed]), Limits::default()).await;
    assert!(message.contains("…, not an event stream"));
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", "9".repeat(60_000));
    assert!(failure(writes(&[long])).await.1.contains("content-length: 999"));
    let event = |data: &str| writes(&[STREAM, &chunk(&format!("data: {data}\n\n")), END]);
    let typed = format!(r#"{{"choices":"{bad}"}}"#);
    assert!(failure(event(&typed)).await.1.contains("is not a chunk"));
    let told = format!(r#"{{"error":{{"message":"no {bad}"}}}}"#);
    assert!(failure(event(&told)).await.1.starts_with("no"));
    let finished = format!(r#"{{"id":"{bad}","choices":[{{"finish_reason":"{bad}é"}}]}}"#);
    let record = recorded(event(&finished), limits()).await;
    for text in [record.finish_reason, record.response_id] {
        let text = text.expect("given");
        assert!(text.len() < 1000 && !text.contains(char::is_control), "{text:?}");
    }
    let absurd = event(r#"{"usage":{"prompt_tokens":18446744073709551615,"completion_tokens":1}}"#);
    assert_eq!(recorded(absurd, limits()).await.usage, None);
}

fn body(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

async fn open(steps: Vec<Step>) -> Result<Server, ServerError> {
    let scripted = Scripted::start(steps).await;
    let endpoint = Endpoint::new(format!("http://{}", scripted.address), None);
    in_time("an answer", Server::open(endpoint, None)).await
}

#[tokio::test]
async fn a_list_of_models_has_limits() {
    let says = async |text: String| open(writes(&[text])).await.expect_err("hostile").to_string();
    let many: Vec<String> = (0..60_000).map(|number| format!(r#"{{"id":"m{number}"}}"#)).collect();
    let many = body(&format!(r#"{{"data":[{}]}}"#, many.join(",")));
    let server = open(writes(&[many.as_str()])).await.expect("a model");
    let ModelChoice::FirstOf(others) = &server.choice else { panic!("{:?}", server.choice) };
    assert_eq!(others.len(), 59_999);
    let note = server.choice.note(&server.model).expect("a note");
    assert!(note.contains("60000 models") && note.ends_with("and 59994 more"), "{note}");
    let scripted = Scripted::start(writes(&[many])).await;
    let endpoint = Endpoint::new(format!("http://{}", scripted.address), None);
    let error = Server::open(endpoint, Some("m")).await.expect_err("another").to_string();
    assert!(error.len() < 300 && error.ends_with("and 59995 more"), "{error}");
    let name = body(&format!(r#"{{"data":[{{"id":"{}"}}]}}"#, "x".repeat(3 << 20)));
    assert!(says(name).await.contains("a name of 3145728 bytes; 4096 are allowed"));
    let larger = body(&format!(r#"{{"data":[{{"id":"{}"}}]}}"#, "x".repeat(15 << 20)));
    assert!(says(larger).await.contains("the answer is larger than 4194304 bytes"));
    let deep = body(&"[".repeat(1 << 20));
    assert!(says(deep).await.contains("did not answer with JSON"));
    let redirect = "HTTP/1.1 302 Found\r\nlocation: /v1/models\r\ncontent-length: 0\r\n\r\n";
    assert!(says(redirect.to_owned()).await.contains("/v1/models gave HTTP 302"));
}

#[tokio::test]
async fn plain_requests_end_too() {
    let get = async |steps, path, limit| {
        let scripted = Scripted::start(steps).await;
        let endpoint = Endpoint::new(format!("http://{}", scripted.address), None);
        let http = Http::new(&endpoint).expect("a client");
        let answer = in_time("an answer", http.get(path, limit)).await;
        // Nothing of the request runs on behind the answer.
        scripted.until("the connection is closed", |seen| seen.closed > 0).await;
        answer.expect_err("hostile")
    };
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let flood = get(vec![repeat("HTTP/1.1 103 Early\r\n\r\n")], "/health", SHORT).await;
    assert!(flood.to_string().contains("it sends one 1xx after the other"), "{flood}");
    let small = get(after(chunked, repeat("1\r\nx\r\n")), "/v1/models", PATIENCE).await;
    assert!(small.to_string().contains("it sends its answer in pieces of a few bytes"), "{small}");
    let head = get(after("HTTP/1.1 200 OK\r\n", repeat("a: b\r\n")), "/health", PATIENCE).await;
    assert!(matches!(head, HttpError::Answer(_)), "{head}");
    let pieces = repeat(&chunk(&"a_total 1\n".repeat(5000)));
    let endless = get(after(chunked, pieces.clone()), "/health", PATIENCE).await;
    assert_eq!(endless.to_string(), "the answer is larger than 65536 bytes");
    let metrics = get(after(chunked, pieces), "/metrics", PATIENCE).await;
    assert_eq!(metrics.to_string(), "the answer is larger than 16777216 bytes");
    let slow = get(after(chunked, drip("1\r\nx\r\n")), "/metrics", SHORT).await;
    assert!(matches!(slow, HttpError::Timeout(_)), "{slow}");
}

#[tokio::test]
async fn metrics_that_nothing_can_count_are_none() {
    let text = "vllm:request_success_total 1e300\nvllm:prompt_tokens_total -1\n\
                vllm:generation_tokens_total NaN\nvllm:num_requests_running +Inf\n";
    let counters = Counters::parse(text);
    assert_eq!(counters, Counters::default());
}
