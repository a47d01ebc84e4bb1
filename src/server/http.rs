//! Plain requests to a server: no proxy, no redirects, no retries, bounded answers.
//! Requests that are measured are not sent here but in `client`.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::server::Endpoint;

/// vLLM closes idle connections after 5 s; a request on one that just closed would fail.
const POOL_IDLE: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of a body at most, by its path: an untrusted server must not fill the memory.
/// vLLM's `/metrics` is 60 KB for each engine, its list of a thousand adapters 600 KB.
const LARGEST: &[(&str, usize)] = &[
    ("/metrics", 16 << 20),
    ("/v1/models", 4 << 20),
    ("/health", 64 << 10),
    ("/version", 64 << 10),
];
/// Bytes of any other body.
const LARGEST_OTHER: usize = 1 << 20;
/// Characters of a network error's text: it may repeat what the server sent.
const MAX_REASON: usize = 300;

/// Keeps connections to one endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    endpoint: Endpoint,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body as text; what is not UTF-8 is replaced.
    pub body: String,
}

/// Why there is no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be used.
    #[error("{0}")]
    Address(String),
    /// Nobody answers there.
    #[error("{0}")]
    Unreachable(String),
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The answer broke off or is too large.
    #[error("{0}")]
    Answer(String),
}

impl Http {
    /// A client for `endpoint`.
    ///
    /// # Errors
    /// An address that is not plain HTTP.
    pub fn new(endpoint: &Endpoint) -> Result<Self, HttpError> {
        endpoint.http_url().map_err(HttpError::Address)?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(POOL_IDLE)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| HttpError::Address(chain(&error)))?;
        Ok(Self { client, endpoint: endpoint.clone() })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// No answer in time; a status is no error.
    pub async fn get(&self, path: &str, limit: Duration) -> Result<Answer, HttpError> {
        self.ask(Method::GET, path, None, limit).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// No answer in time; a status is no error.
    pub async fn post(
        &self,
        path: &str,
        body: &Value,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        self.ask(Method::POST, path, Some(body), limit).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let url = format!("{}{path}", self.endpoint.base_url.trim_end_matches('/'));
        let mut request = self.client.request(method, url);
        if let Some(key) = &self.endpoint.api_key {
            request = request.bearer_auth(key.reveal());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        match tokio::time::timeout(limit, read(request, largest_body(path))).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Timeout(limit)),
        }
    }
}

/// Bytes that the body behind a path may have.
fn largest_body(path: &str) -> usize {
    let bare = path.split('?').next().unwrap_or(path);
    LARGEST.iter().find(|(name, _)| *name == bare).map_or(LARGEST_OTHER, |(_, bytes)| *bytes)
}

async fn read(request: reqwest::RequestBuilder, largest: usize) -> Result<Answer, HttpError> {
    let mut response = request.send().await.map_err(|error| {
        let text = chain(&error);
        if error.is_connect() { HttpError::Unreachable(text) } else { HttpError::Answer(text) }
    })?;
    let status: StatusCode = response.status();
    let mut body: Vec<u8> = Vec::new();
    while let Some(piece) =
        response.chunk().await.map_err(|error| HttpError::Answer(chain(&error)))?
    {
        if body.len() + piece.len() > largest {
            return Err(HttpError::Answer(format!("the answer is larger than {largest} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    let body = String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(Answer { status: status.as_u16(), body })
}

/// The innermost cause of an error, without the URL, which the caller's message has.
fn chain(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut text = None;
    while let Some(inner) = source {
        text = Some(inner.to_string());
        source = inner.source();
    }
    super::brief(&text.unwrap_or_else(|| error.to_string()), MAX_REASON)
}
