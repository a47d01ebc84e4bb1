//! Production's life as the journal holds it: each step, and what the steps so
//! far leave to be done. Nothing is done to the container here.

use serde::{Deserialize, Serialize};

/// What is known of production's container. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductionFacts {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image's id.
    pub image_id: String,
    /// When it was started last, RFC 3339.
    pub started_at: String,
    /// SHA-256 of its whole configuration, in hexadecimal digits.
    pub configuration_sha256: String,
    /// Whether it runs.
    pub running: bool,
}

/// A step in production's life, as the journal holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ProductionStep {
    /// It ran, and is about to be stopped.
    Stopping {
        /// What it was.
        #[serde(flatten)]
        facts: ProductionFacts,
    },
    /// It did not run when the sweep began, and is not started.
    NotRunning,
    /// It is stopped.
    Stopped {
        /// Its id.
        id: String,
    },
    /// Somebody else started it in mid-sweep: the sweep stops, it runs on.
    StartedBySomebody {
        /// The id that runs.
        id: String,
    },
    /// Somebody removed it; it was made again from its compose file.
    MadeAgain {
        /// The removed id.
        removed: String,
        /// The new id.
        id: String,
    },
    /// It is started, and did not answer a completion yet.
    StartedNotProven {
        /// Its id.
        id: String,
    },
    /// It answered a completion.
    Proven {
        /// Its id.
        id: String,
    },
    /// A step of a newer version: what was pending stays so.
    #[serde(other)]
    Unknown,
}

/// What earlier steps leave to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingRestore {
    /// Nothing: never stopped, or started and proven, or taken back by somebody.
    Nothing,
    /// It was stopped, or was about to be.
    Start(String),
    /// It was started; whether it answers is not known.
    Proof(String),
}

/// What `steps`, in the journal's order, leave to be done.
pub fn pending_restore(steps: &[ProductionStep]) -> PendingRestore {
    steps.iter().fold(PendingRestore::Nothing, |pending, step| match step {
        ProductionStep::Stopping { facts } => PendingRestore::Start(facts.id.clone()),
        ProductionStep::Stopped { id } => PendingRestore::Start(id.clone()),
        ProductionStep::MadeAgain { id, .. } | ProductionStep::StartedNotProven { id } => {
            PendingRestore::Proof(id.clone())
        }
        ProductionStep::NotRunning
        | ProductionStep::StartedBySomebody { .. }
        | ProductionStep::Proven { .. } => PendingRestore::Nothing,
        ProductionStep::Unknown => pending,
    })
}
