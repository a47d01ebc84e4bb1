//! What the loop does next: what an earlier session left undone, what the strategy asks
//! for, what is launched once more in the end; and whether budget and window leave room for it.

use super::super::context::SweepContext;
use super::super::running::Running;
use super::super::scope::Scope;
use super::super::trial::Trial;
use super::super::{SweepError, relaunch};
use super::nights::Room;
use super::{Ending, Sweep};
use crate::history::journal::Entry;
use crate::history::launch::LaunchOutcome;
use crate::strategy::{Action, Situation};

/// Why a budget ends that has one launch more.
const ONE_LEFT: &str = "1 launch is left, and a pair needs 2";

/// What is to be done next.
pub(super) enum Next {
    Launch(Trial),
    Skipped,
    Wait,
    /// Until it is known where a launch runs: the next one is to run beside it.
    Unplaced,
    End(Ending),
}

impl Sweep {
    /// Decides what to do next, and journals what is skipped.
    pub(super) fn next(
        &mut self,
        context: &SweepContext,
        running: &mut Running,
    ) -> Result<Next, SweepError> {
        if let Some(trial) = running.again.pop_front() {
            if self.counted_out().is_some() {
                return Ok(Next::Skipped);
            }
            if self.waits_for_node(context, &trial) {
                running.again.push_front(trial);
                return Ok(Next::Unplaced);
            }
            return Ok(match self.room(context, &trial) {
                Room::Yes => Next::Launch(trial),
                Room::NotNow => Next::End(Ending::WindowClosed),
                // What it lacks stays missing.
                Room::Never(_) => Next::Skipped,
            });
        }
        if running.undone.front().is_some_and(|it| self.waits_for_node(context, it)) {
            return Ok(Next::Unplaced);
        }
        let spent = self.budget_spent();
        let action = self.action(context, running);
        let mut by_strategy = matches!(action, Action::Skip { .. });
        let (mut trial, reason) = match action {
            Action::Finish { why } => {
                let configurations = &self.record.manifest.configurations;
                self.finished = Some(why.said(&|it| configurations[it].name.clone()));
                return Ok(Next::End(Ending::Complete));
            }
            Action::Wait => return Ok(Next::Wait),
            Action::Skip { trial, configuration, purpose, reason } => {
                (Trial { number: trial, configuration, purpose, repeats: 0 }, Some(reason))
            }
            Action::Launch { trial, configuration, purpose, repeats } => {
                let trial = Trial { number: trial, configuration, purpose, repeats };
                (trial, relaunch::skip_reason(&self.record, configuration))
            }
        };
        let reason = match reason {
            None if spent.is_some() => {
                self.finished = spent;
                return Ok(Next::End(Ending::BudgetSpent));
            }
            // Nothing is compared with it.
            None if self.is_half(context, trial.number) => {
                self.finished = Some(self.spent_of(ONE_LEFT));
                return Ok(Next::End(Ending::BudgetSpent));
            }
            None => match self.room(context, &trial) {
                Room::Yes => None,
                Room::NotNow => return Ok(Next::End(Ending::WindowClosed)),
                Room::Never(reason) => {
                    let fewer = self.room_for_fewer(context, &trial);
                    trial.repeats = fewer.unwrap_or(trial.repeats);
                    by_strategy = fewer.is_none();
                    by_strategy.then_some(reason)
                }
            },
            reason => reason,
        };
        if let Some(reason) = reason {
            let launch = self.start_entry(trial, 0, None)?;
            self.append(Entry::LaunchEnded {
                launch,
                outcome: LaunchOutcome::Skipped { reason, by_strategy },
            })?;
            return Ok(Next::Skipped);
        }
        // What the strategy asks for it asks for again.
        if self.waits_for_node(context, &trial) {
            return Ok(Next::Unplaced);
        }
        Ok(Next::Launch(trial))
    }

    /// Whether the trial that this one is compared with runs, and nobody knows yet on which node:
    /// both are to run on one.
    fn waits_for_node(&self, context: &SweepContext, trial: &Trial) -> bool {
        if context.hosts().measures_here() {
            return false;
        }
        let Some(partner) = trial.partner(&self.record) else { return false };
        self.own().any(|it| it.trial == partner && it.outcome.is_none() && it.machine.is_none())
    }

    /// The grid's own number of repeats, where a window has room for these and not for as many
    /// as were chosen.
    fn room_for_fewer(&self, context: &SweepContext, trial: &Trial) -> Option<u32> {
        let strategy = &self.record.manifest.strategy;
        let repeats = strategy.repeats();
        let fewer = Trial { repeats, ..*trial };
        let fits = || matches!(self.room(context, &fewer), Room::Yes);
        (strategy.chooses_repeats() && repeats < trial.repeats && fits()).then_some(repeats)
    }

    /// Whether a trial is the first of a pair for which the budget has one launch.
    fn is_half(&self, context: &SweepContext, trial: u32) -> bool {
        // A strategy counts from 0 in each block.
        let trial = self.scope.numbered(&self.record, trial);
        self.launches_left() == Some(1)
            && self.with_situation(|it| self.strategy(context).opens_pair(it, trial))
    }

    /// What a strategy decides from.
    fn with_situation<T>(&self, ask: impl FnOnce(Situation<'_>) -> T) -> T {
        ask(Situation {
            observations: &self.scope.observations(&self.record),
            in_flight: &self.scope.in_flight(&self.record),
            budget_left: self.budget_left(),
            launches_left: self.launches_left(),
            launches_made: Some(self.scope.launches_made(&self.record)),
            host: None,
        })
    }

    /// Whether what is launched depends on what was measured.
    fn chooses(&self) -> bool {
        matches!(self.scope, Scope::Sweep) && self.record.manifest.strategy.chooses()
    }

    /// What an earlier session left undone, what the strategy asks for, and in the end what
    /// is to be launched once more.
    fn action(&self, context: &SweepContext, running: &mut Running) -> Action {
        if let Some(trial) = running.undone.pop_front() {
            return trial.into();
        }
        let action = self.with_situation(|situation| self.strategy(context).next(situation));
        let action = self.scope.journalled(&self.record, action);
        match (action, self.scope.reopened(&self.record).pop_front()) {
            // A strategy that chooses has decided without it: what it decided must stay so.
            (Action::Finish { .. }, Some(trial)) if !self.chooses() => trial.into(),
            (action, _) => action,
        }
    }
}
