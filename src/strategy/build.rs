//! What the options of a grid build: the strategy of a sweep. Above the strategies, which know
//! their options alone.

use super::adaptive::{Adaptive, launches_of};
use super::grid::Blocks;
use super::model::Modelled;
use super::{GridStrategy, Order, Strategy, StrategySpec, Task};

impl StrategySpec {
    /// The strategy of a sweep.
    pub fn build(&self, task: &Task) -> Box<dyn Strategy> {
        match self {
            Self::Grid(spec) => {
                Box::new(Blocks::new(*spec, task.configurations, task.baseline, task.order))
            }
            Self::Adaptive(spec) => Box::new(Adaptive::new(spec.clone(), task.clone())),
            Self::Model(spec) => Box::new(Modelled::new(spec.clone(), task.clone())),
        }
    }

    /// Launches of one configuration of so many, as far as they are known beforehand: those of
    /// the first block where the others are chosen.
    pub fn launches_of(&self, order: Order, configurations: usize, is_baseline: bool) -> u32 {
        match self {
            Self::Grid(spec) => spec.launches_of(order, configurations, is_baseline),
            Self::Adaptive(_) => launches_of(configurations, is_baseline),
            Self::Model(_) => {
                let one = GridStrategy { launches: 1, ..GridStrategy::default() };
                one.launches_of(order, configurations, is_baseline)
            }
        }
    }
}
