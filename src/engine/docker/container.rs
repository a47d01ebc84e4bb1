//! One container of ours, from its creation until it is removed, always by its id.
//! How it ended is asked of the daemon, exited containers included.

use std::fs::File;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, NetworkConnectRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::daemon::status;
use super::follow::LogCopy;
use super::state::{State, state};
use crate::engine::failure::{Exit, classify};
use crate::event::Emit;
use crate::history::launch::{FailureClass, LaunchFailure};

/// Longest that a name stays taken by a container that is being removed.
const NAME_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest that a removal may take.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(90);
/// How often the daemon is asked whether the container is paused.
const PAUSE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A container that we created. Dropped while it exists, it is removed.
pub(super) struct Container {
    docker: Docker,
    id: String,
    name: String,
    removed: bool,
    log: Option<LogCopy>,
}

pub(super) fn failure(class: FailureClass, what: &str, error: &Error) -> LaunchFailure {
    LaunchFailure::new(class, format!("{what}: {error}"))
}

/// The daemon's refusal to create or start something, classified by its words.
fn refused(what: &str, error: &Error) -> LaunchFailure {
    let text = error.to_string();
    let classified = classify(&text, Exit { code: Some(1), oom_killed: false }, false);
    let class = match classified.class {
        FailureClass::Unknown => FailureClass::Environment,
        class => class,
    };
    failure(class, what, error)
}

impl Container {
    /// Creates a container; a name that is still taken by one that is being
    /// removed is waited for.
    pub(super) async fn create(
        docker: &Docker,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<Self, LaunchFailure> {
        let started = Instant::now();
        loop {
            let options = CreateContainerOptionsBuilder::new().name(name).build();
            match docker.create_container(Some(options), body.clone()).await {
                Ok(created) => {
                    return Ok(Self {
                        docker: docker.clone(),
                        id: created.id,
                        name: name.to_owned(),
                        removed: false,
                        log: None,
                    });
                }
                Err(error) if status(&error) == Some(409) && started.elapsed() < NAME_TIMEOUT => {
                    sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(refused("the container cannot be created", &error)),
            }
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The daemon that runs it.
    pub(super) fn daemon(&self) -> &Docker {
        &self.docker
    }

    pub(super) async fn join_network(&self, network: &str) -> Result<(), LaunchFailure> {
        let request = NetworkConnectRequest { container: self.id.clone(), endpoint_config: None };
        self.docker
            .connect_network(network, request)
            .await
            .map_err(|error| refused(&format!("network {network}"), &error))
    }

    /// Starts it, and writes its log to `file` from the first line on.
    pub(super) async fn start(&mut self, file: File, emit: &Emit) -> Result<(), LaunchFailure> {
        self.docker
            .start_container(&self.id, None::<StartContainerOptions>)
            .await
            .map_err(|error| refused("the container cannot be started", &error))?;
        self.log = Some(LogCopy::start(&self.docker, &self.id, file, emit));
        Ok(())
    }

    async fn inspect(&self) -> Result<ContainerInspectResponse, Error> {
        self.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await
    }

    /// How it is now.
    pub(super) async fn state(&self) -> State {
        state(&self.docker, &self.id).await
    }

    /// Program and arguments that it was started with, as the daemon records them.
    pub(super) async fn words(&self) -> Vec<String> {
        let seen = self.inspect().await.ok();
        let words = seen.map(|seen| seen.path.into_iter().chain(seen.args.into_iter().flatten()));
        words.map(Iterator::collect).unwrap_or_default()
    }

    /// The port of the host that `port` of the container is published on.
    pub(super) async fn published(&self, port: u16) -> Option<u16> {
        let seen = self.inspect().await.ok()?;
        let ports = seen.network_settings?.ports?;
        let bindings = ports.get(&format!("{port}/tcp"))?.as_ref()?;
        bindings.iter().find_map(|binding| binding.host_port.as_ref()?.parse().ok())
    }

    /// Resolves when it no longer runs as it should: ended, removed, paused, or not visible.
    pub(super) async fn not_running(&self) -> State {
        loop {
            let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
            let mut waiting = Box::pin(self.docker.wait_container(&self.id, Some(options)));
            // An event; the timeout only looks for what has no event here: a pause.
            let _event = timeout(PAUSE_CHECK_INTERVAL, waiting.next()).await;
            match self.state().await {
                State::Running(_) => {}
                state => return state,
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the log of a container that ended is written to its end.
    pub(super) async fn finish_log(&mut self) {
        if let Some(log) = self.log.take() {
            log.finish().await;
        }
    }

    /// SIGTERM, `grace` seconds, SIGKILL; then removes it and waits until it is removed.
    pub(super) async fn stop_and_remove(&mut self, grace: i32) -> Result<(), LaunchFailure> {
        let options = StopContainerOptionsBuilder::new().t(grace).build();
        let stopped = self.docker.stop_container(&self.id, Some(options)).await;
        if let Err(error) = stopped
            && !matches!(status(&error), Some(304 | 404))
        {
            tracing::warn!(container = self.name, %error, "stopping");
        }
        self.finish_log().await;
        remove(&self.docker, &self.id).await.map_err(|error| {
            let what = format!("container {} cannot be removed (`vllm-grid recover`)", self.name);
            failure(FailureClass::Environment, &what, &error)
        })?;
        self.removed = true;
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        // Nobody waits any more: a panic or a dropped future. `recover` finds what this misses.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (docker, id) = (self.docker.clone(), self.id.clone());
            runtime.spawn(async move { remove(&docker, &id).await });
        }
    }
}

/// Kills and removes a container by id, with its anonymous volumes, and waits until it is removed.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let asked = docker.remove_container(id, Some(options)).await;
        match docker.inspect_container(id, None::<InspectContainerOptions>).await {
            Err(error) if status(&error) == Some(404) => return Ok(()),
            // Its removal is in flight, or its process does not end yet.
            seen => {
                if started.elapsed() > REMOVAL_TIMEOUT {
                    return Err(asked.err().or(seen.err()).unwrap_or(Error::RequestTimeoutError));
                }
                if let Err(error) = asked
                    && status(&error).is_none()
                    && seen.is_err()
                {
                    return Err(error);
                }
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}
