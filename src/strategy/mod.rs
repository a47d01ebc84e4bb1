//! Decides what to launch next from what was launched so far. Pure: a function
//! of the history, so that it runs in virtual time and survives a resume.

use serde::{Deserialize, Serialize};

/// How a grid asks for launches and repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategySpec {
    /// Everything: m launches of each configuration, each a seeded shuffled block.
    Grid(GridStrategy),
}

/// Options of the strategy `grid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GridStrategy {
    /// Launches per configuration.
    pub launches: u32,
    /// Kept repeats per launch and workload case.
    pub repeats: u32,
    /// Seed of the order and of the prompts.
    pub seed: u64,
}

impl Default for GridStrategy {
    fn default() -> Self {
        Self { launches: 2, repeats: 5, seed: 1 }
    }
}
