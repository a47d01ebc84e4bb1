//! What a sweep spent of a budget in launches and GPU hours, by its journal: all sessions and
//! blocks, without what confirms. Time is the loop's to count. Pure.

use jiff::Timestamp;

use super::launch::LaunchOutcome;
use super::record::{LaunchRecord, SweepRecord};
use crate::configuration::Configuration;

/// Launches that were begun, whatever became of them; one that was skipped was not.
pub fn launches(record: &SweepRecord) -> u32 {
    begun(record).count() as u32
}

/// GPU hours: the GPUs of each launch times the hours from its start to its end. One that runs
/// counts until the journal's last entry, one whose process died until its own last one.
pub fn gpu_hours(record: &SweepRecord) -> f64 {
    let now = record.launches.iter().filter_map(last).max();
    let of = |launch: &LaunchRecord| {
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
    begun(record).map(of).sum()
}

/// GPUs of a launch: as it was journalled, else as its configuration asks for them.
fn gpus(record: &SweepRecord, launch: &LaunchRecord) -> u32 {
    let mut known = record.manifest.configurations.iter();
    let asked = || known.find(|it| it.name == launch.configuration).map_or(1, Configuration::gpus);
    launch.gpus.unwrap_or_else(asked)
}

fn begun(record: &SweepRecord) -> impl Iterator<Item = &LaunchRecord> {
    let own = record.all_launches().map(|(_, launch)| launch);
    own.filter(|it| {
        it.confirmation.is_none() && !matches!(it.outcome, Some(LaunchOutcome::Skipped { .. }))
    })
}

/// When the last entry of a launch was journalled.
fn last(launch: &LaunchRecord) -> Option<Timestamp> {
    let some = [launch.started_at, launch.ready_at, launch.ended_at].into_iter().flatten();
    some.chain(launch.gated_at.iter().copied()).chain(launch.measured_at.iter().copied()).max()
}

#[cfg(test)]
mod tests {
    use super::super::replay::tests::manifest;
    use super::*;

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
        assert_eq!(launches(&record), 4);
        let hours = 2.0 * 0.5 + 4.0 * 0.5 + 2.0 * 0.25 + 2.0 * 0.25;
        assert!((gpu_hours(&record) - hours).abs() < 1e-9, "{}", gpu_hours(&record));
    }
}
