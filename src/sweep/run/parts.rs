//! The sessions of a sweep in the journal, one after the other: of each night one, and where the
//! grid asks for a confirmation one more when the strategy's part is over. That one begins while
//! production is still stopped, where it is. What the confirmation is about is decided by who
//! knows the ranking ([`Next`]); how long a session works is the loop's.

use tokio::time::Instant;

use super::super::SweepError;
use super::super::context::SweepContext;
use super::super::part::Next;
use super::super::scope::{Account, Scope};
use super::{Ending, Sweep};
use crate::history::journal::{BUDGET_SPENT, Entry, WINDOW_CLOSED};
use crate::history::record::{SCHEMA_VERSION, SweepEnd};
use crate::strategy::Strategy;
use crate::workload::SUITE_VERSION;

impl Sweep {
    /// Number of the confirmation that is worked on, where it is one.
    pub fn confirmation(&self) -> Option<u32> {
        match &self.scope {
            Scope::Sweep => None,
            Scope::Confirmation { asked, .. } => Some(asked.number),
        }
    }

    /// What decides on launches now.
    pub(super) fn strategy<'a>(&'a self, context: &'a SweepContext) -> &'a dyn Strategy {
        match &self.scope {
            Scope::Sweep => &*context.strategy,
            Scope::Confirmation { rule, .. } => rule,
        }
    }

    /// Works until nothing is left to do, the budget is spent, a stop is asked for, or the
    /// window closes.
    pub(super) async fn session(&mut self, context: &SweepContext) -> Result<Ending, SweepError> {
        self.started = Instant::now();
        self.night.works = true;
        for note in std::mem::take(&mut self.notes) {
            context.events.emit().warn(note);
        }
        self.check_disk_before(context)?;
        self.end_other_jobs(context).await?;
        self.open_session(context)?;
        loop {
            let ending = match (&context.production, self.launches(context)) {
                (Some(production), Ok(true)) => {
                    Box::pin(self.guarded(&**production, context)).await
                }
                // Where nothing is launched, production serves on.
                (_, launches) => self.unguarded(launches, context).await,
            };
            let goes_on = match ending {
                Ok(ending) => self.goes_on(context, ending),
                Err(_) => Ok(false),
            };
            match goes_on {
                Ok(true) => {}
                Ok(false) => return self.close_session(ending),
                Err(error) => return self.close_session(Err(error)),
            }
        }
    }

    /// Works on both parts, where the first one comes to its end.
    pub(super) async fn work_on(&mut self, context: &SweepContext) -> Result<Ending, SweepError> {
        loop {
            let ending = self.work(context).await?;
            if !self.goes_on(context, ending)? {
                return Ok(ending);
            }
        }
    }

    /// Whether a confirmation follows what ended so: then its session has begun.
    fn goes_on(&mut self, context: &SweepContext, ending: Ending) -> Result<bool, SweepError> {
        let is_over = matches!(ending, Ending::Complete | Ending::BudgetSpent);
        let decide = context.next.as_ref().filter(|_| is_over && !self.has_decided);
        let Some(decide) = decide.filter(|_| matches!(self.scope, Scope::Sweep)) else {
            return Ok(false);
        };
        self.has_decided = true;
        let (complete, reason) = self.end_of(&Ok(ending));
        let mut over = self.record.clone();
        over.ended = Some(SweepEnd { complete, reason });
        let scope = match decide(&over, self.left_of(Account::Grid)) {
            Next::Nothing => return Ok(false),
            Next::NothingToConfirm(why) => {
                self.append(Entry::NothingToConfirm { why })?;
                return Ok(false);
            }
            Next::Confirmation(asked) => Scope::confirmation(&self.record, asked),
        };
        let Some(scope) = scope else { return Ok(false) };
        self.close_session(Ok(ending))?;
        self.nights += self.started.elapsed();
        self.started = Instant::now();
        self.scope = scope;
        self.open_session(context)?;
        Ok(true)
    }

    fn open_session(&mut self, context: &SweepContext) -> Result<(), SweepError> {
        self.finished = None;
        self.append(Entry::SessionStarted {
            schema_version: SCHEMA_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            suite_version: Some(SUITE_VERSION),
        })?;
        let block =
            self.accepted.take().map(|block| Entry::BlockStarted { block: Box::new(block) });
        for opening in block.into_iter().chain(self.scope.opening()) {
            self.append(opening)?;
        }
        self.tell_eta(context);
        Ok(())
    }

    fn close_session(&mut self, ending: Result<Ending, SweepError>) -> Result<Ending, SweepError> {
        if self.journal_failed {
            return ending;
        }
        let (complete, reason) = self.end_of(&ending);
        if let Ok(ending @ (Ending::Complete | Ending::BudgetSpent)) = ending
            && let Some(closing) = self.scope.closing(&self.record, ending == Ending::BudgetSpent)
        {
            self.append(closing)?;
        }
        // The first error is the one to report.
        let ended = self.append(Entry::SessionEnded { complete, reason });
        let ending = ending?;
        ended?;
        Ok(ending)
    }

    /// Whether a session that ends so did everything, and why it ends.
    fn end_of(&self, ending: &Result<Ending, SweepError>) -> (bool, String) {
        let finished = |else_: &str| self.finished.clone().unwrap_or_else(|| else_.to_owned());
        match ending {
            Ok(Ending::Complete) => (true, finished("complete")),
            Ok(Ending::BudgetSpent) => (false, finished(BUDGET_SPENT)),
            Ok(Ending::Interrupted) => (false, "interrupted".to_owned()),
            Ok(Ending::WindowClosed) => (false, WINDOW_CLOSED.to_owned()),
            Err(error) => (false, error.to_string()),
        }
    }
}
