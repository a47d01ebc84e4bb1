//! The text of a journal: how a line is written, and what the bytes of a file
//! come to, also after a crash. An end that was never whole is told apart from
//! a whole last line that is damaged. Files are opened elsewhere.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Entry, JournalError, Line};
use crate::metric::Measurement;

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    checksum: String,
    #[serde(borrow)]
    line: &'a RawValue,
}

/// The line of a repeat: nearly all of a long journal. An [`Entry`] is found by its `kind`, for
/// which its whole text is copied first.
#[derive(Deserialize)]
struct RepeatLine {
    sequence: u64,
    at: jiff::Timestamp,
    #[serde(default)]
    elapsed_ms: Option<u64>,
    #[serde(default)]
    happened_at: Option<jiff::Timestamp>,
    entry: Repeat,
}

#[derive(Deserialize)]
struct Repeat {
    #[serde(rename = "kind")]
    _kind: RepeatKind,
    launch: u32,
    measurement: Measurement,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RepeatKind {
    RepeatFinished,
}

impl From<RepeatLine> for Line {
    fn from(line: RepeatLine) -> Self {
        let RepeatLine { sequence, at, elapsed_ms, happened_at, entry } = line;
        let Repeat { launch, measurement, .. } = entry;
        let entry = Entry::RepeatFinished { launch, measurement };
        Self { sequence, at, elapsed_ms, happened_at, entry }
    }
}

/// A journal as it was read: who writes it afterwards need not parse it again.
#[derive(Clone, Debug)]
pub struct Seen {
    bytes: Vec<u8>,
    contents: Contents,
}

impl Seen {
    /// The lines that are intact.
    pub fn lines(&self) -> &[Line] {
        &self.contents.lines
    }

    /// What the bytes come to.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    pub(super) fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, JournalError> {
        let contents = parse(path, &bytes)?;
        Ok(Self { bytes, contents })
    }

    /// What the bytes come to that are there now: only what is new is parsed, where the others
    /// are what they were.
    pub(super) fn now(self, path: &Path, bytes: &[u8]) -> Result<Contents, JournalError> {
        let Self { bytes: before, contents: Contents { lines, intact, tail } } = self;
        // The line end that is missing there may have come since.
        let goes_on = tail != Tail::Unended && bytes.get(..intact) == before.get(..intact);
        if goes_on { parse_from(path, bytes, lines, intact) } else { parse(path, bytes) }
    }
}

/// What the bytes of a journal come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The lines that are intact.
    pub lines: Vec<Line>,
    /// Bytes that they fill, from the beginning.
    pub intact: usize,
    /// What follows them.
    pub tail: Tail,
}

/// What follows the intact lines of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Nothing,
    /// Nothing, but the end of the last line is missing: the line itself is intact.
    Unended,
    /// Lines without content, as an editor or a copy leaves them.
    Blank,
    /// A line that was never whole on the disk: nothing had been done yet that it says.
    Torn,
    /// One line that was whole, and is damaged.
    Damaged {
        /// What is wrong with it.
        what: String,
    },
}

impl Contents {
    /// What a person should know who only reads the journal at `path`.
    pub fn note(&self, path: &Path) -> Option<String> {
        match &self.tail {
            Tail::Nothing | Tail::Unended => None,
            Tail::Blank => Some(blank(path, "left out")),
            Tail::Torn => Some(torn(path, "left out")),
            Tail::Damaged { what } => Some(format!(
                "the last line of {}, line {}, is damaged ({what}): it is left out",
                path.display(),
                self.lines.len() + 1,
            )),
        }
    }
}

/// What is said of a line that was never whole.
pub(super) fn torn(path: &Path, done: &str) -> String {
    format!(
        "the last line of {} is incomplete: it is {done}; the lines before it are intact",
        path.display()
    )
}

/// What is said of blank lines at the end.
pub(super) fn blank(path: &Path, done: &str) -> String {
    format!(
        "{} ends in blank lines, as an editor or a copy leaves them: they are {done}; nothing is lost",
        path.display()
    )
}

/// Digits of a checksum.
const SEAL: usize = 16;

pub(super) fn checksum(text: &str) -> String {
    crate::configuration::hexadecimal(&Sha256::digest(text.as_bytes())[..SEAL / 2])
}

pub(super) fn encode(line: &Line) -> serde_json::Result<String> {
    let body = serde_json::value::to_raw_value(line)?;
    let envelope = Envelope { checksum: checksum(body.get()), line: &body };
    Ok(serde_json::to_string(&envelope)? + "\n")
}

/// What the bytes of the journal at `path` come to.
///
/// # Errors
/// When a line that is not the last is damaged.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Contents, JournalError> {
    parse_from(path, bytes, Vec::new(), 0)
}

/// The same where so many bytes of it are these lines.
fn parse_from(
    path: &Path,
    bytes: &[u8],
    mut lines: Vec<Line>,
    mut start: usize,
) -> Result<Contents, JournalError> {
    while start < bytes.len() {
        let rest = &bytes[start..];
        if is_blank(rest) {
            return Ok(Contents { lines, intact: start, tail: Tail::Blank });
        }
        let end = memchr::memchr(b'\n', rest);
        let number = lines.len() as u64 + 1;
        let what = match decode(&rest[..end.unwrap_or(rest.len())], Some(number)) {
            Ok(line) => {
                lines.push(line);
                let Some(end) = end else {
                    return Ok(Contents { lines, intact: bytes.len(), tail: Tail::Unended });
                };
                start += end + 1;
                continue;
            }
            Err(what) => what,
        };
        let without_zeros =
            &rest[..rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)];
        if let Ok(line) = decode(without_zeros, Some(number)) {
            lines.push(line);
            let intact = start + without_zeros.len();
            return Ok(Contents { lines, intact, tail: Tail::Unended });
        }
        let is_last = end.is_none_or(|end| end + 1 == rest.len());
        let tail = match is_torn(rest) {
            true => Tail::Torn,
            false if is_last => Tail::Damaged { what },
            false => {
                let line = lines.len() + 1;
                return Err(JournalError::Damaged { path: path.to_owned(), line, what });
            }
        };
        return Ok(Contents { lines, intact: start, tail });
    }
    Ok(Contents { lines, intact: start, tail: Tail::Nothing })
}

/// All lines that are intact, whatever is between them, and what is wrong with the others,
/// by line from 1.
pub(super) fn salvage(bytes: &[u8]) -> (Vec<Line>, Vec<(usize, String)>) {
    let (mut lines, mut damaged) = (Vec::new(), Vec::new());
    let bytes = without_blanks(bytes);
    for (text, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        match decode(text, None) {
            Ok(line) => lines.push(line),
            Err(what) => damaged.push((number, what)),
        }
    }
    (lines, damaged)
}

fn decode(bytes: &[u8], sequence: Option<u64>) -> Result<Line, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let body = match sealed(text) {
        Some(body) => body,
        None => opened(text)?,
    };
    let line = match serde_json::from_str::<RepeatLine>(body) {
        Ok(repeat) => repeat.into(),
        Err(_) => serde_json::from_str::<Line>(body)
            .map_err(|error| format!("no journal entry ({error})"))?,
    };
    match sequence {
        Some(expected) if line.sequence != expected => {
            Err(format!("its number is {}, where {expected} belongs", line.sequence))
        }
        _ => Ok(line),
    }
}

/// The text of a line that is exactly as [`encode`] writes it, with a checksum that fits.
fn sealed(text: &str) -> Option<&str> {
    let (seal, rest) = text.strip_prefix("{\"checksum\":\"")?.split_at_checked(SEAL)?;
    let body = rest.strip_prefix("\",\"line\":")?.strip_suffix('}')?;
    (checksum(body) == seal).then_some(body)
}

/// The text of a line however it is written: a person may have put spaces there.
fn opened(text: &str) -> Result<&str, String> {
    let envelope: Envelope<'_> =
        serde_json::from_str(text).map_err(|error| format!("no journal line ({error})"))?;
    let body = envelope.line.get();
    if envelope.checksum == checksum(body) {
        Ok(body)
    } else {
        Err("its checksum does not fit".to_owned())
    }
}

/// The bytes without blank lines at their end, and without zeros after these.
pub(super) fn without_blanks(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let text = &bytes[..bytes.len() - zeros];
    let content = text.trim_ascii_end();
    // Zeros in place of the rest of a line are damage.
    if content.len() == text.len() { bytes } else { content }
}

/// Whether only blank lines follow; zeros after them are what a power loss left.
fn is_blank(rest: &[u8]) -> bool {
    let zeros = rest.iter().rev().take_while(|byte| **byte == 0).count();
    let text = &rest[..rest.len() - zeros];
    !text.is_empty() && text.trim_ascii().is_empty()
}

/// Whether the end of a file was never a whole line. A write that stopped leaves the
/// beginning of one. A power loss can leave zeros as well: the length of the file reached
/// the disk, and some of its blocks did not. Lines have no zeros.
fn is_torn(rest: &[u8]) -> bool {
    let zeros = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|byte| **byte == 0).count();
    let ends_in = zeros(&mut rest.iter().rev());
    if ends_in == rest.len() {
        return true;
    }
    let text = &rest[..rest.len() - ends_in];
    // One zero may be a byte that went bad; a block is larger.
    if zeros(&mut text.iter()) > 1 {
        return memchr::memchr(b'\n', text).is_none_or(|end| end + 1 == text.len());
    }
    is_beginning(text)
}

/// Whether the text is the beginning of a line: JSON that ends too early.
fn is_beginning(text: &[u8]) -> bool {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let ends_early = |error: serde_json::Error| error.is_eof();
    !text.contains('\n') && serde_json::from_str::<Envelope<'_>>(text).is_err_and(ends_early)
}

/// Whether a line is read without a copy of its text.
#[cfg(test)]
pub(super) fn is_repeat(text: &str) -> bool {
    sealed(text.trim_end()).is_some_and(|body| serde_json::from_str::<RepeatLine>(body).is_ok())
}
