//! A Slurm cluster as it is set up for a run: what the grid asks for, where the run's folder and
//! this program are for all nodes, and what is known of the nodes. Launches are made in `place`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::Making;
use super::nodes::{Nodes, Picture};
use super::tool::Tool;
use super::watch::Watch;
use crate::grid::{Sharing, SlurmBlock};
use crate::history::record::SweepRecord;
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
    /// How configurations share nodes.
    pub sharing: Sharing,
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
    /// The partition's nodes, and when the cluster was asked for them.
    pub(super) seen: tokio::sync::Mutex<Option<(Instant, Arc<Picture>)>>,
    jobs: Mutex<Jobs>,
    /// Warnings of nodes that a person has read.
    said: Mutex<BTreeSet<String>>,
}

/// Jobs of this session.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// Those that somebody follows, or followed to their end.
    pub(super) known: BTreeSet<String>,
    /// Whether a submission got no answer: there may be others.
    pub(super) unanswered: bool,
    /// Those that were to be cancelled.
    pub(super) doomed: BTreeSet<String>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("run", &self.run_id).finish_non_exhaustive()
    }
}

impl Cluster {
    /// For a run with what it did so far, by this tool.
    pub fn new(setting: Setting, tool: Arc<dyn Tool>, so_far: Option<&SweepRecord>) -> Self {
        let Setting { block, seconds, run_id, run, program, secrets, sharing } = setting;
        let nodes = so_far.map(Nodes::of).unwrap_or_default().sharing(sharing);
        // A session that was killed while it submitted may have left a job without knowing it.
        let unanswered =
            so_far.is_some_and(|it| it.all_launches().any(|(_, it)| it.may_be_submitted()));
        let watch = Watch::new(Arc::clone(&tool));
        Self {
            tool,
            watch,
            block,
            seconds,
            run_id,
            run,
            program,
            secrets,
            late: LATE,
            nodes: Mutex::new(nodes),
            seen: tokio::sync::Mutex::default(),
            jobs: Mutex::new(Jobs { unanswered, ..Jobs::default() }),
            said: Mutex::default(),
        }
    }

    /// The same, where what a job wrote comes at most so long after its end.
    #[must_use]
    pub fn late_by(self, late: Duration) -> Self {
        Self { late, ..self }
    }

    /// Whether a node's warning is new: most are of all launches.
    pub(super) fn is_new(&self, warning: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(warning.to_owned())
    }

    pub(super) fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of a launch, by a path that all nodes see.
    pub(super) fn folder_of(making: &Making<'_>) -> PathBuf {
        shared(&making.order.launch.folder)
    }
}

/// A path as all nodes see it: absolute, its links as they are.
pub fn shared(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
