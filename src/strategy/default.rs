//! Which strategy a grid has that names none: by how many configurations there are, and by
//! whether their axes tell them apart. What the strategies do, and their options, is elsewhere;
//! a sweep that began keeps the strategy of its manifest.

use super::spec::MODELLED_TO;
use super::{AdaptiveStrategy, GridStrategy, ModelStrategy, StrategySpec, model, task};
use crate::configuration::Configuration;

/// Configurations from which the strategy chooses its launches.
pub const CHOSEN_FROM: usize = 6;
/// Configurations from which only a part of them is launched.
pub const MODELLED_FROM: usize = 40;
/// Axes that a model needs: of one alone it says what neighbours would.
const AXES: usize = 2;

/// The strategy of a grid that names none, with the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultStrategy {
    /// `grid`: so few can all be launched as often as each other.
    Few,
    /// `adaptive`: launches of what is clearly behind are better spent on the best ones.
    Several,
    /// `model`: so many differ by axes that tell of each other.
    Many {
        /// How many axes have at least two levels that several configurations share.
        axes: usize,
    },
    /// `adaptive`: enough for `model`, but fewer than two axes have levels that are shared.
    WithoutAxes,
    /// `adaptive`: more than a model decides between in seconds.
    TooMany,
}

impl DefaultStrategy {
    /// That of these configurations.
    pub fn of(configurations: &[Configuration]) -> Self {
        let axes = || model::axes(&task::levels(configurations));
        Self::by(configurations.len(), axes)
    }

    /// That of so many configurations; `axes` is asked for only where it decides.
    fn by(configurations: usize, axes: impl FnOnce() -> usize) -> Self {
        if configurations < CHOSEN_FROM {
            return Self::Few;
        }
        if configurations < MODELLED_FROM {
            return Self::Several;
        }
        if configurations > MODELLED_TO {
            return Self::TooMany;
        }
        match axes() {
            axes if axes < AXES => Self::WithoutAxes,
            axes => Self::Many { axes },
        }
    }

    /// The strategy with its defaults.
    pub fn spec(self) -> StrategySpec {
        match self {
            Self::Few => StrategySpec::Grid(GridStrategy::default()),
            Self::Several | Self::WithoutAxes | Self::TooMany => {
                StrategySpec::Adaptive(AdaptiveStrategy::default())
            }
            Self::Many { .. } => StrategySpec::Model(ModelStrategy::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_configurations_decides_and_from_40_on_the_axes_too() {
        use DefaultStrategy::{Few, Many, Several, TooMany, WithoutAxes};
        let cases = [
            (1, 2, Few, "grid"),
            (5, 2, Few, "grid"),
            (6, 2, Several, "adaptive"),
            (39, 3, Several, "adaptive"),
            (40, 2, Many { axes: 2 }, "model"),
            (40, 1, WithoutAxes, "adaptive"),
            (40, 0, WithoutAxes, "adaptive"),
            (1_000, 3, Many { axes: 3 }, "model"),
            (1_001, 3, TooMany, "adaptive"),
            (100_000, 5, TooMany, "adaptive"),
        ];
        for (configurations, axes, expected, name) in cases {
            let default = DefaultStrategy::by(configurations, || axes);
            assert_eq!((default, default.spec().name()), (expected, name), "{configurations}");
        }
    }

    #[test]
    fn axes_are_not_asked_for_where_they_decide_nothing() {
        for configurations in [0, 5, 39, 1_001, 100_000] {
            DefaultStrategy::by(configurations, || panic!("{configurations}"));
        }
    }

    #[test]
    fn who_chooses_launches_chooses_repeats_too() {
        assert!(!DefaultStrategy::Few.spec().chooses_repeats());
        for default in [DefaultStrategy::Several, DefaultStrategy::Many { axes: 2 }] {
            assert!(default.spec().chooses() && default.spec().chooses_repeats(), "{default:?}");
        }
    }
}
