//! A stop is heard wherever a server keeps somebody waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError};
use vllm_grid::event::Emit;
use vllm_grid::metric::Status;

use crate::bench::scripted::server;
use crate::bench::simulated::{Kept, settings, workload};
use crate::support::in_time;

/// A server that never answers one look at one path.
#[derive(Debug)]
struct Hanging {
    path: &'static str,
    /// Which look, from 1.
    look: usize,
    /// Chats from this one on are refused.
    refuse_from: usize,
    looks: AtomicUsize,
    chats: AtomicUsize,
    hangs: Notify,
}

async fn answer(State(hanging): State<Arc<Hanging>>, request: Request) -> Response {
    let next = |count: &AtomicUsize| count.fetch_add(1, Ordering::Relaxed) + 1;
    let path = request.uri().path();
    if path == hanging.path && next(&hanging.looks) == hanging.look {
        hanging.hangs.notify_one();
        return std::future::pending().await;
    }
    match path {
        "/health" => StatusCode::OK.into_response(),
        "/v1/chat/completions" if next(&hanging.chats) < hanging.refuse_from => {
            let choice = json!({"index": 0, "delta": {"content": "a"}, "finish_reason": "length"});
            let stream = format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [choice]}));
            ([("content-type", "text/event-stream")], stream).into_response()
        }
        "/v1/chat/completions" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Stops a repeat when the server hangs: the status of its row, none where it has none.
async fn stopped(
    (path, look): (&'static str, usize),
    refuse_from: usize,
    (name, options): (&str, &Value),
) -> Result<Option<Status>, String> {
    let (looks, chats, hangs) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
    let hanging = Arc::new(Hanging { path, look, refuse_from, looks, chats, hangs });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let router = Router::new().fallback(answer).with_state(Arc::clone(&hanging));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let server = server(&url);
    let mut bench =
        Bench::new(&server, &kept, &emit, &cancel, settings()).await.expect("an address");
    let workload = workload(name, options);
    let repeat = bench.repeat(&workload, "", 1);
    tokio::pin!(repeat);
    tokio::select! {
        ended = &mut repeat => return Err(format!("it never hung: {ended:?}")),
        () = hanging.hangs.notified() => cancel.cancel(),
    }
    match in_time("a stop", repeat).await {
        Err(BenchError::Cancelled) => Ok(None),
        Ok(row) => Ok(Some(row.status)),
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_at_once() {
    let stability = json!({"prompt_tokens": 100, "output_tokens": 2, "max_outage": 600});
    let kv_cache = json!({"prefix_tokens": 600, "prompts": 1, "output_tokens": 2});
    // What failed before is kept.
    let failed = Some(Status::Failed);
    for (what, hangs, refuse_from, workload, status) in [
        // The first look is for the calibration.
        ("counters before", ("/metrics", 2), usize::MAX, ("stability", &stability), None),
        ("health after a failure", ("/health", 1), 2, ("stability", &stability), None),
        ("health of one that is dead", ("/health", 1), 1, ("kv-cache", &kv_cache), failed),
    ] {
        assert_eq!(stopped(hangs, refuse_from, workload).await, Ok(status), "{what}");
    }
}
