//! How a container is, as the daemon says. What that means for a launch is
//! decided elsewhere.

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;

use super::daemon::status;
use super::patience::Daemon;
use crate::engine::failure::Exit;

/// What the daemon says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running(Identity),
    /// Somebody paused it.
    Paused,
    Ended(Exit),
    /// No such container: somebody removed it.
    Removed,
    /// The daemon does not answer, and was asked for long.
    DaemonUnreachable(String),
}

/// What stays the same as long as nobody touches a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub started_at: String,
    pub restart_count: i64,
    pub image_id: String,
}

/// How the container of this id is now.
pub(super) async fn state(docker: &Daemon, id: &str) -> State {
    match docker.ask(|| docker.inspect_container(id, None::<InspectContainerOptions>)).await {
        Ok(seen) => state_of(&seen),
        Err(error) if status(&error) == Some(404) => State::Removed,
        Err(error) => State::DaemonUnreachable(docker.words(&error)),
    }
}

pub(super) fn state_of(seen: &ContainerInspectResponse) -> State {
    let Some(state) = &seen.state else { return State::Removed };
    if state.paused == Some(true) {
        return State::Paused;
    }
    if state.running == Some(true) {
        return State::Running(Identity {
            started_at: state.started_at.clone().unwrap_or_default(),
            restart_count: seen.restart_count.unwrap_or_default(),
            image_id: seen.image.clone().unwrap_or_default(),
        });
    }
    State::Ended(Exit {
        code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
        oom_killed: state.oom_killed == Some(true),
    })
}
