//! The variance of a repeat within a launch, pooled over launches, and which launches spread
//! far more than that: the machine moved inside them. Nothing is known here of
//! configurations, hosts and times.

use super::launch_mean::LaunchMean;

/// Medians and 0.999 quantiles of chi-squared over its degrees of freedom, by repeats.
pub(super) fn chi(repeats: u32) -> (f64, f64) {
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
pub(super) fn repeat_variance(launches: &[LaunchMean]) -> (f64, Vec<f64>) {
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
