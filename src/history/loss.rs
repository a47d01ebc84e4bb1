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
    /// The cluster ended the job, and does not say why; or a loss of a newer version.
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
            Self::Unknown => "the cluster ended it, and why is not known",
        }
    }

    /// Its class in two words, as files write it.
    pub fn short(self) -> &'static str {
        match self {
            Self::NodeFailed => "node failed",
            Self::Preempted => "preempted",
            Self::TimedOut => "timed out",
            Self::OutOfMemory => "out of memory",
            Self::Cancelled => "cancelled",
            Self::Requeued => "requeued",
            Self::NoResult => "no result",
            Self::NodeUnable => "node unable",
            Self::OtherMachine => "other machine",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the node is not to be used again by the run.
    pub fn is_of_node(self) -> bool {
        matches!(self, Self::NodeUnable | Self::OtherMachine)
    }
}

/// The node that is not used again after a loss, and why, where the launch did not begin there: the
/// message of such a loss begins with its name.
pub fn refused(message: &str) -> Option<(&str, &str)> {
    let (node, why) = message.split_once(": ")?;
    let is_name = !node.is_empty() && !node.contains(char::is_whitespace);
    is_name.then_some((node, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_used_again_is_the_first_word_of_the_message() {
        let full = refused("n2: the disk is full: /tmp");
        assert_eq!(full, Some(("n2", "the disk is full: /tmp")));
        for other in ["", ": x", "the job ended without a result (job 3 on n1); it printed: n2: x"]
        {
            assert_eq!(refused(other), None, "{other}");
        }
    }
}
