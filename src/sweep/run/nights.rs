//! A sweep that may launch only in a window of the day: it waits until the window opens,
//! begins no launch that would end after it, has production back before it closes, and
//! continues in the next one, where nothing changed that is measured with. Each night is a
//! session of its own in the journal; waiting is nobody's work. When a window opens is
//! [`crate::grid::Window`]'s.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::SweepError;
use super::super::clock::Clock;
use super::super::context::SweepContext;
use super::super::difference::{Before, Changed, Weight, engine_version};
use super::super::eta::{Longest, longest_launch};
use super::super::measured_with::MeasuredWith;
use super::super::production;
use super::super::trial::Trial;
use super::{Ending, Sweep, stopped};
use crate::event::NoticeKind;
use crate::history::journal::{Entry, Line};
use crate::history::launch::{LaunchFacts, LaunchOutcome};
use crate::history::production::{PendingRestore, ProductionStep, pending_restore};

/// Time kept for production's start and proof, where it was never seen.
const PRODUCTION: Duration = Duration::from_mins(15);
/// Time kept for stopping the last server.
const STOP: Duration = Duration::from_mins(1);
/// How often the wall clock is looked at: it may be set meanwhile, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(30);

/// Part of a window that is nearly the whole of it: a wait ends a moment late.
const WHOLE: f64 = 0.95;

/// What is known of the present night.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Night {
    /// Whether it was waited for, nearly the whole window is ahead, and nothing was launched yet.
    pub(super) fresh: bool,
    /// Whether its session has begun: what is journalled before is no work of it.
    pub(super) works: bool,
}

/// Whether there is room for a launch before the window closes.
pub(super) enum Room {
    Yes,
    /// In another night.
    NotNow,
    /// It is longer than the window; why.
    Never(String),
}

impl Sweep {
    /// Runs until nothing is left to do, the budget is spent, or a stop is asked for.
    ///
    /// # Errors
    /// When files cannot be written or nothing would work with what fails.
    pub async fn run(&mut self, context: &SweepContext) -> Result<Ending, SweepError> {
        self.events = context.events.clone();
        self.clock = context.clock.clone();
        // What found no room tonight finds none a moment later.
        let mut is_over = false;
        let mut was_idle = false;
        loop {
            if self.waits(context, is_over).await? {
                return Ok(Ending::Interrupted);
            }
            let (whole, before) = (self.night.fresh, self.progress());
            let ending = self.session(context).await;
            context.hosts().finish(&context.events.emit()).await;
            self.nights += self.started.elapsed();
            let Ok(Ending::WindowClosed) = ending else { return ending };
            let is_idle = self.progress() == before;
            // Where nothing was begun, production may have taken long to stop: once.
            let has_begun = !self.night.fresh;
            if is_idle && whole && (has_begun || was_idle) {
                let window = context.window.map_or_else(String::new, |it| it.to_string());
                return Err(stopped(format!(
                    "a whole night in the window {window} finished no repeat: widen `window`, or \
                     lower what a repeat takes"
                )));
            }
            was_idle = is_idle && (whole || was_idle);
            is_over = true;
        }
    }

    /// Repeats and launches that are over.
    fn progress(&self) -> usize {
        let settled = |outcome: &LaunchOutcome| usize::from(outcome.is_settled());
        let launches = self.record.launches.iter();
        launches.map(|it| it.measurements.len() + it.outcome.as_ref().map_or(0, settled)).sum()
    }

    /// Waits until the window has room for a launch, the next one where this one is over;
    /// whether a stop was asked for meanwhile.
    async fn waits(&mut self, context: &SweepContext, is_over: bool) -> Result<bool, SweepError> {
        self.night = Night::default();
        let Some(window) = context.window else { return Ok(false) };
        let mut waited = false;
        // After a wait all is looked at again: the machine may have slept past the window, and
        // its clock may have been set.
        loop {
            let now = self.clock.local();
            if let Some(closes) = window.closes(&now).filter(|_| waited || !is_over) {
                let left = closes.duration_since(now.timestamp()).as_secs_f64();
                self.night.fresh = waited && left >= WHOLE * window.seconds();
                if self.night.fresh || left >= self.needed(context) {
                    if waited {
                        self.compare(context).await?;
                    }
                    return Ok(false);
                }
            }
            self.restore_owed(context).await?;
            let until = window.opens_after(&now);
            self.events.emit().emit(NoticeKind::Waits { window: window.to_string(), until });
            tokio::select! {
                biased;
                () = context.cancel.cancelled() => return Ok(true),
                () = reached(&self.clock, Some(until)) => {}
            }
            waited = true;
        }
    }

    /// Whether what is measured with is what the block began with: by day it may have changed,
    /// and launches of both would be pooled. Nothing was stopped yet.
    async fn compare(&self, context: &SweepContext) -> Result<(), SweepError> {
        let Some(machine) = &context.machine else { return Ok(()) };
        let production = context.production.as_deref();
        let now = MeasuredWith::read_by(machine, &*context.engine, production).await;
        let mut began;
        let (record, production) = match &self.accepted {
            None => (&self.record, self.noted_production.clone()),
            Some(block) => {
                began = self.record.clone();
                began.begin_block(block);
                (&began, block.production())
            }
        };
        let manifest = &record.manifest;
        let mut baseline = manifest.configurations.iter().filter(|it| {
            manifest.baseline.as_deref().is_some_and(|baseline| it.answers_to(baseline))
        });
        let before = Before {
            record,
            production: production.as_ref(),
            production_is_baseline: baseline.any(|it| it.answers_to("production")),
        };
        let differences = before.differences(&now);
        if differences.iter().any(|it| it.weight() != Weight::Said) {
            let (block, launches) = (record.block(), record.launches.len());
            return Err(Changed { differences, block, launches }.into());
        }
        for difference in differences {
            self.events.emit().warn(format!("changed, and continues: {difference}"));
        }
        Ok(())
    }

    /// Whether a server is of the version that the block was measured with: launches of both
    /// would be pooled.
    pub(super) fn same_engine(&self, launch: u32, facts: &LaunchFacts) -> Result<(), SweepError> {
        let Some(difference) = engine_version(&self.record, launch, facts) else { return Ok(()) };
        let (block, launches) = (self.record.block(), self.record.launches.len());
        Err(Changed { differences: vec![difference], block, launches }.into())
    }

    /// Seconds that the shortest of all launches needs before the window closes.
    fn needed(&self, context: &SweepContext) -> f64 {
        let manifest = &self.record.manifest;
        let repeats = manifest.strategy.repeats();
        let launches = (0..manifest.configurations.len())
            .map(|it| longest_launch(&self.record, &context.foreknown, it, repeats).seconds);
        launches.reduce(f64::min).unwrap_or_default() + self.kept(context).as_secs_f64()
    }

    /// What an earlier session left stopped is started and proven where nothing is launched
    /// now: before a day of waiting, and where nothing is left to do.
    pub(super) async fn restore_owed(&mut self, context: &SweepContext) -> Result<(), SweepError> {
        let Some(production) = &context.production else { return Ok(()) };
        if pending_restore(&self.production) == PendingRestore::Nothing {
            return Ok(());
        }
        let (steps, emit) = (std::mem::take(&mut self.production), self.events.emit());
        let mut note = |step| self.append(Entry::Production { production: step });
        let stop = &context.cancel;
        let restored = production::recover(&**production, &steps, &mut note, &emit, stop).await;
        restored.map(|_| ()).map_err(|error| self.told(error))
    }

    /// Whether a launch that begins now ends in time.
    pub(super) fn room(&self, context: &SweepContext, trial: &Trial) -> Room {
        let Some(window) = context.window else { return Room::Yes };
        let now = self.clock.local();
        let Some(closes) = window.closes(&now) else { return Room::NotNow };
        let left = closes.duration_since(now.timestamp()).as_secs_f64();
        let Longest { seconds, measured } =
            longest_launch(&self.record, &context.foreknown, trial.configuration, trial.repeats);
        let kept = self.kept(context).as_secs_f64();
        if seconds + kept <= left {
            return Room::Yes;
        }
        // What is left tonight says nothing of other nights, and what others took, or nothing,
        // nothing of this configuration.
        if let Some(launch) = measured.filter(|it| it + kept > window.seconds()) {
            return Room::Never(format!(
                "a launch takes up to {:.0} min, and with production's start it fits into no window \
                 {window}",
                (launch / 60.0).ceil()
            ));
        }
        // An assumption takes no launch from anybody.
        let may_fit = measured.is_none_or(|it| it + kept <= left);
        if self.night.fresh && may_fit { Room::Yes } else { Room::NotNow }
    }

    /// When what runs is stopped, so that production is back in time.
    pub(super) fn closing(&self, context: &SweepContext) -> Option<Timestamp> {
        let closes = context.window?.closes(&self.clock.local())?;
        let kept = SignedDuration::try_from(self.kept(context)).ok()?;
        closes.checked_sub(kept).ok()
    }

    /// The configurations whose launches are known to be longer than the window, each with
    /// what to know before the night.
    pub fn too_long(&self, context: &SweepContext) -> Vec<String> {
        let Some(window) = context.window else { return Vec::new() };
        let manifest = &self.record.manifest;
        let (repeats, kept) = (manifest.strategy.repeats(), self.kept(context).as_secs_f64());
        let launches = (0..manifest.configurations.len()).filter_map(|index| {
            let launch = longest_launch(&self.record, &context.foreknown, index, repeats).measured;
            launch.filter(|launch| launch + kept > window.seconds()).map(|launch| {
                format!(
                    "{}: a launch takes up to {:.0} min, and does not fit into the window {window}: it \
                     will be skipped",
                    manifest.configurations[index].name,
                    (launch / 60.0).ceil()
                )
            })
        });
        launches.collect()
    }

    /// Time that is kept free at the window's end.
    pub(super) fn kept(&self, context: &SweepContext) -> Duration {
        if context.production.is_none() {
            return STOP;
        }
        STOP + self.production_took.map_or(PRODUCTION, |took| took.mul_f64(1.5))
    }
}

/// Returns when the wall clock shows this time, or later; never where there is none.
pub(super) async fn reached(clock: &Clock, at: Option<Timestamp>) {
    let Some(at) = at else { return std::future::pending().await };
    while let Ok(left) = Duration::try_from(at.duration_since(clock.now())) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// Longest that production took from its start to its proof in earlier sessions.
pub(super) fn production_took(lines: &[Line], times: &[Timestamp]) -> Option<Duration> {
    let mut started = None;
    let mut longest = None;
    for (line, at) in lines.iter().zip(times) {
        match &line.entry {
            Entry::Production { production: ProductionStep::StartedNotProven { .. } } => {
                started = Some(*at);
            }
            Entry::Production { production: ProductionStep::Proven { .. } } => {
                let took = started.take().map(|from: Timestamp| at.duration_since(from));
                longest = longest.max(took.and_then(|it| Duration::try_from(it).ok()));
            }
            _ => {}
        }
    }
    longest
}
