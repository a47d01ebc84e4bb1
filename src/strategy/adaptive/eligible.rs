//! Which configurations are out: those that fail, and those that break a bound. What may
//! break a bound stays in until it has launches enough. What is slow is not decided here.

use super::super::{Limits, Observation, Task, TrialOutcome};
use crate::statistics::{
    CONFIDENCE, Components, GroupedValues, Prior, Uncertainty, t_quantile, two_sided_p,
};

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

/// What the observations say of each configuration's bounds, by its index in the grid.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Whether it may win.
    pub(crate) eligible: Vec<Eligible>,
    /// The probability that it keeps all bounds: 0 of what fails, 1 where nothing is known.
    pub(crate) keeps: Vec<f64>,
    /// Whether it is out because it fails, is skipped or gives no value.
    pub(crate) fails: Vec<bool>,
}

impl Judged {
    /// By these observations. Both are of the same pooled variances, which cost time to find.
    pub(crate) fn of(task: &Task, observations: &[&Observation]) -> Self {
        let mut judged = Self {
            eligible: vec![Eligible::Yes; task.configurations],
            keeps: vec![1.0; task.configurations],
            fails: (0..task.configurations).map(|it| is_failing(observations, it)).collect(),
        };
        for index in 0..task.constraints.len() {
            let bounded = Bounded::new(task, index, observations);
            lower(&mut judged.eligible, &bounded);
            for (configuration, keeps) in judged.keeps.iter_mut().enumerate() {
                *keeps *= bounded.keeps(configuration).unwrap_or(1.0);
            }
        }
        for configuration in (0..task.configurations).filter(|it| judged.fails[*it]) {
            judged.eligible[configuration] = Eligible::No;
            judged.keeps[configuration] = 0.0;
        }
        judged
    }

    /// The baseline, while it gives values: whatever is claimed is over it. Where it breaks a
    /// bound it is out, and is launched all the same until a claim can be made.
    pub(crate) fn reference(&self, task: &Task) -> Option<usize> {
        task.baseline.filter(|it| !self.fails[*it])
    }
}

fn is_failing(observations: &[&Observation], configuration: usize) -> bool {
    fails(observations.iter().filter(|it| it.configuration == configuration))
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
fn lower(found: &mut [Eligible], bounded: &Bounded) {
    let limits = bounded.limits;
    for (configuration, found) in found.iter_mut().enumerate() {
        let Some((mean, error)) = bounded.mean(configuration) else { continue };
        let reach = t_quantile(CONFIDENCE, error.degrees_of_freedom) * error.variance.sqrt();
        let beyond = |by: f64| {
            limits.max.is_some_and(|max| mean > max + by)
                || limits.min.is_some_and(|min| mean < min - by)
        };
        let (surely, perhaps, on_average) = (beyond(reach), beyond(-reach), beyond(0.0));
        let enough = bounded.arms[configuration].launches() >= ENOUGH;
        *found = match *found {
            Eligible::No => Eligible::No,
            _ if surely || (on_average && enough) => Eligible::No,
            _ if on_average => Eligible::Hardly,
            Eligible::Yes if perhaps => Eligible::Perhaps,
            other => other,
        };
    }
}

/// What is known of one constraint, on the scale on which it is compared.
struct Bounded {
    arms: Vec<GroupedValues>,
    components: Components,
    limits: Limits,
}

impl Bounded {
    fn new(task: &Task, index: usize, observations: &[&Observation]) -> Self {
        let limits = task.constraints[index];
        let plain: Vec<GroupedValues> =
            (0..task.configurations).map(|it| values(observations, it, index)).collect();
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
        Self { arms, components, limits }
    }

    fn mean(&self, configuration: usize) -> Option<(f64, Uncertainty)> {
        let arm = &self.arms[configuration];
        Some((arm.mean()?, self.components.of_mean(arm)))
    }

    /// The probability that a configuration keeps it; `None` without a value.
    fn keeps(&self, configuration: usize) -> Option<f64> {
        let (mean, error) = self.mean(configuration)?;
        let beyond = |by: f64| {
            above(-by / error.variance.sqrt().max(f64::EPSILON), error.degrees_of_freedom)
        };
        let over = self.limits.max.map_or(0.0, |max| beyond(mean - max));
        let under = self.limits.min.map_or(0.0, |min| beyond(min - mean));
        Some((1.0 - over - under).max(0.0))
    }
}

/// Probability of a t above this one.
pub(super) fn above(t: f64, degrees_of_freedom: f64) -> f64 {
    let beyond = two_sided_p(t, degrees_of_freedom) / 2.0;
    if t >= 0.0 { beyond } else { 1.0 - beyond }
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
