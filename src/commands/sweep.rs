//! `sweep` and `resume`: a grid file becomes a folder of results.

use std::sync::Arc;

use vllm_grid::engine::compose::ServiceSpec;
use vllm_grid::engine::docker::{DockerProduction, production_of};
use vllm_grid::engine::elsewhere::Elsewhere;
use vllm_grid::engine::production::Production;
use vllm_grid::engine::service::{self, Need};
use vllm_grid::engine::{self, Engine, EngineError};
use vllm_grid::grid::plan::by_default;
use vllm_grid::grid::{EngineBlock, Grid, GridFile};
use vllm_grid::history::confirmation::Confirmation;
use vllm_grid::history::folder::{Folder, SeenFolder};
use vllm_grid::history::journal::{self, JournalError, Line};
use vllm_grid::history::production::{Down, Now, PendingRestore, pending_restore};
use vllm_grid::history::record::SweepRecord;
use vllm_grid::history::replay::production_steps;
use vllm_grid::history::spent::{self, Whose};
use vllm_grid::results::confirmable;
use vllm_grid::sweep::SweepError;
use vllm_grid::sweep::difference::{Changed, Continues};
use vllm_grid::sweep::measured_with::MeasuredWith;
use vllm_grid::sweep::resume::{self, ResumeError};
use vllm_grid::sweep::run::Sweep;

use super::descriptors;
use super::follow;
use super::owning::{self, Claimed, Owning};
use super::work::{self, Work};
use crate::cli::{ResumeArgs, SweepArgs};
use crate::exit::{CommandError, Exit};
use crate::output::{print_error, secrets};
use crate::signals::Shutdown;

/// `sweep`: launches, measures and ranks every configuration of a grid.
pub(crate) async fn sweep(args: &SweepArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let output = args.output.as_deref().map_or(Ok(()), Folder::check_output);
    let file = match (super::read_grid(&args.grid), output) {
        (Ok(file), output) => output.map(|()| file)?,
        (Err(error), output) => {
            // One pass names all that is wrong with what was asked for.
            if let Err(also) = output {
                CommandError::from(also).print();
            }
            return Err(error);
        }
    };
    let (mut grid, service) = complete(file).await?;
    check_descriptors(&grid)?;
    let (engine, claimed) = match claimed(&grid).await {
        Ok(claimed) => claimed,
        Err(error) => return Err(owning::with_owed(&grid, None, error).await),
    };
    if grid.hosts.is_none() {
        super::production::of_sweep(&mut grid, service.as_ref()).await.map_err(unusable)?;
    }
    super::check_source(&grid)?;
    let now = jiff::Timestamp::now();
    let with = match &grid.hosts {
        Some(block) => MeasuredWith::on(block),
        None => MeasuredWith::read(&*engine, None).await,
    };
    super::prediction::of_sweep(&mut grid, with.machine.as_ref());
    let sweep = Sweep::begin_with(&grid, args.output.as_deref(), now, secrets(), Some(with))?;
    let owning = claimed.begin(&sweep, &*engine).await?;
    let chosen = by_default(&grid).filter(|_| grid.strategy.chooses());
    let said = chosen.map(|it| format!("strategy: {it}")).into_iter().collect();
    Box::pin(work::run(Work::of(sweep, said).owned(owning), &grid, engine, shutdown)).await
}

/// The grid's engine, and what a new sweep claims: what fails here leaves no folder.
async fn claimed(grid: &Grid) -> Result<(Arc<dyn Engine>, Claimed), CommandError> {
    let engine = engine(grid).await?;
    // The one connection to its daemon.
    let serves = production(grid).await?;
    let claimed = Claimed::take(grid, &*engine, None, serves).await?;
    Ok((engine, claimed))
}

/// `resume`: continues in the stored order, where nothing changed; a confirmation that was
/// stopped last is what is continued.
pub(crate) async fn resume(args: &ResumeArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let folder = Folder::existing(&args.run)?;
    let may = may_continue(&folder, args.accept_change, shutdown).await?;
    let mut said = may.continues.said.clone();
    let (grid, engine, sweep, owning) = may.open(folder).await?;
    let work = match sweep.record().unfinished_confirmation() {
        None => Work::of(sweep, said),
        // What the grid asks for follows its strategy's part, also in a new block.
        Some(left) if left.of_grid && sweep.begins_block() => Work::of(sweep, said),
        Some(left) => {
            let budget_seconds = left.budget_left();
            let mut asked = Confirmation { budget_seconds, ..left.asked.clone() };
            let verb = if sweep.begins_block() {
                // Its launches are of the block before: fresh ones have a number of their own.
                asked.number = sweep.record().next_confirmation();
                "begins"
            } else {
                "continues"
            };
            let Confirmation { number, candidate, baseline, .. } = &asked;
            said.push(format!("{verb} confirmation {number}: {candidate} against {baseline}"));
            let launches = launches_of(sweep.record(), &asked);
            Work::confirming(sweep, asked, launches, said)?
        }
    };
    Box::pin(work::run(work.owned(owning), &grid, engine, shutdown)).await
}

/// About how many launches a confirmation that goes on has in all; what the grid asks for ends
/// with the grid's budget.
fn launches_of(record: &SweepRecord, asked: &Confirmation) -> u32 {
    let names = [asked.candidate.as_str(), asked.baseline.as_str()];
    let outlook = confirmable::outlook(record, names, asked.claim, Some(asked.repeats));
    let limit = record.manifest.limits().besides.launches.filter(|_| asked.of_grid);
    let left = limit.map(|it| it.saturating_sub(spent::launches(record, Whose::Grid)));
    follow::launches(record, asked, &outlook, left)
}

/// What a run continues with, where it may.
pub(super) struct MayContinue {
    grid: Grid,
    engine: Arc<dyn Engine>,
    serves: Option<DockerProduction>,
    /// What changed, and the block that begins where that was accepted.
    pub(super) continues: Continues,
    /// The journal as it was read.
    seen: SeenFolder,
    /// What is said of production where nothing is continued after all.
    unproven: Option<String>,
}

/// What a run continues with; refused where something changed that is not accepted. Nothing
/// is launched.
pub(super) async fn may_continue(
    folder: &Folder,
    accept: bool,
    shutdown: &Shutdown,
) -> Result<MayContinue, CommandError> {
    // While another process works on it, production is stopped on purpose. Asked before the
    // journal is read: that process may end meanwhile.
    let is_worked_on = journal::is_written_in(folder.path());
    // A long journal is read once.
    let seen = folder.see();
    let mut unproven = None;
    if !is_worked_on {
        unproven = note_owed(folder, seen.as_ref().map_or(&[], SeenFolder::lines), shutdown).await;
    }
    let may = Box::pin(may_continue_seen(folder, seen, accept)).await;
    let may = may.inspect_err(|_| say_unproven(unproven.as_deref()))?;
    Ok(MayContinue { unproven, ..may })
}

/// The same of a journal that was read.
async fn may_continue_seen(
    folder: &Folder,
    seen: Result<SeenFolder, JournalError>,
    accept: bool,
) -> Result<MayContinue, CommandError> {
    let resumable = resume::check_seen(folder, seen, secrets()).await.map_err(refused)?;
    let own = folder.manifest().ok().map(|it| it.run_id());
    let engine = match engine(&resumable.grid).await {
        Ok(engine) => engine,
        // A grid that changed may name what is not there: the change is what to report.
        Err(error) => {
            return Err(match resumable.refused(accept) {
                Some(refused) => changed(refused),
                None => owning::with_owed(&resumable.grid, own.as_deref(), error).await,
            });
        }
    };
    let serves = match production(&resumable.grid).await {
        Ok(serves) => serves,
        Err(error) => {
            return Err(owning::with_owed(&resumable.grid, own.as_deref(), error).await);
        }
    };
    let asked = serves.as_ref().map(|it| it as &dyn Production);
    let with = match &resumable.grid.hosts {
        Some(block) => MeasuredWith::on(block),
        None => MeasuredWith::read(&*engine, asked).await,
    };
    let continues = resumable.continues(&with, accept).map_err(changed)?;
    let (grid, seen) = resumable.into_parts();
    Ok(MayContinue { grid, engine, serves, continues, seen, unproven: None })
}

impl MayContinue {
    /// The sweep open for writing again. What its dead sessions left is removed.
    pub(super) async fn open(
        mut self,
        folder: Folder,
    ) -> Result<(Grid, Arc<dyn Engine>, Sweep, Owning), CommandError> {
        let unproven = self.unproven.take();
        let opened = Box::pin(self.open_seen(folder)).await;
        opened.inspect_err(|_| say_unproven(unproven.as_deref()))
    }

    async fn open_seen(
        self,
        folder: Folder,
    ) -> Result<(Grid, Arc<dyn Engine>, Sweep, Owning), CommandError> {
        let Self { grid, engine, serves, continues, seen, unproven: _ } = self;
        check_descriptors(&grid)?;
        let session = owning::session(&folder).await?;
        let claimed = Claimed::take(&grid, &*engine, Some(session.run_id()), serves).await?;
        let sweep = Sweep::resume_seen(folder, Some(seen), secrets())?.with_configurations(&grid);
        let owning = claimed.resume(session, &sweep, &*engine).await?;
        Ok((grid, engine, sweep.accepting(continues.block), owning))
    }
}

/// Production that an earlier session left stopped, or not proven: however this one ends, it is
/// said where that is down. Where it runs, gives what is said if nothing is continued.
async fn note_owed(folder: &Folder, lines: &[Line], shutdown: &Shutdown) -> Option<String> {
    shutdown.names(folder.path());
    let steps = production_steps(lines);
    let stopped = Down::of(&steps)?;
    let now = super::production::now(folder, &stopped).await;
    let started = matches!(pending_restore(&steps), PendingRestore::Proof(_));
    match now {
        Now::Runs | Now::Unknown(_) if started => Some(stopped.message_started(folder.path())),
        Now::Runs => Some(stopped.message_now(&now, Some(folder.path()))),
        _ => {
            shutdown.owes(stopped, now);
            None
        }
    }
}

/// What is to be known of production by who reads that nothing is continued.
fn say_unproven(unproven: Option<&str>) {
    if let Some(line) = unproven {
        print_error(line);
    }
}

fn refused(error: ResumeError) -> CommandError {
    match error {
        ResumeError::History(error) => error.into(),
        ResumeError::Changed(error) => changed(error),
        ResumeError::Grid(errors) => CommandError::explained(Exit::Usage, errors),
        error @ (ResumeError::NoGrid { .. } | ResumeError::OfAnother { .. }) => {
            CommandError::new(Exit::Usage, error)
        }
        ResumeError::Service(faults) => faults.into(),
    }
}

fn changed(error: Changed) -> CommandError {
    SweepError::Changed(error).into()
}

/// Whether this process may open what the workloads need.
fn check_descriptors(grid: &Grid) -> Result<(), CommandError> {
    // On a cluster nothing is measured here.
    if grid.hosts.is_some() {
        return Ok(());
    }
    let in_process = matches!(grid.engine, EngineBlock::Simulated(_));
    descriptors::check(&grid.workloads, in_process)
}

/// The grid with its compose service's own flags, where it has one, and the service.
async fn complete(file: GridFile) -> Result<(Grid, Option<ServiceSpec>), CommandError> {
    let started = service::read(&file, Need::Sweep).await;
    // A fault of one service may repeat what is secret in another.
    started.reveal_to(secrets());
    let started = started.sound(&file)?;
    let first = started.first().map(|it| it.spec.clone());
    Ok((service::complete(file, &started), first))
}

/// The grid's engine.
async fn engine(grid: &Grid) -> Result<Arc<dyn Engine>, CommandError> {
    if grid.hosts.is_some() {
        return Ok(Arc::new(Elsewhere::new(grid.engine.name())));
    }
    engine::of_grid(grid, secrets()).await.map_err(|error| match error {
        EngineError::NoKey(_) => {
            let keys = ["engine", grid.engine.name(), "api-key-env"];
            let line = grid.place_of(&keys).map(|(line, _)| format!(":{line}"));
            let place = format!("{}{}", grid.path.display(), line.unwrap_or_default());
            CommandError::message(Exit::Environment, format!("{place}: {error}"))
        }
        error => unusable(error),
    })
}

fn unusable(error: EngineError) -> CommandError {
    let exit = match &error {
        EngineError::Compose(error) if error.is_mistake() => Exit::Usage,
        _ => Exit::Environment,
    };
    CommandError::new(exit, error)
}

/// What serves production, where the grid names it.
async fn production(grid: &Grid) -> Result<Option<DockerProduction>, CommandError> {
    let EngineBlock::Docker(block) = &grid.engine else { return Ok(None) };
    if grid.hosts.is_some() {
        return Ok(None);
    }
    production_of(block).await.map_err(unusable)
}
