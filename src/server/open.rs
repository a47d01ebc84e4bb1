//! Opening a server: whether it answers, accepts the key, and serves the model. Whether
//! it can generate a token is checked in `health`.

use std::time::Duration;

use serde_json::Value;

use crate::server::http::{Http, HttpError};
use crate::server::models::{self, ModelChoice, list};
use crate::server::{Endpoint, Server, brief};

const MODELS: Duration = Duration::from_secs(30);
const VERSION: Duration = Duration::from_secs(5);
/// Characters of a model's name and of a version that are shown.
const MAX_ASKED: usize = 200;

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
    #[error("{url} does not serve the model `{}`; it serves {}", brief(.asked, MAX_ASKED), list(.offered))]
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
    /// This process itself lacked something: nothing is known of the server.
    #[error("cannot ask {url}: {reason}")]
    Shortage {
        /// The address.
        url: String,
        /// What it lacked, and how to have more.
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
        let url = endpoint.shown();
        match error {
            HttpError::Address(reason) => Self::Address { url, reason },
            HttpError::Answer(reason) => Self::NotVllmLike { url, reason },
            HttpError::Shortage(reason) => Self::Shortage { url, reason },
            HttpError::Unreachable(_) | HttpError::Timeout(_) => {
                Self::Unreachable { url, reason: error.to_string() }
            }
        }
    }

    pub(super) fn unauthorized(endpoint: &Endpoint) -> Self {
        Self::Unauthorized { url: endpoint.shown(), key_given: endpoint.api_key.is_some() }
    }
}

impl Server {
    /// Asks the server for its models (with the key) and, where it has one, its
    /// version. `model` must be one of the names that it serves, where it
    /// lists them; without it the first one is taken that is no adapter, and
    /// [`Server::choice`] says what else there was.
    ///
    /// # Errors
    /// Which of these it was: unreachable, unauthorised, another model, another kind of server.
    pub async fn open(endpoint: Endpoint, model: Option<&str>) -> Result<Self, ServerError> {
        Self::open_one_of(endpoint, model.map(str::to_owned).as_slice()).await
    }

    /// The same where a model has several names: the first that the server lists is used.
    ///
    /// # Errors
    /// As for [`Self::open`]; another model where it lists none of them.
    pub async fn open_one_of(
        mut endpoint: Endpoint,
        names: &[String],
    ) -> Result<Self, ServerError> {
        // Addresses for clients of the OpenAI API end with `/v1`.
        let base = endpoint.base_url.trim_end_matches('/');
        endpoint.base_url = base.strip_suffix("/v1").unwrap_or(base).to_owned();
        let url = endpoint.shown();
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
        let (model, max_model_len, choice) = match names.first() {
            // A server that does not list its models may have the one that is named.
            Some(asked) if matches!(answer.status, 404 | 405 | 501) => {
                (asked.to_owned(), None, ModelChoice::Clear)
            }
            asked => {
                let models = models::read(answer.status, &answer.body)
                    .map_err(|reason| ServerError::NotVllmLike { url: url.clone(), reason })?;
                let offered = |name: &String| models.iter().find(|it| it.name == *name);
                let named = || names.iter().find_map(offered).map(|it| (it, ModelChoice::Clear));
                let chosen = if names.is_empty() { models::choose(&models) } else { named() };
                let Some((chosen, choice)) = chosen else {
                    return Err(ServerError::WrongModel {
                        url,
                        asked: asked.cloned().unwrap_or_default(),
                        offered: models.into_iter().map(|it| it.name).collect(),
                    });
                };
                (chosen.name.clone(), chosen.max_model_len, choice)
            }
        };
        let (version, simulated) = match http.get("/version", VERSION).await {
            Ok(answer) if answer.status == 200 => version(&answer.body),
            _ => (None, false),
        };
        Ok(Self { endpoint, model, choice, max_model_len, version, simulated })
    }
}

/// The version, and whether the server reports that it is simulated.
fn version(body: &str) -> (Option<String>, bool) {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let version = body.get("version").and_then(Value::as_str);
    let version = version.map(|version| brief(version, MAX_ASKED));
    let marked = !matches!(body.get("simulated"), None | Some(Value::Null | Value::Bool(false)));
    let named = version.as_deref().is_some_and(|version| version.contains("simulated"));
    (version, marked || named)
}
