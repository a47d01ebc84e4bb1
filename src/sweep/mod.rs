//! A sweep: one execution of a grid. The one loop that launches, journals and
//! stops is [`run`]; a launch is a function, [`launch`]; what a failure means is
//! decided in [`relaunch`]. The journal and the folder are [`crate::history`]'s,
//! what the figures mean is [`crate::results`]'s.

pub mod clock;
mod conclusions;
pub mod confirm;
pub mod context;
pub mod difference;
pub mod early;
pub mod eta;
pub mod events;
#[cfg(test)]
pub(crate) mod fakes;
pub mod gates;
pub mod hosts;
pub mod launch;
mod losses;
pub mod measure;
pub mod measured_with;
pub(crate) mod observations;
pub mod part;
mod pass;
pub mod production;
#[cfg(test)]
mod provoked_tests;
pub mod recover;
pub mod relaunch;
pub mod resume;
pub mod run;
mod running;
mod scope;
pub mod standing;
mod trial;

pub use pass::Pass;

use crate::history::HistoryError;
use crate::history::journal::{JournalError, REFUSED};
use crate::history::launch::LaunchOutcome;
use crate::ownership::OwnershipError;

/// Why a sweep could not continue. A message states its cause itself, so no error
/// here has a `source` that would be printed once more.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The sweep's files cannot be read or written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// What the run owes cannot be noted.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// Something is not as it was when the sweep, or its latest block, began.
    #[error(transparent)]
    Changed(#[from] difference::Changed),
    /// Nothing would work with what fails so.
    #[error("{message}")]
    Stopped {
        /// What failed, how often, and what to do.
        message: String,
        /// Log lines that explain it.
        log_lines: Vec<String>,
        /// Whether the environment is the cause (and not the engine).
        environment: bool,
    },
    /// A cluster refuses for good what the grid asks for: as long as both stay as they are, no
    /// launch begins.
    #[error("{REFUSED}: {0}")]
    Refused(String),
    /// A server runs on that cannot be ended: nothing is started beside it.
    #[error("nothing more is launched: {message}. End it, then `vllm-grid resume` continues")]
    Unstopped {
        /// What it is.
        message: String,
        /// What its launch came to.
        outcome: Box<LaunchOutcome>,
    },
    /// Production could not be started again.
    #[error("{0}")]
    ProductionDown(String),
}

impl SweepError {
    /// This process lacks something itself.
    fn shortage(what: &str) -> Self {
        let message = format!("nothing more is launched: {what}. `vllm-grid resume` continues");
        Self::Stopped { message, log_lines: Vec::new(), environment: true }
    }
}

impl From<production::GuardError<Self>> for SweepError {
    fn from(error: production::GuardError<Self>) -> Self {
        match error {
            production::GuardError::Journal(error) => error,
            down @ production::GuardError::Down { .. } => Self::ProductionDown(down.to_string()),
            other => {
                let message = other.to_string();
                Self::Stopped { message, log_lines: Vec::new(), environment: true }
            }
        }
    }
}

impl From<JournalError> for SweepError {
    fn from(error: JournalError) -> Self {
        Self::History(error.into())
    }
}
