//! A pseudo-tokeniser: equal prefixes of text give equal prefixes of tokens, at
//! about four characters a token, so that prefix caching behaves as
//! with a real vocabulary. The only chat template is Qwen's.

use serde::Deserialize;
use serde_json::Value;

/// Letters of one piece at most; longer words are several tokens.
const PIECE_LETTERS: usize = 6;

/// Special tokens get ids that no text has: the top bit is set.
const IM_START: u32 = 0x8000_0001;
const IM_END: u32 = 0x8000_0002;
const THINK: u32 = 0x8000_0003;
const END_THINK: u32 = 0x8000_0004;

/// One message of a chat.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// Text, or a list of parts of which those with `text` count.
    #[serde(default)]
    pub content: Value,
    /// Calls that an assistant made.
    #[serde(default)]
    pub tool_calls: Option<Value>,
}

impl Message {
    /// Its text, that of its parts in one.
    pub fn text(&self) -> String {
        match &self.content {
            Value::Array(parts) => {
                parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()
            }
            content => content.as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Whether it has this word, which is in lower case.
    pub fn has_word(&self, word: &str) -> bool {
        let text = self.text();
        let mut words = text.split(|letter: char| !letter.is_alphanumeric());
        words.any(|found| found.to_lowercase() == word)
    }
}

/// The tokens of a text: runs of up to six letters with the space before them,
/// single digits, runs of white space, single other characters.
pub fn tokenize(text: &str) -> Vec<u32> {
    let mut tokens = Vec::with_capacity(text.len() / 4 + 1);
    tokens.extend(pieces(text).map(piece_id));
    tokens
}

/// The pieces of a text, a token each.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let length = Some(piece_length(rest)).filter(|length| *length > 0)?;
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(piece)
    })
}

/// The id of one piece: FNV-1a, the top bit left to special tokens.
pub fn piece_id(piece: &str) -> u32 {
    let hash = piece
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash & 0x7fff_ffff
}

fn piece_length(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    let Some((_, first)) = characters.next() else { return 0 };
    let second = characters.peek().map(|(_, character)| *character);
    if first.is_alphabetic() {
        return letters_end(text, 0);
    }
    if first == ' ' && second.is_some_and(char::is_alphabetic) {
        return letters_end(text, 1);
    }
    if first.is_whitespace() {
        // A run of white space, but the space before a word belongs to the word.
        let run = text.len() - text.trim_start().len();
        let word_follows = text[run..].starts_with(char::is_alphabetic);
        let own_space = run > 1 && word_follows && text[..run].ends_with(' ');
        return if own_space { run - 1 } else { run };
    }
    first.len_utf8()
}

fn letters_end(text: &str, from: usize) -> usize {
    text[from..]
        .char_indices()
        .take_while(|(_, character)| character.is_alphabetic())
        .take(PIECE_LETTERS)
        .last()
        .map_or(from, |(index, character)| from + index + character.len_utf8())
}

/// The prompt of a chat after Qwen's template, open for the assistant's answer.
pub fn chat(messages: &[Message], tools: Option<&Value>, thinking: bool) -> Vec<u32> {
    let mut tokens = Vec::new();
    let newline = piece_id("\n");
    let mut rest = messages;
    if let Some(tools) = tools {
        // Tools are listed in the system message, which is made where there is none.
        tokens.extend([IM_START, piece_id("system"), newline]);
        if let Some((first, others)) = messages.split_first().filter(|(m, _)| m.role == "system") {
            push_text(&mut tokens, &first.content);
            tokens.push(newline);
            rest = others;
        }
        tokens.extend(tokenize("# Tools\n\nYou may call one or more functions.\n\n<tools>"));
        tokens.extend(tokenize(&tools.to_string()));
        tokens.extend(tokenize("</tools>"));
        tokens.extend([IM_END, newline]);
    }
    for message in rest {
        tokens.extend([IM_START, piece_id(&message.role), newline]);
        push_text(&mut tokens, &message.content);
        if let Some(calls) = &message.tool_calls {
            tokens.extend(tokenize(&calls.to_string()));
        }
        tokens.extend([IM_END, newline]);
    }
    tokens.extend([IM_START, piece_id("assistant"), newline]);
    if !thinking {
        tokens.extend([THINK, piece_id("\n\n"), END_THINK, piece_id("\n\n")]);
    }
    tokens
}

fn push_text(tokens: &mut Vec<u32>, content: &Value) {
    match content {
        Value::String(text) => tokens.extend(tokenize(text)),
        Value::Array(parts) => {
            for part in parts {
                if let Some(text) = part.get("text").and_then(Value::as_str) {
                    tokens.extend(tokenize(text));
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: json!(content), tool_calls: None }
    }

    #[test]
    fn english_takes_about_four_characters_a_token() {
        let text = "The quick brown fox jumps over the lazy dog, and nobody was surprised: \
                    it had been announced in the newspapers of the whole country since 1987.";
        let ratio = text.len() as f64 / tokenize(text).len() as f64;
        assert!((3.5..5.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_longer_chat_starts_with_the_tokens_of_the_shorter_one() {
        let first = [message("system", "Be brief."), message("user", "Count to three")];
        let mut second = first.to_vec();
        second.push(message("assistant", "one two three"));
        second.push(message("user", "Again"));
        let (short, long) = (chat(&first, None, true), chat(&second, None, true));
        assert_eq!(long[..short.len()], short[..]);
    }

    #[test]
    fn switching_thinking_off_costs_four_tokens_and_tools_cost_theirs() {
        let messages = [message("user", "Hello")];
        let plain = chat(&messages, None, true).len();
        assert_eq!(plain, 3 + 1 + 2 + 3, "opening, text, end, opening of the answer");
        assert_eq!(chat(&messages, None, false).len(), plain + 4);
        let tools = json!([{"type": "function", "function": {"name": "weather"}}]);
        assert!(chat(&messages, Some(&tools), true).len() > plain + 20);
    }

    proptest! {
        /// Nothing is lost or invented, whatever the text.
        #[test]
        fn pieces_cover_the_text(text in "\\PC*[ \n]{0,3}\\PC*") {
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let length = piece_length(rest);
                prop_assert!(length > 0);
                rest = &rest[length..];
            }
        }
    }
}
