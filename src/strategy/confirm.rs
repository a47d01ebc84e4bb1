//! Confirms one configuration against the baseline by fresh launches: those that chose it
//! make it look better than it is. Both alternate strictly, so that a machine whose speed
//! moves slows both alike. After each pair from the [`FIRST_LOOK`]th the gain is computed,
//! and the launches end when its interval is narrow enough for the claim. The rule is
//! [`step`], a function of values; the strategy around it is [`Confirm`]; what it will
//! take is estimated by [`expected`].

use std::collections::BTreeMap;
use std::fmt;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::hosts::{self, Turn};
use super::{Action, Finished, Observation, Purpose, Situation, Strategy, TrialOutcome};
use crate::statistics::{LaunchMean, MAX_JUMPS, fit, t_quantile};

pub use super::repeats::{Cost, Noise};

/// The pair after which the gain is computed for the first time.
pub const FIRST_LOOK: u32 = 6;

/// Pairs at the least that show a gain: fewer do not separate the machine from what is compared.
pub const LEAST_PAIRS: u32 = 3;

/// Pairs at most: with a launch SD of 8 % about 28 are needed, and where 40 are not
/// enough, more repeats or a calmer machine help more than further launches.
pub const MAX_PAIRS: u32 = 40;

/// The claim whose half the interval's half-width must reach, as a fraction.
pub const CLAIM: f64 = 0.10;

/// The interval is wider by this: each look is a chance to stop on one that is too narrow by
/// chance (`docs/worlds.md`).
pub const LOOKS: f64 = 1.05;

/// Launches of one configuration in a row that may give nothing.
pub const IN_A_ROW: usize = 3;

/// Index of each configuration in [`LaunchMean::configuration`].
pub const BASELINE: usize = 0;
/// See [`BASELINE`].
pub const CANDIDATE: usize = 1;

/// A confirmation as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirm {
    /// Index of the configuration that is confirmed.
    pub candidate: usize,
    /// Index of the one that it is compared with.
    pub baseline: usize,
    /// Number of its first trial: the others follow.
    pub first_trial: u32,
    /// Kept repeats per launch and workload case.
    pub repeats: u32,
    /// The interval's half-width is to be at most half of this fraction.
    pub claim: f64,
    /// Decides which of both is launched first.
    pub seed: u64,
    /// Seconds of the machine in one of the clock: 1 but for a simulated machine.
    pub pace: f64,
}

/// Why a confirmation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The interval is narrow enough.
    Precise,
    /// The budget was spent first.
    Budget,
    /// [`MAX_PAIRS`] pairs were launched first.
    Pairs,
    /// One of both gives no values any more.
    Failing,
    /// A value was zero or negative: no ratio can be taken.
    NotPositive,
    /// A reason of a newer version.
    #[serde(other)]
    Unknown,
}

impl Ended {
    /// Whether further launches would add nothing that was asked for.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Precise | Self::Pairs)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Precise => f.write_str("the interval is narrow enough"),
            Self::Budget => f.write_str("the budget is spent"),
            Self::Pairs => write!(f, "{MAX_PAIRS} pairs were launched"),
            Self::Failing => f.write_str("a configuration gives no values any more"),
            Self::NotPositive => f.write_str("a value is not positive: no ratio can be taken"),
            Self::Unknown => f.write_str("for a reason that only a newer version knows"),
        }
    }
}

/// The gain as the launches so far show it, on log scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Candidate minus baseline.
    pub effect: f64,
    /// Half of the 95 % interval.
    pub half_width: f64,
}

/// The gain, with the machine's level taken out; `None` while one of both has no launch or
/// none on a host of the other, and of values that are not finite. Launches are in the order
/// of time.
pub fn look(launches: &[LaunchMean]) -> Option<Look> {
    let has = |arm: usize| launches.iter().any(|it| it.configuration == arm);
    if !has(BASELINE) || !has(CANDIDATE) {
        return None;
    }
    let (effect, error) = fit(launches, 2, MAX_JUMPS)?.difference(CANDIDATE, BASELINE)?;
    let deviation = LOOKS * error.variance.sqrt();
    let half_width = t_quantile(0.975, error.degrees_of_freedom) * deviation;
    (effect.is_finite() && half_width.is_finite()).then_some(Look { effect, half_width })
}

/// The rule by which a confirmation ends, to be asked when `pairs` are over: `None`
/// while further launches are wanted.
pub fn step(launches: &[LaunchMean], pairs: u32, claim: f64) -> Option<Ended> {
    if launches.iter().any(|it| !it.mean.is_finite()) {
        return Some(Ended::NotPositive);
    }
    let of = |arm: usize| launches.iter().filter(|it| it.configuration == arm).count();
    let enough = of(BASELINE).min(of(CANDIDATE)) >= FIRST_LOOK as usize;
    if enough && look(launches).is_some_and(|look| look.half_width <= claim / 2.0) {
        return Some(Ended::Precise);
    }
    (pairs >= MAX_PAIRS).then_some(Ended::Pairs)
}

/// Whether the candidate is launched first.
pub fn candidate_first(seed: u64) -> bool {
    ChaCha8Rng::seed_from_u64(seed).random()
}

impl Confirm {
    /// Whether a trial is one of this confirmation.
    pub fn has(&self, trial: u32) -> bool {
        (self.first_trial..self.first_trial + 2 * MAX_PAIRS).contains(&trial)
    }

    /// Why it is over; `None` while launches are wanted.
    pub fn ended(&self, observations: &[Observation]) -> Option<Ended> {
        let own: Vec<&Observation> = observations.iter().filter(|it| self.has(it.trial)).collect();
        let of = |configuration: usize| {
            own.iter().copied().filter(move |it| it.configuration == configuration)
        };
        let fails = |configuration| gives_nothing(of(configuration));
        if fails(self.candidate).is_some() || fails(self.baseline).is_some() {
            return Some(Ended::Failing);
        }
        let over = |pair: u32| {
            let first = self.first_trial + 2 * pair;
            [first, first + 1].iter().all(|trial| own.iter().any(|it| it.trial == *trial))
        };
        let pairs = (0..MAX_PAIRS).take_while(|pair| over(*pair)).count() as u32;
        if own.len() != 2 * pairs as usize {
            return None;
        }
        step(&self.launches(&own), pairs, self.claim)
    }

    /// The launches that gave values, in the order of time.
    fn launches(&self, own: &[&Observation]) -> Vec<LaunchMean> {
        let start = own.iter().filter_map(|it| it.started_at).min().unwrap_or_default();
        let hosts = hosts::numbers(own.iter().map(|it| it.host.as_str()));
        let mut launches: Vec<LaunchMean> = Vec::new();
        for observation in own {
            let host = hosts[observation.host.as_str()];
            let arm = match observation.configuration {
                it if it == self.candidate => CANDIDATE,
                it if it == self.baseline => BASELINE,
                _ => continue,
            };
            let mut by_launch: BTreeMap<u32, Vec<(Option<jiff::Timestamp>, f64)>> = BTreeMap::new();
            for repeat in &observation.repeats {
                let Some(value) = repeat.objective else { continue };
                let log = if value > 0.0 { value.ln() } else { f64::NAN };
                by_launch.entry(repeat.launch).or_default().push((repeat.at, log));
            }
            for values in by_launch.into_values() {
                let times = values.iter().filter_map(|(at, _)| *at);
                let times: Vec<f64> =
                    times.map(|at| at.duration_since(start).as_secs_f64()).collect();
                let time = mean(&times).unwrap_or_else(|| middle(observation, start));
                let logs: Vec<f64> = values.iter().map(|(_, log)| *log).collect();
                launches.push(LaunchMean::of(arm, time * self.pace, &logs).on(host));
            }
        }
        launches.sort_by(|a, b| a.time.total_cmp(&b.time));
        launches
    }
}

/// Why a configuration is not worth a further launch, from its trials in their order.
fn gives_nothing<'a>(trials: impl DoubleEndedIterator<Item = &'a Observation>) -> Option<()> {
    let mut lost = 0;
    for trial in trials.rev() {
        if trial.repeats.iter().any(|repeat| repeat.objective.is_some()) {
            return None;
        }
        lost += 1;
        let again = !matches!(trial.outcome, TrialOutcome::Infeasible | TrialOutcome::Skipped);
        if !again || lost >= IN_A_ROW {
            return Some(());
        }
    }
    None
}

/// The middle of a trial, in seconds from `start`.
fn middle(observation: &Observation, start: jiff::Timestamp) -> f64 {
    let begin = observation.started_at.map_or(0.0, |at| at.duration_since(start).as_secs_f64());
    begin + observation.duration.as_secs_f64() / 2.0
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl Strategy for Confirm {
    fn next(&self, situation: Situation<'_>) -> Action {
        if situation.in_flight.iter().any(|it| self.has(it.trial)) {
            return Action::Wait;
        }
        if let Some(ended) = self.ended(situation.observations) {
            return Action::Finish { why: Finished::Confirmed(ended.to_string()) };
        }
        let taken = |trial: u32| situation.observations.iter().any(|it| it.trial == trial);
        let place = (0..2 * MAX_PAIRS).find(|place| !taken(self.first_trial + place));
        let Some(place) = place else {
            return Action::Finish { why: Finished::Confirmed(Ended::Pairs.to_string()) };
        };
        // The second half of a pair runs where the first one did.
        let trial = self.first_trial + place;
        if !place.is_multiple_of(2) && !Turn::of(&situation).is_on_host_of(trial - 1) {
            return Action::Wait;
        }
        let is_candidate = candidate_first(self.seed) == place.is_multiple_of(2);
        Action::Launch {
            trial,
            configuration: if is_candidate { self.candidate } else { self.baseline },
            purpose: Purpose::Confirm,
            repeats: self.repeats,
        }
    }

    fn opens_pair(&self, _: Situation<'_>, trial: u32) -> bool {
        self.has(trial) && (trial - self.first_trial).is_multiple_of(2)
    }

    /// The most that there can be: how many it takes is known at the end.
    fn trials(&self) -> u32 {
        2 * MAX_PAIRS
    }
}

/// What a confirmation is expected to take, from what earlier launches cost and how much
/// they differed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// Pairs where the machine is calm.
    pub pairs_low: u32,
    /// Pairs where it moves as it did.
    pub pairs: u32,
    /// Pairs where the variance is twice what was seen; at most [`MAX_PAIRS`].
    pub pairs_high: u32,
    /// Seconds of one launch.
    pub launch_seconds: f64,
    /// The half-width to come to, as a fraction, where [`MAX_PAIRS`] are not expected to
    /// reach what was asked for.
    pub reachable: Option<f64>,
}

/// What a confirmation of `claim` (a fraction) takes with `repeats` in each launch.
pub fn expected(cost: Cost, noise: Noise, repeats: u32, claim: f64) -> Expected {
    let launch_seconds = cost.of(repeats);
    let own = own_variance(noise, repeats);
    let variance = variance(cost, noise, repeats);
    let enough = |variance: f64| {
        (FIRST_LOOK..=MAX_PAIRS).find(|pairs| half_width_of(variance, *pairs) <= claim / 2.0)
    };
    let pairs = enough(variance);
    Expected {
        pairs_low: enough(own).unwrap_or(MAX_PAIRS),
        pairs: pairs.unwrap_or(MAX_PAIRS),
        pairs_high: enough(2.0 * variance).unwrap_or(MAX_PAIRS),
        launch_seconds,
        reachable: pairs.is_none().then(|| half_width_of(variance, MAX_PAIRS).exp_m1()),
    }
}

/// Half of the 95 % interval that so many pairs, two or more, are expected to come to, on log
/// scale.
pub fn half_width(cost: Cost, noise: Noise, repeats: u32, pairs: u32) -> f64 {
    half_width_of(variance(cost, noise, repeats), pairs)
}

/// The same where the mean of a launch has this variance.
fn half_width_of(variance: f64, pairs: u32) -> f64 {
    let pairs = f64::from(pairs);
    LOOKS * t_quantile(0.975, 2.0 * pairs - 2.0) * (2.0 * variance / pairs).sqrt()
}

/// Variance of a launch's mean where launches alternate: the machine's drift adds 0.3 of what it
/// does in one launch (`docs/figures.md`).
fn variance(cost: Cost, noise: Noise, repeats: u32) -> f64 {
    own_variance(noise, repeats) + 0.3 * noise.drift * cost.of(repeats)
}

/// Variance of a launch's mean on a machine that is calm.
fn own_variance(noise: Noise, repeats: u32) -> f64 {
    noise.launch + noise.repeat / f64::from(repeats.max(1))
}

/// Fewest launches of each of two configurations by which a true difference of `log_ratio`
/// (on log scale) is shown at this two-sided `level` with a probability of `power`, where
/// their launches alternate; `None` where `most` are not enough.
pub fn launches_to_show(
    cost: Cost,
    noise: Noise,
    repeats: u32,
    log_ratio: f64,
    (level, power): (f64, f64),
    most: u32,
) -> Option<u32> {
    let shows = |launches: &u32| {
        let freedom = 2.0 * f64::from(*launches) - 2.0;
        difference_to_show(cost, noise, repeats, (*launches, freedom), (level, power))
            .is_some_and(|least| least <= log_ratio.abs())
    };
    (2..=most).find(shows)
}

/// The reverse of [`launches_to_show`]: the smallest true difference, on log scale, that so
/// many launches of each show, where the variance is known by these degrees of freedom: more
/// than those of the two where others were launched, too. `None` of fewer than two launches.
pub fn difference_to_show(
    cost: Cost,
    noise: Noise,
    repeats: u32,
    (launches, freedom): (u32, f64),
    (level, power): (f64, f64),
) -> Option<f64> {
    let variance = own_variance(noise, repeats) + 0.3 * noise.drift * cost.of(repeats);
    let n = f64::from(launches);
    let needed = || t_quantile(1.0 - level / 2.0, freedom) + t_quantile(power, freedom);
    (launches >= 2 && freedom >= 1.0).then(|| needed() * (2.0 * variance / n).sqrt())
}

#[cfg(test)]
#[path = "confirm_tests.rs"]
mod tests;
