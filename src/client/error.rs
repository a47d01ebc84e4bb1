//! Turns what went wrong with a request into its [`RequestError`]: the class and the
//! message. The classes themselves are in `record`; errors of an event or a whole stream
//! are made in `stream`.

use std::io;

use crate::client::record::{RequestError, RequestErrorClass};
use crate::server::http1::Http1Error;
use crate::server::{brief, error_text};

/// Characters that a message repeats of what a server sent.
const MAX_SHOWN: usize = 300;

/// The error of a response whose status is not 200, with the server's message.
pub(crate) fn refusal_of(status: u16, location: Option<&str>, body: &[u8]) -> RequestError {
    let message = match location {
        Some(to) if (300..400).contains(&status) => {
            format!("redirected to {}: not followed", brief(to, MAX_SHOWN))
        }
        _ => error_text(&String::from_utf8_lossy(body)),
    };
    let class =
        if status >= 500 { RequestErrorClass::ServerError } else { RequestErrorClass::ClientError };
    RequestError { class, message: format!("HTTP {status}: {message}") }
}

/// Texts by which servers refuse a prompt that does not fit into their context: vLLM's
/// "maximum context length" and "maximum model length", llama.cpp's "context size",
/// TGI's "`inputs` must have less than 1024 tokens" and "`inputs` tokens +
/// `max_new_tokens` must be <= 2048".
const TOO_LONG: &[&str] = &[
    "context length",
    "model length",
    "context size",
    "context window",
    "too long",
    "inputs` must have less than",
    "max_new_tokens` must be <=",
];

/// Whether the server refused a request for the length of its prompt.
pub(crate) fn is_too_long(error: &RequestError) -> bool {
    let message = error.message.to_lowercase();
    error.class == RequestErrorClass::ClientError
        && TOO_LONG.iter().any(|words| message.contains(words))
}

/// Whether the answer is a stream of events.
pub(crate) fn check_type(kind: Option<&str>) -> Result<(), RequestError> {
    match kind {
        Some(kind) if kind.trim_start().starts_with("text/event-stream") => Ok(()),
        other => Err(RequestError {
            class: RequestErrorClass::Malformed,
            message: format!(
                "the answer is {}, not an event stream",
                brief(other.unwrap_or("untyped"), MAX_SHOWN)
            ),
        }),
    }
}

/// The client was asked to stop.
pub(crate) fn cancelled() -> RequestError {
    RequestError { class: RequestErrorClass::Cancelled, message: "a stop was asked for".into() }
}

/// The error of a response that is not valid HTTP.
pub(crate) fn of_http1(error: &Http1Error) -> RequestError {
    let class = match error {
        Http1Error::HeadTooLarge | Http1Error::Endless(_) => RequestErrorClass::TooLarge,
        Http1Error::NotHttp(_) | Http1Error::Framing(_) => RequestErrorClass::Malformed,
    };
    RequestError { class, message: brief(&error.to_string(), MAX_SHOWN) }
}

/// The connection failed before the head of the response was complete.
pub(crate) fn before_head(error: &io::Error) -> RequestError {
    cut(format!("the connection broke before the answer: {error}"))
}

/// The connection failed inside the response's body.
pub(crate) fn in_body(error: &io::Error) -> RequestError {
    cut(format!("the stream broke off: {error}"))
}

fn cut(message: String) -> RequestError {
    RequestError { class: RequestErrorClass::Cut, message }
}
