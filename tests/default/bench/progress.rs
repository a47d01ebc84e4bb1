//! The progress watchdog: a server that is alive and gets nothing done is found whatever is
//! measured, and one that is only slow is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError};
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::Server;

use crate::bench::scripted::{delta, server};
use crate::bench::simulated::{Kept, Simulated, settings, workload};
use crate::support::in_time;

/// Measures one repeat with a limit so short; records of the repeat, too.
async fn repeat(
    server: &Server,
    limit: u64,
    (name, options): (&str, &Value),
) -> (Result<Measurement, BenchError>, usize) {
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let mut settings = settings();
    settings.limits.no_progress = Duration::from_millis(limit);
    settings.limits.first_token = Duration::from_millis(20 * limit);
    let mut bench = Bench::new(server, &kept, &emit, &cancel, settings).await.expect("an address");
    bench = bench.accepting_late_client();
    let workload = workload(name, options);
    let case = workload.cases().remove(0);
    let measured = in_time("a repeat", bench.repeat(&workload, &case, 1)).await;
    drop(bench);
    assert!(!cancel.is_cancelled(), "the launch is not stopped by it");
    let records = kept.0.lock().expect("no panic").iter().map(|(_, records)| records.len()).sum();
    (measured, records)
}

fn wedged(ended: Result<Measurement, BenchError>) -> (Measurement, String) {
    match ended {
        Err(BenchError::NoProgress { measurement, message }) => (*measurement, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_engine_is_wedged_whatever_is_measured() {
    let program = json!({"command": ["sh", "-c", "exec sleep 600"], "timeout": 900});
    let cases = [
        ("kv-cache", json!({"prefix_tokens": [512], "prompts": 2, "output_tokens": 4})),
        (
            "load",
            json!({"prompt_tokens": 64, "output_tokens": 16, "concurrency": 4, "requests": 64}),
        ),
        ("load", json!({"prompt_tokens": 64, "output_tokens": 16, "rate": 30, "requests": 64})),
        ("stability", json!({"prompt_tokens": 64, "output_tokens": 16, "requests": 64})),
        ("command", program),
    ];
    let all = cases.map(|(name, options)| async move {
        // Some of what is measured is done by then.
        let tokens = if name == "kv-cache" { 14 } else { 120 };
        let simulated = Simulated::start(&format!(
            "Qwen/Qwen3-0.6B --sim-speed 100 --max-model-len 8192 --sim-freeze-after {tokens}"
        ))
        .await;
        let server = Server { max_model_len: Some(100), ..simulated.server.clone() };
        let server = if name == "command" { server } else { simulated.server.clone() };
        // Somebody whose request is never answered, where the workload sends none itself.
        let asks = ask_in_vain(&simulated.server.endpoint.base_url, name == "command");
        let (ended, ()) = tokio::join!(repeat(&server, 500, (name, &options)), asks);
        let ((row, message), records) = (wedged(ended.0), ended.1);
        assert_eq!(row.status, Status::Void, "{name}: {row:?}");
        let reason = row.reason.expect("said");
        assert!(reason.starts_with("the engine makes no progress: "), "{name}: {reason}");
        assert!(
            message.contains("running and ") && message.contains("/health is 200"),
            "{message}"
        );
        let keeps = name == "kv-cache";
        assert!(records > 0 || !keeps, "{name}: the records are kept");
    });
    futures_util::future::join_all(all).await;
}

/// Sends a request for more tokens than the engine will make, and does not wait for them.
async fn ask_in_vain(url: &str, is_sent: bool) {
    use tokio::io::AsyncWriteExt as _;

    if !is_sent {
        return;
    }
    let body = json!({
        "model": "Qwen/Qwen3-0.6B", "max_tokens": 400, "ignore_eos": true, "stream": true,
        "messages": [{"role": "user", "content": "count"}],
    })
    .to_string();
    let host = url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await.expect("it listens");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
    // Kept open for longer than the test lasts.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_mins(5)).await;
        drop(stream);
    });
}

/// A server whose requests take so many milliseconds each to their only token; the last one
/// stands for all later ones.
struct Slow {
    prefills: Vec<u64>,
    metrics: bool,
    /// Whether it answers what does not stream.
    proves: bool,
    chats: AtomicUsize,
}

async fn answer(State(slow): State<Arc<Slow>>, request: Request) -> Response {
    match request.uri().path() {
        "/health" => StatusCode::OK.into_response(),
        // Nothing moves: a prompt counts when its prefill is over.
        "/metrics" if slow.metrics => "vllm:num_requests_running 1.0\n\
             vllm:num_requests_waiting 0.0\nvllm:generation_tokens_total 7.0\n"
            .into_response(),
        "/v1/chat/completions" => {
            let body = axum::body::to_bytes(request.into_body(), 1 << 24).await.expect("whole");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let choice = json!({"index": 0, "delta": {"content": "a"}, "finish_reason": "length"});
            if body["stream"] == false {
                if !slow.proves {
                    std::future::pending::<()>().await;
                }
                let usage = json!({"completion_tokens": 1});
                return axum::Json(json!({"choices": [choice], "usage": usage})).into_response();
            }
            let number = slow.chats.fetch_add(1, Ordering::Relaxed);
            let prefill = slow.prefills.get(number).or(slow.prefills.last()).expect("given");
            tokio::time::sleep(Duration::from_millis(*prefill)).await;
            let stream = format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [choice]}));
            ([("content-type", "text/event-stream")], stream).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn slow(prefills: Vec<u64>, metrics: bool, proves: bool) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let slow = Arc::new(Slow { prefills, metrics, proves, chats: AtomicUsize::new(0) });
    let router = Router::new().fallback(answer).with_state(slow);
    tokio::spawn(async move { axum::serve(listener, router).await });
    server(&url)
}

const LOAD: &str = "load";

/// A server that answers streams so: a text, and then another one for ever. It answers nothing
/// else of what makes tokens.
async fn keeping_alive(begins: String, idle: String) -> Server {
    let answer = async move |request: Request| {
        if request.uri().path() != "/v1/chat/completions" {
            return StatusCode::NOT_FOUND.into_response();
        }
        let body = axum::body::to_bytes(request.into_body(), 1 << 24).await.expect("whole");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        if body["stream"] == false {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let again = futures_util::stream::unfold((begins, idle), async |(now, idle)| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::convert::Infallible>(now), (idle.clone(), idle)))
        });
        let body = axum::body::Body::from_stream(again);
        ([("content-type", "text/event-stream")], body).into_response()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    server(&url)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_merely_keeps_a_connection_alive_is_no_progress() {
    let load = json!({"prompt_tokens": 40, "output_tokens": 8, "concurrency": 2, "requests": 3,
                      "warmup": 0});
    let idle = [": ping\n\n".to_owned(), delta(r#"{"content":""}"#), "data:\n\n".to_owned()];
    let begins = [":\n\n".to_owned(), delta(r#"{"content":"a"}"#), ":\n\n".to_owned()];
    let all = idle.into_iter().zip(begins);
    let all = all.map(async |(idle, begins)| {
        let server = keeping_alive(begins, idle.clone()).await;
        let (row, message) = wedged(repeat(&server, 200, (LOAD, &load)).await.0);
        assert_eq!(row.status, Status::Void, "{row:?}");
        assert!(message.starts_with("no token of an answer for "), "{idle}: {message}");
        assert!(message.contains("in flight), and no counters; then "), "{idle}: {message}");
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefill_may_take_three_times_what_was_measured() {
    // So long that the first prefill may take seconds, on a loaded machine, too.
    let load = json!({"prompt_tokens": 400, "output_tokens": 1, "concurrency": 1, "requests": 3,
                      "warmup": 0});
    // Far beyond the limit of 0.1 s, and below three times the slowest so far.
    let server = slow(vec![900, 900, 1500], true, true).await;
    let (ended, _) = repeat(&server, 100, (LOAD, &load)).await;
    let row = ended.expect("no hang");
    assert_eq!(row.status, Status::Ok, "{row:?}");
    let server = slow(vec![20, 20, 20, 60_000], true, true).await;
    let (ended, _) = repeat(&server, 300, (LOAD, &load)).await;
    wedged(ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_counters_the_engine_is_asked_whether_it_decodes() {
    let load = json!({"prompt_tokens": 40, "output_tokens": 1, "concurrency": 1, "requests": 3,
                      "warmup": 0});
    let silent = vec![20, 20, 20, 60_000];
    let (ended, _) = repeat(&slow(silent, false, false).await, 100, (LOAD, &load)).await;
    let (_, message) = wedged(ended);
    // What it is asked has the time that a request has, whose own limit may end first.
    assert!(message.starts_with("no token") && message.contains("; then "), "{message}");
}
