//! `bench`: the suite against a server that somebody else started.

use crate::cli::BenchArgs;
use crate::exit::{Exit, Failure};
use crate::signals::Shutdown;

/// `bench`: measures a running server.
pub(crate) async fn bench(args: &BenchArgs, shutdown: &Shutdown) -> Result<Exit, Failure> {
    let _ = (args, shutdown);
    Err(Failure::message(Exit::Bug, "not wired"))
}
