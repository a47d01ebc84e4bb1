//! Reads one event of a stream: a chat or completion chunk. Fields that no figure needs
//! are skipped without being built. Chunks of another form than OpenAI's are read in
//! `loose`; the sequence of chunks is put together in `stream`.

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::calls::Piece;
use crate::client::record::Usage;
use crate::server::{error_message, is_told};

mod loose;

/// Tokens of a request at most that are believed: sums of many must stay numbers.
const MAX_TOKENS: u64 = 1 << 40;

/// One chunk, chat or completion. Absent and null are the same.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Chunk<'a> {
    /// A number is accepted, too.
    #[serde(borrow, default, deserialize_with = "raw_text")]
    id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "absent_or")]
    choices: Vec<Choice<'a>>,
    usage: Option<RawUsage>,
    /// An error object inside the stream.
    error: Option<Value>,
    /// Where the event itself is an error: older servers, and web frameworks.
    message: Option<Value>,
    detail: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Choice<'a> {
    /// Some servers name it as in an answer that is no stream.
    #[serde(borrow, default, alias = "message", deserialize_with = "absent_or")]
    delta: Delta<'a>,
    /// Completions carry their text here.
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    finish_reason: Text<'a>,
    /// Gateways write here what became of the server behind them.
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Text<'a>,
    #[serde(borrow, default)]
    reasoning: Text<'a>,
    #[serde(borrow, default)]
    reasoning_content: Text<'a>,
    #[serde(borrow, default, deserialize_with = "absent_or")]
    tool_calls: Vec<ToolDelta<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct ToolDelta<'a> {
    index: Option<u32>,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default, deserialize_with = "absent_or")]
    function: FunctionDelta<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct FunctionDelta<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    arguments: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct RawUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    completion_tokens_details: Option<CompletionDetails>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl<'a> Chunk<'a> {
    /// Reads an event. What no answer needs may have any form.
    ///
    /// # Errors
    /// No JSON, or a part that an answer needs has an unknown form.
    pub(crate) fn read(data: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(data).or_else(|error| loose::read(data).ok_or(error))
    }

    /// The server's identifier of the answer; empty where there is none.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The server's message, where the chunk is an error.
    pub(crate) fn error(&self) -> Option<String> {
        let choice = self.choices.first();
        let fields = [self.error.as_ref(), choice.and_then(|choice| choice.error.as_ref())];
        // Without an answer, the event itself may be one.
        let is_alone = self.choices.is_empty() && self.usage.is_none();
        let message = self.message.as_ref().filter(|text| is_alone && text.is_string());
        let detail = self.detail.as_ref().filter(|_| is_alone);
        let mut told = fields.into_iter().chain([message, detail]).flatten();
        let told = told.find(|value| is_told(value)).map(error_message);
        told.or_else(|| match self.finish_reason()? {
            reason @ ("error" | "abort") => Some(format!("the answer ended with `{reason}`")),
            _ => None,
        })
    }

    /// Whether it has nothing that is known.
    pub(crate) fn is_strange(&self) -> bool {
        self.choices.is_empty() && self.usage.is_none()
    }

    /// Token counts, where the server reports both: one that is missing is not 0, and one
    /// that no request can have is none.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let usage = self.usage.as_ref()?;
        let believed = |count: &u64| *count <= MAX_TOKENS;
        Some(Usage {
            prompt_tokens: usage.prompt_tokens.filter(believed)?,
            completion_tokens: usage.completion_tokens.filter(believed)?,
            reasoning_tokens: usage
                .completion_tokens_details
                .as_ref()
                .and_then(|details| details.reasoning_tokens)
                .filter(believed),
            cached_tokens: usage
                .prompt_tokens_details
                .as_ref()
                .and_then(|details| details.cached_tokens)
                .filter(believed),
        })
    }

    /// Text of the answer; chat and completion alike.
    pub(crate) fn content(&self) -> &str {
        self.choices.first().map_or("", |choice| {
            if choice.delta.content.0.is_empty() { &choice.text.0 } else { &choice.delta.content.0 }
        })
    }

    /// Text of thinking, under its new or old name.
    pub(crate) fn reasoning(&self) -> &str {
        self.choices.first().map_or("", |choice| {
            if choice.delta.reasoning.0.is_empty() {
                &choice.delta.reasoning_content.0
            } else {
                &choice.delta.reasoning.0
            }
        })
    }

    /// Pieces of tool calls.
    pub(crate) fn tools(&self) -> impl Iterator<Item = Piece<'_>> {
        self.choices.first().into_iter().flat_map(|choice| &choice.delta.tool_calls).map(|call| {
            Piece {
                index: call.index,
                id: &call.id.0,
                name: &call.function.name.0,
                arguments: &call.function.arguments.0,
            }
        })
    }

    pub(crate) fn finish_reason(&self) -> Option<&str> {
        self.choices.first().map(|choice| &*choice.finish_reason.0).filter(|text| !text.is_empty())
    }
}

/// A text that is borrowed from the chunk where it has no escapes; null is empty.
#[derive(Debug, Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or null")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(""))
            }
        }
        deserializer.deserialize_any(Visitor).map(Text)
    }
}

fn raw_text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    let raw = Option::<&'de RawValue>::deserialize(deserializer)?;
    Ok(raw.map_or(Cow::Borrowed(""), |raw| Cow::Borrowed(raw.get().trim_matches('"'))))
}

fn absent_or<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Which text of a chunk a [`Template`] surrounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKind {
    /// The answer.
    Content,
    /// Thinking.
    Reasoning,
}

/// The last chunk that contained nothing but text, with a gap where the text was.
///
/// Chunks of one stream differ in that text only, so most of them need no JSON
/// parser: the same bytes around a plain text mean the same chunk.
#[derive(Debug, Default)]
pub(crate) struct Template {
    around: Option<(TextKind, Vec<u8>, Vec<u8>)>,
}

impl Template {
    /// The text of `data`, if it differs from the last plain chunk in its text alone.
    pub(crate) fn text<'a>(&self, data: &'a [u8]) -> Option<(TextKind, &'a str)> {
        let (kind, before, after) = self.around.as_ref()?;
        let text = data.strip_prefix(&before[..])?.strip_suffix(&after[..])?;
        let plain =
            !text.is_empty() && text.iter().all(|b| *b >= 0x20 && *b != b'"' && *b != b'\\');
        if plain { std::str::from_utf8(text).ok().map(|text| (*kind, text)) } else { None }
    }

    /// Remembers `data` if `chunk`, which was read from it, carries nothing but text.
    pub(crate) fn learn(&mut self, data: &[u8], chunk: &Chunk<'_>) {
        if let Some(around) = Self::around(data, chunk) {
            self.around = Some(around);
        }
    }

    fn around(data: &[u8], chunk: &Chunk<'_>) -> Option<(TextKind, Vec<u8>, Vec<u8>)> {
        let [choice] = &chunk.choices[..] else { return None };
        let delta = &choice.delta;
        if chunk.usage.is_some()
            || chunk.error.is_some()
            || !choice.finish_reason.0.is_empty()
            || !delta.tool_calls.is_empty()
        {
            return None;
        }
        let texts = [
            (TextKind::Content, &b"\"content\""[..], &*delta.content.0),
            (TextKind::Content, b"\"text\"", &*choice.text.0),
            (TextKind::Reasoning, b"\"reasoning\"", &*delta.reasoning.0),
            (TextKind::Reasoning, b"\"reasoning_content\"", &*delta.reasoning_content.0),
        ];
        let mut carrying = texts.iter().filter(|(_, _, text)| !text.is_empty());
        let ((kind, key, text), None) = (carrying.next()?, carrying.next()) else { return None };
        // A quote inside a JSON text is escaped, so a single match is the key itself.
        let mut places = memmem::find_iter(data, key);
        let (start, None) = (places.next()? + key.len(), places.next()) else { return None };
        let head = start + 2;
        let tail = head + text.len();
        let fits = data.get(start..head)? == b":\""
            && data.get(head..tail)? == text.as_bytes()
            && data.get(tail) == Some(&b'"');
        fits.then(|| (*kind, data[..head].to_vec(), data[tail..].to_vec()))
    }
}
