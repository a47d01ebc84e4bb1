//! How many launches a strategy is expected to take, before it has launched any: what a plan
//! and the first estimate of a sweep reckon with; and which of its trials are one round. A
//! strategy that runs says what is left of it by `Strategy::remaining`, from what it observed;
//! nothing is decided here.

use super::adaptive::{SMALL, SURVIVORS, most_launches, opening_launches};
use super::model::{LEFT_OUT, least_screen, least_second};
use super::order::Order;
use super::{AdaptiveStrategy, GridStrategy, ModelStrategy, Remaining, StrategySpec, Task};

/// Launches of a configuration from which it can be in a claim.
const CLAIMED: u32 = 3;

/// What a difference between two is shown by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Launches of each of the two.
    pub of_best: u32,
    /// Launches beyond the first one of each configuration: by them it is known how much
    /// launches differ.
    pub further: u32,
}

impl StrategySpec {
    /// Launches in all that it is expected to take: exact where nothing is chosen during the
    /// sweep. At the least there are its blocks, after which the best one may be clear. What
    /// fails is launched less often.
    pub fn expected_launches(&self, task: &Task) -> Remaining {
        match self {
            Self::Grid(_) => Remaining { low: self.most(task), high: self.most(task) },
            Self::Adaptive(_) | Self::Model(_) => {
                let high = self.most(task);
                let low = self.fewest(task).saturating_add(self.second(task).low);
                Remaining { low: low.min(high), high }
            }
        }
    }

    /// How many launches are made one after another where so many are at once, the others beside
    /// them: blocks are shared out, duels are not.
    pub fn rounds(&self, task: &Task, at_once: u32) -> Remaining {
        let Remaining { low, high } = self.expected_launches(task);
        let shared = |launches: u32| launches.div_ceil(at_once.max(1));
        let first = match self {
            // One block begins while the launches of the one before it are still running.
            Self::Grid(_) => return Remaining { low: shared(low), high: shared(high) },
            Self::Adaptive(_) => self.first_block(task),
            Self::Model(_) => screen(task),
        };
        // A block is over before what follows from it is launched.
        let of = |all: u32| {
            let first = first.min(all);
            let second = self.second(task).low.min(all - first);
            shared(first) + shared(second) + (all - first - second)
        };
        Remaining { low: of(low), high: of(high) }
    }

    /// Launches beyond the first one of each configuration, where each has as many: by them
    /// configurations share hosts. `None` where it has one, or where it is chosen which have more.
    pub fn shared(&self, task: &Task) -> Option<u32> {
        let first = self.first_block(task);
        let further = match self {
            Self::Grid(_) => self.most(task).saturating_sub(first),
            Self::Adaptive(_) if task.configurations <= SMALL => self.second(task).low,
            Self::Adaptive(_) | Self::Model(_) => 0,
        };
        (further > 0).then_some(further)
    }

    /// Launches of the block in which each configuration has its first one; of `model` at the
    /// most, where its guard asks for all.
    pub fn first_block(&self, task: &Task) -> u32 {
        let (all, baseline) = (task.configurations, task.baseline.is_some());
        match self {
            Self::Grid(_) => u32::try_from(task.order.per_block(all, baseline)).unwrap_or(u32::MAX),
            Self::Adaptive(_) => opening_launches(all, baseline).0,
            Self::Model(_) => u32::try_from(all).unwrap_or(u32::MAX),
        }
    }

    /// Launches that it must have to begin with.
    pub fn fewest(&self, task: &Task) -> u32 {
        match self {
            Self::Grid(_) | Self::Adaptive(_) => self.first_block(task),
            Self::Model(_) => screen(task),
        }
    }

    /// What shows a difference between the leader and the next one, where the strategy made so
    /// many `launches`; those of `model` as where its axes predict.
    pub fn shown_after(&self, launches: u32, task: &Task) -> Shown {
        let count = u32::try_from(task.configurations).unwrap_or(u32::MAX);
        if let Self::Grid(_) = self {
            let of_best = launches / self.first_block(task).max(1);
            return Shown { of_best, further: launches.saturating_sub(count) };
        }
        // What is left after the blocks meets in duels.
        let of_best = match launches.checked_sub(self.blocks(task)) {
            Some(duels) => 2 + duels / 2,
            None => u32::from(launches > 0),
        };
        let arms = self.fewest(task).min(count);
        Shown { of_best, further: launches.saturating_sub(arms) }
    }

    /// The same at the least, by the fewest of so many launches by which the two best ones can be
    /// compared: it is not known whether the axes of a `model` predict, and where they do not,
    /// every configuration is launched first.
    pub fn surely_shown_after(&self, launches: u32, task: &Task) -> Shown {
        let whole = || self.first_block(task).saturating_add(self.second(task).high);
        if matches!(self, Self::Model(_)) && launches < whole().saturating_add(2 * (CLAIMED - 2)) {
            return Shown { of_best: launches.min(1), further: 0 };
        }
        self.shown_after(launches.min(self.launches_to_claim(task)), task)
    }

    /// Launches after which a claim can be made at all: so many that the two best ones have
    /// what a claim needs, or all where there is no such number.
    pub fn launches_to_claim(&self, task: &Task) -> u32 {
        let Remaining { high, .. } = self.expected_launches(task);
        if let Self::Grid(_) = self {
            return high;
        }
        self.blocks(task).saturating_add(2 * (CLAIMED - 2)).min(high)
    }

    /// Whether a claim between the two can follow from this: one that chooses its launches needs
    /// more of them.
    pub fn claims_by(&self, shown: Shown) -> bool {
        !self.chooses() || shown.of_best >= CLAIMED
    }

    /// Launches before the duels: a second block has as many as it can have.
    fn blocks(&self, task: &Task) -> u32 {
        self.fewest(task).saturating_add(self.second(task).high)
    }

    /// Launches of the second block: of everything, or of those that may still be the best. What
    /// gave no value before is not foreseen.
    fn second(&self, task: &Task) -> Remaining {
        let all = u32::try_from(task.configurations).unwrap_or(u32::MAX);
        let low = least_second(task.configurations);
        match self {
            Self::Grid(_) => Remaining { low: 0, high: 0 },
            Self::Adaptive(_) if all < 2 => Remaining { low, high: all },
            Self::Adaptive(_) if task.configurations <= SMALL => Remaining { low: all, high: all },
            Self::Adaptive(_) | Self::Model(_) => {
                Remaining { low, high: all.min(SURVIVORS as u32) }
            }
        }
    }

    /// Launches at most.
    fn most(&self, task: &Task) -> u32 {
        match self {
            Self::Grid(spec) => spec.launches.saturating_mul(self.first_block(task)),
            Self::Adaptive(spec) => spec.most(task),
            Self::Model(spec) => spec.racing.most(task),
        }
    }

    /// The same without a greatest number of launches that is less than it must have.
    #[must_use]
    pub fn within_reach(mut self, task: &Task) -> Self {
        let fewest = self.fewest(task);
        let most = match &mut self {
            Self::Grid(_) => return self,
            Self::Adaptive(spec) => &mut spec.max_launches,
            Self::Model(spec) => &mut spec.racing.max_launches,
        };
        *most = most.filter(|it| *it >= fewest);
        self
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
    /// Launches at most: those that the grid asks for, else as many as a race of so many may take.
    pub fn most(&self, task: &Task) -> u32 {
        let by_default = || most_launches(task.configurations, task.baseline.is_some());
        self.max_launches.unwrap_or_else(by_default)
    }
}

/// Launches of the screen of a model at the least; where it predicts poorly it has everything.
fn screen(task: &Task) -> u32 {
    u32::try_from(least_screen(&task.levels)).unwrap_or(u32::MAX)
}

/// Where a trial stands in its sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The trial's number.
    pub trial: u32,
    /// Whether it is launched to decide between the last ones.
    pub is_final: bool,
    /// Where it is one of a duel, its place among the trials of duels, from 0.
    pub duel: Option<u32>,
}

/// Whether a trial that decides between the last ones was launched alone, by which numbers of
/// trials there are: what a claim lacked at the end of a budget. Those leave out a pair of numbers
/// before their own, and have no second half.
pub fn is_kept(is_there: impl Fn(u32) -> bool, trial: u32) -> bool {
    let own = [trial.checked_sub(1), trial.checked_sub(2), trial.checked_add(1)];
    !own.into_iter().flatten().any(is_there)
}

impl StrategySpec {
    /// The round of a trial, from 0: trials of one round are compared with each other first of
    /// all, and have the same arrivals. Blocks come first; how many launches the second block
    /// of a race has is known when it is over, so duels are counted by themselves.
    pub fn round(&self, order: Order, place: Place, configurations: usize, baseline: bool) -> u32 {
        let sizes = Task { order, ..Task::plain(configurations, baseline.then_some(0)) };
        let first = self.first_block(&sizes).max(1);
        match (self, place.duel) {
            (Self::Grid(_), _) => place.trial / first,
            (Self::Adaptive(_) | Self::Model(_), Some(place)) => 2 + place / 2,
            (Self::Adaptive(_) | Self::Model(_), None) if place.is_final => 1,
            (Self::Adaptive(_) | Self::Model(_), None) => (place.trial / first).min(1),
        }
    }

    /// Whether its second block is of the best of the first one, and not of everything.
    pub fn selects(&self, configurations: usize) -> bool {
        match self {
            Self::Grid(_) => false,
            Self::Adaptive(_) => configurations > SMALL,
            Self::Model(_) => true,
        }
    }

    /// The first trial of the duels, among all trials by their numbers. A model launches those of
    /// its second block to decide, too: it leaves out numbers before the duels. Older sweeps did
    /// not; there the duels begin about where a configuration is launched so again.
    pub fn first_duel<'a>(&self, trials: impl Iterator<Item = Numbered<'a>>) -> Option<u32> {
        let mut seen = std::collections::HashSet::new();
        let (mut before, mut again) = (None, None);
        for Numbered { trial, is_final, configuration } in trials {
            let left_out = before.map_or(0, |before| trial.saturating_sub(before + 1));
            before = Some(trial);
            if !is_final {
                continue;
            }
            if !matches!(self, Self::Model(_)) || left_out >= LEFT_OUT {
                return Some(trial);
            }
            if !seen.insert(configuration) {
                again = again.or(Some(trial));
            }
        }
        again
    }
}

/// A trial by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// Its number.
    pub trial: u32,
    /// Whether it is launched to decide between the last ones.
    pub is_final: bool,
    /// The configuration's name.
    pub configuration: &'a str,
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
    fn a_grid_takes_what_it_says_and_a_race_its_blocks_at_the_least() {
        // Of twelve the baseline is launched twice in each block of a grid.
        assert_eq!(of(&StrategySpec::Grid(GridStrategy::default()), 12), (52, 52));
        assert_eq!(of(&adaptive(None), 12).0, 24);
        let opening = opening_launches(48, true).0;
        assert_eq!(of(&adaptive(None), 48).0, opening + 1);
        assert_eq!(of(&adaptive(Some(60)), 48), (opening + 1, 60));
        assert_eq!(of(&adaptive(Some(50)), 48), (50, 50));
        // Nothing is known of their axes.
        assert_eq!(of(&StrategySpec::Model(ModelStrategy::default()), 48).0, 49);
    }

    #[test]
    fn blocks_are_shared_out_over_hosts_and_duels_are_not() {
        let rounds = |spec: &StrategySpec, configurations, at_once| {
            let task = Task::plain(configurations, Some(0));
            let Remaining { low, high } = spec.rounds(&task, at_once);
            (low, high)
        };
        let grid = StrategySpec::Grid(GridStrategy::default());
        assert_eq!([1, 4, 16, 99].map(|it| rounds(&grid, 12, it).0), [52, 13, 4, 1]);
        // Two blocks of twelve, and sixteen launches of duels.
        let race = adaptive(Some(40));
        assert_eq!(
            [1, 4, 16].map(|it| rounds(&race, 12, it)),
            [(24, 40), (3 + 3, 6 + 16), (1 + 1, 2 + 16)]
        );
        assert_eq!(rounds(&race, 1, 4), (1, 40));
    }

    #[test]
    fn one_configuration_is_launched_once_at_the_least_and_two_twice() {
        assert_eq!(of(&adaptive(None), 1).0, 1);
        assert_eq!(of(&adaptive(Some(9)), 2), (4, 9));
    }

    #[test]
    fn the_best_ones_have_the_launches_of_the_blocks_and_of_the_duels() {
        let shown = |spec: &StrategySpec, launches, configurations| {
            let task = Task::plain(configurations, Some(0));
            let Shown { of_best, further } = spec.shown_after(launches, &task);
            (of_best, further)
        };
        let grid = StrategySpec::Grid(GridStrategy::default());
        assert_eq!(shown(&grid, 52, 12), (4, 40));
        assert_eq!(shown(&grid, 38, 12), (2, 26), "two whole blocks");
        assert_eq!(shown(&adaptive(None), 40, 12), (10, 28));
        assert_eq!(shown(&adaptive(None), 24, 12), (2, 12));
        // Where they end in the second block, what is best has one launch for sure.
        assert_eq!(shown(&adaptive(None), 20, 12), (1, 8));
        assert_eq!(shown(&adaptive(None), 0, 12), (0, 0));
        let opening = opening_launches(48, true).0;
        assert_eq!(shown(&adaptive(None), opening + 8 + 2, 48), (3, opening + 10 - 48));
        assert_eq!(shown(&adaptive(None), opening + 1, 48), (1, opening + 1 - 48));
    }

    #[test]
    fn a_claim_needs_three_launches_of_each_of_the_two_best() {
        let to_claim = |spec: &StrategySpec, configurations| {
            spec.launches_to_claim(&Task::plain(configurations, Some(0)))
        };
        assert_eq!(to_claim(&StrategySpec::Grid(GridStrategy::default()), 12), 52);
        assert_eq!(to_claim(&adaptive(None), 12), 26);
        assert_eq!(to_claim(&adaptive(None), 48), opening_launches(48, true).0 + 10);
        assert_eq!(to_claim(&adaptive(Some(55)), 48), 55);
        let claims = |spec: &StrategySpec, launches| {
            let task = Task::plain(12, Some(0));
            spec.claims_by(spec.shown_after(launches, &task))
        };
        assert_eq!([25, 26].map(|it| claims(&adaptive(None), it)), [false, true]);
        assert!(claims(&StrategySpec::Grid(GridStrategy::default()), 26));
    }

    #[test]
    fn launches_that_a_whole_screen_may_take_show_nothing_for_sure() {
        let levels = (0..48).map(|it| vec![it % 2, it / 2 % 2, it / 4 % 3, it / 12]).collect();
        let task = Task { levels, ..Task::plain(48, Some(0)) };
        let model = StrategySpec::Model(ModelStrategy::default());
        let claims = |launches| {
            let shown =
                [model.surely_shown_after(launches, &task), model.shown_after(launches, &task)];
            shown.map(|it| model.claims_by(it))
        };
        // Where the axes predict, the screen may end after 14.
        assert_eq!(model.fewest(&task), 14);
        assert_eq!(claims(23), [false, false]);
        assert_eq!([24, 40, 57].map(claims), [[false, true]; 3]);
        assert_eq!(claims(48 + 8 + 2), [true, true]);
        assert!(adaptive(None).surely_shown_after(40, &Task::plain(12, Some(0))).of_best == 3);
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
        let round = |trial, duel: Option<u32>| {
            let place = Place { trial, is_final: duel.is_some(), duel };
            spec.round(Order::Opened, place, 14, false)
        };
        assert_eq!([0, 13].map(|trial| round(trial, None)), [0, 0]);
        // A second block of three survivors.
        assert_eq!([14, 15, 16].map(|trial| round(trial, None)), [1, 1, 1]);
        let duels = [(17, 0), (18, 1), (19, 2), (20, 3)];
        assert_eq!(duels.map(|(trial, place)| round(trial, Some(place))), [2, 2, 3, 3]);
        let grid = StrategySpec::Grid(GridStrategy::default());
        let place = Place { trial: 7, is_final: false, duel: None };
        assert_eq!(grid.round(Order::Opened, place, 4, true), 1);
    }

    #[test]
    fn duels_begin_with_the_first_final_of_a_race_and_behind_what_a_model_left_out() {
        let of = |trial, is_final, configuration| Numbered { trial, is_final, configuration };
        let screen = ["a", "b", "c"].into_iter().zip(13..).map(|(it, trial)| of(trial, false, it));
        let block = [of(16, true, "a"), of(17, true, "b"), of(18, true, "c")];
        let first = |spec: &StrategySpec, finals: &[Numbered<'static>]| {
            spec.first_duel(screen.clone().chain(finals.iter().copied()))
        };
        let model = StrategySpec::Model(ModelStrategy::default());
        assert_eq!(first(&adaptive(None), &block), Some(16));
        assert_eq!(first(&model, &block), None);
        // The first of the first duel was not in the second block.
        let duels = [of(40, true, "d"), of(41, true, "a"), of(42, true, "b"), of(43, true, "d")];
        assert_eq!(first(&model, &[&block[..], &duels].concat()), Some(40));
        // Nothing of the second block was launched, and one alone instead.
        assert_eq!(first(&model, &[of(42, true, "a"), of(46, true, "d")]), Some(42));
        let older = [of(19, true, "b"), of(20, true, "a")];
        assert_eq!(first(&model, &[&block[..], &older].concat()), Some(19));
    }

    proptest! {
        #[test]
        fn a_range_is_one_and_fits_the_limit(
            configurations in 1_usize..400,
            more in 0_u32..500,
            named in any::<bool>(),
        ) {
            let task = Task::plain(configurations, named.then_some(0));
            let opening = opening_launches(configurations, named).0;
            for max_launches in [None, Some(opening + more)] {
                for spec in adaptive(max_launches).alternatives() {
                    let all = spec.expected_launches(&task);
                    let best = spec.shown_after(all.high, &task).of_best;
                    let to_claim = spec.launches_to_claim(&task);
                    prop_assert!(1 <= all.low && all.low <= all.high, "{:?}", all);
                    prop_assert!(best <= all.high.max(2), "{:?}", best);
                    prop_assert!(to_claim <= all.high, "{}", to_claim);
                    prop_assert!(!spec.chooses() || max_launches.is_none_or(|max| all.high == max));
                }
            }
        }
    }
}
