//! What is left of the budget, in each of its parts, and which part ended the sweep. Launches
//! and GPU hours are counted from the journal ([`crate::history::spent`]), time by the clock.
//! A confirmation has a budget of time alone.

use std::time::Duration;

use super::super::scope::Scope;
use super::Sweep;
use crate::grid::{Budget, mean_gpus};
use crate::history::journal::BUDGET_SPENT;
use crate::history::spent;

impl Sweep {
    /// What is left of the time, where it is limited; of GPU hours as the time that they last,
    /// where that is less: with the mean of the configurations' GPUs.
    pub(super) fn budget_left(&self) -> Option<Duration> {
        let time = self.time_left();
        let gpus = self.gpu_hours_left().map(|hours| {
            let seconds = hours * 3600.0 / mean_gpus(&self.record.manifest.configurations);
            Duration::try_from_secs_f64(seconds).unwrap_or_default()
        });
        time.into_iter().chain(gpus).min()
    }

    /// Launches that may still be begun, where they are limited.
    pub(super) fn launches_left(&self) -> Option<u32> {
        let launches = self.besides()?.launches?;
        Some(launches.saturating_sub(spent::launches(&self.record)))
    }

    /// Why no launch is begun any more, where the budget is the reason.
    pub(super) fn budget_spent(&self) -> Option<String> {
        if self.time_left().is_some_and(|left| left.is_zero()) {
            return Some(BUDGET_SPENT.to_owned());
        }
        self.counted_out()
    }

    /// The same of what is counted, and not a matter of time: not even the rest of a trial is
    /// measured then.
    pub(super) fn counted_out(&self) -> Option<String> {
        let budget = self.besides()?;
        let spent = match (budget.launches, budget.gpu_hours) {
            (Some(launches), _) if self.launches_left() == Some(0) => match launches {
                1 => "1 launch".to_owned(),
                several => format!("{several} launches"),
            },
            (_, Some(hours)) if self.gpu_hours_left() == Some(0.0) => format!("{hours} GPU hours"),
            _ => return None,
        };
        Some(format!("{BUDGET_SPENT}: {spent}"))
    }

    /// Time that all sessions worked so far.
    pub(super) fn worked(&self) -> Duration {
        self.scope.spent(self.spent) + self.nights + self.started.elapsed()
    }

    fn time_left(&self) -> Option<Duration> {
        let budget = self.scope.budget(&self.record)?;
        Some(budget.saturating_sub(self.worked()))
    }

    fn gpu_hours_left(&self) -> Option<f64> {
        let hours = self.besides()?.gpu_hours?;
        Some((hours - spent::gpu_hours(&self.record)).max(0.0))
    }

    fn besides(&self) -> Option<Budget> {
        matches!(self.scope, Scope::Sweep).then_some(self.record.manifest.budget)
    }
}
