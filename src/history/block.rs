//! What a block of a sweep begins with, as the journal keeps it. A block is the launches
//! between two changes of what they are measured with, of which a person accepted each.
//! Launches of different blocks are never pooled: replay puts those of a finished block aside,
//! and everything that counts launches sees the latest block alone. What may be accepted is
//! not decided here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::production::Configured;
use crate::machine::Machine;
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
    /// The image as the compose file names it, where that changed: the configurations' ids did
    /// with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Then the ids of the manifest's configurations, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// SHA-256 of the configuration of production's container, where the baseline is
    /// production's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production_sha256: Option<String>,
    /// The same part by part, where it is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub production_parts: BTreeMap<String, String>,
    /// What candidates are made of besides image and flags, as in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_parts: Option<BTreeMap<String, String>>,
    /// The files that prompts come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<DatasetFile>,
}

impl Block {
    /// The configuration of production's container, where it is noted.
    pub fn production(&self) -> Option<Configured> {
        let (sha256, parts) = (self.production_sha256.clone()?, self.production_parts.clone());
        Some(Configured { sha256, parts })
    }
}
