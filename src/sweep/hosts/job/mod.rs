//! A launch as a job: what the controller writes for a node, and what the node writes for the
//! controller, as files in the launch's folder on a file system that both see. Whole or not at
//! all: files that are read once are renamed into place; the lines of a launch are appended, and
//! the last one counts when its end is there. Nothing here knows a scheduler.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::launch::TrialOrder;
use crate::event::Phase;
use crate::history::journal::Entry;
use crate::history::launch::LaunchOutcome;
use crate::machine::Machine;

mod beat;
pub mod begun;
pub mod node;
mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

/// Version of these files: a node with another program is refused.
pub const FORMAT: u32 = 1;

/// What a node is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobOrder {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Version of the tool that wrote it: another one would not measure the same.
    pub tool_version: String,
    /// The run's id, as in its manifest.
    pub run_id: String,
    /// The run's folder.
    pub run: PathBuf,
    /// The launch.
    pub order: TrialOrder,
}

/// What a node wrote, one line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The node's program runs.
    Began(Began),
    /// An entry of the launch, for the journal.
    Entry {
        /// When it was written there, by the node's steady clock.
        at: jiff::Timestamp,
        /// What happened.
        entry: Box<Entry>,
    },
    /// The launch came to another phase: for a person, never journalled.
    Phase {
        /// In words.
        phase: String,
    },
    /// Something that a person should read.
    Warning {
        /// One line.
        text: String,
    },
    /// The launch is over. Nothing follows it.
    Ended {
        /// When.
        at: jiff::Timestamp,
        /// How.
        end: End,
    },
}

/// Where a launch runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Began {
    /// When, by the node's clock.
    pub at: jiff::Timestamp,
    /// The node's name.
    pub host: String,
    /// What it is; of its GPUs those that the job got, where a scheduler gave any. Whether its
    /// figures may be pooled with another node's: [`Machine::apart`].
    pub machine: Machine,
    /// The job's id, where a scheduler gave one.
    pub job: Option<String>,
    /// How often the scheduler started the job before.
    pub restarts: u32,
}

/// How a launch ended on its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// As any launch ends.
    Outcome(LaunchOutcome),
    /// The node, or this tool on it, cannot make launches: not the configuration's failure.
    Unable {
        /// Why.
        message: String,
        /// Lines that explain it.
        log_lines: Vec<String>,
    },
    /// A server runs on there that could not be ended.
    Unstopped {
        /// What it is.
        message: String,
        /// What the launch came to.
        outcome: Box<LaunchOutcome>,
    },
}

/// Where the files of a launch are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// In the launch's folder.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The order.
    pub fn order(&self) -> PathBuf {
        self.folder.join("job.json")
    }

    /// The lines that the node writes.
    pub fn lines(&self) -> PathBuf {
        self.folder.join("job.lines.jsonl")
    }

    /// The time at which the node was alive last.
    pub fn heartbeat(&self) -> PathBuf {
        self.folder.join("job.heartbeat")
    }

    /// Which start of the job took the order: it is made once.
    pub fn taken(&self) -> PathBuf {
        self.folder.join("job.taken")
    }

    /// Space that is kept for the last line.
    pub fn reserve(&self) -> PathBuf {
        self.folder.join("job.reserve")
    }

    /// What the job printed: nothing, unless something is wrong.
    pub fn output(&self) -> PathBuf {
        self.folder.join("job.log")
    }
}

/// A phase in words for a person.
pub fn spoken(phase: &Phase) -> String {
    match phase {
        Phase::Booting(boot) => boot.as_str().to_owned(),
        Phase::Ready { seconds } => format!("ready after {seconds:.0} s"),
        Phase::Gate(gate) => format!("gate {gate}"),
        Phase::Measuring { workload, case, repeat } => {
            let case = if case.is_empty() { String::new() } else { format!("[{case}]") };
            let repeat =
                if *repeat == 0 { "warm-up".to_owned() } else { format!("repeat {repeat}") };
            format!("{workload}{case} {repeat}")
        }
        Phase::Stopping => "stopping".to_owned(),
        Phase::Elsewhere(what) => what.clone(),
    }
}
