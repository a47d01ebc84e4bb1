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

    /// Makes one launch, or goes on with one that an earlier session began. Cancelling ends it
    /// before this returns.
    ///
    /// # Errors
    /// When no further launch would come to anything: see [`launch::run`].
    async fn make(&self, making: Making<'_>) -> Result<LaunchOutcome, SweepError>;
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

    async fn make(&self, making: Making<'_>) -> Result<LaunchOutcome, SweepError> {
        let Making { order, taken_up: _, sink, emit, cancel } = making;
        launch::run(order, &*self.engine, &*self.measure, sink, emit, cancel).await
    }
}
