//! What a sweep's statistics carry, in words. With the strategy `grid` there are
//! no confirmation launches, so nobody is called a winner: the best of many
//! looks better than it is.

use std::fmt;

/// What can be said of the first rank.
#[derive(Clone, Debug, PartialEq)]
pub enum RankingVerdict {
    /// Nothing could be ranked.
    Nothing {
        /// Why not.
        reason: String,
    },
    /// One configuration could be ranked, so there is nothing to compare it with.
    Only {
        /// Its name.
        name: String,
    },
    /// One configuration is told apart from all others.
    First {
        /// Its name.
        name: String,
    },
    /// Several share the first ranks.
    Tie {
        /// Their names, best mean first.
        names: Vec<String>,
    },
    /// The order rests on an assumed variance: configurations were launched once.
    Insufficient {
        /// Name of the one with the best mean.
        leader: String,
        /// Launches that would give a second one to each ranked configuration.
        more_launches: u32,
    },
}

impl RankingVerdict {
    /// Whether anything could be ranked.
    pub fn ranked(&self) -> bool {
        !matches!(self, Self::Nothing { .. })
    }
}

impl fmt::Display for RankingVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { reason } => write!(f, "nothing could be ranked: {reason}"),
            Self::Only { name } => {
                write!(f, "{name} is the only configuration that could be ranked")
            }
            Self::First { name } => write!(f, "{name} ranks first"),
            Self::Tie { names } => {
                write!(f, "tie: ranks 1-{} cannot be told apart", names.len())
            }
            Self::Insufficient { leader, more_launches } => write!(
                f,
                "insufficient data (about {more_launches} more launches): {leader} has the best \
                 mean, but the launch-to-launch variance is assumed, not measured"
            ),
        }
    }
}

/// How a bound stands against an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConstraintVerdict {
    /// The whole interval is within the bound.
    Holds,
    /// The bound lies inside the interval.
    NotShown,
    /// There is no value.
    NotMeasured,
    /// The whole interval is beyond the bound.
    Violated,
}

impl ConstraintVerdict {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::NotShown => "not_shown",
            Self::NotMeasured => "not_measured",
        }
    }
}
