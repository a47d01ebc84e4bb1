//! Reads one row of a dataset: what users say in it, or why it cannot be sent. Rows with
//! pictures, sound or video are none: no workload sends or measures them, and a text model
//! refuses each of them. Whole files are read in `read`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Entry;

/// Why a row cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Its text is damaged, or no UTF-8.
    Characters,
    /// No user says anything.
    Silent,
    /// It has more than text.
    Media,
    /// It has another form.
    Form(String),
}

/// A row as it is in the file; other keys are passed over.
#[derive(Deserialize)]
#[serde(expecting = "an entry with `prompt`, `messages` or `conversations`")]
struct Given {
    prompt: Option<Box<RawValue>>,
    messages: Option<Box<RawValue>>,
    conversations: Option<Box<RawValue>>,
    conversation: Option<Box<RawValue>>,
    image: Option<Box<RawValue>>,
    images: Option<Box<RawValue>>,
    video: Option<Box<RawValue>>,
    videos: Option<Box<RawValue>>,
    audio: Option<Box<RawValue>>,
    audios: Option<Box<RawValue>>,
}

impl Given {
    /// Whether it names a picture or the like beside its texts.
    fn has_media(&self) -> bool {
        let fields =
            [&self.image, &self.images, &self.video, &self.videos, &self.audio, &self.audios];
        let is_told = |value: &RawValue| !["[]", "\"\"", "{}", "false"].contains(&value.get());
        fields.into_iter().flatten().any(|value| is_told(value))
    }
}

/// What users say in a row.
pub(super) fn entry(row: &[u8]) -> Result<Entry, Unusable> {
    if std::str::from_utf8(row).is_err() {
        return Err(Unusable::Characters);
    }
    let given: Given = serde_json::from_slice(row).map_err(|error| unreadable(&error))?;
    let has_media = given.has_media();
    let entry = of_given(given)?;
    // What it says is damaged before it is without its picture.
    if has_media { Err(Unusable::Media) } else { Ok(entry) }
}

fn of_given(given: Given) -> Result<Entry, Unusable> {
    if let Some(prompt) = given.prompt {
        return match value(&prompt)? {
            Value::String(text) => of_texts(vec![text]),
            _ => Err(form("`prompt` is no text")),
        };
    }
    if let Some(list) = given.messages {
        return of_messages(&list, true);
    }
    let list = given.conversations.or(given.conversation);
    let list = list.ok_or_else(|| form("neither `prompt` nor `messages` nor `conversations`"))?;
    of_messages(&list, false)
}

fn form(reason: &str) -> Unusable {
    Unusable::Form(reason.to_owned())
}

/// What a JSON error shows, without the position that the library appends.
fn unreadable(error: &serde_json::Error) -> Unusable {
    let text = error.to_string();
    // Half of a character of two.
    if ["surrogate", "hex escape", "unicode"].iter().any(|word| text.contains(word)) {
        return Unusable::Characters;
    }
    Unusable::Form(match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    })
}

fn value(raw: &RawValue) -> Result<Value, Unusable> {
    serde_json::from_str(raw.get()).map_err(|error| unreadable(&error))
}

fn of_texts(texts: Vec<String>) -> Result<Entry, Unusable> {
    if texts.iter().any(|text| text.contains(char::REPLACEMENT_CHARACTER)) {
        return Err(Unusable::Characters);
    }
    if texts.iter().any(|text| has_placeholder(text)) {
        return Err(Unusable::Media);
    }
    let said = texts.into_iter().filter(|text| !text.trim().is_empty());
    let said: Vec<Box<str>> = said.map(String::into_boxed_str).collect();
    if said.is_empty() { Err(Unusable::Silent) } else { Ok(Entry::Said(said)) }
}

/// Whether a text begins or ends with the word that stands for a picture, as rows for
/// vision models have it.
fn has_placeholder(text: &str) -> bool {
    let text = text.trim();
    let words = ["<image>", "<video>", "<audio>"];
    words.iter().any(|word| text.starts_with(word) || text.ends_with(word))
}

/// A chat where every message has a `role`; else what users say alone, as in ShareGPT.
fn of_messages(list: &RawValue, may_be_chat: bool) -> Result<Entry, Unusable> {
    let list: Vec<&RawValue> =
        serde_json::from_str(list.get()).map_err(|_| form("the messages are no list"))?;
    let mut texts = Vec::new();
    let (mut is_chat, mut bytes) = (may_be_chat, 0);
    // Messages up to the last one of a user, and the bytes of text in them; whether they
    // have more than text.
    let (mut sent, mut has_media, mut media_sent) = ((0, 0), false, false);
    for (at, raw) in list.iter().enumerate() {
        let message = value(raw)?;
        let (role, text) = (role_of(&message), text_of(&message));
        let role = role.ok_or_else(|| form("a message has neither `role` nor `from`"))?;
        is_chat &= message.get("role").is_some();
        bytes += text.as_ref().map_or(0, |text| text.len());
        has_media |= is_media(&message);
        if is_user(role) {
            // A picture alone is no text, and no error.
            let text = text.or_else(|| is_media(&message).then_some(Cow::Borrowed("")));
            let text = text.ok_or_else(|| form("a message has no text in `content` or `value`"))?;
            media_sent |= has_media;
            if !text.trim().is_empty() {
                texts.push(text.into_owned());
                sent = (at + 1, bytes);
            }
        }
    }
    if media_sent {
        return Err(Unusable::Media);
    }
    let said = texts.iter().map(|text| u32::try_from(text.len()).unwrap_or(u32::MAX)).collect();
    let entry = of_texts(texts)?;
    if !is_chat {
        return Ok(entry);
    }
    let json: Vec<&str> = list[..sent.0].iter().map(|raw| raw.get()).collect();
    let json = format!("[{}]", json.join(",")).into_boxed_str();
    Ok(Entry::Chat { json, said, bytes: sent.1 })
}

/// Whether a part of a message is a picture, sound or video.
fn is_media(message: &Value) -> bool {
    let parts = field(message, ["content", "value"]).and_then(Value::as_array);
    parts.into_iter().flatten().any(|part| {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        let media = ["image", "audio", "video", "file"];
        media.iter().any(|word| kind.contains(word) || part.get(word).is_some())
    })
}

fn field<'a>(message: &'a Value, names: [&str; 2]) -> Option<&'a Value> {
    names.iter().find_map(|name| message.get(name).filter(|value| !value.is_null()))
}

fn role_of(message: &Value) -> Option<&str> {
    field(message, ["role", "from"])?.as_str()
}

fn is_user(role: &str) -> bool {
    ["user", "human"].contains(&role)
}

/// The text of a message, its parts put together.
fn text_of(message: &Value) -> Option<Cow<'_, str>> {
    match field(message, ["content", "value"])? {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part.get("text")?.as_str()).collect())
        }
        _ => None,
    }
}

/// The messages of a chat that was read.
pub(super) fn messages(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap_or_default()
}

/// What users say in a chat that was read.
pub(super) fn said(messages: &[Value]) -> Vec<String> {
    let users = messages.iter().filter(|message| role_of(message).is_some_and(is_user));
    let texts = users.filter_map(text_of).map(Cow::into_owned);
    texts.filter(|text| !text.trim().is_empty()).collect()
}
