//! How many kept repeats a launch is to have, from what launches cost and how much they
//! differ: repeats average their own noise out, launches also what differs between them,
//! and long launches let the machine move on in between.

use crate::statistics::{LaunchMean, MAX_JUMPS, fit};

use super::{Observation, TrialOutcome, hosts};

/// Most repeats that are chosen.
pub(super) const MOST_CHOSEN: u32 = 8;

/// Fewest and most repeats that are chosen.
const RANGE: std::ops::RangeInclusive<u32> = 2..=MOST_CHOSEN;

/// Launches from which the variances are known well enough.
const ENOUGH: usize = 6;

/// What a launch costs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Boot, warm-up and stop.
    pub boot: f64,
    /// One repeat.
    pub repeat: f64,
}

impl Cost {
    /// Seconds of a launch with so many repeats.
    pub fn of(self, repeats: u32) -> f64 {
        self.boot + f64::from(repeats) * self.repeat
    }
}

/// What values differ by, as variances of logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Between launches of one configuration.
    pub launch: f64,
    /// Between repeats of one launch.
    pub repeat: f64,
    /// Drift of the machine, per second.
    pub drift: f64,
}

/// The number that makes the most of the time: it minimises the cost of a launch times
/// the variance that it leaves.
pub fn best(cost: Cost, noise: Noise) -> u32 {
    let price = |n: u32| {
        let seconds = cost.of(n);
        let n = f64::from(n);
        seconds * (noise.launch + noise.repeat / n + 0.3 * noise.drift * seconds)
    };
    RANGE.min_by(|a, b| price(*a).total_cmp(&price(*b))).unwrap_or(*RANGE.start())
}

/// The number for further launches; `None` while too little is known.
pub(super) fn chosen(observations: &[&Observation], configurations: usize) -> Option<u32> {
    let measured: Vec<(&Observation, Vec<f64>)> = observations
        .iter()
        .filter(|it| it.outcome == TrialOutcome::Measured)
        .map(|it| (*it, it.repeats.iter().filter_map(|repeat| repeat.objective).collect()))
        .filter(|(_, values): &(_, Vec<f64>)| {
            values.len() > 1 && values.iter().all(|value| *value > 0.0)
        })
        .collect();
    if measured.len() < ENOUGH {
        return None;
    }
    let cost = cost(observations)?;
    let mut places: Vec<usize> = measured.iter().map(|(it, _)| it.configuration).collect();
    places.sort_unstable();
    places.dedup();
    let start = measured.iter().filter_map(|(it, _)| it.started_at).min()?;
    let hosts = hosts::numbers(measured.iter().map(|(it, _)| it.host.as_str()));
    let launches: Vec<LaunchMean> = measured
        .iter()
        .map(|(it, values)| {
            let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
            let place = places.binary_search(&it.configuration).unwrap_or_default();
            let time = it.started_at.map_or(0.0, |at| at.duration_since(start).as_secs_f64());
            LaunchMean::of(place, time, &logs).on(hosts[it.host.as_str()])
        })
        .collect();
    let fit = fit(&launches, places.len().min(configurations), MAX_JUMPS)?;
    let noise = Noise {
        launch: fit.launch_sd.powi(2),
        repeat: fit.repeat_variance,
        drift: fit.drift.powi(2) / 3600.0,
    };
    Some(best(cost, noise))
}

/// What launches cost on average, as far as their repeats have times.
pub(super) fn cost(observations: &[&Observation]) -> Option<Cost> {
    let kept = |it: &Observation| it.repeats.iter().filter(|it| it.objective.is_some()).count();
    let measured = observations.iter().filter(|it| it.outcome == TrialOutcome::Measured);
    let measured: Vec<&&Observation> = measured.filter(|it| kept(it) > 0).collect();
    let repeat = mean(measured.iter().filter_map(|it| it.repeat_seconds))?;
    let boot = mean(measured.iter().filter_map(|it| {
        let repeats = it.repeat_seconds? * kept(it) as f64;
        Some((it.duration.as_secs_f64() - repeats).max(0.0))
    }))?;
    Some(Cost { boot, repeat })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noisy_repeats_and_slow_boots_ask_for_more_and_drift_for_fewer() {
        let of = |boot, repeat_sd: f64, drift_per_hour: f64| {
            let noise = Noise {
                launch: 0.03_f64.powi(2),
                repeat: repeat_sd.powi(2),
                drift: drift_per_hour.powi(2) / 3600.0,
            };
            best(Cost { boot, repeat: 45.0 }, noise)
        };
        // By the formula: sqrt((boot / repeat) s2 / sL2) without drift.
        assert_eq!(of(190.0, 0.05, 0.0), 3);
        assert_eq!(of(190.0, 0.2, 0.0), 8);
        assert_eq!(of(190.0, 0.05, 0.32), 2);
        assert!(of(190.0, 0.2, 0.32) < 8);
        assert_eq!(of(10.0, 0.02, 0.0), 2);
    }
}
