//! The local Docker daemon: which socket the `docker` command would use, and
//! the connection to it. A daemon elsewhere is refused: the ports that it
//! publishes on loopback are not ours.

use std::path::PathBuf;
use std::time::Duration;

use super::patience::{self, Daemon};
use super::transport;
use crate::configuration::hexadecimal;
use bollard::Docker;
use bollard::errors::Error;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Longest that the daemon may take for one answer, in seconds, where the call has no
/// limit of its own: stopping a container takes up to its grace of 60.
const TIMEOUT: u64 = 150;
/// Names the seconds for which a daemon that does not answer is asked again.
const PATIENCE_VARIABLE: &str = "VLLM_GRID_DAEMON_PATIENCE";

/// Where a daemon is that nothing names.
pub(super) const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// How long a daemon may take until it answers for the first time, as after a boot.
pub(super) const STARTING: Duration = Duration::from_secs(30);

/// Why the daemon cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DaemonError {
    /// The daemon is on another host, or reached as if it were.
    #[error(
        "the Docker daemon at {host} is not used: candidates publish their ports on its loopback, \
         which is not this machine's; run vllm-grid on that machine, or unset {from}"
    )]
    Remote {
        /// Where it is.
        host: String,
        /// What named it.
        from: String,
    },
    /// A context that cannot be read.
    #[error("the Docker context `{name}` cannot be read: {reason}")]
    Context {
        /// Its name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Something answers that is no Docker daemon.
    #[error("{}", patience::foreign(.host, .reason))]
    Foreign {
        /// Its socket.
        host: String,
        /// What is wrong with its answer.
        reason: String,
    },
    /// Nobody answers.
    #[error("{}", patience::unanswered(.host, .reason))]
    Unreachable {
        /// Its socket.
        host: String,
        /// What the system said.
        reason: String,
        /// Whether it took the question, and was silent until the time was up.
        silent: bool,
    },
    /// It could not be asked, for what this process itself is short of.
    #[error("{}", patience::not_asked(.host, .what))]
    Short {
        /// Its socket.
        host: String,
        /// What is short, and how to have more.
        what: String,
    },
}

impl DaemonError {
    /// Why a daemon that may be there gave no answer; `None` where there is none to ask.
    pub fn unanswered(&self, limit: Duration) -> Option<String> {
        match self {
            Self::Unreachable { silent: true, .. } => Some(late(limit)),
            Self::Short { .. } => Some(self.to_string()),
            _ => None,
        }
    }
}

/// That it was waited for in vain.
pub fn late(limit: Duration) -> String {
    format!("the Docker daemon did not answer within {} s", limit.as_secs_f64())
}

/// What a call that may wait for `limit` itself may take in all: the call must end by its own
/// limit, which notes for whoever asks next that the daemon is silent.
pub fn in_all(limit: Duration) -> Duration {
    limit + limit / 4
}

/// What the choice of a daemon depends on.
#[derive(Clone, Debug, Default)]
pub struct DaemonSettings {
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// The folder of the client's configuration: `DOCKER_CONFIG`, else `~/.docker`.
    pub config: Option<PathBuf>,
    /// For how long a daemon that does not answer is asked again; `None` is two minutes.
    pub patience: Option<Duration>,
}

impl DaemonSettings {
    /// Those of this process's environment.
    pub fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let config = variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".docker")));
        Self {
            docker_host: variable("DOCKER_HOST"),
            docker_context: variable("DOCKER_CONTEXT"),
            config,
            patience: variable(PATIENCE_VARIABLE)
                .and_then(|seconds| seconds.parse().ok())
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }

    /// The same for who waits for `limit` at most, whether for an answer or for a daemon that
    /// is silent; who asks next then knows that it was.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        let patience = self.patience.map_or(limit, |patience| patience.min(limit));
        Self { patience: Some(patience), ..self }
    }

    /// The socket that the `docker` command would use, as `unix://PATH`:
    /// `DOCKER_HOST`, else the context, else the default.
    pub fn socket(&self) -> Result<String, DaemonError> {
        if let Some(host) = &self.docker_host {
            return local(host, "DOCKER_HOST");
        }
        let (name, from) = match &self.docker_context {
            Some(name) => (Some(name.clone()), "DOCKER_CONTEXT"),
            None => (self.current_context(), "the current context (`docker context use default`)"),
        };
        match name.filter(|name| name != "default") {
            Some(name) => local(&self.context_host(&name)?, from),
            None => Ok(DEFAULT_SOCKET.to_owned()),
        }
    }

    fn current_context(&self) -> Option<String> {
        let text = crate::input::text(&self.config.as_ref()?.join("config.json")).ok()?;
        let config: Value = serde_json::from_str(&text).ok()?;
        config["currentContext"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    }

    fn context_host(&self, name: &str) -> Result<String, DaemonError> {
        let unusable = |reason: String| DaemonError::Context { name: name.to_owned(), reason };
        let config =
            self.config.as_ref().ok_or_else(|| unusable("there is no home folder".to_owned()))?;
        // The client names a context's folder by the hash of its name.
        let folder = hexadecimal(&Sha256::digest(name.as_bytes()));
        let path = config.join("contexts/meta").join(folder).join("meta.json");
        let text = crate::input::text(&path)
            .map_err(|error| unusable(format!("{}: {error}", path.display())))?;
        let meta: Value =
            serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        let host = meta["Endpoints"]["docker"]["Host"].as_str();
        host.map(str::to_owned).ok_or_else(|| unusable("it names no Docker endpoint".to_owned()))
    }
}

fn local(host: &str, from: &str) -> Result<String, DaemonError> {
    if host.starts_with("unix://") {
        Ok(host.to_owned())
    } else {
        Err(DaemonError::Remote { host: host.to_owned(), from: from.to_owned() })
    }
}

/// Connects to the local daemon and agrees on an API version with it.
///
/// # Errors
/// A daemon elsewhere, a context that cannot be read, or nobody who answers now.
pub async fn connect(settings: &DaemonSettings) -> Result<Daemon, DaemonError> {
    let host = settings.socket()?;
    let unusable = |error: Error| {
        let host = host.clone();
        if let Some(what) = patience::own_shortage(&error) {
            return DaemonError::Short { host, what };
        }
        if let Some(reason) = patience::nonsense(&error) {
            return DaemonError::Foreign { host, reason };
        }
        let silent = matches!(error, Error::RequestTimeoutError);
        DaemonError::Unreachable { host, reason: patience::cause(&error), silent }
    };
    let docker = transport::open(&host, TIMEOUT).map_err(unusable)?;
    let daemon = Daemon::new(docker, &host, settings.patience.unwrap_or(patience::PATIENCE));
    daemon.negotiated().await.map_err(unusable)
}

/// The same where the daemon may be about to start, as after a boot: asked again for `limit`.
///
/// # Errors
/// As [`connect`].
pub async fn connect_within(
    settings: &DaemonSettings,
    limit: Duration,
) -> Result<Daemon, DaemonError> {
    let limit = limit.min(settings.patience.unwrap_or(patience::PATIENCE));
    let begun = tokio::time::Instant::now();
    loop {
        match connect(settings).await {
            Err(DaemonError::Unreachable { .. }) if begun.elapsed() < limit => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            done => return done,
        }
    }
}

/// Longest that the daemon may take to say what it is.
const INFORMATION: Duration = Duration::from_secs(10);

/// The daemon with its version and the system that it runs on, as
/// `Docker 26.1.3 (Docker Desktop)`; `None` where it does not answer.
pub(super) async fn runtime(docker: &Docker) -> Option<String> {
    let information = tokio::time::timeout(INFORMATION, docker.info()).await.ok()?.ok()?;
    let version = information.server_version?;
    let system = information.operating_system.map(|it| format!(" ({it})")).unwrap_or_default();
    Some(format!("Docker {version}{system}"))
}

/// The HTTP status of the daemon's answer, where it answered.
pub(in crate::engine) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str, host: &str) -> (tempfile::TempDir, DaemonSettings) {
        let folder = tempfile::tempdir().expect("a folder");
        let hash = hexadecimal(&Sha256::digest(name.as_bytes()));
        let meta = folder.path().join("contexts/meta").join(hash);
        std::fs::create_dir_all(&meta).expect("made");
        let text =
            format!(r#"{{"Name": "{name}", "Endpoints": {{"docker": {{"Host": "{host}"}}}}}}"#);
        std::fs::write(meta.join("meta.json"), text).expect("written");
        let config = format!(r#"{{"currentContext": "{name}"}}"#);
        std::fs::write(folder.path().join("config.json"), config).expect("written");
        let settings =
            DaemonSettings { config: Some(folder.path().to_owned()), ..DaemonSettings::default() };
        (folder, settings)
    }

    #[test]
    fn the_socket_is_the_one_that_the_docker_command_uses() {
        let none = DaemonSettings::default();
        assert_eq!(none.socket().as_deref(), Ok("unix:///var/run/docker.sock"));
        let (_folder, mut settings) =
            context("desktop-linux", "unix:///home/u/.docker/desktop/docker.sock");
        assert_eq!(settings.socket().as_deref(), Ok("unix:///home/u/.docker/desktop/docker.sock"));
        settings.docker_context = Some("default".to_owned());
        assert_eq!(settings.socket().as_deref(), Ok("unix:///var/run/docker.sock"));
        settings.docker_host = Some("unix:///run/user/1/docker.sock".to_owned());
        assert_eq!(settings.socket().as_deref(), Ok("unix:///run/user/1/docker.sock"));
        let missing = DaemonSettings {
            docker_context: Some("missing".to_owned()),
            docker_host: None,
            ..settings
        };
        assert!(matches!(missing.socket(), Err(DaemonError::Context { .. })));
    }

    #[test]
    fn a_daemon_elsewhere_is_refused_and_explained() {
        let remote = DaemonSettings {
            docker_host: Some("tcp://10.0.0.4:2375".to_owned()),
            ..DaemonSettings::default()
        };
        let text = remote.socket().expect_err("remote").to_string();
        assert!(
            text.contains("tcp://10.0.0.4:2375")
                && text.contains("loopback")
                && text.contains("DOCKER_HOST"),
            "{text}"
        );
        let (_folder, settings) = context("lab", "ssh://me@lab");
        assert!(matches!(settings.socket(), Err(DaemonError::Remote { .. })));
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_named() {
        let host = Some("unix:///no/such/docker.sock".to_owned());
        let missing = DaemonSettings { docker_host: host, ..DaemonSettings::default() };
        let error = connect(&missing).await.expect_err("nobody is there");
        assert!(error.to_string().contains("/no/such/docker.sock"), "{error}");
    }
}
