//! Why a journal cannot be read or written, with what to do about it in each message.

use std::io;
use std::path::{Path, PathBuf};

use super::SCHEMA_VERSION;

/// Why a journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{path}: {error}{}", crate::shortage::advice(error))]
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
    /// It has not even a first line, and launches were made.
    #[error(
        "{path}: it is {}, and the sweep has launches: {}, or begin a new sweep in another folder",
        if *empty { "empty" } else { "missing" },
        restored(.saved.as_deref())
    )]
    Lost {
        /// The journal.
        path: PathBuf,
        /// Whether there is a file, without a line.
        empty: bool,
        /// A whole journal that was saved beside it.
        saved: Option<PathBuf>,
    },
    /// While it was being written, its path became another file's, or nobody's.
    #[error("{path}: {what}")]
    Gone {
        /// The journal.
        path: PathBuf,
        /// What happened to it, what is left of it, and what to do.
        what: String,
    },
    /// The disk is full; what was kept in reserve for the end of the session is in use.
    #[error(
        "{path}: the disk is full: nothing more is launched, and what was finished is kept; free some \
         space, then resume"
    )]
    Full {
        /// The journal.
        path: PathBuf,
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

/// How a journal that is lost comes back.
fn restored(saved: Option<&Path>) -> String {
    match saved {
        None => "restore it from a copy".to_owned(),
        Some(saved) => format!(
            "its lines were saved in {}: give that file the name journal.jsonl",
            saved.display()
        ),
    }
}
