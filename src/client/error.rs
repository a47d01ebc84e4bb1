//! Turns what went wrong with a request into its [`RequestError`]: the class and the
//! message. The classes themselves are in `record`; errors of an event or a whole stream
//! are made in `stream`.

use std::io;

use crate::client::failing;
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
    "context_length",
    "context_size",
    "contextwindow",
    "sequence length",
    "max_model_len",
    "inputs` must have less than",
    "max_new_tokens` must be <=",
];

/// Whether the server refused a request for the length of its prompt, before its stream or
/// inside of it.
pub(crate) fn is_too_long(error: &RequestError) -> bool {
    use RequestErrorClass::{ClientError, InStream};
    let message = error.message.to_lowercase();
    matches!(error.class, ClientError | InStream)
        && TOO_LONG.iter().any(|words| message.contains(words))
}

/// Whether an answer of this type is a stream of events.
pub(crate) fn is_stream(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// The error of an answer of status 200 that is no stream, with its words: it may be an
/// error itself.
pub(crate) fn not_a_stream(kind: Option<&str>, body: &[u8]) -> RequestError {
    let kind = brief(kind.unwrap_or("untyped"), MAX_SHOWN);
    let message = format!("the answer is {kind}, not an event stream");
    if let Some(words) = failing::in_text(body) {
        let class = RequestErrorClass::InStream;
        return RequestError { class, message: format!("{message}: {words}") };
    }
    let shown = brief(&String::from_utf8_lossy(body), MAX_SHOWN);
    let shown = if shown.trim().is_empty() { String::new() } else { format!(": {shown}") };
    RequestError { class: RequestErrorClass::Malformed, message: message + &shown }
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
