//! What a list of latencies is told as: `vllm bench serve`'s statistics, with
//! percentiles only where the number of values carries them. Pure.

use crate::metric::{MetricValue, MetricValues};

/// Values that a 95th percentile needs for a distribution-free bound at 95 %.
pub(crate) const FOR_P95: usize = crate::workload::FOR_P95 as usize;
/// The same for a 99th percentile.
pub(crate) const FOR_P99: usize = crate::workload::FOR_P99 as usize;

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

    /// Standard deviation of the population, as numpy has it.
    pub(crate) fn std(&self) -> Option<f64> {
        let mean = self.mean()?;
        let squares = self.0.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Some((squares / self.0.len() as f64).sqrt())
    }

    /// Between the two nearest values, as numpy has it.
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

    /// Puts all of them down as `mean_<name>_ms`, ...
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
    fn as_numpy_has_it() {
        // np.percentile(range(1, 301), [50, 95, 99]), np.std(range(1, 301))
        let values = Distribution::of((1..=300).rev().map(f64::from));
        let near = |value: Option<f64>, expected: f64| {
            assert!((value.expect("told") - expected).abs() < 1e-9, "{value:?} {expected}");
        };
        near(values.median(), 150.5);
        near(values.p95(), 285.05);
        near(values.p99(), 297.01);
        near(values.std(), 86.602_059_251_883_08);
    }

    #[test]
    fn a_percentile_that_the_number_does_not_carry_is_not_told() {
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
