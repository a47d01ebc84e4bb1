//! The journal: append-only JSON lines, each with a sequence number and a
//! checksum, made durable before the next thing is done. One writer at a time,
//! by file lock; readers need none. What the lines add up to is in
//! [`super::replay`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::confirmation::Confirmation;
use super::launch::{LaunchFacts, LaunchOutcome};
use super::production::ProductionStep;
use super::record::SCHEMA_VERSION;
use crate::metric::Measurement;
use crate::secret::Secrets;
use crate::server::effective::EffectiveValues;
use crate::strategy::Purpose;
use crate::strategy::confirm::Ended;

/// The reason of a session that its budget ended.
pub const BUDGET_SPENT: &str = "budget spent";

/// The reason of a session whose window closed: another one follows at the next opening.
pub const WINDOW_CLOSED: &str = "the window closed, and it goes on at the next opening";

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
        /// Kept repeats of each case that its trial is to have, where the workload
        /// does not say; an older version did not write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repeats: Option<u32>,
        /// The host that it runs on; the manifest's where an older version wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
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
    /// The session confirms a configuration; it opens a confirmation, or continues one.
    ConfirmationStarted {
        /// What it is.
        confirmation: Confirmation,
    },
    /// A confirmation came to its end.
    ConfirmationEnded {
        /// Its number.
        confirmation: u32,
        /// Why it ended.
        ended: Ended,
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
    /// Milliseconds of the monotonic clock since the session began: the wall clock may be
    /// set meanwhile. Older versions did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
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
    /// It has entries that only a newer version knows: it can be read, not continued.
    #[error(
        "{path}, line {line}: an entry of a newer version: continue the sweep with that version"
    )]
    UnknownEntry {
        /// The journal.
        path: PathBuf,
        /// Line from 1.
        line: u64,
    },
}

/// The file as the journal uses it, so that tests can make it fail.
trait Medium: std::fmt::Debug + Send + Sync {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts it to `length` and writes there from now on.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A file whose lock ends with it. Closing is not enough: a child that was being
/// started meanwhile has a copy of the descriptor until it runs its program.
#[derive(Debug)]
struct LockedFile(File);

impl Drop for LockedFile {
    fn drop(&mut self) {
        let _closed_anyway = self.0.unlock();
    }
}

impl Medium for LockedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(&mut self.0, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        self.0.seek(SeekFrom::Start(length)).map(drop)
    }
}

/// A journal open for writing, locked.
#[derive(Debug)]
pub struct Journal {
    file: Box<dyn Medium>,
    secrets: Secrets,
    path: PathBuf,
    next: u64,
    /// Bytes of the lines that are intact.
    end: u64,
    /// The error after which nobody knows what is on the disk: nothing is written any more.
    broken: Option<(io::ErrorKind, String)>,
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
        let file = OpenOptions::new()
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
        if let Some(line) = lines.iter().find(|line| line.entry == Entry::Unknown) {
            let (path, line) = (path.to_owned(), line.sequence);
            return Err(JournalError::UnknownEntry { path, line });
        }
        let mut file = LockedFile(file);
        file.truncate(intact as u64).map_err(io)?;
        if created {
            sync_folder(path).map_err(io)?;
        }
        let journal = Self {
            file: Box::new(file),
            secrets: Secrets::default(),
            path: path.to_owned(),
            next: lines.len() as u64 + 1,
            end: intact as u64,
            broken: None,
        };
        Ok((journal, lines))
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
    /// When the file system refuses. What was written of the line is cut off
    /// again. Where that fails, too, or the line may be on the disk or not, every
    /// later call returns the error: the lines that are intact stay so.
    pub fn append(&mut self, at: jiff::Timestamp, entry: Entry) -> Result<Line, JournalError> {
        self.append_after(at, None, entry)
    }

    /// The same with the time since the session began.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_after(
        &mut self,
        at: jiff::Timestamp,
        elapsed: Option<Duration>,
        entry: Entry,
    ) -> Result<Line, JournalError> {
        let path = &self.path;
        let io = |error| JournalError::Io { path: path.clone(), error };
        if let Some((kind, message)) = &self.broken {
            return Err(io(io::Error::new(*kind, message.clone())));
        }
        let entry = self.secrets.masked(entry).map_err(|error| io(io::Error::other(error)))?;
        let elapsed_ms = elapsed.and_then(|it| u64::try_from(it.as_millis()).ok());
        let line = Line { sequence: self.next, at, elapsed_ms, entry };
        let text = encode(&line).map_err(|error| io(io::Error::other(error)))?;
        let written = self.file.write_all(text.as_bytes());
        let synced = if written.is_ok() { self.file.sync() } else { Ok(()) };
        let broken = synced.is_err();
        if let Err(error) = written.and(synced) {
            let cut = self.file.truncate(self.end);
            if broken || cut.is_err() {
                self.broken = Some((error.kind(), error.to_string()));
            }
            return Err(io(error));
        }
        self.next += 1;
        self.end += text.len() as u64;
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
#[path = "journal_tests.rs"]
pub(crate) mod tests;
