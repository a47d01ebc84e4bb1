//! What a session works on: the sweep itself, or a confirmation. Each has launches, trials
//! and a budget of its own, and neither sees those of the other. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::observations;
use super::relaunch;
use super::trial::Trial;
use crate::grid::Limits;
use crate::history::confirmation::Confirmation;
use crate::history::journal::{Entry, Line};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::spent::{self, Whose};
use crate::history::steady::Steady;
use crate::strategy::confirm::{Confirm, Ended};
use crate::strategy::{Action, InFlight, Observation};

/// What a session works on.
#[derive(Clone, Debug, Default)]
pub(super) enum Scope {
    /// The sweep: everything but what confirms.
    #[default]
    Sweep,
    /// A confirmation.
    Confirmation {
        /// As it is journalled.
        asked: Confirmation,
        /// Its rule.
        rule: Confirm,
    },
}

impl Scope {
    /// A confirmation; `None` where it is not of two of the sweep's configurations.
    pub(super) fn confirmation(record: &SweepRecord, asked: Confirmation) -> Option<Self> {
        let configurations = record.manifest.configurations.iter();
        let names: Vec<&str> = configurations.map(|known| known.name.as_str()).collect();
        let rule = asked.strategy(&names, record.manifest.machine_pace())?;
        Some(Self::Confirmation { asked, rule })
    }

    fn number(&self) -> Option<u32> {
        match self {
            Self::Sweep => None,
            Self::Confirmation { asked, .. } => Some(asked.number),
        }
    }

    /// Whether a launch belongs to it.
    pub(super) fn has(&self, launch: &LaunchRecord) -> bool {
        launch.confirmation == self.number()
    }

    /// The entry that its session begins with, after that of the session.
    pub(super) fn opening(&self) -> Option<Entry> {
        match self {
            Self::Sweep => None,
            Self::Confirmation { asked, .. } => {
                Some(Entry::ConfirmationStarted { confirmation: asked.clone() })
            }
        }
    }

    /// The entry that it ends with, where it is over.
    pub(super) fn closing(&self, record: &SweepRecord, budget_spent: bool) -> Option<Entry> {
        let Self::Confirmation { asked, .. } = self else { return None };
        let ended = self.ended(record).or_else(|| budget_spent.then_some(Ended::Budget))?;
        Some(Entry::ConfirmationEnded { confirmation: asked.number, ended })
    }

    /// How far the journal's numbers of its trials are from those of its strategy, which
    /// begins with 0 in each block. A confirmation has numbers of its own.
    fn first_trial(&self, record: &SweepRecord) -> u32 {
        match self {
            Self::Sweep => record.first_trial(),
            Self::Confirmation { .. } => 0,
        }
    }

    /// A trial of the journal's, as its strategy numbers it.
    pub(super) fn numbered(&self, record: &SweepRecord, trial: u32) -> u32 {
        trial.saturating_sub(self.first_trial(record))
    }

    /// Its trials that are over, as its strategy numbers them.
    pub(super) fn observations(&self, record: &SweepRecord) -> Vec<Observation> {
        let mut all = observations::observations(record, |launch| self.has(launch));
        let first = self.first_trial(record);
        for it in &mut all {
            it.trial = it.trial.saturating_sub(first);
        }
        all
    }

    /// Launches of its trials that are over and count: the strategy's own, and no others that were
    /// made meanwhile.
    pub(super) fn launches_made(&self, record: &SweepRecord) -> u32 {
        let own = record.launches.iter().filter(|it| self.has(it) && it.outcome.is_some());
        own.filter(|it| spent::is_counted(it)).count() as u32
    }

    /// Its trials that run, as its strategy numbers them.
    pub(super) fn in_flight(&self, record: &SweepRecord) -> Vec<InFlight> {
        let mut all = observations::in_flight(record, |launch| self.has(launch));
        let first = self.first_trial(record);
        for it in &mut all {
            it.trial = it.trial.saturating_sub(first);
        }
        all
    }

    /// What its strategy answered, with the journal's number of the trial.
    pub(super) fn journalled(&self, record: &SweepRecord, mut action: Action) -> Action {
        let first = self.first_trial(record);
        if let Action::Launch { trial, .. } | Action::Skip { trial, .. } = &mut action {
            *trial = trial.saturating_add(first);
        }
        action
    }

    /// Whether it is a confirmation that needs no further launch.
    pub(super) fn is_over(&self, record: &SweepRecord) -> bool {
        match self {
            Self::Sweep => false,
            Self::Confirmation { .. } => self.ended(record).is_some(),
        }
    }

    /// Why it needs no further launch, where it is a confirmation.
    pub(super) fn ended(&self, record: &SweepRecord) -> Option<Ended> {
        let Self::Confirmation { rule, .. } = self else { return None };
        rule.ended(&self.observations(record))
    }

    /// Its trials that earlier sessions left undone, where they are still wanted.
    pub(super) fn undone(&self, record: &SweepRecord) -> VecDeque<Trial> {
        if self.is_over(record) {
            return VecDeque::new();
        }
        relaunch::undone(record, |launch| self.has(launch))
    }

    /// Its trials that are launched once more at its end, where they are still wanted.
    pub(super) fn reopened(&self, record: &SweepRecord) -> VecDeque<Trial> {
        if self.is_over(record) {
            return VecDeque::new();
        }
        relaunch::reopened(record, |launch| self.has(launch))
    }

    /// What its launches are counted against.
    pub(super) fn account(&self) -> Account {
        match self {
            Self::Sweep => Account::Strategy,
            Self::Confirmation { asked, .. } if asked.of_grid => Account::Grid,
            Self::Confirmation { asked, .. } => Account::Session(asked.budget_seconds),
        }
    }
}

/// A budget, and who spends of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The strategy, in all sessions, of its part of the grid's budget.
    Strategy,
    /// The strategy and the confirmation that the grid asks for, of the whole.
    Grid,
    /// One session of a person's confirmation, of so many seconds.
    Session(Option<u64>),
}

impl Account {
    /// How much there is.
    pub(super) fn limits(self, record: &SweepRecord) -> Limits {
        match self {
            Self::Strategy => record.manifest.strategy_limits(),
            Self::Grid => record.manifest.limits(),
            Self::Session(seconds) => Limits { seconds, ..Limits::default() },
        }
    }

    /// Time that earlier sessions spent of it.
    pub(super) fn spent(self, earlier: Spent) -> Duration {
        match self {
            Self::Strategy => earlier.sweep,
            Self::Grid => earlier.sweep + earlier.confirmation,
            Self::Session(_) => Duration::ZERO,
        }
    }

    /// Whose launches are counted.
    pub(super) fn whose(self) -> Whose {
        match self {
            Self::Strategy | Self::Session(_) => Whose::Strategy,
            Self::Grid => Whose::Grid,
        }
    }
}

/// Time that earlier sessions worked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// On the sweep itself.
    pub(super) sweep: Duration,
    /// On the confirmation that the grid asks for.
    pub(super) confirmation: Duration,
    /// On the sweep and on confirmations: what a simulated machine lived.
    pub(super) all: Duration,
}

/// Time that earlier sessions worked: from each one's first line to its last by the
/// monotonic clock; lines that are not the session's own, as those of `recover`, have none.
pub(super) fn spent(lines: &[Line]) -> Spent {
    let mut sessions: BTreeMap<usize, (jiff::Timestamp, jiff::Timestamp)> = BTreeMap::new();
    let mut confirming: BTreeMap<usize, bool> = BTreeMap::new();
    let (mut session, mut is_monotonic) = (0, false);
    let mut steady = Steady::default();
    for line in lines {
        let at = steady.next(line);
        match &line.entry {
            Entry::SessionStarted { .. } => {
                session += 1;
                is_monotonic = line.elapsed_ms.is_some();
            }
            Entry::ConfirmationStarted { confirmation } => {
                confirming.insert(session, confirmation.of_grid);
            }
            _ => {}
        }
        let times = sessions.entry(session).or_insert((at, at));
        if line.elapsed_ms.is_some() || !is_monotonic {
            times.1 = at;
        }
    }
    let mut spent = Spent::default();
    for (session, (first, last)) in sessions {
        let took = Duration::try_from(last.duration_since(first)).unwrap_or_default();
        spent.all += took;
        match confirming.get(&session) {
            None => spent.sweep += took,
            Some(true) => spent.confirmation += took,
            Some(false) => {}
        }
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(begins: bool, wall: i64, elapsed_ms: Option<u64>) -> Line {
        let entry = if begins {
            Entry::SessionStarted {
                schema_version: 1,
                tool_version: String::new(),
                suite_version: None,
            }
        } else {
            Entry::SessionEnded { complete: false, reason: String::new() }
        };
        let at = jiff::Timestamp::from_second(wall).expect("a time");
        Line { sequence: 1, at, elapsed_ms, happened_at: None, entry }
    }

    #[test]
    fn what_sessions_spent_does_not_depend_on_a_clock_that_was_set() {
        let lines = [
            line(true, 10_000, Some(0)),
            line(false, 10, Some(60_000)),
            line(true, 5_000, Some(0)),
            line(false, 90_000, Some(30_000)),
            // What `recover` wrote a day later is nobody's work.
            line(false, 180_000, None),
        ];
        assert_eq!(spent(&lines).all.as_secs(), 90);
        let older = [line(true, 0, None), line(false, 60, None), line(false, 30, None)];
        assert_eq!(spent(&older).all.as_secs(), 60);
    }
}
