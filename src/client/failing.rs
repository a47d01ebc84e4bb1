//! Finds the errors that a server writes into a stream at HTTP 200, in whatever line or
//! field: an event named `error`, a field of that name, an object on a line of its own. What
//! is none is kept, to be shown where the answer turns out to be incomplete. The chunks of
//! an answer are read in `chunk`.

use serde_json::Value;

use crate::client::record::{RequestError, RequestErrorClass};
use crate::server::{brief, error_message, error_text, is_told};

/// Bytes of stray text that are kept.
const MAX_KEPT: usize = 4096;
/// Characters of it that a message shows.
const MAX_SHOWN: usize = 300;

/// A failed request, in the server's words.
pub(crate) fn failed(message: String) -> RequestError {
    RequestError { class: RequestErrorClass::InStream, message }
}

/// The error of an event that is named `error`, whatever its data is.
pub(crate) fn event(data: &[u8]) -> RequestError {
    failed(error_text(&String::from_utf8_lossy(data)))
}

/// The words of an error, where a JSON text is one.
pub(crate) fn in_text(text: &[u8]) -> Option<String> {
    let text = text.trim_ascii();
    let value = text.starts_with(b"{").then(|| serde_json::from_slice(text).ok()).flatten()?;
    in_object(&value)
}

fn in_object(value: &Value) -> Option<String> {
    let told = |key: &str| value.get(key).is_some_and(is_told);
    let is_named = |key: &str| value.get(key).and_then(Value::as_str) == Some("error");
    let is_answer = told("choices") || told("usage");
    let is_message = told("detail") || value.get("message").is_some_and(Value::is_string);
    let is_error = told("error")
        || is_named("object")
        || is_named("type")
        || is_named("status")
        || (is_message && !is_answer);
    is_error.then(|| error_message(value))
}

/// Lines that are part of no event, and events of an unknown form.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    text: Vec<u8>,
}

impl Strays {
    /// Takes a line.
    ///
    /// # Errors
    /// It is an error, or the end of one over several lines.
    pub(crate) fn take(&mut self, line: &[u8]) -> Result<(), RequestError> {
        if let Some(words) = in_line(line) {
            return Err(failed(words));
        }
        self.keep(line);
        // An object that is spread over lines.
        let is_end = line.trim_ascii() == b"}";
        is_end.then(|| in_text(&self.text)).flatten().map_or(Ok(()), |words| Err(failed(words)))
    }

    /// Keeps what has no known form.
    pub(crate) fn keep(&mut self, text: &[u8]) {
        let space = MAX_KEPT - self.text.len();
        self.text.extend(text.iter().chain(b"\n").take(space));
    }

    /// What was kept, for a message.
    pub(crate) fn words(&self) -> Option<String> {
        let text = self.text.trim_ascii();
        (!text.is_empty()).then(|| brief(&String::from_utf8_lossy(text), MAX_SHOWN))
    }
}

fn in_line(line: &[u8]) -> Option<String> {
    let end = line.iter().position(|byte| *byte == b':');
    let is_word = |name: &[u8]| name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let Some((name, value)) = end.map(|end| (&line[..end], &line[end + 1..])) else {
        return in_text(line);
    };
    if !is_word(name) {
        return in_text(line);
    }
    let value = value.trim_ascii();
    if !name.eq_ignore_ascii_case(b"error") {
        return in_text(value);
    }
    (![&b"null"[..], b"false"].contains(&value))
        .then(|| error_text(&String::from_utf8_lossy(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &[&str]) -> Result<Option<String>, String> {
        let mut strays = Strays::default();
        let read = lines.iter().try_for_each(|line| strays.take(line.as_bytes()));
        read.map(|()| strays.words()).map_err(|error| error.message)
    }

    #[test]
    fn an_error_is_found_in_any_line() {
        for lines in [
            &[r#"error: {"code":500,"message":"died","type":"server_error"}"#][..],
            &["error: died"],
            &["Error:died"],
            &["ERROR: \"died\""],
            &[r#"{"error":{"message":"died","code":500}}"#],
            &[r#"{"error":"died"}"#],
            &[r#"{"detail":"died"}"#],
            &[r#"{"message":"died"}"#],
            &[r#"{"object":"error","message":"died"}"#],
            &[r#"exception: {"status":"error","reason":"died"}"#],
            &["{", r#"  "error": {"#, r#"    "message": "died""#, "  }", "}"],
        ] {
            assert_eq!(taken(lines), Err("died".to_owned()), "{lines:?}");
        }
        assert_eq!(taken(&["error:"]), Err("no message".to_owned()));
    }

    #[test]
    fn what_is_no_error_is_kept_and_shown() {
        let chunk = r#"{"choices":[{"delta":{}}],"message":"fine"}"#;
        for line in ["<html>", "error: null", r#"{"error":null}"#, r#"{"type":"ping"}"#, chunk] {
            assert_eq!(taken(&[line]), Ok(Some(line.to_owned())));
        }
        assert_eq!(taken(&["502 Bad", "Gateway"]), Ok(Some("502 Bad Gateway".to_owned())));
        assert_eq!(taken(&[]), Ok(None));
        let long = "x".repeat(1 << 20);
        assert_eq!(taken(&[&long, &long]).map(|it| it.map(|it| it.chars().count())), Ok(Some(301)));
    }

    #[test]
    fn an_event_named_error_is_one_whatever_it_says() {
        for (data, message) in [
            (r#"{"code":3}"#, r#"{"code":3}"#),
            ("plain words", "plain words"),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#, "busy"),
            ("", "no message"),
        ] {
            let error = event(data.as_bytes());
            assert_eq!((error.class, &*error.message), (RequestErrorClass::InStream, message));
        }
    }
}
