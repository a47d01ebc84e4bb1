//! How a container is, as the daemon says. What that means for a launch is
//! decided elsewhere.

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;

use jiff::{SignedDuration, Timestamp};

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

/// Restarts by its policy that a container may need until it stays up.
pub(super) const FEW: i64 = 2;
/// How long a server may take to fail: one that runs longer was not restarted in vain.
const STAYS: SignedDuration = SignedDuration::from_mins(10);

/// How often a container was restarted by its policy, where it does not stay up: between two
/// ends it looks like one that runs.
pub(super) fn restarts_again(seen: &ContainerInspectResponse, now: Timestamp) -> Option<i64> {
    let state = seen.state.as_ref()?;
    let count = seen.restart_count.unwrap_or_default();
    // The daemon says so while it waits until it starts it again.
    if state.restarting == Some(true) {
        return Some(count.max(1));
    }
    let started: Timestamp = state.started_at.as_ref()?.parse().ok()?;
    let is_young = now.duration_since(started) < STAYS;
    (state.running == Some(true) && count > FEW && is_young).then_some(count)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_that_restarts_again_and_again_does_not_run() {
        let now: Timestamp = "2026-11-28T05:20:00Z".parse().expect("a time");
        let seen = |running: bool, restarting: bool, count: i64, at: &str| {
            let seen = json!({
                "RestartCount": count,
                "State": {"Running": running, "Restarting": restarting,
                          "StartedAt": format!("2026-11-28T{at}Z")},
            });
            restarts_again(&serde_json::from_value(seen).expect("as the daemon says"), now)
        };
        assert_eq!(seen(true, true, 7, "05:19:59"), Some(7), "between two starts");
        assert_eq!(seen(true, false, 7, "05:19:59.5"), Some(7), "for the moment that it runs");
        assert_eq!(seen(true, false, 2, "05:19:59"), None, "it may stay up now");
        assert_eq!(seen(true, false, 7, "05:09:00"), None, "it stayed up");
        assert_eq!(seen(false, false, 7, "05:19:59"), None, "its policy gave it up: it ended");
    }
}
