//! Opening a server: whether it answers, accepts the key, and serves the model. Whether
//! it can generate a token is checked in `health`.

use std::time::Duration;

use serde_json::Value;

use crate::server::http::{Answer, Http, HttpError};
use crate::server::{Endpoint, Server};

const MODELS: Duration = Duration::from_secs(30);
const VERSION: Duration = Duration::from_secs(5);

/// Why a server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be used.
    #[error("cannot use {url}: {reason}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// The network's error.
        reason: String,
    },
    /// The key is missing or wrong.
    #[error("{url} refuses {}", if *.key_given { "the API key that was given" } else { "requests without an API key" })]
    Unauthorized {
        /// The address.
        url: String,
        /// Whether a key was sent.
        key_given: bool,
    },
    /// It does not serve that model.
    #[error("{url} does not serve the model `{asked}`; it serves {}", list(.offered))]
    WrongModel {
        /// The address.
        url: String,
        /// The name that was asked for.
        asked: String,
        /// The names that it serves.
        offered: Vec<String>,
    },
    /// Something else answers there.
    #[error("{url} is not a vLLM-like server: {reason}")]
    NotVllmLike {
        /// The address.
        url: String,
        /// What it answered.
        reason: String,
    },
    /// It answers, but does not complete.
    #[error("{url} does not serve completions: {reason}")]
    NotServing {
        /// The address.
        url: String,
        /// What it answered.
        reason: String,
    },
}

impl ServerError {
    pub(super) fn from_http(endpoint: &Endpoint, error: HttpError) -> Self {
        let url = endpoint.base_url.clone();
        match error {
            HttpError::Address(reason) => Self::Address { url, reason },
            HttpError::Answer(reason) => Self::NotVllmLike { url, reason },
            HttpError::Unreachable(_) | HttpError::Timeout(_) => {
                Self::Unreachable { url, reason: error.to_string() }
            }
        }
    }

    pub(super) fn unauthorized(endpoint: &Endpoint) -> Self {
        Self::Unauthorized { url: endpoint.base_url.clone(), key_given: endpoint.api_key.is_some() }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{}`", crate::clean::plain(name)))
        .collect::<Vec<_>>()
        .join(", ")
}

impl Server {
    /// Asks the server for its models (with the key) and, where it has one, its
    /// version. `model` must be one of the names that it serves, where it
    /// lists them; without it the first one is taken.
    ///
    /// # Errors
    /// Which of these it was: unreachable, unauthorised, another model, another kind of server.
    pub async fn open(mut endpoint: Endpoint, model: Option<&str>) -> Result<Self, ServerError> {
        // Addresses for clients of the OpenAI API end with `/v1`.
        let base = endpoint.base_url.trim_end_matches('/');
        endpoint.base_url = base.strip_suffix("/v1").unwrap_or(base).to_owned();
        let url = endpoint.base_url.clone();
        let http =
            Http::new(&endpoint).map_err(|error| ServerError::from_http(&endpoint, error))?;
        let answer = http
            .get("/v1/models", MODELS)
            .await
            .map_err(|error| ServerError::from_http(&endpoint, error))?;
        if matches!(answer.status, 401 | 403) {
            return Err(ServerError::unauthorized(&endpoint));
        }
        if answer.status >= 500 && answer.status != 501 {
            let message = super::error_text(&answer.body);
            let reason = format!("/v1/models gave HTTP {} ({message})", answer.status);
            return Err(ServerError::NotServing { url, reason });
        }
        let models = match model {
            // A server that does not list its models may have the one that is named.
            Some(asked) if matches!(answer.status, 404 | 405 | 501) => {
                vec![(asked.to_owned(), None)]
            }
            _ => models(&answer)
                .map_err(|reason| ServerError::NotVllmLike { url: url.clone(), reason })?,
        };
        let chosen = match model {
            None => models.first(),
            Some(asked) => models.iter().find(|(name, _)| name == asked),
        };
        let Some((model, max_model_len)) = chosen.cloned() else {
            return Err(ServerError::WrongModel {
                url,
                asked: model.unwrap_or_default().to_owned(),
                offered: models.into_iter().map(|(name, _)| name).collect(),
            });
        };
        let (version, simulated) = match http.get("/version", VERSION).await {
            Ok(answer) if answer.status == 200 => version(&answer.body),
            _ => (None, false),
        };
        Ok(Self { endpoint, model, max_model_len, version, simulated })
    }
}

/// Names and context lengths of the models that are served.
fn models(answer: &Answer) -> Result<Vec<(String, Option<u64>)>, String> {
    if answer.status != 200 {
        return Err(format!("/v1/models gave HTTP {}", answer.status));
    }
    let body: Value = serde_json::from_str(&answer.body)
        .map_err(|_| "/v1/models did not answer with JSON".to_owned())?;
    let data = body.get("data").and_then(Value::as_array);
    let models: Vec<(String, Option<u64>)> = data
        .into_iter()
        .flatten()
        .filter_map(|model| {
            let name = model.get("id")?.as_str()?.to_owned();
            Some((name, model.get("max_model_len").and_then(Value::as_u64)))
        })
        .collect();
    if models.is_empty() { Err("/v1/models names no model".to_owned()) } else { Ok(models) }
}

/// The version, and whether the server reports that it is simulated.
fn version(body: &str) -> (Option<String>, bool) {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let version = body.get("version").and_then(Value::as_str);
    let version = version.map(|version| crate::clean::plain(version).into_owned());
    let marked = !matches!(body.get("simulated"), None | Some(Value::Null | Value::Bool(false)));
    let named = version.as_deref().is_some_and(|version| version.contains("simulated"));
    (version, marked || named)
}
