//! What the machine did during a sweep, and what the design can and cannot separate
//! from it: plain values that the ranking and its findings carry. How they are computed
//! is in `level`.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

pub use super::hosts::{HostReport, Slower};
use crate::statistics::Uncertainty;
use crate::strategy::confirm::Noise;

/// What the machine did while the objective was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineReport {
    /// In one word.
    pub conclusion: Conclusion,
    /// Probability of a machine that does not drift and does not jump.
    pub p_calm: f64,
    /// Fastest launch over slowest, configurations taken out.
    pub speed_range: f64,
    /// SD of the machine's speed, on log scale.
    pub deviation: f64,
    /// Share of the variance between launches that was the machine's, and is taken out.
    pub share: f64,
    /// Order of magnitude of the time that a change of speed lasts; `None` where the
    /// speed jumps or does not drift.
    pub time_constant_minutes: Option<f64>,
    /// Where the speed jumped.
    pub jumps: Vec<Jump>,
    /// Launches during which it moved: their repeats spread far more than others.
    pub moved_inside: Vec<u32>,
    /// Each host, where there were several: what is above is of all together, each around its
    /// own mean.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostReport>,
    /// What the design does not separate.
    pub limits: Vec<DesignLimit>,
}

/// Whether the machine moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Shown.
    Moved,
    /// Not shown, by enough launches to show it.
    Calm,
    /// Not shown, by too few launches.
    Unknown,
}

/// A jump of the machine's speed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Jump {
    /// The launch before which it happened.
    pub before_launch: u32,
    /// About when, where times are known.
    pub at: Option<Timestamp>,
}

/// Why the machine cannot be separated from a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "limit", rename_all = "snake_case")]
pub enum DesignLimit {
    /// All launches of rank 1 came before, or after, all launches of what it is
    /// compared with.
    OneAfterTheOther,
    /// Configurations have fewer than 3 launches.
    FewLaunches {
        /// How many they have, as a rule.
        launches: usize,
    },
}

/// The smallest difference that a sweep can show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Detectable {
    /// As a fraction: smaller ones are inside the interval.
    pub difference: f64,
    /// Launches of a configuration, as a rule.
    pub launches: usize,
    /// A smaller difference that is often wanted, as a fraction.
    pub wanted: f64,
    /// About how many launches of each configuration show that one.
    pub needed_launches: usize,
}

/// The objective with the machine's level taken out: the level itself, and how well what
/// is left is known.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineCourse {
    /// Launches in the order of time.
    pub levels: Vec<LevelAt>,
    /// What launches and repeats differ by, and how fast the machine drifts, in its own seconds.
    pub noise: Noise,
    /// How well each configuration's mean is known, by the manifest's order: the variances
    /// of two make that of their difference. `None` where it has no launch.
    pub errors: Vec<Option<Uncertainty>>,
}

/// The machine's level at one launch, on log scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelAt {
    /// Number of the launch.
    pub launch: u32,
    /// Mean time of its repeats; `None` where times are not known.
    pub at: Option<Timestamp>,
    /// Relative to the mean over the launches.
    pub level: f64,
    /// Its standard error.
    pub error: f64,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}", at.strftime("%H:%M")),
            None => write!(f, "before launch {}", self.before_launch),
        }
    }
}
