//! A straight line through paired values, with the interval of its slope.

use super::interval::Interval;

/// Slope of the second values over the first by least squares, with its t
/// interval. Each group has an intercept of its own, so that a level that
/// differs between groups is not taken for a slope nor for noise (n - groups - 1
/// degrees of freedom). `None` where too few values say nothing.
pub fn slope(groups: &[Vec<(f64, f64)>]) -> Option<(f64, Interval)> {
    let groups: Vec<&Vec<(f64, f64)>> = groups.iter().filter(|group| !group.is_empty()).collect();
    let centred: Vec<(f64, f64)> = groups
        .iter()
        .flat_map(|group| {
            let n = group.len() as f64;
            let mean_x = group.iter().map(|(x, _)| x).sum::<f64>() / n;
            let mean_y = group.iter().map(|(_, y)| y).sum::<f64>() / n;
            group.iter().map(move |(x, y)| (x - mean_x, y - mean_y))
        })
        .collect();
    let freedom = centred.len().checked_sub(groups.len() + 1).filter(|left| *left > 0)? as f64;
    let spread: f64 = centred.iter().map(|(x, _)| x * x).sum();
    if spread <= 0.0 {
        return None;
    }
    let slope = centred.iter().map(|(x, y)| x * y).sum::<f64>() / spread;
    let residual: f64 = centred.iter().map(|(x, y)| (y - slope * x).powi(2)).sum();
    let error = (residual / freedom / spread).sqrt();
    Some((slope, Interval::around(slope, error, freedom)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the textbook formulas, worked out apart.
    #[test]
    fn slope_and_interval_are_those_of_a_regression() {
        let y = [2.1, 3.9, 6.2, 7.8, 10.1];
        let points = (1..).map(f64::from).zip(y).collect();
        let (slope, interval) = slope(&[points]).expect("five points");
        assert!((slope - 1.99).abs() < 1e-12, "{slope}");
        // Standard error 0.05972 with 3 degrees of freedom: t = 3.18245.
        assert!((interval.low - 1.7999).abs() < 1e-3, "{interval:?}");
        assert!((interval.high - 2.1801).abs() < 1e-3, "{interval:?}");
    }

    #[test]
    fn a_level_of_its_own_is_no_slope() {
        let flat = |level: f64| (0..5).map(|x| (f64::from(x), level)).collect::<Vec<_>>();
        let later: Vec<_> = flat(50.0).into_iter().map(|(x, y)| (x + 3.0, y)).collect();
        let (slope, interval) = slope(&[flat(1.0), later]).expect("ten points");
        assert!(slope.abs() < 1e-12 && interval.contains(0.0));
    }

    #[test]
    fn too_few_values_say_nothing() {
        assert_eq!(slope(&[vec![(1.0, 1.0), (2.0, 2.0)]]), None);
        assert_eq!(slope(&[vec![(1.0, 1.0); 5]]), None);
        assert_eq!(slope(&[]), None);
    }
}
