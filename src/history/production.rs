//! Production's life as the journal holds it: each step, and what the steps so
//! far leave to be done. Nothing is done to the container here.

use std::fmt;
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
    /// SHA-256 of its entrypoint and command; empty where it is not known.
    #[serde(default)]
    pub command_sha256: String,
    /// SHA-256 of its whole configuration, in hexadecimal digits.
    pub configuration_sha256: String,
    /// Whether it runs.
    pub running: bool,
}

impl ProductionFacts {
    /// In what `now` is not as this was, each as words.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let differs = |was: &str, is: &str| !was.is_empty() && !is.is_empty() && was != is;
        let mut differences = Vec::new();
        if differs(&self.image_id, &now.image_id) {
            let (was, is) = (short_image(&self.image_id), short_image(&now.image_id));
            differences.push(format!("another image ({was}, now {is})"));
        }
        if differs(&self.command_sha256, &now.command_sha256) {
            differences.push("another command".to_owned());
        }
        // The whole has both of them, too.
        if differences.is_empty() && differs(&self.configuration_sha256, &now.configuration_sha256)
        {
            differences.push("other options (environment, mounts, ports, limits)".to_owned());
        }
        differences
    }
}

fn short_image(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

/// Another container serves production than before the sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The container that was stopped, and is no more.
    pub removed: String,
    /// The one in its place.
    pub id: String,
    /// Whether somebody made it; otherwise it was made from its compose file, since somebody
    /// had removed the other one.
    pub by_somebody: bool,
    /// In what it is not as the other was.
    pub differences: Vec<String>,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |id: &str| id.chars().take(12).collect::<String>();
        let (removed, id) = (short(&self.removed), short(&self.id));
        if self.by_somebody {
            write!(f, "production was replaced by somebody during the sweep: {removed} -> {id}")?;
        } else {
            write!(
                f,
                "production was removed by somebody during the sweep, and made again from its \
                 compose file: {removed} -> {id}"
            )?;
        }
        match self.differences.as_slice() {
            [] => write!(f, ", of the same image and command"),
            all => write!(f, ", with {}", all.join(", ")),
        }
    }
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
        /// In what it is not as the removed one was.
        #[serde(default)]
        differences: Vec<String>,
    },
    /// Somebody removed it, and made another one of its name.
    Replaced {
        /// The removed id.
        removed: String,
        /// The id in its place.
        id: String,
        /// In what it is not as the removed one was.
        differences: Vec<String>,
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

impl ProductionStep {
    /// The container in place of another one, where the step is of that.
    pub fn replaced(&self) -> Option<Replaced> {
        let (removed, id, differences, by_somebody) = match self {
            Self::MadeAgain { removed, id, differences } => (removed, id, differences, false),
            Self::Replaced { removed, id, differences } => (removed, id, differences, true),
            _ => return None,
        };
        let (removed, id) = (removed.clone(), id.clone());
        Some(Replaced { removed, id, by_somebody, differences: differences.clone() })
    }
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
        ProductionStep::MadeAgain { id, .. }
        | ProductionStep::Replaced { id, .. }
        | ProductionStep::StartedNotProven { id } => PendingRestore::Proof(id.clone()),
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
