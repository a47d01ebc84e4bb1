//! What is left of the budget, in each of its parts, and which part ended the work. Launches
//! and GPU hours are counted from the journal ([`crate::history::spent`]), time by the clock.
//! The strategy has its part of the grid's budget, the confirmation that the grid asks for what
//! is left of the whole, a person's confirmation a time of its own.

use std::time::Duration;

use super::super::context::SweepContext;
use super::super::part::Left;
use super::super::scope::Account;
use super::Sweep;
use crate::grid::mean_gpus;
use crate::history::journal::BUDGET_SPENT;
use crate::history::record::SweepRecord;
use crate::history::spent;
use crate::strategy::Finished;

impl Left {
    fn of(record: &SweepRecord, account: Account, worked: Duration) -> Self {
        let (limits, whose) = (account.limits(record), account.whose());
        let launches = limits.besides.launches;
        let gpu_hours = limits.besides.gpu_hours;
        Self {
            time: limits.seconds.map(|it| Duration::from_secs(it).saturating_sub(worked)),
            launches: launches.map(|it| it.saturating_sub(spent::launches(record, whose))),
            gpu_hours: gpu_hours.map(|it| (it - spent::gpu_hours(record, whose)).max(0.0)),
        }
    }
}

impl Sweep {
    /// What is left of the time, where it is limited; of GPU hours as the time that they last,
    /// where that is less: with the mean of the configurations' GPUs.
    pub(super) fn budget_left(&self) -> Option<Duration> {
        let left = self.left_of(self.scope.account());
        let gpus = left.gpu_hours.map(|hours| {
            let seconds = hours * 3600.0 / mean_gpus(&self.record.manifest.configurations);
            Duration::try_from_secs_f64(seconds).unwrap_or_default()
        });
        left.time.into_iter().chain(gpus).min()
    }

    /// Launches that may still be begun, where they are limited.
    pub(super) fn launches_left(&self) -> Option<u32> {
        self.left_of(self.scope.account()).launches
    }

    /// What is left of a budget.
    pub(super) fn left_of(&self, account: Account) -> Left {
        let left = |account| Left::of(&self.record, account, self.worked_of(account));
        match account {
            // What its confirmation spent, in an earlier block, is not there any more.
            Account::Strategy => left(account).least(left(Account::Grid)),
            _ => left(account),
        }
    }

    /// Why no launch is begun any more, where the budget is the reason.
    pub(super) fn budget_spent(&self) -> Option<String> {
        if self.left_of(self.scope.account()).is_over() {
            return Some(self.spent_of("time"));
        }
        self.counted_out()
    }

    /// The same of what is counted, and not a matter of time: not even the rest of a trial is
    /// measured then.
    pub(super) fn counted_out(&self) -> Option<String> {
        let account = self.scope.account();
        let (left, limits) = (self.left_of(account), account.limits(&self.record).besides);
        let spent = match (limits.launches, limits.gpu_hours) {
            (Some(launches), _) if left.launches == Some(0) => match launches {
                1 => "1 launch".to_owned(),
                several => format!("{several} launches"),
            },
            (_, Some(hours)) if left.gpu_hours == Some(0.0) => format!("{hours} GPU hours"),
            _ => return None,
        };
        Some(self.spent_of(&spent))
    }

    /// What of the budget is spent; of time alone nothing is said where that is the whole.
    pub(super) fn spent_of(&self, what: &str) -> String {
        let is_part =
            self.scope.account() == Account::Strategy && self.record.manifest.confirm.is_some();
        match (is_part, what) {
            (true, _) => format!("{BUDGET_SPENT}: {what}, the rest is for the confirmation"),
            (false, "time") => BUDGET_SPENT.to_owned(),
            (false, _) => format!("{BUDGET_SPENT}: {what}"),
        }
    }

    /// Adds to the end of a budget what the strategy knows then: nothing runs any more.
    pub(super) fn remark(&mut self, context: &SweepContext) {
        let reason = self.finished.take().unwrap_or_else(|| BUDGET_SPENT.to_owned());
        let observations = self.scope.observations(&self.record);
        let why = self.strategy(context).stopped(&observations, Finished::Budget(reason));
        let configurations = &self.record.manifest.configurations;
        self.finished = Some(why.said(&|it| configurations[it].name.clone()));
    }

    /// Time that all sessions worked so far.
    pub(super) fn worked(&self) -> Duration {
        self.worked_of(self.scope.account())
    }

    fn worked_of(&self, account: Account) -> Duration {
        account.spent(self.spent) + self.nights + self.started.elapsed()
    }
}
