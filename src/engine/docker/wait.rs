//! From a started container to a ready server, or to the reason why there is none. What is
//! waited for is shared by all engines, in [`crate::engine::readiness`]; here is what a
//! container adds: its published port, and how it ended.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::launched::not_running;
use super::state::{Identity, State};
use super::{DockerEngine, Started};
use crate::engine::failure::Exit;
use crate::engine::readiness::{NotReady, wait_until_ready};
use crate::event::Emit;
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::server::{Endpoint, Server};

/// How long a container that runs and publishes no port may take to end.
const UNPUBLISHED: Duration = Duration::from_secs(10);

impl DockerEngine {
    /// Waits until what was started is ready.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn wait(
        &self,
        started: &mut Started,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<(Server, Identity), LaunchFailure> {
        let published = match started.container.published(started.port).await {
            Ok(Some(published)) => published,
            Ok(None) => return Err(self.unpublished(started, cancel).await),
            Err(error) => {
                let state = State::DaemonUnreachable(self.docker.words(&error));
                return Err(not_running(&state, &started.log.text(), false));
            }
        };
        let endpoint =
            Endpoint::new(format!("http://127.0.0.1:{published}"), self.spec.api_key.clone());
        let mut candidate = (self.connect)(endpoint);
        candidate.expect_one_of(std::mem::take(&mut started.names));
        let mut last_state = None;
        let ready = {
            let container = &started.container;
            let seen = &mut last_state;
            let mut ended = Box::pin(async move {
                *seen = Some(container.not_running().await);
                Exit::default()
            });
            let log = &mut started.log;
            let mut new_log = || log.read_new();
            wait_until_ready(
                ended.as_mut(),
                &mut new_log,
                candidate.as_ref(),
                &self.spec.limits,
                emit,
                cancel,
            )
            .await
        };
        match ready {
            Ok(server) => match started.container.state().await {
                State::Running(identity) if !started.container.is_restarted(&identity) => {
                    Ok((server, identity))
                }
                state => Err(not_running(&state, &started.log.text(), true)),
            },
            Err(NotReady::Ended(exit)) => {
                let state = last_state.unwrap_or(State::Ended(exit));
                let state = started.container.settled(state).await;
                if !matches!(state, State::Running(_)) {
                    started.container.finish_log().await;
                }
                Err(not_running(&state, &started.log.text(), false))
            }
            Err(not_ready) => Err(LaunchFailure::of_not_ready(&started.log.text(), &not_ready)),
        }
    }

    /// Why a container publishes no port: one that ended publishes none, and one that runs
    /// never will.
    async fn unpublished(
        &self,
        started: &mut Started,
        cancel: &CancellationToken,
    ) -> LaunchFailure {
        let state = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                return LaunchFailure::of_not_ready(&started.log.text(), &NotReady::Cancelled);
            }
            state = started.container.not_running() => state,
            () = sleep(UNPUBLISHED) => {
                let message = format!(
                    "the container runs, and its port {} is not published on this host: is its \
                     network an internal one?",
                    started.port
                );
                return LaunchFailure::new(FailureClass::Environment, message);
            }
        };
        started.container.finish_log().await;
        not_running(&state, &started.log.text(), false)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::super::container::{Container, Left};
    use super::super::gate::Gate;
    use super::super::scripted::{Fate, Script, Scripted, ready_after};
    use super::super::{DockerSpec, ImageIdentity, UsedCaches};
    use bollard::models::ContainerCreateBody;

    use super::*;
    use crate::engine::compose::ServiceSpec;
    use crate::engine::log::EngineLog;
    use crate::secret::Secrets;

    /// How a wait ends for a container that publishes another port than the one that is
    /// looked for, where a stop is asked for after so many seconds; and how long it takes.
    async fn waited(script: Box<Script>, stop: Option<u64>) -> (LaunchFailure, u64) {
        let folder = tempfile::tempdir().expect("a folder");
        let scripted = Scripted::new(false, script);
        let docker = scripted.daemon.clone();
        let mut container =
            Container::create(&docker, "n", ContainerCreateBody::default()).await.expect("made");
        let (log, file) = EngineLog::create(folder.path(), &Secrets::default()).expect("a log");
        container.start(file, &Emit::nowhere()).await.expect("started");
        let spec = DockerSpec::new(ServiceSpec::of_image("i", Vec::new()));
        let engine = DockerEngine {
            gate: tokio::sync::Mutex::new(Gate::new(docker.clone(), &spec.service, "i", false)),
            docker,
            parts: std::collections::BTreeMap::new(),
            spec,
            image: ImageIdentity::default(),
            connect: ready_after(Duration::ZERO),
            offline: std::sync::Mutex::default(),
            caches: UsedCaches::new(false),
            left: Left::default(),
            owner: std::sync::OnceLock::new(),
        };
        let (at, port, is_offline) = (Instant::now(), 8001, false);
        let mut started = Started { container, log, at, port, names: Vec::new(), is_offline };
        let cancel = CancellationToken::new();
        let stopping = async {
            if let Some(after) = stop {
                sleep(Duration::from_secs(after)).await;
                cancel.cancel();
            }
        };
        let emit = Emit::nowhere();
        let (ready, ()) = tokio::join!(engine.wait(&mut started, &emit, &cancel), stopping);
        started.container.forget();
        (ready.expect_err("nothing is published"), at.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_while_no_port_is_published_is_a_stop() {
        let (failure, seconds) = waited(Box::new(|_, _| Fate::Answered), Some(3)).await;
        assert!(failure.cancelled, "{failure:?}");
        assert_eq!(seconds, 3);
        let (failure, seconds) = waited(Box::new(|_, _| Fate::Answered), None).await;
        assert!(!failure.cancelled && failure.message.contains("8001"), "{failure:?}");
        assert_eq!(seconds, UNPUBLISHED.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_does_not_say_the_port_is_not_a_network_s_fault() {
        // Asked once when it was created, and again when it was started.
        let asked = std::sync::atomic::AtomicU32::new(0);
        let script = move |_: Duration, request: &str| {
            let is_look = request == "GET /containers/a/json";
            let before = asked.fetch_add(u32::from(is_look), std::sync::atomic::Ordering::Relaxed);
            if is_look && before > 0 {
                Fate::Refused(500, "it cannot say that")
            } else {
                Fate::Answered
            }
        };
        let (failure, _) = waited(Box::new(script), None).await;
        assert_eq!(failure.class, FailureClass::Environment);
        assert!(failure.message.contains("it cannot say that"), "{failure:?}");
    }
}
