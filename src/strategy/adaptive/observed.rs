//! From observations to launches on the scale on which they are compared: logarithms where
//! every value is positive, else plain values in units of their median size. Smaller is
//! always better here: what is to be maximised has its sign turned. Nothing is estimated here.

use std::collections::BTreeMap;

use super::super::{Observation, Task, hosts};
use crate::metric::Goal;
use crate::statistics::{LaunchMean, median};

/// Seconds between launches whose times are not known: only their order counts then.
const UNKNOWN_GAP: f64 = 300.0;

/// How much worse than the best one still is as good: 5 %.
pub(crate) const MARGIN: f64 = 0.048_790_164_169_432;

/// The scale of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Logarithms: differences are ratios.
    Logs,
    /// Values in this unit, since some are zero or negative.
    Plain(f64),
}

impl Scale {
    /// A value where smaller is better.
    fn of(self, value: f64, goal: Goal) -> f64 {
        let value = match self {
            Self::Logs => value.ln(),
            Self::Plain(unit) => value / unit,
        };
        match goal {
            Goal::Minimize => value,
            Goal::Maximize => -value,
        }
    }

    /// Back to the objective's own values.
    pub(crate) fn back(self, value: f64, goal: Goal) -> f64 {
        let value = match goal {
            Goal::Minimize => value,
            Goal::Maximize => -value,
        };
        match self {
            Self::Logs => value.exp(),
            Self::Plain(unit) => value * unit,
        }
    }

    /// The difference that does not matter: 5 % of the leader's own mean on this scale.
    pub(crate) fn margin(self, leader: f64) -> f64 {
        match self {
            Self::Logs => MARGIN,
            Self::Plain(_) => 0.05 * leader.abs(),
        }
    }
}

/// Launches that gave values, in the order of time.
#[derive(Clone, Debug)]
pub(crate) struct Launches {
    /// By the configuration's index in the grid.
    pub(crate) means: Vec<LaunchMean>,
    pub(crate) scale: Scale,
}

impl Launches {
    /// Those of observations; values that are not finite do not count.
    pub(crate) fn of(task: &Task, observations: &[&Observation]) -> Self {
        let values = || observations.iter().flat_map(|it| &it.repeats).filter_map(objective);
        let scale = if values().all(|value| value > 0.0) {
            Scale::Logs
        } else {
            let sizes: Vec<f64> = values().map(f64::abs).filter(|size| *size > 0.0).collect();
            Scale::Plain(median(&sizes).unwrap_or(1.0))
        };
        let start = observations.iter().filter_map(|it| it.started_at).min();
        let hosts = hosts::numbers(observations.iter().map(|it| it.host.as_str()));
        let mut means = Vec::new();
        for (place, observation) in observations.iter().enumerate() {
            let mut by_launch: BTreeMap<u32, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
            for repeat in &observation.repeats {
                let Some(value) = objective(repeat) else { continue };
                let known = by_launch.entry(repeat.launch).or_default();
                known.0.push(scale.of(value, task.goal));
                let since = repeat.at.zip(start).map(|(at, start)| at.duration_since(start));
                known.1.extend(since.map(|it| it.as_secs_f64()));
            }
            for (values, times) in by_launch.into_values() {
                let time = match (times.is_empty(), start) {
                    (false, _) => times.iter().sum::<f64>() / times.len() as f64,
                    (true, Some(start)) => middle(observation, start),
                    (true, None) => place as f64 * UNKNOWN_GAP,
                };
                let mean = LaunchMean::of(observation.configuration, time * task.pace, &values);
                means.push(mean.on(hosts[observation.host.as_str()]));
            }
        }
        means.sort_by(|a, b| a.time.total_cmp(&b.time));
        Self { means, scale }
    }

    /// Launches by configuration.
    pub(crate) fn counts(&self, configurations: usize) -> Vec<usize> {
        let mut counts = vec![0; configurations];
        for launch in &self.means {
            counts[launch.configuration] += 1;
        }
        counts
    }

    /// Whether they ran on more than one host.
    pub(crate) fn has_several_hosts(&self) -> bool {
        self.means.iter().any(|it| it.host != self.means[0].host)
    }

    /// The plain mean of a configuration's launches.
    pub(crate) fn mean(&self, configuration: usize) -> Option<f64> {
        let own = self.means.iter().filter(|it| it.configuration == configuration);
        let (sum, count) = own.fold((0.0, 0.0), |(sum, count), it| (sum + it.mean, count + 1.0));
        (count > 0.0).then(|| sum / count)
    }
}

fn objective(repeat: &super::super::ObservedRepeat) -> Option<f64> {
    repeat.objective.filter(|value| value.is_finite())
}

/// The middle of a trial, in seconds from `start`.
fn middle(observation: &Observation, start: jiff::Timestamp) -> f64 {
    let begin = observation.started_at.map_or(0.0, |at| at.duration_since(start).as_secs_f64());
    begin + observation.duration.as_secs_f64() / 2.0
}
