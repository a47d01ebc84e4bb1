//! `vllm-grid`: arguments, signals, errors and exit codes. What a command does
//! is in [`commands`]; everything that can be used without a terminal is in the
//! library.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod examples;
mod exit;
mod lines;
mod masked;
mod output;
mod progress;
mod signals;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, getrlimit};
use tracing_subscriber::EnvFilter;
use vllm_grid::shortage;

use crate::exit::{CommandError, Exit};
use crate::signals::Shutdown;

/// Bytes of stack for everything that a command does. The first thread of a process has what
/// `ulimit -s` says, which may be too little: nothing but a start of a thread is done there.
const STACK: usize = 16 << 20;
/// The same for each thread of the runtime.
const WORKER_STACK: usize = 2 << 20;

fn main() -> ExitCode {
    let thread = std::thread::Builder::new().name("main".to_owned()).stack_size(STACK);
    let exit = match thread.spawn(of_arguments) {
        // A panic was reported where it happened.
        Ok(thread) => thread.join().unwrap_or(Exit::Bug),
        Err(error) => no_thread(&error).print(),
    };
    exit.into()
}

/// Why nothing can begin, and what to do.
fn no_thread(error: &std::io::Error) -> CommandError {
    // An address space that is too small has its own message.
    check_address_space(false).err().unwrap_or_else(|| {
        let text = shortage::of_start(error)
            .unwrap_or_else(|| format!("the system gives no thread to begin with: {error}"));
        CommandError::message(Exit::Environment, text)
    })
}

/// Runs what the arguments ask for; how the process ends.
fn of_arguments() -> Exit {
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
    if let Some(down) = shutdown.production_down() {
        output::print_error(&down);
    }
    shutdown.last_exit(exit)
}

/// Refuses an address space in which an allocation would fail at any moment, and end the
/// process without its cleaning up: production would stay down.
fn check_address_space(cleans_up: bool) -> Result<(), CommandError> {
    let Some(limit) = getrlimit(Resource::As).current else { return Ok(()) };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    // Each thread reserves room for its stack and its allocations.
    let (base, each) = if cleans_up { (512, 160) } else { (96, 32) };
    let (limit, needed) = (limit >> 20, base + each * cores);
    if limit >= needed {
        return Ok(());
    }
    let what = format!(
        "the address space is limited to {limit} MiB (`ulimit -v`), and {needed} MiB are needed on \
         {cores} processors: raise the limit and try again"
    );
    Err(CommandError::message(Exit::Environment, what))
}

fn run(cli: cli::Cli, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    check_address_space(cli.command.cleans_up())?;
    commands::descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(WORKER_STACK)
        .build()
        .map_err(|error| CommandError::new(Exit::Environment, error))?;
    let outcome = runtime.block_on(async {
        shutdown.listen(cli.command.cleans_up(), cli.command.is_killed_at_last());
        Box::pin(commands::run(cli.command, shutdown)).await
    });
    // What was cancelled must not keep the process: blocking reads end with it.
    runtime.shutdown_background();
    outcome
}
