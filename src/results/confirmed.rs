//! The gain of a candidate over the baseline on fresh launches: the only one that is
//! published. Plain values that the ranking and its reading carry.

use jiff::Timestamp;
use serde::Serialize;

use super::estimate::Effect;

/// What fresh launches of a candidate and the baseline showed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfirmedGain {
    /// The candidate's name.
    pub candidate: String,
    /// The baseline's name.
    pub baseline: String,
    /// The candidate compared with the baseline.
    pub effect: Effect,
    /// Whether a gain is shown: the whole interval is on the better side.
    pub shown: bool,
    /// Whether the confirmation ended by its own rule; otherwise it can be continued.
    pub complete: bool,
    /// Launches of the candidate and of the baseline.
    pub launches: (u32, u32),
    /// When the first of them started.
    pub from: Option<Timestamp>,
    /// When the last of them ended.
    pub until: Option<Timestamp>,
}
