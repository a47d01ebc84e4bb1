//! A tested configuration as what deploys it: an override of the user's compose service, a
//! command line of a container or of a process. Nothing is started here, and no file of the
//! user's is changed. Which configuration that is, and whether its gain is shown, is not
//! known here.

use std::path::PathBuf;

use super::EngineError;
use super::compose::ComposeError;

mod changed;
pub mod check;
mod difference;
mod env_file;
mod files;
mod line;
mod placed;
mod service;
mod writing;

pub use changed::Tested;
pub use files::is_ours;
pub use line::{Line, of_image, of_process};
pub use service::{Deployment, Order, located, of_service};

/// Why a configuration cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The service cannot be read.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The daemon cannot be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A secret would be written out.
    #[error("{place}: {what} would be written as it is: {advice}")]
    Secret {
        /// Where it is written now.
        place: String,
        /// What it is, without its value.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// What the service is made of is not what was measured.
    #[error(
        "the service is not what was measured: {}; make it what it was, or measure again by a new \
         sweep",
        .0.join("; ")
    )]
    Changed(Vec<String>),
    /// The files do not show what the tool reads.
    #[error(
        "{place}: the tool reads something else there than the file shows, so its `${{VAR}}` could not \
         be kept; write `{key}` into the service itself, in one of the files that the grid names"
    )]
    NotFollowed {
        /// Where.
        place: String,
        /// The key.
        key: &'static str,
    },
    /// A value that a file of variables cannot hold.
    #[error("the value of the variable {0} cannot be written into a file of variables")]
    Variable(String),
    /// A variable of this shell would count more than the written one.
    #[error(
        "{0} is set in this shell, and that counts more than a file of variables: `unset {0}`, then \
         try again"
    )]
    Exported(String),
    /// With the written files the tool reads another service.
    #[error(
        "with {path} the compose tool does not read what was tested: {} differ; nothing was written. \
         This is a bug: please report it with the form of the service",
        parts.join(", ")
    )]
    NotTheSame {
        /// The override.
        path: PathBuf,
        /// What differs.
        parts: Vec<String>,
    },
    /// A file of somebody else stands where one is to be written.
    #[error("{0} is not a file that `apply` wrote, so it stays: name another one by --output")]
    Foreign(PathBuf),
    /// It cannot be written.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// One of two files was written, and the other was not.
    #[error(
        "{written} was written, and {path} was not ({error}): deploy neither before `apply` ran to its end"
    )]
    HalfWritten {
        /// What was written.
        written: PathBuf,
        /// What was not.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The override and the file of its variables would be one file.
    #[error(
        "{0} is the file of the override's variables: name the override by another ending, as `.yaml`"
    )]
    SamePath(PathBuf),
    /// A value that the sweep's files do not have.
    #[error("the sweep's files do not have {0}: secrets are masked in them; set it in the service")]
    Masked(String),
}

impl ApplyError {
    /// Whether somebody has to change files. Else this machine lacks what it takes.
    pub fn is_mistake(&self) -> bool {
        match self {
            Self::Compose(error) => error.is_mistake(),
            Self::Engine(_) | Self::Io { .. } | Self::HalfWritten { .. } => false,
            _ => true,
        }
    }
}
