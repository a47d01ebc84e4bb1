//! `vllm-grid`: arguments, signals, errors and exit codes. What a command does
//! is in [`commands`]; everything that can be used without a terminal is in the
//! library.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod exit;
mod masked;
mod output;
mod progress;
mod signals;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::exit::{CommandError, Exit};
use crate::signals::Shutdown;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_env("VLLM_GRID_LOG"))
        .with_writer(output::Traced)
        .init();
    let shutdown = Shutdown::default();
    shutdown.stop_on_panic();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run(cli, &shutdown)));
    let exit = match outcome {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => error.print(),
        Err(_) => Exit::Bug,
    };
    // The last line, whatever was printed before.
    let exit = match shutdown.production_down() {
        Some(down) => {
            output::print_error(&down);
            match exit {
                Exit::Done | Exit::NothingRanked | Exit::Interrupted => Exit::Environment,
                other => other,
            }
        }
        None => exit,
    };
    if shutdown.panicked() { Exit::Bug.into() } else { exit.into() }
}

fn run(cli: cli::Cli, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(Exit::Environment, error))?;
    let outcome = runtime.block_on(async {
        shutdown.listen(cli.command.cleans_up());
        Box::pin(commands::run(cli.command, shutdown)).await
    });
    // What was cancelled must not keep the process: blocking reads end with it.
    runtime.shutdown_background();
    outcome
}
