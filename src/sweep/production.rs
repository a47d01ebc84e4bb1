//! Production is stopped before the first launch and restored after the last,
//! whatever the ending, by the same id, and proven by a completion. Each step
//! is journalled before it is done, so that `recover` can finish after a kill
//! at any moment. How a container is handled is [`crate::engine::production`]'s.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::engine::production::{Production, ProductionError};
use crate::event::{Emit, NoticeKind};
use crate::history::production::{
    Companion, Down, PendingRestore, ProductionFacts, ProductionStep, pending_restore,
};

mod companions;
mod restore;

use companions::pause;
use restore::{in_place_of, restore};

/// Pauses between attempts to start production.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Why the guard stops a sweep or could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum GuardError<E> {
    /// Somebody started production in mid-sweep, whether it runs still or not.
    #[error("somebody started production ({0}) in mid-sweep: the sweep stops")]
    StartedBySomebody(String),
    /// Production could not be handled.
    #[error(transparent)]
    Production(#[from] ProductionError),
    /// It was stopped, and could not be started again.
    #[error("{}", .down.message(Some(.why), None))]
    Down {
        /// What is down.
        down: Down,
        /// Why it could not be started.
        why: String,
    },
    /// It was started, but does not answer.
    #[error("production ({name}) is started, but not proven: {why}")]
    NotProven {
        /// Its name or id.
        name: String,
        /// What it answered.
        why: String,
    },
    /// What was stopped with it could not be started again.
    #[error(
        "production runs, but what was stopped with it is not started: {names}: {why}; start it by \
         `vllm-grid recover`, or by hand: `docker start {names}`"
    )]
    Companions {
        /// Their names.
        names: String,
        /// Why they could not be started.
        why: String,
    },
    /// A companion runs where production does not.
    #[error(
        "production does not run, but its companion does ({0}), which may start it in mid-sweep: stop \
         it, or start production"
    )]
    CompanionAlone(String),
    /// A step could not be journalled.
    #[error("a step could not be journalled")]
    Journal(E),
}

/// Journals steps before they are acted upon.
pub type Note<'a, E> = &'a mut (dyn FnMut(ProductionStep) -> Result<(), E> + Send);

/// Keeps production stopped during a sweep: the container that was stopped and is to be started.
#[derive(Debug, Default)]
pub struct Guard {
    stopped: Option<Down>,
    /// What it was then, where that is known.
    before: Option<ProductionFacts>,
    /// Its id and last start once it was stopped: a later start is somebody else's.
    found: Option<(String, String)>,
    /// Whether somebody started it since: whether it runs still is not known.
    taken_back: bool,
}

impl Guard {
    /// Stops production, where it runs. `earlier` are the steps that earlier
    /// sessions of the sweep journalled: what they stopped is restored by this one.
    ///
    /// # Errors
    /// When it cannot be stopped, or not journalled; what was stopped is started again before.
    pub async fn stop_production<E>(
        production: &dyn Production,
        earlier: &[ProductionStep],
        note: Note<'_, E>,
        emit: &Emit,
        stop: &CancellationToken,
    ) -> Result<Self, GuardError<E>> {
        let stopped = Down::of(earlier);
        // Where nothing is owed, what was stopped once is nobody's business any more.
        let before = stopped.as_ref().and_then(|_| facts_before(earlier));
        let mut guard = Self { stopped, before, ..Self::default() };
        // What was started and not proven runs, as far as is known.
        let is_down = matches!(pending_restore(earlier), PendingRestore::Start(_));
        if let Some(down) = guard.stopped.as_ref().filter(|_| is_down) {
            emit.emit(down_notice(down));
        }
        let stopping = caught(Box::pin(guard.stop(production, is_down, &mut *note, emit))).await;
        if let Ok(Ok(())) = stopping {
            return Ok(guard);
        }
        // What is half stopped is restored; the first error is the one to report, unless
        // production stays down.
        match (stopping, guard.restore(production, note, emit, stop).await) {
            (Err(panic), _) => std::panic::resume_unwind(panic),
            (Ok(Err(error)), Err(GuardError::Down { down, why })) => {
                Err(GuardError::Down { down, why: format!("{why}. Before: {error}") })
            }
            (Ok(stopping), _) => stopping.map(|()| guard),
        }
    }

    async fn stop<E>(
        &mut self,
        production: &dyn Production,
        said: bool,
        note: Note<'_, E>,
        emit: &Emit,
    ) -> Result<(), GuardError<E>> {
        match production.find().await? {
            Some(facts) if facts.running => {
                self.see_replaced(&facts, note, emit)?;
                let paused = self.paused_and(production.companions().await?);
                let facts = ProductionFacts { paused, ..facts };
                let down = Down { id: facts.id.clone(), name: facts.name.clone() };
                self.before = Some(facts.clone());
                note(ProductionStep::Stopping { facts }).map_err(GuardError::Journal)?;
                emit.emit(down_notice(&down));
                let id = down.id.clone();
                self.stopped = Some(down);
                pause(production, self.paused()).await?;
                production.stop(&id).await?;
                // Its policy may have started it until now: what comes later is somebody else's.
                let seen = production.look(&id).await.ok().flatten();
                self.found = seen.as_ref().map(last_start);
                note(ProductionStep::Stopped { id }).map_err(GuardError::Journal)
            }
            facts => {
                self.found = facts.as_ref().map(last_start);
                self.leave_stopped(production, said, note, emit).await
            }
        }
    }

    /// Where it does not run: what an earlier session stopped is owed by this one.
    async fn leave_stopped<E>(
        &mut self,
        production: &dyn Production,
        said: bool,
        note: Note<'_, E>,
        emit: &Emit,
    ) -> Result<(), GuardError<E>> {
        match &self.stopped {
            Some(down) => {
                if !said {
                    emit.emit(down_notice(down));
                }
                self.pause_further(production, note).await
            }
            None => match production.companions().await?.as_slice() {
                [] => note(ProductionStep::NotRunning).map_err(GuardError::Journal),
                running => Err(GuardError::CompanionAlone(Companion::names(running))),
            },
        }
    }

    /// Where `now` runs in place of what an earlier session stopped, that one is no longer down.
    fn see_replaced<E>(
        &mut self,
        now: &ProductionFacts,
        note: Note<'_, E>,
        emit: &Emit,
    ) -> Result<(), GuardError<E>> {
        let Some(stopped) = self.stopped.as_ref().filter(|it| it.id != now.id) else {
            return Ok(());
        };
        let step = in_place_of(stopped, self.before.as_ref(), now, false);
        note(step).map_err(GuardError::Journal)?;
        emit.emit(NoticeKind::ProductionUp { id: stopped.id.clone() });
        self.stopped = Some(Down { id: now.id.clone(), name: now.name.clone() });
        Ok(())
    }

    /// Stops companions that run again while production is still down: one that starts with the
    /// machine would start production in mid-sweep.
    async fn pause_further<E>(
        &mut self,
        production: &dyn Production,
        note: Note<'_, E>,
    ) -> Result<(), GuardError<E>> {
        let running = production.companions().await?;
        let Some(before) = self.before.clone().filter(|_| !running.is_empty()) else {
            return Ok(());
        };
        let id = before.id.clone();
        let facts = ProductionFacts { paused: self.paused_and(running), ..before };
        self.before = Some(facts.clone());
        note(ProductionStep::Stopping { facts }).map_err(GuardError::Journal)?;
        pause(production, self.paused()).await?;
        note(ProductionStep::Stopped { id }).map_err(GuardError::Journal)
    }

    /// What an earlier session stopped and did not start again, and what runs now.
    fn paused_and(&self, running: Vec<Companion>) -> Vec<Companion> {
        let mut all = self.paused().to_vec();
        all.extend(
            running.into_iter().filter(|it| self.paused().iter().all(|known| known.id != it.id)),
        );
        all
    }

    /// What was stopped with it.
    fn paused(&self) -> &[Companion] {
        self.before.as_ref().map_or(&[], |before| &before.paused)
    }

    /// What is to be started again.
    pub fn owes(&self) -> Option<&Down> {
        self.stopped.as_ref()
    }

    /// Whether production is still stopped; to be asked before every launch, after every repeat,
    /// and where a launch failed. Who started it has it beside a candidate that holds the GPU's
    /// memory: it may end for that, so it stays owed until it is proven.
    pub async fn check<E>(
        &mut self,
        production: &dyn Production,
        note: Note<'_, E>,
        emit: &Emit,
    ) -> Result<(), GuardError<E>> {
        let Some(now) = production.find().await? else { return Ok(()) };
        if !now.running && !self.was_started(&now) {
            return Ok(());
        }
        self.taken_back = true;
        self.see_replaced(&now, &mut *note, emit)?;
        let down = Down { id: now.id.clone(), name: now.name.clone() };
        self.stopped = Some(down);
        let step = ProductionStep::StartedBySomebody { id: now.id.clone() };
        note(step).map_err(GuardError::Journal)?;
        if now.running {
            emit.emit(NoticeKind::ProductionUp { id: now.id });
        }
        Err(GuardError::StartedBySomebody(now.name))
    }

    /// Whether it was started since it was found, and ended again.
    fn was_started(&self, now: &ProductionFacts) -> bool {
        let is_later = |(id, at): &(String, String)| {
            *id == now.id && !now.started_at.is_empty() && *at != now.started_at
        };
        self.found.as_ref().is_some_and(is_later)
    }

    /// Starts production again, which is tried for minutes, and then proves it, for
    /// `PROOF` at most, and for a shorter time once `stop` is cancelled.
    ///
    /// # Errors
    /// It is down, or runs and is not proven, or a step could not be journalled.
    pub async fn restore<E>(
        &mut self,
        production: &dyn Production,
        note: Note<'_, E>,
        emit: &Emit,
        stop: &CancellationToken,
    ) -> Result<(), GuardError<E>> {
        let Some(stopped) = self.stopped.take() else { return Ok(()) };
        let before = self.before.take();
        let mut unwritten = None;
        if std::mem::take(&mut self.taken_back)
            && matches!(production.look(&stopped.id).await, Ok(Some(it)) if !it.running)
        {
            emit.emit(down_notice(&stopped));
            // As in the rest of it, an error of the journal is returned after.
            unwritten = note(ProductionStep::Stopped { id: stopped.id.clone() }).err();
        }
        Box::pin(restore(production, &stopped, before.as_ref(), note, emit, stop)).await?;
        unwritten.map_or(Ok(()), |error| Err(GuardError::Journal(error)))
    }
}

/// Which container it is, and when it was started last.
fn last_start(facts: &ProductionFacts) -> (String, String) {
    (facts.id.clone(), facts.started_at.clone())
}

/// What production was when `steps` stopped it.
fn facts_before(steps: &[ProductionStep]) -> Option<ProductionFacts> {
    steps.iter().rev().find_map(|step| match step {
        ProductionStep::Stopping { facts } => Some(facts.clone()),
        _ => None,
    })
}

fn down_notice(down: &Down) -> NoticeKind {
    NoticeKind::ProductionDown { id: down.id.clone(), name: down.name.clone() }
}

/// Whether a later attempt to start production may succeed.
fn may_pass(error: &ProductionError) -> bool {
    match error {
        ProductionError::Daemon(_) | ProductionError::PortTaken { .. } => true,
        ProductionError::Name(_)
        | ProductionError::Missing { .. }
        | ProductionError::Removed(_) => false,
    }
}

/// Finishes what a dead sweep's `steps` leave to be done; returns whether anything was.
///
/// # Errors
/// As of [`Guard::restore`].
pub async fn recover<E>(
    production: &dyn Production,
    steps: &[ProductionStep],
    note: Note<'_, E>,
    emit: &Emit,
    stop: &CancellationToken,
) -> Result<bool, GuardError<E>> {
    let Some(stopped) = Down::of(steps) else { return Ok(false) };
    if matches!(pending_restore(steps), PendingRestore::Start(_)) {
        emit.emit(down_notice(&stopped));
    }
    let before = facts_before(steps);
    let restored = restore(production, &stopped, before.as_ref(), note, emit, stop);
    Box::pin(restored).await.map(|()| true)
}

/// Runs `work` and returns what it came to, or the panic that ended it, so
/// that production can be restored before the panic continues.
pub async fn caught<T>(work: impl Future<Output = T>) -> std::thread::Result<T> {
    AssertUnwindSafe(work).catch_unwind().await
}

#[cfg(test)]
mod companion_tests;
#[cfg(test)]
mod daemon_tests;
#[cfg(test)]
mod taken_back_tests;
#[cfg(test)]
mod tests;
