//! `sweep` and `resume`: a grid file becomes a folder of results.

use std::path::Path;
use std::sync::Arc;

use vllm_grid::bench::RecordSink;
use vllm_grid::engine::compose::{ComposeError, ServiceSpec};
use vllm_grid::engine::docker::{DockerError, production_of};
use vllm_grid::engine::production::Production;
use vllm_grid::engine::service::{self, Need};
use vllm_grid::engine::{self, Engine, EngineError};
use vllm_grid::grid::{EngineBlock, Grid, GridFile};
use vllm_grid::history::HistoryError;
use vllm_grid::history::confirmation::Confirmation;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::journal::JournalError;
use vllm_grid::history::timing::{self, Timing};
use vllm_grid::results::ranking;
use vllm_grid::results::records::ParquetRecords;
use vllm_grid::strategy::confirm::{CLAIM, Confirm, MAX_PAIRS};
use vllm_grid::sweep::SweepError;
use vllm_grid::sweep::context::SweepContext;
use vllm_grid::sweep::resume::{self, Resumable, ResumeError};
use vllm_grid::sweep::run::{Ending, Sweep};

use super::show::{self, Writer};
use crate::cli::{Format, ResumeArgs, SweepArgs};
use crate::exit::{CommandError, Exit};
use crate::output::secrets;
use crate::progress::Progress;
use crate::signals::Shutdown;

/// `sweep`: launches, measures and ranks every configuration of a grid.
pub(crate) async fn sweep(args: &SweepArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let (mut grid, service) = complete(super::read_grid(&args.grid)?).await?;
    let engine = engine(&grid, None).await?;
    super::production::of_sweep(&mut grid, service.as_ref()).await.map_err(unusable)?;
    super::check_source(&grid)?;
    let now = jiff::Timestamp::now();
    let sweep = Sweep::begin(&grid, args.output.as_deref(), now, secrets())?;
    run(Work::of(sweep), &grid, engine, shutdown).await
}

/// `resume`: continues in the stored order, where nothing changed; a confirmation that was
/// stopped last is what is continued.
pub(crate) async fn resume(args: &ResumeArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let (grid, engine, sweep) = continued(Folder::existing(&args.run)?).await?;
    let work = match sweep.record().unfinished_confirmation() {
        None => Work::of(sweep),
        Some(left) => {
            let budget_seconds = left.budget_left();
            let asked = Confirmation { budget_seconds, ..left.asked.clone() };
            let Confirmation { number, candidate, baseline, .. } = &asked;
            let said =
                vec![format!("continues confirmation {number}: {candidate} against {baseline}")];
            Work::confirming(sweep, asked, 2 * MAX_PAIRS, said)?
        }
    };
    run(work, &grid, engine, shutdown).await
}

/// What a run continues with; refused where something changed. Nothing is launched.
pub(super) async fn may_continue(folder: &Folder) -> Result<Resumable, CommandError> {
    resume::check(folder, secrets()).await.map_err(refused)
}

/// A sweep open for writing again, with its grid and engine, where nothing changed.
pub(super) async fn continued(
    folder: Folder,
) -> Result<(Grid, Arc<dyn Engine>, Sweep), CommandError> {
    let Resumable { grid, image_id } = may_continue(&folder).await?;
    let engine = engine(&grid, image_id).await?;
    let sweep = Sweep::resume(folder, secrets())?.with_configurations(&grid);
    Ok((grid, engine, sweep))
}

/// What a session works on.
pub(super) struct Work {
    sweep: Sweep,
    confirming: Option<Confirming>,
    /// What a person reads before anything is launched.
    said: Vec<String>,
}

/// A confirmation.
struct Confirming {
    number: u32,
    strategy: Confirm,
    /// As far as known.
    launches: u32,
    /// The options by which `confirm` continues it.
    options: String,
}

impl Work {
    fn of(sweep: Sweep) -> Self {
        Self { sweep, confirming: None, said: Vec::new() }
    }

    /// A confirmation of about so many launches.
    pub(super) fn confirming(
        sweep: Sweep,
        asked: Confirmation,
        launches: u32,
        said: Vec<String>,
    ) -> Result<Self, CommandError> {
        let unknown = || {
            let what = "the confirmation is of a configuration that the sweep does not have";
            CommandError::message(Exit::Usage, what)
        };
        let configurations = sweep.record().manifest.configurations.iter();
        let names: Vec<&str> = configurations.map(|it| it.name.as_str()).collect();
        let pace = sweep.record().manifest.machine_pace();
        let strategy = asked.strategy(&names, pace).ok_or_else(unknown)?;
        let Confirmation { number, candidate, baseline, claim, .. } = &asked;
        let number = *number;
        let is_default = sweep.record().manifest.baseline.as_ref() == Some(baseline);
        let other = if is_default { String::new() } else { format!(" --baseline {baseline}") };
        let claim = if (claim - CLAIM).abs() < 1e-9 {
            String::new()
        } else {
            format!(" --claim {}%", (claim * 10_000.0).round() / 100.0)
        };
        let options = format!(" --configuration {candidate}{other}{claim}");
        let sweep = sweep.confirming(asked).ok_or_else(unknown)?;
        Ok(Self {
            sweep,
            confirming: Some(Confirming { number, strategy, launches, options }),
            said,
        })
    }
}

fn refused(error: ResumeError) -> CommandError {
    match error {
        ResumeError::History(error) => error.into(),
        ResumeError::Changed(difference) => SweepError::GridChanged(difference).into(),
        ResumeError::Grid(errors) => CommandError::explained(Exit::Usage, errors),
        ResumeError::Service(error) => unusable(EngineError::from(error)),
    }
}

/// The grid with its compose service's own flags, where it has one, and the service.
async fn complete(file: GridFile) -> Result<(Grid, Option<ServiceSpec>), CommandError> {
    let started = service::read(&file, Need::Sweep).await;
    let started = started.map_err(|error| unusable(EngineError::from(error)))?;
    if let Some(service) = &started.service {
        service.reveal_to(secrets());
    }
    Ok((service::complete(file, &started), started.service.map(|it| it.spec)))
}

/// The grid's engine, on the image of earlier sessions where there were any.
async fn engine(grid: &Grid, image_id: Option<String>) -> Result<Arc<dyn Engine>, CommandError> {
    engine::of_grid(&grid.engine, image_id, secrets()).await.map_err(|error| match error {
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
        EngineError::Compose(
            ComposeError::NoTool | ComposeError::Tool { .. } | ComposeError::NoAnswer { .. },
        ) => Exit::Environment,
        EngineError::Compose(_) | EngineError::Docker(DockerError::ImageChanged { .. }) => {
            Exit::Usage
        }
        _ => Exit::Environment,
    };
    CommandError::new(exit, error)
}

/// What serves production, where the grid names it.
async fn production(grid: &Grid) -> Result<Option<Box<dyn Production>>, CommandError> {
    let EngineBlock::Docker(block) = &grid.engine else { return Ok(None) };
    let production =
        production_of(block).await.map_err(|error| CommandError::new(Exit::Environment, error))?;
    Ok(production.map(|production| Box::new(production) as Box<dyn Production>))
}

/// Runs the loop, then writes and shows what there is, however it ended.
pub(super) async fn run(
    work: Work,
    grid: &Grid,
    engine: Arc<dyn Engine>,
    shutdown: &Shutdown,
) -> Result<Exit, CommandError> {
    let Work { mut sweep, confirming, said } = work;
    shutdown.names(sweep.folder().path());
    let records = |folder: &Path| -> Box<dyn RecordSink> {
        Box::new(ParquetRecords::in_launch(folder).without(secrets().clone()))
    };
    let mut context = SweepContext::of(grid, engine, records)
        .with_strategy(sweep.record().manifest.build_strategy())
        .with_production(production(grid).await?)
        .with_cancel(shutdown.token().clone());
    // How long a confirmation takes is said before it begins, and by its own sweep.
    if confirming.is_none() {
        context = context.with_earlier(earlier(grid, &sweep).await);
    }
    let confirmation = confirming.as_ref().map(|it| it.number);
    let launches = confirming.as_ref().map_or(context.strategy.trials(), |it| it.launches);
    let progress = Progress::of_sweep(&sweep, launches);
    if let Some(Confirming { strategy, options, .. }) = confirming {
        progress.confirms(&options);
        context = context.with_strategy(Box::new(strategy));
    }
    for line in &said {
        progress.say(line);
    }
    for warning in &grid.warnings {
        progress.warn(&warning.message);
    }
    for line in sweep.too_long(&context) {
        progress.warn(&line);
    }
    let ending = sweep.run(&context.with_events(progress.events())).await;
    progress.close();
    let (also, outcome) = outcome(ending, show(&sweep, confirmation));
    if let Some(also) = also {
        also.print();
    }
    outcome
}

/// What earlier sweeps took: whole journals are read, so not on the runtime's own threads.
async fn earlier(grid: &Grid, sweep: &Sweep) -> Timing {
    let (grid, own) = (grid.clone(), sweep.record().manifest.sweep.clone());
    let read = move || timing::earlier(Path::new("runs"), &grid, Some(&own));
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// How the process ends after a sweep and the showing of it, and what else is to be
/// reported: how the sweep ended counts more than how the showing did.
fn outcome(
    ending: Result<Ending, SweepError>,
    shown: Result<Exit, CommandError>,
) -> (Option<CommandError>, Result<Exit, CommandError>) {
    match (ending, shown) {
        (Ok(Ending::Complete | Ending::BudgetSpent), shown) => (None, shown),
        (Ok(Ending::Interrupted | Ending::WindowClosed), shown) => {
            (shown.err(), Ok(Exit::Interrupted))
        }
        // A disk that refused the journal refuses the results, too: it is reported once.
        (
            Err(
                error @ SweepError::History(
                    HistoryError::Io { .. } | HistoryError::Journal(JournalError::Io { .. }),
                ),
            ),
            _,
        ) => (None, Err(error.into())),
        (Err(error), shown) => (shown.err(), Err(error.into())),
    }
}

/// Writes the results and shows the ranking; after a confirmation its gain says how the
/// process ends.
fn show(sweep: &Sweep, confirmation: Option<u32>) -> Result<Exit, CommandError> {
    // As it is written: without secrets.
    let record = sweep.folder().record()?;
    let ranking = ranking::rank(&record);
    let folder = sweep.folder();
    show::write(folder.path(), &record, &ranking)?;
    let ranked = show::ranked(folder, &record, &ranking, Format::Text, Writer::Ourselves)?;
    match confirmation {
        Some(number) => show::confirmed(&ranking, number),
        None => Ok(ranked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped() -> SweepError {
        let message = "five launches failed".to_owned();
        SweepError::Stopped { message, log_lines: Vec::new(), environment: false }
    }

    fn full(path: &str) -> HistoryError {
        let error = std::io::ErrorKind::StorageFull.into();
        HistoryError::Io { path: path.into(), error }
    }

    #[test]
    fn a_full_disk_is_reported_once_and_other_errors_each() {
        let shown = || Err(CommandError::from(full("results.csv")));
        let (also, outcome_of) = outcome(Err(full("journal.jsonl").into()), shown());
        assert!(also.is_none());
        assert_eq!(outcome_of.unwrap_err().print(), Exit::Environment);
        let (also, outcome_of) = outcome(Err(stopped()), shown());
        assert_eq!(also.expect("both").print(), Exit::Environment);
        assert_eq!(outcome_of.unwrap_err().print(), Exit::Engine);
        let (also, outcome_of) = outcome(Ok(Ending::Interrupted), shown());
        assert!(also.is_some() && matches!(outcome_of, Ok(Exit::Interrupted)));
        let (also, outcome_of) = outcome(Ok(Ending::Complete), shown());
        assert!(also.is_none() && outcome_of.is_err());
    }
}
