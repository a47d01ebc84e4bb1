//! Whether an engine died or froze in mid-measurement, seen from outside after a
//! request failed. Why it did is the engines' to say.

use std::time::{Duration, Instant};

use crate::bench::record::{RequestErrorClass, RequestRecord};
use crate::server::Server;
use crate::server::health::{Health, completion_proof, health_by};
use crate::server::http::Http;

/// How long a dead engine may still look alive: `/health` is 200 for some
/// milliseconds after its end.
const DYING: Duration = Duration::from_secs(1);
/// Time for the proof that a silent engine still decodes; a request's own where that is shorter.
const PROOF: Duration = Duration::from_secs(20);

/// What shows that the engine is gone, after the last failed request of `records`.
/// `patience`: what a request is given for its first token.
pub(crate) async fn shown(
    server: &Server,
    http: &Http,
    patience: Duration,
    records: &[RequestRecord],
) -> Option<String> {
    use RequestErrorClass::{Connect, Cut, InStream, ServerError, Silent};
    let error = records.iter().rev().find_map(RequestRecord::failure)?;
    if error.class == Silent {
        let proof = completion_proof(server, PROOF.min(patience)).await;
        return proof.err().map(|fault| format!("{}; then {fault}", error.message));
    }
    if !matches!(error.class, Connect | Cut | InStream | ServerError) {
        return None;
    }
    let deadline = Instant::now() + DYING;
    loop {
        match health_by(http).await {
            Health::Unreachable => return Some(format!("{}; nobody answers", error.message)),
            Health::NotYet(status @ (500 | 503)) => {
                return Some(format!("{}; /health is {status}", error.message));
            }
            _ if Instant::now() >= deadline => return None,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
