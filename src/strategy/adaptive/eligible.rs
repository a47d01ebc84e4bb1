//! Which configurations are out: those that fail, and those that break a bound. What may
//! break a bound stays in until it has launches enough. What is slow is not decided here.

use super::super::{Limits, Observation, Task, TrialOutcome};
use crate::statistics::{CONFIDENCE, Components, GroupedValues, Prior, t_quantile};

/// Launches of a configuration after which its mean decides whether it keeps a bound that lies
/// inside its interval.
pub(crate) const ENOUGH: usize = 3;

/// Trials in a row without a value after which a configuration is out.
const IN_A_ROW: usize = 2;

/// Whether a configuration may win.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Eligible {
    /// It keeps every bound, or there is none.
    Yes,
    /// A bound lies inside its interval, and its mean keeps it.
    Perhaps,
    /// A bound lies inside its interval, and its mean breaks it.
    Hardly,
    /// It fails, is skipped, or breaks a bound: it is out.
    No,
}

impl Eligible {
    /// Whether it is still in the race.
    pub(crate) fn is_in(self) -> bool {
        self != Self::No
    }
}

/// Whether each configuration may win, by its index in the grid.
pub(crate) fn eligible(task: &Task, observations: &[&Observation]) -> Vec<Eligible> {
    let mut found = vec![Eligible::Yes; task.configurations];
    for (index, limits) in task.constraints.iter().enumerate() {
        bounded(&mut found, index, *limits, observations);
    }
    for (configuration, found) in found.iter_mut().enumerate() {
        if fails(observations.iter().filter(|it| it.configuration == configuration)) {
            *found = Eligible::No;
        }
    }
    found
}

/// Whether a configuration is not worth a further launch, from its trials in their order.
fn fails<'a>(trials: impl DoubleEndedIterator<Item = &'a &'a Observation>) -> bool {
    let mut lost = 0;
    for trial in trials.rev() {
        if matches!(trial.outcome, TrialOutcome::Infeasible | TrialOutcome::Skipped) {
            return true;
        }
        if trial.repeats.iter().any(|repeat| repeat.objective.is_some()) {
            return false;
        }
        lost += 1;
        if lost >= IN_A_ROW {
            return true;
        }
    }
    false
}

/// Lowers what is found by one constraint.
fn bounded(found: &mut [Eligible], index: usize, limits: Limits, observations: &[&Observation]) {
    let plain: Vec<GroupedValues> =
        (0..found.len()).map(|configuration| values(observations, configuration, index)).collect();
    let ends = [limits.min, limits.max];
    let logs: Option<Vec<GroupedValues>> = plain.iter().map(GroupedValues::log).collect();
    let logs = logs.filter(|_| ends.iter().flatten().all(|end| *end > 0.0));
    let (arms, prior, limits) = if let Some(logs) = logs {
        let log = |end: Option<f64>| end.map(f64::ln);
        (logs, Prior::LOG, Limits { min: log(limits.min), max: log(limits.max) })
    } else {
        let all: Vec<f64> =
            plain.iter().flat_map(GroupedValues::values).flatten().copied().collect();
        let mean = all.iter().map(|it| it.abs()).sum::<f64>() / all.len().max(1) as f64;
        (plain, Prior::around(mean), limits)
    };
    let components = Components::pool(&arms, prior);
    for (found, arm) in found.iter_mut().zip(&arms) {
        let Some(mean) = arm.mean() else { continue };
        let error = components.of_mean(arm);
        let reach = t_quantile(CONFIDENCE, error.degrees_of_freedom) * error.variance.sqrt();
        let beyond = |by: f64| {
            limits.max.is_some_and(|max| mean > max + by)
                || limits.min.is_some_and(|min| mean < min - by)
        };
        let (surely, perhaps, on_average) = (beyond(reach), beyond(-reach), beyond(0.0));
        let enough = arm.launches() >= ENOUGH;
        *found = match *found {
            Eligible::No => Eligible::No,
            _ if surely || (on_average && enough) => Eligible::No,
            _ if on_average => Eligible::Hardly,
            Eligible::Yes if perhaps => Eligible::Perhaps,
            other => other,
        };
    }
}

/// A constraint's values of one configuration, by launch.
fn values(observations: &[&Observation], configuration: usize, index: usize) -> GroupedValues {
    let mut launches: Vec<(u32, Vec<f64>)> = Vec::new();
    let own = observations.iter().filter(|it| it.configuration == configuration);
    for repeat in own.flat_map(|it| &it.repeats) {
        let value = repeat.constraints.get(index).copied().flatten();
        let Some(value) = value.filter(|value| value.is_finite()) else { continue };
        match launches.iter_mut().find(|(launch, _)| *launch == repeat.launch) {
            Some((_, values)) => values.push(value),
            None => launches.push((repeat.launch, vec![value])),
        }
    }
    GroupedValues::new(launches.into_iter().map(|(_, values)| values).collect())
}
