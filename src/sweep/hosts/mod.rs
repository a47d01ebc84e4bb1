//! Where launches are made: on this machine, or as jobs of a cluster, each on a node of its
//! own. The loop decides what is launched and alone writes the journal; a place makes the
//! launch and passes its entries on. What a launch is, is [`super::launch`]'s; engines are not
//! known here, except where a launch is made in this process.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::SweepError;
use super::launch::{self, Measure, Sink, TrialOrder};
use crate::engine::Engine;
use crate::event::Emit;
use crate::history::launch::LaunchOutcome;

pub mod job;
pub mod slurm;

/// Makes launches. Several may run at once, as many as it has places for.
#[async_trait]
pub trait Hosts: Send + Sync {
    /// Launches that may be in flight at once.
    fn places(&self) -> usize;

    /// Whether requests are sent from this process: then nothing may delay its threads.
    fn measures_here(&self) -> bool;

    /// Before anything is launched: jobs that a dead session submitted and could not journal
    /// are cancelled; `known` are those of the journal that go on.
    async fn begin(&self, known: &[String], emit: &Emit) {
        let _no_jobs = (known, emit);
    }

    /// After the last launch of a session: jobs that it may have submitted and does not know are
    /// cancelled.
    async fn finish(&self, emit: &Emit) {
        let _no_jobs = emit;
    }

    /// Ends a job that nobody follows any more.
    async fn end(&self, job: &str) {
        let _no_job = job;
    }

    /// Makes one launch, or goes on with one that an earlier session began. Cancelling ends it
    /// before this returns.
    ///
    /// # Errors
    /// When no further launch would come to anything: see [`launch::run`].
    async fn make(&self, making: Making<'_>) -> Result<Made, SweepError>;
}

/// What a launch came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// How it ended.
    pub outcome: LaunchOutcome,
    /// When, by the clock of another machine, where it ended there.
    pub happened: Option<jiff::Timestamp>,
}

impl From<LaunchOutcome> for Made {
    fn from(outcome: LaunchOutcome) -> Self {
        Self { outcome, happened: None }
    }
}

/// One launch to be made.
pub struct Making<'a> {
    /// What it is.
    pub order: &'a TrialOrder,
    /// The job that makes it already, where an earlier session submitted one, and how many of
    /// its entries are journalled.
    pub taken_up: Option<TakenUp>,
    /// Takes its entries.
    pub sink: &'a dyn Sink,
    /// Where notices go.
    pub emit: &'a Emit,
    /// Asks for a stop.
    pub cancel: &'a CancellationToken,
}

/// A launch that an earlier session began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    /// The job's id.
    pub job: String,
    /// The node that it runs on, where the journal has it.
    pub host: Option<String>,
    /// Entries of it that the journal has.
    pub entries: usize,
}

/// This machine: launches are made in this process.
pub struct Here {
    engine: Arc<dyn Engine>,
    measure: Arc<dyn Measure>,
}

impl Here {
    /// With an engine, and what measures its servers.
    pub fn new(engine: Arc<dyn Engine>, measure: Arc<dyn Measure>) -> Self {
        Self { engine, measure }
    }
}

#[async_trait]
impl Hosts for Here {
    fn places(&self) -> usize {
        self.engine.places()
    }

    fn measures_here(&self) -> bool {
        true
    }

    async fn make(&self, making: Making<'_>) -> Result<Made, SweepError> {
        let Making { order, taken_up: _, sink, emit, cancel } = making;
        let made = launch::run(order, &*self.engine, &*self.measure, sink, emit, cancel).await;
        made.map(Made::from)
    }
}
