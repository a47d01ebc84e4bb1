//! A Slurm cluster as the place of launches: what it is set up with, and one launch from its
//! submission to its end. Submitting is in `submit`, following in `follow`, what is known of the
//! nodes in `nodes`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::super::{Hosts, Made, Making, SweepError};
use super::nodes::Nodes;
use super::reading::jobs;
use super::request;
use super::state::State;
use super::submit::Submitted;
use super::tool::Tool;
use super::watch::Watch;
use crate::event::Emit;
use crate::grid::SlurmBlock;
use crate::history::launch::LaunchOutcome;
use crate::history::record::LaunchRecord;
use crate::secret::Secrets;

/// For how long what a job wrote may come after its end.
const LATE: Duration = Duration::from_mins(1);

/// What a cluster is set up with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What the grid asks for.
    pub block: SlurmBlock,
    /// Seconds of one launch at most.
    pub seconds: u64,
    /// The run's id.
    pub run_id: String,
    /// The run's folder, on a file system that all nodes see: an absolute path.
    pub run: PathBuf,
    /// This program, by a path that all nodes see.
    pub program: PathBuf,
    /// What no file may have.
    pub secrets: Secrets,
}

/// A cluster.
pub struct Cluster {
    pub(super) tool: Arc<dyn Tool>,
    pub(super) watch: Watch,
    pub(super) block: SlurmBlock,
    pub(super) seconds: u64,
    pub(super) run_id: String,
    pub(super) run: PathBuf,
    pub(super) program: PathBuf,
    pub(super) secrets: Secrets,
    pub(super) late: Duration,
    nodes: Mutex<Nodes>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("run", &self.run_id).finish_non_exhaustive()
    }
}

impl Cluster {
    /// For a run with these launches so far, by this tool.
    pub fn new<'a>(
        setting: Setting,
        tool: Arc<dyn Tool>,
        launches: impl IntoIterator<Item = &'a LaunchRecord>,
    ) -> Self {
        let Setting { block, seconds, run_id, run, program, secrets } = setting;
        let nodes = Mutex::new(Nodes::of(launches));
        let watch = Watch::new(Arc::clone(&tool));
        Self { tool, watch, block, seconds, run_id, run, program, secrets, late: LATE, nodes }
    }

    /// The same, where what a job wrote comes at most so long after its end.
    #[must_use]
    pub fn late_by(self, late: Duration) -> Self {
        Self { late, ..self }
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of a launch, by a path that all nodes see.
    pub(super) fn folder_of(making: &Making<'_>) -> PathBuf {
        shared(&making.order.launch.folder)
    }
}

#[async_trait]
impl Hosts for Cluster {
    fn places(&self) -> usize {
        self.block.at_once as usize
    }

    fn measures_here(&self) -> bool {
        false
    }

    async fn begin(&self, known: &[String], emit: &Emit) {
        let Ok(answer) = self.tool.run(&request::states()).await else { return };
        for (id, job) in jobs(&answer.out) {
            let is_ours = job.ours.as_ref().is_some_and(|(run, _)| *run == self.run_id);
            if is_ours && !known.contains(&id) && !matches!(job.state, State::Ended(_)) {
                emit.warn(format!(
                    "job {id} of an earlier session is cancelled: no line tells of it"
                ));
                self.cancel(&id).await;
            }
        }
    }

    async fn end(&self, job: &str) {
        self.cancel(job).await;
    }

    async fn make(&self, making: Making<'_>) -> Result<Made, SweepError> {
        let job = match &making.taken_up {
            Some(taken_up) => taken_up.job.clone(),
            None => match self.submit(&making).await? {
                Submitted::Job(job) => job,
                Submitted::Stopped => return Ok(LaunchOutcome::Interrupted.into()),
            },
        };
        self.follow(&making, job).await
    }
}

/// A path as all nodes see it: absolute, its links as they are.
pub fn shared(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
