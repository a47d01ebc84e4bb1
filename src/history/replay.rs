//! What a journal's lines add up to. Pure: the same lines give the same record,
//! and any prefix of a journal is a journal. An entry that cannot follow those
//! before it is an error that names its line; entries that only a newer version
//! knows are left out.

use std::path::PathBuf;

use super::block::Block;
use super::confirmation::{Confirmation, ConfirmationRecord};
use super::journal::{Entry, JournalError, Line};
use super::launch::LaunchOutcome;
use super::of_launch;
use super::production::{ProductionStep, Unproven};
use super::record::{LaunchRecord, Manifest, SCHEMA_VERSION, SweepEnd, SweepRecord};
use super::steady::Steady;
use crate::metric::Measurement;

/// An entry that cannot follow those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct IllegalEntry {
    /// Its line, from 1.
    pub line: u64,
    /// Why not.
    pub what: String,
}

impl IllegalEntry {
    /// The same as an error of the journal at `path`.
    pub fn in_journal(self, path: PathBuf) -> JournalError {
        JournalError::Damaged { path, line: self.line as usize, what: self.what }
    }
}

/// The record of a sweep.
///
/// # Errors
/// When the entries are in an order that no sweep writes. Of a journal that a
/// newer version wrote, entries that do not fit are left out: they may belong
/// to launches that this version does not know.
pub fn replay(manifest: Manifest, lines: &[Line]) -> Result<SweepRecord, IllegalEntry> {
    let mut record = SweepRecord::new(manifest);
    let mut newer = false;
    let mut steady = Steady::default();
    for line in lines {
        let at = steady.next(line);
        newer |= match &line.entry {
            Entry::SessionStarted { schema_version, .. } => *schema_version > SCHEMA_VERSION,
            Entry::Unknown => true,
            _ => false,
        };
        match check(&record, &line.entry) {
            Ok(()) => apply(&mut record, &line.entry, line.happened_at.unwrap_or(at)),
            Err(_) if newer => {}
            Err(what) => return Err(IllegalEntry { line: line.sequence, what }),
        }
    }
    Ok(record)
}

/// Whether an entry can follow what is recorded.
///
/// # Errors
/// Why it cannot.
pub fn check(record: &SweepRecord, entry: &Entry) -> Result<(), String> {
    let running = |launch: u32, what: &str| {
        let known = record.launches.iter().rev().find(|known| known.launch == launch);
        match known {
            None => Err(format!("{what} of launch {launch}, which never started")),
            Some(known) if known.outcome.is_some() => {
                Err(format!("{what} of launch {launch}, which is over"))
            }
            Some(known) => Ok(known),
        }
    };
    match entry {
        Entry::LaunchStarted { launch, configuration, .. } => {
            let next = next_launch(record);
            // Numbers of folders that the journal has lost are left out.
            if *launch < next {
                return Err(format!("launch {launch} starts where launch {next} comes next"));
            }
            let mut known = record.manifest.configurations.iter();
            if !known.any(|known| known.name == *configuration) {
                return Err(format!(
                    "launch {launch} starts `{configuration}`, which the manifest does not have"
                ));
            }
        }
        Entry::LaunchReady { launch, .. } => {
            if running(*launch, "the server")?.facts.is_some() {
                return Err(format!("the server of launch {launch} is ready for the second time"));
            }
        }
        Entry::GateFinished { launch, report } => {
            let known = running(*launch, "a gate")?;
            if known.facts.is_none() {
                return Err(format!("a gate of launch {launch}, whose server is not ready"));
            }
            if known.gates.iter().any(|it| it.gate == report.gate) {
                let gate = report.gate;
                return Err(format!("`{gate}` for the second time in launch {launch}"));
            }
        }
        Entry::RepeatFinished { launch, measurement } => {
            let known = running(*launch, "a repeat")?;
            if known.facts.is_none() {
                return Err(format!("a repeat of launch {launch}, whose server is not ready"));
            }
            // Warm-ups have one number, however many there are.
            let same = |one: &Measurement| {
                one.repeat == measurement.repeat
                    && one.case == measurement.case
                    && one.workload == measurement.workload
            };
            if measurement.repeat > 0 && known.measurements.iter().any(same) {
                let Measurement { workload, repeat, .. } = measurement;
                return Err(format!(
                    "repeat {repeat} of `{workload}` for the second time in launch {launch}"
                ));
            }
        }
        Entry::LaunchShortened { launch, .. } => {
            let known = running(*launch, "what is left out")?;
            if known.facts.is_none() {
                return Err(format!("launch {launch} is behind, whose server is not ready"));
            }
            if known.behind.is_some() {
                return Err(format!("launch {launch} is behind for the second time"));
            }
        }
        Entry::JobSubmitted { launch, .. } => {
            if running(*launch, "a job")?.job.is_some() {
                return Err(format!("launch {launch} has a job for the second time"));
            }
        }
        Entry::LaunchPlaced { launch, .. } => {
            let known = running(*launch, "the node")?;
            if known.job.is_none() || known.machine.is_some() {
                return Err(format!("launch {launch} has no job, or runs on a node already"));
            }
        }
        Entry::LaunchEnded { launch, .. } => {
            running(*launch, "the end")?;
        }
        Entry::ConfirmationStarted { confirmation } => check_confirmation(record, confirmation)?,
        Entry::ConfirmationEnded { confirmation, .. } => {
            let open = |it: &ConfirmationRecord| it.open && it.asked.number == *confirmation;
            if !record.confirmations.iter().any(open) {
                return Err(format!("the end of confirmation {confirmation}, which does not run"));
            }
        }
        Entry::BlockStarted { block } => check_block(record, block)?,
        Entry::SessionStarted { .. }
        | Entry::NothingToConfirm { .. }
        | Entry::Production { .. }
        | Entry::SessionEnded { .. }
        | Entry::Unknown => {}
    }
    Ok(())
}

fn check_block(record: &SweepRecord, block: &Block) -> Result<(), String> {
    let (number, next) = (block.number, record.block() + 1);
    if number != next {
        return Err(format!("block {number} starts where block {next} comes next"));
    }
    if record.launches.iter().any(|launch| launch.outcome.is_none()) {
        return Err(format!("block {number} starts while a launch runs"));
    }
    if block.first_trial < record.next_first_trial() {
        return Err(format!("block {number} starts with a trial of an earlier block"));
    }
    Ok(())
}

fn check_confirmation(record: &SweepRecord, started: &Confirmation) -> Result<(), String> {
    let number = started.number;
    let next = record.next_confirmation();
    match record.confirmations.iter().find(|it| it.asked.number == number) {
        Some(known) if !known.asked.is_same_pair(started) => {
            return Err(format!("confirmation {number} continues with other configurations"));
        }
        None if number != next => {
            return Err(format!("confirmation {number} starts where {next} comes next"));
        }
        _ => {}
    }
    // Jobs of its own may run on since its last session.
    let others = |launch: &LaunchRecord| launch.confirmation != Some(number);
    if record.launches.iter().any(|launch| launch.outcome.is_none() && others(launch)) {
        return Err(format!("confirmation {number} starts while a launch runs"));
    }
    let known = |name: &String| record.manifest.configurations.iter().any(|it| it.name == *name);
    match [&started.candidate, &started.baseline].into_iter().find(|name| !known(name)) {
        Some(name) => {
            Err(format!("confirmation {number} is of `{name}`, which the manifest does not have"))
        }
        None => Ok(()),
    }
}

/// The number that the next launch gets.
pub fn next_launch(record: &SweepRecord) -> u32 {
    record.all_launches().next_back().map_or(1, |(_, last)| last.launch + 1)
}

/// Adds one entry that [`check`] found to fit, with the [`Steady`] time of its line.
pub fn apply(record: &mut SweepRecord, entry: &Entry, at: jiff::Timestamp) {
    if let Some(open) = record.confirmations.iter_mut().find(|it| it.open) {
        match entry {
            Entry::SessionStarted { .. } => open.open = false,
            _ => open.session.1 = at,
        }
    }
    match entry {
        Entry::SessionStarted { .. } => close_open_launches(record),
        Entry::ConfirmationStarted { confirmation } => start(record, confirmation, at),
        Entry::BlockStarted { block } => record.begin_block(block),
        Entry::ConfirmationEnded { ended, .. } => {
            if let Some(open) = record.confirmations.iter_mut().find(|it| it.open) {
                open.ended = Some(*ended);
            }
        }
        Entry::LaunchStarted {
            launch,
            trial,
            configuration,
            purpose,
            planned: _,
            repeats,
            host,
            bar,
            gpus,
        } => {
            let confirmation = confirmed_by(record, *launch);
            record.launches.push(LaunchRecord {
                launch: *launch,
                trial: *trial,
                purpose: *purpose,
                confirmation,
                started_at: Some(at),
                configuration: configuration.clone(),
                repeats: *repeats,
                host: host.clone(),
                bar: *bar,
                gpus: *gpus,
                ..LaunchRecord::default()
            });
        }
        Entry::LaunchReady { launch, facts, effective } => {
            // A container can hold the simulator: its figures are marked as any others.
            record.manifest.simulated |= facts.simulated;
            if let Some(known) = find(record, *launch) {
                known.facts = Some(facts.clone());
                known.effective.clone_from(effective);
                known.ready_at = Some(at);
                known.own = of_launch::measurement(known);
            }
        }
        Entry::GateFinished { launch, report } => {
            if let Some(known) = find(record, *launch) {
                known.gates.push(report.clone());
                known.gated_at.push(at);
            }
        }
        Entry::RepeatFinished { launch, measurement } => {
            if let Some(known) = find(record, *launch) {
                known.measurements.push(measurement.clone());
                known.measured_at.push(at);
                if known.measurements.len() == 1 {
                    known.own = of_launch::measurement(known);
                }
            }
        }
        Entry::LaunchShortened { launch, behind } => {
            if let Some(known) = find(record, *launch) {
                known.behind = Some(*behind);
            }
        }
        Entry::JobSubmitted { launch, job } => {
            if let Some(known) = find(record, *launch) {
                known.job = Some(job.clone());
            }
        }
        Entry::LaunchPlaced { launch, host, machine } => {
            if let Some(known) = find(record, *launch) {
                // Until then it waited.
                known.started_at = Some(at);
                known.host = Some(host.clone());
                known.machine = Some(machine.clone());
            }
        }
        Entry::LaunchEnded { launch, outcome } => {
            if let Some(known) = find(record, *launch) {
                known.outcome = Some(outcome.clone());
                known.ended_at = Some(at);
                known.own = of_launch::measurement(known);
            }
        }
        Entry::NothingToConfirm { why } => record.not_confirmed = Some(why.clone()),
        Entry::SessionEnded { complete, reason } => end_session(record, *complete, reason),
        Entry::Production { production } => {
            record.replaced.extend(production.replaced());
            record.unproven = Unproven::after(record.unproven.take(), production, at);
        }
        Entry::Unknown => {}
    }
}

/// Number of the confirmation that a launch which begins is made for.
fn confirmed_by(record: &mut SweepRecord, launch: u32) -> Option<u32> {
    let Some(open) = record.confirmations.iter_mut().find(|it| it.open) else {
        (record.ended, record.not_confirmed) = (None, None);
        return None;
    };
    if !open.asked.of_grid {
        open.by_person.push(launch);
    }
    Some(open.asked.number)
}

/// A confirmation begins, or goes on.
fn start(record: &mut SweepRecord, confirmation: &Confirmation, at: jiff::Timestamp) {
    let started = ConfirmationRecord {
        asked: confirmation.clone(),
        ended: None,
        of_grid: confirmation.of_grid,
        by_person: Vec::new(),
        earlier: None,
        open: true,
        session: (at, at),
    };
    let mut all = record.confirmations.iter_mut();
    match all.find(|it| it.asked.number == confirmation.number) {
        Some(known) => {
            let earlier = known.ended.or(known.earlier);
            let of_grid = known.of_grid || started.of_grid;
            let by_person = std::mem::take(&mut known.by_person);
            *known = ConfirmationRecord { of_grid, by_person, earlier, ..started };
        }
        None => record.confirmations.push(started),
    }
}

/// The session is over: that of the sweep, or that of a confirmation.
fn end_session(record: &mut SweepRecord, complete: bool, reason: &str) {
    if !record.confirmations.iter().any(|it| it.open) {
        record.ended = Some(SweepEnd { complete, reason: reason.to_owned() });
    }
    for confirmation in &mut record.confirmations {
        confirmation.open = false;
    }
}

/// A new session means that whatever the last one left open was interrupted, except what jobs
/// of a cluster make.
fn close_open_launches(record: &mut SweepRecord) {
    let open = record.launches.iter_mut().filter(|launch| launch.outcome.is_none());
    for launch in open.filter(|launch| !launch.runs_on()) {
        launch.outcome = Some(LaunchOutcome::Interrupted);
    }
}

fn find(record: &mut SweepRecord, launch: u32) -> Option<&mut LaunchRecord> {
    record.launches.iter_mut().rev().find(|known| known.launch == launch)
}

/// What was measured for a trial so far, warm-ups left out: nothing is measured twice.
pub fn measured(record: &SweepRecord, trial: u32) -> Vec<&Measurement> {
    record
        .launches
        .iter()
        .filter(|launch| launch.trial == trial)
        .flat_map(|launch| &launch.measurements)
        .filter(|measurement| measurement.repeat > 0)
        .collect()
}

/// The steps in production's life, in the journal's order.
pub fn production_steps(lines: &[Line]) -> Vec<ProductionStep> {
    let steps = lines.iter().filter_map(|line| match &line.entry {
        Entry::Production { production } => Some(production.clone()),
        _ => None,
    });
    steps.collect()
}

#[cfg(test)]
#[path = "replay_tests.rs"]
pub(super) mod tests;
