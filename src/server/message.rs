//! The message in an error that a server answers with: an object with `message`, a text,
//! or the list of what is wrong with each field, as web frameworks write it. Whether an
//! event of a stream is such an error is decided in `client`.

use serde_json::Value;

/// Long enough for any message; a longer body is cut.
const MAX_CHARS: usize = 1000;
/// A code is a word.
const MAX_CODE: usize = 100;

/// The message of an error object, in one line.
pub(crate) fn error_message(error: &Value) -> String {
    let inner = error.get("error").filter(|inner| is_told(inner)).unwrap_or(error);
    let mut text = line(&words(inner).unwrap_or_else(|| inner.to_string()));
    // Some say only in the code that the prompt is too long.
    let codes = ["code", "type"].iter().filter_map(|key| inner.get(key)?.as_str());
    for code in codes.filter(|code| code.to_lowercase().contains("context")) {
        if !text.contains(code) {
            text = format!("{text} ({})", brief(code, MAX_CODE));
        }
    }
    text
}

/// Whether a field says something: an error that is null, false or empty is none.
pub(crate) fn is_told(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// The words of an error, in whatever form; `None` where none is known.
fn words(error: &Value) -> Option<String> {
    match error {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let all: Vec<String> = items.iter().filter_map(words).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => {
            let known = ["message", "detail", "msg", "reason"];
            let text = known.iter().find_map(|key| words(fields.get(*key)?))?;
            // Which field it is about.
            let place = fields.get("loc").and_then(Value::as_array).map(|steps| {
                let steps = steps.iter().filter(|step| *step != "body");
                let names = steps.map(|step| step.as_str().map_or(step.to_string(), str::to_owned));
                names.collect::<Vec<_>>().join(".")
            });
            Some(match place.filter(|place| !place.is_empty()) {
                Some(place) => format!("{place}: {text}"),
                None => text,
            })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// The message of a body, JSON or not, in one line.
pub(crate) fn error_text(body: &str) -> String {
    match serde_json::from_str(body) {
        Ok(error @ (Value::Object(_) | Value::String(_))) => error_message(&error),
        _ => line(body),
    }
}

fn line(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() { "no message".to_owned() } else { brief(text, MAX_CHARS) }
}

pub(crate) use crate::clean::brief;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_cleaned() {
        assert_eq!(brief("a\u{1b}[31mb\0c\nd", 10), "abc d");
        assert_eq!(brief("éééé", 3), "ééé…");
        assert_eq!(brief("ééé", 3), "ééé");
        assert_eq!(brief(&"x".repeat(1 << 20), 5), "xxxxx…");
        assert_eq!(brief(&"\0".repeat(1 << 20), 5), "…");
    }

    #[test]
    fn messages_as_servers_write_them() {
        assert_eq!(error_text(r#"{"error":"Unauthorized"}"#), "Unauthorized");
        assert_eq!(error_text(r#"{"error":{"message":"a\nb","code":400}}"#), "a b");
        assert_eq!(error_text(r#"{"object":"error","message":"old"}"#), "old");
        assert_eq!(error_text(r#"{"detail":"Not Found"}"#), "Not Found");
        assert_eq!(error_text(r#"{"message":"\u001b[31mred\u001b[0m\u202e"}"#), "red");
        let details = r#"{"detail":[{"loc":["body","seed"],"msg":"Extra inputs","input":1},
            {"loc":["body","messages",0],"msg":"Missing"}]}"#;
        assert_eq!(error_text(details), "seed: Extra inputs; messages.0: Missing");
        assert_eq!(error_text(r#"{"error":null,"message":"why"}"#), "why");
        let code = r#"{"error":{"message":"no","code":"context_length_exceeded"}}"#;
        assert_eq!(error_text(code), "no (context_length_exceeded)");
        assert_eq!(error_text(r#"{"code":7}"#), r#"{"code":7}"#);
        assert_eq!(error_text("<html>\n"), "<html>");
        assert_eq!(error_text(""), "no message");
        assert_eq!(error_text(&"x".repeat(5000)).chars().count(), MAX_CHARS + 1);
    }
}
