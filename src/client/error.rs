//! Which class of error a request came to, and what is said of it.

use std::io;

use crate::client::http1::Http1Error;
use crate::client::record::{RequestError, RequestErrorClass};
use crate::server::error_text;

/// The error that a status other than 200 stands for, with the server's message.
pub(crate) fn refusal_of(status: u16, location: Option<&str>, body: &[u8]) -> RequestError {
    let message = match location {
        Some(to) if (300..400).contains(&status) => format!("redirected to {to}: not followed"),
        _ => error_text(&String::from_utf8_lossy(body)),
    };
    let class =
        if status >= 500 { RequestErrorClass::ServerError } else { RequestErrorClass::ClientError };
    RequestError { class, message: format!("HTTP {status}: {message}") }
}

/// What servers say of a prompt that does not fit into their context: vLLM's
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
            message: format!("the answer is {}, not an event stream", other.unwrap_or("untyped")),
        }),
    }
}

pub(crate) fn cancelled() -> RequestError {
    RequestError { class: RequestErrorClass::Cancelled, message: "a stop was asked for".into() }
}

/// Bytes that are no HTTP.
pub(crate) fn of_bytes(fault: &Http1Error) -> RequestError {
    let class = match fault {
        Http1Error::HeadTooLarge => RequestErrorClass::TooLarge,
        Http1Error::NotHttp(_) | Http1Error::Framing(_) => RequestErrorClass::Malformed,
    };
    RequestError { class, message: fault.to_string() }
}

pub(crate) fn before_head(error: &io::Error) -> RequestError {
    cut(format!("the connection broke before the answer: {error}"))
}

pub(crate) fn in_body(error: &io::Error) -> RequestError {
    cut(format!("the stream broke off: {error}"))
}

fn cut(message: String) -> RequestError {
    RequestError { class: RequestErrorClass::Cut, message }
}
