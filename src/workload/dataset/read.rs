//! Reads a dataset as a stream: of a large file only what users said, or the chats, stay
//! in memory. A row that cannot be used is passed over and counted: one broken line does not
//! end a file. What a row says is read in `row`.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::row::{self, Unusable};
use super::{DatasetError, Entry, LeftOut};
use crate::configuration::hexadecimal;
use crate::input;

/// Files beyond this are no prompts but a mistake.
const LARGEST: u64 = 2 << 30;
/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

/// What a file has.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) entries: Vec<Entry>,
    pub(super) left_out: LeftOut,
    /// SHA-256 of the file.
    pub(super) sha256: String,
}

impl Rows {
    /// Takes a row that stands at a place.
    fn take(&mut self, row: &[u8], place: impl Fn() -> String) {
        match row::entry(row) {
            Ok(entry) => self.entries.push(entry),
            Err(why) => self.left_out.add(why, place),
        }
    }
}

/// Reads a file.
pub(super) fn file(path: &Path) -> Result<Rows, DatasetError> {
    // A pipe could be read once only, and `plan` would wait for it.
    let file =
        input::open(path, LARGEST).map_err(|error| at_path(path, RowError::Io(error.into())))?;
    summed(file, path)
}

/// Reads a file's content.
pub(super) fn content(content: &[u8], path: &Path) -> Result<Rows, DatasetError> {
    summed(content, path)
}

fn summed(source: impl Read, path: &Path) -> Result<Rows, DatasetError> {
    let mut reader = BufReader::with_capacity(PIECE, Summed { source, sum: Sha256::new() });
    let rows = rows(&mut reader).map_err(|error| at_path(path, error))?;
    Ok(Rows { sha256: hexadecimal(&reader.into_inner().sum.finalize()), ..rows })
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

/// What is wrong with a file as a whole.
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
fn rows(source: &mut impl BufRead) -> Result<Rows, RowError> {
    let head = source.fill_buf()?;
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        let reason = "the file is UTF-16: save it as UTF-8".to_owned();
        return Err(RowError::Form { place: "line 1".to_owned(), reason });
    }
    let mark = if head.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
    let first = head[mark..].iter().find(|byte| !byte.is_ascii_whitespace()).copied();
    source.consume(mark);
    Ok(if first == Some(b'[') { list(source)? } else { lines(source)? })
}

/// JSON lines.
fn lines(source: &mut impl BufRead) -> io::Result<Rows> {
    let mut rows = Rows::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if source.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if !line.trim_ascii().is_empty() {
            rows.take(&line, || format!("line {number}"));
        }
    }
    Ok(rows)
}

/// One JSON list: its elements are told apart by their brackets, and each is read by itself.
fn list(source: &mut impl BufRead) -> io::Result<Rows> {
    let mut rows = Rows::default();
    let mut elements = Elements::default();
    loop {
        let piece = source.fill_buf()?;
        let length = piece.len();
        if length == 0 {
            break;
        }
        for byte in piece {
            if elements.take(*byte) {
                elements.finish(&mut rows);
            }
        }
        source.consume(length);
    }
    if elements.part != Part::Behind {
        let why = Unusable::Form("the list does not end".to_owned());
        rows.left_out.add(why, || "the end".to_owned());
        elements.finish(&mut rows);
    }
    Ok(rows)
}

/// Where in a list a byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Before,
    Inside,
    Behind,
}

/// The element of a list that is being read.
#[derive(Debug, Default)]
struct Elements {
    part: Part,
    element: Vec<u8>,
    /// Elements so far, empty ones among them.
    number: usize,
    depth: u32,
    in_text: bool,
    is_escaped: bool,
}

impl Elements {
    /// Takes a byte; true where it ends an element.
    fn take(&mut self, byte: u8) -> bool {
        match self.part {
            Part::Before => {
                // Only white space stands before the list.
                if byte == b'[' {
                    self.part = Part::Inside;
                }
                return false;
            }
            Part::Behind => return false,
            Part::Inside => {}
        }
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = self.in_text,
            b'"' => self.in_text = !self.in_text,
            _ if self.in_text => {}
            b'{' | b'[' => self.depth += 1,
            b']' if self.depth == 0 => {
                self.part = Part::Behind;
                return true;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' if self.depth == 0 => return true,
            _ => {}
        }
        self.element.push(byte);
        false
    }

    /// The element is over. Nothing between two commas is none.
    fn finish(&mut self, rows: &mut Rows) {
        self.number += 1;
        if !self.element.trim_ascii().is_empty() {
            let number = self.number;
            rows.take(&self.element, || format!("entry {number}"));
        }
        self.element.clear();
        (self.depth, self.in_text, self.is_escaped) = (0, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{messages, said};
    use super::*;

    fn parse(text: &str) -> Rows {
        rows(&mut text.as_bytes()).expect("a file")
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
        assert_eq!(parse(share).entries, vec![texts(&["Hi", "Et l’été ?"]), texts(&["Yes"])]);
        let lines = "\u{feff}\r\n{\"prompt\": \"Été\"}\r\n\r\n{\"prompt\": \" \"}\n\
            {\"messages\": [{\"from\": \"human\", \"value\": \"Two\"}]}";
        assert_eq!(parse(lines).entries, vec![texts(&["Été"]), texts(&["Two"])]);
        let none = parse(" \n [] \n");
        assert_eq!((none.entries, none.left_out), (vec![], LeftOut::default()));
    }

    #[test]
    fn a_chat_is_kept_as_it_stands_up_to_its_last_user() {
        let system = r#"{"role": "system", "content": "Sois bref."}"#;
        let parts = r#"{"content": [{"type": "text", "text": "One"}, {"type": "refusal"},
            {"type": "text", "text": " two"}], "role": "user"}"#;
        let called = r#"{"role": "assistant", "content": null, "tool_calls": [{"id": "x"}]}"#;
        let end = r#"{"role": "assistant", "content": "unsent"}"#;
        let line = format!(r#"{{"messages": [{system}, {called}, {parts}, {end}]}}"#);
        let list = parse(&format!("[{line}]")).entries;
        let json = format!("[{system},{called},{parts}]").into_boxed_str();
        assert_eq!(list, [Entry::Chat { json: json.clone(), said: Box::new([7]), bytes: 10 + 7 }]);
        assert_eq!(said(&messages(&json)), ["One two"]);
        assert_eq!(parse(&line.replace('\n', " ")).entries.len(), 1);
    }

    #[test]
    fn a_row_that_cannot_be_used_is_passed_over_with_its_place() {
        let of = |text: &[u8], expected: &str| {
            let rows = rows(&mut &text[..]).expect("a file");
            assert_eq!(rows.entries, vec![texts(&["a"])], "{}", text.escape_ascii());
            let said = rows.left_out.to_string();
            assert!(said.contains(expected), "{said}: {expected}");
        };
        let good = r#"{"prompt": "a"}"#;
        let neither = "neither `prompt` nor `messages` nor `conversations`";
        let line = |bad: &str, expected: &str| {
            of(format!("{good}\r\n\r\n{bad}\n").as_bytes(), &format!("line 3: {expected}"));
            of(format!("[{bad},\n {good}]").as_bytes(), &format!("entry 1: {expected}"));
        };
        line(r#"{"text": "b"}"#, neither);
        line("null", "invalid type: null, expected an entry");
        line(r#""a""#, "invalid type: string \"a\", expected an entry");
        line(r#"{"prompt": 3}"#, "`prompt` is no text");
        line(r#"{"prompt": null}"#, neither);
        line(r#"{"messages": {}}"#, "the messages are no list");
        line(r#"{"messages": [{"content": "x"}]}"#, "a message has neither `role` nor `from`");
        let text = "a message has no text in `content` or `value`";
        line(r#"{"conversations": [{"from": "human", "value": null}]}"#, text);
        line("{broken}", "key must be a string");
        // A list that is cut, or goes on behind its end, has what stands in it.
        of(b"[{\"prompt\": \"a\"}, {\"prompt\": \"b", "the list does not end");
        of(b"[{\"prompt\": \"a\"}", "the list does not end");
        assert_eq!(parse("[{\"prompt\": \"a\"},\n] x").entries, vec![texts(&["a"])]);
        let wide = [0xff, 0xfe, b'{', 0];
        let error = rows(&mut &wide[..]).expect_err("UTF-16");
        assert!(matches!(error, RowError::Form { reason, .. } if reason.contains("UTF-8")));
    }

    #[test]
    fn broken_characters_pictures_and_silence_are_counted_by_kind() {
        let mut text = br#"{"prompt": "a"}
{"prompt": "caf\ud83d"}
{"prompt": "caf\ufffd"}
{"prompt": "  "}
{"conversations": [{"from": "gpt", "value": "Alone"}]}
{"image": "p/0.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}]}
{"conversations": [{"from": "human", "value": "<image>\nWhat is it?"}]}
{"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "x"}}]}]}
{"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}, {"type": "text", "text": "What?"}]}]}
"#
        .to_vec();
        text.extend_from_slice(b"{\"prompt\": \"caf\xe9\"}\n");
        let rows = rows(&mut &text[..]).expect("a file");
        assert_eq!(rows.entries.len(), 1);
        assert_eq!(
            rows.left_out.to_string(),
            "3 with broken characters (the first: line 2), 2 without a text of a user (the \
             first: line 4), 4 with pictures, sound or video (the first: line 6)"
        );
        // What is not sent does no harm.
        let kept = r#"{"image": null, "images": [], "messages": [{"role": "user", "content": "Draw <image> tags"},
            {"role": "assistant", "content": [{"type": "image_url"}]}]}"#;
        assert_eq!(parse(&kept.replace('\n', " ")).entries.len(), 1);
    }
}
