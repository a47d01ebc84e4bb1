//! Variance components of launches and repeats, pooled over arms.
//!
//! One-way nested analysis of variance with unequal numbers (Searle, Casella,
//! McCulloch, *Variance Components*, 1992, ch. 3): within-launch mean square
//! `MSW = s2`, between-launch mean square `E[MSB] = s2 + n0 sL2` with
//! `n0 = sum_i (R_i - sum_j n_ij^2 / R_i) / sum_i (L_i - 1)`.

use super::interval::Interval;

/// The values of one arm by launch, on the scale on which they are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupedValues {
    launches: Vec<Vec<f64>>,
}

impl GroupedValues {
    /// Takes the values by launch; launches without a value don't count.
    pub fn new(launches: Vec<Vec<f64>>) -> Self {
        Self { launches: launches.into_iter().filter(|values| !values.is_empty()).collect() }
    }

    /// The same with every value multiplied.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        let times = |values: &Vec<f64>| values.iter().map(|value| value * factor).collect();
        Self { launches: self.launches.iter().map(times).collect() }
    }

    /// The same on log scale; `None` where a value is zero or negative.
    pub fn log(&self) -> Option<Self> {
        let positive = self.launches.iter().flatten().all(|value| *value > 0.0);
        positive.then(|| Self {
            launches: self
                .launches
                .iter()
                .map(|values| values.iter().map(|value| value.ln()).collect())
                .collect(),
        })
    }

    /// Launches that gave a value.
    pub fn launches(&self) -> usize {
        self.launches.len()
    }

    /// Values in all.
    pub fn repeats(&self) -> usize {
        self.launches.iter().map(Vec::len).sum()
    }

    /// Values by launch.
    pub fn values(&self) -> &[Vec<f64>] {
        &self.launches
    }

    /// Mean of all values; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        let values = || self.launches.iter().flatten();
        (self.repeats() > 0).then(|| values().sum::<f64>() / self.repeats() as f64)
    }

    /// What `sL2` is multiplied by in the variance of the mean:
    /// `sum_j n_j^2 / R^2`, which is 1 / launches when all have as many repeats.
    fn launch_share(&self) -> f64 {
        let squares: f64 = self.launches.iter().map(|values| (values.len() as f64).powi(2)).sum();
        squares / (self.repeats() as f64).powi(2)
    }
}

/// What is believed of the two variances before there are data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Launch-to-launch SD: the floor of the estimate, and used alone while nothing was relaunched.
    pub launch_sd: f64,
    /// Degrees of freedom that the floor is worth.
    pub launch_df: f64,
    /// Within-launch SD while no launch has two repeats.
    pub repeat_sd: f64,
    /// Degrees of freedom that it is worth.
    pub repeat_df: f64,
}

impl Prior {
    /// For logarithms of latencies and throughputs: 4 % between launches,
    /// 20 % between repeats.
    pub const LOG: Self = Self { launch_sd: 0.04, launch_df: 6.0, repeat_sd: 0.2, repeat_df: 4.0 };

    /// The same belief on the plain scale, of values around `mean`.
    #[must_use]
    pub fn around(mean: f64) -> Self {
        let Self { launch_sd, repeat_sd, .. } = Self::LOG;
        let size = mean.abs();
        Self { launch_sd: launch_sd * size, repeat_sd: repeat_sd * size, ..Self::LOG }
    }
}

/// The variance of a mean or a difference, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uncertainty {
    /// Squared standard error.
    pub variance: f64,
    /// Satterthwaite's degrees of freedom.
    pub degrees_of_freedom: f64,
}

impl Uncertainty {
    /// Of the sum or the difference of two independent estimates: the variances add,
    /// with the degrees of freedom of B. L. Welch, *The generalization of
    /// "Student's" problem when several different population variances are
    /// involved*, Biometrika 34 (1947).
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let variance = self.variance + other.variance;
        let part = |it: Self| it.variance.powi(2) / it.degrees_of_freedom;
        let spread = part(self) + part(other);
        let degrees_of_freedom =
            if spread > 0.0 { (variance.powi(2) / spread).max(1.0) } else { f64::INFINITY };
        Self { variance, degrees_of_freedom }
    }
}

/// Pooled variance components.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Components {
    /// Variance of repeats within a launch.
    pub repeat_variance: f64,
    /// Its degrees of freedom.
    pub repeat_df: f64,
    /// Variance between launches of one arm, not below the prior's.
    pub launch_variance: f64,
    /// Degrees of freedom of the between-launch mean square; 0 where nothing was relaunched.
    pub launch_df: f64,
    /// True while no arm was launched twice: the launch variance is the prior's.
    pub launch_assumed: bool,
    /// True while no launch has two values: the repeat variance is the prior's.
    pub repeat_assumed: bool,
    /// Between-launch mean square, and the repeats per launch (`n0`) that it is based on;
    /// `None` where the launch variance is the prior's.
    mean_square: Option<(f64, f64)>,
    prior: Prior,
}

impl Components {
    /// Pools over `arms`. Arms are assumed to share both variances.
    pub fn pool<'a>(arms: impl IntoIterator<Item = &'a GroupedValues>, prior: Prior) -> Self {
        let (mut within, mut within_df) = (0.0, 0.0);
        let (mut between, mut between_df, mut n0) = (0.0, 0.0, 0.0);
        for arm in arms {
            let Some(mean) = arm.mean() else { continue };
            let mut squared_sizes = 0.0;
            for values in &arm.launches {
                let n = values.len() as f64;
                let launch_mean = values.iter().sum::<f64>() / n;
                within += values.iter().map(|v| (v - launch_mean).powi(2)).sum::<f64>();
                within_df += n - 1.0;
                between += n * (launch_mean - mean).powi(2);
                squared_sizes += n * n;
            }
            between_df += arm.launches() as f64 - 1.0;
            n0 += arm.repeats() as f64 - squared_sizes / arm.repeats() as f64;
        }
        let repeat_assumed = within_df == 0.0;
        let (repeat_variance, repeat_df) = if repeat_assumed {
            (prior.repeat_sd.powi(2), prior.repeat_df)
        } else {
            (within / within_df, within_df)
        };
        let floor = prior.launch_sd.powi(2);
        let launch_assumed = between_df == 0.0;
        let mean_square = (!launch_assumed)
            .then(|| (between / between_df, n0 / between_df))
            .filter(|(mean_square, n0)| (mean_square - repeat_variance) / n0 > floor);
        let launch_variance =
            mean_square.map_or(floor, |(mean_square, n0)| (mean_square - repeat_variance) / n0);
        Self {
            repeat_variance,
            repeat_df,
            launch_variance,
            launch_df: between_df,
            launch_assumed,
            repeat_assumed,
            mean_square,
            prior,
        }
    }

    /// The same for values that are all `size` times as large.
    #[must_use]
    pub fn scaled(self, size: f64) -> Self {
        let square = size * size;
        let Prior { launch_sd, repeat_sd, .. } = self.prior;
        let prior =
            Prior { launch_sd: launch_sd * size, repeat_sd: repeat_sd * size, ..self.prior };
        Self {
            repeat_variance: self.repeat_variance * square,
            launch_variance: self.launch_variance * square,
            mean_square: self.mean_square.map(|(mean_square, n0)| (mean_square * square, n0)),
            prior,
            ..self
        }
    }

    /// Whether an interval rests on a variance that the sweep did not measure.
    pub fn assumed(&self) -> bool {
        // With one repeat per launch, s2 cancels out of a measured launch mean square.
        self.launch_assumed || (self.repeat_assumed && self.mean_square.is_none())
    }

    /// Whether the launch variance was measured but is taken as the prior's,
    /// because it came out smaller.
    pub fn floored(&self) -> bool {
        !self.launch_assumed && self.mean_square.is_none()
    }

    /// Uncertainty of an arm's mean: `sL2 / launches + s2 / repeats`.
    pub fn of_mean(&self, arm: &GroupedValues) -> Uncertainty {
        self.uncertainty(arm.launch_share(), 1.0 / arm.repeats() as f64)
    }

    /// Uncertainty of the difference of two arms' means.
    pub fn of_difference(&self, a: &GroupedValues, b: &GroupedValues) -> Uncertainty {
        self.uncertainty(
            a.launch_share() + b.launch_share(),
            1.0 / a.repeats() as f64 + 1.0 / b.repeats() as f64,
        )
    }

    /// Interval of an arm's mean on the arm's scale; `None` without a value.
    pub fn interval(&self, arm: &GroupedValues) -> Option<Interval> {
        let mean = arm.mean()?;
        let of_mean = self.of_mean(arm);
        Some(Interval::around(mean, of_mean.variance.sqrt(), of_mean.degrees_of_freedom))
    }

    /// `launch_share * sL2 + repeat_share * s2` with the degrees of freedom of
    /// F. E. Satterthwaite, *An approximate distribution of estimates of
    /// variance components*, Biometrics Bull. 2 (1946). With equal numbers
    /// everywhere this is exactly the between-launch mean square's.
    fn uncertainty(&self, launch_share: f64, repeat_share: f64) -> Uncertainty {
        let (between, between_df, within) = match self.mean_square {
            // sL2 = (MSB - MSW) / n0: written in the two independent mean squares.
            Some((mean_square, n0)) => (
                launch_share * mean_square / n0,
                self.launch_df,
                (repeat_share - launch_share / n0) * self.repeat_variance,
            ),
            None => (
                launch_share * self.launch_variance,
                self.prior.launch_df,
                repeat_share * self.repeat_variance,
            ),
        };
        let variance = between + within;
        let spread = between.powi(2) / between_df + within.powi(2) / self.repeat_df;
        let degrees_of_freedom =
            if spread > 0.0 { (variance.powi(2) / spread).max(1.0) } else { f64::INFINITY };
        Uncertainty { variance, degrees_of_freedom }
    }
}

#[cfg(test)]
#[path = "variance_tests.rs"]
mod tests;
