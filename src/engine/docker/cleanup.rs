//! Containers with our labels: whose they are, and their removal, by id. Whether their
//! run lives is decided elsewhere.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::models::ContainerSummaryStateEnum as State;
use bollard::query_parameters::ListContainersOptionsBuilder;

use super::owed::Connection;
use super::{container, label};
use crate::history::journal::is_written_in;
use crate::ownership::debt::ProductionOwed;
use crate::ownership::holder::Presence;
use crate::ownership::session::{Liveness, liveness};
use crate::ownership::{Holder, OfJob, StateFolder, Uses, is_run_id};

/// A container with our labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The sweep that made it.
    pub sweep: String,
    /// That sweep's folder when it made it; empty where it belongs to no run.
    pub folder: PathBuf,
    /// The run's id; an older version did not write it.
    pub run_id: Option<String>,
    /// The process that made it; an older version did not write it.
    pub holder: Option<Holder>,
    /// What the run's candidates use; an older version did not write it.
    pub uses: Option<Uses>,
    /// Whose claims the run's are known to; an older version did not write it.
    pub claims: Option<String>,
    /// The cluster's job that made it, where one did.
    pub job: Option<OfJob>,
    /// Production that the run had stopped when it made it.
    pub production: Option<ProductionOwed>,
    /// Whether it uses nothing any more: it has exited.
    pub has_ended: bool,
    /// Whether it was started; one that is only created uses nothing yet.
    pub has_started: bool,
    /// When it was created, in seconds since 1970.
    pub created: i64,
}

impl Labelled {
    /// Whether the run that it belongs to lives.
    pub fn liveness(&self, state: &StateFolder) -> Liveness {
        let mut holder = self.holder.clone();
        if let Some(holder) = &mut holder {
            holder.folder = Some(self.folder.clone());
        }
        // Its run lives on another machine: here there is the job's own process, or none.
        if let (Some(_), Some(holder)) = (&self.job, &holder) {
            return match holder.presence() {
                Presence::Gone => Liveness::Dead,
                Presence::Here | Presence::Unknown => {
                    Liveness::Lives(Some(Box::new(holder.clone())))
                }
            };
        }
        match liveness(state, self.run_id.as_deref(), holder.as_ref()) {
            // All that an older version left is its journal.
            Liveness::Dead if self.run_id.is_none() && holder.is_none() => {
                if is_written_in(&self.folder) { Liveness::Lives(None) } else { Liveness::Dead }
            }
            found => found,
        }
    }
}

/// Every container with our labels, exited ones included.
///
/// # Errors
/// The daemon's, as a sentence that names it.
pub async fn ours(docker: &Connection) -> Result<Vec<Labelled>, String> {
    let filters = HashMap::from([("label", vec![label::SWEEP, label::FOLDER])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = docker.ask(|| docker.list_containers(Some(options.clone()))).await;
    let containers = listed.map_err(|error| docker.sentence(&error))?;
    let labelled = containers.into_iter().filter_map(|seen| {
        let labels = seen.labels?;
        let ended = [State::EXITED, State::DEAD, State::REMOVING];
        Some(Labelled {
            has_ended: seen.state.is_some_and(|state| ended.contains(&state)),
            has_started: seen.state != Some(State::CREATED),
            created: seen.created.unwrap_or_default(),
            id: seen.id?,
            name: seen.names.unwrap_or_default().first()?.trim_start_matches('/').to_owned(),
            sweep: labels.get(label::SWEEP)?.clone(),
            folder: PathBuf::from(labels.get(label::FOLDER)?),
            run_id: labels.get(label::RUN).filter(|id| is_run_id(id)).cloned(),
            holder: labels.get(label::HOLDER).and_then(|text| serde_json::from_str(text).ok()),
            uses: labels.get(label::USES).map(|text| Uses::from(text.clone())),
            claims: labels.get(label::CLAIMS).cloned(),
            job: labels.get(label::JOB).map(|id| OfJob {
                id: id.clone(),
                node: labels.get(label::NODE).cloned().unwrap_or_default(),
            }),
            production: labels
                .get(label::PRODUCTION)
                .and_then(|text| serde_json::from_str(text).ok())
                .filter(|owed: &ProductionOwed| !owed.id.is_empty()),
        })
    });
    Ok(labelled.collect())
}

/// Kills and removes a container, and waits until it is removed.
///
/// # Errors
/// The daemon's, in its words.
pub async fn remove(docker: &Connection, labelled: &Labelled) -> Result<(), String> {
    let removed = container::remove(docker, &labelled.id).await;
    removed.map_err(|error| docker.words(&error))
}
