//! What the machine did during a sweep, from a fit of [`MachineFit`]: its level at each
//! launch, whether it moved, and how much of what launches differ in was the machine.
//! Where there were several hosts, each has its own level, and hosts are compared by what
//! their launches leave when configurations are taken out.

use std::collections::{BTreeMap, BTreeSet};

use super::launch_mean::LaunchMean;
use super::machine::{JUMP_VARIANCE, MachineFit, previous};
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

    /// What the machine did during these launches, which the fit is of. Where there were
    /// several hosts: how each moved around its own mean, all together.
    pub fn state(&self, launches: &[LaunchMean]) -> MachineState {
        self.state_with(launches, self.p_calm, self.jumps.is_empty())
    }

    /// What one host did during these launches; `None` where it has fewer than two.
    pub fn state_of(&self, launches: &[LaunchMean], host: usize) -> Option<MachineState> {
        let own: Vec<LaunchMean> = launches.iter().copied().filter(|it| it.host == host).collect();
        let jumps = self.jumps.iter().any(|at| launches[*at].host == host);
        (own.len() > 1).then(|| self.state_with(&own, self.p_calm_of(host), !jumps))
    }

    fn state_with(&self, launches: &[LaunchMean], p_calm: f64, no_jump: bool) -> MachineState {
        let n = launches.len() as f64;
        let mut by_host: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (launch, residual) in launches.iter().zip(self.residuals(launches)) {
            by_host.entry(launch.host).or_default().push(residual);
        }
        let squares = |own: &Vec<f64>| -> f64 {
            let mean = own.iter().sum::<f64>() / own.len() as f64;
            own.iter().map(|r| (r - mean).powi(2)).sum()
        };
        let freedom = n - by_host.len() as f64;
        let squares = by_host.values().map(squares).sum::<f64>();
        let variance = if freedom > 0.0 { squares / freedom } else { 0.0 };
        let repeats = launches.iter().map(|it| f64::from(it.repeats)).sum::<f64>() / n;
        let noise = self.launch_sd.powi(2) + self.repeat_variance / repeats;
        let level = (variance - noise).max(0.0);
        let range = |own: &Vec<f64>| {
            let ends = own
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), r| (l.min(*r), h.max(*r)));
            ends.1 - ends.0
        };
        let range = by_host.values().map(range).fold(0.0, f64::max);
        let drifts = no_jump && self.drift > 0.0 && level > 0.0;
        MachineState {
            moved: p_calm < MOVED_BELOW,
            range: range.exp(),
            deviation: level.sqrt(),
            share: if variance > 0.0 { level / variance } else { 0.0 },
            time_constant: drifts.then(|| 120.0 * level / self.drift.powi(2)),
        }
    }

    /// The level of host `a` minus that of `b` on log scale, each the mean over its launches:
    /// the difference of what they leave. Its variance is that of the launches' own noise and
    /// that of the configurations' effects, which weigh as far as the hosts had them unequally
    /// often; the sum of both deviations, since they are not independent. `None` of a host
    /// without a launch, and where configurations do not connect the two.
    pub fn between_hosts(
        &self,
        launches: &[LaunchMean],
        a: usize,
        b: usize,
    ) -> Option<(f64, Uncertainty)> {
        let residuals = self.residuals(launches);
        let mut weights = vec![0.0; self.effects().len()];
        let (mut difference, mut noise) = (0.0, 0.0);
        for (host, sign) in [(a, 1.0), (b, -1.0)] {
            let own = || launches.iter().zip(&residuals).filter(move |(it, _)| it.host == host);
            let n = own().count() as f64;
            for (launch, residual) in own() {
                weights[launch.configuration] += sign / n;
                difference += sign * residual / n;
                let repeats = f64::from(launch.repeats);
                noise += (self.launch_sd.powi(2) + self.repeat_variance / repeats) / (n * n);
            }
            if n == 0.0 {
                return None;
            }
        }
        let ran: BTreeSet<usize> = launches
            .iter()
            .filter(|it| it.host == a || it.host == b)
            .map(|it| it.configuration)
            .collect();
        let mut of_effects = 0.0;
        let mut degrees = Vec::new();
        for (&i, &j) in ran.iter().flat_map(|i| ran.range(..i).map(move |j| (i, j))) {
            // A pair that cannot be compared says that the two hosts cannot either.
            let (_, known) = self.difference(i, j)?;
            let freedom = known.degrees_of_freedom;
            of_effects -= weights[i] * weights[j] * known.variance * freedom / (freedom - 2.0);
            degrees.push(freedom);
        }
        degrees.sort_by(f64::total_cmp);
        // One configuration alone is compared by nothing but its own launches.
        let degrees_of_freedom = degrees.get(degrees.len() / 2).copied().unwrap_or(4.0);
        let variance = (noise.sqrt() + of_effects.max(0.0).sqrt()).powi(2);
        Some((difference, Uncertainty { variance, degrees_of_freedom }))
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
        let before = previous(launches);
        let step = |from: usize, at: usize| {
            let hours = (launches[at].time - launches[from].time) / 3600.0;
            let jump = if self.jumps.contains(&at) { JUMP_VARIANCE } else { 0.0 };
            self.drift.powi(2) * hours + jump
        };
        let (mut levels, mut variances): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        for (at, residual) in residuals.iter().enumerate() {
            let Some(from) = before[at] else {
                levels.push(*residual);
                variances.push(noise(at));
                continue;
            };
            let (level, variance) = (levels[from], variances[from]);
            let predicted: f64 = variance + step(from, at);
            let gain = predicted / (predicted + noise(at));
            levels.push(level + gain * (residual - level));
            variances.push(predicted * (1.0 - gain));
        }
        for next in (0..levels.len()).rev() {
            let Some(at) = before[next] else { continue };
            let predicted = variances[at] + step(at, next);
            let gain = if predicted > 0.0 { variances[at] / predicted } else { 1.0 };
            levels[at] += gain * (levels[next] - levels[at]);
            variances[at] += gain * gain * (variances[next] - predicted);
        }
        levels.into_iter().zip(variances).map(|(level, it)| (level, it.max(0.0))).collect()
    }

    /// The uncertainty of each of these configurations' estimates, such that that of a
    /// difference is about the sum of both: quasi-variances, at the median degrees of
    /// freedom. `None` with fewer than two, and where two of them cannot be compared.
    pub fn errors(&self, configurations: &[usize]) -> Option<Vec<Uncertainty>> {
        let k = configurations.len();
        let (&first, others) = configurations.split_first()?;
        if others.is_empty() || !others.iter().all(|it| self.is_comparable(first, *it)) {
            return None;
        }
        let unknown = Uncertainty { variance: 0.0, degrees_of_freedom: f64::INFINITY };
        let of = |a: usize, b: usize| self.difference(a, b).map_or(unknown, |it| it.1);
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
