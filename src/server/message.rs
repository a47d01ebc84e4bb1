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
    if text.is_empty() { "no message".to_owned() } else { brief(text, MAX_CHARS) }
}

/// A text from outside in one line of at most `characters`, without what acts on a terminal.
pub(crate) fn brief(text: &str, characters: usize) -> String {
    // Cleaning removes at most as much as it reads: a long text need not be read to its end.
    let read = text.len().min(characters.saturating_mul(16));
    let beginning = crate::clean::plain(&text[..text.floor_char_boundary(read)]);
    let mut line: String = beginning.chars().take(characters).collect();
    if read < text.len() || beginning.chars().nth(characters).is_some() {
        line.push('…');
    }
    line
}

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
        assert_eq!(error_text("<html>\n"), "<html>");
        assert_eq!(error_text(""), "no message");
        assert_eq!(error_text(&"x".repeat(5000)).chars().count(), MAX_CHARS + 1);
    }
}
