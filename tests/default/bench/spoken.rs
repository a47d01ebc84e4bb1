//! A server whose answers are written out by a test: what public reports show of servers
//! that are not vLLM, or are older ones. It counts, and remembers prompts; how it speaks
//! is the test's.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, run_suite};
use vllm_grid::client::record::RequestRecord;
use vllm_grid::event::{Emit, NoticeKind};
use vllm_grid::metric::Measurement;
use vllm_grid::server::{Endpoint, Server};
use vllm_grid::workload::Workload;

use crate::bench::simulated::{Kept, settings};

/// What a request asks for.
pub(crate) struct Ask {
    /// Four letters each, plus nine.
    pub(crate) prompt_tokens: u64,
    pub(crate) max_tokens: u64,
    /// This very prompt was asked before.
    pub(crate) known: bool,
    pub(crate) body: Value,
}

impl Ask {
    /// Whether more than one token is asked for: not to learn a length.
    pub(crate) fn is_measured(&self) -> bool {
        self.max_tokens > 1
    }
}

/// What the server remembers.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) seen: HashSet<String>,
    pub(crate) requests: u64,
    pub(crate) prompt_tokens: u64,
    /// Looks at its counters.
    pub(crate) looks: u64,
    /// Requests that were refused.
    pub(crate) refused: u64,
    /// For whatever else is counted.
    pub(crate) counts: [u64; 8],
}

/// An answer.
pub(crate) enum Said {
    /// The pieces of a stream.
    Pieces(Vec<String>),
    Refused(u16, Value),
}

pub(crate) type Speak = fn(&mut Memory, &Ask) -> Said;
pub(crate) type Count = fn(&Memory) -> String;

#[derive(Clone)]
struct Spoken {
    speak: Speak,
    count: Option<Count>,
    memory: Arc<Mutex<Memory>>,
}

/// Starts a server; its memory is the test's, too.
pub(crate) async fn start(speak: Speak, count: Option<Count>) -> (Server, Arc<Mutex<Memory>>) {
    let memory = Arc::new(Mutex::new(Memory::default()));
    let spoken = Spoken { speak, count, memory: Arc::clone(&memory) };
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/metrics", get(metrics))
        .route("/health", get(async || StatusCode::OK))
        .with_state(spoken);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let endpoint = Endpoint::new(base_url, None);
    (Server::open(endpoint, Some("m")).await.expect("taken at its word"), memory)
}

async fn metrics(State(spoken): State<Spoken>) -> Response {
    let Some(count) = spoken.count else { return StatusCode::NOT_FOUND.into_response() };
    let mut memory = spoken.memory.lock().expect("no panic");
    memory.looks += 1;
    count(&memory).into_response()
}

async fn chat(State(spoken): State<Spoken>, Json(body): Json<Value>) -> Response {
    let text: String = body["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| message["content"].as_str())
        .collect();
    let said = {
        let mut memory = spoken.memory.lock().expect("no panic");
        let known = memory.seen.contains(&text);
        let prompt_tokens = text.len() as u64 / 4 + 9;
        let max_tokens = body["max_tokens"].as_u64().unwrap_or(16).min(64);
        let ask = Ask { prompt_tokens, max_tokens, known, body };
        let said = (spoken.speak)(&mut memory, &ask);
        match said {
            Said::Refused(..) => memory.refused += 1,
            Said::Pieces(_) => {
                memory.requests += 1;
                memory.prompt_tokens += prompt_tokens;
                memory.seen.insert(text);
            }
        }
        said
    };
    match said {
        Said::Refused(status, body) => {
            (StatusCode::from_u16(status).expect("a status"), Json(body)).into_response()
        }
        Said::Pieces(pieces) => {
            let paced = stream::unfold(pieces.into_iter(), async |mut pieces| {
                let piece = pieces.next()?;
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some((Ok::<_, Infallible>(Bytes::from(piece)), pieces))
            });
            ([("content-type", "text/event-stream")], Body::from_stream(paced)).into_response()
        }
    }
}

/// An event.
pub(crate) fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// A chunk with this delta.
pub(crate) fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    data(&json!({"id": "c1", "object": "chat.completion.chunk", "choices": [choice]}))
}

pub(crate) fn word() -> String {
    chunk(&json!({"role": "assistant", "content": "word "}), None)
}

pub(crate) fn usage(prompt: u64, answer: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer})
}

pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// An answer as it should be, around these pieces of it.
pub(crate) fn whole(ask: &Ask, pieces: impl IntoIterator<Item = String>) -> Said {
    whole_of(ask, pieces, &usage(ask.prompt_tokens, ask.max_tokens))
}

/// The same with this usage.
pub(crate) fn whole_of(_: &Ask, pieces: impl IntoIterator<Item = String>, usage: &Value) -> Said {
    let end = [
        chunk(&json!({}), Some("length")),
        data(&json!({"choices": [], "usage": usage})),
        DONE.to_owned(),
    ];
    Said::Pieces(pieces.into_iter().chain(end).collect())
}

/// As many words as are asked for.
pub(crate) fn words(ask: &Ask) -> Vec<String> {
    (0..ask.max_tokens).map(|_| word()).collect()
}

/// What was measured, and said of it.
pub(crate) struct Measured {
    pub(crate) rows: Vec<Measurement>,
    pub(crate) records: Vec<RequestRecord>,
    pub(crate) warnings: Vec<String>,
}

/// One repeat of each workload, without warm-ups, by a client that may be late.
pub(crate) async fn measure(server: &Server, workloads: &[Workload]) -> Measured {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&warnings);
    let emit = Emit::to(move |notice| {
        if let NoticeKind::Warning(line) = notice.kind {
            heard.lock().expect("no panic").push(line);
        }
    });
    let (kept, cancel) = (Kept::default(), CancellationToken::new());
    let bench = Bench::new(server, &kept, &emit, &cancel, settings()).await.expect("an address");
    let (mut bench, mut rows) = (bench.accepting_late_client(), Vec::new());
    run_suite(&mut bench, workloads, 1, &mut rows).await.expect("a living server");
    drop(bench);
    let kept = kept.0.into_inner().expect("no panic");
    let records = kept.into_iter().flat_map(|(_, records)| records).collect();
    let warnings = warnings.lock().expect("no panic").clone();
    Measured { rows, records, warnings }
}
