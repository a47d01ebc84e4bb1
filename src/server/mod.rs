//! A server from outside: a ready vLLM-compatible endpoint, whoever started it.
//! Its models, version, counters and effective values are read here; starting
//! one is [`crate::engine`]'s, measuring one is [`crate::bench`]'s.

use std::fmt;
use std::net::IpAddr;

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

impl Endpoint {
    /// Whether its host is a loopback address, or exactly `localhost`. What answers
    /// there may still be a tunnel to another machine.
    pub fn is_loopback(&self) -> bool {
        let Ok(url) = reqwest::Url::parse(&self.base_url) else { return false };
        let Some(host) = url.host_str() else { return false };
        let address = host.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_address_or_exactly_localhost() {
        let is_loopback = |host: &str| {
            Endpoint { base_url: format!("http://{host}:8000"), api_key: None }.is_loopback()
        };
        for here in
            ["127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "LocalHost"]
        {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "localhost.example.org",
            "127.0.0.1.example.org",
            "127.example.org",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
            "gpu-box",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
        assert!(!Endpoint { base_url: "no URL".to_owned(), api_key: None }.is_loopback());
    }
}
