//! What a reader should know of a configuration that has a rank, as data with its
//! figures, and the one wording of it.

use std::fmt;

use serde::Serialize;

use super::bounded::Bounded;
use super::failed_repeats::LostRepeats;
use crate::history::launch::FailureClass;

/// What a reader should know of a ranked configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "remark", rename_all = "snake_case")]
pub enum Remark {
    /// A bound lies inside the interval of its metric.
    BoundNotShown(Bounded),
    /// Repeats of a case failed, were void or were skipped.
    LostRepeats(LostRepeats),
    /// Some launches failed, and others were good.
    FailedLaunches {
        /// How many.
        failed: usize,
        /// Of how many.
        launches: usize,
        /// The class of the last failure.
        class: FailureClass,
    },
    /// The launches of another configuration count for this one: it ran with the same
    /// values.
    RanAsThis {
        /// The other's name.
        configuration: String,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BoundNotShown(bounded) => {
                write!(f, "not shown to be within the bound of {bounded}")
            }
            Self::LostRepeats(repeats) => repeats.fmt(f),
            Self::FailedLaunches { failed, launches, class } => {
                write!(f, "{failed} of {launches} launches failed ({})", class.as_str())
            }
            Self::RanAsThis { configuration } => write!(f, "{configuration} ran as this one"),
        }
    }
}
