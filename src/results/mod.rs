//! What a sweep means: [`frame`] is the only schema of measured rows,
//! [`ranking`] decides which figures count and what they carry, [`records`]
//! keeps the request records, [`comparison`] sets sweeps beside each other. All of it is computed from a
//! [`SweepRecord`](crate::history::record::SweepRecord) alone, so that a report
//! can be rebuilt at any time. How it is told is in [`crate::report`].

use std::path::PathBuf;

mod arm;
mod columns;
mod compared_metric;
pub mod comparison;
mod difference;
mod eligibility;
mod failed_repeats;
pub(crate) mod file;
pub mod frame;
mod measured;
pub(crate) mod number;
pub(crate) mod preference;
pub mod ranking;
mod ranking_frame;
pub mod records;
pub mod telemetry;
mod verdict;

/// Why a frame could not be made or a file not be written or read. A message says
/// its cause itself, so no error here has a `source` that would be told once more.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The columns do not fit together.
    #[error("the results do not fit into a table: {0}")]
    Frame(polars::error::PolarsError),
    /// A file could not be written or read.
    #[error("{path}: {fault}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        fault: std::io::Error,
    },
    /// A file does not have the columns that it should have.
    #[error("{path}: {fault}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
}

impl From<polars::error::PolarsError> for ResultsError {
    fn from(fault: polars::error::PolarsError) -> Self {
        Self::Frame(fault)
    }
}
