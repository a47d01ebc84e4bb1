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
use crate::ownership::holder::Presence;
use crate::ownership::{Ledger, Uses};

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

/// Whether a container is of the owner's own launches, or of a dead job of its run: a cluster
/// gives GPUs to one job at a time. Where it is of another job on other GPUs, it is not.
fn is_own(owner: &Ledger, seen: &Labelled) -> bool {
    if seen.run_id.as_deref() != Some(owner.run_id()) {
        return false;
    }
    let (Some(own), Some(job)) = (owner.job(), &seen.job) else { return true };
    if job.id == own.id || job.node != own.node {
        return job == own;
    }
    let has_gpus = !matches!(seen.uses, Some(Uses::Cpu | Uses::Nothing));
    let is_here = seen.holder.as_ref().is_some_and(|it| it.presence() == Presence::Here);
    // A processor may be given to several jobs: the process decides.
    if has_gpus { seen.uses.as_ref().is_none_or(|it| it.overlaps(owner.uses())) } else { !is_here }
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
    let is_own = |it: &&Labelled| is_own(owner, it);
    let own = seen.iter().filter(is_own).cloned().collect();
    let found = containers(look, seen.clone()).await;
    let others = found.into_iter().filter_map(|other| {
        let What::Container(_, id) = &other.what else { return None };
        let seen = seen.iter().find(|it| it.id == *id)?.clone();
        Some((other, seen))
    });
    Ok((own, others.collect()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ownership::{Holder, OfJob, StateFolder, new_run_id};

    #[test]
    fn what_a_dead_job_of_the_run_left_on_the_job_s_gpus_is_removed_and_nothing_else() {
        let place = tempfile::tempdir().expect("a folder");
        let state = StateFolder::at(place.path()).expect("a state folder");
        let run = new_run_id();
        let job = |id: &str| OfJob { id: id.to_owned(), node: "n1".to_owned() };
        let holder = Holder::this().in_state(&state).of_run(&run, Path::new("/runs/a"));
        let owner = |uses: &str| {
            Ledger::of_run(&state, "a", &holder, &Uses::from(uses.to_owned())).in_job(&job("8"))
        };
        let gone = Holder { started: holder.started + 1, ..holder.clone() };
        let seen = |id: &str, uses: &str, holder: &Holder| Labelled {
            run_id: Some(run.clone()),
            uses: Some(Uses::from(uses.to_owned())),
            job: Some(job(id)),
            holder: Some(holder.clone()),
            ..Labelled::default()
        };
        let gpus = owner("GPU-a,GPU-b");
        assert!(is_own(&gpus, &seen("8", "GPU-a", &holder)), "the job's own");
        assert!(is_own(&gpus, &seen("7", "GPU-b", &holder)), "of a job that had its GPU before");
        assert!(!is_own(&gpus, &seen("7", "GPU-c", &gone)), "of a job beside it");
        let elsewhere = OfJob { node: "n2".to_owned(), ..job("7") };
        let on = |job| Labelled { job: Some(job), ..seen("7", "GPU-a", &gone) };
        assert!(!is_own(&gpus, &on(elsewhere)), "of a node with the same daemon");
        let other = Labelled { run_id: Some(new_run_id()), ..seen("7", "GPU-a", &gone) };
        assert!(!is_own(&gpus, &other), "of another run");
        let cpu = owner("cpu");
        assert!(
            is_own(&cpu, &seen("7", "cpu", &gone)) && !is_own(&cpu, &seen("7", "cpu", &holder))
        );
    }
}
