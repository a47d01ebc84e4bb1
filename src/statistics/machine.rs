//! Launches on machines whose speed moves: what differs between configurations
//! once the machine's own level is taken out. The level is a random walk with
//! detected jumps; launch SD, drift and jumps are averaged over a grid instead
//! of being estimated once, so that what is not known widens the intervals.
//! Each host is a block with a level of its own, of which nothing is known beforehand;
//! drift and noise are common. Configurations without a chain of common hosts are not
//! compared.
//!
//! Values are logarithms, times are seconds. Pure. The recursion
//! is that of R. E. Kalman with the diffuse start and the regression on the
//! innovations of B. Rosenberg (Ann. Econ. Soc. Meas. 2, 1973) and A. C. Harvey
//! (*Forecasting*, 1989, section 3.4): restricted likelihood, generalised least squares.

use std::collections::BTreeMap;

use super::cholesky::{cholesky, inverse, solve};
use super::connected::connected;
use super::launch_mean::LaunchMean;
use super::machine_repeats::repeat_variance;
use super::machine_sums::Sums;
use super::moments::Moments;
use super::variance::Uncertainty;

/// Launch-to-launch SDs that are averaged over.
const LAUNCH_SDS: [f64; 9] = [0.01, 0.02, 0.03, 0.04, 0.06, 0.09, 0.13, 0.19, 0.28];
/// Drifts per square root of an hour that are averaged over.
const DRIFTS: [f64; 8] = [0.0, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28];
/// Centre and width (of the logarithm) of the prior of the launch SD.
const LAUNCH_PRIOR: (f64, f64) = (0.05, 0.9);
/// Variance of a jump of the machine's level.
pub(super) const JUMP_VARIANCE: f64 = 0.25;
/// Log-likelihood that a jump must bring before it is believed, and its prior cost.
const JUMP_COST: f64 = 3.0;
/// Jumps at most.
pub const MAX_JUMPS: usize = 10;
/// From this number of launches on only the likeliest gaps are tried for a jump.
const LARGE: usize = 64;
/// How many of them.
const LIKELY_GAPS: usize = 6;
/// Points of the grid whose weight is less than this part of the greatest do not count.
const NEGLIGIBLE: f64 = 1e-12;
/// Launches times squared configurations from which a fit takes too long. 800 launches of
/// 200 configurations take about 6 s, with ten jumps.
const MAX_WORK: f64 = 3.2e7;
/// Drift up to which, without a jump, a night is called calm.
const CALM_DRIFT: f64 = 0.02;

/// What a sweep shows with the machine's level taken out. Indices are those of
/// [`LaunchMean::configuration`].
#[derive(Clone, Debug, PartialEq)]
pub struct MachineFit {
    /// Estimates relative to the first configuration, or the first of those that can be
    /// compared.
    effects: Vec<f64>,
    /// Of each configuration the first of those that it can be compared with.
    groups: Vec<usize>,
    /// Uncertainty of each difference, row by row.
    differences: Vec<Uncertainty>,
    /// Variance of one repeat within a launch.
    pub repeat_variance: f64,
    /// Launches whose repeats spread far more than the others': the machine moved inside.
    pub moved_inside: Vec<usize>,
    /// Launches before which the machine's level jumps, in the order in which they were found.
    pub jumps: Vec<usize>,
    /// Whether configurations have enough launches to look for jumps.
    pub enough_for_jumps: bool,
    /// Mean number of jumps over all that is averaged.
    pub expected_jumps: f64,
    /// Launch-to-launch SD (geometric mean over all that is averaged).
    pub launch_sd: f64,
    /// Drift per square root of an hour (mean).
    pub drift: f64,
    /// Weight of "no drift worth mentioning, and no jump".
    pub p_calm: f64,
    /// The same of each host.
    calm: Vec<f64>,
}

/// A point of the grid: what it believes, and what it finds.
struct Point {
    launch_sd: f64,
    drift: f64,
    jumps: usize,
    /// Log posterior weight, not normalised.
    weight: f64,
    effects: Vec<f64>,
}

/// Whether a fit of so many launches would take too long.
pub fn is_too_large(launches: usize, configurations: usize) -> bool {
    launches as f64 * (configurations as f64).powi(2) > MAX_WORK
}

/// Fits the model to launches in the order of time, of `configurations`
/// configurations, each of which has at least one launch. Jumps are looked for
/// only where `max_jumps` allows and the (upper) median of launches per
/// configuration is 3 or more: with fewer, they are taken for effects.
///
/// `None` without two configurations, of values that are not finite, and of what
/// [`is_too_large`].
pub fn fit(launches: &[LaunchMean], configurations: usize, max_jumps: usize) -> Option<MachineFit> {
    fit_where(launches, configurations, max_jumps, false)
}

/// The same of a race, which launches few configurations often and most of them once or
/// twice. Jumps are looked for whatever the median is: who was launched less than three
/// times is in no claim.
pub fn fit_race(
    launches: &[LaunchMean],
    configurations: usize,
    max_jumps: usize,
) -> Option<MachineFit> {
    fit_where(launches, configurations, max_jumps, true)
}

fn fit_where(
    launches: &[LaunchMean],
    configurations: usize,
    max_jumps: usize,
    whatever_the_median: bool,
) -> Option<MachineFit> {
    let too_few = configurations < 2 || launches.len() < configurations;
    if too_few || is_too_large(launches.len(), configurations) {
        return None;
    }
    let mut counts = vec![0_usize; configurations];
    for launch in launches {
        counts[launch.configuration] += 1;
    }
    counts.sort_unstable();
    let design = Design::of(launches, configurations);
    let allowed = max_jumps.min(design.degrees_of_freedom() / 4);
    let enough = counts[configurations / 2] >= 3 || (whatever_the_median && allowed > 0);
    let (repeat_variance, excess) = repeat_variance(launches);
    let model = Model { launches, design: &design, repeat_variance, excess: &excess };
    let mut jump = vec![0.0; launches.len()];
    let mut points = model.grid(&jump, 0);
    let mut found = Vec::new();
    if enough && allowed > 0 {
        let mut now = model.best(&jump);
        while found.len() < allowed {
            let Some((at, best)) = model.next_jump(&mut jump, now + JUMP_COST) else { break };
            jump[at] = JUMP_VARIANCE;
            now = best;
            found.push(at);
            points.extend(model.grid(&jump, found.len()));
        }
    }
    let top = points.iter().map(|point| point.weight).reduce(f64::max)?;
    points.retain(|point| (point.weight - top).exp() > NEGLIGIBLE);
    let fit = model.average(&points, found);
    Some(MachineFit { enough_for_jumps: enough, ..fit })
}

impl MachineFit {
    /// Effect of configuration `a` minus that of `b`, and its uncertainty; `None` where no
    /// chain of common hosts connects them.
    pub fn difference(&self, a: usize, b: usize) -> Option<(f64, Uncertainty)> {
        let known = self.differences[a * self.effects.len() + b];
        self.is_comparable(a, b).then(|| (self.effects[a] - self.effects[b], known))
    }

    /// Whether two configurations are connected by a chain of common hosts.
    pub fn is_comparable(&self, a: usize, b: usize) -> bool {
        self.groups[a] == self.groups[b]
    }

    /// Of each configuration the first of those that it can be compared with.
    pub fn groups(&self) -> &[usize] {
        &self.groups
    }

    /// Effects relative to the first configuration; where not all can be compared, each
    /// relative to the first of its group.
    pub fn effects(&self) -> &[f64] {
        &self.effects
    }

    /// Weight of "no drift worth mentioning, and no jump on this host".
    pub fn p_calm_of(&self, host: usize) -> f64 {
        self.calm.get(host).copied().unwrap_or(self.p_calm)
    }
}

/// How launches lie on hosts.
struct Design {
    /// One more than the greatest index of a host.
    hosts: usize,
    /// Of each launch the one before it on its host.
    previous: Vec<Option<usize>>,
    /// See [`MachineFit::groups`].
    groups: Vec<usize>,
    /// Where each configuration's indicator stands; `None` of the first of each group.
    columns: Vec<Option<usize>>,
    /// Indicators.
    width: usize,
}

impl Design {
    fn of(launches: &[LaunchMean], configurations: usize) -> Self {
        let ran = launches.iter().map(|it| (it.configuration, it.host));
        let groups = connected(configurations, ran);
        let mut width = 0;
        let column = |(configuration, group): (usize, &usize)| {
            (configuration != *group).then(|| {
                width += 1;
                width - 1
            })
        };
        let columns = groups.iter().enumerate().map(column).collect();
        let hosts = launches.iter().map(|it| it.host + 1).max().unwrap_or_default();
        Self { hosts, previous: previous(launches), groups, columns, width }
    }

    /// What is left when each host's first level and all effects are estimated.
    fn degrees_of_freedom(&self) -> usize {
        self.previous.iter().flatten().count().saturating_sub(self.width)
    }
}

/// Of each launch the one before it on its host.
pub(super) fn previous(launches: &[LaunchMean]) -> Vec<Option<usize>> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    launches.iter().enumerate().map(|(at, it)| last.insert(it.host, at)).collect()
}

struct Model<'a> {
    launches: &'a [LaunchMean],
    design: &'a Design,
    repeat_variance: f64,
    excess: &'a [f64],
}

/// What one pass of the filter gives.
struct Pass {
    likelihood: f64,
    effects: Vec<f64>,
}

fn prior(launch_sd: f64) -> f64 {
    let (centre, width) = LAUNCH_PRIOR;
    -0.5 * ((launch_sd / centre).ln() / width).powi(2)
}

impl Model<'_> {
    fn grid(&self, jump: &[f64], jumps: usize) -> Vec<Point> {
        let mut points = Vec::with_capacity(LAUNCH_SDS.len() * DRIFTS.len());
        for launch_sd in LAUNCH_SDS {
            for drift in DRIFTS {
                let Some(pass) = self.pass(launch_sd, drift, jump) else { continue };
                if !pass.likelihood.is_finite() {
                    continue;
                }
                points.push(Point {
                    launch_sd,
                    drift,
                    jumps,
                    weight: prior(launch_sd) - JUMP_COST * jumps as f64 + pass.likelihood,
                    effects: pass.effects,
                });
            }
        }
        points
    }

    /// The best weight over a small part of the grid: what a further jump must beat.
    fn best(&self, jump: &[f64]) -> f64 {
        let mut best = f64::NEG_INFINITY;
        for launch_sd in [LAUNCH_SDS[1], LAUNCH_SDS[3], LAUNCH_SDS[5]] {
            for drift in &DRIFTS[..4] {
                if let Some(likelihood) = self.likelihood(launch_sd, *drift, jump) {
                    best = best.max(prior(launch_sd) + likelihood);
                }
            }
        }
        best
    }

    /// The gap whose jump raises the best weight most, beyond `least`.
    fn next_jump(&self, jump: &mut [f64], least: f64) -> Option<(usize, f64)> {
        let is_gap = |at: &usize| self.design.previous[*at].is_some() && jump[*at] == 0.0;
        let gaps: Vec<usize> = (0..jump.len()).filter(is_gap).collect();
        let gaps = if jump.len() < LARGE { gaps } else { self.likely(jump, gaps) };
        let mut found = None;
        let mut best = least;
        for at in gaps {
            jump[at] = JUMP_VARIANCE;
            let weight = self.best(jump);
            jump[at] = 0.0;
            if weight > best {
                best = weight;
                found = Some((at, weight));
            }
        }
        found
    }

    /// The gaps with the greatest innovations of what the configurations leave over.
    fn likely(&self, jump: &[f64], gaps: Vec<usize>) -> Vec<usize> {
        let (launch_sd, drift) = (LAUNCH_SDS[3], DRIFTS[1]);
        let Some(pass) = self.pass(launch_sd, drift, jump) else { return gaps };
        let left = |it: &LaunchMean| it.mean - pass.effects[it.configuration];
        let mut levels = vec![(0.0, 0.0); self.design.hosts];
        let mut surprises = vec![0.0; self.launches.len()];
        for (at, surprise) in surprises.iter_mut().enumerate() {
            let noise = self.noise(at, launch_sd);
            let (level, variance) = &mut levels[self.launches[at].host];
            let Some(before) = self.design.previous[at] else {
                (*level, *variance) = (left(&self.launches[at]), noise);
                continue;
            };
            *variance += self.step(before, at, drift, jump);
            let spread = *variance + noise;
            let innovation = left(&self.launches[at]) - *level;
            *surprise = innovation.abs() / spread.sqrt();
            *level += innovation * *variance / spread;
            *variance *= noise / spread;
        }
        let mut gaps = gaps;
        gaps.sort_by(|a, b| surprises[*b].total_cmp(&surprises[*a]));
        gaps.truncate(LIKELY_GAPS);
        gaps.sort_unstable();
        gaps
    }

    /// Variance of a launch's mean around the machine's level.
    fn noise(&self, at: usize, launch_sd: f64) -> f64 {
        let repeats = f64::from(self.launches[at].repeats);
        launch_sd * launch_sd + self.repeat_variance / repeats + self.excess[at]
    }

    /// Variance of the level's step from the launch `before` on the same host.
    fn step(&self, before: usize, at: usize, drift: f64, jump: &[f64]) -> f64 {
        let hours = (self.launches[at].time - self.launches[before].time) / 3600.0;
        drift * drift * hours + jump[at]
    }

    fn likelihood(&self, launch_sd: f64, drift: f64, jump: &[f64]) -> Option<f64> {
        let mut sums = self.filter(launch_sd, drift, jump);
        let factor = cholesky(std::mem::take(&mut sums.s_xx), sums.width)?;
        Some(sums.restricted(&factor))
    }

    fn pass(&self, launch_sd: f64, drift: f64, jump: &[f64]) -> Option<Pass> {
        let mut sums = self.filter(launch_sd, drift, jump);
        let width = sums.width;
        let factor = cholesky(std::mem::take(&mut sums.s_xx), width)?;
        let likelihood = sums.restricted(&factor);
        let solved = solve(&factor, width, &sums.s_xy);
        let effect = |column: &Option<usize>| column.map_or(0.0, |column| solved[column]);
        Some(Pass { likelihood, effects: self.design.columns.iter().map(effect).collect() })
    }

    /// Lower triangle of the covariance of all effects but the first of each group, which
    /// is 0.
    fn covariance(&self, point: &Point, jump: &[f64]) -> Option<Vec<f64>> {
        let sums = self.filter(point.launch_sd, point.drift, jump);
        let width = sums.width;
        Some(inverse(&cholesky(sums.s_xx, width)?, width))
    }

    /// Runs the filter over the values and the configurations' indicators at once, host by
    /// host: the first launch of each begins its level, and adds nothing to the likelihood.
    fn filter(&self, launch_sd: f64, drift: f64, jump: &[f64]) -> Sums {
        let width = self.design.width;
        let mut sums = Sums::new(width);
        // Entry 0 is the value, entry c + 1 the indicator with column c.
        let mut levels = vec![0.0; (width + 1) * self.design.hosts];
        let mut variances = vec![0.0; self.design.hosts];
        let mut innovation = vec![0.0; width + 1];
        for (at, launch) in self.launches.iter().enumerate() {
            let column = self.design.columns[launch.configuration];
            let observed = |entry: usize| match entry {
                0 => launch.mean,
                entry => f64::from(u8::from(column == Some(entry - 1))),
            };
            let level = &mut levels[launch.host * (width + 1)..][..=width];
            let variance = &mut variances[launch.host];
            let noise = self.noise(at, launch_sd);
            let Some(before) = self.design.previous[at] else {
                for (entry, level) in level.iter_mut().enumerate() {
                    *level = observed(entry);
                }
                *variance = noise;
                continue;
            };
            let predicted = *variance + self.step(before, at, drift, jump);
            let spread = predicted + noise;
            let gain = predicted / spread;
            for (entry, level) in level.iter_mut().enumerate() {
                innovation[entry] = observed(entry) - *level;
                *level += innovation[entry] * gain;
            }
            *variance = predicted * noise / spread;
            sums.add(&innovation, spread);
        }
        sums
    }

    /// The mixture over all points: means, and for each difference a t distribution
    /// with the mixture's second and fourth moments. `jumps`: in the order in which they
    /// were found.
    fn average(&self, points: &[Point], jumps: Vec<usize>) -> MachineFit {
        let top = points.iter().map(|point| point.weight).fold(f64::NEG_INFINITY, f64::max);
        let mut weights: Vec<f64> = points.iter().map(|it| (it.weight - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= total;
        }
        let mean = |read: &dyn Fn(&Point) -> f64| -> f64 {
            points.iter().zip(&weights).map(|(point, weight)| weight * read(point)).sum()
        };
        let k = self.design.columns.len();
        let effects: Vec<f64> = (0..k).map(|c| mean(&|point| point.effects[c])).collect();
        let mut moments = Moments::new(&effects, &self.design.columns);
        for (point, weight) in points.iter().zip(&weights) {
            let mut jump = vec![0.0; self.launches.len()];
            for at in &jumps[..point.jumps] {
                jump[*at] = JUMP_VARIANCE;
            }
            // It had a factor when its weight was computed.
            if let Some(covariance) = self.covariance(point, &jump) {
                moments.add(*weight, &point.effects, &covariance);
            }
        }
        let is_calm = |point: &Point| point.drift <= CALM_DRIFT && point.jumps == 0;
        // Whether no jump of a point is on this host.
        let is_calm_on = |host: usize, point: &Point| {
            let on_host = |at: &usize| self.launches[*at].host == host;
            point.drift <= CALM_DRIFT && !jumps[..point.jumps].iter().any(on_host)
        };
        let calm = |host| mean(&|point| f64::from(u8::from(is_calm_on(host, point))));
        let excess = self.excess;
        MachineFit {
            groups: self.design.groups.clone(),
            calm: (0..self.design.hosts).map(calm).collect(),
            differences: moments.differences(),
            repeat_variance: self.repeat_variance,
            moved_inside: (0..excess.len()).filter(|at| excess[*at] > 0.0).collect(),
            enough_for_jumps: false,
            expected_jumps: mean(&|point| point.jumps as f64),
            launch_sd: mean(&|point| point.launch_sd.ln()).exp(),
            drift: mean(&|point| point.drift),
            p_calm: mean(&|point| f64::from(u8::from(is_calm(point)))),
            jumps,
            effects,
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "machine_hosts_tests.rs"]
mod hosts_tests;
