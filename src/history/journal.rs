//! The journal: append-only JSON lines, each with a sequence number and a
//! checksum, made durable before the next thing is done. One writer at a time,
//! by file lock; readers need none. What the lines add up to is in
//! [`super::replay`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::launch::{LaunchFacts, LaunchOutcome};
use super::production::ProductionStep;
use super::record::SCHEMA_VERSION;
use crate::metric::Measurement;
use crate::secret::Secrets;
use crate::server::effective::EffectiveValues;
use crate::strategy::Purpose;

/// One thing that happened in a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A process began to work on the sweep.
    SessionStarted {
        /// [`SCHEMA_VERSION`] of the writer.
        schema_version: u32,
        /// Version of the tool.
        tool_version: String,
    },
    /// An engine is about to be started.
    LaunchStarted {
        /// Number of the launch, from 1.
        launch: u32,
        /// The strategy's trial that it serves.
        #[serde(rename = "slot")]
        trial: u32,
        /// The configuration's name.
        configuration: String,
        /// What the trial is for.
        #[serde(default)]
        purpose: Purpose,
        /// Repeats that it is to measure, warm-ups included.
        #[serde(default)]
        planned: u32,
    },
    /// The server answered; what it runs with.
    LaunchReady {
        /// Number of the launch.
        launch: u32,
        /// What is known of it.
        facts: LaunchFacts,
        /// What the server shows.
        effective: EffectiveValues,
    },
    /// A repeat of a case is done and its records are stored.
    RepeatFinished {
        /// Number of the launch.
        launch: u32,
        /// Its metrics.
        measurement: Measurement,
    },
    /// A launch is over.
    LaunchEnded {
        /// Number of the launch.
        launch: u32,
        /// How it ended.
        outcome: LaunchOutcome,
    },
    /// A step in production's life.
    Production {
        /// Which one, written before it is acted upon.
        production: ProductionStep,
    },
    /// The process ended its work in good order.
    SessionEnded {
        /// Whether everything planned was done.
        complete: bool,
        /// Why it ended.
        reason: String,
    },
    /// An entry of a newer version: skipped.
    #[serde(other)]
    Unknown,
}

/// An entry with its place and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// From 1, without gaps.
    pub sequence: u64,
    /// When it was written, RFC 3339 UTC.
    pub at: jiff::Timestamp,
    /// What happened.
    pub entry: Entry,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    checksum: String,
    #[serde(borrow)]
    line: &'a RawValue,
}

/// Why a journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{path}: {error}")]
    Io {
        /// The journal.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else writes it.
    #[error("{0} is being written by another process: wait for it, or stop it")]
    Locked(PathBuf),
    /// A line that is not the last is damaged, or cannot follow the lines before it.
    #[error(
        "{path}, line {line}: {what}; the lines before it are intact: restore it from a copy, or cut it \
         there"
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Line from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A newer version wrote it: it can be read, not continued.
    #[error(
        "{path} was written by a newer version (schema {found}, this one writes {SCHEMA_VERSION})"
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
}

/// A journal open for writing, locked.
#[derive(Debug)]
pub struct Journal {
    file: File,
    secrets: Secrets,
    path: PathBuf,
    next: u64,
}

impl Journal {
    /// Opens a journal for writing, creates it where it is missing, and gives
    /// the lines that it holds. A torn last line is cut off: what it says was
    /// not yet acted upon.
    ///
    /// # Errors
    /// When another process holds it, a line is damaged, or a newer version wrote it.
    pub fn open(path: &Path) -> Result<(Self, Vec<Line>), JournalError> {
        let io = |error| JournalError::Io { path: path.to_owned(), error };
        let created = !path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let bytes = std::fs::read(path).map_err(io)?;
        let (lines, intact) = parse(path, &bytes)?;
        if let Some(found) = newest_schema(&lines).filter(|found| *found > SCHEMA_VERSION) {
            return Err(JournalError::Newer { path: path.to_owned(), found });
        }
        if intact < bytes.len() {
            file.set_len(intact as u64).map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        if created {
            sync_folder(path).map_err(io)?;
        }
        let next = lines.len() as u64 + 1;
        Ok((Self { file, secrets: Secrets::default(), path: path.to_owned(), next }, lines))
    }

    /// The same; every entry is written without these secrets.
    #[must_use]
    pub fn without(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// Appends an entry with its time, its secrets masked, and returns what was written
    /// when it is on the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn append(&mut self, at: jiff::Timestamp, entry: Entry) -> Result<Line, JournalError> {
        let io = |error| JournalError::Io { path: self.path.clone(), error };
        let entry = self.secrets.masked(entry).map_err(|error| io(io::Error::other(error)))?;
        let line = Line { sequence: self.next, at, entry };
        let text = encode(&line).map_err(|error| io(io::Error::other(error)))?;
        self.file.write_all(text.as_bytes()).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.next += 1;
        Ok(line)
    }
}

/// Reads a journal that somebody may be writing: a torn last line is left out.
///
/// # Errors
/// When it is missing or a line that is not the last is damaged.
pub fn read(path: &Path) -> Result<Vec<Line>, JournalError> {
    let bytes =
        std::fs::read(path).map_err(|error| JournalError::Io { path: path.to_owned(), error })?;
    parse(path, &bytes).map(|(lines, _)| lines)
}

/// Makes the names in a file's folder durable.
pub(crate) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn newest_schema(lines: &[Line]) -> Option<u32> {
    lines
        .iter()
        .filter_map(|line| match &line.entry {
            Entry::SessionStarted { schema_version, .. } => Some(*schema_version),
            _ => None,
        })
        .max()
}

fn checksum(text: &str) -> String {
    crate::configuration::hexadecimal(&Sha256::digest(text.as_bytes())[..8])
}

fn encode(line: &Line) -> serde_json::Result<String> {
    let body = serde_json::value::to_raw_value(line)?;
    let envelope = Envelope { checksum: checksum(body.get()), line: &body };
    Ok(serde_json::to_string(&envelope)? + "\n")
}

/// The lines, and how many bytes of the file they fill.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Line>, usize), JournalError> {
    let mut lines = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes[start..].iter().position(|byte| *byte == b'\n').map(|at| start + at);
        let decoded = match end {
            Some(end) => decode(&bytes[start..end], lines.len() as u64 + 1),
            None => Err("torn".to_owned()),
        };
        let after = end.map_or(bytes.len(), |end| end + 1);
        match decoded {
            Ok(line) => lines.push(line),
            Err(_) if after == bytes.len() => break,
            Err(what) => {
                let line = lines.len() + 1;
                return Err(JournalError::Damaged { path: path.to_owned(), line, what });
            }
        }
        start = after;
    }
    Ok((lines, start))
}

fn decode(bytes: &[u8], sequence: u64) -> Result<Line, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let envelope: Envelope<'_> =
        serde_json::from_str(text).map_err(|error| format!("no journal line ({error})"))?;
    if envelope.checksum != checksum(envelope.line.get()) {
        return Err("its checksum does not fit".to_owned());
    }
    let line: Line = serde_json::from_str(envelope.line.get())
        .map_err(|error| format!("no journal entry ({error})"))?;
    if line.sequence != sequence {
        return Err(format!("its number is {}, where {sequence} belongs", line.sequence));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn started(launch: u32) -> Entry {
        Entry::LaunchStarted {
            launch,
            trial: launch,
            configuration: "a".to_owned(),
            purpose: Purpose::Screen,
            planned: 0,
        }
    }

    fn written(count: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (mut journal, _) = Journal::open(&path).unwrap();
        for launch in 1..=count {
            journal.append(jiff::Timestamp::UNIX_EPOCH, started(launch)).unwrap();
        }
        drop(journal);
        (folder, path)
    }

    #[test]
    fn what_is_appended_is_read_again_after_reopening() {
        let (_folder, path) = written(2);
        let (mut journal, lines) = Journal::open(&path).unwrap();
        assert_eq!(lines.len(), 2);
        journal.append(jiff::Timestamp::UNIX_EPOCH, started(3)).unwrap();
        let sequences: Vec<u64> = read(&path).unwrap().iter().map(|line| line.sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
    }

    #[test]
    fn there_is_one_writer() {
        let (_folder, path) = written(1);
        let (_journal, _) = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Locked(_))));
        assert_eq!(read(&path).unwrap().len(), 1, "a reader needs no lock");
    }

    #[test]
    fn a_damaged_line_before_the_last_is_an_error_that_names_it() {
        let (_folder, path) = written(3);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"launch\":2", "\"launch\":9", 1)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("checksum"), "{error}");
    }

    #[test]
    fn an_entry_of_a_newer_version_is_skipped_but_a_newer_journal_is_not_continued() {
        let (_folder, path) = written(1);
        let body = r#"{"sequence":2,"at":"2026-11-24T00:00:00Z","entry":{"kind":"teleported"}}"#;
        let newer = r#"{"sequence":3,"at":"2026-11-24T00:00:00Z","entry":{"kind":"session_started","schema_version":99,"tool_version":"9"}}"#;
        let mut text = std::fs::read_to_string(&path).unwrap();
        for body in [body, newer] {
            let checksum = checksum(body);
            writeln!(text, r#"{{"checksum":"{checksum}","line":{body}}}"#).unwrap();
        }
        std::fs::write(&path, text).unwrap();
        assert_eq!(read(&path).unwrap()[1].entry, Entry::Unknown);
        assert!(matches!(Journal::open(&path), Err(JournalError::Newer { found: 99, .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_journal_cut_anywhere_keeps_every_whole_line_and_is_continued(cut in 0.0..1.0f64) {
            let (_folder, path) = written(5);
            let bytes = std::fs::read(&path).unwrap();
            let length = (bytes.len() as f64 * cut) as usize;
            std::fs::write(&path, &bytes[..length]).unwrap();
            let whole = bytes[..length].split(|byte| *byte == b'\n').count() - 1;
            prop_assert_eq!(read(&path).unwrap().len(), whole);
            let (mut journal, lines) = Journal::open(&path).unwrap();
            prop_assert_eq!(lines.len(), whole);
            journal.append(jiff::Timestamp::UNIX_EPOCH, started(99)).unwrap();
            prop_assert_eq!(read(&path).unwrap().len(), whole + 1);
        }
    }
}
