//! A server that runs in a container of ours: whether it is still the one that
//! was launched, why it is not, and its end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Started;
use super::arguments;
use super::body::GRACE;
use super::state::{Identity, State};
use super::stats::ContainerProbe;
use crate::engine::Launched;
use crate::history::launch::{FailureClass, LaunchFacts, LaunchFailure};
use crate::server::effective::Inspected;
use crate::server::proof::ProcessReading;
use crate::server::{GpuIds, ResourceProbe, Server};

/// Longest that a restart by somebody takes from its stop to its start.
const RESTART: Duration = Duration::from_secs(1);

pub(super) fn not_running(state: &State, log: &str, was_ready: bool) -> LaunchFailure {
    let by_somebody = |what: &str| {
        let message = format!("somebody else {what} the container");
        LaunchFailure::new(FailureClass::Killed, message)
    };
    match state {
        State::Ended(exit) => LaunchFailure::of_exit(log, *exit, was_ready),
        State::Removed => by_somebody("removed"),
        State::Paused => by_somebody("paused"),
        State::Running(_) => by_somebody("restarted"),
        State::DaemonUnreachable(reason) => {
            LaunchFailure::new(FailureClass::Environment, reason.clone())
        }
    }
}

/// A ready server in a container.
pub(super) struct LaunchedContainer {
    pub started: Started,
    pub server: Server,
    pub facts: LaunchFacts,
    pub identity: Identity,
    pub inspected: Inspected,
    pub gpus: Option<GpuIds>,
}

#[async_trait]
impl Launched for LaunchedContainer {
    fn server(&self) -> &Server {
        &self.server
    }

    fn facts(&self) -> &LaunchFacts {
        &self.facts
    }

    fn log(&self) -> String {
        self.started.log.text()
    }

    fn inspected(&self) -> Option<&Inspected> {
        Some(&self.inspected)
    }

    async fn process(&self, variables: &[String]) -> ProcessReading {
        let container = &self.started.container;
        arguments::read(container.daemon(), container.id(), self.started.port, variables).await
    }

    fn probe(&self) -> Option<Arc<dyn ResourceProbe>> {
        let (daemon, id) =
            (self.started.container.daemon().clone(), self.started.container.id().to_owned());
        Some(Arc::new(ContainerProbe::new(daemon, id, self.identity.clone(), self.gpus.clone())))
    }

    async fn check(&mut self) -> Result<(), LaunchFailure> {
        let mut state = self.started.container.state().await;
        if state == State::Running(self.identity.clone()) {
            return Ok(());
        }
        if matches!(state, State::Ended(_)) {
            // Who restarts it ends it first: between the two it is not the engine that died.
            tokio::time::sleep(RESTART).await;
            match self.started.container.state().await {
                again @ State::Running(_) => state = again,
                again => {
                    // That the kernel killed it may be known a moment later than its end.
                    if matches!(again, State::Ended(_)) {
                        state = again;
                    }
                    self.started.container.finish_log().await;
                }
            }
        }
        Err(not_running(&state, &self.started.log.text(), true))
    }

    async fn stop(mut self: Box<Self>) -> Result<(), LaunchFailure> {
        self.started.container.stop_and_remove(GRACE).await
    }
}
