//! What is stopped before production and started after its proof. When that is to be done,
//! and what is journalled of it, is the guard's.

use tokio::time::{Instant, sleep};

use super::{GuardError, MAX_PAUSE, MIN_PAUSE, may_pass};
use crate::engine::production::{Production, ProductionError};
use crate::event::Emit;
use crate::history::production::Companion;

/// Stops the companions, all at once: none waits for the grace of another one.
pub(super) async fn pause<E>(
    production: &dyn Production,
    companions: &[Companion],
) -> Result<(), GuardError<E>> {
    let stops = companions.iter().map(|companion| production.pause(&companion.id));
    let stopped: Result<Vec<()>, ProductionError> =
        futures_util::future::join_all(stops).await.into_iter().collect();
    stopped.map(|_| ()).map_err(GuardError::from)
}

/// Starts the companions again, which is tried as long as production's start. One that
/// somebody removed is not made again: it is no part of production.
pub(super) async fn resume<E>(
    production: &dyn Production,
    companions: &[Companion],
    emit: &Emit,
) -> Result<(), GuardError<E>> {
    let until = Instant::now() + production.patience();
    let mut failed = Vec::new();
    for companion in companions {
        match resume_one(production, companion, until).await {
            Ok(true) => {}
            Ok(false) => emit.warn(format!(
                "{}, which was stopped with production, was removed by somebody: it is not started again",
                companion.name
            )),
            Err(why) => failed.push((companion.name.clone(), why.to_string())),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let (names, why): (Vec<String>, Vec<String>) = failed.into_iter().unzip();
    Err(GuardError::Companions { names: names.join(" "), why: why.join("; ") })
}

/// Whether it is there, and runs then.
async fn resume_one(
    production: &dyn Production,
    companion: &Companion,
    until: Instant,
) -> Result<bool, ProductionError> {
    let (mut pause, mut has_started) = (MIN_PAUSE, false);
    loop {
        let started = match production.look(&companion.id).await {
            Ok(None) => return Ok(false),
            Ok(Some(seen)) if seen.running && has_started => return Ok(true),
            Ok(Some(_)) => production.start(&companion.id).await,
            Err(error) => Err(error),
        };
        // One that the daemon was still stopping is started in vain: it is looked at once more.
        if started.is_ok() && !std::mem::replace(&mut has_started, true) {
            continue;
        }
        match started {
            Err(error) if may_pass(&error) && Instant::now() + pause < until => {}
            // A second start is enough for one that ends by itself.
            ended => return ended.map(|()| true),
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
