//! The message in an error that a server answers with: an object with
//! `message`, or a text, as vLLM writes both.

use serde_json::Value;

/// Long enough for any message; a longer body is cut.
const MAX_CHARS: usize = 1000;

/// The message of an error object, in one line.
pub(crate) fn error_message(error: &Value) -> String {
    let inner = error.get("error").unwrap_or(error);
    let text = inner.as_str().or_else(|| {
        ["message", "detail"].iter().find_map(|key| inner.get(key).and_then(Value::as_str))
    });
    text.map_or_else(|| line(&inner.to_string()), line)
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
    if text.is_empty() {
        return "no message".to_owned();
    }
    let text = crate::clean::plain(text);
    let mut line: String = text.chars().take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_as_servers_write_them() {
        assert_eq!(error_text(r#"{"error":"Unauthorized"}"#), "Unauthorized");
        assert_eq!(error_text(r#"{"error":{"message":"a\nb","code":400}}"#), "a b");
        assert_eq!(error_text(r#"{"object":"error","message":"old"}"#), "old");
        assert_eq!(error_text(r#"{"detail":"Not Found"}"#), "Not Found");
        assert_eq!(error_text(r#"{"message":"\u001b[31mred\u001b[0m\u202e"}"#), "red");
        assert_eq!(error_text("<html>\n"), "<html>");
        assert_eq!(error_text(""), "no message");
        assert_eq!(error_text(&"x".repeat(5000)).chars().count(), MAX_CHARS + 1);
    }
}
