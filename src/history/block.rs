//! Blocks of a sweep: the launches between two changes of what they are measured with, of
//! which a person accepted each. Launches of different blocks are never pooled: replay puts
//! those of a finished block aside, and everything that counts launches sees the latest
//! block alone. What may be accepted is not decided here.

use serde::{Deserialize, Serialize};

use super::confirmation::ConfirmationRecord;
use super::record::{LaunchRecord, Manifest};
use crate::machine::Machine;
use crate::strategy::Purpose;
use crate::workload::DatasetFile;

/// What a new block begins with. The first one begins with the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Its number, from 2.
    pub number: u32,
    /// Number of its first trial: none is that of an earlier block's trial.
    pub first_trial: u32,
    /// What changed since the block before, each as a sentence.
    pub differences: Vec<String>,
    /// Version of this tool.
    pub tool_version: String,
    /// Version of the suite that measures.
    pub suite_version: u32,
    /// Operating system, kernel and processor of the host.
    pub host: String,
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// The image that is launched, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// SHA-256 of the configuration of production's container, where the baseline is
    /// production's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production_sha256: Option<String>,
    /// The files that prompts come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<DatasetFile>,
}

impl Block {
    /// Makes a manifest that of the block: its grid stays, what it is measured with is the
    /// block's.
    pub(super) fn change(&self, manifest: &mut Manifest) {
        manifest.tool_version.clone_from(&self.tool_version);
        manifest.suite_version = Some(self.suite_version);
        manifest.host.clone_from(&self.host);
        manifest.machine.clone_from(&self.machine);
        manifest.image_id.clone_from(&self.image_id);
        manifest.datasets.clone_from(&self.datasets);
    }
}

/// A block that is over, since another one began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlierBlock {
    /// Its number, from 1.
    pub number: u32,
    /// Its launches, in order.
    pub launches: Vec<LaunchRecord>,
    /// Its confirmations.
    pub confirmations: Vec<ConfirmationRecord>,
    /// What changed after it: the block that followed it.
    pub next: Block,
}

impl EarlierBlock {
    /// Number of the trial after the sweep's own ones; those of confirmations have others.
    pub(super) fn next_trial(launches: &[LaunchRecord]) -> Option<u32> {
        let own = launches.iter().filter(|it| it.purpose != Purpose::Confirm);
        own.map(|it| it.trial + 1).max()
    }
}
