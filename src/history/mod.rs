//! What happened, on disk: a sweep's folder, its manifest and journal, and what
//! the journal's lines add up to. `sweep` writes it, `results`
//! reads it; nothing here launches, measures or judges.

use std::path::PathBuf;

pub mod behind;
pub mod block;
pub mod confirmation;
pub mod disk;
pub mod extent;
pub mod folder;
pub mod gates;
pub mod journal;
pub mod launch;
mod launch_record;
pub mod loss;
pub mod of_launch;
pub mod production;
pub mod record;
pub mod replay;
pub mod spent;
pub mod steady;
pub mod timing;
pub mod values;

/// Why a sweep's files cannot be read or written. A message states its cause
/// itself, so no error here has a `source` that would be printed once more.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file system refused.
    #[error("{path}: {error}{}", crate::shortage::advice(error))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The output folder holds something.
    #[error("{0} is not empty: a sweep never writes over anything; name another folder")]
    NotEmpty(PathBuf),
    /// The output folder cannot be one, by its path: another path can.
    #[error("--output {path}: {why}; name another folder")]
    Output {
        /// The folder that was asked for.
        path: PathBuf,
        /// Why it cannot be one.
        why: String,
    },
    /// The folder holds no sweep.
    #[error(
        "{0} holds no sweep (no manifest.json): name the folder of one, such as those in runs/"
    )]
    NoSweep(PathBuf),
    /// This user may not look into the folder.
    #[error("{path} cannot be read: permission denied (it belongs to {owner})")]
    Denied {
        /// The folder.
        path: PathBuf,
        /// The user whose it is.
        owner: String,
    },
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
}
