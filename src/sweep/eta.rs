//! When a sweep will end: from what its own launches took, before the first of them has
//! ended from earlier sweeps of the same service, and where there is none by assumption.
//! Pure: time comes in as values, and what comes out is seconds.

use crate::grid::Grid;
use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::timing::Timing;
use crate::strategy::StrategySpec;

/// What is known of a sweep's duration before it has launched anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreknown {
    /// What earlier sweeps of the same service took.
    pub earlier: Timing,
    /// Seconds of one launch, by assumption: at the least and at the most.
    pub assumed: (f64, f64),
}

impl Foreknown {
    /// Assumed alone.
    pub fn assumed(grid: &Grid) -> Self {
        Self { earlier: Timing::default(), assumed: grid.assumed_launch_seconds() }
    }

    /// The same with what earlier sweeps took.
    #[must_use]
    pub fn with(self, earlier: Timing) -> Self {
        Self { earlier, ..self }
    }
}

/// What is left of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eta {
    /// Seconds until everything planned is done, at the least and at the most; equal
    /// where they come from what was measured.
    pub seconds: (f64, f64),
    /// What they come from.
    pub source: Source,
    /// The end of the budget, where that may come first.
    pub budget: Option<BudgetEnd>,
}

/// What an estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Launches of this sweep.
    Measured,
    /// So many earlier sweeps of the same service.
    Earlier(usize),
    /// Nothing that was measured.
    Assumed,
}

/// A budget that ends before everything planned is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetEnd {
    /// Seconds until it ends.
    pub seconds: f64,
    /// Launches that are begun before it, those already made included: at the least
    /// and at the most.
    pub launches: (u32, u32),
    /// Launches that are planned.
    pub of: u32,
}

/// What is left of a sweep of so many `trials` that has worked for some seconds.
pub(super) fn eta(record: &SweepRecord, foreknown: &Foreknown, trials: u32, worked: f64) -> Eta {
    let mut own = Timing::default();
    own.learn(record);
    let left = Left::of(record, trials);
    let (source, seconds) = if let Some(seconds) = left.seconds(record, &[&own, &foreknown.earlier])
    {
        let source = if own.is_empty() {
            Source::Earlier(foreknown.earlier.sweeps())
        } else {
            Source::Measured
        };
        (source, (seconds, seconds))
    } else {
        let (low, high) = foreknown.assumed;
        let count = f64::from(left.count);
        (Source::Assumed, (low * count, high * count))
    };
    let budget = record.manifest.budget_seconds.map(|budget| (budget as f64 - worked).max(0.0));
    let budget = budget.filter(|budget| *budget < seconds.1).map(|budget| {
        let done = trials.saturating_sub(left.count);
        // None is begun after it.
        let begun = |seconds: f64| {
            if seconds <= budget {
                return trials;
            }
            done + (budget / seconds * f64::from(left.count)).ceil() as u32
        };
        let launches = (begun(seconds.1).min(trials), begun(seconds.0).min(trials));
        BudgetEnd { seconds: budget, launches, of: trials }
    });
    Eta { seconds, source, budget }
}

/// Seconds that one launch takes at the most, and whether that was measured: as long as it
/// ever took, and a tenth more. Of a configuration that was never launched, the others' times
/// are assumed.
pub(super) fn longest_launch(
    record: &SweepRecord,
    foreknown: &Foreknown,
    configuration: usize,
    repeats: u32,
) -> (f64, bool) {
    let mut own = Timing::default();
    own.learn(record);
    let manifest = &record.manifest;
    let id = manifest.configurations.get(configuration).map_or("", |it| it.id.as_str());
    let (all, workloads) = ([&own, &foreknown.earlier], &manifest.workloads);
    let measured = all.iter().find_map(|it| it.own_longest_launch_seconds(id, workloads, repeats));
    let of_others = || all.iter().find_map(|it| it.longest_launch_seconds(id, workloads, repeats));
    let gates = manifest.gates.as_ref().map_or(0.0, |gates| {
        all.iter().map(|it| it.gate_seconds(id, gates, true)).fold(0.0, f64::max)
    });
    let seconds = measured.or_else(of_others).map(|it| (it + gates) * 1.1);
    (seconds.unwrap_or(foreknown.assumed.1), measured.is_some())
}

/// Launches that are left.
struct Left {
    count: u32,
    /// By configuration, where the strategy's options say so.
    each: Option<Vec<u32>>,
}

impl Left {
    fn of(record: &SweepRecord, trials: u32) -> Self {
        let manifest = &record.manifest;
        let settled =
            |launch: &&LaunchRecord| launch.outcome.as_ref().is_some_and(LaunchOutcome::is_settled);
        let mut done: Vec<(u32, &str)> = record
            .launches
            .iter()
            .filter(|launch| launch.confirmation.is_none())
            .filter(settled)
            .map(|launch| (launch.trial, launch.configuration.as_str()))
            .collect();
        // A trial can have taken several launches.
        done.sort_unstable();
        done.dedup();
        let StrategySpec::Grid(strategy) = &manifest.strategy;
        let baseline = manifest.baseline.as_deref();
        let all = manifest.configurations.len();
        let planned: Vec<u32> = manifest
            .configurations
            .iter()
            .map(|it| {
                let is_baseline = baseline.is_some_and(|name| it.answers_to(name));
                strategy.launches_of(manifest.order, all, is_baseline)
            })
            .collect();
        let known = planned.iter().sum::<u32>() == trials;
        let each = manifest.configurations.iter().zip(planned).map(|(it, planned)| {
            let done = done.iter().filter(|(_, name)| *name == it.name).count();
            planned.saturating_sub(done as u32)
        });
        let each = known.then(|| each.collect());
        Self { count: trials.saturating_sub(done.len() as u32), each }
    }

    /// Seconds that they take by the first of these that knows each configuration, else
    /// by the first that knows any.
    fn seconds(&self, record: &SweepRecord, known: &[&Timing]) -> Option<f64> {
        let manifest = &record.manifest;
        let repeats = record
            .launches
            .iter()
            .rev()
            .find_map(|launch| launch.repeats.filter(|repeats| *repeats > 0))
            .unwrap_or_else(|| manifest.strategy.repeats());
        let one = |id: &str| {
            let by = |timing: &&&Timing| timing.knows(id);
            let own = known.iter().filter(by);
            let mut all = own.chain(known.iter());
            let seconds =
                all.find_map(|timing| timing.launch_seconds(id, &manifest.workloads, repeats));
            // Those that are asked once are over where a launch was.
            let is_new = !known.first().is_some_and(|own| own.knows(id));
            let gates = |gates| {
                let each = known.iter().map(|timing| timing.gate_seconds(id, gates, is_new));
                each.fold(0.0, f64::max)
            };
            Some(seconds? + manifest.gates.as_ref().map_or(0.0, gates))
        };
        let seconds: Option<Vec<f64>> =
            manifest.configurations.iter().map(|it| one(&it.id)).collect();
        let seconds = seconds.filter(|seconds| !seconds.is_empty())?;
        Some(match &self.each {
            Some(each) => seconds.iter().zip(each).map(|(one, n)| one * f64::from(*n)).sum(),
            None => seconds.iter().sum::<f64>() / seconds.len() as f64 * f64::from(self.count),
        })
    }
}

#[cfg(test)]
#[path = "eta_tests.rs"]
mod tests;
