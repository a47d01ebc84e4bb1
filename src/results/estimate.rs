//! Means with their intervals, and effects against the baseline: plain values that
//! the ranking and its findings carry. How they are computed is in `measured`.

use serde::Serialize;

use crate::metric::Goal;
use crate::statistics::Interval;

/// Mean of a metric and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// In the metric's unit: geometric, or arithmetic where the metric may be zero
    /// or negative.
    pub mean: f64,
    /// Geometric mean, where all values have a logarithm.
    pub geomean: Option<f64>,
    /// Interval of the mean; `None` where equal values leave nothing to make one of.
    pub interval: Option<Interval>,
    /// Launches that gave a value.
    pub launches: usize,
    /// Values.
    pub repeats: usize,
    /// Whether the interval rests on an assumed variance.
    pub assumed: bool,
}

/// A ratio of geometric means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio.
    pub ratio: f64,
    /// Its 95 % interval, not adjusted for multiplicity.
    pub interval: Interval,
}

/// The objective compared with the baseline's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Effect {
    /// The mean divided by the baseline's.
    Ratio(Ratio),
    /// The mean minus the baseline's, where means may be zero.
    Difference {
        /// The difference, in the metric's unit.
        difference: f64,
        /// Its 95 % interval, not adjusted for multiplicity.
        interval: Interval,
    },
}

impl Effect {
    /// Whether the estimate is on the better side of no effect.
    pub fn is_better(&self, goal: Goal) -> bool {
        let gain = match self {
            Self::Ratio(ratio) => ratio.ratio - 1.0,
            Self::Difference { difference, .. } => *difference,
        };
        match goal {
            Goal::Maximize => gain > 0.0,
            Goal::Minimize => gain < 0.0,
        }
    }
}
