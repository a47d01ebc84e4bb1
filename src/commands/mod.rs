//! What each command does: reads its input, gives the library what it needs,
//! prints what came out, and says how the process ends.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use vllm_grid::engine::service;
use vllm_grid::engine::simulated::SimulatedEngine;
use vllm_grid::grid::{EngineBlock, Grid, GridFile, ReadOptions};

use crate::cli::{Command, GridArgs};
use crate::exit::{CommandError, Exit};
use crate::output::secrets;
use crate::signals::Shutdown;
use finish::OnFinish;

mod apply;
mod bench;
mod compare;
mod confirm;
pub(crate) mod descriptors;
mod doctor;
mod finish;
mod follow;
mod hosts;
pub(crate) mod launch;
mod list;
mod owning;
mod plan;
mod prediction;
mod production;
mod recover;
mod report;
mod report_file;
mod show;
mod simulate;
mod sweep;
mod work;

/// Runs a command, and what is to be run after it.
pub(crate) async fn run(command: Command, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let Some(finish) = command.on_finish().map(OnFinish::read).transpose()? else {
        return Box::pin(work(command, shutdown)).await;
    };
    let ended = AssertUnwindSafe(Box::pin(work(command, shutdown))).catch_unwind().await;
    let (outcome, panic) = match ended {
        Ok(outcome) => (outcome, None),
        Err(panic) => (Ok(Exit::Bug), Some(panic)),
    };
    finish.run(shutdown, &outcome).await;
    panic.map_or(outcome, |panic| std::panic::resume_unwind(panic))
}

async fn work(command: Command, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    match command {
        Command::Sweep(args) => Box::pin(sweep::sweep(&args, shutdown)).await,
        Command::Resume(args) => Box::pin(sweep::resume(&args, shutdown)).await,
        Command::Confirm(args) => Box::pin(confirm::confirm(&args, shutdown)).await,
        Command::Apply(args) => Box::pin(apply::apply(&args)).await,
        Command::Recover(args) => recover::recover(&args, shutdown).await,
        Command::Doctor(args) => Box::pin(doctor::doctor(&args, shutdown)).await,
        Command::Plan(args) => Box::pin(plan::plan(&args)).await,
        Command::Report(args) => report::report(&args).await,
        Command::List(args) => list::list(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Export(args) => report::export(&args),
        Command::Metrics(args) => show::metrics(&args),
        Command::Workloads(args) => show::workloads(&args),
        Command::Schema => show::schema(),
        Command::Completions(args) => show::completions(args.shell),
        Command::Bench(args) => bench::bench(&args, shutdown).await,
        Command::Launch(args) => launch::launch(&args, shutdown).await,
        Command::Simulate(args) => simulate::simulate(&args, shutdown).await,
    }
}

/// Reads and checks a grid file.
fn read_grid(args: &GridArgs) -> Result<GridFile, CommandError> {
    let options = ReadOptions {
        engine: args.engine.clone(),
        strict: args.strict,
        max_configurations: args.max_configurations,
        ..ReadOptions::default()
    };
    let file = GridFile::read(&args.grid, &options)
        .map_err(|errors| CommandError::explained(Exit::Usage, errors))?;
    service::learn(&file, secrets());
    // What the simulator knows is no business of the grid's, but checked before anything runs.
    if let EngineBlock::Simulated(block) = file.engine() {
        SimulatedEngine::new(block.clone()).map_err(|error| {
            CommandError::message(Exit::Usage, format!("{}: {error}", args.grid.display()))
        })?;
    }
    Ok(file)
}

/// Refuses a grid with a secret's value in it: the sweep keeps a copy of the file.
fn check_source(grid: &Grid) -> Result<(), CommandError> {
    let text = String::from_utf8_lossy(&grid.source);
    let Some(at) = secrets().find(&text) else { return Ok(()) };
    let line = text[..at].matches('\n').count() + 1;
    let what = format!(
        "{}:{line}: the value of a secret is written here: it does not belong in a grid, which is \
         copied into the sweep's folder; name its variable instead",
        grid.path.display()
    );
    Err(CommandError::message(Exit::Usage, what))
}
