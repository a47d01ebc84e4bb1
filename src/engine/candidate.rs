//! An endpoint that is to become a server, asked over HTTP: health by status
//! code, then models, auth and a one-token completion.

use std::time::Duration;

use async_trait::async_trait;

use super::readiness::Candidate;
use crate::server::{self, Endpoint, Health, Server};

/// Longest wait for the one-token completion.
const PROOF: Duration = Duration::from_secs(120);

/// Asks an endpoint over HTTP.
#[derive(Clone, Debug)]
pub struct HttpCandidate {
    endpoint: Endpoint,
    /// The model's name, where it is known before the server is asked.
    model: Option<String>,
}

impl HttpCandidate {
    /// A candidate at an endpoint.
    pub fn new(endpoint: Endpoint, model: Option<String>) -> Self {
        Self { endpoint, model }
    }
}

#[async_trait]
impl Candidate for HttpCandidate {
    async fn health(&self) -> Option<u16> {
        match server::health(&self.endpoint).await {
            Health::Up => Some(200),
            Health::NotYet(status) => Some(status),
            Health::Unreachable => None,
        }
    }

    async fn prove(&self) -> Result<Server, String> {
        let server = Server::open(self.endpoint.clone(), self.model.as_deref())
            .await
            .map_err(|fault| fault.to_string())?;
        server::completion_proof(&server, PROOF).await.map_err(|fault| fault.to_string())?;
        Ok(server)
    }
}
