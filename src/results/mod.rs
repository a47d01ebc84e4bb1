//! What a sweep means: [`frame`] is the only schema of measured rows, [`ranking`]
//! decides which figures count and what they carry, [`findings`] lists what a reader
//! must know as data, [`records`] keeps the request records, [`comparison`] compares
//! sweeps. All of it is computed from a
//! [`SweepRecord`](crate::history::record::SweepRecord) alone, so that a report can be
//! rebuilt at any time. Nothing is printed or laid out here.

use std::path::PathBuf;

pub mod analysis;
pub mod applicable;
mod arm;
pub(crate) mod bounded;
mod bounds;
pub mod chosen;
mod columns;
mod compared;
mod compared_metric;
pub mod comparison;
mod comparison_findings;
pub mod confirmable;
pub mod confirmed;
pub mod decision;
mod difference;
pub mod disturbance;
mod duels;
mod eligibility;
mod estimate;
mod evidence;
pub(crate) mod exclusion;
mod failed_repeats;
pub(crate) mod file;
pub mod findings;
mod flag_columns;
pub mod frame;
pub mod front;
pub mod gated;
mod hosts;
mod level;
pub mod listed;
pub mod machine;
mod measured;
mod missing;
pub mod not_again;
pub mod not_counted;
pub(crate) mod number;
mod pattern;
mod preference;
mod ranked;
pub mod ranking;
mod ranking_frame;
mod ranking_table;
pub mod reading;
pub mod records;
mod remark;
mod sheet;
mod shift;
pub mod taken;
pub mod telemetry;
mod undecided;
pub mod under_load;
mod verdict;
pub mod why;
pub mod witness;
mod worse;

/// Why a frame could not be made or a file not be written or read. A message has
/// its cause in it, so no error here has a `source` that would be printed once more.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The columns do not fit together.
    #[error("the results do not fit into a table: {0}")]
    Frame(polars::error::PolarsError),
    /// A file could not be written or read.
    #[error("{path}: {error}{advice}", path = path.display(), advice = crate::shortage::advice(error))]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file does not have the columns that it should have.
    #[error("{path}: {problem}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl From<polars::error::PolarsError> for ResultsError {
    fn from(error: polars::error::PolarsError) -> Self {
        Self::Frame(error)
    }
}
