//! Whether a server is up, and whether it can still decode. `/health` alone proves
//! little: its status is 200 even when the engine behind it is frozen.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::http::{Http, HttpError};
use crate::server::{Endpoint, Server, ServerError};

const HEALTH: Duration = Duration::from_secs(5);

/// The status of `/health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// 200: the API process is running.
    Up,
    /// Another status: 503 (or 500 in older releases) when the engine is known to be dead.
    NotYet(u16),
    /// Nothing answers.
    Unreachable,
}

/// Asks `/health`.
pub async fn health(endpoint: &Endpoint) -> Health {
    match Http::new(endpoint) {
        Ok(http) => health_by(&http).await,
        Err(_) => Health::Unreachable,
    }
}

/// Asks `/health` through a client that exists.
pub async fn health_by(http: &Http) -> Health {
    match http.get("/health", HEALTH).await {
        Ok(answer) if answer.status == 200 => Health::Up,
        Ok(answer) => Health::NotYet(answer.status),
        Err(_) => Health::Unreachable,
    }
}

/// A one-token completion: the proof that the engine decodes, as a chat or, where the
/// model has no chat template, of a plain text. Returns the time it took.
///
/// # Errors
/// No completion within `limit`, or one without a token; the server's message is in it.
pub async fn completion_proof(server: &Server, limit: Duration) -> Result<Duration, ServerError> {
    let url = server.endpoint.shown();
    let not_serving = |reason: String| ServerError::NotServing { url: url.clone(), reason };
    let http = Http::new(&server.endpoint)
        .map_err(|error| ServerError::from_http(&server.endpoint, error))?;
    let question = "Name the capital of France in one word.";
    let chat = json!([{"role": "user", "content": question}]);
    let ask = async |path: &str, prompt: &str, asked: &Value| {
        let body = json!({
            "model": server.model, prompt: asked, "max_tokens": 1, "temperature": 0.0,
            "stream": false,
        });
        let started = Instant::now();
        let answer = http.post(path, &body, limit).await.map_err(|error| match error {
            HttpError::Timeout(_) => not_serving(format!("a one-token completion gave {error}")),
            other => ServerError::from_http(&server.endpoint, other),
        })?;
        Ok::<_, ServerError>((answer, started.elapsed()))
    };
    let (mut answer, mut took) = ask("/v1/chat/completions", "messages", &chat).await?;
    if matches!(answer.status, 400 | 404 | 405 | 501) {
        let plain = ask("/v1/completions", "prompt", &json!(question)).await?;
        if plain.0.status == 200 {
            (answer, took) = plain;
        }
    }
    if matches!(answer.status, 401 | 403) {
        return Err(ServerError::unauthorized(&server.endpoint));
    }
    if answer.status != 200 {
        let message = super::error_text(&answer.body);
        return Err(not_serving(format!(
            "a one-token completion gave HTTP {}: {message}",
            answer.status
        )));
    }
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let tokens = body.pointer("/usage/completion_tokens").and_then(Value::as_u64);
    let choice = body.pointer("/choices/0/finish_reason").and_then(Value::as_str);
    match (tokens, choice) {
        // Servers that report no usage report why an answer ended.
        (None | Some(1..), Some(_)) => Ok(took),
        _ => Err(not_serving("a one-token completion came back without a token".to_owned())),
    }
}
