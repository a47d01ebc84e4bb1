//! A server that runs in a container of ours: whether it is still the one that
//! was launched, why it is not, and its end.

use std::sync::Arc;

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

pub(super) fn not_running(state: &State, log: &str, was_ready: bool) -> LaunchFailure {
    let by_somebody = |what: &str| {
        let message = format!("somebody else {what} the container");
        LaunchFailure::new(FailureClass::Killed, message)
    };
    match state {
        State::Ended(exit) => LaunchFailure::of_exit(log, *exit, was_ready),
        State::Removed => by_somebody("removed"),
        State::Paused => by_somebody("paused"),
        State::Running(identity) => {
            let at = &identity.started_at;
            let message = format!(
                "somebody else restarted the container (it runs since {at}): look for what \
                 restarts containers here, such as autoheal or a watchdog, and pause it for the sweep"
            );
            LaunchFailure::new(FailureClass::Killed, message)
        }
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
        let state = self.started.container.state().await;
        if state == State::Running(self.identity.clone()) {
            return Ok(());
        }
        let state = self.started.container.settled(state).await;
        if matches!(state, State::Ended(_)) {
            self.started.container.finish_log().await;
        }
        Err(not_running(&state, &self.started.log.text(), true))
    }

    async fn stop(mut self: Box<Self>) -> Result<(), LaunchFailure> {
        self.started.container.stop_and_remove(GRACE).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bollard::models::ContainerCreateBody;
    use tokio::time::sleep;

    use super::super::container::Container;
    use super::super::scripted::{Fate, Scripted};
    use super::*;
    use crate::engine::log::EngineLog;
    use crate::event::Emit;
    use crate::secret::Secrets;

    /// A container that was started, on a daemon that always answers.
    async fn started(folder: &tempfile::TempDir) -> (Scripted, Container) {
        let scripted = Scripted::new(false, |_, _| Fate::Answered);
        let body = ContainerCreateBody::default();
        let mut container = Container::create(&scripted.daemon, "n", body).await.expect("made");
        let (_, file) = EngineLog::create(folder.path(), &Secrets::default()).expect("a log");
        container.start(file, &Emit::nowhere()).await.expect("started");
        (scripted, container)
    }

    fn said(state: &State) -> String {
        let failure = not_running(state, "", false);
        assert_eq!(failure.class, FailureClass::Killed, "{failure:?}");
        failure.message
    }

    /// The count of restarts is the policy's, and stays 0.
    #[tokio::test(start_paused = true)]
    async fn a_restart_by_somebody_while_it_boots_ends_the_launch_with_that_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let (scripted, mut container) = started(&folder).await;
        let restart = async {
            sleep(Duration::from_secs(30)).await;
            scripted.known.lock().expect("no panic").starts += 1;
        };
        let limit = Duration::from_mins(5);
        let watching = tokio::time::timeout(limit, container.not_running());
        let (state, ()) = tokio::join!(watching, restart);
        let said = said(&state.expect("it is found"));
        assert!(
            said.contains("restarted the container (it runs since 2026-11-28T05:16:02Z)"),
            "{said}"
        );
        container.forget();
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_stops_and_starts_did_not_die() {
        let folder = tempfile::tempdir().expect("a folder");
        let (scripted, mut container) = started(&folder).await;
        scripted.known.lock().expect("no panic").running = false;
        let found = container.not_running().await;
        assert!(matches!(found, State::Ended(_)), "{found:?}");
        let start = async {
            sleep(Duration::from_millis(400)).await;
            let mut known = scripted.known.lock().expect("no panic");
            known.running = true;
            known.starts += 1;
        };
        let (state, ()) = tokio::join!(container.settled(found.clone()), start);
        assert!(said(&state).contains("restarted"));
        scripted.known.lock().expect("no panic").running = false;
        assert_eq!(container.settled(found.clone()).await, found, "it stays ended");
        container.forget();
    }
}
