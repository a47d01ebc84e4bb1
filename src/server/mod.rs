//! A server from outside: a ready vLLM-compatible endpoint, whoever started it.
//! Its models, version, counters and effective values are read here; starting
//! one is [`crate::engine`]'s, measuring one is [`crate::bench`]'s.

use std::fmt;

pub mod counters;
pub mod effective;
pub mod health;
pub mod http;
mod message;
mod observed;
mod open;
mod probe;
pub mod prometheus;
mod python;

pub use health::{Health, completion_proof, health};
pub(crate) use message::{error_message, error_text};
pub use open::ServerError;
pub use probe::{GpuIds, ResourceProbe, ResourceSample};

/// A bearer key. Never shown, never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself, for the `Authorization` header alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// Where a server is and how to talk to it: the one definition of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host and port, without a trailing slash: `http://127.0.0.1:8000`.
    pub base_url: String,
    /// The bearer key, where one is needed.
    pub api_key: Option<ApiKey>,
}

/// A server that answered: its endpoint and what it says of itself.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The model's name as requests must give it.
    pub model: String,
    /// Context length in tokens, where `/v1/models` tells.
    pub max_model_len: Option<u64>,
    /// `/version`, where it is offered.
    pub version: Option<String>,
    /// Whether the server says of itself that it is simulated.
    pub simulated: bool,
}
