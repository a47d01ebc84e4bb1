//! Sessions that launch nothing, as the resumption of a sweep that is complete: production
//! serves on, and only what an earlier session left stopped is started.

use super::super::SweepError;
use super::super::context::SweepContext;
use super::super::running::Running;
use super::next::Next;
use super::{Ending, Sweep};

impl Sweep {
    /// Whether anything is to be launched. What is skipped before it is journalled here:
    /// asked again, the strategy says the same of what is left.
    pub(super) fn launches(&mut self, context: &SweepContext) -> Result<bool, SweepError> {
        if context.production.is_none() {
            return Ok(true);
        }
        if self.scope.is_over(&self.record) {
            return Ok(false);
        }
        let mut running = Running::none(&context.cancel);
        running.undone = self.scope.undone(&self.record);
        loop {
            match self.next(context, &mut running)? {
                Next::Skipped => {}
                Next::Launch(_) | Next::Wait | Next::Unplaced => return Ok(true),
                Next::End(_) => return Ok(false),
            }
        }
    }

    /// Works with production as it is. What an earlier session left stopped is restored all
    /// the same.
    pub(super) async fn unguarded(
        &mut self,
        launches: Result<bool, SweepError>,
        context: &SweepContext,
    ) -> Result<Ending, SweepError> {
        let restored = self.restore_owed(context).await;
        // A proof takes long: meanwhile a window may have opened.
        let launches = match launches {
            Ok(false) if restored.is_ok() => self.launches(context),
            known => known,
        };
        if let (Some(production), Ok(true)) = (&context.production, &launches) {
            return Box::pin(self.guarded(&**production, context)).await;
        }
        let worked = match launches {
            Ok(_) => self.work(context).await,
            Err(error) => Err(error),
        };
        match (worked, restored) {
            (Ok(ending), restored) => restored.map(|()| ending),
            (Err(error), Err(SweepError::ProductionDown(down))) => {
                Err(SweepError::ProductionDown(format!("{down}. The sweep had stopped: {error}")))
            }
            (Err(error), _) => Err(error),
        }
    }
}
