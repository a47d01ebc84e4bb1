//! Which class of error a request came to, and what is said of it.

use std::io;

use hyper::Response;
use hyper::body::Incoming;
use hyper::header;

use crate::bench::record::{RequestError, RequestErrorClass};
use crate::server::error_text;

/// The error that a status other than 200 stands for, with the server's message.
pub(crate) fn refusal_of(
    status: hyper::StatusCode,
    location: Option<&header::HeaderValue>,
    body: &[u8],
) -> RequestError {
    let message = match location.map(header::HeaderValue::to_str) {
        Some(Ok(to)) if status.is_redirection() => format!("redirected to {to}: not followed"),
        _ => error_text(&String::from_utf8_lossy(body)),
    };
    let class = if status.is_server_error() {
        RequestErrorClass::ServerError
    } else {
        RequestErrorClass::ClientError
    };
    RequestError { class, message: format!("HTTP {}: {message}", status.as_u16()) }
}

/// What servers say of a prompt that does not fit into their context: vLLM's
/// "maximum context length" and "maximum model length", others' "context size".
const TOO_LONG: &[&str] =
    &["context length", "model length", "context size", "context window", "too long"];

/// Whether the server refused a request for the length of its prompt.
pub(crate) fn is_too_long(error: &RequestError) -> bool {
    let message = error.message.to_lowercase();
    error.class == RequestErrorClass::ClientError
        && TOO_LONG.iter().any(|words| message.contains(words))
}

pub(crate) fn check_type(head: &Response<Incoming>) -> Result<(), RequestError> {
    let kind = head.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
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

pub(crate) fn cut(message: &str) -> RequestError {
    RequestError { class: RequestErrorClass::Cut, message: message.to_owned() }
}

pub(crate) fn before_head(error: &hyper::Error) -> RequestError {
    if error.is_parse_too_large() {
        return RequestError {
            class: RequestErrorClass::TooLarge,
            message: "the head of the response is too large".to_owned(),
        };
    }
    if error.is_parse() {
        return RequestError {
            class: RequestErrorClass::Malformed,
            message: format!("the answer is not HTTP: {}", chain(error)),
        };
    }
    cut(&format!("the connection broke before the answer: {}", chain(error)))
}

pub(crate) fn in_body(error: &hyper::Error) -> RequestError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(fault) = inner.downcast_ref::<io::Error>()
            && matches!(fault.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        {
            return RequestError {
                class: RequestErrorClass::Malformed,
                message: format!("the stream's framing is broken: {}", chain(error)),
            };
        }
        source = inner.source();
    }
    cut(&format!("the stream broke off: {}", chain(error)))
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
