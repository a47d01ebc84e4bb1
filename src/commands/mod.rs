//! What each command does: reads its input, gives the library what it needs,
//! prints what came out, and says how the process ends.

use vllm_grid::engine::simulated::SimulatedEngine;
use vllm_grid::grid::{EngineBlock, GridFile, ReadOptions};
use vllm_grid::secret::Secrets;

use crate::cli::{Command, GridArgs};
use crate::exit::{CommandError, Exit};
use crate::output::secrets;
use crate::signals::Shutdown;

mod bench;
mod compare;
mod doctor;
mod plan;
mod production;
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
        Command::Plan(args) => plan::plan(&args).await,
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
fn read_grid(args: &GridArgs) -> Result<GridFile, CommandError> {
    let options = ReadOptions {
        engine: args.engine.clone(),
        strict: args.strict,
        max_configurations: args.max_configurations,
        ..ReadOptions::default()
    };
    let file = GridFile::read(&args.grid, &options)
        .map_err(|errors| CommandError::explained(Exit::Usage, errors))?;
    learn(&file, secrets());
    // What the simulator knows is no business of the grid's, but checked before anything runs.
    if let EngineBlock::Simulated(block) = file.engine() {
        SimulatedEngine::new(block.clone()).map_err(|error| {
            CommandError::message(Exit::Usage, format!("{}: {error}", args.grid.display()))
        })?;
    }
    Ok(file)
}

/// Learns the secrets that a grid leads to, before anything of it is read: the key, and
/// what the compose file and the variables beside it hold. Messages may repeat them.
fn learn(file: &GridFile, secrets: &Secrets) {
    let names =
        file.configurations().iter().flat_map(|it| [&it.name].into_iter().chain(&it.aliases));
    secrets.keep(names.cloned());
    let (key, compose) = match file.engine() {
        EngineBlock::Docker(block) => (&block.api_key_env, block.compose.as_deref()),
        EngineBlock::Process(block) => (&block.api_key_env, None),
        EngineBlock::Simulated(_) => return,
    };
    if let Some(key) = key.as_ref().and_then(|name| std::env::var(name).ok()) {
        secrets.add(&key);
    }
    let Some(compose) = compose else { return };
    // A file that cannot be read is reported by whoever needs it.
    if let Ok(text) = std::fs::read_to_string(compose) {
        secrets.add_text(&text);
    }
    if let Ok(text) = std::fs::read_to_string(compose.with_file_name(".env")) {
        secrets.add_pairs(text.lines());
        secrets.add_text(&text);
    }
}
