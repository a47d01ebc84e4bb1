//! How many launches a strategy is expected to take, before it has launched any: what a plan
//! and the first estimate of a sweep reckon with. A strategy that runs says what is left of it
//! by `Strategy::remaining`, from what it observed; nothing is decided here.

use super::adaptive::{self, SMALL, SURVIVORS};
use super::order::Order;
use super::{AdaptiveStrategy, GridStrategy, ModelStrategy, Remaining, StrategySpec, Task};

/// Launches of the duels at the least: two of the leader, two of its challenger.
const DUELS: u32 = 4;

/// A screen has at least one in so many configurations.
const SCREENED: u32 = 4;

impl StrategySpec {
    /// Launches in all that it is expected to take: exact where nothing is chosen during the
    /// sweep. One that ends early, since nothing is left to choose from, takes fewer.
    pub fn expected_launches(&self, task: &Task) -> Remaining {
        match self {
            Self::Grid(spec) => {
                let all = spec.launches.saturating_mul(self.first_block(task));
                Remaining { low: all, high: all }
            }
            Self::Adaptive(spec) => spec.expected(task, opening(task)),
            Self::Model(spec) => spec.racing.expected(task, screen(task)),
        }
    }

    /// Launches of a block of everything.
    pub fn first_block(&self, task: &Task) -> u32 {
        match self {
            Self::Grid(_) => {
                let block = task.order.per_block(task.configurations, task.baseline.is_some());
                u32::try_from(block).unwrap_or(u32::MAX)
            }
            Self::Adaptive(_) | Self::Model(_) => opening(task),
        }
    }

    /// Launches of the leader and of the next one, each, when the sweep is over: what a
    /// difference between them is shown by.
    pub fn launches_of_best(&self, task: &Task) -> Remaining {
        match self {
            Self::Grid(spec) => Remaining { low: spec.launches, high: spec.launches },
            Self::Adaptive(_) | Self::Model(_) => {
                // What is left after the blocks meets in duels.
                let Remaining { low, high } = self.expected_launches(task);
                let of_one = |all: u32, blocks: u32| match all.checked_sub(blocks) {
                    Some(duels) => 2 + duels / 2,
                    None => 1,
                };
                let first = match self {
                    Self::Model(_) => screen(task),
                    _ => opening(task),
                };
                let least = of_one(low, first + second(task).low);
                let most = of_one(high, opening(task) + second(task).high);
                Remaining { low: least, high: most.max(least) }
            }
        }
    }

    /// The strategies that there are, each with the options of this one as far as it has them,
    /// and in its own place this one.
    pub fn alternatives(&self) -> [Self; 3] {
        let (repeats, auto, seed) = (self.repeats(), self.chooses_repeats(), self.seed());
        let grid = Self::Grid(GridStrategy { repeats, auto, seed, ..GridStrategy::default() });
        let racing = match self {
            Self::Grid(_) => {
                AdaptiveStrategy { repeats, auto, seed, ..AdaptiveStrategy::default() }
            }
            Self::Adaptive(spec) => spec.clone(),
            Self::Model(spec) => spec.racing.clone(),
        };
        let model = Self::Model(ModelStrategy { racing: racing.clone(), predicted: false });
        [grid, Self::Adaptive(racing), model]
            .map(|it| if it.name() == self.name() { self.clone() } else { it })
    }
}

impl AdaptiveStrategy {
    /// Launches at most: those that the grid asks for, else a multiple of the block.
    pub fn most(&self, task: &Task) -> u32 {
        let by_default = || adaptive::most_launches(task.configurations, task.baseline.is_some());
        self.max_launches.unwrap_or_else(by_default)
    }

    /// With a first part of so many launches.
    fn expected(&self, task: &Task, first: u32) -> Remaining {
        let high = self.most(task);
        // Of one configuration nothing is to be decided.
        let duels = if task.configurations < 2 { 0 } else { DUELS };
        let low = first + second(task).low + duels;
        Remaining { low: low.min(high), high }
    }
}

/// Launches of a race's first block.
fn opening(task: &Task) -> u32 {
    adaptive::opening_launches(task.configurations, task.baseline.is_some()).0
}

/// Launches of the second block: of everything, or of those that may still be the best.
fn second(task: &Task) -> Remaining {
    if task.configurations <= SMALL {
        return Remaining { low: opening(task), high: opening(task) };
    }
    Remaining { low: 2, high: SURVIVORS as u32 }
}

/// Launches of the screen of a model at the least; where it predicts poorly it is the block.
fn screen(task: &Task) -> u32 {
    let block = opening(task);
    (block / SCREENED).max(SMALL as u32).min(block)
}

/// The round of a trial: trials of one round are compared with each other first of all, and
/// have the same arrivals. A block of everything is one, each pair of a duel is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The trial's number.
    pub trial: u32,
    /// Where it is one of a duel, how many trials of duels were begun before it.
    pub duels_before: Option<u32>,
}

impl StrategySpec {
    /// The round of a trial, from 0. Blocks come first; how many launches the second block of
    /// a race has is known when it is over, so duels are counted by themselves.
    pub fn round(&self, order: Order, place: Place, configurations: usize, baseline: bool) -> u32 {
        match (self, place.duels_before) {
            (Self::Grid(_), _) => {
                place.trial / order.per_block(configurations, baseline).max(1) as u32
            }
            (Self::Adaptive(_) | Self::Model(_), Some(before)) => 2 + before / 2,
            (Self::Adaptive(_) | Self::Model(_), None) => {
                let (opening, _) = adaptive::opening_launches(configurations, baseline);
                (place.trial / opening.max(1)).min(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(spec: &StrategySpec, configurations: usize) -> (u32, u32) {
        let Remaining { low, high } = spec.expected_launches(&Task::plain(configurations, Some(0)));
        (low, high)
    }

    fn adaptive(max_launches: Option<u32>) -> StrategySpec {
        StrategySpec::Adaptive(AdaptiveStrategy { max_launches, ..AdaptiveStrategy::default() })
    }

    #[test]
    fn a_grid_takes_what_it_says_and_a_race_between_what_it_may_and_what_it_must() {
        let grid = StrategySpec::Grid(GridStrategy::default());
        assert_eq!(of(&grid, 12), (52, 52));
        // Two blocks of 12, and two duels; at most eight launches of each.
        assert_eq!(of(&adaptive(None), 12), (28, 96));
        // One block of 51, the baseline four times; a second of two survivors at least.
        assert_eq!(of(&adaptive(None), 48), (57, 141));
        assert_eq!(of(&adaptive(Some(60)), 48), (57, 60));
        assert_eq!(of(&adaptive(Some(50)), 48), (50, 50));
        assert_eq!(of(&StrategySpec::Model(ModelStrategy::default()), 48), (18, 141));
    }

    #[test]
    fn one_configuration_is_launched_twice_and_two_alternate() {
        assert_eq!(of(&adaptive(None), 1), (2, 2));
        assert_eq!(of(&adaptive(None), 2), (8, 16));
        let task = Task::plain(2, None);
        let best = adaptive(None).launches_of_best(&task);
        assert_eq!((best.low, best.high), (4, 8));
    }

    #[test]
    fn the_best_ones_have_the_launches_of_the_blocks_and_of_the_duels() {
        let best = |spec: &StrategySpec, configurations| {
            let best = spec.launches_of_best(&Task::plain(configurations, Some(0)));
            (best.low, best.high)
        };
        assert_eq!(best(&StrategySpec::Grid(GridStrategy::default()), 12), (4, 4));
        assert_eq!(best(&adaptive(None), 12), (4, 38));
        assert_eq!(best(&adaptive(None), 48), (4, 43));
        // Where they end in the second block, what is best has one launch for sure.
        assert_eq!(best(&adaptive(Some(20)), 12), (1, 1));
    }

    #[test]
    fn the_alternatives_keep_the_options_that_were_given() {
        let own = StrategySpec::Grid(GridStrategy { launches: 2, repeats: 5, auto: true, seed: 9 });
        let [grid, adaptive, model] = own.alternatives();
        assert_eq!(grid, own);
        for spec in [&adaptive, &model] {
            assert_eq!((spec.repeats(), spec.chooses_repeats(), spec.seed()), (5, true, 9));
        }
        let racing = AdaptiveStrategy { probability: 0.8, ..AdaptiveStrategy::default() };
        let own = StrategySpec::Model(ModelStrategy { racing, predicted: true });
        let [grid, adaptive, model] = own.alternatives();
        assert_eq!((grid.name(), adaptive.name(), model), ("grid", "adaptive", own));
    }

    #[test]
    fn trials_of_a_duel_have_one_round_whatever_the_second_block_had() {
        let spec = adaptive(None);
        let round = |trial, duels_before| {
            spec.round(Order::Opened, Place { trial, duels_before }, 14, false)
        };
        assert_eq!([0, 13].map(|trial| round(trial, None)), [0, 0]);
        // A second block of three survivors.
        assert_eq!([14, 15, 16].map(|trial| round(trial, None)), [1, 1, 1]);
        let duels = [(17, 0), (18, 1), (19, 2), (20, 3)];
        assert_eq!(duels.map(|(trial, before)| round(trial, Some(before))), [2, 2, 3, 3]);
        let grid = StrategySpec::Grid(GridStrategy::default());
        let place = Place { trial: 7, duels_before: None };
        assert_eq!(grid.round(Order::Opened, place, 4, true), 1);
    }

    proptest! {
        #[test]
        fn a_range_is_one_and_fits_the_limit(
            configurations in 1_usize..400,
            more in 0_u32..500,
            named in any::<bool>(),
        ) {
            let task = Task::plain(configurations, named.then_some(0));
            let opening = adaptive(None).first_block(&task);
            for max_launches in [None, Some(opening + more)] {
                for spec in adaptive(max_launches).alternatives() {
                    let all = spec.expected_launches(&task);
                    let best = spec.launches_of_best(&task);
                    prop_assert!(1 <= all.low && all.low <= all.high, "{:?}", all);
                    prop_assert!(best.low <= best.high && best.high <= all.high, "{:?}", best);
                    if spec.chooses() {
                        prop_assert!(max_launches.is_none_or(|max| all.high == max));
                        prop_assert!(all.high >= opening);
                    }
                }
            }
        }
    }
}
