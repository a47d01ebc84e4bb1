//! Each strategy in a plan: how many launches it would take, how long, and which difference it
//! can show between the best configuration and the next one. What the launches are is decided
//! in `strategy`; how long they take, by the estimate or by earlier runs.

use serde::Serialize;

use super::super::Grid;
use super::super::confirm::has_ratio;
use super::super::estimate::Estimate;
use super::{Begun, Ends};
use crate::statistics::SIGNIFICANCE;
use crate::strategy::confirm::{Cost, Noise, difference_to_show};
use crate::strategy::{
    CHOSEN_FROM, DefaultStrategy, GridStrategy, MODELLED_FROM, Shown, StrategySpec, Task,
};

/// Of a machine at rest, what a launch takes changes nothing.
pub(super) const AT_REST: Cost = Cost { boot: 0.0, repeat: 0.0 };

/// SD between launches of one configuration, as a fraction: what machines at rest showed.
const LAUNCH_SD: f64 = 0.03;
/// SD between repeats of one launch, as a fraction, where no earlier run showed it.
const REPEAT_SD: f64 = 0.05;
/// Who can show no difference below this, as a fraction, shows nothing.
const NOTHING: f64 = 1.0;
/// Probability with which a difference is to be shown.
const POWER: f64 = 0.8;

/// A strategy, and what it would take and show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedStrategy {
    /// Its name in a grid file.
    pub strategy: &'static str,
    /// Whether the grid names it, or has it by default.
    #[serde(rename = "chosen")]
    pub is_chosen: bool,
    /// Launches in all.
    pub launches: Range<u64>,
    /// Launches of its first block, in which each configuration has one; of `model` at the most.
    pub first_block: u64,
    /// Hours in all: by earlier runs of the same service where they are known, else by
    /// assumption.
    pub hours: Range<f64>,
    /// Whether the hours come from earlier runs.
    pub measured: bool,
    /// The smallest difference between the best one and the next that it can show, within the
    /// budget where there is one; `None` where there is no next, where no ratio
    /// is taken, and where it shows nothing.
    pub can_show: Option<CanShow>,
    /// Launches that the budget allows to begin, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_within_budget: Option<Begun>,
    /// Its options.
    #[serde(skip)]
    pub spec: StrategySpec,
    /// What shows a difference: after the fewest launches with which a claim can be made, or
    /// that the budget allows to begin, and after the most.
    #[serde(skip)]
    shown: (Shown, Shown),
    /// How much there is to decide about.
    #[serde(skip)]
    sizes: Task,
    /// Launches that run beside each other, on average.
    #[serde(skip)]
    pub(super) beside: f64,
}

/// Differences between the best one and the next, as fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CanShow {
    /// After the most launches.
    pub low: f64,
    /// After the fewest of a claim, or that the budget allows; `None` where they show nothing.
    pub high: Option<f64>,
}

/// From the least to the most; the same where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range<T> {
    /// The least.
    pub low: T,
    /// The most.
    pub high: T,
}

/// What differences are reckoned from: a calm machine, and what values usually differ by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Differences {
    /// Probability with which a difference of that size is shown.
    pub power: f64,
    /// The level for all comparisons with the best one together.
    pub level: f64,
    /// How many these are.
    pub comparisons: usize,
    /// Whether ratios are taken of the objective; else none of this says anything.
    pub ratio: bool,
    /// Kept repeats of each launch.
    pub repeats: u64,
    /// SD between launches, as a fraction: assumed.
    pub launch_sd: f64,
    /// SD between repeats of one launch, as a fraction.
    pub repeat_sd: f64,
    /// Whether earlier runs showed that; else it is assumed.
    pub repeat_sd_measured: bool,
}

impl Differences {
    /// What is assumed of a grid.
    pub(super) fn assumed(grid: &Grid) -> Self {
        let own = grid.workload_of(&grid.objective.metric).and_then(|it| it.repeats);
        Self {
            power: POWER,
            level: SIGNIFICANCE,
            comparisons: grid.configurations.len().saturating_sub(1),
            ratio: has_ratio(&grid.objective.metric),
            repeats: own.unwrap_or(u64::from(grid.strategy.repeats())),
            launch_sd: LAUNCH_SD,
            repeat_sd: REPEAT_SD,
            repeat_sd_measured: false,
        }
    }

    /// What values differ by.
    pub(super) fn noise(&self) -> Noise {
        Noise { launch: self.launch_sd.powi(2), repeat: self.repeat_sd.powi(2), drift: 0.0 }
    }

    /// Whether there is a difference that could be shown.
    pub fn is_known(&self) -> bool {
        self.ratio && self.comparisons > 0
    }

    /// The smallest difference that these launches show, as a fraction, below [`NOTHING`]: every
    /// configuration tells how much launches differ.
    fn shown_by(&self, shown: Shown) -> Option<f64> {
        let (cost, noise) = (AT_REST, self.noise());
        // Equal parts: how many of the others will be shown is not known.
        let level = self.level / self.comparisons.max(1) as f64;
        let repeats = u32::try_from(self.repeats).unwrap_or(u32::MAX);
        let asked = (level, self.power);
        let launches = (shown.of_best, f64::from(shown.further));
        let ratio = difference_to_show(cost, noise, repeats, launches, asked)?;
        Some(ratio.exp_m1()).filter(|it| self.is_known() && *it < NOTHING)
    }
}

impl PlannedStrategy {
    /// The same by what earlier runs make expect: seconds at the least and at the most.
    pub(super) fn took(&mut self, (least, most): (f64, f64), ends: Ends) {
        self.hours = Range { low: least / 3600.0, high: most / 3600.0 };
        self.measured = true;
        let begun = ends.begun(most, self.launches.high, self.beside);
        self.begun_within_budget = begun.map(|it| Begun { least: it, most: it });
        self.shown = self.shown_within_budget();
    }

    /// The same with what values differ by.
    pub(super) fn differ_by(&mut self, differences: &Differences) {
        let (fewest, most) = self.shown;
        let by = |shown| differences.shown_by(shown).filter(|_| self.spec.claims_by(shown));
        let (low, high) = (by(most), by(fewest));
        self.can_show = low.map(|low| CanShow { low, high });
    }

    fn shown_within_budget(&self) -> (Shown, Shown) {
        let count = |it: u64| u32::try_from(it).unwrap_or(u32::MAX);
        let most = count(self.launches.high);
        let begun = self
            .begun_within_budget
            .map_or((most, most), |it| (count(it.least).min(most), count(it.most).min(most)));
        let surely = self.spec.surely_shown_after(begun.0, &self.sizes);
        (surely, self.spec.shown_after(begun.1, &self.sizes))
    }
}

/// Every strategy that there is.
pub(super) fn all(grid: &Grid, differences: &Differences) -> Vec<PlannedStrategy> {
    let sizes = grid.sizes();
    let of = |spec: StrategySpec| {
        let is_chosen = spec == grid.strategy;
        // A bound that suits the grid's own strategy may be too low for another one.
        let spec = if is_chosen { spec } else { spec.within_reach(&sizes) };
        let estimate = Estimate::by(grid, &spec);
        let mut planned = PlannedStrategy {
            strategy: spec.name(),
            is_chosen,
            launches: Range { low: estimate.launches.0, high: estimate.launches.1 },
            first_block: u64::from(spec.first_block(&sizes)),
            hours: Range {
                low: estimate.low_seconds / 3600.0,
                high: estimate.high_seconds / 3600.0,
            },
            measured: false,
            can_show: None,
            begun_within_budget: Begun::of(&estimate.begun_within(grid)),
            shown: Default::default(),
            sizes: sizes.clone(),
            beside: estimate.beside,
            spec,
        };
        planned.shown = planned.shown_within_budget();
        planned.differ_by(differences);
        planned
    };
    grid.strategy.alternatives().into_iter().map(of).collect()
}

/// Which strategy a grid has that names none, why, and how to have another one.
pub fn by_default(grid: &Grid) -> Option<String> {
    if !grid.is_default_strategy {
        return None;
    }
    let count = grid.configurations.len();
    let default = DefaultStrategy::of(&grid.configurations);
    let from = match default {
        DefaultStrategy::Few => format!("fewer than {CHOSEN_FROM}"),
        DefaultStrategy::Many { .. } => format!("{MODELLED_FROM} or more"),
        _ => format!("{CHOSEN_FROM} or more"),
    };
    let does = match default {
        DefaultStrategy::Few => "which launches each equally often".to_owned(),
        DefaultStrategy::Many { axes } => {
            format!("which launches a part of them and predicts the others by {axes} axes")
        }
        _ => "which launches the best ones most often".to_owned(),
    };
    let not_modelled = match default {
        DefaultStrategy::WithoutAxes => {
            "; `model` needs two axes with levels that several of them share"
        }
        DefaultStrategy::TooMany => "; there are too many for `model`",
        _ => "",
    };
    let other = match default {
        DefaultStrategy::Few => "`strategy: adaptive` launches the best ones more often".to_owned(),
        _ => format!("`strategy: grid` launches each {} times", GridStrategy::default().launches),
    };
    let (name, plural) = (default.spec().name(), if count == 1 { "" } else { "s" });
    Some(format!(
        "the grid names no strategy; with {count} configuration{plural} ({from}) it is `{name}`, {does}\
         {not_modelled}. {other}"
    ))
}
