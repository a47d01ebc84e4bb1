//! What a sweep's statistics carry. With the strategy `grid` there are no
//! confirmation launches, so nobody is called a winner: the best of many looks
//! better than it is.

use std::fmt;

use serde::Serialize;

use super::disturbance::Undecided;
use super::exclusion::{self, Exclusion};

/// What can be said of the first rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum RankingVerdict {
    /// Nothing could be ranked.
    Nothing {
        /// Why not.
        cause: NothingRanked,
    },
    /// One configuration could be ranked, so there is nothing to compare it with.
    Only {
        /// Its name.
        name: String,
    },
    /// One configuration is distinguishable from all others.
    First {
        /// Its name.
        name: String,
    },
    /// Several share the first ranks.
    Tie {
        /// Their names, best mean first.
        names: Vec<String>,
        /// Their places; one that is shown to be worse may stand between them.
        ranks: Vec<u32>,
    },
    /// Several would share the first ranks, or one would be first, but the measurement does
    /// not carry it.
    Undecided {
        /// Their names, best mean first.
        names: Vec<String>,
        /// Their places.
        ranks: Vec<u32>,
        /// Why not.
        causes: Vec<Undecided>,
    },
    /// Configurations were launched once, so nothing is shown of them.
    Insufficient {
        /// Name of the one with the best mean.
        leader: String,
        /// Launches that would give a second one to each ranked configuration.
        more_launches: u32,
    },
    /// Launches were chosen by what was measured, and no two configurations have enough of
    /// them for a claim with rank 1 in it.
    Unclaimed {
        /// Name of the one with the best mean.
        leader: String,
        /// Ranked configurations with too few launches.
        few: usize,
        /// Ranked configurations.
        of: usize,
        /// Launches from which one can be in a claim.
        claimed_from: usize,
    },
}

/// Why nothing could be ranked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NothingRanked {
    /// The sweep has no configuration.
    NoConfiguration,
    /// The only configuration is excluded.
    OnlyExcluded {
        /// Why.
        exclusions: Vec<Exclusion>,
    },
    /// All of them are excluded.
    NoneEligible {
        /// How many there are.
        configurations: usize,
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
            Self::Nothing { cause } => write!(f, "nothing could be ranked: {cause}"),
            Self::Only { name } => {
                write!(f, "{name} is the only configuration that could be ranked")
            }
            Self::First { name } => write!(f, "{name} ranks first"),
            Self::Tie { ranks, .. } => {
                write!(f, "tie: ranks {} are not distinguishable", listed(ranks))
            }
            Self::Undecided { names, ranks, causes } => {
                let causes: Vec<String> = causes.iter().map(ToString::to_string).collect();
                let causes = causes.join("; ");
                match &names[..] {
                    [name] => write!(f, "that {name} ranks first is not shown: {causes}"),
                    _ => write!(f, "nothing is decided between ranks {}: {causes}", listed(ranks)),
                }
            }
            Self::Unclaimed { leader, few, of, claimed_from } => write!(
                f,
                "no claim: {leader} has the best mean, but {few} of {of} configurations were \
                 launched fewer than {claimed_from} times"
            ),
            Self::Insufficient { leader, more_launches } => {
                let once = match more_launches {
                    1 => "1 configuration was".to_owned(),
                    more => format!("{more} configurations were"),
                };
                write!(
                    f,
                    "insufficient data (about {more_launches} more launches): {leader} has the \
                     best mean, but {once} launched once"
                )
            }
        }
    }
}

/// `1-3`, or `1-2, 4` with a gap.
pub(super) fn listed(ranks: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &rank in ranks {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == rank => *last = rank,
            _ => runs.push((rank, rank)),
        }
    }
    let runs = runs.into_iter().map(|(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    });
    runs.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for NothingRanked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConfiguration => write!(f, "there is no configuration"),
            Self::OnlyExcluded { exclusions } => {
                write!(f, "{}", exclusion::joined(exclusions).unwrap_or_default())
            }
            Self::NoneEligible { configurations } => {
                write!(f, "none of {configurations} configurations is eligible")
            }
        }
    }
}
