//! The Pareto front of several objectives: which configurations none beats in all of them.
//! Means alone name a front too easily, so each configuration has one of four places by what
//! is shown. The first objective is compared with the machine's level taken out, the others by
//! each configuration's own launches.

use serde::Serialize;

use super::evidence::Evidence;
use super::measured::Measured;
use crate::metric::{Aim, Goal};
use crate::statistics::SIGNIFICANCE;

/// The front of several objectives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Front {
    /// The objectives, the first one first.
    pub objectives: Vec<Aim>,
    /// Ranked configurations with a figure of each, by rank.
    pub configurations: Vec<OnFront>,
}

/// A configuration and its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnFront {
    /// Its name.
    pub configuration: String,
    /// Whether it is on the front.
    pub front: FrontPlace,
}

/// Whether a configuration is on the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FrontPlace {
    /// Shown: it is better than each other one in some objective.
    Surely,
    /// By its means alone.
    ByMeans,
    /// Not by its means, but it is not shown to be off it.
    Open,
    /// Shown: another one is better in all objectives.
    Off,
}

impl FrontPlace {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Surely => "surely",
            Self::ByMeans => "by_means",
            Self::Open => "open",
            Self::Off => "off",
        }
    }
}

impl Front {
    /// The names of those with this place, by rank.
    pub fn names(&self, front: FrontPlace) -> Vec<&str> {
        let of = self.configurations.iter().filter(|it| it.front == front);
        of.map(|it| it.configuration.as_str()).collect()
    }

    /// The place of a configuration; `None` of one that lacks a figure.
    pub fn place_of(&self, configuration: &str) -> Option<FrontPlace> {
        let own = self.configurations.iter().find(|it| it.configuration == configuration);
        own.map(|it| it.front)
    }
}

/// An objective over all arms.
struct Sought<'a> {
    measured: &'a Measured,
    goal: Goal,
}

impl Sought<'_> {
    fn mean(&self, arm: usize) -> Option<f64> {
        self.measured.estimate(arm).map(|it| it.mean)
    }

    /// By means: positive where the first is better.
    fn gain(&self, arm: usize, than: usize) -> f64 {
        let (arm, than) = (self.mean(arm).unwrap_or(f64::NAN), self.mean(than).unwrap_or(f64::NAN));
        if self.goal == Goal::Minimize { than - arm } else { arm - than }
    }

    /// Whether the first is shown to be better, at this level.
    fn is_better(&self, arm: usize, than: usize, level: f64) -> bool {
        let p = self.measured.p_better(than, &[arm], self.goal);
        p.first().copied().flatten().is_some_and(|p| p < level)
    }
}

/// The front; `None` with one objective, and where fewer than two have a figure of each.
/// `order`: ranked arms, best first.
pub(super) fn front(evidence: &Evidence<'_>, order: &[usize]) -> Option<Front> {
    let objective = &evidence.sweep.manifest.objective;
    if objective.further.is_empty() {
        return None;
    }
    let first = Aim { metric: objective.metric.clone(), goal: objective.goal };
    let mut sought = vec![Sought { measured: &evidence.measured[0], goal: first.goal }];
    for aim in &objective.further {
        sought.push(Sought { measured: evidence.of(&aim.metric)?, goal: aim.goal });
    }
    let has_all = |arm: &usize| sought.iter().all(|it| it.mean(*arm).is_some());
    let arms: Vec<usize> = order.iter().copied().filter(has_all).collect();
    if arms.len() < 2 {
        return None;
    }
    let on_front = |&arm: &usize| OnFront {
        configuration: evidence.arms[arm].configuration.name.clone(),
        front: place(&sought, &arms, arm),
    };
    Some(Front {
        configurations: arms.iter().map(on_front).collect(),
        objectives: std::iter::once(first).chain(objective.further.iter().cloned()).collect(),
    })
}

/// At the 5 % level over all configurations (Bonferroni): "on" needs one of the objectives
/// against each other one, "off" all objectives against one of the others.
fn place(sought: &[Sought<'_>], arms: &[usize], arm: usize) -> FrontPlace {
    let of = arms.len() as f64;
    let others = || arms.iter().copied().filter(|other| *other != arm);
    let on = SIGNIFICANCE / (of * sought.len() as f64);
    if others().all(|other| sought.iter().any(|it| it.is_better(arm, other, on))) {
        return FrontPlace::Surely;
    }
    let off = SIGNIFICANCE / (of * (of - 1.0));
    if others().any(|other| sought.iter().all(|it| it.is_better(other, arm, off))) {
        return FrontPlace::Off;
    }
    let beats = |other: usize| {
        let gains: Vec<f64> = sought.iter().map(|it| it.gain(other, arm)).collect();
        gains.iter().all(|gain| *gain >= 0.0) && gains.iter().any(|gain| *gain > 0.0)
    };
    if others().any(beats) { FrontPlace::Open } else { FrontPlace::ByMeans }
}
