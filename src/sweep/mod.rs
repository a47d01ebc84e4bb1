//! A sweep: one execution of a grid. The one loop that launches, measures and
//! journals is [`run`]; the journal, the folder and what they add up to are
//! beside it. What the figures mean is [`crate::results`]'s.

use std::path::PathBuf;

mod breaker;
pub mod folder;
pub mod journal;
mod pass;
pub mod production;
pub mod record;
pub mod recover;
pub mod replay;
pub mod run;

/// Why a sweep could not go on. A message says its cause itself, so no error here
/// has a `source` that would be told once more.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The file system refused.
    #[error("{path}: {fault}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        fault: std::io::Error,
    },
    /// The output folder holds something.
    #[error("{0} is not empty: a sweep never writes over anything; name another folder")]
    NotEmpty(PathBuf),
    /// The folder holds no sweep.
    #[error(
        "{0} holds no sweep (no manifest.json): name the folder of one, such as those in runs/"
    )]
    NoSweep(PathBuf),
    /// The manifest cannot be used.
    #[error("{path}: {what}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    /// The grid is not what it was when the sweep began.
    #[error("the grid changed since the sweep began: {0}")]
    GridChanged(String),
    /// Nothing would work with what fails so.
    #[error("{message}")]
    Stopped {
        /// What failed, how often, and what to do.
        message: String,
        /// Log lines that explain it.
        log_lines: Vec<String>,
        /// Whether the environment is at fault (and not the engine).
        environment: bool,
    },
}
