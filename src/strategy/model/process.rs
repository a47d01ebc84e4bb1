//! The Gaussian process behind the screen: each launch is the sum of what the machine's hosts
//! have in common, what its configuration does by the parts of [`Kernel`], the level of its
//! machine as a random walk, and noise. How much each part counts is learned from the launches
//! themselves. Pure; values are logarithms, of which smaller ones are better; times are hours.
//!
//! The variances are those of greatest posterior density, by the MM algorithm of H. Zhou,
//! L. Hu, J. Zhou, K. Lange (*MM algorithms for variance components models*, J. Comput. Graph.
//! Stat. 28, 2019) under inverse gamma priors. Prediction and leave-one-out errors: C. E.
//! Rasmussen, C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, equations
//! 2.23 to 2.26 and 5.10 to 5.12.

use super::kernel::Kernel;
use crate::statistics::cholesky::{cholesky, forward, inverse, solve};

/// Variance of what all launches of a host have in common, once the mean is taken off: wide.
const COMMON: f64 = 1.0;

/// Mean of the weight of a prediction before anything is measured, and its variance.
const WEIGHT: (f64, f64) = (0.5, 0.25);

/// Steps of the search for the variances.
const STEPS: usize = 24;

/// Where a variance is expected, and how firmly: about twice this number of values.
#[derive(Clone, Copy)]
struct Prior {
    mode: f64,
    weight: f64,
}

/// What one axis does: it may do nothing, or double the value.
const AXIS: Prior = Prior { mode: 0.05 * 0.05, weight: 0.5 };
/// What all pairs of axes do beside that.
const PAIRS: Prior = Prior { mode: 0.04 * 0.04, weight: 1.0 };
/// What a configuration does for itself.
const OWN: Prior = Prior { mode: 0.03 * 0.03, weight: 1.0 };
/// Drift of the machine in an hour.
const DRIFT: Prior = Prior { mode: 0.02 * 0.02, weight: 0.5 };
/// Between launches of one configuration.
const LAUNCH: Prior = Prior { mode: 0.04 * 0.04, weight: 2.0 };

/// One launch that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Launch {
    /// Index of its configuration.
    pub(super) configuration: usize,
    /// Number of its host.
    pub(super) host: usize,
    /// When it was measured, hours.
    pub(super) time: f64,
    /// Mean of its logarithms, of which smaller ones are better.
    pub(super) cost: f64,
    /// Variance of that mean by its repeats alone.
    pub(super) noise: f64,
}

/// What is believed of all configurations after some launches.
#[derive(Clone, Debug)]
pub(super) struct Process {
    /// Of each configuration, relative to the mean of all launches.
    pub(super) means: Vec<f64>,
    /// Covariances of them, row by row.
    covariance: Vec<f64>,
    /// Leave-one-out errors of the launches.
    left_out: Vec<f64>,
    /// Weight of the prediction; 0 without one.
    pub(super) weight: f64,
}

/// Covariances of the launches, without the factors that are learned.
struct Parts {
    /// Launches.
    width: usize,
    /// Lower triangles, packed: row by row up to the diagonal.
    covariances: Vec<Vec<f64>>,
    priors: Vec<Prior>,
    /// What is not scaled.
    fixed: Vec<f64>,
}

/// The covariance of launches at some variances.
struct Solved {
    factor: Vec<f64>,
    inverse: Vec<f64>,
    /// The inverse times what the mean leaves.
    alpha: Vec<f64>,
}

impl Process {
    /// What the launches show of all configurations. `predicted`: of each of them the logarithm
    /// that is expected beforehand. `None` without launches, and of values that are not finite.
    pub(super) fn fit(
        kernel: &Kernel,
        configurations: usize,
        launches: &[Launch],
        predicted: Option<&[f64]>,
    ) -> Option<Self> {
        if launches.is_empty() || launches.iter().any(|it| !it.cost.is_finite()) {
            return None;
        }
        let Some(predicted) = predicted else {
            return Self::around(kernel, configurations, launches, None, 0.0);
        };
        let free = Self::around(kernel, configurations, launches, Some(predicted), WEIGHT.1)?;
        if (0.0..=1.0).contains(&free.weight) {
            return Some(free);
        }
        // A prediction that points the wrong way is no prediction.
        Self::around(
            kernel,
            configurations,
            launches,
            (free.weight > 1.0).then_some(predicted),
            0.0,
        )
    }

    /// With a prediction of this variance of its weight: 0 takes it as it stands.
    fn around(
        kernel: &Kernel,
        configurations: usize,
        launches: &[Launch],
        predicted: Option<&[f64]>,
        doubt: f64,
    ) -> Option<Self> {
        let expected = |c: usize| predicted.map_or(0.0, |it| it[c]);
        let before = match (predicted, doubt > 0.0) {
            (None, _) => 0.0,
            (_, true) => WEIGHT.0,
            (_, false) => 1.0,
        };
        let count = launches.len() as f64;
        let middle = launches.iter().map(|it| expected(it.configuration)).sum::<f64>() / count;
        let beyond = |c: usize| expected(c) - middle;
        let mean = launches.iter().map(|it| it.cost).sum::<f64>() / count;
        let left: Vec<f64> =
            launches.iter().map(|it| it.cost - mean - before * beyond(it.configuration)).collect();
        let parts = Parts::of(kernel, launches, |a, b| doubt * beyond(a) * beyond(b));
        let (scales, solved) = parts.learn(&left)?;
        let alpha = &solved.alpha;
        let weighed: f64 =
            launches.iter().zip(alpha).map(|(it, alpha)| beyond(it.configuration) * alpha).sum();
        // What each configuration has in common with each launch, and with each other one.
        let shared = |a: usize, b: usize| {
            let common = kernel.common(a, b);
            let parts: f64 = common.iter().zip(&scales).map(|(it, scale)| it * scale).sum();
            parts + doubt * beyond(a) * beyond(b)
        };
        let mut means = Vec::with_capacity(configurations);
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(configurations);
        for c in 0..configurations {
            let common: Vec<f64> = launches.iter().map(|it| shared(c, it.configuration)).collect();
            let learned: f64 = common.iter().zip(alpha).map(|(it, alpha)| it * alpha).sum();
            means.push(before * beyond(c) + learned);
            rows.push(forward(&solved.factor, launches.len(), &common));
        }
        let mut covariance = vec![0.0; configurations * configurations];
        for (a, own) in rows.iter().enumerate() {
            for (b, other) in rows[..=a].iter().enumerate() {
                let explained: f64 = own.iter().zip(other).map(|(it, other)| it * other).sum();
                let value = shared(a, b) - explained;
                covariance[a * configurations + b] = value;
                covariance[b * configurations + a] = value;
            }
        }
        let width = launches.len();
        let left_out = (0..width).map(|at| alpha[at] / solved.inverse[at * width + at]).collect();
        let weight = before + doubt * weighed;
        Some(Self { means, covariance, left_out, weight })
    }

    /// Variance of the difference of two configurations.
    pub(super) fn variance(&self, a: usize, b: usize) -> f64 {
        let of = |x: usize, y: usize| self.covariance[x * self.means.len() + y];
        (of(a, a) + of(b, b) - 2.0 * of(a, b)).max(0.0)
    }

    /// Sum of the squares of the errors by which each launch is missed by all others.
    pub(super) fn missed(&self) -> f64 {
        self.left_out.iter().map(|error| error * error).sum()
    }
}

/// What is believed, and how much of what launches differ in the axes predict: 1 - the squared errors of leaving one
/// out, over those without the axes. Machine and noise are the same in both.
pub(super) fn predictive_share(
    kernel: &Kernel,
    configurations: usize,
    launches: &[Launch],
    predicted: Option<&[f64]>,
) -> Option<(Process, f64)> {
    let with = Process::fit(kernel, configurations, launches, predicted)?;
    let nothing = Kernel::new(&vec![Vec::new(); configurations]);
    let without = Process::fit(&nothing, configurations, launches, None)?;
    let share = 1.0 - with.missed() / without.missed();
    share.is_finite().then_some((with, share))
}

impl Parts {
    fn of(kernel: &Kernel, launches: &[Launch], doubt: impl Fn(usize, usize) -> f64) -> Self {
        let width = launches.len();
        let axes = kernel.axes();
        let mut priors = vec![AXIS; axes];
        priors.extend([PAIRS, OWN, DRIFT, LAUNCH]);
        let mut parts = vec![Vec::with_capacity(width * (width + 1) / 2); priors.len()];
        let mut fixed = Vec::with_capacity(width * (width + 1) / 2);
        let start = launches.iter().map(|it| it.time).fold(f64::INFINITY, f64::min);
        for (row, a) in launches.iter().enumerate() {
            for (column, b) in launches[..=row].iter().enumerate() {
                let common = kernel.common(a.configuration, b.configuration);
                for (part, value) in parts.iter_mut().zip(common) {
                    part.push(value);
                }
                let (same, own) = (a.host == b.host, row == column);
                parts[axes + 2].push(if same { a.time.min(b.time) - start } else { 0.0 });
                parts[axes + 3].push(if own { 1.0 } else { 0.0 });
                let noise = if own { a.noise } else { 0.0 };
                let host = if same { COMMON } else { 0.0 };
                fixed.push(noise + host + doubt(a.configuration, b.configuration));
            }
        }
        Self { width, covariances: parts, priors, fixed }
    }

    fn solve(&self, scales: &[f64], left: &[f64]) -> Option<Solved> {
        let width = self.width;
        let mut packed = self.fixed.clone();
        for (part, scale) in self.covariances.iter().zip(scales) {
            for (cell, value) in packed.iter_mut().zip(part) {
                *cell += scale * value;
            }
        }
        let mut matrix = vec![0.0; width * width];
        let mut from = 0;
        for row in 0..width {
            matrix[row * width..=row * width + row].copy_from_slice(&packed[from..=from + row]);
            from += row + 1;
        }
        let factor = cholesky(matrix, width)?;
        let alpha = solve(&factor, width, left);
        let inverse = inverse(&factor, width);
        Some(Solved { factor, inverse, alpha })
    }

    /// The variances of greatest posterior density, and what follows from them.
    fn learn(&self, left: &[f64]) -> Option<(Vec<f64>, Solved)> {
        let mut scales: Vec<f64> = self.priors.iter().map(|it| it.mode).collect();
        let mut solved = self.solve(&scales, left)?;
        for _ in 0..STEPS {
            for ((scale, part), prior) in scales.iter_mut().zip(&self.covariances).zip(&self.priors)
            {
                let (square, trace) = self.forms(part, &solved);
                let above = *scale * *scale * square + 2.0 * prior.weight * prior.mode;
                let below = trace + 2.0 * prior.weight / *scale;
                *scale = (above / below).sqrt();
            }
            solved = self.solve(&scales, left)?;
        }
        Some((scales, solved))
    }

    /// The quadratic form of a part, and the trace of its product with the inverse.
    fn forms(&self, part: &[f64], solved: &Solved) -> (f64, f64) {
        let (mut square, mut trace, mut from) = (0.0, 0.0, 0);
        for row in 0..self.width {
            let cells = &part[from..=from + row];
            let inverse = &solved.inverse[row * self.width..=row * self.width + row];
            let with: f64 = cells.iter().zip(&solved.alpha).map(|(it, alpha)| it * alpha).sum();
            let own = cells[row];
            square += solved.alpha[row] * (2.0 * with - own * solved.alpha[row]);
            let sum: f64 = cells.iter().zip(inverse).map(|(it, other)| it * other).sum();
            trace += 2.0 * sum - own * inverse[row];
            from += row + 1;
        }
        (square, trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two axes, of three and four levels.
    fn levels() -> Vec<Vec<usize>> {
        (0..12).map(|it| vec![it % 3, it / 3]).collect()
    }

    /// What adds up.
    fn effect(c: usize) -> f64 {
        [0.0, 0.3, -0.2][c % 3] + [0.0, 0.1, -0.3, 0.2][c / 3]
    }

    /// Without noise but for a little ripple, and as it is measured on a machine that is
    /// slower on the second host.
    fn launch(at: usize, configuration: usize) -> Launch {
        let ripple = 0.01 * ((7 * at + 3) % 5) as f64 - 0.02;
        let host = at % 2;
        let cost = effect(configuration) + ripple + 0.8 * host as f64;
        Launch { configuration, host, time: 0.1 * at as f64, cost, noise: 1e-4 }
    }

    fn some() -> Vec<Launch> {
        [0, 1, 4, 5, 8, 6, 11, 9].iter().enumerate().map(|(at, c)| launch(at, *c)).collect()
    }

    #[test]
    fn what_was_not_launched_is_predicted_by_what_adds_up() {
        let kernel = Kernel::new(&levels());
        let belief = Process::fit(&kernel, 12, &some(), None).unwrap();
        for c in [2, 3, 7, 10] {
            let (expected, found) = (effect(c) - effect(0), belief.means[c] - belief.means[0]);
            let error = belief.variance(c, 0).sqrt();
            assert!((found - expected).abs() < 0.15, "{c}: {found}, not {expected}");
            assert!((found - expected).abs() < 3.0 * error && error < 0.25, "{c}: {error}");
        }
        // A launched one is known better than one that was not.
        assert!(belief.variance(0, 4) < belief.variance(2, 3));
        assert!(belief.variance(5, 5).abs() < f64::EPSILON);
        let (_, share) = predictive_share(&kernel, 12, &some(), None).unwrap();
        assert!((0.3..=1.0).contains(&share), "{share}");
    }

    #[test]
    fn the_errors_of_leaving_one_out_are_those_of_doing_so() {
        let kernel = Kernel::new(&levels());
        let all = some();
        let left: Vec<f64> = all.iter().map(|it| it.cost - 0.4).collect();
        let scales = [0.02, 0.03, 0.004, 0.002, 0.001, 0.0005];
        let whole = Parts::of(&kernel, &all, |_, _| 0.0).solve(&scales, &left).unwrap();
        for out in 0..all.len() {
            let by_form = whole.alpha[out] / whole.inverse[out * all.len() + out];
            // The last one is predicted by the others: its own row of the factor.
            let mut order: Vec<usize> = (0..all.len()).filter(|it| *it != out).collect();
            order.push(out);
            let moved: Vec<Launch> = order.iter().map(|it| all[*it]).collect();
            let values: Vec<f64> = order.iter().map(|it| left[*it]).collect();
            let solved = Parts::of(&kernel, &moved, |_, _| 0.0).solve(&scales, &values).unwrap();
            let n = all.len();
            let row = &solved.factor[(n - 1) * n..];
            let rest = forward(&solved.factor, n, &values);
            let predicted: f64 = row[..n - 1].iter().zip(&rest).map(|(a, b)| a * b).sum();
            let error = values[n - 1] - predicted;
            assert!((by_form - error).abs() < 1e-9, "{out}: {by_form}, not {error}");
        }
    }

    #[test]
    fn each_step_of_the_search_raises_the_posterior_density() {
        let kernel = Kernel::new(&levels());
        let all = some();
        let left: Vec<f64> = all.iter().map(|it| it.cost - 0.4).collect();
        let parts = Parts::of(&kernel, &all, |_, _| 0.0);
        let density = |scales: &[f64]| {
            let solved = parts.solve(scales, &left).unwrap();
            let n = all.len();
            let fit: f64 = left.iter().zip(&solved.alpha).map(|(y, alpha)| y * alpha).sum();
            let determinant: f64 = (0..n).map(|at| solved.factor[at * n + at].ln()).sum();
            let prior: f64 = scales
                .iter()
                .zip(&parts.priors)
                .map(|(it, prior)| prior.weight * (it.ln() + prior.mode / it))
                .sum();
            -0.5 * fit - determinant - prior
        };
        let begin: Vec<f64> = parts.priors.iter().map(|it| it.mode).collect();
        let (found, _) = parts.learn(&left).unwrap();
        let best = density(&found);
        assert!(best > density(&begin) + 0.1, "{best}, {}", density(&begin));
        for at in 0..found.len() {
            for factor in [0.5, 2.0] {
                let mut other = found.clone();
                other[at] *= factor;
                assert!(density(&other) < best + 0.02, "{at} x {factor}");
            }
        }
    }

    #[test]
    fn a_prediction_counts_as_far_as_it_is_right() {
        let kernel = Kernel::new(&levels());
        let right: Vec<f64> = (0..12).map(|it| 3.0 + effect(it)).collect();
        let wrong: Vec<f64> = (0..12).map(|it| 3.0 - effect(it)).collect();
        let weight = |it: &[f64]| Process::fit(&kernel, 12, &some(), Some(it)).unwrap().weight;
        assert!(weight(&right) > 0.8, "{}", weight(&right));
        assert!(weight(&wrong) < 0.2, "{}", weight(&wrong));
        let without = Process::fit(&kernel, 12, &some(), None).unwrap();
        let with = Process::fit(&kernel, 12, &some(), Some(&right)).unwrap();
        assert!(without.weight.abs() < f64::EPSILON);
        assert!(with.variance(2, 0) < without.variance(2, 0));
    }

    #[test]
    fn nothing_and_what_is_not_finite_give_no_belief() {
        let kernel = Kernel::new(&levels());
        assert!(Process::fit(&kernel, 12, &[], None).is_none());
        let broken = Launch { cost: f64::NAN, ..launch(0, 0) };
        assert!(Process::fit(&kernel, 12, &[broken], None).is_none());
        assert!(Process::fit(&kernel, 12, &[launch(0, 0)], None).is_some());
    }
}
