//! Statistics under few launches: intervals, variance components, differences
//! that survive the search for them. Pure: plain numbers in, plain numbers out.
//! Values are logarithms wherever a ratio is meant, and counts have [`Share`] and
//! [`Events`]; which measurements count is decided in `results`.
//!
//! The model: a value of arm *i* in launch *j*, repeat *k* is
//! `mu_i + launch_ij + repeat_ijk` with variances `sL2` (launch) and `s2`
//! (repeat) that all arms share. Repeats in one launch share the launch's
//! offset, so they alone never make a mean precise. On a machine whose speed moves, the
//! launches of all arms share its level besides: [`MachineFit`] takes it out, host by host.

mod best;
mod binomial;
pub(crate) mod cholesky;
mod connected;
mod correlation;
mod counts;
mod difference;
pub(crate) mod distribution;
mod factors;
mod holm;
mod interval;
mod launch_mean;
mod machine;
mod machine_repeats;
mod machine_state;
mod machine_sums;
mod median;
mod moments;
mod slope;
mod variance;

pub use best::{Belief, Chances, chances};
pub use binomial::{lower_bound, upper_bound};
pub use connected::connected;
pub use correlation::{Correlated, LEAST_LAUNCHES, strongest};
pub use counts::{Events, Share};
pub use difference::adjusted_to_first;
pub use factors::{Additive, Factor, FactorEffect};
pub use holm::holm;
pub use interval::{Interval, mean_interval, t_quantile, two_sided_p};
pub use launch_mean::LaunchMean;
pub use machine::{MAX_JUMPS, MachineFit, fit, fit_race, is_too_large};
pub use machine_state::MachineState;
pub use median::median;
pub use slope::slope;
pub use variance::{Components, GroupedValues, Prior, Uncertainty};

/// The level of every interval of this crate.
pub const CONFIDENCE: f64 = 0.95;

/// Differences are claimed when their adjusted p-value is below this.
pub const SIGNIFICANCE: f64 = 0.05;
