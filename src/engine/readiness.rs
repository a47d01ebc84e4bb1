//! From a started process to a ready server. Readiness is an answered
//! completion, not an open port; before it, the end of the process, silence of
//! its log and a hard cap end the wait. What is waited for comes in as futures
//! and closures, so that containers, processes and tests share one loop; how a
//! process is started and what its log means is not known here.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::failure::{Exit, end_of_log};
pub use crate::event::BootPhase;
use crate::event::{Emit, Phase};
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::server::health::health_by;
use crate::server::http::Http;
use crate::server::{Endpoint, Health, ModelChoice, Server, ServerError, completion_proof};

impl BootPhase {
    /// The latest phase that `text`, a piece of log, shows.
    pub fn of(text: &str) -> Option<Self> {
        let contains_any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if contains_any(&[
            "Application startup complete",
            "Starting vLLM server on",
            "Starting vLLM API server",
        ]) {
            Some(Self::Serving)
        } else if contains_any(&[
            "Loading weights took",
            "Model loading took",
            "Warming up",
            "torch.compile",
            "Capturing CUDA graph",
            "KV cache size",
        ]) {
            Some(Self::Compiling)
        } else if contains_any(&[
            "Starting to load model",
            "Loading safetensors",
            "Loading model from",
        ]) {
            Some(Self::Loading)
        } else {
            None
        }
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest silence of the log while starting.
    pub starting: Duration,
    /// Longest silence of the log while loading weights (a download shows progress).
    pub loading: Duration,
    /// Longest silence of the log while compiling and capturing graphs.
    pub compiling: Duration,
    /// Longest silence of the log once the server says that it listens.
    pub serving: Duration,
    /// Longest wait in all.
    pub hard_cap: Duration,
    /// Longest wait for models, auth and the one-token completion once `/health` is 200.
    pub proof: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            starting: minutes(10),
            loading: minutes(15),
            compiling: minutes(30),
            serving: minutes(2),
            hard_cap: minutes(60),
            proof: minutes(3),
        }
    }
}

impl Limits {
    /// Longest silence of the log in a phase.
    pub(super) fn silence(&self, phase: BootPhase) -> Duration {
        match phase {
            BootPhase::Starting => self.starting,
            BootPhase::Loading => self.loading,
            BootPhase::Compiling => self.compiling,
            BootPhase::Serving => self.serving,
        }
    }
}

/// The endpoint that is to become a server.
#[async_trait]
pub trait Candidate: Send + Sync {
    /// Status code of `/health`; `None` where nothing answered. Bodies don't count.
    async fn health(&self) -> Option<u16>;

    /// Asks for models with the key and for a one-token completion; the error
    /// says which of them went wrong.
    async fn prove(&self) -> Result<Server, String>;

    /// What this process itself lacked when it asked, if it ever did.
    fn shortage(&self) -> Option<String> {
        None
    }

    /// Whether it refused the key, or requests without one: asked again, it refuses again.
    fn is_key_refused(&self) -> bool {
        false
    }

    /// The names under which the model is to be offered: without one of them it is another
    /// server. None given: nothing is known.
    fn expect_one_of(&mut self, _names: Vec<String>) {}
}

/// Makes the [`Candidate`] that asks an endpoint: [`over_http`], or a test's.
pub type Connect = Arc<dyn Fn(Endpoint) -> Box<dyn Candidate> + Send + Sync>;

/// Asks over HTTP.
pub fn over_http() -> Connect {
    Arc::new(|endpoint| {
        // One client for all polls: connections are kept.
        let http = Http::new(&endpoint).ok();
        Box::new(HttpCandidate {
            endpoint,
            http,
            names: Vec::new(),
            shortage: OnceLock::new(),
            key_refused: AtomicBool::new(false),
        })
    })
}

struct HttpCandidate {
    endpoint: Endpoint,
    http: Option<Http>,
    names: Vec<String>,
    shortage: OnceLock<String>,
    key_refused: AtomicBool,
}

impl HttpCandidate {
    /// The error as text; a lack of ours is kept, and whether the key was refused.
    fn said(&self, error: &ServerError) -> String {
        if let ServerError::Shortage { reason, .. } = error {
            // The first is the one to report.
            let _ = self.shortage.set(reason.clone());
        }
        let is_refused = matches!(error, ServerError::Unauthorized { .. });
        self.key_refused.store(is_refused, Ordering::SeqCst);
        error.to_string()
    }
}

#[async_trait]
impl Candidate for HttpCandidate {
    async fn health(&self) -> Option<u16> {
        match health_by(self.http.as_ref()?).await {
            Health::Up => Some(200),
            Health::NotYet(status) => Some(status),
            Health::Unreachable => None,
        }
    }

    async fn prove(&self) -> Result<Server, String> {
        let server = Server::open_one_of(self.endpoint.clone(), &self.names)
            .await
            .map_err(|error| self.said(&error))?;
        // The caller bounds the whole proof; this limit only has to be longer.
        completion_proof(&server, Duration::from_hours(1))
            .await
            .map_err(|error| self.said(&error))?;
        Ok(server)
    }

    fn shortage(&self) -> Option<String> {
        let asked = self.http.as_ref().and_then(Http::shortage);
        self.shortage.get().map(String::as_str).or(asked).map(str::to_owned)
    }

    fn is_key_refused(&self) -> bool {
        self.key_refused.load(Ordering::SeqCst)
    }

    fn expect_one_of(&mut self, names: Vec<String>) {
        self.names = names;
    }
}

/// Why there is no ready server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The process ended.
    Ended(Exit),
    /// The log fell silent for longer than its phase allows.
    Silent {
        /// The phase.
        phase: BootPhase,
        /// How long it was allowed to be.
        allowed: Duration,
    },
    /// The hard cap was reached.
    TooLong {
        /// The phase.
        phase: BootPhase,
        /// The cap.
        cap: Duration,
    },
    /// `/health` is 200, but the server does not serve.
    NotServing(String),
    /// This process itself lacked something, and could not ask.
    Shortage(String),
    /// A stop was asked for.
    Cancelled,
}

impl LaunchFailure {
    /// The failure of an engine that did not become ready.
    pub fn of_not_ready(log: &str, not_ready: &NotReady) -> Self {
        let (class, message) = match not_ready {
            NotReady::Ended(exit) => return Self::of_exit(log, *exit, false),
            NotReady::Silent { phase, allowed } => (
                FailureClass::Timeout,
                format!("the log was silent for {} s while {}", allowed.as_secs(), phase.as_str()),
            ),
            NotReady::TooLong { phase, cap } => (
                FailureClass::Timeout,
                format!("not ready after {} s, still {}", cap.as_secs(), phase.as_str()),
            ),
            NotReady::NotServing(message) => (FailureClass::NotServing, message.clone()),
            NotReady::Shortage(what) => return Self::of_shortage(what),
            NotReady::Cancelled => {
                let message = "cancelled because a stop was requested";
                let failure = Self::new(FailureClass::Unknown, message);
                return Self { cancelled: true, ..failure };
            }
        };
        Self { log_lines: end_of_log(log), ..Self::new(class, message) }
    }
}

/// Pauses grow with the wait, so that readiness is found at most 5 % late.
const PAUSE_SHARE: u32 = 20;
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits until `candidate` answers a completion.
///
/// `ended` resolves when the process has ended; `new_log` gives what the log
/// has gained since it was asked last.
pub async fn wait_until_ready(
    mut ended: Pin<&mut (dyn Future<Output = Exit> + Send)>,
    new_log: &mut (dyn FnMut() -> String + Send),
    candidate: &dyn Candidate,
    limits: &Limits,
    emit: &Emit,
    cancel: &CancellationToken,
) -> Result<Server, NotReady> {
    let started = Instant::now();
    let mut boot = Boot { phase: BootPhase::Starting, last_output: started };
    emit.phase(Phase::Booting(boot.phase));
    loop {
        boot.read_log(&new_log(), emit);
        let now = Instant::now();
        let allowed = limits.silence(boot.phase);
        if now.duration_since(started) >= limits.hard_cap {
            return Err(NotReady::TooLong { phase: boot.phase, cap: limits.hard_cap });
        }
        if now.duration_since(boot.last_output) >= allowed {
            return Err(NotReady::Silent { phase: boot.phase, allowed });
        }
        let healthy = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(NotReady::Cancelled),
            exit = &mut ended => return Err(NotReady::Ended(exit)),
            status = timeout(HEALTH_TIMEOUT, candidate.health()) => status.ok().flatten() == Some(200),
        };
        if let Some(what) = candidate.shortage() {
            return Err(NotReady::Shortage(what));
        }
        if healthy {
            boot.enter(BootPhase::Serving, emit);
            return tokio::select! {
                biased;
                () = cancel.cancelled() => Err(NotReady::Cancelled),
                exit = &mut ended => Err(NotReady::Ended(exit)),
                proof = timeout(limits.proof, candidate.prove()) => match proof {
                    Ok(Ok(server)) => {
                        if let (ModelChoice::FirstOf(_), Some(note)) =
                            (&server.choice, server.choice.note(&server.model))
                        {
                            emit.warn(note);
                        }
                        Ok(server)
                    }
                    Ok(Err(message)) => Err(match candidate.shortage() {
                        Some(what) => NotReady::Shortage(what),
                        None => NotReady::NotServing(message),
                    }),
                    Err(_) => Err(NotReady::NotServing(format!(
                        "/health is 200, but no completion was answered in {} s: the engine is frozen",
                        limits.proof.as_secs()
                    ))),
                },
            };
        }
        let pause = (started.elapsed() / PAUSE_SHARE).clamp(MIN_PAUSE, MAX_PAUSE);
        let next = (now + pause).min(started + limits.hard_cap).min(boot.last_output + allowed);
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(NotReady::Cancelled),
            exit = &mut ended => return Err(NotReady::Ended(exit)),
            () = sleep_until(next) => {}
        }
    }
}

struct Boot {
    phase: BootPhase,
    last_output: Instant,
}

impl Boot {
    fn read_log(&mut self, text: &str, emit: &Emit) {
        // The server logs our own polls: they are no sign of life.
        let has_output =
            text.lines().any(|line| !line.trim().is_empty() && !line.contains("\"GET /health"));
        if has_output {
            self.last_output = Instant::now();
        }
        if let Some(phase) = BootPhase::of(text) {
            self.enter(phase, emit);
        }
    }

    fn enter(&mut self, phase: BootPhase, emit: &Emit) {
        if phase > self.phase {
            self.phase = phase;
            emit.phase(Phase::Booting(phase));
        }
    }
}

#[cfg(test)]
mod tests;
