//! Production is stopped before the first launch and restored after the last,
//! whatever the ending, by the same id, and proven by a completion. Each step
//! is journalled before it is done, so that `recover` can finish after a kill
//! at any moment. How a container is handled is [`crate::engine::production`]'s.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::engine::production::{Production, ProductionError};
use crate::event::Emit;
use crate::history::production::{PendingRestore, ProductionStep, pending_restore};

/// Longest that production may take to answer a completion: cold boots of 10
/// minutes are usual, graph capture can take 30.
pub const PROOF: Duration = Duration::from_mins(45);

/// Why the guard stops a sweep or could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum GuardError<E> {
    /// Somebody started production in mid-sweep.
    #[error(
        "somebody started production ({0}) in mid-sweep: the sweep stops, production keeps running"
    )]
    StartedBySomebody(String),
    /// Production could not be handled.
    #[error(transparent)]
    Production(#[from] ProductionError),
    /// It was started, but does not answer.
    #[error("production ({name}) is started, but not proven: {why}")]
    NotProven {
        /// Its name or id.
        name: String,
        /// What it answered.
        why: String,
    },
    /// A step could not be journalled.
    #[error("a step could not be journalled")]
    Journal(E),
}

/// Journals steps before they are acted upon.
pub type Note<'a, E> = &'a mut (dyn FnMut(ProductionStep) -> Result<(), E> + Send);

/// Keeps production stopped during a sweep: the container that was stopped and is to be started.
#[derive(Debug, Default)]
pub struct Guard {
    stopped: Option<String>,
}

impl Guard {
    /// Stops production, where it runs. `earlier` are the steps that earlier
    /// sessions of the sweep journalled: what they stopped is restored by this one.
    pub async fn stop_production<E>(
        production: &dyn Production,
        earlier: &[ProductionStep],
        note: Note<'_, E>,
        emit: &Emit,
    ) -> Result<Self, GuardError<E>> {
        let pending_restore = match pending_restore(earlier) {
            PendingRestore::Start(id) | PendingRestore::Proof(id) => Some(id),
            PendingRestore::Nothing => None,
        };
        let mut guard = Self { stopped: pending_restore };
        match production.find().await? {
            Some(facts) if facts.running => {
                let id = facts.id.clone();
                note(ProductionStep::Stopping { facts }).map_err(GuardError::Journal)?;
                guard.stopped = Some(id.clone());
                // What is half stopped is restored; the first error is the one to report.
                if let Err(error) = production.stop(&id).await {
                    let _ = guard.restore(production, note, emit, PROOF).await;
                    return Err(error.into());
                }
                if let Err(error) = note(ProductionStep::Stopped { id }) {
                    let _ = guard.restore(production, note, emit, PROOF).await;
                    return Err(GuardError::Journal(error));
                }
            }
            _ if guard.stopped.is_some() => {}
            _ => note(ProductionStep::NotRunning).map_err(GuardError::Journal)?,
        }
        Ok(guard)
    }

    /// Whether production is still stopped; to be asked before every launch and after every repeat.
    pub async fn check<E>(
        &mut self,
        production: &dyn Production,
        note: Note<'_, E>,
    ) -> Result<(), GuardError<E>> {
        match production.find().await? {
            Some(now) if now.running => {
                self.stopped = None;
                let step = ProductionStep::StartedBySomebody { id: now.id };
                note(step).map_err(GuardError::Journal)?;
                Err(GuardError::StartedBySomebody(now.name))
            }
            _ => Ok(()),
        }
    }

    /// Starts production again and proves it, for at most `proof`.
    pub async fn restore<E>(
        &mut self,
        production: &dyn Production,
        note: Note<'_, E>,
        emit: &Emit,
        proof: Duration,
    ) -> Result<(), GuardError<E>> {
        let Some(id) = self.stopped.take() else { return Ok(()) };
        restore(production, &id, note, emit, proof).await
    }
}

/// Starts what was stopped and proves it. Any number of times: what runs is only proven.
async fn restore<E>(
    production: &dyn Production,
    id: &str,
    note: Note<'_, E>,
    emit: &Emit,
    proof: Duration,
) -> Result<(), GuardError<E>> {
    // A journal that cannot be written must not keep production down: the error is returned after.
    let mut unwritten = None;
    let mut noted = |step| {
        if let Err(error) = note(step) {
            unwritten.get_or_insert(error);
        }
    };
    let facts = if let Some(facts) = production.look(id).await? {
        if !facts.running {
            production.start(id).await?;
        }
        noted(ProductionStep::StartedNotProven { id: id.to_owned() });
        facts
    } else {
        let facts = match production.find().await? {
            Some(facts) if facts.running => facts,
            Some(facts) => {
                production.start(&facts.id).await?;
                facts
            }
            None => production.make_again().await?,
        };
        emit.warn(format!(
            "somebody removed production's container; {} was made from its compose file",
            facts.name
        ));
        noted(ProductionStep::MadeAgain { removed: id.to_owned(), id: facts.id.clone() });
        facts
    };
    let name = facts.name;
    production.prove(&facts.id, proof).await.map_err(|why| GuardError::NotProven { name, why })?;
    noted(ProductionStep::Proven { id: facts.id });
    unwritten.map_or(Ok(()), |error| Err(GuardError::Journal(error)))
}

/// Finishes what a dead sweep's `steps` leave to be done; returns whether anything was.
pub async fn recover<E>(
    production: &dyn Production,
    steps: &[ProductionStep],
    note: Note<'_, E>,
    emit: &Emit,
) -> Result<bool, GuardError<E>> {
    match pending_restore(steps) {
        PendingRestore::Nothing => Ok(false),
        PendingRestore::Start(id) | PendingRestore::Proof(id) => {
            restore(production, &id, note, emit, PROOF).await.map(|()| true)
        }
    }
}

/// Runs `work` and returns what it came to, or the panic that ended it, so
/// that production can be restored before the panic continues.
pub async fn caught<T>(work: impl Future<Output = T>) -> std::thread::Result<T> {
    AssertUnwindSafe(work).catch_unwind().await
}

#[cfg(test)]
mod tests;
