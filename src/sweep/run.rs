//! The one loop: ask the strategy, launch, prove, measure, journal, stop, again.
//! Every outcome is a line of the journal before the next thing is begun, so a
//! kill at any moment loses at most the repeat that was running. What to launch
//! is the strategy's to say, one launch is in [`launch`]; how to start and measure
//! is the rooms' below.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::SweepError;
use super::breaker::Breaker;
use super::pass;
use super::production::{self, Guard, GuardError};
use crate::bench::RecordSink;
use crate::engine::Engine;
use crate::engine::failure::prunes;
use crate::engine::production::Production;
use crate::event::{Emit, Event};
use crate::history::HistoryError;
use crate::history::folder::{Folder, write_whole};
use crate::history::journal::{Entry, Journal, Line};
use crate::history::launch::LaunchOutcome;
use crate::history::production::{ProductionStep, steps};
use crate::history::record::{LaunchRecord, Manifest, SCHEMA_VERSION, SweepRecord};
use crate::history::replay;
use crate::strategy::{Action, Strategy};
use crate::workload::Datasets;

mod launch;

/// How a sweep was left, where it was left in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything planned was done.
    Complete,
    /// The budget did not allow another launch.
    BudgetSpent,
    /// A stop was asked for.
    Interrupted,
}

/// Longest that production may take to answer when a stop was asked for: it is
/// started and journalled so before, and a second signal leaves at once.
const PROOF_WHEN_STOPPED: Duration = Duration::from_mins(10);

/// Makes the record sink of a launch from its folder.
pub type RecordsFor<'a> = dyn Fn(&Path) -> Box<dyn RecordSink> + Send + Sync + 'a;

/// What the loop works with, handed in by `main`.
pub struct SweepContext<'a> {
    /// Starts and stops servers.
    pub engine: &'a mut dyn Engine,
    /// Decides what to launch.
    pub strategy: &'a dyn Strategy,
    /// What serves production and makes room for the sweep, where the grid names it.
    pub production: Option<&'a dyn Production>,
    /// The files that prompts come from.
    pub datasets: &'a Datasets,
    /// Where request records go.
    pub records: &'a RecordsFor<'a>,
    /// Who is told.
    pub emit: &'a Emit,
    /// Asks for a stop.
    pub cancel: &'a CancellationToken,
}

/// A sweep open for writing: its folder, its locked journal, and what it holds.
#[derive(Debug)]
pub struct Sweep {
    folder: Folder,
    journal: Journal,
    record: SweepRecord,
    spent: Duration,
    started: Instant,
    /// Steps in production's life that earlier sessions journalled.
    production: Vec<ProductionStep>,
    guard: Option<Guard>,
}

impl Sweep {
    /// Begins a sweep: writes the grid's copy and the manifest, opens the journal.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn begin(folder: Folder, manifest: Manifest, grid: &[u8]) -> Result<Self, SweepError> {
        let path = folder.grid_path();
        write_whole(&path, |file| file.write_all(grid))
            .map_err(|fault| HistoryError::Io { path, fault })?;
        folder.write_manifest(&manifest)?;
        let (mut journal, lines) = Journal::open(&folder.journal_path())?;
        journal.append(session())?;
        let record = replay::replay(manifest, &lines);
        Ok(Self {
            folder,
            journal,
            record,
            spent: Duration::ZERO,
            started: Instant::now(),
            production: Vec::new(),
            guard: None,
        })
    }

    /// Goes on with a sweep.
    ///
    /// # Errors
    /// When another process writes it, or its files are damaged.
    pub fn resume(folder: Folder) -> Result<Self, SweepError> {
        let manifest = folder.manifest()?;
        folder.check_journal()?;
        let (mut journal, mut lines) = Journal::open(&folder.journal_path())?;
        lines.push(journal.append(session())?);
        let spent = spent(&lines);
        let record = replay::replay(manifest, &lines);
        let production = steps(&lines);
        Ok(Self {
            folder,
            journal,
            record,
            spent,
            started: Instant::now(),
            production,
            guard: None,
        })
    }

    /// What the sweep holds so far.
    pub fn record(&self) -> &SweepRecord {
        &self.record
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Runs until nothing is left to do, the budget is spent, or a stop is asked for.
    ///
    /// # Errors
    /// When files cannot be written or nothing would work with what fails.
    pub async fn run(&mut self, mut context: SweepContext<'_>) -> Result<Ending, SweepError> {
        context.emit.emit(Event::SweepStarted {
            sweep: self.record.manifest.sweep.clone(),
            launches: context.strategy.launches(),
            done: self.settled(),
            simulated: self.record.manifest.simulated,
        });
        let ending = match context.production {
            None => self.work(&mut context).await,
            Some(production) => self.guarded(production, &mut context).await,
        };
        let (complete, reason) = match &ending {
            Ok(Ending::Complete) => (true, "complete".to_owned()),
            Ok(Ending::BudgetSpent) => (false, "budget spent".to_owned()),
            Ok(Ending::Interrupted) => (false, "interrupted".to_owned()),
            Err(fault) => (false, fault.to_string()),
        };
        // The first fault is the one to tell: a full disk fails here again.
        let ended = self.append(Entry::SessionEnded { complete, reason });
        context.emit.emit(Event::SweepFinished { complete });
        let ending = ending?;
        ended?;
        Ok(ending)
    }

    /// Works with production stopped, and starts it again whatever the work came to.
    async fn guarded(
        &mut self,
        production: &dyn Production,
        context: &mut SweepContext<'_>,
    ) -> Result<Ending, SweepError> {
        let earlier = std::mem::take(&mut self.production);
        let mut note = |step| self.append(Entry::Production { production: step });
        let guard = Guard::stop_production(production, &earlier, &mut note, context.emit).await;
        self.guard = Some(guard.map_err(guard_fault)?);
        let worked = production::caught(self.work(context)).await;
        let mut guard = self.guard.take().unwrap_or_default();
        let proof =
            if context.cancel.is_cancelled() { PROOF_WHEN_STOPPED } else { production::PROOF };
        let mut note = |step| self.append(Entry::Production { production: step });
        let left =
            guard.leave(production, &mut note, context.emit, proof).await.map_err(guard_fault);
        match worked {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(Ok(ending)) => left.map(|()| ending),
            Ok(Err(fault)) => {
                if let Err(also) = left {
                    context.emit.emit(Event::Warning(also.to_string()));
                }
                Err(fault)
            }
        }
    }

    /// Whether production is still down, where it is guarded.
    async fn check_production(&mut self, context: &SweepContext<'_>) -> Result<(), SweepError> {
        let (Some(production), Some(mut guard)) = (context.production, self.guard.take()) else {
            return Ok(());
        };
        let mut note = |step| self.append(Entry::Production { production: step });
        let checked = guard.check(production, &mut note).await;
        self.guard = Some(guard);
        checked.map_err(guard_fault)
    }

    async fn work(&mut self, context: &mut SweepContext<'_>) -> Result<Ending, SweepError> {
        let mut breaker = Breaker::default();
        loop {
            if context.cancel.is_cancelled() {
                context.emit.emit(Event::Interrupted);
                return Ok(Ending::Interrupted);
            }
            match context.strategy.next(&replay::history(&self.record)) {
                Action::Finish => return Ok(Ending::Complete),
                Action::Skip { slot, configuration, reason } => {
                    self.skip(context, slot, configuration, reason)?;
                }
                Action::Launch { slot, configuration } => {
                    if let Some(reason) = self.pruned(configuration) {
                        self.skip(context, slot, configuration, reason)?;
                        continue;
                    }
                    if !self.affordable() {
                        return Ok(Ending::BudgetSpent);
                    }
                    self.check_production(context).await?;
                    let mut outcome = self.launch(context, slot, configuration).await?;
                    if self.deserves_another(slot, &outcome) && !context.cancel.is_cancelled() {
                        self.check_production(context).await?;
                        outcome = self.launch(context, slot, configuration).await?;
                    }
                    match outcome {
                        LaunchOutcome::Failed(failure) => breaker.failed(failure)?,
                        LaunchOutcome::Interrupted => {}
                        _ => breaker.reset(),
                    }
                }
            }
        }
    }

    /// Why a configuration need not be launched: another one failed in a way
    /// that tells that this one would, too.
    fn pruned(&self, configuration: usize) -> Option<String> {
        let configurations = &self.record.manifest.configurations;
        let candidate = &configurations[configuration];
        self.record.launches.iter().find_map(|launch| {
            let Some(LaunchOutcome::Failed(failure)) = &launch.outcome else { return None };
            let failed = configurations.iter().find(|known| known.name == launch.configuration)?;
            let tells = failed.id != candidate.id && prunes(failed, failure.class, candidate);
            tells.then(|| {
                let class = failure.class.as_str();
                format!("`{}` failed ({class}), and this one would fail so, too", failed.name)
            })
        })
    }

    /// Whether a launch that had been ready was cut short, or some of its repeats
    /// made void, by something that is not its configuration's fault, for the
    /// first time in its slot: what it measured counts, the rest is measured by
    /// one more launch.
    fn deserves_another(&self, slot: u32, outcome: &LaunchOutcome) -> bool {
        let of_slot = || self.record.launches.iter().filter(|launch| launch.slot == slot);
        let settled = |launch: &&LaunchRecord| {
            !matches!(launch.outcome, None | Some(LaunchOutcome::Interrupted))
        };
        let first = of_slot().filter(settled).count() == 1;
        match outcome {
            LaunchOutcome::Failed(failure) => {
                let was_ready = of_slot().next_back().is_some_and(|launch| launch.facts.is_some());
                first && was_ready && !failure.class.is_deterministic()
            }
            LaunchOutcome::Measured => first && !pass::missing(&self.record, slot).is_empty(),
            _ => false,
        }
    }

    /// Whether time is left for another launch.
    fn affordable(&self) -> bool {
        self.record
            .manifest
            .budget_seconds
            .is_none_or(|budget| self.spent + self.started.elapsed() < Duration::from_secs(budget))
    }

    fn settled(&self) -> u32 {
        let settled =
            self.record.launches.iter().filter(|launch| {
                !matches!(launch.outcome, None | Some(LaunchOutcome::Interrupted))
            });
        settled.count() as u32
    }

    fn skip(
        &mut self,
        context: &SweepContext<'_>,
        slot: u32,
        configuration: usize,
        reason: String,
    ) -> Result<(), SweepError> {
        let (launch, name) = self.start_entry(slot, configuration)?;
        self.append(Entry::LaunchEnded {
            launch,
            outcome: LaunchOutcome::Skipped { reason: reason.clone() },
        })?;
        context.emit.emit(Event::LaunchSkipped { launch, configuration: name, reason });
        Ok(())
    }

    fn start_entry(
        &mut self,
        slot: u32,
        configuration: usize,
    ) -> Result<(u32, String), SweepError> {
        let launch = self.record.launches.last().map_or(1, |last| last.launch + 1);
        let name = self.record.manifest.configurations[configuration].name.clone();
        self.append(Entry::LaunchStarted { launch, slot, configuration: name.clone() })?;
        Ok((launch, name))
    }

    fn append(&mut self, entry: Entry) -> Result<(), SweepError> {
        let line = self.journal.append(entry)?;
        replay::apply(&mut self.record, &line.entry);
        Ok(())
    }
}

fn guard_fault(fault: GuardError<SweepError>) -> SweepError {
    match fault {
        GuardError::Journal(fault) => fault,
        other => SweepError::Stopped {
            message: other.to_string(),
            log_lines: Vec::new(),
            environment: true,
        },
    }
}

fn session() -> Entry {
    Entry::SessionStarted {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Time that earlier sessions worked: from each one's first line to its last.
fn spent(lines: &[Line]) -> Duration {
    let mut sessions: BTreeMap<usize, (jiff::Timestamp, jiff::Timestamp)> = BTreeMap::new();
    let mut session = 0;
    for line in lines {
        if matches!(line.entry, Entry::SessionStarted { .. }) {
            session += 1;
        }
        sessions.entry(session).or_insert((line.at, line.at)).1 = line.at;
    }
    sessions
        .values()
        .map(|(first, last)| Duration::try_from(last.duration_since(*first)).unwrap_or_default())
        .sum()
}
