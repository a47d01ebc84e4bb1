//! The proof of production: it answers a completion, asked for as long as its container is
//! there to be asked. What it refuses meanwhile may be granted later, as to the first of many
//! clients; a key that it refuses, and an end, are final.

use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::state::{FEW, State, state_of};
use super::DockerProduction;
use super::address::{address, own_key};
use crate::engine::failure::Exit;
use crate::engine::production::ProductionError;
use crate::engine::readiness::{Limits, NotReady, wait_until_ready};
use crate::event::Emit;
use crate::server::Endpoint;

/// Pause before a daemon that does not answer is asked for production's address again.
const DAEMON_PAUSE: Duration = Duration::from_secs(1);
/// Pause before what refused a completion is asked for another one.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// Why a proof cannot come to an end.
enum Unprovable {
    Ended(Exit),
    Removed,
    /// Its policy starts it again each time that it ends, so often by now.
    Restarts(i64),
    /// It was started again, and has another address now.
    Moved,
}

impl Unprovable {
    /// As words; none where another address is to be asked.
    fn why(self) -> Option<String> {
        Some(match self {
            Self::Moved => return None,
            Self::Removed => "it was removed".to_owned(),
            Self::Restarts(times) => format!("it restarts again and again ({times} times)"),
            Self::Ended(exit) => match exit.code {
                Some(code) => format!("it ended with code {code}"),
                None => "it ended with an unknown code".to_owned(),
            },
        })
    }
}

impl DockerProduction {
    /// It as it is, asked until `until` where the daemon does not answer.
    async fn seen_by(
        &self,
        id: &str,
        until: Instant,
    ) -> Result<Option<ContainerInspectResponse>, ProductionError> {
        loop {
            match self.inspect(id).await {
                Err(_) if Instant::now() < until => sleep(DAEMON_PAUSE).await,
                seen => return seen,
            }
        }
    }

    /// Resolves when what is being proven is no longer there to be proven.
    async fn unprovable(&self, id: &str, base_url: &str, restarted: i64) -> Unprovable {
        loop {
            sleep(Duration::from_millis(500)).await;
            match self.inspect(id).await {
                Ok(Some(seen)) => {
                    let restarts = seen.restart_count.unwrap_or_default();
                    if restarts - restarted > FEW {
                        return Unprovable::Restarts(restarts);
                    }
                    if let State::Ended(exit) = state_of(&seen) {
                        return Unprovable::Ended(exit);
                    }
                    if address(&seen).is_some_and(|address| address != base_url) {
                        return Unprovable::Moved;
                    }
                }
                Ok(None) => return Unprovable::Removed,
                // That the daemon does not answer says nothing about production.
                Err(_) => {}
            }
        }
    }

    pub(super) async fn proven(&self, id: &str, limit: Duration) -> Result<(), String> {
        let until = Instant::now() + limit;
        // What it was restarted before this proof says nothing.
        let mut restarted = None;
        loop {
            let seen = self.seen_by(id, until).await.map_err(|error| error.to_string())?;
            let seen = seen.ok_or("it was removed")?;
            let restarted = *restarted.get_or_insert(seen.restart_count.unwrap_or_default());
            let base_url = address(&seen).ok_or("it has no address to ask")?;
            let api_key = self.api_key.clone().or_else(|| own_key(&seen));
            if let (None, Some(variable)) = (&api_key, &self.missing_key) {
                return Err(format!("{variable} is not set"));
            }
            let endpoint = Endpoint::new(base_url.clone(), api_key);
            let mut gone = Box::pin(self.unprovable(id, &base_url, restarted));
            let why = tokio::select! {
                biased;
                answered = self.answers(endpoint, until) => match answered {
                    Ok(()) => return Ok(()),
                    Err(NotAnswered::Refused(why)) => {
                        if until.saturating_duration_since(Instant::now()) <= REFUSED_PAUSE {
                            return Err(why);
                        }
                        match timeout(REFUSED_PAUSE, gone.as_mut()).await {
                            Ok(gone) => gone.why(),
                            Err(_) => None,
                        }
                    }
                    Err(NotAnswered::Final(why)) => Some(why),
                    Err(NotAnswered::Late) => {
                        Some(format!("no completion within {} s", limit.as_secs()))
                    }
                },
                gone = &mut gone => gone.why(),
            };
            if let Some(why) = why {
                return Err(why);
            }
        }
    }

    /// Waits until the endpoint answers a completion.
    async fn answers(&self, endpoint: Endpoint, until: Instant) -> Result<(), NotAnswered> {
        let candidate = (self.connect)(endpoint);
        let left = until.saturating_duration_since(Instant::now());
        let limits = Limits { hard_cap: left, starting: left, proof: left, ..Limits::default() };
        // Who calls sees the end; its log is not ours to keep: time alone ends the wait.
        let (mut ended, mut no_log) = (Box::pin(std::future::pending::<Exit>()), String::new);
        let (emit, never) = (Emit::nowhere(), CancellationToken::new());
        let (ended, candidate) = (ended.as_mut(), &*candidate);
        let ready = wait_until_ready(ended, &mut no_log, candidate, &limits, &emit, &never);
        match timeout(left, ready).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(NotReady::NotServing(why))) if candidate.is_key_refused() => {
                Err(NotAnswered::Final(why))
            }
            Ok(Err(NotReady::NotServing(why))) => Err(NotAnswered::Refused(why)),
            Ok(Err(NotReady::Shortage(what))) => {
                Err(NotAnswered::Final(format!("it cannot be asked: {what}")))
            }
            _ => Err(NotAnswered::Late),
        }
    }
}

/// Why there is no completion.
enum NotAnswered {
    /// As it answered just now.
    Refused(String),
    /// Another question gets no other answer.
    Final(String),
    Late,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::super::super::scripted::{Fate, Scripted};
    use crate::engine::production::Production as _;
    use crate::engine::readiness::{Candidate, Connect};
    use crate::server::{ModelChoice, Server};

    use super::*;

    /// What a server does that is healthy at once.
    #[derive(Clone, Default)]
    struct Busy {
        /// So many completions are refused, or the key.
        refuses: u32,
        refuses_key: bool,
        /// Seconds that a completion takes.
        takes: u64,
        lacks: Option<&'static str>,
        asked: Arc<AtomicU32>,
    }

    impl Busy {
        fn connect(&self) -> Connect {
            let server = self.clone();
            Arc::new(move |_| Box::new(server.clone()))
        }
    }

    #[async_trait]
    impl Candidate for Busy {
        async fn health(&self) -> Option<u16> {
            Some(200)
        }

        async fn prove(&self) -> Result<Server, String> {
            sleep(Duration::from_secs(self.takes)).await;
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            if self.refuses_key || asked < self.refuses {
                return Err("HTTP 429: too many requests".to_owned());
            }
            Ok(Server {
                endpoint: Endpoint::new("http://none".to_owned(), None),
                model: "m".to_owned(),
                max_model_len: None,
                choice: ModelChoice::Clear,
                version: None,
                simulated: true,
            })
        }

        fn shortage(&self) -> Option<String> {
            self.lacks.map(str::to_owned)
        }

        fn is_key_refused(&self) -> bool {
            self.refuses_key
        }
    }

    #[tokio::test(start_paused = true)]
    async fn production_whose_clients_come_first_is_asked_until_it_answers() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for (server, expected, within) in [
            (Busy { refuses: 12, ..Busy::default() }, Ok(()), minutes(2)),
            (Busy { takes: 20 * 60, ..Busy::default() }, Ok(()), minutes(21)),
            (
                Busy { refuses: u32::MAX, ..Busy::default() },
                Err("HTTP 429: too many requests"),
                minutes(45),
            ),
            // Nothing that passes.
            (
                Busy { refuses_key: true, ..Busy::default() },
                Err("HTTP 429: too many requests"),
                Duration::ZERO,
            ),
            (
                Busy { lacks: Some("too many open files"), ..Busy::default() },
                Err("it cannot be asked: too many open files"),
                Duration::ZERO,
            ),
        ] {
            let scripted = Scripted::new(true, |_, _| Fate::Answered);
            let production = scripted.production(server.connect(), None);
            let begun = Instant::now();
            let proven = production.prove("a", minutes(45)).await;
            assert_eq!(
                proven.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|it| *it)
            );
            let took = begun.elapsed();
            assert!(took <= within + Duration::from_secs(1), "{expected:?} after {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_between_two_questions_is_seen() {
        let server = Busy { refuses: u32::MAX, ..Busy::default() };
        let scripted = Scripted::new(true, |_, _| Fate::Answered);
        let production = scripted.production(server.connect(), None);
        let known = Arc::clone(&scripted.known);
        tokio::spawn(async move {
            sleep(Duration::from_secs(62)).await;
            known.lock().expect("no panic").running = false;
        });
        let begun = Instant::now();
        let why = production.prove("a", Duration::from_mins(45)).await.expect_err("it ended");
        assert_eq!(why, "it ended with code 0");
        assert!(begun.elapsed() < Duration::from_secs(70), "{:?}", begun.elapsed());
    }
}
