//! The container that serves production, seen from where it may be touched:
//! looked at, stopped and started, by id. Never removed, recreated or
//! reconfigured; made again by the compose tool alone when somebody removed it.
//! When it is stopped and started is decided by the sweep.

use std::time::Duration;

use async_trait::async_trait;

use crate::history::production::{Companion, ProductionFacts};

/// Why production cannot be handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProductionError {
    /// The name fits nothing, or several things.
    #[error("production: {0}")]
    Name(String),
    /// There is no such container.
    #[error("production: there is no container {looked_for}; {what_runs}")]
    Missing {
        /// What was looked for.
        looked_for: String,
        /// What runs in its place.
        what_runs: String,
    },
    /// The daemon refused or is unreachable.
    #[error("production: {0}")]
    Daemon(String),
    /// Its port was taken while it was stopped.
    #[error("production: its port {port} is taken by {}", holder(.by.as_deref()))]
    PortTaken {
        /// The port of this host.
        port: u16,
        /// The container that has it, where the daemon shows one.
        by: Option<String>,
    },
    /// It cannot be made again.
    #[error("production was removed by somebody and cannot be made again: {0}")]
    Removed(String),
}

fn holder(by: Option<&str>) -> String {
    match by {
        Some(name) => format!("the container {name}"),
        None => "another process of this host (`ss -ltnp` shows it)".to_owned(),
    }
}

/// For how long the start of production is tried where nothing else is said.
pub const RESTORE: Duration = Duration::from_mins(5);

/// What may be done to production.
#[async_trait]
pub trait Production: Send + Sync {
    /// For how long its start is tried again at the end of a sweep.
    fn patience(&self) -> Duration {
        RESTORE
    }

    /// The container that the grid's name means now; `None` where there is none.
    async fn find(&self) -> Result<Option<ProductionFacts>, ProductionError>;

    /// The container of this id; `None` when it was removed.
    async fn look(&self, id: &str) -> Result<Option<ProductionFacts>, ProductionError>;

    /// The companions that run now.
    async fn companions(&self) -> Result<Vec<Companion>, ProductionError> {
        Ok(Vec::new())
    }

    /// Stops a companion, with the grace that it has itself; what is stopped already is, too.
    async fn pause(&self, id: &str) -> Result<(), ProductionError> {
        self.stop(id).await
    }

    /// Stops it, with a grace of 60 s; what is stopped already is, too.
    async fn stop(&self, id: &str) -> Result<(), ProductionError>;

    /// Starts it, or a companion; what runs already does, too.
    async fn start(&self, id: &str) -> Result<(), ProductionError>;

    /// Makes it by the compose tool, as its file says; what it is then.
    async fn make_again(&self) -> Result<ProductionFacts, ProductionError>;

    /// Waits until it answers a completion, for at most `limit`; the error says why it does not.
    async fn prove(&self, id: &str, limit: Duration) -> Result<(), String>;
}
