//! The one loop: ask the strategy, launch, journal what comes, and again, with
//! as many launches at once as the engine has places for. Every outcome is a
//! line of the journal before the next thing is begun, so a kill at any moment
//! loses at most the repeats that were running. What to launch is decided by
//! the strategy, what a failure means by [`super::relaunch`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::SweepError;
use super::clock::{Clock, Reading};
use super::context::SweepContext;
use super::events::Events;
use super::launch::void;
use super::losses::{self, InARow};
use super::measured_with::see_production;
use super::production::{self, Guard, GuardError};
use super::relaunch::{self, Breaker};
use super::running::{Incoming, Put, Running};
use super::scope::{Scope, Spent};
use crate::engine::production::Production;
use crate::event::NoticeKind;
use crate::history::block::Block;
use crate::history::folder::Folder;
use crate::history::journal::{Entry, Journal, Times};
use crate::history::launch::LaunchOutcome;
use crate::history::production::{Configured, ProductionStep};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::replay;
use crate::history::steady::Steady;

mod budget;
mod expected;
mod files;
mod jobs;
mod next;
mod nights;
mod open;
pub mod owner;
mod parts;
mod start;
mod unguarded;

use files::Files;
use next::Next;
use nights::Night;
use owner::Owner;

/// How a sweep ended, where it ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything planned was done.
    Complete,
    /// The budget did not allow another launch.
    BudgetSpent,
    /// A stop was asked for.
    Interrupted,
    /// The window closed. [`Sweep::run`] waits for the next one, and never ends so.
    WindowClosed,
}

/// A sweep open for writing: its folder, its locked journal, and what it holds.
#[derive(Debug)]
pub struct Sweep {
    folder: Folder,
    journal: Journal,
    record: SweepRecord,
    /// What launches leave on the disk.
    files: Files,
    /// What a person should know of how the folder was found.
    notes: Vec<String>,
    scope: Scope,
    /// The block that this session begins with, where a change was accepted.
    accepted: Option<Block>,
    /// Time that earlier sessions worked on the sweep.
    spent: Spent,
    started: Instant,
    /// Steps in production's life that earlier sessions journalled.
    production: Vec<ProductionStep>,
    /// The configuration of production's container, as the latest block saw it first.
    noted_production: Option<Configured>,
    guard: Option<Guard>,
    /// Where debts are noted; nowhere where nobody may find them.
    owner: Option<Owner>,
    /// Where launches of this session run.
    host: String,
    /// Why the strategy finished.
    finished: Option<String>,
    /// Whether it was decided what follows the strategy's part.
    has_decided: bool,
    /// Whether an error of the journal ended the work: nothing more is appended by it.
    journal_failed: bool,
    /// Whether production could not be shown to be stopped: what was measured meanwhile
    /// is not kept.
    disturbed: bool,
    events: Events,
    clock: Clock,
    /// The times of lines, the clock set or not.
    steady: Steady,
    /// Time that earlier nights of this process worked.
    nights: Duration,
    night: Night,
    /// Longest that production took to be started and proven, where it was seen.
    production_took: Option<Duration>,
    /// The clocks when a running launch's last entry came.
    readings: BTreeMap<u32, Reading>,
}

impl Sweep {
    /// What the sweep holds so far.
    pub fn record(&self) -> &SweepRecord {
        &self.record
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Launches of what is worked on: of a block that is about to begin there are none.
    fn own(&self) -> impl Iterator<Item = &LaunchRecord> {
        let launches = if self.accepted.is_some() { &[][..] } else { &self.record.launches };
        launches.iter().filter(|launch| self.scope.has(launch))
    }

    /// Trials of what is worked on that are done: an interrupted one is launched again.
    pub fn settled(&self) -> BTreeSet<u32> {
        let undone = self.scope.undone(&self.record);
        let own = self.own().map(|launch| launch.trial);
        own.filter(|trial| undone.iter().all(|it| it.number != *trial)).collect()
    }

    /// Works with production stopped, and restores it whatever the work came to.
    async fn guarded(
        &mut self,
        production: &dyn Production,
        context: &SweepContext,
    ) -> Result<Ending, SweepError> {
        let emit = context.events.emit();
        let earlier = std::mem::take(&mut self.production);
        let mut note = |step| self.append(Entry::Production { production: step });
        let stop = &context.cancel;
        let guard = Guard::stop_production(production, &earlier, &mut note, &emit, stop).await;
        self.guard = Some(guard.map_err(|error| self.told(error))?);
        let worked = production::caught(self.work_on(context)).await;
        // Production needs the GPU that a server may still hold; a bug here must not keep it down.
        if let Ok(Err(left)) = production::caught(context.engine.end_left()).await {
            emit.warn(format!("production is started beside a server of ours: {}", left.message));
        }
        let mut guard = self.guard.take().unwrap_or_default();
        let (restoring, owed) = (Instant::now(), guard.owes().is_some());
        let mut note = |step| self.append(Entry::Production { production: step });
        let restored = guard.restore(production, &mut note, &emit, stop).await;
        let restored = restored.map_err(|error| self.told(error));
        // What did not run is not started: that tells nothing of how long it takes.
        if owed && restored.is_ok() {
            self.production_took = self.production_took.max(Some(restoring.elapsed()));
        }
        match (worked, restored) {
            (Err(panic), _) => std::panic::resume_unwind(panic),
            (Ok(Ok(ending)), restored) => restored.map(|()| ending),
            (Ok(Err(error)), Err(SweepError::ProductionDown(down))) => {
                Err(SweepError::ProductionDown(format!("{down}. The sweep had stopped: {error}")))
            }
            (Ok(Err(error)), restored) => {
                if let Err(also) = restored {
                    emit.warn(also.to_string());
                }
                Err(error)
            }
        }
    }

    /// An error of the guard as this sweep's: what starts production again names its folder.
    pub(super) fn told(&self, error: GuardError<SweepError>) -> SweepError {
        match error {
            GuardError::Down { down, why } => {
                SweepError::ProductionDown(down.message(Some(&why), Some(self.folder.path())))
            }
            other => other.into(),
        }
    }

    /// Whether production is still stopped, where it is guarded.
    async fn check_production(&mut self, context: &SweepContext) -> Result<(), SweepError> {
        let (Some(production), Some(mut guard)) = (&context.production, self.guard.take()) else {
            return Ok(());
        };
        let emit = context.events.emit();
        let mut note = |step| self.append(Entry::Production { production: step });
        // What is owed must outlive a bug of the check.
        let checked = production::caught(guard.check(&**production, &mut note, &emit)).await;
        self.guard = Some(guard);
        self.disturbed |= !matches!(checked, Ok(Ok(())));
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(SweepError::from)
    }

    /// A launch's outcome as it counts: a failure beside production says nothing of the
    /// configuration.
    async fn undisturbed(
        &mut self,
        context: &SweepContext,
        outcome: LaunchOutcome,
    ) -> (LaunchOutcome, Result<(), SweepError>) {
        if !matches!(outcome, LaunchOutcome::Failed(_)) {
            return (outcome, Ok(()));
        }
        let checked = if self.disturbed { Ok(()) } else { self.check_production(context).await };
        (if self.disturbed { LaunchOutcome::Interrupted } else { outcome }, checked)
    }

    /// Launches until there is an ending; nothing runs any more when this returns.
    async fn work(&mut self, context: &SweepContext) -> Result<Ending, SweepError> {
        let mut running = Running::none(&context.cancel);
        running.undone = self.scope.undone(&self.record);
        self.take_up(context, &mut running);
        let worked = production::caught(self.launch_all(context, &mut running)).await;
        if !matches!(worked, Ok(Ok(_))) {
            self.stop_all(context, &mut running).await;
        }
        if let Ok(Ok(Ending::BudgetSpent)) = worked {
            self.remark(context);
        }
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Stops what still runs after an error, which is the one to report. What the
    /// other launches measured is kept, as far as it can be written and counts.
    async fn stop_all(&mut self, context: &SweepContext, running: &mut Running) {
        running.stop();
        while running.count() > 0 {
            let incoming = running.next().await;
            if self.journal_failed {
                continue;
            }
            match incoming {
                Incoming::Put(refused) if self.disturbed => drop(refused),
                Incoming::Put(put) => {
                    let _ = self.journal(context, put).await;
                }
                Incoming::Ended { launch, outcome, .. } => {
                    // That it ended is journalled; its own error is not the one to report.
                    let Ok(made) = self.ended(launch, outcome) else { continue };
                    let (outcome, _) = self.undisturbed(context, made.outcome).await;
                    let _ = self.append_of(Entry::LaunchEnded { launch, outcome }, made.happened);
                }
                Incoming::Panicked(_) => {}
            }
        }
    }

    async fn launch_all(
        &mut self,
        context: &SweepContext,
        running: &mut Running,
    ) -> Result<Ending, SweepError> {
        let (mut breaker, mut lost) = (Breaker::default(), InARow::default());
        let mut ending = None;
        // Until when nothing is launched, since the cluster takes one launch after the other.
        let mut paused: Option<Instant> = None;
        let mut closing = self.closing(context);
        let places = context.hosts().places();
        // Until a launch has ended, where the strategy waits for one.
        let mut waiting = false;
        // Until a launch is placed or has ended.
        let mut unplaced = false;
        let interrupted = |ending: &mut Option<Ending>| {
            if ending.replace(Ending::Interrupted) != Some(Ending::Interrupted) {
                context.events.emit().emit(NoticeKind::Interrupted);
            }
        };
        loop {
            if context.cancel.is_cancelled() {
                interrupted(&mut ending);
            }
            paused = paused.filter(|until| Instant::now() < *until);
            while paused.is_none()
                && !unplaced
                && may_start(ending, waiting, running)
                && running.count() < places
            {
                match self.next(context, running)? {
                    Next::Launch(trial) => self.start(context, running, trial).await?,
                    Next::Skipped => {}
                    Next::Wait => waiting = true,
                    Next::Unplaced => unplaced = true,
                    Next::End(end) => ending = Some(end),
                }
                if context.cancel.is_cancelled() {
                    interrupted(&mut ending);
                }
            }
            let pause = paused.filter(|_| may_start(ending, waiting, running));
            if running.count() == 0 && pause.is_none() {
                let what = "the strategy waits for a launch, and none is in flight";
                return ending.ok_or_else(|| stopped(what.to_owned()));
            }
            let incoming = tokio::select! {
                biased;
                () = context.cancel.cancelled(), if ending != Some(Ending::Interrupted) => continue,
                () = nights::reached(&self.clock, closing) => {
                    closing = None;
                    if matches!(ending, None | Some(Ending::Complete)) {
                        ending = Some(Ending::WindowClosed);
                    }
                    running.stop();
                    continue;
                }
                () = over(pause) => continue,
                incoming = running.next(), if running.count() > 0 => incoming,
            };
            match incoming {
                Incoming::Put(put) => {
                    unplaced &= !matches!(put.entry, Entry::LaunchPlaced { .. });
                    self.journal(context, put).await?;
                }
                Incoming::Ended { launch, trial, outcome } => {
                    (waiting, unplaced) = (false, false);
                    let made = self.ended(launch, outcome)?;
                    let outcome = losses::counted(&self.record, &trial, launch, made.outcome);
                    let (outcome, checked) = self.undisturbed(context, outcome).await;
                    self.append_of(Entry::LaunchEnded { launch, outcome }, made.happened)?;
                    checked?;
                    if ending != Some(Ending::Interrupted) {
                        self.tell_eta(context);
                    }
                    let again = relaunch::measures_rest(&self.record, trial.number, trial.repeats);
                    let pause = lost.after(&self.record, launch)?;
                    paused = paused.max(pauses(context, launch, pause));
                    if again && !context.cancel.is_cancelled() {
                        running.again.push_back(trial);
                    } else {
                        let ended = self.record.launches.iter().rfind(|one| one.launch == launch);
                        let notice =
                            ended.map_or(Ok(None), |it| breaker.after(&self.record, it))?;
                        if let Some(notice) = notice {
                            context.events.emit().of_launch(launch).warn(notice);
                        }
                    }
                }
                Incoming::Panicked(panic) => std::panic::resume_unwind(panic),
            }
        }
    }

    /// Journals an entry of a running launch. A repeat during which somebody
    /// started production is void, and the sweep stops.
    async fn journal(&mut self, context: &SweepContext, put: Put) -> Result<(), SweepError> {
        let mut entry = put.entry.clone();
        let checked = match &mut entry {
            // Nodes are compared with each other where launches are placed, and look at their own
            // clocks.
            Entry::LaunchReady { .. } | Entry::RepeatFinished { .. } if put.happened.is_some() => {
                Ok(())
            }
            Entry::LaunchReady { launch, facts, .. } => {
                self.readings.insert(*launch, self.clock.read());
                self.same_engine(*launch, facts)
            }
            Entry::RepeatFinished { launch, measurement } => {
                if let Some(why) = self.slept(*launch) {
                    context
                        .events
                        .emit()
                        .of_launch(*launch)
                        .warn(format!("a repeat is void: {why}"));
                    *measurement = void(measurement.clone(), &why);
                }
                let checked = self.check_production(context).await;
                if let Err(error) = &checked {
                    *measurement = void(measurement.clone(), &error.to_string());
                }
                checked
            }
            _ => Ok(()),
        };
        self.append_of(entry.clone(), put.happened)?;
        checked?;
        put.accept(entry);
        Ok(())
    }

    /// Why the clocks say that the machine did not run throughout a repeat that ends now.
    fn slept(&mut self, launch: u32) -> Option<String> {
        let now = self.clock.read();
        now.disturbed_since(&self.readings.insert(launch, now)?)
    }

    /// Writes an entry; once it is durable it is part of the record, and an event.
    fn append(&mut self, entry: Entry) -> Result<(), SweepError> {
        self.append_of(entry, None)
    }

    /// The same of what happened at a time by another machine's clock.
    fn append_of(
        &mut self,
        entry: Entry,
        happened: Option<jiff::Timestamp>,
    ) -> Result<(), SweepError> {
        // An entry that cannot follow would make the journal unreadable.
        replay::check(&self.record, &entry)
            .map_err(|what| stopped(format!("not journalled: {what}")))?;
        let begins = matches!(entry, Entry::LaunchStarted { .. });
        let is_of_launch = files::is_of_launch(&entry);
        if begins {
            self.check_place()?;
        }
        let step = match &entry {
            Entry::Production { production } => Some(production.clone()),
            _ => None,
        };
        let owes = match &step {
            Some(step) => self.before_step(step)?,
            None => false,
        };
        let elapsed = self.night.works.then(|| self.started.elapsed());
        let times = Times { at: self.clock.now(), elapsed, happened };
        let written = self.journal.append_after(times, entry);
        if let Some(step) = &step {
            self.after_step(step, owes && written.is_err());
        }
        self.journal_failed |= written.is_err();
        let line = written?;
        let at = self.steady.next(&line);
        replay::apply(&mut self.record, &line.entry, line.happened_at.unwrap_or(at));
        see_production(&mut self.noted_production, &line.entry);
        self.events.written(line, &self.record);
        if is_of_launch { self.check_written() } else { Ok(()) }
    }
}

/// Whether a launch may be started where there is a place for it: the missing
/// repeats of a trial are measured even after the strategy has finished or the
/// budget was spent.
fn may_start(ending: Option<Ending>, waiting: bool, running: &Running) -> bool {
    match ending {
        None => !waiting || !running.again.is_empty(),
        Some(Ending::Complete | Ending::BudgetSpent) => !running.again.is_empty(),
        Some(Ending::Interrupted | Ending::WindowClosed) => false,
    }
}

/// Until when nothing is launched, where that is so; a person is told.
fn pauses(context: &SweepContext, launch: u32, pause: Duration) -> Option<Instant> {
    let until = (!pause.is_zero()).then(|| Instant::now() + pause)?;
    let seconds = pause.as_secs();
    context
        .events
        .emit()
        .of_launch(launch)
        .warn(format!("the cluster cuts launch after launch: the next one begins in {seconds} s"));
    Some(until)
}

/// Returns when a pause is over; never where there is none.
async fn over(pause: Option<Instant>) {
    match pause {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn stopped(message: String) -> SweepError {
    SweepError::Stopped { message, log_lines: Vec::new(), environment: false }
}

#[cfg(test)]
mod tests;
