//! Decides what to launch next from what was launched so far. Pure: a function
//! of the history and of time as a value, so that it runs in virtual time and
//! gives the same answer after a resume. Nothing is launched here.

use serde::{Deserialize, Serialize};

pub mod grid;

/// How a grid asks for launches and repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategySpec {
    /// Everything: m launches of each configuration, each a seeded shuffled block.
    Grid(GridStrategy),
}

impl StrategySpec {
    /// The strategy for so many configurations, of which `baseline` is tried first.
    pub fn build(&self, configurations: usize, baseline: Option<usize>) -> Box<dyn Strategy> {
        match self {
            Self::Grid(spec) => Box::new(grid::Blocks::new(*spec, configurations, baseline)),
        }
    }

    /// Kept repeats per launch and workload case.
    pub fn repeats(&self) -> u32 {
        match self {
            Self::Grid(spec) => spec.repeats,
        }
    }

    /// Seed of the order and of the prompts.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Grid(spec) => spec.seed,
        }
    }
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

/// How one past launch ended, as far as a strategy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastOutcome {
    /// Everything asked of it was measured.
    Measured,
    /// It failed, and the same configuration would fail so again.
    Infeasible,
    /// It failed otherwise.
    Failed,
    /// It was not started.
    Skipped,
    /// It was stopped before everything was measured.
    Interrupted,
}

/// One past launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastLaunch {
    /// The slot that it served: a strategy's own numbering, from 0.
    pub slot: u32,
    /// Index of its configuration.
    pub configuration: usize,
    /// How it ended.
    pub outcome: PastOutcome,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Launch a configuration, and measure what its slot still lacks.
    Launch {
        /// The slot.
        slot: u32,
        /// Index of the configuration.
        configuration: usize,
    },
    /// Do not launch it; write down why.
    Skip {
        /// The slot.
        slot: u32,
        /// Index of the configuration.
        configuration: usize,
        /// Why not.
        reason: String,
    },
    /// Nothing is left to do.
    Finish,
}

/// Decides what to launch next.
pub trait Strategy: Send + Sync {
    /// What to do after this history.
    fn next(&self, history: &[PastLaunch]) -> Action;

    /// Launches in all, as far as known.
    fn launches(&self) -> u32;
}
