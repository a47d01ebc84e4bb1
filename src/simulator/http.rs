//! vLLM's endpoints in front of the engine: keys, models, chat, metrics.
//! Bodies are made in `protocol`, tokens in `engine`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::degenerate::Degenerate;
use super::engine::{Ask, Engine};
use super::log::{Log, Process};
use super::memory::Division;
use super::metrics::Finish;
use super::output::Output;
use super::protocol::{self, ChatRequest, Form, Refused, ToolChoice};
use super::reply::{Outline, Reply, Streaming, UnderWay};
use super::settings::Settings;
use super::spoil::{Asked, Failure, Spoil};
use super::{Booted, Ending, Options, VERSION, text, tokens};

/// Long contexts are megabytes of JSON.
const LARGEST_BODY: usize = 256 << 20;
/// Connections get this long to end after a stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long `/health` is 503 after the engine's death, before the port is closed.
const LINGER: Duration = Duration::from_secs(1);
/// Connections of a process that left are closed within this.
const LEAVE: Duration = Duration::from_millis(50);

struct Server {
    settings: Settings,
    division: Division,
    options: Options,
    engine: Engine,
    log: Log,
    created: u64,
    /// Chats so far that each of the faults counts.
    chats: Vec<AtomicU64>,
    /// Requests that are being answered.
    under_way: Arc<AtomicU64>,
}

type Shared = State<Arc<Server>>;

/// Serves until `cancel`.
pub(super) async fn serve(
    booted: Booted,
    engine: Engine,
    listener: TcpListener,
    cancel: CancellationToken,
) -> std::io::Result<Ending> {
    let log = booted.log.clone();
    let chats = booted.options.faults.spoiled.iter().map(|_| AtomicU64::new(0)).collect();
    let server = Arc::new(Server {
        settings: booted.settings,
        division: booted.division,
        options: booted.options,
        engine: engine.clone(),
        log: booted.log,
        created: unix_seconds(),
        chats,
        under_way: Arc::default(),
    });
    let (exit_code, lingers) = (server.options.faults.exit_code, server.options.faults.lingers);
    let strangers = tokio::spawn(strangers(Arc::clone(&server)));
    // Small chunks must leave at once.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let service = router(server).into_make_service_with_connect_info::<SocketAddr>();
    let stopped = || async {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = engine.died(), if !lingers => {}
        }
    };
    let draining = CancellationToken::new();
    let drain = draining.clone();
    let serving = axum::serve(listener, service)
        .with_graceful_shutdown(async move { drain.cancelled().await })
        .into_future();
    let deadline = async {
        stopped().await;
        if engine.is_dead() {
            // For a moment the HTTP server outlives its engine, and reports the death.
            tokio::time::sleep(LINGER).await;
        }
        let message = "[shutdown] API server: shutdown triggered";
        log.line(Process::ApiServer, "INFO", "launcher.py:254", message);
        engine.stop();
        draining.cancel();
        tokio::time::sleep(GRACE).await;
    };
    let left = async {
        engine.left().await;
        // Idle connections are closed, too, where the process does not really end.
        draining.cancel();
        tokio::time::sleep(LEAVE).await;
    };
    let ended = tokio::select! {
        ended = serving => ended,
        () = deadline => Ok(()),
        () = left => Ok(()),
    };
    strangers.abort();
    if engine.is_gone() {
        return ended.map(|()| Ending::Exited(exit_code));
    }
    log.plain("INFO:     Application shutdown complete.");
    let ending = if engine.is_dead() { Ending::EngineDied } else { Ending::Stopped };
    ended.map(|()| ending)
}

fn router(server: Arc<Server>) -> Router {
    let mut router = Router::new()
        .route("/health", get(health))
        .route("/ping", get(ok).post(ok))
        .route("/load", get(load))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/tokenize", post(tokenize))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(complete));
    if server.settings.dev_mode {
        router = router
            .route("/reset_prefix_cache", post(reset_prefix_cache))
            .route("/server_info", get(server_info));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), guard))
        .with_state(server)
}

/// Checks the key of everything under `/v1`, marks the answer, logs the request.
async fn guard(
    State(server): Shared,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let what = format!("{} {}", request.method(), request.uri());
    let keys = &server.settings.api_keys;
    let guarded = request.uri().path().starts_with("/v1") && !keys.is_empty();
    let mut response = if guarded && !has_key(&request, keys) {
        json_response(401, &json!({"error": "Unauthorized"}))
    } else {
        next.run(request).await
    };
    response
        .headers_mut()
        .insert(header::SERVER, HeaderValue::from_static("vllm-grid (simulated)"));
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    server
        .log
        .plain(&format!("INFO:     {peer} - \"{what} HTTP/1.1\" {} {reason}", status.as_u16()));
    response
}

fn has_key(request: &Request, keys: &[String]) -> bool {
    request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .is_some_and(|key| keys.iter().any(|known| known == key))
}

fn json_response(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        json_response(self.status, &self.body)
    }
}

async fn not_found() -> Response {
    json_response(404, &json!({"detail": "Not Found"}))
}

async fn not_allowed() -> Response {
    json_response(405, &json!({"detail": "Method Not Allowed"}))
}

async fn ok() -> StatusCode {
    StatusCode::OK
}

async fn health(State(server): Shared) -> StatusCode {
    if server.options.faults.unhealthy || server.engine.is_dead() || server.engine.is_gone() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    StatusCode::OK
}

async fn load(State(server): Shared) -> Json<Value> {
    Json(json!({"server_load": server.engine.load()}))
}

async fn version(State(server): Shared) -> Json<Value> {
    let options = &server.options;
    Json(json!({
        "version": VERSION,
        "simulated": {
            "gpu": options.gpu.name,
            "gpus": options.gpus,
            "seed": options.seed,
            "speed": options.speed,
        },
    }))
}

async fn metrics(State(server): Shared) -> Response {
    let kind = "text/plain; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], server.engine.metrics_text()).into_response()
}

async fn models(State(server): Shared) -> Json<Value> {
    let settings = &server.settings;
    Json(protocol::models(
        &settings.served_names,
        &settings.model_argument,
        server.created,
        settings.max_model_len,
    ))
}

async fn reset_prefix_cache(State(server): Shared) -> Json<Value> {
    Json(json!({"success": server.engine.reset_prefix_cache().await}))
}

/// The JSON form alone; `config_format=text` is not offered.
async fn server_info(State(server): Shared) -> Json<Value> {
    Json(protocol::server_info(&server.settings, &server.division, &server.options))
}

async fn tokenize(State(server): Shared, body: Bytes) -> Result<Json<Value>, Refused> {
    let body: Value = serde_json::from_slice(&body).map_err(|error| Refused::malformed(&error))?;
    let ids = if let Some(prompt) = body.get("prompt").and_then(Value::as_str) {
        tokens::tokenize(prompt)
    } else {
        let request: ChatRequest =
            serde_json::from_value(body).map_err(|error| Refused::malformed(&error))?;
        prompt_tokens(&request)
    };
    Ok(Json(json!({
        "count": ids.len(),
        "max_model_len": server.settings.max_model_len,
        "tokens": ids,
        "token_strs": null,
    })))
}

fn prompt_tokens(request: &ChatRequest) -> Vec<u32> {
    tokens::chat(&request.messages, request.tools.as_ref(), request.thinking())
}

async fn chat(State(server): Shared, body: Bytes) -> Result<Response, Refused> {
    let request: ChatRequest =
        serde_json::from_slice(&body).map_err(|error| Refused::malformed(&error))?;
    let prompt = prompt_tokens(&request);
    answer(&server, &request, Form::Chat, prompt).await
}

async fn complete(State(server): Shared, body: Bytes) -> Result<Response, Refused> {
    let (request, prompt) = protocol::completion_request(&body)?;
    answer(&server, &request, Form::Completion, prompt).await
}

async fn answer(
    server: &Server,
    request: &ChatRequest,
    form: Form,
    prompt: Vec<u32>,
) -> Result<Response, Refused> {
    let under_way = UnderWay::begin(&server.under_way);
    let asked = Asked {
        messages: &request.messages,
        prompt: &prompt,
        in_flight: under_way.count,
        seed: server.options.seed,
    };
    let degenerate = match spoil(server, &asked) {
        Some(Spoil::Failure(failure)) => return Ok(failed(failure, request)),
        Some(Spoil::Text(text)) => Some(text),
        None => None,
    };
    let reply = accept(server, request, form, prompt, degenerate, under_way)?;
    respond(reply, request).await
}

/// What this chat is answered by in place of an answer.
fn spoil(server: &Server, asked: &Asked<'_>) -> Option<Spoil> {
    let all = server.options.faults.spoiled.iter().zip(&server.chats);
    let mut fitting = all.filter(|(spoiled, _)| spoiled.fits(asked));
    let hit = fitting.find(|(it, chats)| it.hits(chats.fetch_add(1, Ordering::Relaxed) + 1));
    hit.map(|(spoiled, _)| spoiled.by)
}

fn failed(failure: Failure, request: &ChatRequest) -> Response {
    let pieces: Vec<std::io::Result<Bytes>> = match failure {
        Failure::Unavailable => {
            return Refused::new(503, "ServiceUnavailable", None, "not now").into_response();
        }
        Failure::Error => {
            let message = "module 'cupy' is not there";
            return Refused::new(500, "InternalServerError", None, message).into_response();
        }
        Failure::Unauthorized => return json_response(401, &json!({"error": "Unauthorized"})),
        Failure::NotFound => {
            return Refused::unknown_model(request.model.as_deref().unwrap_or_default())
                .into_response();
        }
        Failure::Garbage => vec![Ok("data: {\"choices\": [{\"del\n\ndata: %%\n\n".into())],
        Failure::Reset => {
            let piece = json!({"choices": [{"index": 0, "delta": {"content": "a"}}]});
            let cut = std::io::Error::other("reset");
            vec![Ok(format!("data: {piece}\n\n").into()), Err(cut)]
        }
    };
    let kind = "text/event-stream; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(stream::iter(pieces))).into_response()
}

/// Sends what somebody else asks.
async fn strangers(server: Arc<Server>) {
    let Some(seconds) = server.options.faults.strangers else { return };
    let each = Duration::from_secs_f64(seconds / server.options.speed);
    for number in 0u32.. {
        tokio::time::sleep(each).await;
        let prompt = tokens::tokenize(&format!("what somebody else asks, number {number}"));
        let finish = Finish::Length;
        let (cache_salt, output_seed) = (None, u64::from(number));
        let ask = Ask { prompt, cache_salt, output_seed, output_tokens: 2, finish };
        let mut answer = server.engine.ask(ask);
        while answer.next().await.is_some() {}
    }
}

fn accept(
    server: &Server,
    request: &ChatRequest,
    form: Form,
    prompt: Vec<u32>,
    degenerate: Option<Degenerate>,
    under_way: UnderWay,
) -> Result<Reply, Refused> {
    let settings = &server.settings;
    if server.engine.is_dead() || server.options.faults.not_serving {
        return Err(Refused::engine_dead());
    }
    let model = match request.model.as_deref() {
        None | Some("") => settings.served_names[0].clone(),
        Some(name) if settings.served_names.iter().any(|served| served == name) => name.to_owned(),
        Some(name) => return Err(Refused::unknown_model(name)),
    };
    let limit = protocol::output_limit(request, prompt.len() as u64, settings.max_model_len)?;
    let asked = request.seed.map_or(server.options.seed, i64::cast_unsigned);
    let seed = prompt.iter().fold(asked, |seed, token| text::mix(seed, u64::from(*token)));
    let choice = match form {
        Form::Chat => protocol::tool_choice(request, settings)?,
        Form::Completion => ToolChoice::Never,
    };
    let outline = Outline {
        form,
        model,
        created: unix_seconds(),
        seed,
        output: output(server, request, form, choice, seed, degenerate),
        tell_calls: matches!(choice, ToolChoice::Auto | ToolChoice::Required(_)),
        limit,
        tell_cached: settings.prompt_tokens_details,
        silent_after: server.options.faults.silent_after.unwrap_or(u64::MAX),
    };
    Ok(Reply::ask(&server.engine, request, prompt, outline, under_way))
}

/// The content of the answer: degenerate, by script, as demanded, or at random.
fn output(
    server: &Server,
    request: &ChatRequest,
    form: Form,
    choice: ToolChoice<'_>,
    seed: u64,
    degenerate: Option<Degenerate>,
) -> Output {
    let parsed = server.settings.reasoning_parser.is_some();
    let thinks = form == Form::Chat && parsed && request.thinking();
    // A demanded call is decoded under constraints, which leave no room for anything else.
    let demanded = matches!(choice, ToolChoice::Named(_) | ToolChoice::Required(_));
    if let Some(text) = degenerate.filter(|_| !demanded) {
        return Output::degenerate(seed, thinks, text);
    }
    if form == Form::Completion {
        return Output::words(seed, false);
    }
    if let Some(script) = server.options.answers.answer(&request.last_text()) {
        return Output::scripted(seed, script, request.thinking(), parsed);
    }
    match choice {
        ToolChoice::Named(tool) => Output::call(seed, tool),
        ToolChoice::Required(tools) => {
            let picked = text::mix(seed, 0) % tools.len().max(1) as u64;
            Output::call(seed, tools.get(picked as usize).unwrap_or(&Value::Null))
        }
        ToolChoice::Never | ToolChoice::Auto => Output::words(seed, thinks),
    }
}

async fn respond(reply: Reply, request: &ChatRequest) -> Result<Response, Refused> {
    if !request.stream.unwrap_or(false) {
        let body = reply.whole().await?;
        return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response());
    }
    let options = request.stream_options.unwrap_or_default();
    let chunks = stream::unfold(Streaming::new(reply, options), |mut streaming| async move {
        let bytes = streaming.next().await?;
        Some((bytes, streaming))
    });
    let kind = "text/event-stream; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(chunks)).into_response())
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
