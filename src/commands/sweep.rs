//! `sweep` and `resume`: a grid file becomes a folder of results.

use std::path::Path;

use vllm_grid::bench::RecordSink;
use vllm_grid::configuration::hexadecimal;
use vllm_grid::engine::compose::ComposeError;
use vllm_grid::engine::docker::production::DockerProduction;
use vllm_grid::engine::docker::{DockerError, production_of};
use vllm_grid::engine::production::Production;
use vllm_grid::engine::{self, Engine, EngineError, service};
use vllm_grid::event::Event;
use vllm_grid::grid::{DockerBlock, EngineBlock, Grid, GridFile, ReadOptions};
use vllm_grid::history::HistoryError;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::journal::JournalError;
use vllm_grid::history::record::Manifest;
use vllm_grid::results::records::ParquetRecords;
use vllm_grid::sweep::SweepError;
use vllm_grid::sweep::run::{Ending, Sweep, SweepContext};

use super::show;
use crate::cli::{ResumeArgs, SweepArgs};
use crate::exit::{CommandError, Exit, print};
use crate::progress::Progress;
use crate::signals::Shutdown;

/// `sweep`: launches, measures and ranks every configuration of a grid.
pub(crate) async fn sweep(args: &SweepArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let grid = complete(super::read_grid(&args.grid)?).await?;
    let engine = engine(&grid, None).await?;
    let now = jiff::Timestamp::now();
    let (folder, name) = Folder::create(&grid.name, now, args.output.as_deref())?;
    let mut manifest = Manifest::of(&grid, name, now);
    manifest.grid_path = folder.relative(&grid.path);
    let sweep = Sweep::begin(folder, manifest, &grid.source)?;
    go(sweep, &grid, engine, shutdown).await
}

/// `resume`: goes on in the stored order.
pub(crate) async fn resume(args: &ResumeArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let folder = Folder::existing(&args.run)?;
    let grid = unchanged(&folder, &folder.manifest()?).await?;
    let facts = folder.record()?.launches.into_iter().filter_map(|launch| launch.facts);
    let image_id = facts.filter_map(|facts| facts.image_id).next_back();
    let engine = engine(&grid, image_id).await?;
    go(Sweep::resume(folder)?, &grid, engine, shutdown).await
}

/// The grid with its compose service's own flags, where it has one.
async fn complete(file: GridFile) -> Result<Grid, CommandError> {
    let service = service::read(&file).await;
    let service = service.map_err(|error| unusable(EngineError::from(error)))?;
    Ok(service::complete(file, service.as_ref()))
}

/// The grid's engine, on the image of earlier sessions where there were any.
async fn engine(grid: &Grid, image_id: Option<String>) -> Result<Box<dyn Engine>, CommandError> {
    engine::of_grid(&grid.engine, image_id).await.map_err(|error| match error {
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
        EngineError::Compose(ComposeError::NoTool | ComposeError::Tool { .. }) => Exit::Environment,
        EngineError::Compose(_) | EngineError::Docker(DockerError::ImageChanged { .. }) => {
            Exit::Usage
        }
        _ => Exit::Environment,
    };
    CommandError::new(exit, error)
}

/// What serves production, where the grid names it.
async fn production(grid: &Grid) -> Result<Option<DockerProduction>, CommandError> {
    let EngineBlock::Docker(block) = &grid.engine else { return Ok(None) };
    production_of(block).await.map_err(|fault| CommandError::new(Exit::Environment, fault))
}

/// Runs the loop, then writes and shows what there is, however it ended.
async fn go(
    mut sweep: Sweep,
    grid: &Grid,
    mut engine: Box<dyn Engine>,
    shutdown: &Shutdown,
) -> Result<Exit, CommandError> {
    shutdown.names(sweep.folder().path());
    let progress = Progress::of_sweep(sweep.folder().path());
    let emit = progress.emit();
    for warning in &grid.warnings {
        emit.emit(Event::Warning(warning.message.clone()));
    }
    let strategy = grid.strategy.build(grid.configurations.len(), grid.baseline_index());
    let records =
        |folder: &Path| Box::new(ParquetRecords::in_launch(folder)) as Box<dyn RecordSink>;
    let production = production(grid).await?;
    let context = SweepContext {
        engine: engine.as_mut(),
        production: production.as_ref().map(|production| production as &dyn Production),
        strategy: &*strategy,
        datasets: &grid.datasets,
        records: &records,
        emit: &emit,
        cancel: shutdown.token(),
    };
    let ending = sweep.run(context).await;
    progress.close();
    let (also, outcome) = outcome(ending, tell(&sweep));
    if let Some(also) = also {
        also.print();
    }
    outcome
}

/// How the process ends after a sweep and the telling of it, and what else is to be
/// told: how the sweep ended counts more than how the telling did.
fn outcome(
    ending: Result<Ending, SweepError>,
    told: Result<Exit, CommandError>,
) -> (Option<CommandError>, Result<Exit, CommandError>) {
    match (ending, told) {
        (Ok(Ending::Complete | Ending::BudgetSpent), told) => (None, told),
        (Ok(Ending::Interrupted), told) => (told.err(), Ok(Exit::Interrupted)),
        // A disk that refused the journal refuses the results, too: it is told once.
        (
            Err(
                fault @ SweepError::History(
                    HistoryError::Io { .. } | HistoryError::Journal(JournalError::Io { .. }),
                ),
            ),
            _,
        ) => (None, Err(fault.into())),
        (Err(fault), told) => (told.err(), Err(fault.into())),
    }
}

/// Writes the results and shows the ranking.
fn tell(sweep: &Sweep) -> Result<Exit, CommandError> {
    show::write(sweep.folder().path(), sweep.record())?;
    let ranked = show::ranked(sweep.record())?;
    print(&format!("results: {}\n", sweep.folder().path().display()))?;
    Ok(ranked)
}

/// The grid of a sweep, read from its stored copy, when neither the copy nor
/// the original changed.
async fn unchanged(folder: &Folder, manifest: &Manifest) -> Result<Grid, CommandError> {
    let changed = |what: String| CommandError::from(SweepError::GridChanged(what));
    let copy = folder.grid_path();
    let original = folder.original_grid(manifest);
    for path in [&copy, &original] {
        // The original may be gone, or on another machine: the copy stands for it.
        let Ok(bytes) = std::fs::read(path) else { continue };
        if sha256(&bytes) != manifest.grid_sha256 {
            let what = format!("{} differs; restore it, or start a new sweep", path.display());
            return Err(changed(what));
        }
    }
    let options = ReadOptions {
        engine: Some(manifest.engine.clone()),
        base: original.parent().map(Path::to_owned),
        max_configurations: usize::MAX,
        ..ReadOptions::default()
    };
    let file = GridFile::read(&copy, &options)
        .map_err(|errors| CommandError::explained(Exit::Usage, errors))?;
    let grid = complete(file).await?;
    let files = grid.datasets.files();
    if let Some(file) = manifest.datasets.iter().find(|file| !files.contains(file)) {
        let what = format!(
            "{} differs: prompts come from it; restore it, or start a new sweep",
            grid.datasets.path_of(&file.path).display()
        );
        return Err(changed(what));
    }
    if grid.configurations != manifest.configurations || grid.workloads != manifest.workloads {
        let what = match &grid.engine {
            EngineBlock::Docker(DockerBlock { compose: Some(file), .. }) => format!(
                "{}, a variable that it uses, or the version of vllm-grid: other configurations come \
                 out; restore it, or start a new sweep",
                file.display()
            ),
            _ => "this version of vllm-grid reads the same file differently; start a new sweep"
                .to_owned(),
        };
        return Err(changed(what));
    }
    Ok(grid)
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hexadecimal(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped() -> SweepError {
        let message = "five launches failed".to_owned();
        SweepError::Stopped { message, log_lines: Vec::new(), environment: false }
    }

    fn full(path: &str) -> HistoryError {
        let fault = std::io::ErrorKind::StorageFull.into();
        HistoryError::Io { path: path.into(), fault }
    }

    #[test]
    fn a_full_disk_is_told_once_and_other_faults_beside_it() {
        let told = || Err(CommandError::from(full("results.csv")));
        let (also, outcome_of) = outcome(Err(full("journal.jsonl").into()), told());
        assert!(also.is_none());
        assert_eq!(outcome_of.unwrap_err().print(), Exit::Environment);
        let (also, outcome_of) = outcome(Err(stopped()), told());
        assert_eq!(also.expect("both").print(), Exit::Environment);
        assert_eq!(outcome_of.unwrap_err().print(), Exit::Engine);
        let (also, outcome_of) = outcome(Ok(Ending::Interrupted), told());
        assert!(also.is_some() && matches!(outcome_of, Ok(Exit::Interrupted)));
        let (also, outcome_of) = outcome(Ok(Ending::Complete), told());
        assert!(also.is_none() && outcome_of.is_err());
    }
}
