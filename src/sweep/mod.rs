//! A sweep: one execution of a grid. The one loop that launches, measures and
//! journals is [`run`]; the journal and the folder are [`crate::history`]'s. What
//! the figures mean is [`crate::results`]'s.

mod breaker;
mod pass;
pub mod production;
pub mod recover;
pub mod run;

use crate::history::HistoryError;
use crate::history::journal::JournalError;

/// Why a sweep could not continue. A message states its cause itself, so no error
/// here has a `source` that would be printed once more.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The sweep's files cannot be read or written.
    #[error(transparent)]
    History(#[from] HistoryError),
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

impl From<JournalError> for SweepError {
    fn from(error: JournalError) -> Self {
        Self::History(error.into())
    }
}
