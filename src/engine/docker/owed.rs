//! Production as a debt has it: what is noted of it before it is stopped, so that it can
//! be found and started again without the grid, the run's folder, or this environment's
//! daemon.

use std::path::Path;
use std::time::Duration;

use bollard::query_parameters::InspectContainerOptions;
use jiff::Timestamp;
use tokio::time::timeout;

use super::block::key_named;
use super::daemon::{
    DEFAULT_SOCKET, DaemonError, DaemonSettings, STARTING, connect_within, status,
};
use super::production::DockerProduction;
use super::state::restarts_again;
use super::{DockerError, source_of};
use crate::engine::EngineError;
use crate::engine::compose::ComposeSource;
use crate::engine::readiness::over_http;
use crate::grid::{DockerBlock, ProductionName};
use crate::history::production::{Companion, Now};
use crate::ownership::claim::real_socket;
use crate::ownership::debt::ProductionOwed;

/// A connection to a daemon.
pub type Connection = super::Daemon;

/// The daemon's socket that this environment names.
///
/// # Errors
/// A daemon elsewhere, or a context that cannot be read.
pub fn socket() -> Result<String, DaemonError> {
    DaemonSettings::of_environment().socket()
}

/// Whether a daemon is to be there: something names this socket, or it exists.
pub fn is_expected(socket: &str) -> bool {
    let is_named = DaemonSettings::of_environment().docker_host.is_some();
    let exists = socket.strip_prefix("unix://").is_some_and(|path| Path::new(path).exists());
    expects(is_named, socket, exists)
}

fn expects(is_named: bool, socket: &str, exists: bool) -> bool {
    is_named || exists || socket != DEFAULT_SOCKET
}

/// Connects to the daemon on a socket.
///
/// # Errors
/// It does not answer.
pub async fn connect_to(socket: &str) -> Result<Connection, DaemonError> {
    connect_in(socket, Duration::ZERO).await
}

/// The same where the daemon may be about to start: it is asked again for half a minute.
///
/// # Errors
/// It does not answer.
pub async fn connect_to_starting(socket: &str) -> Result<Connection, DaemonError> {
    // Who sets a shorter patience with daemons means this, too.
    let patience = DaemonSettings::of_environment().patience.unwrap_or(STARTING);
    connect_in(socket, STARTING.min(patience)).await
}

async fn connect_in(socket: &str, limit: Duration) -> Result<Connection, DaemonError> {
    let settings =
        DaemonSettings { docker_host: Some(socket.to_owned()), ..DaemonSettings::of_environment() };
    connect_within(&settings, limit).await
}

/// What is known of the production that the block names, before its container is looked
/// at; `None` where it names none.
///
/// # Errors
/// No daemon can be named, or no compose file is found.
pub async fn of_block(block: &DockerBlock) -> Result<Option<ProductionOwed>, EngineError> {
    let Some(name) = &block.production else { return Ok(None) };
    let service = match name {
        ProductionName::Service(service) => Some(service.clone()),
        ProductionName::Container(_) => None,
    };
    let located = source_of(block, service.as_deref()).await?;
    let source = located.map(|it| it.source.absolute()).unwrap_or_default();
    Ok(Some(ProductionOwed {
        docker: socket().map_err(DockerError::from)?,
        key_variable: block.api_key_env.clone(),
        compose: source.files,
        env_files: source.env_files,
        project_directory: source.project_directory,
        profiles: block.profiles.clone(),
        service,
        ..ProductionOwed::default()
    }))
}

/// The production that is owed, on its daemon. A key that is not set is no error: it is
/// started without one.
///
/// # Errors
/// The daemon does not answer.
pub async fn production(owed: &ProductionOwed) -> Result<DockerProduction, DaemonError> {
    let docker = connect_to(&owed.docker).await?;
    let source =
        owed.service.clone().filter(|_| !owed.compose.is_empty()).map(|service| ComposeSource {
            files: owed.compose.clone(),
            env_files: owed.env_files.clone(),
            project_directory: owed.project_directory.clone(),
            profiles: owed.profiles.clone(),
            service,
            ..ComposeSource::default()
        });
    let key = key_named(owed.key_variable.as_deref(), source.as_ref()).ok().flatten();
    let missing = owed.key_variable.clone().filter(|_| key.is_none());
    let name = match &source {
        // Made again, it is found as the compose tool marks it.
        Some(source) => ProductionName::Service(source.service.clone()),
        None => ProductionName::Container(owed.name.clone()),
    };
    let production = DockerProduction::new(docker, name, source, key, over_http());
    Ok(production.with_missing_key(missing))
}

/// Whether the container of an owed production runs, and stays so, by its id, else by its name; `None`
/// where there is no such container.
///
/// # Errors
/// The daemon's, as a sentence that names it.
pub async fn runs(docker: &Connection, owed: &ProductionOwed) -> Result<Option<bool>, String> {
    for name in [&owed.id, &owed.name] {
        if name.is_empty() {
            continue;
        }
        let seen = docker.ask(|| docker.inspect_container(name, None::<InspectContainerOptions>));
        match seen.await {
            Ok(seen) => {
                let stays = restarts_again(&seen, Timestamp::now()).is_none();
                let runs = seen.state.and_then(|state| state.running) == Some(true);
                return Ok(Some(runs && stays));
            }
            Err(error) if status(&error) == Some(404) => {}
            Err(error) => return Err(docker.sentence(&error)),
        }
    }
    Ok(None)
}

/// How an owed production is now, as this daemon tells.
pub async fn now(docker: &Connection, owed: &ProductionOwed) -> Now {
    match runs(docker, owed).await {
        Ok(Some(true)) => Now::Runs,
        Ok(Some(false)) => Now::Stopped,
        Ok(None) => Now::Missing,
        Err(why) => Now::Unknown(why),
    }
}

/// What was stopped with an owed production and is there, and is not known to run.
pub async fn companions_down(docker: &Connection, owed: &ProductionOwed) -> Vec<Companion> {
    let mut down = Vec::new();
    for (id, name) in &owed.paused {
        let by_id = ProductionOwed { id: id.clone(), ..ProductionOwed::default() };
        // One that somebody removed is not made again.
        if !matches!(runs(docker, &by_id).await, Ok(Some(true) | None)) {
            down.push(Companion { id: id.clone(), name: name.clone() });
        }
    }
    down
}

/// How an owed production is now, asked for no longer than `limit`: for a message.
pub async fn now_within(owed: &ProductionOwed, limit: Duration) -> Now {
    let asked = async {
        match connect_to(&owed.docker).await {
            Ok(docker) => now(&docker, owed).await,
            Err(error) => Now::Unknown(error.to_string()),
        }
    };
    let silent = || {
        let socket = &owed.docker;
        format!("the Docker daemon at {socket} gives no answer within {} s", limit.as_secs())
    };
    timeout(limit, asked).await.unwrap_or_else(|_| Now::Unknown(silent()))
}

/// Whether two sockets are one daemon's.
pub fn is_same_socket(one: &str, other: &str) -> bool {
    one == other || real_socket(one) == real_socket(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::docker::cleanup;
    use crate::engine::docker::scripted::{Fate, Scripted};

    #[test]
    fn a_daemon_is_expected_where_something_names_it_or_its_socket_is_there() {
        assert!(!expects(false, DEFAULT_SOCKET, false), "Docker is not installed");
        assert!(expects(false, DEFAULT_SOCKET, true));
        assert!(expects(true, DEFAULT_SOCKET, false));
        assert!(expects(false, "unix:///home/u/.docker/desktop/docker.sock", false), "a context");
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_in_the_daemon_s_words_and_name_it() {
        for (fate, part) in [
            (Fate::Reset, " does not answer: "),
            (Fate::Refused(503, "busy"), " does not answer: HTTP 503: busy"),
            (Fate::Refused(403, "not for you"), ": not for you"),
        ] {
            let scripted = Scripted::new(false, move |_, _| fate);
            let owed = ProductionOwed { id: "a".to_owned(), ..ProductionOwed::default() };
            let errors = [
                runs(&scripted.daemon, &owed).await.expect_err("no answer"),
                cleanup::ours(&scripted.daemon).await.expect_err("no answer"),
            ];
            for text in errors {
                assert_eq!(text.matches("the Docker daemon at unix://").count(), 1, "{text}");
                assert!(text.contains(part), "{text}");
            }
        }
    }
}
