//! A server that looks like vLLM from outside: streams, a prefix cache and the
//! counters of one, with errors on request.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use vllm_grid::server::Endpoint;

/// A length in tokens as it is reported, from the true one and the request's number.
pub(crate) type Counts = fn(u64, usize) -> u64;

/// Faults and figures, each on its own.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // switches, not states
pub(crate) struct Behaviour {
    pub(crate) caching: bool,
    /// `cache_config_info` reports whether caching is on.
    pub(crate) reports_caching: bool,
    pub(crate) metrics: bool,
    pub(crate) block: u64,
    pub(crate) miss: Duration,
    pub(crate) hit: Duration,
    pub(crate) counters_late: Duration,
    /// Counters are late from this request on.
    pub(crate) late_from: usize,
    /// Somebody else's request is counted with this one and all later ones.
    pub(crate) foreign_after: Option<usize>,
    pub(crate) refuse_after: Option<usize>,
    /// The engine dies with this request, in mid-stream.
    pub(crate) die_after: Option<usize>,
    /// From this request on nothing is answered any more; `/health` stays 200.
    pub(crate) freeze_after: Option<usize>,
    /// The server is another one from this request on: its counters begin anew.
    pub(crate) restart_at: Option<usize>,
    /// The engine dies with this request, in mid-stream, and the server is down for so
    /// many looks at its health; then it is another one, whose counters begin anew.
    pub(crate) down: Option<(usize, usize)>,
    /// Tokens that were found in the cache before anybody asked.
    pub(crate) hits_before: u64,
    /// Nothing stays in the cache.
    pub(crate) forgets: bool,
    /// Half of every prompt is found in the cache, whoever sent it.
    pub(crate) knows_all: bool,
    /// Tokens that every prompt opens with.
    pub(crate) preamble: u64,
    /// The first request of more than one token takes so much longer.
    pub(crate) cold: Duration,
    /// One request after the other, in the order in which they came.
    pub(crate) serial: bool,
    /// Longest prompt and answer together, in tokens.
    pub(crate) context: u64,
    /// `/v1/models` reports it.
    pub(crate) reports_context: bool,
    /// Further time of a request for each other one that is there when it begins.
    pub(crate) crowd: Duration,
    /// Answers end here, whatever `ignore_eos` says.
    pub(crate) longest_answer: u64,
    /// Each answer was drafted: the word for drafted tokens in the counters' names, and what
    /// ends these.
    pub(crate) drafts: Option<(&'static str, &'static str)>,
    /// What it says of a prompt's length.
    pub(crate) counts: Counts,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            caching: true,
            reports_caching: true,
            metrics: true,
            block: 16,
            miss: Duration::from_millis(60),
            hit: Duration::from_millis(4),
            counters_late: Duration::ZERO,
            late_from: 0,
            hits_before: 0,
            foreign_after: None,
            refuse_after: None,
            die_after: None,
            freeze_after: None,
            restart_at: None,
            down: None,
            forgets: false,
            knows_all: false,
            preamble: 0,
            cold: Duration::ZERO,
            serial: false,
            crowd: Duration::ZERO,
            context: 8192,
            reports_context: true,
            longest_answer: u64::MAX,
            drafts: None,
            counts: |tokens, _| tokens,
        }
    }
}

#[derive(Default)]
struct Inside {
    queries: u64,
    hits: u64,
    prompt_tokens: u64,
    requests: u64,
    served: usize,
    /// Requests that are there.
    present: u32,
    warm: bool,
    restarts: u64,
    dead: bool,
    /// Looks at its health for which it is down.
    down_for: usize,
    cached: HashSet<String>,
    salts: HashSet<String>,
    openings: Vec<String>,
    /// Bodies without their messages, in order.
    bodies: Vec<Value>,
    /// Bytes of the longest prompt.
    largest: usize,
}

impl Inside {
    fn begin_anew(&mut self) {
        self.restarts += 1;
        (self.requests, self.prompt_tokens) = (0, 0);
        (self.queries, self.hits) = (0, 0);
    }
}

#[derive(Clone)]
pub(crate) struct Counting {
    behaviour: Behaviour,
    inside: Arc<Mutex<Inside>>,
    /// Who has it is served, where one is after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
    url: String,
}

impl Counting {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let counting = Self { behaviour, inside: Arc::default(), turn: Arc::default(), url };
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/version", get(async || Json(json!({"version": "0.32.0"}))))
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .route("/v1/chat/completions", post(chat))
            .layer(DefaultBodyLimit::disable())
            .with_state(counting.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        counting
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.url.clone(), None)
    }

    /// Requests so far, refused ones included.
    pub(crate) fn served(&self) -> usize {
        self.inside.lock().expect("no panic").served
    }

    /// Values of `cache_salt` so far, none being one of them.
    pub(crate) fn cache_salts(&self) -> usize {
        self.inside.lock().expect("no panic").salts.len()
    }

    /// Bytes of the longest prompt so far.
    pub(crate) fn largest(&self) -> usize {
        self.inside.lock().expect("no panic").largest
    }

    /// Every body without its messages, in order.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.inside.lock().expect("no panic").bodies.clone()
    }

    /// The first words of every prompt, in order.
    pub(crate) fn openings(&self) -> Vec<String> {
        self.inside.lock().expect("no panic").openings.clone()
    }
}

async fn models(State(counting): State<Counting>) -> Json<Value> {
    let Behaviour { context, reports_context, .. } = counting.behaviour;
    let context = reports_context.then_some(context);
    Json(json!({"object": "list", "data": [{"id": "m", "max_model_len": context}]}))
}

async fn health(State(counting): State<Counting>) -> StatusCode {
    let mut inside = counting.inside.lock().expect("no panic");
    let is_down = inside.down_for > 0;
    inside.down_for = inside.down_for.saturating_sub(1);
    if inside.dead || is_down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn metrics(State(counting): State<Counting>) -> Response {
    let Behaviour { metrics, reports_caching, caching, block, .. } = counting.behaviour;
    if counting.is_down() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if !metrics {
        return StatusCode::NOT_FOUND.into_response();
    }
    let inside = counting.inside.lock().expect("no panic");
    // Each request is put back once.
    let requests = inside.requests;
    let caching = if caching { "True" } else { "False" };
    let label = if reports_caching {
        format!(",enable_prefix_caching=\"{caching}\"")
    } else {
        String::new()
    };
    let drafts = counting.behaviour.drafts.map(|names| drafted(requests, names));
    let text = format!(
        "vllm:prefix_cache_queries_total{{engine=\"0\"}} {}.0\n\
         vllm:prefix_cache_queries_created{{engine=\"0\"}} 1.7955e+09\n\
         vllm:prefix_cache_hits_total{{engine=\"0\"}} {}.0\n\
         vllm:prompt_tokens_total{{engine=\"0\"}} {}.0\n\
         vllm:request_success_total{{engine=\"0\",finished_reason=\"length\"}} {requests}.0\n\
         vllm:num_preemptions_total{{engine=\"0\"}} {requests}.0\n\
         vllm:cache_config_info{{block_size=\"{block}\"{label}}} 1.0\n\
         process_start_time_seconds {}\n",
        inside.queries,
        inside.hits + counting.behaviour.hits_before,
        inside.prompt_tokens,
        1_795_501_505 + 60 * inside.restarts
    );
    (text + &drafts.unwrap_or_default()).into_response()
}

/// Of each request four drafts of two tokens: the first token of three was accepted, and of
/// one the second, too.
fn drafted(requests: u64, (word, end): (&str, &str)) -> String {
    let series = [
        ("num_drafts", "", 4),
        (&*format!("num_{word}_tokens"), "", 8),
        ("num_accepted_tokens", "", 4),
        ("num_accepted_tokens_per_pos", ",position=\"0\"", 3),
        ("num_accepted_tokens_per_pos", ",position=\"1\"", 1),
    ];
    let line = |(name, label, each): (&str, &str, u64)| {
        format!("vllm:spec_decode_{name}{end}{{engine=\"0\"{label}}} {}.0\n", each * requests)
    };
    series.map(line).concat()
}

async fn chat(State(counting): State<Counting>, Json(body): Json<Value>) -> Response {
    let behaviour = &counting.behaviour;
    let text: String = body["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| message["content"].as_str())
        .collect();
    let tokens = behaviour.preamble + 12 + text.len() as u64 / 5;
    let max_tokens = body["max_tokens"].as_u64().expect("given");
    {
        let mut inside = counting.inside.lock().expect("no panic");
        inside.largest = inside.largest.max(text.len());
        let mut rest = body.clone();
        rest.as_object_mut().expect("an object").remove("messages");
        inside.bodies.push(rest);
    }
    if body["temperature"].as_f64().is_some_and(|temperature| temperature < 0.0) {
        let error = json!({"error": {"message": "temperature must be non-negative.", "code": 400}});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    if tokens.saturating_add(max_tokens) > behaviour.context {
        let message = format!("the context length is {} tokens", behaviour.context);
        let error = json!({"error": {"message": message, "code": 400}});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let (served, tokens, found, cold) = {
        let mut inside = counting.inside.lock().expect("no panic");
        inside.served += 1;
        let tokens = (behaviour.counts)(tokens, inside.served);
        inside.openings.push(text.chars().take(40).collect());
        let salt = body["cache_salt"].as_str().unwrap_or_default().to_owned();
        let known_salt = !inside.salts.insert(salt.clone());
        let known = !inside.cached.insert(format!("{salt}{text}"));
        let found = match (behaviour.caching && !behaviour.forgets, known) {
            (true, true) => tokens.saturating_sub(1) / behaviour.block * behaviour.block,
            (true, false) if behaviour.knows_all => tokens / 2,
            (true, false) if known_salt => behaviour.preamble / behaviour.block * behaviour.block,
            _ => 0,
        };
        let cold = max_tokens > 1 && !std::mem::replace(&mut inside.warm, true);
        let cold = if cold { behaviour.cold } else { Duration::ZERO };
        (inside.served, tokens, found, cold)
    };
    let reached = |limit: Option<usize>| limit.is_some_and(|limit| served >= limit);
    if reached(behaviour.refuse_after) {
        let error = json!({"error": {"message": "no more", "code": 400}});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    if counting.is_down() {
        let error = json!({"error": {"message": "EngineCore is dead", "code": 503}});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response();
    }
    if reached(behaviour.freeze_after) {
        std::future::pending::<()>().await;
    }
    counting.inside.lock().expect("no panic").present += 1;
    let turn = if behaviour.serial { Some(counting.turn.lock().await) } else { None };
    let time = if found * 2 > tokens { behaviour.hit } else { behaviour.miss };
    let others = counting.inside.lock().expect("no panic").present.saturating_sub(1);
    tokio::time::sleep(time + cold + behaviour.crowd * others).await;
    drop(turn);
    counting.inside.lock().expect("no panic").present -= 1;
    // A first token need not show: a parser takes `<think>` away.
    let content = if max_tokens > 1 { "a" } else { "" };
    let token = event(&json!({"choices": [{"index": 0, "delta": {"content": content}}]}));
    let mut rest = token.clone();
    let down = behaviour.down.filter(|(request, _)| served == *request);
    if reached(behaviour.die_after) || down.is_some() {
        match down {
            Some((_, looks)) => counting.go_down(looks),
            None => counting.inside.lock().expect("no panic").dead = true,
        }
        let message = "EngineCore encountered an issue.";
        rest += &event(&json!({"error": {"message": message, "code": 500}}));
    } else {
        let answer = max_tokens.min(behaviour.longest_answer);
        let usage = json!({"prompt_tokens": tokens, "completion_tokens": answer});
        rest += &event(&json!({"choices": [], "usage": usage}));
        let foreign = reached(behaviour.foreign_after);
        let is_late = served >= behaviour.late_from;
        let late = if is_late { behaviour.counters_late } else { Duration::ZERO };
        let counted = counting.clone();
        if late.is_zero() {
            counted.count(served, tokens, found, foreign);
        } else {
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                counted.count(served, tokens, found, foreign);
            });
        }
    }
    rest += "data: [DONE]\n\n";
    let pieces = stream::iter([token, rest]).then(async |piece| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(piece)
    });
    let kind = [("content-type", "text/event-stream; charset=utf-8")];
    (kind, Body::from_stream(pieces)).into_response()
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

impl Counting {
    fn is_down(&self) -> bool {
        self.inside.lock().expect("no panic").down_for > 0
    }

    fn go_down(&self, looks: usize) {
        let mut inside = self.inside.lock().expect("no panic");
        inside.down_for = looks;
        inside.begin_anew();
    }

    /// `number`: of the request among all; others may have come since.
    fn count(&self, number: usize, tokens: u64, found: u64, foreign: bool) {
        let mut inside = self.inside.lock().expect("no panic");
        if self.behaviour.restart_at == Some(number) {
            inside.begin_anew();
        }
        let requests = if foreign { 2 } else { 1 };
        inside.requests += requests;
        inside.prompt_tokens += tokens * requests;
        if self.behaviour.caching {
            inside.queries += tokens * requests;
            inside.hits += found;
        }
    }
}
