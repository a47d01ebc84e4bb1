//! When a sweep, or its strategy's part, will end: from what its own launches took, before the first of them has
//! ended from earlier sweeps of the same service, and where there is none by assumption.
//! Pure: time comes in as values, and what comes out is seconds.

use std::collections::BTreeMap;

use super::gates;
use crate::configuration::Configuration;
use crate::gate::{Gate, Gates};
use crate::grid::{Grid, mean_gpus};
use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::spent::{self, Whose};
use crate::history::timing::Timing;

/// What is known of a sweep's duration before it has launched anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreknown {
    /// What earlier sweeps of the same service took.
    pub earlier: Timing,
    /// Seconds of one launch, by assumption: at the least and at the most.
    pub assumed: (f64, f64),
    /// Seconds of each gate of the grid, by assumption.
    pub assumed_gates: BTreeMap<Gate, (f64, f64)>,
}

impl Foreknown {
    /// Assumed alone.
    pub fn assumed(grid: &Grid) -> Self {
        let gates = grid.gates.of_launch(|_| false).into_iter();
        Self {
            earlier: Timing::default(),
            assumed: grid.assumed_launch_seconds(),
            assumed_gates: gates.map(|gate| (gate, grid.assumed_gate_seconds(gate))).collect(),
        }
    }

    /// The same with what earlier sweeps took.
    #[must_use]
    pub fn with(self, earlier: Timing) -> Self {
        Self { earlier, ..self }
    }

    /// Seconds of a gate by assumption, at the least and at the most.
    fn gate(&self, gate: Gate) -> (f64, f64) {
        self.assumed_gates.get(&gate).copied().unwrap_or_default()
    }
}

/// What is left of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eta {
    /// Seconds until everything planned is done, at the least and at the most; equal
    /// where they come from what was measured, but for gates that were never asked.
    pub seconds: (f64, f64),
    /// Launches in all, those that are over included, at the least and at the most; equal where
    /// they are not chosen during the sweep.
    pub launches: (u32, u32),
    /// What they come from.
    pub source: Source,
    /// The end of the budget, where that may come first.
    pub budget: Option<BudgetEnd>,
    /// Whether a confirmation may follow, which is not in it.
    pub confirms: bool,
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
    /// Launches that are planned, at the least and at the most.
    pub of: (u32, u32),
}

/// What is left of a sweep of so many `trials`, at the least and at the most, that has worked
/// for some seconds.
pub(super) fn eta(
    record: &SweepRecord,
    foreknown: &Foreknown,
    trials: (u32, u32),
    worked: f64,
) -> Eta {
    let mut own = Timing::default();
    own.learn(record);
    let left = Left::of(record, trials);
    let (source, seconds) = if let Some(seconds) = left.seconds(record, &own, foreknown) {
        let source = if own.is_empty() {
            Source::Earlier(foreknown.earlier.sweeps())
        } else {
            Source::Measured
        };
        (source, seconds)
    } else {
        let (low, high) = foreknown.assumed;
        let (least, most) = left.count;
        (Source::Assumed, (low * f64::from(least), high * f64::from(most)))
    };
    let budget = time_left(record, worked).filter(|budget| *budget < seconds.1).map(|budget| {
        // None is begun after it.
        let begun = |seconds: f64, trials: u32, left: u32| {
            if seconds <= budget {
                return trials;
            }
            let begun = (budget / seconds * f64::from(left)).ceil() as u32;
            (trials.saturating_sub(left) + begun).min(trials)
        };
        let few = begun(seconds.0, trials.0, left.count.0);
        let many = begun(seconds.1, trials.1, left.count.1);
        let launches = (few.min(many), few.max(many));
        BudgetEnd { seconds: budget, launches, of: trials }
    });
    let counted = counted_end(record, &left, trials, seconds);
    let budget = budget.into_iter().chain(counted).min_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let confirms = record.manifest.may_confirm();
    Eta { seconds, launches: trials, source, budget, confirms }
}

/// Seconds until the budget of time or that of GPU hours ends, whichever is first: of GPU hours
/// with the mean of the configurations' GPUs.
fn time_left(record: &SweepRecord, worked: f64) -> Option<f64> {
    let manifest = &record.manifest;
    let limits = manifest.strategy_limits();
    let time = limits.seconds.map(|budget| budget as f64 - worked);
    let gpus = limits.besides.gpu_hours.map(|hours| {
        (hours - spent::gpu_hours(record, Whose::Strategy)) * 3600.0
            / mean_gpus(&manifest.configurations)
    });
    let left = time.into_iter().chain(gpus).reduce(f64::min)?;
    Some(left.max(0.0))
}

/// The end of a budget in launches, where it comes before everything is done.
fn counted_end(
    record: &SweepRecord,
    left: &Left,
    trials: (u32, u32),
    seconds: (f64, f64),
) -> Option<BudgetEnd> {
    let allowed = record.manifest.strategy_limits().besides.launches?;
    let allowed = allowed.saturating_sub(spent::launches(record, Whose::Strategy));
    let (fewest, most) = left.count;
    // Those in flight are spent, and still to be waited for.
    let ending = allowed.saturating_add(spent::in_flight(record, Whose::Strategy));
    if ending >= most {
        return None;
    }
    let share = f64::from(ending) / f64::from(most);
    let done = trials.1.saturating_sub(most);
    let begun = (done + ending.min(fewest), done + ending);
    // As for time, the later end: nobody waits for it in vain.
    Some(BudgetEnd { seconds: seconds.1 * share, launches: begun, of: trials })
}

/// How long the next launch of a configuration takes at the most: as long as it ever took,
/// and a tenth more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Longest {
    /// Seconds. Of a configuration that was never launched, the others' times are assumed.
    pub(super) seconds: f64,
    /// What this configuration's own launches took of it, where it was launched.
    pub(super) measured: Option<f64>,
}

/// The longest that the next launch of a configuration takes, with the gates that it goes
/// through.
pub(super) fn longest_launch(
    record: &SweepRecord,
    foreknown: &Foreknown,
    configuration: usize,
    repeats: u32,
) -> Longest {
    let mut own = Timing::default();
    own.learn(record);
    let manifest = &record.manifest;
    let assumed = Longest { seconds: foreknown.assumed.1, measured: None };
    let Some(configuration) = manifest.configurations.get(configuration) else { return assumed };
    let id = configuration.id.as_str();
    let (all, workloads) = ([&own, &foreknown.earlier], &manifest.workloads);
    let measured = all.iter().find_map(|it| it.own_longest_launch_seconds(id, workloads, repeats));
    let of_others = || all.iter().find_map(|it| it.longest_launch_seconds(id, workloads, repeats));
    let Some(launch) = measured.or_else(of_others) else { return assumed };
    let (mut gates, mut measured_gates) = (0.0, 0.0);
    for (gate, settings) in asked(record, configuration) {
        let own = all.iter().find_map(|it| it.own_longest_gate_seconds(id, settings, gate));
        let of_others = || all.iter().find_map(|it| it.longest_gate_seconds(id, settings, gate));
        measured_gates += own.unwrap_or_default();
        gates += own.or_else(of_others).unwrap_or_else(|| foreknown.gate(gate).1);
    }
    let longest = |seconds: f64| seconds * 1.1;
    Longest {
        seconds: longest(launch + gates),
        measured: measured.map(|it| longest(it + measured_gates)),
    }
}

/// The gates of the next launch of a configuration, with the sweep's settings.
fn asked<'a>(
    record: &'a SweepRecord,
    configuration: &Configuration,
) -> impl Iterator<Item = (Gate, &'a Gates)> {
    let order = gates::of(record, configuration);
    let settings = record.manifest.gates.as_ref();
    order.gates.into_iter().filter_map(move |gate| Some((gate, settings?)))
}

/// Launches that are left.
struct Left {
    /// At the least and at the most.
    count: (u32, u32),
    /// By configuration, where the strategy's options say so.
    each: Option<Vec<u32>>,
}

impl Left {
    fn of(record: &SweepRecord, trials: (u32, u32)) -> Self {
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
        let strategy = &manifest.strategy;
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
        let is_chosen = strategy.chooses() || trials.0 != trials.1;
        let known = !is_chosen && planned.iter().sum::<u32>() == trials.1;
        let each = manifest.configurations.iter().zip(planned).map(|(it, planned)| {
            let done = done.iter().filter(|(_, name)| *name == it.name).count();
            planned.saturating_sub(done as u32)
        });
        let each = known.then(|| each.collect());
        let left = |trials: u32| trials.saturating_sub(done.len() as u32);
        Self { count: (left(trials.0), left(trials.1)), each }
    }

    /// Seconds that they take, at the least and at the most, by the first of the sweep's own
    /// launches and earlier ones that knows each configuration, else by the first that knows
    /// any.
    fn seconds(
        &self,
        record: &SweepRecord,
        own: &Timing,
        foreknown: &Foreknown,
    ) -> Option<(f64, f64)> {
        let manifest = &record.manifest;
        let known = [own, &foreknown.earlier];
        let repeats = record
            .launches
            .iter()
            .rev()
            .find_map(|launch| launch.repeats.filter(|repeats| *repeats > 0))
            .unwrap_or_else(|| manifest.strategy.repeats());
        let all = manifest.configurations.iter();
        let all: Vec<Times> = all
            .map(|it| {
                let mut by = known.iter().filter(|by| by.knows(&it.id)).chain(known.iter());
                let launch =
                    by.find_map(|by| by.launch_seconds(&it.id, &manifest.workloads, repeats))?;
                Some(Times::of(record, it, launch, known, foreknown))
            })
            .collect::<Option<_>>()?;
        if all.is_empty() {
            return None;
        }
        let side = |of: fn((f64, f64)) -> f64, count: u32| {
            if let Some(each) = &self.each {
                let each = all.iter().zip(each);
                each.map(|(it, n)| {
                    of(it.each) * f64::from(*n) + of(it.once) * f64::from(*n.min(&1))
                })
                .sum::<f64>()
            } else {
                let mean = all.iter().map(|it| of(it.each)).sum::<f64>() / all.len() as f64;
                // No more configurations can have their first launch than there are launches.
                let first: Vec<f64> =
                    all.iter().map(|it| of(it.once)).filter(|it| *it > 0.0).collect();
                let share = (f64::from(count) / first.len().max(1) as f64).min(1.0);
                mean * f64::from(count) + first.iter().sum::<f64>() * share
            }
        };
        Some((side(|it| it.0, self.count.0), side(|it| it.1, self.count.1)))
    }
}

/// Seconds that a configuration takes, at the least and at the most.
struct Times {
    /// Of each launch.
    each: (f64, f64),
    /// Of its next launch alone: gates that are asked once.
    once: (f64, f64),
}

impl Times {
    /// With a launch of so many seconds besides the gates. Its own times of a gate count before
    /// those of others, and without any what is assumed.
    fn of(
        record: &SweepRecord,
        configuration: &Configuration,
        launch: f64,
        known: [&Timing; 2],
        foreknown: &Foreknown,
    ) -> Self {
        let id = &configuration.id;
        let mut times = Self { each: (launch, launch), once: (0.0, 0.0) };
        for (gate, settings) in asked(record, configuration) {
            let own = known.iter().find_map(|it| it.own_gate_seconds(id, settings, gate));
            let of_others = || known.iter().find_map(|it| it.gate_seconds(id, settings, gate));
            let seconds = own.or_else(of_others).map(|it| (it, it));
            let (low, high) = seconds.unwrap_or_else(|| foreknown.gate(gate));
            let sum = if gate.is_of_each_launch() { &mut times.each } else { &mut times.once };
            *sum = (sum.0 + low, sum.1 + high);
        }
        times
    }
}

#[cfg(test)]
#[path = "eta_tests.rs"]
mod tests;
