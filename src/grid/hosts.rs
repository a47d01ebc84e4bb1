//! `hosts:` of a grid: that launches are jobs of a cluster, and what each of them asks for.
//! Here it is read and checked; jobs are submitted by the sweep. Pure.

use serde::{Deserialize, Serialize};

/// Launches as jobs of a Slurm cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SlurmBlock {
    /// The partition; the cluster's default where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// What one launch gets, such as `gpu:rtx4090:2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gres: Option<String>,
    /// Jobs in flight at most.
    pub at_once: u32,
    /// Seconds of one launch at most; by the plan's estimate where the grid does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Whether nobody else is on the node while it is measured.
    pub exclusive: bool,
    /// Further options of `sbatch`, a word each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}
