//! Bounds on a probability from a count: exact, after Clopper and Pearson.

use statrs::distribution::{Beta, ContinuousCDF};

/// Upper bound at 95 % (one-sided) of the probability of something that
/// happened `happened` times of `tried`; `None` where nothing was tried. 0 of 20
/// gives 13.9 %.
pub fn upper_bound(happened: u64, tried: u64) -> Option<f64> {
    let spared = tried.checked_sub(happened).filter(|_| tried > 0)?;
    if spared == 0 {
        return Some(1.0);
    }
    let beta = Beta::new(happened as f64 + 1.0, spared as f64).expect("both shapes are positive");
    Some(beta.inverse_cdf(super::CONFIDENCE))
}

/// Lower bound at 95 % (one-sided), likewise. 4 of 5 gives 34.3 %.
pub fn lower_bound(happened: u64, tried: u64) -> Option<f64> {
    let spared = tried.checked_sub(happened)?;
    Some(1.0 - upper_bound(spared, tried)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_bounds() {
        let near = |happened, tried, expected: f64| {
            let bound = upper_bound(happened, tried).expect("tried");
            assert!((bound - expected).abs() < 1e-4, "{happened} of {tried}: {bound}");
        };
        // 1 - 0.05^(1/20), and tables of Clopper and Pearson.
        near(0, 20, 0.139_11);
        near(1, 20, 0.216_11);
        near(10, 20, 0.698_05);
        near(20, 20, 1.0);
        assert_eq!(upper_bound(0, 0), None);
        // R: binom.test(4, 5, alternative = "greater")$conf.int
        let low = lower_bound(4, 5).expect("tried");
        assert!((low - 0.342_592).abs() < 1e-5, "{low}");
        assert_eq!(lower_bound(0, 5), Some(0.0));
    }
}
