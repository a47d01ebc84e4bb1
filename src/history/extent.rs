//! How far a sweep is: launches that are over of those that its strategy asks for, and
//! whether somebody still works on it. Read from the files alone; a sweep that runs is
//! not disturbed.

use std::collections::BTreeMap;

use jiff::ZonedDateTime;
use serde::{Serialize, Serializer};

use super::HistoryError;
use super::folder::Folder;
use super::journal::{self, Entry, JournalError, Line};
use super::record::SweepRecord;
use super::spent::{self, Whose};
use crate::grid::Window;
use crate::strategy::Purpose;

/// How far a sweep is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Trials of the strategy that are over: measured, failed or skipped.
    pub done: u32,
    /// Of how many: at the most, where the sweep chooses its launches; those that are over,
    /// once it is complete.
    pub of: u32,
    /// Of how many at the least, where the sweep chooses its launches and is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_least: Option<u32>,
    /// Whether more will come.
    #[serde(flatten)]
    pub state: State,
    /// The confirmation of it that was begun last, where that one is not over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirming>,
    /// What the sweep or its confirmation waits for, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// Jobs of a cluster that have no end in the journal, where nobody works on it: they may
    /// still run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
}

/// The window that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// The times of the day; `None` where an older version wrote the manifest.
    pub window: Option<Window>,
    /// When it opens, local time with its offset.
    #[serde(serialize_with = "with_offset")]
    pub until: Option<ZonedDateTime>,
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn with_offset<S: Serializer>(at: &Option<ZonedDateTime>, to: S) -> Result<S::Ok, S::Error> {
    let text = at.as_ref().map(|at| at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    text.serialize(to)
}

/// A confirmation that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirming {
    /// Somebody works on it.
    Running,
    /// Somebody works on it when the window opens.
    Waiting,
    /// Stopped or killed: `resume` continues it.
    Interrupted,
    /// The strategy's part is over, and the confirmation that the grid asks for was not begun:
    /// `resume` begins it.
    Pending,
}

/// Whether more of a sweep will come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Everything was done.
    Complete,
    /// Somebody works on it.
    Running,
    /// Somebody works on it when its window opens; production serves until then.
    Waiting,
    /// Stopped or killed before everything was done.
    Interrupted,
    /// The budget ended before everything was done.
    BudgetSpent,
    /// It gave up.
    Stopped {
        /// Why.
        reason: String,
    },
}

impl Extent {
    /// Whether something of the sweep is missing.
    pub fn is_partial(&self) -> bool {
        self.state != State::Complete
    }

    /// How many of how many: `12 of 30 to 52`.
    pub fn launches(&self) -> String {
        let Self { done, of, of_least, .. } = self;
        match of_least.filter(|least| least < of) {
            Some(least) => format!("{done} of {least} to {of}"),
            None => format!("{done} of {of}"),
        }
    }

    /// How far the sweep in a folder is. `ours`: the caller itself works on it, and stops now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read(
        folder: &Folder,
        record: &SweepRecord,
        ours: bool,
        now: &ZonedDateTime,
    ) -> Result<Self, HistoryError> {
        let path = folder.journal_path();
        let lines = match journal::read(&path) {
            Ok(lines) => lines,
            // A sweep that has not begun to launch.
            Err(JournalError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self::of(record, &lines, now, || !ours && journal::is_written(&path)))
    }

    /// The same of a journal's lines; `written` finds out whether somebody writes it.
    pub fn of(
        record: &SweepRecord,
        lines: &[Line],
        now: &ZonedDateTime,
        written: impl Fn() -> bool,
    ) -> Self {
        let expected = record.manifest.expected_launches();
        // The last launch of a trial says whether it is over.
        let mut trials: BTreeMap<u32, bool> = BTreeMap::new();
        for launch in record.launches.iter().filter(|it| it.purpose != Purpose::Confirm) {
            trials.insert(launch.trial, launch.is_over());
        }
        let done = trials.values().filter(|over| **over).count() as u32;
        let (own, last_confirms) = without_confirmations(of_latest_block(lines));
        let confirms = last_confirms && record.confirmations.iter().any(|it| it.open);
        let begun = record.unfinished_confirmation().is_some();
        let (all, of) = (done >= expected.high, expected.high.max(done));
        let of_least = record.manifest.strategy.chooses().then(|| expected.low.max(done));
        let allowed = allowed(record, trials.len()).max(done);
        let extent = |state: State, confirmation: Option<Confirming>| {
            // It ended when nothing was left to choose from, not when the most was launched.
            let ended = state == State::Complete && of_least.is_some();
            let (of, of_least) = match state {
                _ if ended => (done, None),
                // What the budget cut off is missing.
                State::Complete | State::BudgetSpent => (of, of_least),
                _ => (of.min(allowed), of_least.map(|least| least.min(allowed))),
            };
            let confirmation = confirmation.or_else(|| pending(record, &state, &written));
            let jobs = left_jobs(record, &written);
            Self { done, of, of_least, state, confirmation, waits: None, jobs }
        };
        let Some(window) = waited_for(lines.last(), record.manifest.window, now) else {
            let (state, confirmation) = states(&own, all, confirms, begun, &written);
            return extent(state, confirmation);
        };
        let (state, confirmation) = states(&own, all, confirms, begun, || false);
        let extent = extent(state, confirmation);
        match (written(), last_confirms && begun) {
            (true, confirms) if confirms || extent.confirmation.is_some() => {
                Self { confirmation: Some(Confirming::Waiting), waits: Some(window), ..extent }
            }
            (true, false) if extent.state != State::Complete => {
                Self { state: State::Waiting, waits: Some(window), ..extent }
            }
            _ => extent,
        }
    }
}

/// How many trials the strategy's budget of launches allows, where so many were begun or skipped.
fn allowed(record: &SweepRecord, begun: usize) -> u32 {
    let limit = record.manifest.strategy_limits().besides.launches;
    let left = limit.map(|it| it.saturating_sub(spent::launches(record, Whose::Strategy)));
    left.map_or(u32::MAX, |left| left.saturating_add(begun as u32))
}

/// Jobs without an end that nobody follows.
fn left_jobs(record: &SweepRecord, written: impl Fn() -> bool) -> Vec<String> {
    let open = record.launches.iter().filter(|it| it.outcome.is_none());
    let jobs: Vec<String> = open.filter_map(|it| it.job.clone()).collect();
    if jobs.is_empty() || written() { Vec::new() } else { jobs }
}

/// The confirmation that the grid asks for, where the strategy's part is over and it was not
/// begun. Whoever works on the sweep then is about to begin it.
fn pending(record: &SweepRecord, state: &State, written: impl Fn() -> bool) -> Option<Confirming> {
    let is_over = matches!(state, State::Complete | State::BudgetSpent);
    let is_asked = record.manifest.confirm.is_some() && record.not_confirmed.is_none();
    let is_left = is_over && is_asked && record.confirmation_of_grid().is_none();
    is_left.then(|| if written() { Confirming::Running } else { Confirming::Pending })
}

/// What whoever holds the journal waits for, where no session is open: a window that closed,
/// or one that is not open yet.
fn waited_for(last: Option<&Line>, window: Option<Window>, now: &ZonedDateTime) -> Option<Waits> {
    let here = |at: jiff::Timestamp| at.to_zoned_datetime(now.time_zone().clone());
    let since = match last {
        None => None,
        Some(Line { at, entry: Entry::SessionEnded { reason, .. }, .. }) => {
            (reason == journal::WINDOW_CLOSED).then(|| here(*at))
        }
        Some(_) => return None,
    };
    if since.is_none() && window?.closes(now).is_some() {
        return None;
    }
    let opens = |it: Window| here(it.opens_after(since.as_ref().unwrap_or(now)));
    Some(Waits { window, until: window.map(opens) })
}

/// The lines since the latest block began: how an earlier one ended says nothing of it.
fn of_latest_block(lines: &[Line]) -> &[Line] {
    let begins = |line: &Line| matches!(line.entry, Entry::BlockStarted { .. });
    &lines[lines.iter().rposition(begins).unwrap_or_default()..]
}

/// The lines of sessions that worked on the sweep itself, and whether the last one did not.
fn without_confirmations(lines: &[Line]) -> (Vec<Line>, bool) {
    let mut own: Vec<Line> = Vec::new();
    let mut session = 0;
    let mut confirms = false;
    for line in lines {
        match &line.entry {
            Entry::SessionStarted { .. } => (session, confirms) = (own.len(), false),
            Entry::ConfirmationStarted { .. } => {
                confirms = true;
                own.truncate(session);
            }
            _ => {}
        }
        if !confirms {
            own.push(line.clone());
        }
    }
    (own, confirms)
}

/// How far the sweep is by its own lines, and the confirmation that is not over. Who writes
/// while a confirmation is the last session does not work on the sweep.
fn states(
    own: &[Line],
    all: bool,
    confirms: bool,
    begun: bool,
    written: impl FnOnce() -> bool,
) -> (State, Option<Confirming>) {
    let interrupted = || begun.then_some(Confirming::Interrupted);
    if !confirms {
        return (state(own, all, written), interrupted());
    }
    let confirmation = if written() { Some(Confirming::Running) } else { interrupted() };
    (state(own, all, || false), confirmation)
}

fn state(lines: &[Line], all: bool, written: impl FnOnce() -> bool) -> State {
    let ended = |line: &Line| match &line.entry {
        Entry::SessionEnded { complete, reason } => Some((*complete, reason.clone())),
        _ => None,
    };
    if all || lines.iter().filter_map(ended).any(|(complete, _)| complete) {
        return State::Complete;
    }
    match lines.last().and_then(ended) {
        Some((_, reason)) if journal::is_budget_spent(&reason) => State::BudgetSpent,
        Some((_, reason)) if reason == "interrupted" || reason == journal::WINDOW_CLOSED => {
            State::Interrupted
        }
        Some((_, reason)) => State::Stopped { reason },
        None if written() => State::Running,
        None => State::Interrupted,
    }
}

#[cfg(test)]
#[path = "extent_tests.rs"]
mod tests;
