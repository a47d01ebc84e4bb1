//! What can be concluded from counts alone: exact intervals of a share and of a number of
//! events, and exact tests of two of them. A count of 0 does not show a rate of 0.

use statrs::distribution::{
    Beta, Binomial, ContinuousCDF, DiscreteCDF, Gamma, Hypergeometric, Normal,
};

use super::interval::Interval;

/// Probability beyond each end of a two-sided interval.
const TAIL: f64 = (1.0 - super::CONFIDENCE) / 2.0;

/// Something that happened so many times of so many. The times may be a mean
/// over several passes of the same trials, and then need not be whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Times that it happened.
    pub happened: f64,
    /// Trials; not 0.
    pub tried: u64,
}

impl Share {
    /// The share itself.
    pub fn value(self) -> f64 {
        self.happened / self.tried as f64
    }

    /// The times rounded down and up: rounding must not make an interval narrower.
    fn whole(self) -> (u64, u64) {
        // Sums of means miss whole numbers by a few ulps.
        let (low, high) = ((self.happened + 1e-9).floor(), (self.happened - 1e-9).ceil());
        ((low.max(0.0) as u64).min(self.tried), (high.max(0.0) as u64).min(self.tried))
    }

    /// Two-sided exact interval (C. J. Clopper, E. S. Pearson, *The use of
    /// confidence or fiducial limits*, Biometrika 26, 1934): its lower end from the
    /// times rounded down, its upper end from those rounded up.
    pub fn interval(self) -> Interval {
        let (floor, ceiling) = self.whole();
        let quantile = |happened: u64, spared: u64, probability| {
            let beta = Beta::new(happened as f64, spared as f64);
            beta.map_or(f64::NAN, |beta| beta.inverse_cdf(probability))
        };
        let low = if floor == 0 { 0.0 } else { quantile(floor, self.tried - floor + 1, TAIL) };
        let high = if ceiling == self.tried {
            1.0
        } else {
            quantile(ceiling + 1, self.tried - ceiling, 1.0 - TAIL)
        };
        Interval { low, high }
    }

    /// One-sided p-value of "the larger share is the larger one in truth": R. A.
    /// Fisher's exact test, the times rounded towards each other.
    pub fn p_of_difference(self, other: Self) -> f64 {
        let (more, less) =
            if self.value() >= other.value() { (self, other) } else { (other, self) };
        let (more_times, less_times) = (more.whole().0, less.whole().1);
        let (population, happened) = (more.tried + less.tried, more_times + less_times);
        let Ok(chance) = Hypergeometric::new(population, happened, more.tried) else { return 1.0 };
        more_times.checked_sub(1).map_or(1.0, |below| chance.sf(below))
    }
}

/// Events that were counted in so many repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Events {
    /// All of them.
    pub counted: f64,
    /// Repeats that they were counted in; not 0.
    pub repeats: usize,
}

impl Events {
    /// Two-sided exact interval of events per repeat if they were independent (F.
    /// Garwood, *Fiducial limits for the Poisson distribution*, Biometrika 28,
    /// 1936). Events come in bursts as often as not: then it is too narrow.
    pub fn interval(self) -> Interval {
        let (floor, ceiling) = (self.counted.floor(), self.counted.ceil());
        let low = if floor <= 0.0 { 0.0 } else { gamma_quantile(floor, TAIL) };
        let high = gamma_quantile(ceiling.max(0.0) + 1.0, 1.0 - TAIL);
        let repeats = self.repeats as f64;
        Interval { low: low / repeats, high: high / repeats }
    }

    /// One-sided p-value of "where more were counted, there are more": given their
    /// sum, a count is binomial (J. Przyborowski, H. Wilenski, Biometrika 31, 1940).
    pub fn p_of_difference(self, other: Self) -> f64 {
        let rate = |events: Self| events.counted / events.repeats as f64;
        let (more, less) = if rate(self) >= rate(other) { (self, other) } else { (other, self) };
        let (more_counted, less_counted) = (more.counted.floor(), less.counted.ceil());
        let share = more.repeats as f64 / (more.repeats + less.repeats) as f64;
        let Ok(chance) = Binomial::new(share, (more_counted + less_counted) as u64) else {
            return 1.0;
        };
        (more_counted as u64).checked_sub(1).map_or(1.0, |below| chance.sf(below))
    }
}

/// The quantile of a gamma distribution of scale 1.
fn gamma_quantile(shape: f64, probability: f64) -> f64 {
    if shape < 1000.0 {
        return Gamma::new(shape, 1.0).map_or(f64::NAN, |gamma| gamma.inverse_cdf(probability));
    }
    // E. B. Wilson, M. M. Hilferty (1931): right to five digits here.
    let z = Normal::standard().inverse_cdf(probability);
    shape * (1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt())).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(happened: f64, tried: u64) -> Share {
        Share { happened, tried }
    }

    fn near(interval: Interval, low: f64, high: f64) {
        let close = (interval.low - low).abs() < 1e-4 * (1.0 + low)
            && (interval.high - high).abs() < 1e-4 * (1.0 + high);
        assert!(close, "{interval:?}, not [{low}, {high}]");
    }

    #[test]
    fn shares_have_the_intervals_of_the_tables() {
        // R: binom.test(x, n)$conf.int
        near(share(2.0, 8).interval(), 0.031_854, 0.650_856);
        near(share(0.0, 4).interval(), 0.0, 0.602_365);
        near(share(4.0, 4).interval(), 0.397_635, 1.0);
        near(share(50.0, 100).interval(), 0.398_321, 0.601_679);
    }

    #[test]
    fn a_mean_of_passes_is_rounded_outwards() {
        let between = share(2.5, 8).interval();
        near(between, share(2.0, 8).interval().low, share(3.0, 8).interval().high);
        // What is whole but for the sum's rounding is whole.
        assert_eq!(share(0.1 + 0.2 + 2.7, 8).interval(), share(3.0, 8).interval());
    }

    #[test]
    fn events_have_the_intervals_of_the_tables() {
        // R: poisson.test(x, T)$conf.int
        near(Events { counted: 0.0, repeats: 5 }.interval(), 0.0, 0.737_776);
        near(Events { counted: 15.0, repeats: 5 }.interval(), 1.679_080, 4.948_040);
        near(Events { counted: 5000.0, repeats: 1 }.interval(), 4862.36, 5140.55);
    }

    #[test]
    fn differences_of_small_counts_are_not_significant() {
        let p = |a: Share, b| a.p_of_difference(b);
        // R: fisher.test(matrix(c(4,0,3,1), 2), alternative = "greater")$p.value
        assert!((p(share(4.0, 4), share(3.0, 4)) - 0.5).abs() < 1e-9);
        assert!((p(share(8.0, 8), share(0.0, 8)) - 1.0 / 12_870.0).abs() < 1e-9);
        assert!((p(share(3.0, 8), share(3.0, 8)) - 8955.0 / 12_870.0).abs() < 1e-9);
        let events = |counted| Events { counted, repeats: 4 };
        // 0.5^4.
        assert!((events(4.0).p_of_difference(events(0.0)) - 0.0625).abs() < 1e-9);
        assert!((events(0.0).p_of_difference(events(0.0)) - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn an_interval_contains_its_share(happened in 0u64..40, more in 0u64..40) {
            prop_assume!(happened + more > 0);
            let share = share(happened as f64, happened + more);
            let interval = share.interval();
            prop_assert!(interval.contains(share.value()), "{:?}", interval);
            prop_assert!(interval.low >= 0.0 && interval.high <= 1.0);
        }
    }
}
