//! A launch that is clearly behind after its first repeats measures no more of them. What
//! that means is said here once, for the launch itself, which decides it, and for whoever
//! reads the journal: what was left out is not missing. Pure. Where the bar lies is the
//! strategy's.

use serde::{Deserialize, Serialize};

use super::record::{LaunchRecord, SweepRecord};
use super::values::{case_of, kept, value};
use crate::metric::Goal;
use crate::strategy::Bar;
use crate::workload::LAUNCH;

/// Why a launch measures fewer repeats than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Behind {
    /// Kept repeats of each case that are measured in spite of it.
    pub repeats: u32,
    /// Mean of the objective's kept repeats so far.
    pub value: f64,
    /// The value that all of them are beyond.
    pub bar: f64,
}

impl Behind {
    /// Whether the objective's kept repeats so far are enough, and all beyond the bar. An
    /// equal value is not.
    pub fn of(bar: Bar, goal: Goal, values: &[f64]) -> Option<Self> {
        let is_beyond = |value: &f64| match goal {
            Goal::Minimize => *value > bar.value,
            Goal::Maximize => *value < bar.value,
        };
        let is_enough = !values.is_empty() && values.len() >= bar.repeats as usize;
        (is_enough && values.iter().all(is_beyond)).then(|| Self {
            repeats: bar.repeats.max(1),
            value: values.iter().sum::<f64>() / values.len() as f64,
            bar: bar.value,
        })
    }
}

/// Whether a trial's further repeats are left out: it is journalled, or follows from its bar
/// and from what its launches gave, where the process died before it was journalled.
pub fn behind(record: &SweepRecord, trial: u32) -> Option<Behind> {
    let known = of_trial(record, trial).find_map(|launch| launch.behind);
    known.or_else(|| Behind::of(bar(record, trial)?, goal(record), &objective(record, trial)))
}

/// The bar that a trial began with.
pub fn bar(record: &SweepRecord, trial: u32) -> Option<Bar> {
    of_trial(record, trial).find_map(|launch| launch.bar)
}

/// The objective's valid kept repeats of a trial so far; none where it has no repeats, as a
/// metric of the launch itself.
pub fn objective(record: &SweepRecord, trial: u32) -> Vec<f64> {
    let metric = &record.manifest.objective.metric;
    let case = case_of(&record.manifest, metric).filter(|_| metric.workload != LAUNCH);
    let Some(case) = case else { return Vec::new() };
    let repeats = of_trial(record, trial).flat_map(|it| kept(it, &metric.workload, &case));
    repeats.filter_map(|it| value(it, &metric.name)).collect()
}

fn goal(record: &SweepRecord) -> Goal {
    record.manifest.objective.goal
}

fn of_trial(record: &SweepRecord, trial: u32) -> impl Iterator<Item = &LaunchRecord> {
    record.launches.iter().filter(move |launch| launch.trial == trial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(value: f64, repeats: u32) -> Bar {
        Bar { value, repeats }
    }

    #[test]
    fn all_repeats_must_be_beyond_and_enough_of_them() {
        let behind = |values: &[f64]| Behind::of(bar(100.0, 2), Goal::Minimize, values);
        assert_eq!(behind(&[]), None);
        assert_eq!(behind(&[120.0]), None, "one of two");
        assert_eq!(behind(&[120.0, 100.0]), None, "the bar itself is not beyond it");
        let found = Behind { repeats: 2, value: 130.0, bar: 100.0 };
        assert_eq!(behind(&[120.0, 140.0]), Some(found));
        let faster = |values: &[f64]| Behind::of(bar(100.0, 0), Goal::Maximize, values);
        assert_eq!(faster(&[120.0]), None, "more is better");
        assert_eq!(faster(&[]), None, "nothing is known");
        assert_eq!(faster(&[90.0]).map(|it| it.repeats), Some(1), "the first is measured");
    }
}
