//! Launches on a machine whose speed moves: what differs between configurations
//! once the machine's own level is taken out. The level is a random walk with
//! detected jumps; launch SD, drift and jumps are averaged over a grid instead
//! of being estimated once, so that what is not known widens the intervals.
//!
//! Values are logarithms, times are seconds. Pure. The recursion
//! is that of R. E. Kalman with the diffuse start and the regression on the
//! innovations of B. Rosenberg (Ann. Econ. Soc. Meas. 2, 1973) and A. C. Harvey
//! (*Forecasting*, 1989, section 3.4): restricted likelihood, generalised least squares.

use super::cholesky::{cholesky, forward, inverse, solve};
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

/// One launch: the logarithms of its kept repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaunchMean {
    /// Index of its configuration, from 0.
    pub configuration: usize,
    /// Mean time of its kept repeats, in seconds from any start.
    pub time: f64,
    /// Mean of the logarithms.
    pub mean: f64,
    /// How many there are.
    pub repeats: u32,
    /// Their variance (n - 1); 0 where there is one.
    pub variance: f64,
}

impl LaunchMean {
    /// Of the logarithms of a launch's kept repeats, of which there is at least one.
    pub fn of(configuration: usize, time: f64, logs: &[f64]) -> Self {
        let n = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / n;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let variance = if logs.len() > 1 { squares / (n - 1.0) } else { 0.0 };
        Self { configuration, time, mean, repeats: logs.len() as u32, variance }
    }
}

/// What a sweep shows with the machine's level taken out. Indices are those of
/// [`LaunchMean::configuration`].
#[derive(Clone, Debug, PartialEq)]
pub struct MachineFit {
    /// Estimates relative to the first configuration.
    effects: Vec<f64>,
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
    let allowed = max_jumps.min((launches.len() - configurations) / 4);
    let enough = counts[configurations / 2] >= 3 || (whatever_the_median && allowed > 0);
    let (repeat_variance, excess) = repeat_variance(launches);
    let model = Model { launches, configurations, repeat_variance, excess: &excess };
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
    /// Effect of configuration `a` minus that of `b`, and its uncertainty.
    pub fn difference(&self, a: usize, b: usize) -> (f64, Uncertainty) {
        (self.effects[a] - self.effects[b], self.differences[a * self.effects.len() + b])
    }

    /// Effects relative to the first configuration.
    pub fn effects(&self) -> &[f64] {
        &self.effects
    }
}

/// Medians and 0.999 quantiles of chi-squared over its degrees of freedom, by repeats.
fn chi(repeats: u32) -> (f64, f64) {
    match repeats {
        2 => (0.455, 10.83),
        3 => (0.693, 6.91),
        4 => (0.789, 5.42),
        5 => (0.839, 4.62),
        6 => (0.870, 4.10),
        7 => (0.891, 3.74),
        8 => (0.907, 3.47),
        many => (chi_quantile(many, 0.0), chi_quantile(many, 3.0902)),
    }
}

/// Quantile of chi-squared over its degrees of freedom, at so many standard deviations of
/// a normal variable: E. B. Wilson, M. M. Hilferty (Proc. Natl. Acad. Sci. 17, 1931).
fn chi_quantile(repeats: u32, normal: f64) -> f64 {
    let spread = 2.0 / (9.0 * f64::from(repeats - 1));
    (1.0 - spread + normal * spread.sqrt()).powi(3)
}

/// The variance of a repeat, pooled over launches that nothing moved in, and what
/// each launch has beyond it.
fn repeat_variance(launches: &[LaunchMean]) -> (f64, Vec<f64>) {
    let many = || launches.iter().filter(|launch| launch.repeats >= 2);
    let mut scaled: Vec<f64> = many().map(|it| it.variance / chi(it.repeats).0).collect();
    if scaled.is_empty() {
        return (0.0, vec![0.0; launches.len()]);
    }
    scaled.sort_by(f64::total_cmp);
    let middle = scaled.len() / 2;
    let mut pooled = if scaled.len() % 2 == 1 {
        scaled[middle]
    } else {
        f64::midpoint(scaled[middle - 1], scaled[middle])
    };
    for _ in 0..5 {
        let (mut sum, mut degrees) = (0.0, 0.0);
        for launch in many().filter(|it| it.variance <= chi(it.repeats).1 * pooled) {
            let df = f64::from(launch.repeats - 1);
            sum += launch.variance * df;
            degrees += df;
        }
        if degrees == 0.0 {
            break;
        }
        pooled = sum / degrees;
    }
    let beyond = |it: &LaunchMean| {
        let moved = it.repeats >= 2 && it.variance > chi(it.repeats).1 * pooled;
        if moved { it.variance } else { 0.0 }
    };
    (pooled, launches.iter().map(beyond).collect())
}

struct Model<'a> {
    launches: &'a [LaunchMean],
    configurations: usize,
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
        let gaps: Vec<usize> = (1..jump.len()).filter(|at| jump[*at] == 0.0).collect();
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
        let mut level = left(&self.launches[0]);
        let mut variance = self.noise(0, launch_sd);
        let mut surprises = vec![0.0; self.launches.len()];
        for (at, surprise) in surprises.iter_mut().enumerate().skip(1) {
            variance += self.step(at, drift, jump);
            let spread = variance + self.noise(at, launch_sd);
            let innovation = left(&self.launches[at]) - level;
            *surprise = innovation.abs() / spread.sqrt();
            level += innovation * variance / spread;
            variance *= self.noise(at, launch_sd) / spread;
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

    /// Variance of the level's step before a launch.
    fn step(&self, at: usize, drift: f64, jump: &[f64]) -> f64 {
        let hours = (self.launches[at].time - self.launches[at - 1].time) / 3600.0;
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
        let k = self.configurations;
        let mut effects = vec![0.0; k];
        effects[1..].copy_from_slice(&solve(&factor, width, &sums.s_xy));
        Some(Pass { likelihood, effects })
    }

    /// Lower triangle of the covariance of all effects but the first, which is 0.
    fn covariance(&self, point: &Point, jump: &[f64]) -> Option<Vec<f64>> {
        let sums = self.filter(point.launch_sd, point.drift, jump);
        let width = sums.width;
        Some(inverse(&cholesky(sums.s_xx, width)?, width))
    }

    /// Runs the filter over the values and the configurations' indicators at once.
    fn filter(&self, launch_sd: f64, drift: f64, jump: &[f64]) -> Sums {
        let width = self.configurations - 1;
        let mut sums = Sums::new(width);
        // Entry 0 is the value, entry c the indicator of configuration c.
        let mut level = vec![0.0; width + 1];
        let mut innovation = vec![0.0; width + 1];
        let observed = |at: usize, entry: usize| match entry {
            0 => self.launches[at].mean,
            c => f64::from(u8::from(self.launches[at].configuration == c)),
        };
        for (entry, level) in level.iter_mut().enumerate() {
            *level = observed(0, entry);
        }
        let mut variance = self.noise(0, launch_sd);
        for at in 1..self.launches.len() {
            let predicted = variance + self.step(at, drift, jump);
            let noise = self.noise(at, launch_sd);
            let spread = predicted + noise;
            let gain = predicted / spread;
            for (entry, level) in level.iter_mut().enumerate() {
                innovation[entry] = observed(at, entry) - *level;
                *level += innovation[entry] * gain;
            }
            variance = predicted * noise / spread;
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
        let k = self.configurations;
        let effects: Vec<f64> = (0..k).map(|c| mean(&|point| point.effects[c])).collect();
        let mut moments = Moments::new(&effects);
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
        let excess = self.excess;
        MachineFit {
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

/// Weighted sums of products of innovations.
struct Sums {
    width: usize,
    log_spread: f64,
    s_yy: f64,
    s_xy: Vec<f64>,
    /// Lower triangle of a square, row by row.
    s_xx: Vec<f64>,
}

impl Sums {
    fn new(width: usize) -> Self {
        Self {
            width,
            log_spread: 0.0,
            s_yy: 0.0,
            s_xy: vec![0.0; width],
            s_xx: vec![0.0; width * width],
        }
    }

    fn add(&mut self, innovation: &[f64], spread: f64) {
        let (value, indicators) = (innovation[0], &innovation[1..]);
        self.log_spread += spread.ln();
        self.s_yy += value * value / spread;
        for (row, own) in indicators.iter().enumerate() {
            let scaled = own / spread;
            self.s_xy[row] += scaled * value;
            let cells = &mut self.s_xx[row * self.width..=row * self.width + row];
            for (cell, other) in cells.iter_mut().zip(indicators) {
                *cell += scaled * other;
            }
        }
    }

    /// Restricted log likelihood, up to a constant.
    fn restricted(&self, factor: &[f64]) -> f64 {
        let width = self.width;
        let log_determinant: f64 = (0..width).map(|at| 2.0 * factor[at * width + at].ln()).sum();
        let explained: f64 =
            forward(factor, width, &self.s_xy).iter().map(|part| part * part).sum();
        -0.5 * (self.log_spread + log_determinant + self.s_yy - explained)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
