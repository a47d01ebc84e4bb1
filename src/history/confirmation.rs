//! A confirmation as the journal keeps it: which configuration is compared with which, how
//! precisely, and how it ended. A run can have several; each has a number, and launches
//! and trials of its own, which the ranking does not count.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::strategy::confirm::{Confirm, Ended};

/// Trials of a confirmation begin at its number times this: no other strategy has so many.
const TRIALS: u32 = 1_000_000;

/// What a session that confirms was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Its number in the run, from 1.
    pub number: u32,
    /// Name of the configuration that is confirmed.
    pub candidate: String,
    /// Name of the one that it is compared with.
    pub baseline: String,
    /// The interval's half-width is to be at most half of this fraction.
    pub claim: f64,
    /// Decides which of both is launched first.
    pub seed: u64,
    /// Kept repeats per launch and workload case, where its workload does not say.
    pub repeats: u32,
    /// Seconds that the session may take; `None` where it is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_seconds: Option<u64>,
    /// Whether the session works on it as the grid asks: within what is left of the grid's
    /// budget, in all of its sessions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_grid: bool,
}

impl Confirmation {
    /// Number of its first trial.
    pub fn first_trial(&self) -> u32 {
        self.number.saturating_mul(TRIALS)
    }

    /// Whether it compares the same two configurations.
    pub fn is_same_pair(&self, other: &Self) -> bool {
        self.candidate == other.candidate && self.baseline == other.baseline
    }

    /// Its strategy; `None` where one of both is not among the configurations' names. `pace`:
    /// seconds of the machine in one of the journal.
    pub fn strategy(&self, names: &[&str], pace: f64) -> Option<Confirm> {
        let index = |wanted: &str| names.iter().position(|name| *name == wanted);
        Some(Confirm {
            candidate: index(&self.candidate)?,
            baseline: index(&self.baseline)?,
            first_trial: self.first_trial(),
            repeats: self.repeats,
            claim: self.claim,
            seed: self.seed,
            pace,
        })
    }
}

/// A confirmation and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfirmationRecord {
    /// What its last session was asked for.
    pub asked: Confirmation,
    /// Why it ended; `None` while it runs, and where it was stopped or killed.
    pub ended: Option<Ended>,
    /// Whether any session worked on it as the grid asks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_grid: bool,
    /// Launches of sessions that a person asked for: the grid's budget does not pay for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_person: Vec<u32>,
    /// How an earlier session of it ended, where the last one did not: its result stands.
    #[serde(default)]
    pub earlier: Option<Ended>,
    /// Whether the session that the journal ends with works on it.
    pub open: bool,
    /// When its last session began, and when that session last wrote something.
    pub session: (Timestamp, Timestamp),
}

impl ConfirmationRecord {
    /// What its last session left of the budget, in seconds; `None` without a limit.
    pub fn budget_left(&self) -> Option<u64> {
        let (from, until) = self.session;
        let spent = u64::try_from(until.duration_since(from).as_secs()).unwrap_or_default();
        Some(self.asked.budget_seconds?.saturating_sub(spent))
    }
}
