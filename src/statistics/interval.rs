//! Student's t: quantiles, p-values, and intervals made of them.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// A two-sided interval at the level [`super::CONFIDENCE`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// `centre` plus and minus the t-quantile times the standard error.
    pub fn around(centre: f64, standard_error: f64, degrees_of_freedom: f64) -> Self {
        Self::missing(1.0 - super::CONFIDENCE, centre, standard_error, degrees_of_freedom)
    }

    /// The same, which misses the true value with this probability.
    pub fn missing(error: f64, centre: f64, standard_error: f64, degrees_of_freedom: f64) -> Self {
        // No spread, no interval; and 0 times an infinite quantile would be NaN.
        let half = if standard_error == 0.0 {
            0.0
        } else {
            t_quantile(1.0 - error / 2.0, degrees_of_freedom) * standard_error
        };
        Self { low: centre - half, high: centre + half }
    }

    /// From logarithms back to values.
    #[must_use]
    pub fn exp(self) -> Self {
        Self { low: self.low.exp(), high: self.high.exp() }
    }

    /// Whether `value` lies in it, ends included.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The quantile of Student's t with (possibly fractional) degrees of freedom.
pub fn t_quantile(probability: f64, degrees_of_freedom: f64) -> f64 {
    match student(degrees_of_freedom) {
        Ok(student) => student.inverse_cdf(probability),
        Err(normal) => normal.inverse_cdf(probability),
    }
}

/// Probability of a t at least this far from zero, if there were no difference.
pub fn two_sided_p(t: f64, degrees_of_freedom: f64) -> f64 {
    // From the lower tail: 1 - cdf(|t|) would round small values to zero.
    let tail = match student(degrees_of_freedom) {
        Ok(student) => student.cdf(-t.abs()),
        Err(normal) => normal.cdf(-t.abs()),
    };
    (2.0 * tail).min(1.0)
}

/// Probability of a t below this one.
pub(super) fn t_below(t: f64, degrees_of_freedom: f64) -> f64 {
    match student(degrees_of_freedom) {
        Ok(student) => student.cdf(t),
        Err(normal) => normal.cdf(t),
    }
}

/// Above this many degrees of freedom t is normal to three digits and more,
/// while statrs' inverse of the incomplete beta function loses digits.
const NORMAL_FROM: f64 = 3000.0;

fn student(degrees_of_freedom: f64) -> Result<StudentsT, Normal> {
    if degrees_of_freedom > NORMAL_FROM {
        return Err(Normal::standard());
    }
    Ok(StudentsT::new(0.0, 1.0, degrees_of_freedom.max(1.0)).expect("scale is 1 and df >= 1"))
}

/// Mean and t interval of independent values (n - 1 degrees of freedom);
/// `None` for fewer than two.
pub fn mean_interval(values: &[f64]) -> Option<(f64, Interval)> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean, Interval::around(mean, (variance / n).sqrt(), n - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Student's t, two-sided 95 %.
        for (df, wanted) in [
            (1.0, 12.706_205),
            (2.0, 4.302_653),
            (4.0, 2.776_445),
            (30.0, 2.042_272),
            (1000.0, 1.962_339),
            (3000.0, 1.960_755),
        ] {
            let got = t_quantile(0.975, df);
            assert!((got - wanted).abs() < 1e-5, "df {df}: {got}");
        }
        assert!((t_quantile(0.975, f64::INFINITY) - 1.959_964).abs() < 1e-4);
        // A fractional df lies between its neighbours.
        let between = t_quantile(0.975, 2.5);
        assert!(between < t_quantile(0.975, 2.0) && between > t_quantile(0.975, 3.0));
    }

    proptest! {
        /// statrs inverts the incomplete beta function by iteration: it must arrive.
        #[test]
        fn quantile_and_p_value_are_inverse(p in 0.0001f64..0.5, log_df in 0.0f64..9.0) {
            let df = log_df.exp();
            let back = two_sided_p(t_quantile(1.0 - p / 2.0, df), df);
            prop_assert!((back / p - 1.0).abs() < 1e-4, "p {p}, df {df}: {back}");
        }
    }

    #[test]
    fn small_p_values_do_not_become_zero() {
        assert!((two_sided_p(2.776_445, 4.0) - 0.05).abs() < 1e-6);
        assert!((two_sided_p(0.0, 4.0) - 1.0).abs() < 1e-12);
        let far = two_sided_p(60.0, 20.0);
        assert!(far > 0.0 && far < 1e-20, "{far}");
    }

    /// A re-run of a configuration `chunked_only_safe`, whose published speed-up of 1.33 was
    /// a mean of ratios: a paired t interval on the logs shows no effect.
    #[test]
    fn the_users_first_speed_up_was_none() {
        let miss = [4756.93, 3055.62, 2471.98, 3013.42, 2491.21_f64];
        let hit = [2188.90, 2534.64, 2462.56, 2522.39, 2278.88_f64];
        let logs: Vec<f64> = miss.iter().zip(hit).map(|(m, h)| (m / h).ln()).collect();
        let (mean, interval) = mean_interval(&logs).unwrap();
        let interval = interval.exp();
        assert_eq!(format!("{:.2}", mean.exp()), "1.28");
        assert_eq!(format!("{:.2}-{:.2}", interval.low, interval.high), "0.88-1.87");
        assert!(interval.contains(1.0), "no effect was shown");
    }

    #[test]
    fn one_value_has_no_interval() {
        assert_eq!(mean_interval(&[1.0]), None);
    }
}
