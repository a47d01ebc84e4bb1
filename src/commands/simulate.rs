//! `simulate`: the simulated vLLM as a stand-alone server.

use crate::cli::SimulateArgs;
use crate::exit::{Exit, Failure};
use crate::signals::Shutdown;

/// `simulate`: serves until a signal or a simulated failure ends it.
pub(crate) async fn simulate(args: &SimulateArgs, shutdown: &Shutdown) -> Result<Exit, Failure> {
    let _ = (args, shutdown);
    Err(Failure::message(Exit::Bug, "not wired"))
}
