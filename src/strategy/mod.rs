//! Decides what to launch next from what was observed so far. Pure: a function
//! of the observations, of what is in flight and of what is left of the budget,
//! so that it runs in virtual time and gives the same answer after a resume.
//! Nothing is launched here, and nothing is decided about relaunching: what a
//! failure means for further launches is `sweep/relaunch.rs`'s.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod adaptive;
mod build;
pub mod confirm;
mod default;
mod expected;
mod finished;
pub mod grid;
pub mod hosts;
pub mod model;
pub mod order;
mod repeats;
mod spec;
mod task;

pub use default::{CHOSEN_FROM, DefaultStrategy, MODELLED_FROM};
pub use expected::{Numbered, Place, Shown, is_kept};
pub use finished::Finished;
pub(crate) use finished::probable;
pub use order::Order;
pub use repeats::best as best_repeats;
pub use spec::{AdaptiveStrategy, GridStrategy, MODELLED_TO, ModelStrategy, StrategySpec};
pub use task::{Limits, Prediction, Task};

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
    /// What is left of the budget's time, where there is one; of GPU hours the time that they
    /// last.
    pub budget_left: Option<Duration>,
    /// Launches that may still be begun, where they are limited.
    pub launches_left: Option<u32>,
    /// Launches that were counted of the trials so far, where they are: some trials take several.
    pub launches_made: Option<u32>,
    /// The host that has a free place and asks. `None` with one host, and where it does not
    /// matter which one asks: then nothing waits for another host.
    pub host: Option<&'a str>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
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
    /// Nothing before something in flight has ended, or, where a host asks, before another
    /// one has: see [`hosts::ask`].
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
        why: Finished,
    },
}

/// How many further trials there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// At the least, if everything goes as well as it can.
    pub low: u32,
    /// At the most.
    pub high: u32,
}

/// Beyond which value a launch is clearly behind after its first kept repeat, so that its
/// further repeats are not worth their time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// The objective's value; worse ones are behind.
    pub value: f64,
    /// Kept repeats of each case that are measured in any case.
    pub repeats: u32,
}

/// Decides what to launch next.
pub trait Strategy: Send + Sync {
    /// What to do in this situation. A trial is asked for once: what it lacks
    /// after a lost server or a stop is measured without asking again.
    fn next(&self, situation: Situation<'_>) -> Action;

    /// Trials in all, as far as known: the most there can be.
    fn trials(&self) -> u32;

    /// Whether a trial that it asks for in this situation is the first of two that are compared
    /// with each other: one alone decides nothing, and needs no last launch of a budget.
    fn opens_pair(&self, _situation: Situation<'_>, _trial: u32) -> bool {
        false
    }

    /// Why it ended, where something else ended it, with what else is to be known then.
    fn stopped(&self, _observations: &[Observation], why: Finished) -> Finished {
        why
    }

    /// Further trials that are not in flight.
    fn remaining(&self, situation: Situation<'_>) -> Remaining {
        let begun = situation.observations.len() + situation.in_flight.len();
        let left = self.trials().saturating_sub(begun as u32);
        Remaining { low: left, high: left }
    }

    /// Where the next launch of a configuration, at the time of asking for it, would be clearly
    /// behind; `None` where all its repeats are wanted in any case.
    fn bar(&self, _observations: &[Observation], _configuration: usize) -> Option<Bar> {
        None
    }
}
