//! Requests that a server has lost while it answers others: their streams stay open and bring
//! no token. The repeat ends, whatever the server's counters say or do not say.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError};
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, Status};

use crate::bench::scripted::{delta, server};
use crate::bench::simulated::{Kept, settings, workload};
use crate::support::in_time;

/// What `/metrics` does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metrics {
    Idle,
    Missing,
    Hanging,
    /// Somebody else's tokens: the server is at work.
    OfOthers,
}

/// What a stream that is lost brings.
#[derive(Clone, Copy, Debug)]
enum Lost {
    /// Not even a head.
    Nothing,
    /// A head, and then nothing.
    Head,
    Comments,
    EmptyDeltas,
    /// A token, and then comments.
    Token,
}

/// A server that answers so many streams, and loses all later ones.
struct Losing {
    metrics: Metrics,
    lost: Lost,
    good: usize,
    streams: AtomicUsize,
    looks: AtomicUsize,
}

async fn answer(State(losing): State<Arc<Losing>>, request: Request) -> Response {
    match (request.uri().path(), losing.metrics) {
        ("/health", _) => StatusCode::OK.into_response(),
        ("/metrics", Metrics::Hanging) => std::future::pending().await,
        ("/metrics", Metrics::Idle) => counters(0, 7),
        ("/metrics", Metrics::OfOthers) => {
            counters(1, losing.looks.fetch_add(1, Ordering::Relaxed))
        }
        ("/v1/chat/completions", _) => {
            let body = axum::body::to_bytes(request.into_body(), 1 << 24).await.expect("whole");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            completion(&losing, body["stream"] == false).await
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn counters(running: usize, tokens: usize) -> Response {
    let text = format!(
        "vllm:num_requests_running {running}\nvllm:num_requests_waiting 0.0\n\
         vllm:generation_tokens_total {tokens}\n"
    );
    text.into_response()
}

async fn completion(losing: &Losing, is_whole: bool) -> Response {
    let choice = json!({"index": 0, "delta": {"content": "a"}, "finish_reason": "length"});
    if is_whole {
        let usage = json!({"completion_tokens": 1});
        return axum::Json(json!({"choices": [choice], "usage": usage})).into_response();
    }
    let event_stream = [("content-type", "text/event-stream")];
    if losing.streams.fetch_add(1, Ordering::Relaxed) < losing.good {
        let text = format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [choice]}));
        return (event_stream, text).into_response();
    }
    let ping = ": ping\n\n".to_owned();
    let (begins, again) = match losing.lost {
        Lost::Nothing => std::future::pending().await,
        Lost::Head => (ping, None),
        Lost::Comments => (ping.clone(), Some(ping)),
        Lost::EmptyDeltas => (ping, Some(delta(r#"{"content":""}"#))),
        Lost::Token => (delta(r#"{"content":"a"}"#), Some(ping)),
    };
    let pieces = futures_util::stream::unfold(Some(begins), move |now| {
        let again = again.clone();
        async move {
            let Some(now) = now else { std::future::pending().await };
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, Infallible>(now), again))
        }
    });
    (event_stream, Body::from_stream(pieces)).into_response()
}

const LIMIT: Duration = Duration::from_millis(200);

/// Two repeats, one after the other. Limits of a request's own: so much longer than the
/// watchdog's.
async fn repeats(
    (metrics, lost, good): (Metrics, Lost, usize),
    own: Duration,
    (name, options): (&str, &Value),
) -> Vec<Result<Measurement, BenchError>> {
    let (streams, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let losing = Arc::new(Losing { metrics, lost, good, streams, looks });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = server(&format!("http://{}", listener.local_addr().expect("bound")));
    let router = Router::new().fallback(answer).with_state(losing);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let mut settings = settings();
    settings.limits.no_progress = LIMIT;
    (settings.limits.first_token, settings.limits.silence) = (own, own);
    let bench = Bench::new(&server, &kept, &emit, &cancel, settings).await.expect("an address");
    let mut bench = bench.accepting_late_client();
    let workload = workload(name, options);
    let case = workload.cases().remove(0);
    let mut ended = Vec::new();
    for number in 1..=2 {
        ended.push(in_time("a repeat", bench.repeat(&workload, &case, number)).await);
    }
    ended
}

fn load() -> Value {
    json!({"prompt_tokens": 40, "output_tokens": 8, "concurrency": 2, "requests": 60, "warmup": 0})
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_lost_end_the_repeat_and_in_two_repeats_the_launch() {
    let kv_cache = json!({"prefix_tokens": [512], "prompts": 2, "output_tokens": 4});
    let stability = json!({"prompt_tokens": 64, "output_tokens": 16, "requests": 64});
    let cases = [
        (("load", load()), (Metrics::Idle, Lost::Comments, 0)),
        (("load", load()), (Metrics::Idle, Lost::Head, 8)),
        (("load", load()), (Metrics::Idle, Lost::Nothing, 8)),
        (("load", load()), (Metrics::Idle, Lost::Token, 8)),
        (("load", load()), (Metrics::Missing, Lost::EmptyDeltas, 8)),
        (("kv-cache", kv_cache.clone()), (Metrics::Idle, Lost::EmptyDeltas, 0)),
        (("kv-cache", kv_cache.clone()), (Metrics::Hanging, Lost::Comments, 0)),
        (("kv-cache", kv_cache), (Metrics::Missing, Lost::Token, 0)),
        (("stability", stability.clone()), (Metrics::Idle, Lost::Nothing, 4)),
        (("stability", stability), (Metrics::Missing, Lost::Head, 0)),
    ];
    let all = cases.map(async |((name, options), server)| {
        let what = format!("{name} {server:?}");
        // As long as the whole test may take: they end nothing here.
        let ended = repeats(server, Duration::from_mins(2), (name, &options)).await;
        let [Ok(row), Err(BenchError::NoProgress { measurement, message })] = &ended[..] else {
            panic!("{what}: {ended:?}")
        };
        assert_eq!(row.status, Status::Failed, "{what}: {row:?}");
        let reason = row.reason.as_deref().expect("said");
        assert!(
            reason.starts_with("requests are lost: no token of an answer for "),
            "{what}: {reason}"
        );
        assert!(reason.ends_with("; it answers other requests"), "{what}: {reason}");
        let shown = match server.0 {
            Metrics::Idle => "the server reports 0 running and 0 waiting requests",
            _ => "in flight), and no counters",
        };
        assert!(reason.contains(shown), "{what}: {reason}");
        assert_eq!(measurement.status, Status::Void, "{what}");
        assert!(message.contains(shown), "{what}: {message}");
    });
    futures_util::future::join_all(all).await;
}

/// The server is at work for somebody else: only the limits of a request itself tell. Others
/// would be as silent, and are not waited for one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn one_request_of_a_load_that_is_silent_to_its_limit_is_enough() {
    let one = json!({"prompt_tokens": 40, "output_tokens": 8, "concurrency": 1, "requests": 60,
                     "warmup": 0});
    let server = (Metrics::OfOthers, Lost::Comments, 8);
    let began = std::time::Instant::now();
    let ended = repeats(server, Duration::from_secs(3), (LOAD, &one)).await;
    let Ok(row) = &ended[0] else { panic!("{ended:?}") };
    assert_eq!(row.status, Status::Failed, "{row:?}");
    let reason = row.reason.as_deref().expect("said");
    assert!(reason.contains("no token came for 3 s"), "{reason}");
    // With 18 failures in a row it would be a minute each.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

const LOAD: &str = "load";
