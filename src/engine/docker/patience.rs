//! The local daemon, asked with patience: a daemon that refuses, resets, answers 503
//! or is silent for a while (an upgrade, a restart) is asked again. Every call has a
//! time limit, and all of a process together give a daemon up that has not answered
//! for long. What a call means, and whether it may be repeated, is the caller's.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use tokio::time::{Instant, sleep, timeout};

use super::transport;
use crate::shortage;

/// Longest that a daemon which does not answer is asked again.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// Longest that the answer to a question may take: a container that is being started
/// or stopped delays it.
pub(super) const QUESTION: Duration = Duration::from_secs(30);
/// Longest that creating, starting or removing a container may take: GPU hooks are slow.
pub(super) const ACTION: Duration = Duration::from_mins(1);
/// Longest that a daemon which was silent may take to say that it is there again.
const PING: Duration = Duration::from_secs(5);
/// For how long a daemon that was given up is not asked again, by whatever call: so a
/// command waits for a daemon that stalls once, not at each of its questions.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// For how long a call is tried that fails for what this process itself is short of.
const SHORT: Duration = Duration::from_secs(3);
/// Where it was silent until the time was up.
const NO_ANSWER: &str = "no answer in time";
/// Pauses between attempts.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// That a daemon has not answered anybody in this process.
#[derive(Debug, Default)]
struct Silent {
    since: Option<Instant>,
    /// When it was given up last, and why.
    given_up: Option<(Instant, String)>,
}

type Silence = Arc<Mutex<Silent>>;

/// By socket: who finds a daemon silent need not find it out again by another connection.
static SILENCES: LazyLock<Mutex<HashMap<String, Silence>>> = LazyLock::new(Mutex::default);

/// A connection to the local daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Daemon {
    docker: Docker,
    host: Arc<str>,
    patience: Duration,
    silence: Silence,
}

impl Deref for Daemon {
    type Target = Docker;

    fn deref(&self) -> &Docker {
        &self.docker
    }
}

impl Daemon {
    /// Its socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The daemon at `host`, asked again for at most `patience`.
    pub(super) fn new(docker: Docker, host: &str, patience: Duration) -> Self {
        let mut silences = SILENCES.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = Arc::clone(silences.entry(host.to_owned()).or_default());
        Self { docker, host: host.into(), patience, silence }
    }

    /// How long it is asked again.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Asks a question until it is answered.
    ///
    /// # Errors
    /// The daemon's refusal, or its silence for longer than the patience with it.
    pub(in crate::engine) async fn ask<T, F>(&self, call: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.asked(QUESTION.min(self.patience), call).await
    }

    /// The same daemon, spoken to in a version of its API that it knows. It is asked once.
    pub(super) async fn negotiated(self) -> Result<Self, Error> {
        if let Some(error) = self.given_up() {
            return Err(error);
        }
        let limit = QUESTION.min(self.patience);
        let asked = timeout(limit, self.docker.clone().negotiate_version()).await;
        match asked {
            Ok(Ok(docker)) => {
                self.answered();
                Ok(Self { docker, ..self })
            }
            Ok(Err(error)) => Err(error),
            // Who asks next would wait as long.
            Err(_) => Err(self.give_up(Error::RequestTimeoutError)),
        }
    }

    /// Makes a call that may be repeated until it is answered, each attempt for at most `limit`.
    ///
    /// # Errors
    /// The daemon's refusal, or its silence for longer than the patience with it.
    pub(super) async fn asked<T, F>(
        &self,
        limit: Duration,
        mut call: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (begun, mut pause) = (Instant::now(), MIN_PAUSE);
        loop {
            let attempt = Instant::now();
            if let Some(error) = self.given_up() {
                return Err(error);
            }
            let answer = match self.is_there().await {
                Ok(()) => timeout(limit, call()).await.unwrap_or(Err(Error::RequestTimeoutError)),
                Err(error) => Err(error),
            };
            let Err(error) = answer else {
                self.answered();
                return answer;
            };
            if own_shortage(&error).is_some() {
                // Nobody was asked. Other work of this process may end and leave room.
                if begun.elapsed() + pause > SHORT.min(self.patience) {
                    return Err(error);
                }
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
                continue;
            }
            if !may_pass(&error) {
                self.answered();
                return Err(error);
            }
            if self.silent_since(attempt).elapsed() + pause > self.patience {
                return Err(self.give_up(error));
            }
            // By its own time, too: one call may fail for ever where others are answered.
            if begun.elapsed() + pause > self.patience {
                return Err(error);
            }
            tracing::debug!(%error, "the daemon is asked again");
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Where it was silent: whether it is there again, which is known sooner than by a call
    /// that may take its time.
    async fn is_there(&self) -> Result<(), Error> {
        if self.silence().since.is_none() {
            return Ok(());
        }
        let ping = timeout(PING.min(self.patience), self.docker.ping()).await;
        ping.unwrap_or(Err(Error::RequestTimeoutError)).map(|_| ())
    }

    fn answered(&self) {
        *self.silence() = Silent::default();
    }

    fn silent_since(&self, attempt: Instant) -> Instant {
        *self.silence().since.get_or_insert(attempt)
    }

    fn silence(&self) -> MutexGuard<'_, Silent> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is not asked now, where it was given up a moment ago.
    fn given_up(&self) -> Option<Error> {
        let silence = self.silence();
        let (_, why) = silence
            .given_up
            .as_ref()
            .filter(|(at, _)| at.elapsed() < GIVEN_UP.min(self.patience))?;
        if why == NO_ANSWER {
            return Some(Error::RequestTimeoutError);
        }
        let err = std::io::Error::new(std::io::ErrorKind::TimedOut, why.clone());
        Some(Error::IOError { err })
    }

    /// Notes that whoever asks next need not wait for it.
    fn give_up(&self, error: Error) -> Error {
        let why = match &error {
            Error::DockerResponseServerError { status_code, message } => {
                format!("HTTP {status_code}: {message}")
            }
            Error::RequestTimeoutError => NO_ANSWER.to_owned(),
            other => cause(other),
        };
        let now = Instant::now();
        let mut silence = self.silence();
        silence.since.get_or_insert(now);
        silence.given_up = Some((now, why));
        drop(silence);
        error
    }

    /// What went wrong, for a person: the daemon's own words, or that it does not answer.
    pub fn words(&self, error: &Error) -> String {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                let message = crate::clean::plain(message.trim()).into_owned();
                match (may_pass(error), message.is_empty()) {
                    (false, false) => message,
                    (false, true) => format!("the Docker daemon refuses (HTTP {status_code})"),
                    (true, _) => self.silent(&format!("HTTP {status_code}: {message}")),
                }
            }
            Error::RequestTimeoutError => self.silent(NO_ANSWER),
            other => match (own_shortage(other), nonsense(other)) {
                (Some(what), _) => not_asked(&self.host, &what),
                (None, Some(reason)) => foreign(&self.host, &reason),
                (None, None) => self.silent(&cause(other)),
            },
        }
    }

    /// The same as a whole sentence: it names the daemon.
    pub fn sentence(&self, error: &Error) -> String {
        let words = self.words(error);
        if words.contains(&*self.host) {
            return words;
        }
        format!("the Docker daemon at {}: {words}", self.host)
    }

    fn silent(&self, reason: &str) -> String {
        unanswered(&self.host, reason)
    }
}

/// That a daemon does not answer, and what to do.
pub(super) fn unanswered(host: &str, reason: &str) -> String {
    let reason = reason.trim_end_matches(&[' ', ':'][..]);
    format!(
        "the Docker daemon at {host} does not answer: {reason}; start Docker, or look at `docker info`"
    )
}

/// That nobody could be asked, for what this process itself is short of.
pub(super) fn not_asked(host: &str, what: &str) -> String {
    format!("the Docker daemon at {host} could not be asked: {what}")
}

/// What this process itself is short of, where a call failed for that: it says nothing of
/// the daemon.
pub(super) fn own_shortage(error: &Error) -> Option<String> {
    // Printed as what it holds: its sources begin below that.
    if let Error::IOError { err } = error {
        return shortage::of(err);
    }
    let mut cause = std::error::Error::source(error);
    while let Some(at) = cause {
        if let Some(what) = at.downcast_ref::<std::io::Error>().and_then(shortage::of) {
            return Some(what);
        }
        cause = at.source();
    }
    None
}

/// That what answers is no Docker daemon, and what to do.
pub(super) fn foreign(host: &str, reason: &str) -> String {
    format!(
        "the daemon at {host} does not answer as Docker does: {reason}; look at what listens there (`ss -xlp`), or name another socket by DOCKER_HOST"
    )
}

/// What is wrong with an answer that no Docker daemon gives, at whatever time it is asked.
pub(super) fn nonsense(error: &Error) -> Option<String> {
    let plain = |text: &str| crate::clean::plain(text).into_owned();
    match error {
        Error::JsonDataError { message, .. } => Some(plain(message)),
        Error::JsonSerdeError { err } if !err.is_eof() && !err.is_io() => {
            Some(plain(&err.to_string()))
        }
        Error::APIVersionParseError {} => Some("it names no version of its API".to_owned()),
        Error::HyperResponseError { err } if err.is_parse() => {
            Some(plain(&format!("this is not HTTP: {err}")))
        }
        other => transport::excess(other),
    }
}

/// The innermost cause: what the system said, without the HTTP library's words around it.
pub(super) fn cause(error: &Error) -> String {
    if matches!(error, Error::RequestTimeoutError) {
        return NO_ANSWER.to_owned();
    }
    let mut cause: &dyn std::error::Error = match error {
        // Printed by what it holds: its own sources begin below that.
        Error::HyperLegacyError { err } => err,
        other => other,
    };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if let Some(io) = cause.downcast_ref::<std::io::Error>()
        && io.raw_os_error().is_some()
    {
        return io.kind().to_string();
    }
    match error {
        Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } => {
            "it broke off the connection".to_owned()
        }
        _ => crate::clean::plain(&cause.to_string()).into_owned(),
    }
}

/// Whether the daemon is not there, whatever came in place of its answer.
fn is_silence(error: &Error) -> bool {
    match error {
        Error::DockerResponseServerError { status_code, .. } => {
            matches!(status_code, 502..=504)
        }
        Error::RequestTimeoutError
        | Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. }
        | Error::SocketNotFoundError(_) => true,
        // An answer that was cut short.
        Error::JsonSerdeError { err } => err.is_eof() || err.is_io(),
        _ => false,
    }
}

/// Whether the same call may succeed a moment later.
pub(super) fn may_pass(error: &Error) -> bool {
    match error {
        Error::DockerResponseServerError { status_code: 500, message } => !is_explained(message),
        other => nonsense(other).is_none() && own_shortage(other).is_none() && is_silence(other),
    }
}

/// Words of a daemon that cannot reach its own parts, whatever else the message says.
const OUTAGES: &[&str] = &[
    "connection refused",
    "connection reset",
    "deadline exceeded",
    "dial unix",
    "timed out",
    "timeout",
    "unavailable",
];

/// Words of an error of the request's own: a daemon uses 500 for what it cannot do, too.
const EXPLANATIONS: &[&str] = &[
    "already",
    "address",
    "cannot",
    "cgroup",
    "conflict",
    "denied",
    "device",
    "driver",
    "executable",
    "invalid",
    "manifest",
    "mount",
    "network",
    "no space left",
    "no such",
    "not found",
    "oci ",
    "permission",
    "runtime",
    "shim",
    "task",
    "unable",
    "unknown",
];

/// Whether a refusal with code 500 names what is wrong with what was asked for.
fn is_explained(message: &str) -> bool {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    has(EXPLANATIONS) && !has(OUTAGES)
}

#[cfg(test)]
#[path = "patience_tests.rs"]
mod tests;
