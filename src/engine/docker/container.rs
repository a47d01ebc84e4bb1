//! One container of ours, from its creation until it is removed, always by its id.
//! How it ended is asked of the daemon, exited containers included.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
use super::patience::{ACTION, Daemon, may_pass};
use super::state::{Identity, State, state};
use crate::engine::failure::{Exit, classify};
use crate::engine::haste::Haste;
use crate::engine::log::LogWriter;
use crate::event::Emit;
use crate::history::launch::{FailureClass, LaunchFailure};

/// Longest that a name stays taken by a container that is being removed.
const NAME_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest that a removal may take.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(90);
/// How much longer than its grace a stop may take.
const STOP_MARGIN: Duration = Duration::from_secs(30);
/// Longest that a restart by somebody takes from its stop to its start.
const RESTART: Duration = Duration::from_secs(1);
/// How often the daemon is asked whether the container is paused.
const PAUSE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Containers that could not be removed: names by ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Left(Arc<Mutex<BTreeMap<String, String>>>);

impl Left {
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tries to remove each of them again.
    ///
    /// # Errors
    /// One is still there.
    pub(super) async fn remove(&self, docker: &Daemon) -> Result<(), LaunchFailure> {
        for (id, name) in self.change(|left| left.clone()) {
            remove(docker, &id).await.map_err(|error| unremoved(docker, &name, &error))?;
            self.change(|left| left.remove(&id));
        }
        Ok(())
    }
}

/// The failure of a removal.
fn unremoved(docker: &Daemon, name: &str, error: &Error) -> LaunchFailure {
    let why = docker.words(error);
    LaunchFailure::of_left(format!(
        "container {name} cannot be removed (`vllm-grid recover` does): {why}"
    ))
}

/// A container that we created. Dropped while it exists, it is removed.
pub(super) struct Container {
    docker: Daemon,
    id: String,
    name: String,
    removed: bool,
    log: Option<LogCopy>,
    /// Where it is noted if it cannot be removed.
    left: Left,
    /// What shortens its stop.
    haste: Haste,
    /// When it was started by us, as the daemon says: somebody else's restart changes it,
    /// and leaves the count of restarts as it is.
    started_at: Option<String>,
}

/// The daemon's refusal to create or start something, classified by its words.
fn refused(docker: &Daemon, what: &str, error: &Error) -> LaunchFailure {
    let text = docker.words(error);
    let classified = classify(&text, Exit { code: Some(1), oom_killed: false }, false);
    let class = match classified.class {
        FailureClass::Unknown => FailureClass::Environment,
        class => class,
    };
    LaunchFailure::new(class, format!("{what}: {text}"))
}

/// The container of this name, where our request made it and its answer was lost.
async fn made(
    docker: &Daemon,
    name: &str,
    body: &ContainerCreateBody,
) -> Result<Option<String>, Error> {
    match docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(seen) => {
            let labels = seen.config.and_then(|config| config.labels).unwrap_or_default();
            let ours = body.labels.iter().flatten().all(|(name, of)| labels.get(name) == Some(of));
            let is_new = seen.state.is_some_and(|state| state.running != Some(true));
            Ok(seen.id.filter(|_| ours && is_new))
        }
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Container {
    /// Creates a container; a name that is still taken by one that is being
    /// removed is waited for.
    pub(super) async fn create(
        docker: &Daemon,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<Self, LaunchFailure> {
        Self::create_on(docker, name, None, body).await
    }

    /// The same for a platform (`linux/amd64`): the daemon refuses an image of another one.
    pub(super) async fn create_on(
        docker: &Daemon,
        name: &str,
        platform: Option<&str>,
        body: ContainerCreateBody,
    ) -> Result<Self, LaunchFailure> {
        // Since when another one has the name.
        let mut taken = None;
        // An attempt whose answer was lost may have made it: then no second one is made.
        let lost = AtomicBool::new(false);
        let create = || async {
            if lost.load(Ordering::Relaxed)
                && let Some(id) = made(docker, name, &body).await?
            {
                return Ok(id);
            }
            let options = CreateContainerOptionsBuilder::new().name(name);
            let options =
                platform.into_iter().fold(options, CreateContainerOptionsBuilder::platform);
            let options = options.build();
            // Where one was lost, the daemon may make it at any time from then on.
            let was_lost = lost.swap(true, Ordering::Relaxed);
            match docker.create_container(Some(options), body.clone()).await {
                Ok(created) => Ok(created.id),
                Err(error) => {
                    lost.store(was_lost || may_pass(&error), Ordering::Relaxed);
                    Err(error)
                }
            }
        };
        loop {
            match docker.asked(ACTION, create).await {
                Ok(id) => {
                    let (docker, name) = (docker.clone(), name.to_owned());
                    return Ok(Self {
                        docker,
                        id,
                        name,
                        removed: false,
                        log: None,
                        left: Left::default(),
                        haste: Haste::default(),
                        started_at: None,
                    });
                }
                // Asked again, it may turn out to be ours.
                Err(error)
                    if status(&error) == Some(409)
                        && taken.get_or_insert_with(Instant::now).elapsed() < NAME_TIMEOUT =>
                {
                    sleep(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    return Err(refused(docker, "the container cannot be created", &error));
                }
            }
        }
    }

    /// The same, noted there if it cannot be removed.
    pub(super) fn noted_in(mut self, left: &Left) -> Self {
        self.left = left.clone();
        self
    }

    /// The same, with less time to end where that is asked for.
    pub(super) fn hastened(mut self, haste: &Haste) -> Self {
        self.haste = haste.clone();
        self
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The daemon that runs it.
    pub(super) fn daemon(&self) -> &Daemon {
        &self.docker
    }

    pub(super) async fn join_network(&self, network: &str) -> Result<(), LaunchFailure> {
        let request =
            || NetworkConnectRequest { container: self.id.clone(), endpoint_config: None };
        let join = || self.docker.connect_network(network, request());
        match self.docker.asked(ACTION, join).await {
            // An attempt whose answer was lost has joined it.
            Err(error) if error.to_string().contains("already exists in network") => Ok(()),
            joined => {
                joined.map_err(|error| refused(&self.docker, &format!("network {network}"), &error))
            }
        }
    }

    /// Starts it, and writes its log to `file` from the first line on.
    pub(super) async fn start(
        &mut self,
        file: LogWriter,
        emit: &Emit,
    ) -> Result<(), LaunchFailure> {
        let asked = AtomicBool::new(false);
        let start = || async {
            // One whose answer was lost may have started it, and it may have ended since.
            if asked.swap(true, Ordering::Relaxed) && self.has_started().await? {
                return Ok(());
            }
            self.docker.start_container(&self.id, None::<StartContainerOptions>).await
        };
        self.docker
            .asked(ACTION, start)
            .await
            .map_err(|error| refused(&self.docker, "the container cannot be started", &error))?;
        self.log = Some(LogCopy::start(&self.docker, &self.id, file, emit));
        if let State::Running(identity) = self.state().await {
            self.started_at = Some(identity.started_at);
        }
        Ok(())
    }

    async fn has_started(&self) -> Result<bool, Error> {
        let options = None::<InspectContainerOptions>;
        let state = self.docker.inspect_container(&self.id, options).await?.state;
        let started_at = state.and_then(|state| state.started_at);
        // The daemon's zero time.
        Ok(started_at.is_some_and(|at| !at.is_empty() && !at.starts_with("0001-")))
    }

    async fn inspect(&self) -> Result<ContainerInspectResponse, Error> {
        let options = None::<InspectContainerOptions>;
        self.docker.ask(|| self.docker.inspect_container(&self.id, options.clone())).await
    }

    /// How it is now.
    pub(super) async fn state(&self) -> State {
        state(&self.docker, &self.id).await
    }

    /// Whether what runs is not what we started: somebody restarted it.
    pub(super) fn is_restarted(&self, now: &Identity) -> bool {
        self.started_at.as_ref().is_some_and(|started| *started != now.started_at)
    }

    /// How it is a moment after it was found in `state`: who restarts a container ends it
    /// first, and that the kernel killed it may be known a moment later than its end.
    pub(super) async fn settled(&self, state: State) -> State {
        if !matches!(state, State::Ended(_)) {
            return state;
        }
        sleep(RESTART).await;
        match self.state().await {
            again @ (State::Running(_) | State::Ended(_)) => again,
            _ => state,
        }
    }

    /// Program and arguments that it was started with, as the daemon records them.
    pub(super) async fn words(&self) -> Vec<String> {
        let seen = self.inspect().await.ok();
        let words = seen.map(|seen| seen.path.into_iter().chain(seen.args.into_iter().flatten()));
        words.map(Iterator::collect).unwrap_or_default()
    }

    /// The port of the host that `port` of the container is published on; `None` where there
    /// is none, as of a container that was removed.
    ///
    /// # Errors
    /// The daemon does not say it.
    pub(super) async fn published(&self, port: u16) -> Result<Option<u16>, Error> {
        let seen = match self.inspect().await {
            Err(error) if status(&error) == Some(404) => return Ok(None),
            seen => seen?,
        };
        let ports = seen.network_settings.and_then(|it| it.ports).unwrap_or_default();
        let bindings = ports.get(&format!("{port}/tcp")).and_then(Option::as_ref);
        let mut bindings = bindings.into_iter().flatten();
        Ok(bindings.find_map(|binding| binding.host_port.as_ref()?.parse().ok()))
    }

    /// Resolves when it no longer runs as it should: ended, removed, paused, restarted by
    /// somebody, or not visible.
    pub(super) async fn not_running(&self) -> State {
        loop {
            let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
            let mut waiting = Box::pin(self.docker.wait_container(&self.id, Some(options)));
            // An event; the timeout only looks for what has no event here: a pause.
            let _event = timeout(PAUSE_CHECK_INTERVAL, waiting.next()).await;
            match self.state().await {
                State::Running(identity) if !self.is_restarted(&identity) => {}
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
        tokio::select! {
            biased;
            stopped = stop(&self.docker, &self.id, grace) => if let Err(error) = stopped {
                tracing::warn!(container = self.name, %error, "stopping");
            },
            // Killed at once: its log is still there then.
            () = self.haste.is_over() => {
                let _removed_next = stop(&self.docker, &self.id, 0).await;
            }
        }
        self.finish_log().await;
        if let Err(error) = remove(&self.docker, &self.id).await {
            self.left.change(|left| left.insert(self.id.clone(), self.name.clone()));
            return Err(unremoved(&self.docker, &self.name, &error));
        }
        self.removed = true;
        Ok(())
    }
}

#[cfg(test)]
impl Container {
    /// Nothing of it is to be removed.
    pub(super) fn forget(&mut self) {
        self.removed = true;
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

/// Stops a container by id with a grace in seconds; one that is stopped or gone already is, too.
pub(super) async fn stop(docker: &Daemon, id: &str, grace: i32) -> Result<(), Error> {
    let limit = Duration::from_secs(u64::try_from(grace).unwrap_or_default()) + STOP_MARGIN;
    let options = StopContainerOptionsBuilder::new().t(grace).build();
    match docker.asked(limit, || docker.stop_container(id, Some(options.clone()))).await {
        Err(error) if !matches!(status(&error), Some(304 | 404)) => Err(error),
        _ => Ok(()),
    }
}

/// Kills and removes a container by id, with its anonymous volumes, and waits until it is removed.
pub(super) async fn remove(docker: &Daemon, id: &str) -> Result<(), Error> {
    // From the daemon's first answer: until then it was only asked.
    let mut since = None;
    loop {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let remove = || docker.remove_container(id, Some(options.clone()));
        let asked = docker.asked(ACTION, remove).await;
        let inspect = || docker.inspect_container(id, None::<InspectContainerOptions>);
        match docker.ask(inspect).await {
            Err(error) if status(&error) == Some(404) => return Ok(()),
            // It was asked for long.
            Err(error) if may_pass(&error) => return Err(error),
            // Its removal is in flight, or its process does not end yet.
            seen => {
                if since.get_or_insert_with(Instant::now).elapsed() > REMOVAL_TIMEOUT {
                    return Err(asked.err().or(seen.err()).unwrap_or(Error::RequestTimeoutError));
                }
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}
