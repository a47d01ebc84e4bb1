//! What a sweep may spend, and what it spent of it in launches and GPU hours, by its journal: all
//! sessions and blocks, without what a person confirms. Time is the loop's to count. Pure.

use jiff::Timestamp;

use super::confirmation::ConfirmationRecord;
use super::launch::LaunchOutcome;
use super::record::{LaunchRecord, Manifest, SweepRecord};
use crate::configuration::Configuration;
use crate::grid::{Limits, nothing_to_confirm};
use crate::strategy::confirm::CLAIM;

impl Manifest {
    /// The whole budget.
    pub fn limits(&self) -> Limits {
        Limits { seconds: self.budget_seconds, besides: self.budget }
    }

    /// Whether the sweep may go on with a confirmation.
    pub fn may_confirm(&self) -> bool {
        let (baseline, metric) = (self.baseline.as_deref(), &self.objective.metric);
        let none = || nothing_to_confirm(baseline, self.configurations.len(), metric);
        self.confirm.is_some() && none().is_none()
    }

    /// The claim of a confirmation for which no other one is asked.
    pub fn usual_claim(&self) -> f64 {
        self.confirm.map_or(CLAIM, |it| it.claim)
    }

    /// What of the budget the strategy may spend.
    pub fn strategy_limits(&self) -> Limits {
        self.limits().of_strategy(self.confirm)
    }
}

impl SweepRecord {
    /// The confirmation that the grid asks for, where it was begun.
    pub fn confirmation_of_grid(&self) -> Option<&ConfirmationRecord> {
        self.confirmations.iter().rfind(|it| it.of_grid)
    }
}

/// Whose launches are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The strategy's.
    Strategy,
    /// These, and those of the confirmation that the grid asks for.
    Grid,
}

/// Launches that were begun, whatever became of them; one that was skipped was not. One that a
/// cluster took counts where a repeat of it is kept: else it gave nothing, and is made again.
pub fn launches(record: &SweepRecord, whose: Whose) -> u32 {
    begun(record, whose).filter(|it| is_counted(it)).count() as u32
}

/// Those of them that have no end yet: the last ones of their trials. One whose process died is made
/// again, as one more; of an earlier block nothing is waited for.
pub fn in_flight(record: &SweepRecord, whose: Whose) -> u32 {
    let is_open = |it: &&LaunchRecord| {
        let mut later = record.launches.iter().filter(|other| other.launch > it.launch);
        it.outcome.is_none()
            && !later.any(|other| other.trial == it.trial && other.confirmation == it.confirmation)
    };
    let is_begun = is_begun(record, whose);
    record.launches.iter().filter(|it| is_begun(it)).filter(is_open).count() as u32
}

/// Whether a launch is counted as one: it was begun, and not lost with all that it gave.
pub(crate) fn is_counted(launch: &LaunchRecord) -> bool {
    match launch.outcome {
        Some(LaunchOutcome::Skipped { .. }) => false,
        Some(LaunchOutcome::Lost { .. }) => launch.has_kept(),
        _ => true,
    }
}

/// GPU hours: the GPUs of each launch times the hours from its start to its end. One that runs
/// counts until the journal's last entry, one whose process died until its own last one.
pub fn gpu_hours(record: &SweepRecord, whose: Whose) -> f64 {
    let now = record.launches.iter().filter_map(last).max();
    let on_cluster = record.manifest.hosts.is_some();
    let of = |launch: &LaunchRecord| {
        // A job that waits uses nothing.
        if on_cluster && launch.machine.is_none() {
            return 0.0;
        }
        let end = match &launch.outcome {
            None => now,
            Some(_) => launch.ended_at.or_else(|| last(launch)),
        };
        let seconds = launch
            .started_at
            .zip(end)
            .map_or(0.0, |(from, to)| to.duration_since(from).as_secs_f64().max(0.0));
        seconds / 3600.0 * f64::from(gpus(record, launch))
    };
    begun(record, whose).map(of).sum()
}

/// GPUs of a launch: as it was journalled, else as its configuration asks for them.
fn gpus(record: &SweepRecord, launch: &LaunchRecord) -> u32 {
    let mut known = record.manifest.configurations.iter();
    let asked = || known.find(|it| it.name == launch.configuration).map_or(1, Configuration::gpus);
    launch.gpus.unwrap_or_else(asked)
}

fn begun(record: &SweepRecord, whose: Whose) -> impl Iterator<Item = &LaunchRecord> {
    let is_begun = is_begun(record, whose);
    record.all_launches().map(|(_, launch)| launch).filter(move |it| is_begun(it))
}

/// Tells which launches were begun and are counted.
fn is_begun(record: &SweepRecord, whose: Whose) -> impl Fn(&LaunchRecord) -> bool {
    let earlier = record.earlier.iter().flat_map(|it| &it.confirmations);
    let confirmations = earlier.chain(&record.confirmations).filter(|it| it.of_grid);
    let of_grid: Vec<(u32, &[u32])> =
        confirmations.map(|it| (it.asked.number, it.by_person.as_slice())).collect();
    move |it: &LaunchRecord| {
        let counts = match it.confirmation {
            None => true,
            Some(number) => {
                let mut known = of_grid.iter().filter(|(of_grid, _)| *of_grid == number);
                whose == Whose::Grid && known.any(|(_, by_person)| !by_person.contains(&it.launch))
            }
        };
        counts && !matches!(it.outcome, Some(LaunchOutcome::Skipped { .. }))
    }
}

/// When the last entry of a launch was journalled.
fn last(launch: &LaunchRecord) -> Option<Timestamp> {
    let some = [launch.started_at, launch.ready_at, launch.ended_at].into_iter().flatten();
    some.chain(launch.gated_at.iter().copied()).chain(launch.measured_at.iter().copied()).max()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::loss::Loss;
    use super::super::replay::tests::manifest;
    use super::*;
    use crate::metric::{Measurement, MetricReasons, Status};

    fn launch(from: i64, outcome: Option<LaunchOutcome>) -> LaunchRecord {
        let at = |minute: i64| Timestamp::from_second(minute * 60).expect("a time");
        let ended = outcome.is_some() && outcome != Some(LaunchOutcome::Interrupted);
        LaunchRecord {
            configuration: "a".to_owned(),
            started_at: Some(at(from)),
            measured_at: vec![at(from + 15)],
            ended_at: ended.then(|| at(from + 30)),
            outcome,
            ..LaunchRecord::default()
        }
    }

    #[test]
    fn a_launch_that_a_cluster_took_counts_where_it_kept_a_repeat_and_its_gpus_always() {
        let lost = || LaunchOutcome::Lost { loss: Loss::Preempted, message: String::new() };
        let repeat = |repeat| Measurement {
            workload: "kv-cache".to_owned(),
            case: String::new(),
            repeat,
            status: Status::Ok,
            reason: None,
            metrics: BTreeMap::new(),
            metric_reasons: MetricReasons::new(),
        };
        let of = |repeats: &[u32]| LaunchRecord {
            measurements: repeats.iter().map(|it| repeat(*it)).collect(),
            ..launch(0, Some(lost()))
        };
        let mut record = SweepRecord::new(manifest());
        record.launches = vec![of(&[]), of(&[0]), of(&[0, 1]), launch(30, None)];
        assert_eq!(launches(&record, Whose::Strategy), 2);
        assert!((gpu_hours(&record, Whose::Strategy) - 1.75).abs() < 1e-9);
    }

    #[test]
    fn what_was_begun_counts_by_its_gpus_until_its_last_entry() {
        let mut record = SweepRecord::new(manifest());
        let two = ("tensor-parallel-size".to_owned(), 2.into());
        record.manifest.configurations[0].flags = [two].into_iter().collect();
        let skipped = LaunchOutcome::Skipped { reason: String::new(), by_strategy: true };
        record.launches = vec![
            launch(0, Some(LaunchOutcome::Measured)),
            LaunchRecord { gpus: Some(4), ..launch(30, Some(LaunchOutcome::Measured)) },
            launch(60, Some(LaunchOutcome::Interrupted)),
            launch(80, Some(skipped)),
            launch(120, None),
            LaunchRecord { confirmation: Some(1), ..launch(0, Some(LaunchOutcome::Measured)) },
        ];
        let hours = 2.0 * 0.5 + 4.0 * 0.5 + 2.0 * 0.25 + 2.0 * 0.25;
        let spent = |record: &SweepRecord, whose| {
            (launches(record, whose), (gpu_hours(record, whose) * 1e9).round() / 1e9)
        };
        assert_eq!(spent(&record, Whose::Strategy), (4, hours));
        assert_eq!(spent(&record, Whose::Grid), (4, hours), "a person's confirmation");
        let asked = crate::history::confirmation::Confirmation {
            number: 1,
            candidate: "a".to_owned(),
            baseline: "b".to_owned(),
            claim: 0.1,
            seed: 1,
            repeats: 1,
            budget_seconds: None,
            of_grid: true,
        };
        let entry = crate::history::journal::Entry::ConfirmationStarted { confirmation: asked };
        super::super::replay::apply(&mut record, &entry, Timestamp::UNIX_EPOCH);
        assert_eq!(spent(&record, Whose::Strategy), (4, hours));
        assert_eq!(spent(&record, Whose::Grid), (5, hours + 2.0 * 0.5), "the grid's own");
        // What a person had launched for the same confirmation stays a person's.
        record.confirmations[0].by_person = vec![record.launches[5].launch];
        assert_eq!(spent(&record, Whose::Grid), (4, hours));
    }
}
