//! How probable it is that an arm is the best one, or nearly so.

use super::interval::t_below;

/// What is known of an arm's mean: a t distribution around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Belief {
    /// The mean.
    pub mean: f64,
    /// Its standard error; not 0.
    pub error: f64,
    /// Degrees of freedom of the error.
    pub degrees_of_freedom: f64,
}

/// The chances of one arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chances {
    /// That its mean is the smallest one.
    pub best: f64,
    /// That it is less than the margin above the smallest one.
    pub near: f64,
}

/// Steps from the least to the greatest value that the smallest mean may have.
const STEPS: f64 = 160.0;

/// Standard errors on either side of a mean that are integrated over.
const REACH: f64 = 6.0;

/// The chances of each arm that its mean is the smallest, and less than `margin`
/// above it.
///
/// The means are taken as independent, each t distributed around what was measured
/// (what a flat prior leaves of the data). `P(best i)` is the integral of arm i's
/// density times the probability that all others lie above, as in R. E. Bechhofer
/// (Ann. Math. Statist. 25, 1954), here on a grid. It is an estimate
/// without correction for the search: a claim needs `adjusted_to_first`.
pub fn chances(arms: &[Belief], margin: f64) -> Vec<Chances> {
    let end = |sign: f64| arms.iter().map(move |arm| arm.mean + sign * REACH * arm.error);
    let from = end(-1.0).fold(f64::INFINITY, f64::min);
    // Above the greatest plausible value of the best arm, no arm is the best.
    let to = end(1.0).fold(f64::INFINITY, f64::min) + margin;
    // The margin is whole steps, so that both chances use the same grid.
    let back = (margin * STEPS / (to - from)).ceil().max(1.0);
    let step = margin / back;
    let (back, steps) = (back as usize, ((to - from) / step).ceil() as usize);
    // Probabilities that an arm lies above, from `margin` before the grid on.
    let above: Vec<Vec<f64>> = arms
        .iter()
        .map(|arm| {
            let at = |point: usize| from + step * (point as f64 - back as f64);
            let above = |x: f64| t_below((arm.mean - x) / arm.error, arm.degrees_of_freedom);
            (0..=back + steps).map(|point| above(at(point))).collect()
        })
        .collect();
    // In the middle of a step; a logarithm, so that one arm can be left out of all.
    let middle =
        |arm: &[f64], at: usize| f64::midpoint(arm[at], arm[at + 1]).max(f64::MIN_POSITIVE).ln();
    let all: Vec<f64> =
        (0..back + steps).map(|at| above.iter().map(|arm| middle(arm, at)).sum()).collect();
    let chance = |arm: &[f64], shift: usize| -> f64 {
        let cell = |step: usize| {
            let before = if step == 0 { 1.0 } else { arm[back + step] };
            let mass = before - arm[back + step + 1];
            let at = back + step - shift;
            mass * (all[at] - middle(arm, at)).exp()
        };
        (0..steps).map(cell).sum()
    };
    above.iter().map(|arm| Chances { best: chance(arm, 0), near: chance(arm, back) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(mean: f64, error: f64, degrees_of_freedom: f64) -> Belief {
        Belief { mean, error, degrees_of_freedom }
    }

    #[test]
    fn equal_arms_have_equal_chances() {
        for chances in chances(&[arm(5.0, 0.1, 4.0); 5], 0.05) {
            assert!((chances.best - 0.2).abs() < 0.005, "{chances:?}");
            assert!(chances.near > chances.best, "{chances:?}");
        }
    }

    #[test]
    fn of_two_normal_arms_the_chance_is_that_of_their_difference() {
        // P(a < b) with a difference of one standard error of it: 0.8413; below 1.5: 0.9332.
        let error = 1.0 / 2.0_f64.sqrt();
        let found = chances(&[arm(0.0, error, 1e6), arm(1.0, error, 1e6)], 0.5);
        assert!((found[0].best - 0.8413).abs() < 0.002, "{found:?}");
        assert!((found[0].near - 0.9332).abs() < 0.002, "{found:?}");
        assert!((found[0].best + found[1].best - 1.0).abs() < 0.002, "{found:?}");
        assert!((found[1].near - 0.3085).abs() < 0.002, "{found:?}");
    }

    #[test]
    fn one_alone_is_the_best() {
        let found = chances(&[arm(3.0, 0.2, 3.0)], 0.05);
        assert!(found[0].best > 0.99 && found[0].near > 0.99, "{found:?}");
        // One that is far off is not, however many there are.
        let found = chances(&[arm(3.0, 0.01, 6.0), arm(9.0, 0.01, 6.0)], 0.05);
        assert!(found[0].best > 0.999 && found[1].near < 0.001, "{found:?}");
    }
}
