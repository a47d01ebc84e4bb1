//! How a cluster took a launch: the class of a loss, and what it is called. A loss says nothing
//! of the configuration. What a scheduler's states mean for it is decided in `sweep`.

use serde::{Deserialize, Serialize};

/// How a launch was lost on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The node failed.
    NodeFailed,
    /// A job of a higher priority took the node.
    Preempted,
    /// The job reached its limit of time.
    TimedOut,
    /// The job used more memory than it may.
    OutOfMemory,
    /// Somebody else cancelled the job.
    Cancelled,
    /// The cluster started the job for a second time.
    Requeued,
    /// The job is over, and what it came to is nowhere: a file system that is late, or a program
    /// that could not be started.
    NoResult,
    /// The node cannot make launches: its disk is full, for example, or it lacks the engine.
    NodeUnable,
    /// The node has other GPUs, another driver or another version of the engine than those
    /// before: their figures do not mix.
    OtherMachine,
    /// A loss of a newer version.
    #[serde(other)]
    Unknown,
}

impl Loss {
    /// What happened, for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeFailed => "the node failed",
            Self::Preempted => "a job of a higher priority took the node",
            Self::TimedOut => "the job reached its time limit",
            Self::OutOfMemory => "the job used more memory than it may",
            Self::Cancelled => "somebody cancelled the job",
            Self::Requeued => "the cluster started the job a second time",
            Self::NoResult => "the job ended without a result",
            Self::NodeUnable => "the node cannot make launches",
            Self::OtherMachine => "the node has other GPUs, another driver or another engine",
            Self::Unknown => "the cluster ended it",
        }
    }

    /// Whether the node is not to be used again by the run.
    pub fn is_of_node(self) -> bool {
        matches!(self, Self::NodeUnable | Self::OtherMachine)
    }
}
