//! What the machine did during a sweep, from a fit of [`MachineFit`]: its level at each
//! launch, whether it moved, and how much of what launches differ in was the machine.

use super::machine::{JUMP_VARIANCE, LaunchMean, MachineFit};
use super::variance::Uncertainty;

/// Below this probability of a calm machine it is said to have moved.
const MOVED_BELOW: f64 = 0.05;

/// What the machine did.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineState {
    /// Whether its speed is shown to have moved.
    pub moved: bool,
    /// Fastest launch over slowest, configurations taken out.
    pub range: f64,
    /// SD of the machine's level, on log scale.
    pub deviation: f64,
    /// Share of the variance between launches that the machine's level explains.
    pub share: f64,
    /// Order of magnitude of the time in which the level forgets itself, in minutes;
    /// `None` with jumps, and where nothing drifts.
    pub time_constant: Option<f64>,
}

impl MachineFit {
    /// What is left of each launch when its configuration's effect is taken out.
    fn residuals(&self, launches: &[LaunchMean]) -> Vec<f64> {
        launches.iter().map(|it| it.mean - self.effects()[it.configuration]).collect()
    }

    /// What the machine did during these launches, which the fit is of.
    pub fn state(&self, launches: &[LaunchMean]) -> MachineState {
        let residuals = self.residuals(launches);
        let n = residuals.len() as f64;
        let mean = residuals.iter().sum::<f64>() / n;
        let variance = residuals.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let repeats = launches.iter().map(|it| f64::from(it.repeats)).sum::<f64>() / n;
        let noise = self.launch_sd.powi(2) + self.repeat_variance / repeats;
        let level = (variance - noise).max(0.0);
        let (low, high) = residuals
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), r| (l.min(*r), h.max(*r)));
        let drifts = self.jumps.is_empty() && self.drift > 0.0 && level > 0.0;
        MachineState {
            moved: self.p_calm < MOVED_BELOW,
            range: (high - low).exp(),
            deviation: level.sqrt(),
            share: if variance > 0.0 { level / variance } else { 0.0 },
            time_constant: drifts.then(|| 120.0 * level / self.drift.powi(2)),
        }
    }

    /// The machine's level at each launch on log scale: the smoother of H. E. Rauch,
    /// F. Tung, C. T. Striebel (AIAA J. 3, 1965) at the mean launch SD and drift.
    pub fn levels(&self, launches: &[LaunchMean]) -> Vec<f64> {
        self.smoothed(launches).into_iter().map(|(level, _)| level).collect()
    }

    /// The same, each with its variance, the configurations' effects taken as they are
    /// estimated.
    pub fn smoothed(&self, launches: &[LaunchMean]) -> Vec<(f64, f64)> {
        let residuals = self.residuals(launches);
        let noise = |at: usize| {
            self.launch_sd.powi(2) + self.repeat_variance / f64::from(launches[at].repeats)
        };
        let step = |at: usize| {
            let hours = (launches[at].time - launches[at - 1].time) / 3600.0;
            let jump = if self.jumps.contains(&at) { JUMP_VARIANCE } else { 0.0 };
            self.drift.powi(2) * hours + jump
        };
        let (mut levels, mut variances) = (Vec::new(), Vec::new());
        for (at, residual) in residuals.iter().enumerate() {
            let Some((level, variance)) = levels.last().copied().zip(variances.last().copied())
            else {
                levels.push(*residual);
                variances.push(noise(at));
                continue;
            };
            let predicted: f64 = variance + step(at);
            let gain = predicted / (predicted + noise(at));
            levels.push(level + gain * (residual - level));
            variances.push(predicted * (1.0 - gain));
        }
        for at in (0..levels.len().saturating_sub(1)).rev() {
            let predicted = variances[at] + step(at + 1);
            let gain = if predicted > 0.0 { variances[at] / predicted } else { 1.0 };
            levels[at] += gain * (levels[at + 1] - levels[at]);
            variances[at] += gain * gain * (variances[at + 1] - predicted);
        }
        levels.into_iter().zip(variances).map(|(level, it)| (level, it.max(0.0))).collect()
    }

    /// The uncertainty of each of these configurations' estimates, such that that of a
    /// difference is about the sum of both: quasi-variances, at the median degrees of
    /// freedom. `None` with fewer than two.
    pub fn errors(&self, configurations: &[usize]) -> Option<Vec<Uncertainty>> {
        let k = configurations.len();
        if k < 2 {
            return None;
        }
        let of = |a: usize, b: usize| self.difference(a, b).1;
        let sums: Vec<f64> = configurations
            .iter()
            .map(|&a| configurations.iter().filter(|b| **b != a).map(|&b| of(a, b).variance).sum())
            .collect();
        let all = sums.iter().sum::<f64>() / (2.0 * (k as f64 - 1.0));
        let own = |sum: f64| if k == 2 { sum / 2.0 } else { (sum - all) / (k as f64 - 2.0) };
        // One that is known far better than all others must not come out below zero.
        let least = |sum: f64| 0.05 * sum / (k as f64 - 1.0);
        let pairs = configurations.iter().enumerate();
        let mut degrees: Vec<f64> = pairs
            .flat_map(|(at, &a)| configurations[..at].iter().map(move |&b| (a, b)))
            .map(|(a, b)| of(a, b).degrees_of_freedom)
            .collect();
        degrees.sort_by(f64::total_cmp);
        let degrees_of_freedom = degrees[degrees.len() / 2];
        let error =
            |&sum: &f64| Uncertainty { variance: own(sum).max(least(sum)), degrees_of_freedom };
        Some(sums.iter().map(error).collect())
    }
}
