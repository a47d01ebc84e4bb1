//! What each command does: reads its input, context the library what it needs,
//! prints what came out, and says how the process ends.

use vllm_grid::engine;
use vllm_grid::engine::compose::{self, ComposeError, ServiceSpec};
use vllm_grid::engine::docker::source_of;
use vllm_grid::engine::simulated::SimulatedEngine;
use vllm_grid::grid::{EngineBlock, Grid, ReadOptions};

use crate::cli::{Command, GridArgs};
use crate::exit::{CommandError, Exit};
use crate::signals::Shutdown;

mod bench;
mod compare;
mod doctor;
mod recover;
mod show;
mod simulate;
mod sweep;

/// Runs a command.
pub(crate) async fn run(command: Command, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    match command {
        Command::Sweep(args) => sweep::sweep(&args, shutdown).await,
        Command::Resume(args) => sweep::resume(&args, shutdown).await,
        Command::Recover(args) => recover::recover(&args).await,
        Command::Doctor(args) => doctor::doctor(&args).await,
        Command::Plan(args) => show::plan(&args).await,
        Command::Report(args) => show::report(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Export(args) => show::export(&args),
        Command::Metrics(args) => show::metrics(&args),
        Command::Workloads(args) => show::workloads(&args),
        Command::Bench(args) => bench::bench(&args, shutdown).await,
        Command::Simulate(args) => simulate::simulate(&args, shutdown).await,
    }
}

/// Reads and checks a grid file.
fn read_grid(args: &GridArgs) -> Result<Grid, CommandError> {
    let options = ReadOptions {
        engine: args.engine.clone(),
        strict: args.strict,
        max_configurations: args.max_configurations,
        ..ReadOptions::default()
    };
    let grid = Grid::read(&args.grid, &options)
        .map_err(|faults| CommandError::explained(Exit::Usage, faults))?;
    // What the simulator knows is no business of the grid's, but told before anything runs.
    if let EngineBlock::Simulated(block) = &grid.engine {
        SimulatedEngine::new(block.clone()).map_err(|fault| {
            CommandError::message(Exit::Usage, format!("{}: {fault}", args.grid.display()))
        })?;
    }
    Ok(grid)
}

/// Reads the grid's compose service, where it has one, and puts its flags under the grid's.
async fn join_service(grid: &mut Grid) -> Result<Option<ServiceSpec>, ComposeError> {
    let EngineBlock::Docker(block) = &grid.engine else { return Ok(None) };
    let Some(source) = source_of(block, block.service.as_deref()) else { return Ok(None) };
    let service = compose::read(&source).await?;
    engine::service_flags::check_script(&service, &source, &block.flags, &grid.configurations)?;
    grid.join_base(engine::service_flags::of(&service));
    Ok(Some(service))
}
