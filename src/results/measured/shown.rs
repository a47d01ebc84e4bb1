//! Estimates as tables show them. Nothing is decided by these: a bound and a rank are judged by
//! the whole interval.

use super::Measured;
use crate::results::estimate::Estimate;
use crate::statistics::Interval;

impl Measured {
    /// The estimate within the metric's range, and without an assumed interval where all
    /// launches gave the same whole number.
    pub(in crate::results) fn shown(&self, index: usize) -> Option<Estimate> {
        let mut estimate = self.estimate(index)?;
        let Interval { low, high } = self.range;
        if (low..=high).contains(&estimate.mean) {
            let within = |it: Interval| Interval { low: it.low.max(low), high: it.high.min(high) };
            estimate.interval = estimate.interval.map(within);
        }
        if estimate.assumed && estimate.launches > 1 && self.is_one_count(index) {
            (estimate.interval, estimate.assumed) = (None, false);
        }
        Some(estimate)
    }

    /// Whether all values are the same whole number, and not a share of something.
    fn is_one_count(&self, index: usize) -> bool {
        let Some(values) = self.values(index).filter(|_| self.range.high > 1.0) else {
            return false;
        };
        let mut values = values.values().iter().flatten();
        let first = values.next().copied();
        first.is_some_and(|first| {
            first.fract() == 0.0 && values.all(|it| it.to_bits() == first.to_bits())
        })
    }
}
