//! Decides what to launch next from what was observed so far. Pure: a function
//! of the observations, of what is in flight and of what is left of the budget,
//! so that it runs in virtual time and gives the same answer after a resume.
//! Nothing is launched here, and nothing is decided about relaunching: what a
//! failure means for further launches is `sweep/relaunch.rs`'s.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod confirm;
pub mod grid;
pub mod order;
mod repeats;

pub use order::Order;
pub use repeats::best as best_repeats;

/// How a grid asks for launches and repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategySpec {
    /// Everything: m launches of each configuration, each a seeded shuffled block.
    Grid(GridStrategy),
}

impl StrategySpec {
    /// The strategy of a new sweep of so many configurations, of which `baseline` is tried
    /// first.
    pub fn build(&self, configurations: usize, baseline: Option<usize>) -> Box<dyn Strategy> {
        self.build_by(Order::Opened, configurations, baseline)
    }

    /// The same with the order that a sweep began with.
    pub fn build_by(
        &self,
        order: Order,
        configurations: usize,
        baseline: Option<usize>,
    ) -> Box<dyn Strategy> {
        match self {
            Self::Grid(spec) => Box::new(grid::Blocks::new(*spec, configurations, baseline, order)),
        }
    }

    /// Kept repeats per launch and workload case; where they are chosen during the sweep,
    /// those of the first launches.
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

    /// The block that a trial is part of, from 0: trials of one block are compared with
    /// each other first of all.
    pub fn block(&self, order: Order, trial: u32, configurations: usize, baseline: bool) -> u32 {
        match self {
            Self::Grid(_) => trial / order.per_block(configurations, baseline).max(1) as u32,
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
    /// Whether `repeats` is of the first launches only, and later ones have as many as
    /// make the most of the time (`repeats: auto`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto: bool,
    /// Seed of the order and of the prompts.
    pub seed: u64,
}

impl GridStrategy {
    /// Launches of one configuration of so many.
    pub fn launches_of(&self, order: Order, configurations: usize, is_baseline: bool) -> u32 {
        let twice = is_baseline && order.has_baseline_twice(configurations);
        self.launches * if twice { 2 } else { 1 }
    }
}

impl Default for GridStrategy {
    fn default() -> Self {
        Self { launches: 4, repeats: 3, auto: false, seed: 1 }
    }
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To choose between configurations.
    #[default]
    Screen,
    /// To decide between the last ones.
    Final,
    /// To confirm what was chosen, by launches that did not choose it.
    Confirm,
    /// To see whether the machine itself drifts: the same configuration again.
    Sentinel,
    /// A purpose that a newer version wrote.
    #[serde(other)]
    Unknown,
}

impl Purpose {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Screen => "screen",
            Self::Final => "final",
            Self::Confirm => "confirm",
            Self::Sentinel => "sentinel",
            Self::Unknown => "unknown",
        }
    }
}

/// How a trial ended, as far as a strategy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    /// Everything asked of it was measured.
    Measured,
    /// It failed, and the same configuration would fail so again.
    Infeasible,
    /// It failed otherwise.
    Failed,
    /// It was not started.
    Skipped,
}

/// What is known of one trial that is over. It may have taken several launches.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The trial: a strategy's own numbering, from 0.
    pub trial: u32,
    /// Index of its configuration.
    pub configuration: usize,
    /// What it was for.
    pub purpose: Purpose,
    /// The host that it ran on.
    pub host: String,
    /// When its first launch started.
    pub started_at: Option<jiff::Timestamp>,
    /// How long its launches took, all together.
    pub duration: Duration,
    /// How long one kept repeat of the whole suite took, in seconds, where it is known.
    pub repeat_seconds: Option<f64>,
    /// How it ended.
    pub outcome: TrialOutcome,
    /// What its kept repeats gave, in the order of measuring.
    pub repeats: Vec<ObservedRepeat>,
}

/// What one repeat of a trial gave: values that were measured together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedRepeat {
    /// Number of the launch.
    pub launch: u32,
    /// Number of the repeat in it, from 1.
    pub repeat: u32,
    /// When it was journalled, where that is known.
    pub at: Option<jiff::Timestamp>,
    /// The objective's value, where there is a valid one.
    pub objective: Option<f64>,
    /// The same for each constraint, in the grid's order.
    pub constraints: Vec<Option<f64>>,
}

/// A trial that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The trial.
    pub trial: u32,
    /// Index of its configuration.
    pub configuration: usize,
    /// What it is for.
    pub purpose: Purpose,
    /// The host that it runs on.
    pub host: String,
    /// When its launch started.
    pub started_at: Option<jiff::Timestamp>,
}

/// All that a strategy decides from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Situation<'a> {
    /// What is over, in the order of the trials' first launches. A trial that was
    /// interrupted is not over: the loop launches it again before it asks for another.
    pub observations: &'a [Observation],
    /// What runs.
    pub in_flight: &'a [InFlight],
    /// What is left of the budget, where there is one.
    pub budget_left: Option<Duration>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Launch a configuration, and measure what its trial still lacks.
    Launch {
        /// The trial.
        trial: u32,
        /// Index of the configuration.
        configuration: usize,
        /// What it is for.
        purpose: Purpose,
        /// Kept repeats of each case, where its workload does not say.
        repeats: u32,
    },
    /// Nothing before something in flight has ended.
    Wait,
    /// Do not launch it, and journal the reason.
    Skip {
        /// The trial.
        trial: u32,
        /// Index of the configuration.
        configuration: usize,
        /// What it was for.
        purpose: Purpose,
        /// Why not.
        reason: String,
    },
    /// Launch nothing more.
    Finish {
        /// Why.
        why: String,
    },
}

/// Decides what to launch next.
pub trait Strategy: Send + Sync {
    /// What to do in this situation. A trial is asked for once: what it lacks
    /// after a lost server or a stop is measured without asking again.
    fn next(&self, situation: Situation<'_>) -> Action;

    /// Trials in all, as far as known.
    fn trials(&self) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_every_configuration() {
        let spec = StrategySpec::Grid(GridStrategy::default());
        let blocks = |configurations, baseline| {
            (0..12)
                .map(|trial| spec.block(Order::Opened, trial, configurations, baseline))
                .collect::<Vec<_>>()
        };
        assert_eq!(blocks(4, true), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
        // With the baseline once more.
        assert_eq!(blocks(7, true)[7..9], [0, 1]);
        assert_eq!(spec.block(Order::Opened, 5, 0, false), 5);
    }
}
