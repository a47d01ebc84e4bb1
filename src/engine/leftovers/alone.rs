//! Whether a launch would be alone on what it uses. Claims tell of runs whose names are seen
//! here; of others, as in another network namespace, only their containers tell. Two that look
//! at once see nothing of each other, so it is looked again between creating and starting: then
//! at least one of them sees the other, and no candidate is started beside another one.

use std::time::Duration;

use tokio::time::sleep;

use super::{Leftover, Look, What, containers, short};
use crate::engine::docker::cleanup::{self, Labelled};
use crate::engine::docker::owed::Connection;
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::ownership::Ledger;

/// How often a candidate of another run is looked at before it counts as one, and how long
/// after each other.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked whether a younger candidate that is not started was withdrawn.
const WAITS: u32 = 10;

/// Whether a launch of the owner would be alone on what it uses: a run in another network
/// namespace may have begun since the owner's did.
///
/// # Errors
/// A candidate of another run is on the daemon now: nothing more is to be launched. Or the
/// daemon does not answer.
pub async fn none_now(docker: &Connection, owner: &Ledger) -> Result<(), LaunchFailure> {
    for looked in 1.. {
        let (own, others) = look(docker, owner).await?;
        let Some((other, _)) = others.first() else { return remove(docker, &own).await };
        // A run that ends at this moment lets go of its names before its container is lost.
        if looked == LOOKS {
            return Err(in_use(other));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Removes what an earlier launch of the owner's could not: beside it nothing is started.
async fn remove(docker: &Connection, own: &[Labelled]) -> Result<(), LaunchFailure> {
    for left in own.iter().filter(|it| it.has_started) {
        if let Err(error) = cleanup::remove(docker, left).await {
            let (name, id) = (&left.name, short(&left.id));
            return Err(LaunchFailure::of_shortage(&format!(
                "container {name} of an earlier launch cannot be removed: {error}; `docker rm -f {id}`, \
                 then `vllm-grid resume`"
            )));
        }
    }
    Ok(())
}

/// Whether the owner's candidate of this id, which is created and not started, is alone. Of two
/// that are created the older one waits until the younger one is withdrawn.
///
/// # Errors
/// A candidate of another run was started meanwhile, is older or is not withdrawn: this one is
/// not to be started. Or the daemon does not answer.
pub async fn none_beside(
    docker: &Connection,
    owner: &Ledger,
    id: &str,
) -> Result<(), LaunchFailure> {
    for looked in 1.. {
        let (own, others) = look(docker, owner).await?;
        let own = own.iter().find(|it| it.id == id);
        let is_first =
            |other: &Labelled| other.has_started || own.is_none_or(|own| age(other) < age(own));
        let Some((other, _)) = others.first() else { break };
        if looked == WAITS || others.iter().any(|(_, seen)| is_first(seen)) {
            return Err(in_use(other));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// The older comes first; both sides see the same.
fn age(seen: &Labelled) -> (i64, &str) {
    (seen.created, &seen.id)
}

fn in_use(other: &Leftover) -> LaunchFailure {
    LaunchFailure::of_shortage(&format!("{other} ({})", other.advice()))
}

/// The owner's candidates that have not ended, and those of others that are in their way.
async fn look(
    docker: &Connection,
    owner: &Ledger,
) -> Result<(Vec<Labelled>, Vec<(Leftover, Labelled)>), LaunchFailure> {
    let (own, uses) = (Some(owner.run_id()), owner.uses());
    let look = Look { state: owner.state(), own, uses, docker: None };
    let seen = cleanup::ours(docker).await;
    let mut seen = seen.map_err(|error| LaunchFailure::new(FailureClass::Environment, error))?;
    seen.retain(|it| !it.has_ended);
    let is_own = |it: &&Labelled| it.run_id.as_deref() == Some(owner.run_id());
    let own = seen.iter().filter(is_own).cloned().collect();
    let found = containers(look, seen.clone()).await;
    let others = found.into_iter().filter_map(|other| {
        let What::Container(_, id) = &other.what else { return None };
        let seen = seen.iter().find(|it| it.id == *id)?.clone();
        Some((other, seen))
    });
    Ok((own, others.collect()))
}
