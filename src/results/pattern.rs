//! Patterns in the launches of one configuration that a mean hides: launches in two
//! groups, and a first kept repeat that is slow again and again.

use super::arm::{self, Arm};
use crate::metric::{Goal, MetricRef};
use crate::statistics::mean_interval;

/// Launches from which groups are looked for.
const GROUPED: usize = 4;

/// Groups that are nearer than this, on log scale, are not worth a remark.
const LEAST_GAP: f64 = 0.1;

/// The gap between two groups, in deviations within them.
const GAP_DEVIATIONS: f64 = 4.0;

/// Deviation of launches within a group that is believed before there are data, and what
/// it is worth in degrees of freedom: two launches that happen to be equal are no group.
const WITHIN: (f64, f64) = (0.03, 2.0);

/// Launches from which a slow first repeat is a pattern.
const AGAIN: usize = 3;

/// A first repeat that is worse by less is not worth a remark.
const SLOW: f64 = 1.05;

/// Sizes of the two groups, and the ratio of the higher mean to the lower one.
pub(super) type Groups = (usize, usize, f64);

/// Whether what is left of a configuration's launches, on log scale and with the machine's
/// level taken out, falls into two groups of two or more.
pub(super) fn two_groups(rests: &[f64]) -> Option<Groups> {
    if rests.len() < GROUPED {
        return None;
    }
    let mut sorted = rests.to_vec();
    sorted.sort_by(f64::total_cmp);
    let gap = |at: &usize| sorted[*at] - sorted[*at - 1];
    let at = (2..=sorted.len() - 2).max_by(|a, b| gap(a).total_cmp(&gap(b)))?;
    let (low, high) = sorted.split_at(at);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let squares = |values: &[f64]| {
        let mean = mean(values);
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let (deviation, degrees) = WITHIN;
    let known = squares(low) + squares(high) + degrees * deviation.powi(2);
    let within = (known / (sorted.len() as f64 - 2.0 + degrees)).sqrt();
    let apart = gap(&at) > LEAST_GAP.max(GAP_DEVIATIONS * within);
    apart.then(|| (low.len(), high.len(), (mean(high) - mean(low)).exp()))
}

/// By how much the first kept repeat of a launch is worse than the others, as a ratio,
/// where that is so launch by launch.
pub(super) fn slow_first_repeat(
    arm: &Arm<'_>,
    metric: &MetricRef,
    case: &str,
    goal: Goal,
) -> Option<f64> {
    let sign = if goal == Goal::Minimize { 1.0 } else { -1.0 };
    let of_launch = |launch: &&crate::history::record::LaunchRecord| {
        let values = arm::timed_values(launch, metric, case);
        let logs: Vec<f64> = values.iter().map(|(_, value)| value.ln()).collect();
        let (first, others) = logs.split_first().filter(|(_, others)| !others.is_empty())?;
        let mean = others.iter().sum::<f64>() / others.len() as f64;
        Some(sign * (first - mean)).filter(|difference| difference.is_finite())
    };
    let differences: Vec<f64> = arm.launches.iter().filter_map(of_launch).collect();
    if differences.len() < AGAIN {
        return None;
    }
    let (mean, interval) = mean_interval(&differences)?;
    (interval.low > 0.0 && mean > SLOW.ln()).then(|| mean.exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_far_from_each_other_and_close_within() {
        let found = two_groups(&[0.01, 0.4, -0.02, 0.41, 0.0, 0.38]).unwrap();
        assert_eq!((found.0, found.1), (3, 3));
        assert!((found.2 - 1.5).abs() < 0.02, "{found:?}");
        for alike in [
            &[0.01, 0.02, -0.03, 0.0, 0.04][..],
            &[0.0, 0.1, 0.2, 0.3, 0.4],
            // One outlier is no group, and three launches are too few.
            &[0.0, 0.01, -0.01, 0.02, 0.6],
            &[0.0, 0.0, 0.5],
        ] {
            assert_eq!(two_groups(alike), None, "{alike:?}");
        }
    }
}
