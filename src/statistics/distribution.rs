//! The statistics of a list of latencies: those of `vllm bench serve`, with a percentile
//! only where there are enough values for it. What is unknown about the true value is in
//! `interval`.

use crate::metric::{MetricValue, MetricValues};

/// Values that a 95th percentile needs: with fewer, the largest value is no upper bound of
/// it at 95 % (1 - 0.95^59 = 0.951).
pub(crate) const FOR_P95: usize = 59;
/// The same for a 99th percentile (1 - 0.99^299 = 0.950).
pub(crate) const FOR_P99: usize = 299;

/// Values in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution(Vec<f64>);

impl Distribution {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().sum::<f64>() / self.0.len() as f64)
    }

    /// Standard deviation of the population, as numpy computes it.
    pub(crate) fn std(&self) -> Option<f64> {
        let mean = self.mean()?;
        let squares = self.0.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Some((squares / self.0.len() as f64).sqrt())
    }

    /// Interpolated between the two nearest values, as numpy does.
    fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        let place = share * last as f64;
        let (below, above) = (self.0[place as usize], self.0[(place as usize + 1).min(last)]);
        Some(below + (above - below) * place.fract())
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    pub(crate) fn p95(&self) -> Option<f64> {
        (self.0.len() >= FOR_P95).then(|| self.quantile(0.95))?
    }

    pub(crate) fn p99(&self) -> Option<f64> {
        (self.0.len() >= FOR_P99).then(|| self.quantile(0.99))?
    }

    pub(crate) fn min(&self) -> Option<f64> {
        self.0.first().copied()
    }

    pub(crate) fn max(&self) -> Option<f64> {
        self.0.last().copied()
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
