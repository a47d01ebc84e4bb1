//! Production is stopped before the first launch and restored after the last,
//! whatever the ending, by the same id, and proven by a completion. Each step
//! is journalled before it is done, so that `recover` can finish after a kill
//! at any moment. How a container is handled is [`crate::engine::production`]'s.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use crate::engine::production::{Production, ProductionError};
use crate::event::{Emit, NoticeKind};
use crate::history::production::{
    Companion, Down, PendingRestore, ProductionFacts, ProductionStep, pending_restore,
};

mod companions;

use companions::{pause, resume};

/// Longest that production may take to answer a completion: cold boots of 10
/// minutes are usual, graph capture can take 30.
pub const PROOF: Duration = Duration::from_mins(45);

/// Pauses between attempts to start production.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// How often it is said that production is still down.
const REMINDER: Duration = Duration::from_mins(1);

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
    ) -> Result<Self, GuardError<E>> {
        let stopped = Down::of(earlier);
        // Where nothing is owed, what was stopped once is nobody's business any more.
        let before = stopped.as_ref().and_then(|_| facts_before(earlier));
        let mut guard = Self { stopped, before };
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
        match (stopping, guard.restore(production, note, emit, PROOF).await) {
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
                note(ProductionStep::Stopped { id }).map_err(GuardError::Journal)
            }
            _ => match &self.stopped {
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
            },
        }
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

    /// Whether production is still stopped; to be asked before every launch and after every repeat.
    pub async fn check<E>(
        &mut self,
        production: &dyn Production,
        note: Note<'_, E>,
        emit: &Emit,
    ) -> Result<(), GuardError<E>> {
        match production.find().await? {
            Some(now) if now.running => {
                let stopped = self.stopped.take();
                // Before the step after which nothing is owed: what cannot be started stays owed.
                resume(production, self.paused(), emit).await?;
                if let Some(stopped) = stopped.filter(|it| it.id != now.id) {
                    let step = in_place_of(&stopped, self.before.as_ref(), &now, false);
                    note(step).map_err(GuardError::Journal)?;
                }
                let step = ProductionStep::StartedBySomebody { id: now.id };
                note(step).map_err(GuardError::Journal)?;
                Err(GuardError::StartedBySomebody(now.name))
            }
            _ => Ok(()),
        }
    }

    /// Starts production again, which is tried for minutes, and then proves it, for at most `proof`.
    ///
    /// # Errors
    /// It is down, or runs and is not proven, or a step could not be journalled.
    pub async fn restore<E>(
        &mut self,
        production: &dyn Production,
        note: Note<'_, E>,
        emit: &Emit,
        proof: Duration,
    ) -> Result<(), GuardError<E>> {
        let Some(stopped) = self.stopped.take() else { return Ok(()) };
        let before = self.before.take();
        Box::pin(restore(production, &stopped, before.as_ref(), note, emit, proof)).await
    }
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

/// Starts what was stopped, then proves it. Any number of times: what runs is only proven.
/// What ends before it is proven, as where memory is not free yet or where it was about to
/// stop when it was looked at, is started again as long as that may help.
async fn restore<E>(
    production: &dyn Production,
    stopped: &Down,
    before: Option<&ProductionFacts>,
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
    let paused = before.map_or(&[][..], |before| &before.paused);
    let mut stopped = stopped.clone();
    let (mut until, mut pause) = (Instant::now() + production.patience(), MIN_PAUSE);
    let (mut prove_until, mut has_ended) = (None, false);
    loop {
        let (facts, made) = start(production, &stopped, until, emit).await?;
        emit.emit(NoticeKind::ProductionUp { id: stopped.id.clone() });
        noted(started(&stopped, before, &facts, made, emit));
        stopped = Down { id: facts.id, name: facts.name };
        let prove_until = *prove_until.get_or_insert_with(|| Instant::now() + proof);
        let left = prove_until.saturating_duration_since(Instant::now());
        let proven = production.prove(&stopped.id, left).await;
        let runs = production.look(&stopped.id).await.map(|it| it.is_some_and(|it| it.running));
        let why = match (proven, runs) {
            // A daemon that does not answer says nothing about what answered.
            (Ok(()), Ok(true) | Err(_)) => break,
            (Err(why), Ok(true)) => {
                let why = match Companion::names(paused) {
                    names if names.is_empty() => why,
                    names => format!("{why}; until it is, {names} stays stopped"),
                };
                return Err(GuardError::NotProven { name: stopped.name, why });
            }
            (Err(why), Err(unseen)) => {
                let why = format!("{why}; whether it runs is not known: {unseen}");
                return Err(GuardError::NotProven { name: stopped.name, why });
            }
            (Ok(()), Ok(false)) => "it answered, and ended".to_owned(),
            (Err(why), Ok(false)) => why,
        };
        noted(ProductionStep::Stopped { id: stopped.id.clone() });
        emit.emit(down_notice(&stopped));
        if !std::mem::replace(&mut has_ended, true) {
            until = Instant::now() + production.patience();
        }
        let left = until.saturating_duration_since(Instant::now());
        if left < pause {
            let why = format!(
                "it ends each time that it is started: {why}; `docker logs {}` shows more",
                stopped.name
            );
            return Err(GuardError::Down { down: stopped, why });
        }
        emit.warn(format!(
            "PRODUCTION IS DOWN: {} was started and does not run any more: {why}; its start is tried \
             for {} s more",
            stopped.who(),
            left.as_secs()
        ));
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
    // Before the step that ends what is owed: after a death here `recover` does it.
    resume(production, paused, emit).await?;
    noted(ProductionStep::Proven { id: stopped.id });
    unwritten.map_or(Ok(()), |error| Err(GuardError::Journal(error)))
}

/// The step of a start: of what was stopped, or of what was made in its place.
fn started(
    stopped: &Down,
    before: Option<&ProductionFacts>,
    facts: &ProductionFacts,
    made: bool,
    emit: &Emit,
) -> ProductionStep {
    if facts.id == stopped.id {
        return ProductionStep::StartedNotProven { id: facts.id.clone() };
    }
    let step = in_place_of(stopped, before, facts, made);
    emit.warn(step.replaced().map_or_else(String::new, |it| it.to_string()));
    step
}

/// The step of a container that is there in place of what was stopped; `made` by us.
fn in_place_of(
    stopped: &Down,
    before: Option<&ProductionFacts>,
    now: &ProductionFacts,
    made: bool,
) -> ProductionStep {
    let (removed, id) = (stopped.id.clone(), now.id.clone());
    let differences = before.map_or_else(Vec::new, |before| before.differences(now));
    if made {
        ProductionStep::MadeAgain { removed, id, differences }
    } else {
        ProductionStep::Replaced { removed, id, differences }
    }
}

/// Starts what was stopped: at once, and again with pauses until `until` as long as that may
/// help. Whether a stop was asked for meanwhile does not matter here: production comes first.
async fn start<E>(
    production: &dyn Production,
    stopped: &Down,
    until: Instant,
    emit: &Emit,
) -> Result<(ProductionFacts, bool), GuardError<E>> {
    let mut pause = MIN_PAUSE;
    let mut reminded: Option<Instant> = None;
    loop {
        let error = match start_once(production, &stopped.id).await {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        let left = until.saturating_duration_since(Instant::now());
        if !may_pass(&error) || left < pause {
            return Err(GuardError::Down { down: stopped.clone(), why: error.to_string() });
        }
        if reminded.is_none_or(|at| at.elapsed() >= REMINDER) {
            reminded = Some(Instant::now());
            emit.warn(format!(
                "PRODUCTION IS DOWN: {} is not started: {error}; its start is tried for {} s more",
                stopped.who(),
                left.as_secs()
            ));
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
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

/// The container that runs in the end: the one of this id, or what serves in its place where
/// somebody removed it; and whether it was made for that.
async fn start_once(
    production: &dyn Production,
    id: &str,
) -> Result<(ProductionFacts, bool), ProductionError> {
    let facts = match production.look(id).await? {
        Some(facts) => Some(facts),
        None => production.find().await?,
    };
    match facts {
        Some(facts) if facts.running => Ok((facts, false)),
        Some(facts) => production.start(&facts.id).await.map(|()| (facts, false)),
        None => production.make_again().await.map(|facts| (facts, true)),
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
) -> Result<bool, GuardError<E>> {
    let Some(stopped) = Down::of(steps) else { return Ok(false) };
    if matches!(pending_restore(steps), PendingRestore::Start(_)) {
        emit.emit(down_notice(&stopped));
    }
    let before = facts_before(steps);
    let restored = restore(production, &stopped, before.as_ref(), note, emit, PROOF);
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
mod tests;
