//! Whether a trial is clearly behind, by what its launches gave so far: what is left out of it
//! then is not missing, for whoever reads the journal. Pure. What "behind" means is
//! [`Behind`]'s, which the launch itself asks too; where the bar lies is the strategy's.

use super::launch::Behind;
use super::record::{LaunchRecord, SweepRecord};
use super::values::{case_of, kept, value};
use crate::metric::Goal;
use crate::strategy::Bar;
use crate::workload::LAUNCH;

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
