//! What a journal's lines add up to. Pure: the same lines give the same record,
//! and any prefix of a journal is a journal.

use super::journal::{Entry, Line};
use super::launch::LaunchOutcome;
use super::record::{LaunchRecord, Manifest, SweepRecord};
use crate::metric::Measurement;
use crate::strategy::{PastLaunch, PastOutcome};

/// The record of a sweep.
pub fn replay(manifest: Manifest, lines: &[Line]) -> SweepRecord {
    let mut record = SweepRecord { manifest, launches: Vec::new() };
    for line in lines {
        apply(&mut record, &line.entry);
    }
    record
}

/// Adds one entry.
pub fn apply(record: &mut SweepRecord, entry: &Entry) {
    match entry {
        Entry::SessionStarted { .. } => close_open_launches(record),
        Entry::LaunchStarted { launch, slot, configuration } => {
            record.launches.push(LaunchRecord {
                launch: *launch,
                slot: *slot,
                configuration: configuration.clone(),
                facts: None,
                effective: std::collections::BTreeMap::new(),
                measurements: Vec::new(),
                outcome: None,
            });
        }
        Entry::LaunchReady { launch, facts, effective } => {
            // A container can hold the simulator: its figures are marked as any others.
            record.manifest.simulated |= facts.simulated;
            if let Some(known) = find(record, *launch) {
                known.facts = Some(facts.clone());
                known.effective.clone_from(effective);
            }
        }
        Entry::RepeatFinished { launch, measurement } => {
            if let Some(known) = find(record, *launch) {
                known.measurements.push(measurement.clone());
            }
        }
        Entry::LaunchEnded { launch, outcome } => {
            if let Some(known) = find(record, *launch) {
                known.outcome = Some(outcome.clone());
            }
        }
        Entry::Production { .. } | Entry::SessionEnded { .. } | Entry::Unknown => {}
    }
}

/// A new session means that whatever the last one left open was interrupted.
fn close_open_launches(record: &mut SweepRecord) {
    for launch in record.launches.iter_mut().filter(|launch| launch.outcome.is_none()) {
        launch.outcome = Some(LaunchOutcome::Interrupted);
    }
}

fn find(record: &mut SweepRecord, launch: u32) -> Option<&mut LaunchRecord> {
    record.launches.iter_mut().rev().find(|known| known.launch == launch)
}

/// The history as a strategy sees it.
pub fn history(record: &SweepRecord) -> Vec<PastLaunch> {
    let configurations: std::collections::HashMap<&str, usize> = record
        .manifest
        .configurations
        .iter()
        .enumerate()
        .map(|(index, configuration)| (configuration.name.as_str(), index))
        .collect();
    record
        .launches
        .iter()
        .filter_map(|launch| {
            let configuration = *configurations.get(launch.configuration.as_str())?;
            let outcome = match &launch.outcome {
                Some(LaunchOutcome::Measured) => PastOutcome::Measured,
                Some(LaunchOutcome::Failed(failure)) if failure.class.is_deterministic() => {
                    PastOutcome::Infeasible
                }
                Some(LaunchOutcome::Failed(_)) => PastOutcome::Failed,
                Some(LaunchOutcome::Skipped { .. }) => PastOutcome::Skipped,
                Some(LaunchOutcome::Interrupted) | None => PastOutcome::Interrupted,
            };
            Some(PastLaunch { slot: launch.slot, configuration, outcome })
        })
        .collect()
}

/// What was measured for a slot so far, warm-ups left out: nothing is measured twice.
pub fn measured(record: &SweepRecord, slot: u32) -> Vec<&Measurement> {
    record
        .launches
        .iter()
        .filter(|launch| launch.slot == slot)
        .flat_map(|launch| &launch.measurements)
        .filter(|measurement| measurement.repeat > 0)
        .collect()
}
