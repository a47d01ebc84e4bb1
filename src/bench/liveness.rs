//! Whether an engine died or froze in mid-measurement, seen from outside after a
//! request failed. Why it did is found by the engines.

use std::time::{Duration, Instant};

use crate::client::record::{RequestErrorClass, RequestRecord};
use crate::server::Server;
use crate::server::health::{Health, completion_proof, health_by};
use crate::server::http::Http;

/// How long a dead engine may still look alive: `/health` is 200 for some
/// milliseconds after its end.
pub(crate) const DYING: Duration = Duration::from_secs(1);
/// Time for the proof that a silent engine still decodes; a request's own where that is shorter.
const PROOF: Duration = Duration::from_secs(20);

/// What a look at a server shows after a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The engine is unreachable.
    Died(String),
    /// It is there, and does not decode.
    Wedged(String),
}

/// Whether the engine decodes; `patience`: what a request is given for its first token.
///
/// # Errors
/// Why it does not.
pub(crate) async fn decodes(server: &Server, patience: Duration) -> Result<(), String> {
    let proof = completion_proof(server, PROOF.min(patience)).await;
    proof.map(|_| ()).map_err(|reason| reason.to_string())
}

/// The evidence that the engine is lost, after the last failed request of `records`.
/// `patience`: what a request is given for its first token.
pub(crate) async fn death_evidence(
    server: &Server,
    http: &Http,
    patience: Duration,
    records: &[RequestRecord],
) -> Option<Evidence> {
    use RequestErrorClass::{Connect, Cut, InStream, ServerError, Silent};
    let error = records.iter().rev().find_map(RequestRecord::failure)?;
    if error.class == Silent {
        let reason = decodes(server, patience).await.err()?;
        let message = format!("{}; then {reason}", error.message);
        return Some(match down_reason(health_by(http).await) {
            Some(what) => Evidence::Died(format!("{message}; {what}")),
            None => Evidence::Wedged(message),
        });
    }
    if !matches!(error.class, Connect | Cut | InStream | ServerError) {
        return None;
    }
    down(http).await.map(|what| Evidence::Died(format!("{}; {what}", error.message)))
}

/// What shows that the engine is down, after something failed; it may die just now.
pub(crate) async fn down(http: &Http) -> Option<String> {
    let deadline = Instant::now() + DYING;
    loop {
        if let Some(what) = down_reason(health_by(http).await) {
            return Some(what);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many requests were answered, where the connection of another one broke: a server that
/// was not restarted has counted them all.
pub(crate) fn answered_beside_a_break(records: &[RequestRecord]) -> u64 {
    use RequestErrorClass::{Connect, Cut};
    let failures = || records.iter().map(RequestRecord::failure);
    let broke = failures().flatten().any(|error| matches!(error.class, Connect | Cut));
    if broke { failures().filter(Option::is_none).count() as u64 } else { 0 }
}

/// What of a server's health shows that it is down; 502 and 504 are a gateway's
/// answers for it. A server without `/health` shows nothing.
pub(crate) fn down_reason(health: Health) -> Option<String> {
    match health {
        Health::Unreachable => Some("nobody answers".to_owned()),
        Health::NotYet(status @ (500 | 502..=504)) => Some(format!("/health is {status}")),
        Health::Up | Health::NotYet(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_health_is_not_down() {
        for up in [Health::Up, Health::NotYet(404), Health::NotYet(401), Health::NotYet(501)] {
            assert_eq!(down_reason(up), None, "{up:?}");
        }
        assert_eq!(down_reason(Health::Unreachable).as_deref(), Some("nobody answers"));
        assert_eq!(down_reason(Health::NotYet(502)).as_deref(), Some("/health is 502"));
    }
}
