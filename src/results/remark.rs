//! What a reader should know of a configuration that has a rank, as data with its
//! figures, and the one wording of it.

use crate::clean::counted;
use std::fmt;

use serde::Serialize;

use super::bounded::Bounded;
use super::disturbance::DisturbedRepeats;
use super::failed_repeats::LostRepeats;
use super::missing::MissingValues;
use super::not_again::NotAgain;
use super::under_load::Repeating;
use crate::history::launch::FailureClass;

/// What a reader should know of a ranked configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "remark", rename_all = "snake_case")]
pub enum Remark {
    /// A bound lies inside the interval of its metric.
    BoundNotShown(Bounded),
    /// Repeats of a case failed, were void or were skipped.
    LostRepeats(LostRepeats),
    /// Repeats without a value of the objective or of a bounded metric.
    MissingValues(MissingValues),
    /// Its launches fall into two groups: their mean is of neither.
    TwoGroups {
        /// Launches with the lower values.
        low: usize,
        /// Launches with the higher ones.
        high: usize,
        /// The mean of the higher ones over that of the lower ones.
        ratio: f64,
    },
    /// The first kept repeat of its launches is worse than the others: it is not warm yet.
    SlowFirstRepeat {
        /// By how much, as a ratio of at least 1.
        ratio: f64,
    },
    /// Some launches failed, and others were good.
    FailedLaunches {
        /// How many.
        failed: usize,
        /// Of how many.
        launches: usize,
        /// The class of the last failure.
        class: FailureClass,
    },
    /// Some of its sampled answers loop under load: by chance, or as often as those that it is
    /// compared with.
    LoopsUnderLoad(Repeating),
    /// Others saturated the host during some of its repeats.
    Disturbed(DisturbedRepeats),
    /// The launches of another configuration count for this one: it ran with the same
    /// values.
    RanAsThis {
        /// The other's name.
        configuration: String,
    },
    /// A sweep that chooses its launches launched it no more.
    NotLaunchedAgain(NotAgain),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BoundNotShown(bounded) => {
                write!(f, "not shown to be within the bound of {bounded}")
            }
            Self::LostRepeats(repeats) => repeats.fmt(f),
            Self::MissingValues(missing) => missing.fmt(f),
            Self::TwoGroups { low, high, ratio } => write!(
                f,
                "its launches fall into two groups, {low} low and {high} high, x{ratio:.2} apart: \
                 the mean is of neither"
            ),
            Self::SlowFirstRepeat { ratio } => write!(
                f,
                "the first kept repeat is worse by {:.0}% launch by launch: raise `warmup`",
                (ratio - 1.0) * 100.0
            ),
            Self::FailedLaunches { failed, launches, class } => {
                let launches = counted(*launches, "launch");
                write!(f, "{failed} of {launches} failed ({})", class.as_str())
            }
            Self::LoopsUnderLoad(repeating) => repeating.fmt(f),
            Self::Disturbed(DisturbedRepeats { disturbed, repeats, host_cpu, others, .. }) => {
                let repeats = counted(*repeats, "repeat");
                write!(f, "others saturated the host in {disturbed} of {repeats}")?;
                let percent = |share: &f64| share * 100.0;
                match (host_cpu.as_ref().map(percent), others.as_ref().map(percent)) {
                    (Some(cpu), Some(others)) => {
                        write!(f, " (CPU at {cpu:.0}%, {others:.0}% of all cores used by others)")
                    }
                    _ => Ok(()),
                }
            }
            Self::NotLaunchedAgain(it) => it.fmt(f),
            Self::RanAsThis { configuration } => write!(f, "{configuration} ran as this one"),
        }
    }
}
