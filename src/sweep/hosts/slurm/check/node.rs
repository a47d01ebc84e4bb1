//! What one short job of a check finds on its node, as a file in a folder that the login node
//! wrote: whole or not at all. What is found there is `engine::doctor`'s.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::engine::doctor::{Finding, Severity};

/// How often a node looks for the file that was written for it: file systems may be late.
const LOOKS: u32 = 30;

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAnswer {
    /// Version of the program there.
    pub tool_version: String,
    /// The node's name.
    pub host: String,
    /// What it read in the file that was written for it; `None` where it was not there.
    pub read: Option<String>,
    /// The GPUs that the cluster gave it, as `CUDA_VISIBLE_DEVICES` has them.
    pub devices: Option<String>,
    /// What the engine's check found.
    pub findings: Vec<NodeFinding>,
}

/// A finding, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFinding {
    severity: String,
    subject: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl NodeFinding {
    /// Of one that was found here.
    pub fn of(finding: &Finding) -> Self {
        let Finding { severity, subject, text, advice } = finding;
        Self {
            severity: severity.as_str().to_owned(),
            subject: subject.to_string(),
            text: text.clone(),
            advice: advice.clone(),
        }
    }

    /// The finding with the node's name. A severity of a newer version is taken for a problem.
    pub(super) fn on(&self, host: &str) -> Finding {
        let all = [Severity::Ok, Severity::Warning];
        let severity = all.into_iter().find(|it| it.as_str() == self.severity);
        Finding {
            severity: severity.unwrap_or(Severity::Problem),
            subject: format!("node {host}, {}", self.subject).into(),
            text: self.text.clone(),
            advice: self.advice.clone(),
        }
    }
}

impl NodeAnswer {
    /// Answers with these findings what is asked for in `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub async fn give(folder: &Path, findings: Vec<NodeFinding>) -> io::Result<()> {
        let mut read = None;
        for look in 0..LOOKS {
            read = fs::read_to_string(question(folder)).ok();
            if read.is_some() {
                break;
            }
            if look + 1 < LOOKS {
                sleep(Duration::from_secs(1)).await;
            }
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
        let answer = Self {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: variable("SLURMD_NODENAME").unwrap_or_else(host_name),
            read,
            devices: variable("CUDA_VISIBLE_DEVICES"),
            findings,
        };
        let text = serde_json::to_vec(&answer).map_err(io::Error::other)?;
        let beside = folder.join("from-node.json.part");
        fs::write(&beside, text)?;
        fs::File::open(&beside)?.sync_all()?;
        fs::rename(&beside, path(folder))
    }

    /// The answer in a folder; `None` where there is none.
    pub(super) fn take(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path(folder)).ok()?).ok()
    }
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Where the login node writes what the node reads.
pub(super) fn question(folder: &Path) -> PathBuf {
    folder.join("from-login.txt")
}

fn path(folder: &Path) -> PathBuf {
    folder.join("from-node.json")
}
