//! How a grid asks for launches and repeats: the strategies' options, as the grid file and the
//! manifest have them. What they build is in `build`; what each strategy does, in its own module.

use serde::{Deserialize, Serialize};

use super::Order;
use super::repeats::MOST_CHOSEN;

/// Configurations at most of which a model decides in seconds.
pub const MODELLED_TO: usize = 1_000;

/// How a grid asks for launches and repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategySpec {
    /// Everything: m launches of each configuration, each a seeded shuffled block.
    Grid(GridStrategy),
    /// A block or two of everything, then duels of the best ones.
    Adaptive(AdaptiveStrategy),
    /// A part of everything, predicted by what its axes do; then duels of the best ones.
    Model(ModelStrategy),
}

impl StrategySpec {
    /// Its name in a grid file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grid(_) => "grid",
            Self::Adaptive(_) => "adaptive",
            Self::Model(_) => "model",
        }
    }

    /// Whether what is launched depends on what was measured: estimates of what was launched
    /// less often are then no basis for a claim.
    pub fn chooses(&self) -> bool {
        !matches!(self, Self::Grid(_))
    }

    /// The probability with which its leader is to be within 5 % of the best one; `None`
    /// where it does not choose.
    pub fn probability(&self) -> Option<f64> {
        match self {
            Self::Grid(_) => None,
            Self::Adaptive(spec) => Some(spec.probability),
            Self::Model(spec) => Some(spec.racing.probability),
        }
    }

    /// Whether it begins with a prediction, where there is one.
    pub fn is_predicted(&self) -> bool {
        matches!(self, Self::Model(spec) if spec.predicted)
    }

    /// Kept repeats per launch and workload case; where they are chosen during the sweep,
    /// those of the first launches.
    pub fn repeats(&self) -> u32 {
        match self {
            Self::Grid(spec) => spec.repeats,
            Self::Adaptive(spec) => spec.repeats,
            Self::Model(spec) => spec.racing.repeats,
        }
    }

    /// Whether the sweep chooses the repeats of later launches itself.
    pub fn chooses_repeats(&self) -> bool {
        match self {
            Self::Grid(spec) => spec.auto,
            Self::Adaptive(spec) => spec.auto,
            Self::Model(spec) => spec.racing.auto,
        }
    }

    /// Kept repeats of a launch at the most.
    pub fn most_repeats(&self) -> u32 {
        let most = if self.chooses_repeats() { MOST_CHOSEN } else { 0 };
        self.repeats().max(most)
    }

    /// Seed of the order and of the prompts.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Grid(spec) => spec.seed,
            Self::Adaptive(spec) => spec.seed,
            Self::Model(spec) => spec.racing.seed,
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

/// Options of the strategy `adaptive`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdaptiveStrategy {
    /// Launches at most; without, a multiple of the configurations that duels rarely need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_launches: Option<u32>,
    /// Kept repeats per launch and workload case.
    pub repeats: u32,
    /// As of [`GridStrategy::auto`]; so by default. Manifests without it fixed their repeats.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto: bool,
    /// It ends when the leader is within 5 % of the best with this probability.
    pub probability: f64,
    /// Seed of the order and of the prompts.
    pub seed: u64,
}

impl Default for AdaptiveStrategy {
    fn default() -> Self {
        Self { max_launches: None, repeats: 3, auto: true, probability: 0.9, seed: 1 }
    }
}

/// Options of the strategy `model`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModelStrategy {
    /// Those of the duels after the screen.
    #[serde(flatten)]
    pub racing: AdaptiveStrategy,
    /// Whether the simulator's prediction for these flags is where the model begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub predicted: bool,
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    #[test]
    fn a_block_has_every_configuration() {
        let spec = StrategySpec::Grid(GridStrategy::default());
        let round = |trial, configurations, baseline| {
            let place = Place { trial, is_final: false, duel: None };
            spec.round(Order::Opened, place, configurations, baseline)
        };
        let rounds: Vec<u32> = (0..12).map(|trial| round(trial, 4, true)).collect();
        assert_eq!(rounds, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
        // With the baseline once more.
        assert_eq!([7, 8].map(|trial| round(trial, 7, true)), [0, 1]);
        assert_eq!(round(5, 0, false), 5);
    }

    /// As manifests of this version and of older ones have them.
    #[test]
    fn options_are_read_as_they_are_written() {
        let read = |text: &str| serde_json::from_str::<StrategySpec>(text).expect("read");
        let grid = GridStrategy { launches: 2, repeats: 5, auto: false, seed: 7 };
        let older = r#"{"grid":{"launches":2,"repeats":5,"seed":7}}"#;
        assert_eq!(read(older), StrategySpec::Grid(grid));
        // Repeats were fixed where nothing else was written.
        let fixed = AdaptiveStrategy { auto: false, ..AdaptiveStrategy::default() };
        let older = r#"{"adaptive":{"repeats":3,"probability":0.9,"seed":1}}"#;
        assert_eq!(read(older), StrategySpec::Adaptive(fixed.clone()));
        let older = r#"{"model":{"repeats":3,"probability":0.9,"seed":1}}"#;
        let model = ModelStrategy { racing: fixed.clone(), predicted: false };
        assert_eq!(read(older), StrategySpec::Model(model));
        let racing = AdaptiveStrategy { max_launches: Some(60), ..AdaptiveStrategy::default() };
        for spec in [
            StrategySpec::Adaptive(racing.clone()),
            StrategySpec::Adaptive(fixed),
            StrategySpec::Model(ModelStrategy { racing, predicted: true }),
            StrategySpec::Model(ModelStrategy::default()),
        ] {
            let text = serde_json::to_string(&spec).expect("JSON");
            assert!(text.starts_with(&format!("{{\"{}\":{{", spec.name())), "{text}");
            assert_eq!(read(&text), spec, "{text}");
            assert_eq!(text.contains("\"auto\":true"), spec.chooses_repeats(), "{text}");
        }
    }
}
