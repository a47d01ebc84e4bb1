//! Reads a dataset as a stream: of a large file only what users said, or the
//! chats, stay in memory. Errors have their place.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{DatasetError, Entry};
use crate::configuration::hexadecimal;
use crate::input;

/// Files beyond this are no prompts but a mistake.
const LARGEST: u64 = 2 << 30;
/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

/// Entries of a file, and its SHA-256.
pub(super) fn file(path: &Path) -> Result<(Vec<Entry>, String), DatasetError> {
    // A pipe could be read once only, and `plan` would wait for it.
    let file =
        input::open(path, LARGEST).map_err(|error| at_path(path, RowError::Io(error.into())))?;
    summed(file, path)
}

/// Entries of a file's content, and its SHA-256.
pub(super) fn content(content: &[u8], path: &Path) -> Result<(Vec<Entry>, String), DatasetError> {
    summed(content, path)
}

fn summed(source: impl Read, path: &Path) -> Result<(Vec<Entry>, String), DatasetError> {
    let mut reader = BufReader::with_capacity(PIECE, Summed { source, sum: Sha256::new() });
    let entries = entries(&mut reader).map_err(|error| at_path(path, error))?;
    Ok((entries, hexadecimal(&reader.into_inner().sum.finalize())))
}

fn at_path(path: &Path, error: RowError) -> DatasetError {
    match error {
        RowError::Io(error) => DatasetError::Read { path: path.to_owned(), error },
        RowError::Form { place, reason } => {
            DatasetError::Form { path: path.to_owned(), place, reason }
        }
    }
}

/// Sums up what is read.
struct Summed<R> {
    source: R,
    sum: Sha256,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.sum.update(&into[..count]);
        Ok(count)
    }
}

/// What is wrong with a file.
#[derive(Debug)]
enum RowError {
    Io(io::Error),
    Form { place: String, reason: String },
}

impl From<io::Error> for RowError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads to the end.
fn entries(source: &mut impl BufRead) -> Result<Vec<Entry>, RowError> {
    let head = source.fill_buf()?;
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        let reason = "the file is UTF-16: save it as UTF-8".to_owned();
        return Err(RowError::Form { place: "line 1".to_owned(), reason });
    }
    let mark = if head.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
    let first = head[mark..].iter().find(|byte| !byte.is_ascii_whitespace()).copied();
    source.consume(mark);
    if first == Some(b'[') { list(source) } else { lines(source) }
}

/// JSON lines.
fn lines(source: &mut impl BufRead) -> Result<Vec<Entry>, RowError> {
    let mut entries = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if source.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let form = |reason| RowError::Form { place: format!("line {number}"), reason };
        let given: Given = serde_json::from_slice(&line).map_err(|error| form(message(&error)))?;
        entries.extend(entry(given).map_err(form)?);
    }
    Ok(entries)
}

/// One JSON list.
fn list(source: &mut impl BufRead) -> Result<Vec<Entry>, RowError> {
    let mut list = List::default();
    let mut reader = serde_json::Deserializer::from_reader(source);
    let read = reader.deserialize_seq(&mut list).and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(list.entries),
        Err(error) if error.is_io() => Err(RowError::Io(error.into())),
        Err(error) => {
            let place = if error.is_data() {
                format!("entry {}", list.begun)
            } else {
                format!("line {}, column {}", error.line(), error.column())
            };
            Err(RowError::Form { place, reason: message(&error) })
        }
    }
}

/// The library's message without the position that it appends.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Takes a list's entries one by one.
#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    /// Number of the entry that is being read, from 1.
    begun: usize,
}

impl<'de> Visitor<'de> for &mut List {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.begun = 1;
        while let Some(given) = access.next_element()? {
            self.entries.extend(entry(given).map_err(de::Error::custom)?);
            self.begun += 1;
        }
        Ok(())
    }
}

/// An entry as it is in the file; other keys are passed over.
#[derive(Deserialize)]
#[serde(expecting = "an entry with `prompt`, `messages` or `conversations`")]
struct Given {
    prompt: Option<Box<RawValue>>,
    messages: Option<Box<RawValue>>,
    conversations: Option<Box<RawValue>>,
    conversation: Option<Box<RawValue>>,
}

/// What users say in an entry; `None` where they say nothing.
fn entry(given: Given) -> Result<Option<Entry>, String> {
    if let Some(prompt) = given.prompt {
        let text: String =
            serde_json::from_str(prompt.get()).map_err(|_| "`prompt` is no text".to_owned())?;
        return Ok(of_texts(vec![text]));
    }
    if let Some(list) = given.messages {
        return of_messages(&list, true);
    }
    let list = given.conversations.or(given.conversation);
    of_messages(&list.ok_or("neither `prompt` nor `messages` nor `conversations`")?, false)
}

fn of_texts(texts: Vec<String>) -> Option<Entry> {
    let said = texts.into_iter().filter(|text| !text.trim().is_empty());
    let said: Vec<Box<str>> = said.map(String::into_boxed_str).collect();
    (!said.is_empty()).then_some(Entry::Said(said))
}

/// A chat where every message has a `role`; else what users say alone, as in ShareGPT.
fn of_messages(list: &RawValue, may_be_chat: bool) -> Result<Option<Entry>, String> {
    let list: Vec<&RawValue> =
        serde_json::from_str(list.get()).map_err(|_| "the messages are no list".to_owned())?;
    let mut texts = Vec::new();
    let (mut is_chat, mut bytes) = (may_be_chat, 0);
    // Messages up to the last one of a user, and the bytes of text in them.
    let mut sent = (0, 0);
    for (at, raw) in list.iter().enumerate() {
        let message: Value =
            serde_json::from_str(raw.get()).map_err(|error| self::message(&error))?;
        let (role, text) = (role_of(&message), text_of(&message));
        let role = role.ok_or("a message has neither `role` nor `from`")?;
        is_chat &= message.get("role").is_some();
        bytes += text.as_ref().map_or(0, |text| text.len());
        if is_user(role) {
            let text = text.ok_or("a message has no text in `content` or `value`")?;
            if !text.trim().is_empty() {
                texts.push(text.into_owned());
                sent = (at + 1, bytes);
            }
        }
    }
    if !is_chat || texts.is_empty() {
        return Ok(of_texts(texts));
    }
    let json: Vec<&str> = list[..sent.0].iter().map(|raw| raw.get()).collect();
    let json = format!("[{}]", json.join(",")).into_boxed_str();
    let said = texts.iter().map(|text| u32::try_from(text.len()).unwrap_or(u32::MAX)).collect();
    Ok(Some(Entry::Chat { json, said, bytes: sent.1 }))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Entry>, (String, String)> {
        entries(&mut text.as_bytes()).map_err(|error| match error {
            RowError::Form { place, reason } => (place, reason),
            RowError::Io(error) => panic!("{error}"),
        })
    }

    fn texts(some: &[&str]) -> Entry {
        Entry::Said(some.iter().map(|text| (*text).into()).collect())
    }

    #[test]
    fn every_form_gives_what_users_said() {
        let share = r#"[
            {"id": "a", "conversations": [
                {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"},
                {"from": "human", "value": "Et l’été ?"}]},
            {"id": "b", "conversations": [{"from": "gpt", "value": "Alone"}]},
            {"items": 1, "prompt": null, "conversation": [{"role": "user", "content": "Yes"}]}]"#;
        assert_eq!(parse(share), Ok(vec![texts(&["Hi", "Et l’été ?"]), texts(&["Yes"])]));
        let lines = "\u{feff}\r\n{\"prompt\": \"Été\"}\r\n\r\n{\"prompt\": \" \"}\n\
            {\"messages\": [{\"from\": \"human\", \"value\": \"Two\"}]}";
        assert_eq!(parse(lines), Ok(vec![texts(&["Été"]), texts(&["Two"])]));
        assert_eq!(parse(" \n [] \n"), Ok(vec![]));
    }

    #[test]
    fn a_chat_is_kept_as_it_stands_up_to_its_last_user() {
        let system = r#"{"role": "system", "content": "Sois bref."}"#;
        let parts = r#"{"content": [{"type": "text", "text": "One"}, {"type": "image_url"},
            {"type": "text", "text": " two"}], "role": "user"}"#;
        let called = r#"{"role": "assistant", "content": null, "tool_calls": [{"id": "x"}]}"#;
        let end = r#"{"role": "assistant", "content": "unsent"}"#;
        let line = format!(r#"{{"messages": [{system}, {called}, {parts}, {end}]}}"#);
        let list = parse(&format!("[{line}]")).expect("a chat");
        let json = format!("[{system},{called},{parts}]").into_boxed_str();
        assert_eq!(list, [Entry::Chat { json: json.clone(), said: Box::new([7]), bytes: 10 + 7 }]);
        assert_eq!(said(&messages(&json)), ["One two"]);
        assert_eq!(parse(&line.replace('\n', " ")).expect("a line").len(), 1);
    }

    #[test]
    fn errors_have_their_place() {
        let error = |text: &str, place: &str, reason: &str| {
            let refused = parse(text).expect_err("no dataset");
            assert_eq!((refused.0.as_str(), refused.1.as_str()), (place, reason), "{text}");
        };
        let neither = "neither `prompt` nor `messages` nor `conversations`";
        error("{\"prompt\": \"a\"}\n{\"text\": \"b\"}", "line 2", neither);
        error("[{\"prompt\": \"a\"}, {\"prompt\": 3}]", "entry 2", "`prompt` is no text");
        error("{\"prompt\": \"a\"}\r\n\r\n{broken", "line 3", "key must be a string");
        error("[\n{\"prompt\": \"a\"},\n]", "line 3, column 1", "trailing comma");
        error("[{\"prompt\": \"a\"}", "line 1, column 16", "EOF while parsing a list");
        error("[{\"prompt\": \"a\"}] x", "line 1, column 19", "trailing characters");
        let role = "a message has neither `role` nor `from`";
        error("{\"messages\": [{\"content\": \"x\"}]}", "line 1", role);
        error("{\"messages\": {}}", "line 1", "the messages are no list");
        let text = "a message has no text in `content` or `value`";
        error("[{\"conversations\": [{\"from\": \"human\"}]}]", "entry 1", text);
        error(
            "[\"a\"]",
            "entry 1",
            "invalid type: string \"a\", expected an entry with `prompt`, `messages` or `conversations`",
        );
        let wide = [0xff, 0xfe, b'{', 0];
        let error = entries(&mut &wide[..]).expect_err("UTF-16");
        assert!(matches!(error, RowError::Form { reason, .. } if reason.contains("UTF-8")));
    }
}
