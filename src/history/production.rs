//! Production's life as the journal holds it: each step, and what the steps so
//! far leave to be done. Nothing is done to the container here.

use std::path::Path;

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

/// A container that serves production and is down because of us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Its id.
    pub id: String,
    /// Its name; the id where none is known.
    pub name: String,
}

impl Down {
    /// What `steps`, in the journal's order, leave to be started or proven, with its name.
    pub fn of(steps: &[ProductionStep]) -> Option<Self> {
        let id = match pending_restore(steps) {
            PendingRestore::Start(id) | PendingRestore::Proof(id) => id,
            PendingRestore::Nothing => return None,
        };
        let name = steps.iter().rev().find_map(|step| match step {
            ProductionStep::Stopping { facts } => Some(facts.name.clone()),
            _ => None,
        });
        Some(Self { name: name.unwrap_or_else(|| id.clone()), id })
    }

    /// Who it is: the name and the beginning of the id, as `docker ps` shows it.
    pub fn who(&self) -> String {
        let short: String = self.id.chars().take(12).collect();
        format!("container {} ({short})", self.name)
    }

    /// The message while it is down: who it is, why, and what starts it again. `recover` is
    /// the run's folder, where it is known.
    pub fn message(&self, why: Option<&str>, recover: Option<&Path>) -> String {
        let why = why.map(|why| format!(" is not started: {why}")).unwrap_or_default();
        let folder = recover.map(|folder| {
            let folder = folder.display().to_string();
            format!(" {}", shell_words::quote(&crate::clean::plain(&folder)))
        });
        format!(
            "PRODUCTION IS DOWN: {}{why}; start it: `vllm-grid recover{}`, or by hand: `docker start {}`",
            self.who(),
            folder.unwrap_or_default(),
            shell_words::quote(&self.name)
        )
    }
}
