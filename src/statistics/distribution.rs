//! The statistics of a list of latencies: those of `vllm bench serve`, with a percentile
//! only where there are enough values for it. What is unknown about the true value is in
//! `interval`.

use crate::metric::{MetricValue, MetricValues};

/// Values that a 95th percentile needs: with fewer, the largest value is no upper bound of
/// it at 95 % (1 - 0.95^59 = 0.951).
pub(crate) const FOR_P95: usize = 59;
/// The same for a 99th percentile (1 - 0.99^299 = 0.950).
pub(crate) const FOR_P99: usize = 299;

/// Values in ascending order, and those that are missing at the upper end: requests that
/// failed took for ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution {
    values: Vec<f64>,
    lost: usize,
}

impl Distribution {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        Self { values, lost: 0 }
    }

    /// The same with so many infinite values more. A percentile that falls among them, and
    /// the maximum, have no value; mean, standard deviation and minimum are of the others.
    pub(crate) fn with_lost(self, lost: usize) -> Self {
        Self { lost, ..self }
    }

    /// Values, infinite ones included.
    fn count(&self) -> usize {
        self.values.len() + self.lost
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        let values = &self.values;
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Standard deviation of the population, as numpy computes it.
    pub(crate) fn std(&self) -> Option<f64> {
        let mean = self.mean()?;
        let squares = self.values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Some((squares / self.values.len() as f64).sqrt())
    }

    /// Interpolated between the two nearest values, as numpy does.
    fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        let place = share * last as f64;
        let at = |place: usize| self.values.get(place).copied();
        let below = at(place as usize)?;
        if place.fract() == 0.0 {
            return Some(below);
        }
        Some(below + (at(place as usize + 1)? - below) * place.fract())
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    pub(crate) fn p95(&self) -> Option<f64> {
        (self.count() >= FOR_P95).then(|| self.quantile(0.95))?
    }

    pub(crate) fn p99(&self) -> Option<f64> {
        (self.count() >= FOR_P99).then(|| self.quantile(0.99))?
    }

    pub(crate) fn min(&self) -> Option<f64> {
        self.values.first().copied()
    }

    pub(crate) fn max(&self) -> Option<f64> {
        self.values.last().copied().filter(|_| self.lost == 0)
    }

    /// Statistics without a value that would have one if nothing were missing.
    pub(crate) fn among_lost(&self) -> Vec<&'static str> {
        if self.values.is_empty() {
            return Vec::new();
        }
        let counts = [("median", 1), ("p95", FOR_P95), ("p99", FOR_P99), ("max", 1)];
        let values = [self.median(), self.p95(), self.p99(), self.max()];
        let absent = counts
            .into_iter()
            .zip(values)
            .filter(|((_, least), value)| value.is_none() && self.count() >= *least);
        absent.map(|((name, _), _)| name).collect()
    }

    /// Inserts all of them as `mean_<name>_ms`, ...
    pub(crate) fn insert_into(&self, name: &str, metrics: &mut MetricValues) {
        for (statistic, value) in [
            ("mean", self.mean()),
            ("median", self.median()),
            ("std", self.std()),
            ("p95", self.p95()),
            ("p99", self.p99()),
            ("min", self.min()),
            ("max", self.max()),
        ] {
            metrics.insert(format!("{statistic}_{name}_ms"), value.map(MetricValue::Number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_equal_those_of_numpy() {
        // np.percentile(range(1, 301), [50, 95, 99]), np.std(range(1, 301))
        let values = Distribution::of((1..=300).rev().map(f64::from));
        let near = |value: Option<f64>, expected: f64| {
            assert!((value.expect("a value") - expected).abs() < 1e-9, "{value:?} {expected}");
        };
        near(values.median(), 150.5);
        near(values.p95(), 285.05);
        near(values.p99(), 297.01);
        near(values.std(), 86.602_059_251_883_08);
    }

    #[test]
    fn what_failed_is_at_the_upper_end() {
        let values =
            |lost: usize| Distribution::of((1..=300 - lost as u32).map(f64::from)).with_lost(lost);
        // 8 %: the 95th percentile is among them, the median is that of all 300.
        let some = values(24);
        assert_eq!((some.p95(), some.p99(), some.max()), (None, None, None));
        assert_eq!((some.median(), some.min()), (Some(150.5), Some(1.0)));
        assert_eq!(some.mean(), Some(138.5), "of those that ended");
        // 1 %: place 296.01 of 0 to 299 lies between the last value and the first failure.
        assert_eq!((values(3).p95(), values(3).p99()), (Some(285.05), None));
        assert!(values(2).p99().is_some());
        assert_eq!(values(160).median(), None);
        assert_eq!(some.among_lost(), ["p95", "p99", "max"]);
        assert_eq!(values(0).among_lost(), [""; 0]);
        let few = Distribution::of((1..=289).map(f64::from)).with_lost(1);
        assert_eq!(few.among_lost(), ["max"], "290 values are too few for p99");
        assert_eq!(Distribution::of([]).with_lost(300).among_lost(), [""; 0], "nothing to lose");
    }

    #[test]
    fn a_percentile_needs_enough_values() {
        let of = |n: u32| Distribution::of((0..n).map(f64::from));
        assert_eq!((of(58).p95(), of(59).p95().is_some()), (None, true));
        assert_eq!((of(298).p99(), of(299).p99().is_some()), (None, true));
        assert_eq!(
            (of(0).mean(), of(0).median(), of(0).std(), of(0).max()),
            (None, None, None, None)
        );
        assert_eq!(of(1).median(), Some(0.0));
    }
}
