//! What a dead sweep left: containers with our labels whose sweep no process holds
//! any more. Only those are touched, by id.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::errors::Error;
use bollard::query_parameters::ListContainersOptionsBuilder;

use super::daemon::{DaemonError, DaemonSettings, connect};
use super::patience::Daemon;
use super::{container, label};

/// A container with our labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The sweep that made it.
    pub sweep: String,
    /// That sweep's folder.
    pub folder: PathBuf,
}

/// Every container with our labels, exited ones included.
pub async fn ours(docker: &Daemon) -> Result<Vec<Leftover>, Error> {
    let filters = HashMap::from([("label", vec![label::SWEEP, label::FOLDER])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers = docker.ask(|| docker.list_containers(Some(options.clone()))).await?;
    let leftovers = containers.into_iter().filter_map(|seen| {
        let labels = seen.labels?;
        Some(Leftover {
            id: seen.id?,
            name: seen.names.unwrap_or_default().first()?.trim_start_matches('/').to_owned(),
            sweep: labels.get(label::SWEEP)?.clone(),
            folder: PathBuf::from(labels.get(label::FOLDER)?),
        })
    });
    Ok(leftovers.collect())
}

/// Removes the containers whose sweep does not live (by its folder), of all
/// sweeps or of those in `only`. Returns what was removed and what was not touched.
pub async fn remove_dead(
    docker: &Daemon,
    only: Option<&[PathBuf]>,
    lives: impl Fn(&Path) -> bool,
) -> Result<(Vec<Leftover>, Vec<Leftover>), Error> {
    let meant = |leftover: &Leftover| only.is_none_or(|only| only.contains(&leftover.folder));
    let (living, dead): (Vec<_>, Vec<_>) =
        ours(docker).await?.into_iter().filter(meant).partition(|leftover| lives(&leftover.folder));
    for leftover in &dead {
        container::remove(docker, &leftover.id).await?;
    }
    Ok((dead, living))
}

/// Why nothing could be cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// No daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The daemon refused, or does not answer any more.
    #[error("containers: {0}")]
    Refused(String),
}

/// [`remove_dead`] on the local daemon.
pub async fn remove_dead_here(
    only: Option<&[PathBuf]>,
    lives: impl Fn(&Path) -> bool,
) -> Result<(Vec<Leftover>, Vec<Leftover>), CleanupError> {
    let docker = connect(&DaemonSettings::of_environment()).await?;
    let removed = remove_dead(&docker, only, lives).await;
    removed.map_err(|error| CleanupError::Refused(docker.words(&error)))
}
