//! Gains that fresh launches confirm, or do not: the only ones to publish. Plain values
//! that the ranking and its reading carry.

use jiff::Timestamp;
use serde::Serialize;

use super::estimate::Ratio;
use super::machine::MachineReport;

/// What fresh launches show of one configuration against another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfirmedGain {
    /// Number of the confirmation in the run, from 1.
    pub number: u32,
    /// The configuration that is confirmed.
    pub candidate: String,
    /// The one that it is compared with.
    pub baseline: String,
    /// The objective's ratio to the baseline's, with its 95 % interval; `None` where there are
    /// too few launches, or a value that is not positive.
    pub effect: Option<Ratio>,
    /// Half of the interval on log scale: 0.05 is about 5 %.
    pub half_width: Option<f64>,
    /// The half-width was to be at most half of this fraction.
    pub claim: f64,
    /// Pairs of launches that are over.
    pub pairs: u32,
    /// Launches that gave values.
    pub launches: OfBoth,
    /// Launches that failed.
    pub failed: OfBoth,
    /// When the first launch began.
    pub from: Option<Timestamp>,
    /// When the last one ended.
    pub until: Option<Timestamp>,
    /// Whether the candidate is shown to be better: the whole interval is on that side.
    pub shown: bool,
    /// Whether all launches that were asked for were made.
    pub complete: bool,
    /// What the machine did meanwhile.
    pub machine: Option<MachineReport>,
}

/// A number for each of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OfBoth {
    /// Of the configuration that is confirmed.
    pub candidate: usize,
    /// Of the one that it is compared with.
    pub baseline: usize,
}

impl ConfirmedGain {
    /// Whether there is a result: it came to an end, and has a gain.
    pub fn is_result(&self) -> bool {
        self.complete && self.effect.is_some()
    }
}
