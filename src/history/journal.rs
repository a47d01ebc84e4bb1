//! The journal: append-only JSON lines, each with a sequence number and a
//! checksum, made durable before the next thing is done. One writer at a time,
//! by file lock; readers need none. Its bytes are read in `lines`, whether the
//! file is still where it was is seen in `place`. What the lines add up to is in
//! [`super::replay`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::block::Block;
use super::confirmation::Confirmation;
use super::launch::{Behind, LaunchFacts, LaunchOutcome};
use super::production::ProductionStep;
use super::record::SCHEMA_VERSION;
use crate::gate::GateReport;
use crate::input;
use crate::machine::Machine;
use crate::metric::Measurement;
use crate::secret::Secrets;
use crate::server::effective::EffectiveValues;
use crate::strategy::confirm::Ended;
use crate::strategy::{Bar, Purpose};

mod error;
mod lines;
mod medium;
mod place;

pub use error::JournalError;
pub use lines::{Contents, Seen, Tail};
use lines::{blank, encode, parse, torn};
use medium::{LockedFile, Medium, locked};
pub use medium::{is_written, is_written_in};
use place::{Place, Reserve, set_aside};

/// Bytes of a journal at most: half a million repeats. A larger file is none of ours, and would
/// fill the memory.
pub const MAX_BYTES: u64 = 1 << 30;

/// The reason of a session that its budget ended.
pub const BUDGET_SPENT: &str = "budget spent";

/// Before what a strategy remarks on the end of its budget.
const REMARK: &str = "; ";

/// Whether that is the reason of a session that its budget ended: of what is said behind a
/// colon where it was no budget of time, and a strategy's remark behind that.
pub fn is_budget_spent(reason: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(": ") || rest.starts_with(REMARK);
    reason.strip_prefix(BUDGET_SPENT).is_some_and(|rest| rest.is_empty() || goes_on(rest))
}

/// The reason of a session that its budget ended, and what the strategy remarked then; any other
/// reason is whole.
pub fn budget_and_remark(reason: &str) -> (&str, Option<&str>) {
    match reason.split_once(REMARK).filter(|_| is_budget_spent(reason)) {
        Some((reason, remark)) => (reason, Some(remark)),
        None => (reason, None),
    }
}

/// The reason of a session whose launches a cluster refuses for good, before a colon and its words.
pub const REFUSED: &str = "the cluster refuses what the grid asks for";

/// Whether that is the reason of a session that a cluster's refusal ended.
pub fn is_refused(reason: &str) -> bool {
    reason.starts_with(REFUSED)
}

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
        /// Version of the suite that measures; an older version did not write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suite_version: Option<u32>,
    },
    /// A change of what is measured with was accepted: what was launched so far counts no
    /// longer.
    BlockStarted {
        /// What the new block begins with.
        block: Box<Block>,
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
        /// Beyond which value its trial is clearly behind, where its strategy gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bar: Option<Bar>,
        /// GPUs that its flags ask for; an older version did not write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gpus: Option<u32>,
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
    /// A gate of a launch is done.
    GateFinished {
        /// Number of the launch.
        launch: u32,
        /// What it found.
        report: GateReport,
    },
    /// A repeat of a case is done and its records are stored.
    RepeatFinished {
        /// Number of the launch.
        launch: u32,
        /// Its metrics.
        measurement: Measurement,
    },
    /// A launch is clearly behind: its further repeats are left out from here on.
    LaunchShortened {
        /// Number of the launch.
        launch: u32,
        /// Why.
        behind: Behind,
    },
    /// A job that makes the launch waits, held: it starts after this is durable.
    JobSubmitted {
        /// Number of the launch.
        launch: u32,
        /// The job's id.
        job: String,
    },
    /// The job of a launch runs on a node.
    LaunchPlaced {
        /// Number of the launch.
        launch: u32,
        /// The node's name.
        host: String,
        /// What it is.
        machine: Box<Machine>,
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
    /// The strategy's part is over, and the confirmation that the grid asks for cannot be made.
    NothingToConfirm {
        /// Why not.
        why: String,
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
    /// When it happened, by the clock of the node where it did; where that is this machine, it
    /// was written at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened_at: Option<jiff::Timestamp>,
    /// What happened.
    pub entry: Entry,
}

/// The times of a line.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When it is written.
    pub at: jiff::Timestamp,
    /// How long the session has lasted, by the monotonic clock.
    pub elapsed: Option<Duration>,
    /// When it happened, on another machine.
    pub happened: Option<jiff::Timestamp>,
}

/// A journal open for writing, locked.
#[derive(Debug)]
pub struct Journal {
    // Before the file: it is given up while the lock is held.
    reserve: Reserve,
    file: Box<dyn Medium>,
    secrets: Secrets,
    path: PathBuf,
    place: Place,
    next: u64,
    /// Bytes of the lines that are intact.
    end: u64,
    /// The error after which nobody knows what is on the disk: nothing is written any more.
    broken: Option<(io::ErrorKind, String)>,
    notes: Vec<String>,
}

impl Journal {
    /// Opens a journal for writing, creates it where it is missing, and gives
    /// the lines that it holds. A torn last line is cut off: what it says was
    /// not yet acted upon. So are blank lines at the end. A whole last line that is damaged is moved to a file of its
    /// own. [`Self::notes`] says so.
    ///
    /// # Errors
    /// When another process holds it, a line before the last is damaged, or a newer
    /// version wrote it.
    pub fn open(path: &Path) -> Result<(Self, Vec<Line>), JournalError> {
        Self::open_seen(path, None)
    }

    /// The same of a journal that was read before: what is still there is not parsed again.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_seen(path: &Path, seen: Option<Seen>) -> Result<(Self, Vec<Line>), JournalError> {
        let io = |error| JournalError::Io { path: path.to_owned(), error };
        let created = !path.exists();
        let (file, bytes) = locked(path)?;
        let now = seen.map_or_else(|| parse(path, &bytes), |seen| seen.now(path, &bytes));
        let Contents { lines, intact, tail } = now?;
        if let Some(found) = newest_schema(&lines).filter(|found| *found > SCHEMA_VERSION) {
            return Err(JournalError::Newer { path: path.to_owned(), found });
        }
        if let Some(line) = lines.iter().find(|line| line.entry == Entry::Unknown) {
            let (path, line) = (path.to_owned(), line.sequence);
            return Err(JournalError::UnknownEntry { path, line });
        }
        let mut journal = Self::of(path, file, lines.len() as u64 + 1, intact)?;
        if let Tail::Damaged { what } = &tail {
            let name = set_aside(path, "damaged", &bytes[intact..]).map_err(io)?;
            journal.notes.push(format!(
                "the last line of {}, line {}, is damaged ({what}): it is moved to {name}, and what \
                 it says is not counted",
                path.display(),
                lines.len() + 1,
            ));
        }
        match tail {
            Tail::Torn => journal.notes.push(torn(path, "cut off")),
            Tail::Blank => journal.notes.push(blank(path, "cut off")),
            Tail::Nothing | Tail::Unended | Tail::Damaged { .. } => {}
        }
        journal.file.truncate(journal.end).map_err(io)?;
        if tail == Tail::Unended {
            journal.file.write_all(b"\n").map_err(io)?;
            journal.end += 1;
        }
        if created {
            sync_folder(path).map_err(io)?;
        }
        Ok((journal, lines))
    }

    /// Opens the journal of a dead sweep whatever is damaged in it, with all of its lines
    /// that are intact: production has to be started again. What is damaged stays where
    /// it is, and new lines follow it.
    ///
    /// # Errors
    /// When another process holds it, or a newer version wrote it.
    pub fn open_damaged(path: &Path) -> Result<(Self, Vec<Line>), JournalError> {
        let error = match Self::open(path) {
            Err(error @ (JournalError::Damaged { .. } | JournalError::Io { .. })) => error,
            done => return done,
        };
        let io = |error| JournalError::Io { path: path.to_owned(), error };
        let (file, bytes) = locked(path)?;
        let (lines, damaged) = lines::salvage(&bytes);
        let next = lines.last().map_or(0, |line| line.sequence) + 1;
        // Blank lines at the end would stand between these and what is written next.
        let mut journal = Self::of(path, file, next, lines::without_blanks(&bytes).len())?;
        journal.file.truncate(journal.end).map_err(io)?;
        if journal.end > 0 {
            journal.file.write_all(b"\n").map_err(io)?;
            journal.end += 1;
        }
        journal.notes.push(error.to_string());
        journal.notes.extend(
            damaged
                .into_iter()
                .skip(1)
                .map(|(line, what)| format!("{}, line {line}: {what}", path.display())),
        );
        Ok((journal, lines))
    }

    fn of(path: &Path, file: File, next: u64, intact: usize) -> Result<Self, JournalError> {
        let place =
            Place::of(&file).map_err(|error| JournalError::Io { path: path.to_owned(), error })?;
        Ok(Self {
            file: Box::new(LockedFile(file)),
            secrets: Secrets::default(),
            path: path.to_owned(),
            place,
            next,
            end: intact as u64,
            broken: None,
            reserve: Reserve::beside(path),
            notes: Vec::new(),
        })
    }

    /// The same; every entry is written without these secrets.
    #[must_use]
    pub fn without(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// What a person should know of how it was found: what was cut off or moved.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether the disk was full, and what was kept in reserve is in use.
    pub fn is_full(&self) -> bool {
        self.reserve.is_used()
    }

    /// Keeps space in reserve for the last lines of a session, until the journal is closed.
    ///
    /// # Errors
    /// When its folder cannot be written; a disk that is full already is no error.
    pub fn keep_reserve(&mut self) -> Result<(), JournalError> {
        let kept = self.reserve.keep();
        kept.map_err(|error| JournalError::Io { path: self.reserve.path().to_owned(), error })
    }

    /// Whether the path is still this file: a line that nobody finds again is lost.
    ///
    /// # Errors
    /// When it is not, with what is left of it.
    pub fn check_place(&mut self) -> Result<(), JournalError> {
        let gone = self.place.check(&self.path, self.end);
        gone.map_err(|what| JournalError::Gone { path: self.path.clone(), what })
    }

    /// Appends an entry with its time, its secrets masked, and returns what was written
    /// when it is on the disk. Where the disk is full, the reserve is given up once.
    ///
    /// # Errors
    /// When the file system refuses. What was written of the line is cut off
    /// again. Where that fails, too, or the line may be on the disk or not, every
    /// later call returns the error: the lines that are intact stay so.
    pub fn append(&mut self, at: jiff::Timestamp, entry: Entry) -> Result<Line, JournalError> {
        self.append_after(Times { at, elapsed: None, happened: None }, entry)
    }

    /// The same with all that is known of its time.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_after(&mut self, times: Times, entry: Entry) -> Result<Line, JournalError> {
        let path = self.path.clone();
        let io = |error| JournalError::Io { path: path.clone(), error };
        let entry = self.secrets.masked(entry).map_err(|error| io(io::Error::other(error)))?;
        let Times { at, elapsed, happened: happened_at } = times;
        let elapsed_ms = elapsed.and_then(|it| u64::try_from(it.as_millis()).ok());
        let line = Line { sequence: self.next, at, elapsed_ms, happened_at, entry };
        let text = encode(&line).map_err(|error| io(io::Error::other(error)))?;
        // That it is another file's path is for the caller: the line is still written here.
        let _ = self.place.check(&self.path, self.end);
        if self.place.is_cut() {
            self.place.also(&text);
            self.next += 1;
            return Ok(line);
        }
        let mut written = self.write(text.as_bytes());
        if self.broken.is_none()
            && written.as_ref().is_err_and(place::is_full)
            && self.reserve.give_up()
        {
            written = self.write(text.as_bytes());
        }
        written.map_err(io)?;
        self.place.also(&text);
        self.next += 1;
        self.end += text.len() as u64;
        Ok(line)
    }

    /// Writes a line and makes it durable, or leaves the file as it was.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some((kind, message)) = &self.broken {
            return Err(io::Error::new(*kind, message.clone()));
        }
        let written = self.file.write_all(text);
        let synced = if written.is_ok() { self.file.sync() } else { Ok(()) };
        let broken = synced.is_err();
        written.and(synced).inspect_err(|error| {
            let cut = self.file.truncate(self.end);
            if broken || cut.is_err() {
                self.broken = Some((error.kind(), error.to_string()));
            }
        })
    }
}

/// Reads a journal that somebody may be writing: a torn last line is left out, and so is a
/// damaged one.
///
/// # Errors
/// When it is missing or a line that is not the last is damaged.
pub fn read(path: &Path) -> Result<Vec<Line>, JournalError> {
    contents(path).map(|contents| contents.lines)
}

/// The same, with what follows the lines.
///
/// # Errors
/// When it is missing or a line that is not the last is damaged.
pub fn contents(path: &Path) -> Result<Contents, JournalError> {
    parse(path, &bytes(path)?)
}

/// The same, to be written later in the same process.
///
/// # Errors
/// When it is missing or a line that is not the last is damaged.
pub fn seen(path: &Path) -> Result<Seen, JournalError> {
    Seen::of(path, bytes(path)?)
}

fn bytes(path: &Path) -> Result<Vec<u8>, JournalError> {
    input::read(path, MAX_BYTES)
        .map_err(|error| JournalError::Io { path: path.to_owned(), error: error.into() })
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

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
#[path = "journal_tests.rs"]
pub(crate) mod tests;
