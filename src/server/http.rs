//! Requests to a server that are not measured: no proxy, no redirects, bounded answers. A request is
//! sent once; only a `GET` on a connection that its server had closed meanwhile is sent on a new one.
//! The bytes of an answer are judged in `reply`, connections are in `transport`. Requests that are
//! measured are not sent here but in `client`.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::endpoint::{Address, ApiKey};
use super::http1::{get_head, post_head};
use super::reply::{Reply, Whole};
use super::transport::Transport;
use crate::server::{Endpoint, brief};
use crate::shortage;

/// vLLM closes idle connections after 5 s; a request on one that just closed would fail.
const MAX_IDLE: Duration = Duration::from_secs(4);
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
/// Characters of a network error's text.
const MAX_REASON: usize = 300;

/// Keeps a connection to one endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    target: Arc<Target>,
    idle: Arc<Mutex<Option<Idle>>>,
    shortage: Arc<OnceLock<String>>,
}

/// Where requests go.
#[derive(Debug)]
struct Target {
    address: Address,
    api_key: Option<ApiKey>,
}

/// A connection that waits for the next request.
#[derive(Debug)]
struct Idle {
    transport: Transport,
    since: Instant,
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
    /// This process could not ask: it may open no more connections, for example.
    #[error("{0}")]
    Shortage(String),
}

impl Http {
    /// A client for `endpoint`.
    ///
    /// # Errors
    /// An address that no request can be sent to.
    pub fn new(endpoint: &Endpoint) -> Result<Self, HttpError> {
        let address = endpoint.address().map_err(HttpError::Address)?;
        let target = Target { address, api_key: endpoint.api_key.clone() };
        Ok(Self { target: Arc::new(target), idle: Arc::default(), shortage: Arc::default() })
    }

    /// What this process lacked when it wanted to ask, if it ever did.
    pub fn shortage(&self) -> Option<&str> {
        self.shortage.get().map(String::as_str)
    }

    /// `GET path`.
    ///
    /// # Errors
    /// No answer in time; a status is no error.
    pub async fn get(&self, path: &str, limit: Duration) -> Result<Answer, HttpError> {
        self.within(limit, self.asked(path, None)).await
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
        self.within(limit, self.asked(path, Some(body.to_string()))).await
    }

    async fn within(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<Answer, HttpError>>,
    ) -> Result<Answer, HttpError> {
        let answer = tokio::time::timeout(limit, asked).await;
        let answer = answer.unwrap_or(Err(HttpError::Timeout(limit)));
        if let Err(HttpError::Shortage(what)) = &answer {
            // The first is the one to report.
            let _ = self.shortage.set(what.clone());
        }
        answer
    }

    async fn asked(&self, path: &str, body: Option<String>) -> Result<Answer, HttpError> {
        let message = self.message(path, body.as_deref());
        let largest = largest_body(path);
        // What a server may have begun to do is not asked for twice: no reused connection.
        if body.is_none()
            && let Some(transport) = self.idle()
        {
            let mut reply = Reply::new(largest);
            match self.exchange(transport, &message, &mut reply).await {
                // It was closed while it waited.
                Err(_) if reply.is_empty() => {}
                done => return done,
            }
        }
        let transport = self.target.connect().await?;
        self.exchange(transport, &message, &mut Reply::new(largest)).await
    }

    fn message(&self, path: &str, body: Option<&str>) -> Vec<u8> {
        let Target { address: Address { host, prefix, .. }, api_key } = &*self.target;
        let key = api_key.as_ref().map(ApiKey::reveal);
        let path = format!("{prefix}{path}");
        let head = match body {
            None => get_head(&path, host, key),
            Some(body) => post_head(&path, host, key, "application/json", body.len()),
        };
        [head.as_bytes(), body.unwrap_or_default().as_bytes()].concat()
    }

    /// Sends a request and reads its answer to the end.
    async fn exchange(
        &self,
        mut transport: Transport,
        message: &[u8],
        reply: &mut Reply,
    ) -> Result<Answer, HttpError> {
        // A server may refuse a request that it has not read: what it says of it counts more.
        let written = transport.write_all(message).await;
        let mut piece = Vec::new();
        let whole = loop {
            if let Err(error) = transport.read(&mut piece).await {
                // Why writing failed came first.
                return Err(broke(&error_text(written.as_ref().err().unwrap_or(&error))));
            }
            let taken = if piece.is_empty() {
                reply.closed(self.target.address.tls.is_some()).map(Some)
            } else {
                reply.take(&piece)
            };
            if let Some(whole) = taken.map_err(|reason| broke(&reason))? {
                break whole;
            }
        };
        let Whole { status, body, keeps_alive } = whole;
        if keeps_alive {
            let idle = Idle { transport, since: Instant::now() };
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(idle);
        }
        let body = String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(Answer { status, body })
    }

    /// The connection that waits, where it is still open.
    fn idle(&self) -> Option<Transport> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let waits = idle.since.elapsed() < MAX_IDLE && idle.transport.waits();
        waits.then_some(idle.transport)
    }
}

impl Target {
    async fn connect(&self) -> Result<Transport, HttpError> {
        let Address { name, port, tls, .. } = &self.address;
        let looked_up = tokio::net::lookup_host((name.as_str(), *port)).await;
        let addresses = looked_up.map_err(|error| match shortage::of_now() {
            // The resolver does not say that it could open nothing.
            Some(what) => HttpError::Shortage(what),
            None => unreachable(&error),
        })?;
        let late = |what: &str| {
            HttpError::Unreachable(format!("no {what} within {} s", CONNECT.as_secs()))
        };
        let mut transport = tokio::time::timeout(CONNECT, Transport::connect(addresses))
            .await
            .map_err(|_| late("connection"))?
            .map_err(|error| unreachable(&error))?;
        if let Some(tls) = tls {
            tokio::time::timeout(CONNECT, transport.secure(tls))
                .await
                .map_err(|_| late("answer to a TLS handshake (if it is plain HTTP: http://)"))?
                .map_err(|error| unreachable(&error))?;
        }
        Ok(transport)
    }
}

/// Bytes that the body behind a path may have.
fn largest_body(path: &str) -> usize {
    let bare = path.split('?').next().unwrap_or(path);
    LARGEST.iter().find(|(name, _)| *name == bare).map_or(LARGEST_OTHER, |(_, bytes)| *bytes)
}

fn unreachable(error: &io::Error) -> HttpError {
    match shortage::of(error) {
        Some(what) => HttpError::Shortage(what),
        None => HttpError::Unreachable(error.to_string()),
    }
}

fn broke(reason: &str) -> HttpError {
    HttpError::Answer(brief(reason, MAX_REASON))
}

fn error_text(error: &io::Error) -> String {
    format!("the connection broke before the answer was whole: {error}")
}
