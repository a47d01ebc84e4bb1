//! What to take from a ranking, and what it claims: two different statements. The
//! candidate is the best guess; a claim is what the data show of it against the baseline.

use std::fmt;

use serde::Serialize;

use super::estimate::Effect;

/// What to take, and what is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// What to take, or to confirm.
    pub candidate: Candidate,
    /// What is shown of it.
    pub claim: Claim,
}

/// The best guess of a ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Its name.
    pub configuration: String,
    /// Its place.
    pub rank: u32,
    /// Ranked configurations within 1 % of rank 1, itself included: among these a
    /// preference decides.
    pub within_1_percent: usize,
    /// What decided between them; `Mean` where nothing else did.
    pub criterion: Criterion,
    /// Probability that it is less than 5 % from the best.
    pub p_within_5_percent: Option<f64>,
    /// Whether it is shown to be within all bounds; true without any.
    pub within_bounds: bool,
    /// Rank 1, where that is not taken since it has too few launches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
}

/// Rank 1 of a sweep that chose its launches, where the sweep went on with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Its name.
    pub configuration: String,
    /// Its launches with a value.
    pub launches: usize,
}

/// What decides between configurations within 1 % of rank 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Shown to be within all bounds.
    WithinBounds,
    /// Fewer launches and repeats that failed.
    FewerFailures,
    /// Less `gpu-memory-utilization`.
    LessMemory,
    /// Fewer flags that differ from the baseline's.
    FewerChangedFlags,
    /// The better mean.
    Mean,
}

impl Criterion {
    /// All of them, in the order in which they decide.
    pub const ALL: &[Self] = &[
        Self::WithinBounds,
        Self::FewerFailures,
        Self::LessMemory,
        Self::FewerChangedFlags,
        Self::Mean,
    ];
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WithinBounds => "within all bounds",
            Self::FewerFailures => "fewer failures",
            Self::LessMemory => "less gpu-memory-utilization",
            Self::FewerChangedFlags => "fewer flags that differ from the baseline's",
            Self::Mean => "the mean",
        })
    }
}

/// What is shown of the candidate against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "claim", rename_all = "snake_case")]
pub enum Claim {
    /// It is better than the baseline.
    Better {
        /// The baseline.
        baseline: String,
        /// By how much.
        effect: Effect,
        /// Adjusted p-value (Holm over all that are compared with the baseline).
        p: f64,
    },
    /// It is not shown to be better.
    NotShown {
        /// The baseline.
        baseline: String,
        /// By how much it seems to be; `None` where no value varies, so that there is
        /// no interval.
        effect: Option<Effect>,
        /// Adjusted p-value; `None` where one of both was launched once.
        p: Option<f64>,
    },
    /// Launches were chosen by what was measured, and one of both has too few for a claim:
    /// `confirm` launches both.
    TooFewLaunches {
        /// The baseline.
        baseline: String,
        /// By how much it seems to be better; `None` likewise.
        effect: Option<Effect>,
        /// Launches of the candidate.
        of_candidate: usize,
        /// Launches of the baseline.
        of_baseline: usize,
        /// As many of each are needed.
        needed: usize,
    },
    /// The candidate is the baseline.
    IsBaseline,
    /// The baseline cannot be compared.
    BaselineNotRanked {
        /// The baseline.
        baseline: String,
        /// Why it has no rank.
        reason: Option<String>,
    },
    /// The grid names no baseline.
    NoBaseline,
}

impl Decision {
    /// The same where nothing is shown after all.
    #[must_use]
    pub(super) fn without_claim(self) -> Self {
        let claim = match self.claim {
            Claim::Better { baseline, effect, p } => {
                Claim::NotShown { baseline, effect: Some(effect), p: Some(p) }
            }
            claim => claim,
        };
        Self { claim, ..self }
    }

    /// Whether something better than the baseline is claimed.
    pub fn claims(&self) -> bool {
        matches!(self.claim, Claim::Better { .. })
    }
}
