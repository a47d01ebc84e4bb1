//! What a strategy decides about, as far as it is fixed for a whole sweep: how many
//! configurations there are, which one is the baseline, what is better, which bounds there
//! are, and which levels of the axes each configuration has. Names and flags stay outside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Order;
use super::spec::MODELLED_TO;
use crate::configuration::Configuration;
use crate::metric::{Goal, Objective};

/// What a strategy decides about. Configurations are known by their index in the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// How many there are.
    pub configurations: usize,
    /// The one that is launched first.
    pub baseline: Option<usize>,
    /// The rule that orders blocks.
    pub order: Order,
    /// Which way the objective is better.
    pub goal: Goal,
    /// The constraints' bounds, in the grid's order: that of
    /// [`ObservedRepeat::constraints`](super::ObservedRepeat::constraints).
    pub constraints: Vec<Limits>,
    /// Of each configuration the level of each axis, from 0; the axes are the same for all.
    pub levels: Vec<Vec<usize>>,
    /// Of each configuration the logarithm of the objective's value that is predicted, where it
    /// is; greater values are better ones where it is maximised.
    pub predicted: Option<Vec<f64>>,
    /// Seconds of the machine in one of the clock: 1 but for a simulated machine.
    pub pace: f64,
}

/// What is known of a sweep's configurations before anything is launched, as the manifest keeps
/// it: the same for every session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The objective is predicted.
    Made {
        /// By what, and of what: for people.
        by: String,
        /// Of each configuration, in the grid's order, the logarithm of the value.
        logarithms: Vec<f64>,
    },
    /// It was asked for and is not there.
    Missing {
        /// Why.
        why: String,
    },
}

impl Prediction {
    /// The logarithms, where there are any.
    pub fn logarithms(&self) -> Option<&[f64]> {
        match self {
            Self::Made { logarithms, .. } => Some(logarithms),
            Self::Missing { .. } => None,
        }
    }

    /// By what they were made, where there are any.
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::Made { by, .. } => Some(by),
            Self::Missing { .. } => None,
        }
    }
}

/// Bounds of one constraint, inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// At least this.
    pub min: Option<f64>,
    /// At most this.
    pub max: Option<f64>,
}

impl Task {
    /// So many configurations that nothing is known of, to minimise.
    pub fn plain(configurations: usize, baseline: Option<usize>) -> Self {
        Self {
            configurations,
            baseline,
            order: Order::Opened,
            goal: Goal::Minimize,
            constraints: Vec::new(),
            levels: vec![Vec::new(); configurations],
            predicted: None,
            pace: 1.0,
        }
    }

    /// That of a sweep of these configurations.
    pub fn of(
        configurations: &[Configuration],
        baseline: Option<usize>,
        objective: &Objective,
        order: Order,
    ) -> Self {
        let limits = |it: &crate::metric::Constraint| Limits { min: it.min, max: it.max };
        Self {
            order,
            goal: objective.goal,
            constraints: objective.constraints.iter().map(limits).collect(),
            levels: levels(configurations),
            ..Self::plain(configurations.len(), baseline)
        }
    }

    /// How much there is to decide about, without what is sought. Of more configurations than a
    /// model takes nothing of their levels is asked: that would cost too much.
    pub fn sized(configurations: &[Configuration], baseline: Option<usize>) -> Self {
        let plain = Self::plain(configurations.len(), baseline);
        if configurations.len() > MODELLED_TO {
            return plain;
        }
        Self { levels: levels(configurations), ..plain }
    }

    /// The same with what is predicted, where it is of as many configurations.
    #[must_use]
    pub fn with_prediction(self, prediction: Option<&Prediction>) -> Self {
        let known = prediction.and_then(Prediction::logarithms);
        let known = known.filter(|it| it.len() == self.configurations);
        Self { predicted: known.map(<[f64]>::to_vec), ..self }
    }
}

/// What a configuration sets: flags, variables, and what it starts, each by name.
fn settings(configuration: &Configuration) -> BTreeMap<String, String> {
    let flags = configuration.varied.iter();
    let mut settings: BTreeMap<String, String> =
        flags.map(|(name, value)| (format!("flag {name}"), format!("{value:?}"))).collect();
    let variables = configuration.environment.iter();
    settings.extend(variables.map(|(name, value)| (format!("variable {name}"), value.clone())));
    settings.insert("image".to_owned(), format!("{:?}", configuration.image));
    settings.insert("model".to_owned(), format!("{:?}", configuration.model));
    settings.insert("stack".to_owned(), format!("{:?}", configuration.stack));
    settings
}

/// Levels of the settings that differ. What a configuration does not set is a level, too.
pub(super) fn levels(configurations: &[Configuration]) -> Vec<Vec<usize>> {
    let all: Vec<BTreeMap<String, String>> = configurations.iter().map(settings).collect();
    let names: std::collections::BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let mut levels = vec![Vec::new(); configurations.len()];
    for name in names {
        let mut seen: Vec<Option<&String>> = Vec::new();
        let of_axis: Vec<usize> = all
            .iter()
            .map(|settings| {
                let value = settings.get(name);
                seen.iter().position(|it| *it == value).unwrap_or_else(|| {
                    seen.push(value);
                    seen.len() - 1
                })
            })
            .collect();
        if seen.len() > 1 {
            for (levels, level) in levels.iter_mut().zip(of_axis) {
                levels.push(level);
            }
        }
    }
    levels
}
