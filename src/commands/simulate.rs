//! `simulate`: the simulated vLLM as a stand-alone server.

use std::io::Write as _;
use std::process;
use std::sync::Arc;

use vllm_grid::simulator;

use crate::cli::SimulateArgs;
use crate::exit::{CommandError, Exit, print};
use crate::signals::Shutdown;

/// `simulate`: serves until a signal or a simulated failure ends it, and ends
/// with the exit code that vLLM would end with.
pub(crate) async fn simulate(
    args: &SimulateArgs,
    shutdown: &Shutdown,
) -> Result<Exit, CommandError> {
    if let Some(help) = args.help() {
        print(&help)?;
        return Ok(Exit::Done);
    }
    let log = Arc::new(|line: &str| {
        // vLLM logs to standard error; a reader that went away does not end it.
        let _ = writeln!(std::io::stderr(), "{line}");
    });
    let cancel = shutdown.token().clone();
    let code = simulator::run(&args.arguments, std::env::vars(), log, cancel).await;
    if code == 0 { Ok(Exit::Done) } else { process::exit(code) }
}
