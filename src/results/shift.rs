//! What changed of all configurations alike between two sweeps, and what is left of each:
//! a night on which the whole machine was slower is no news of any configuration.

use super::compared::{Beyond, Shift, Way};
use crate::metric::Goal;
use crate::statistics::{Interval, SIGNIFICANCE, Uncertainty, holm, median, two_sided_p};

/// Configurations from which a shared shift is separated from their own changes.
const SEVERAL: usize = 3;

/// Variance of a median over that of a mean, of many normal values.
const OF_MEDIAN: f64 = std::f64::consts::FRAC_PI_2;

/// A configuration's change on log scale.
pub(super) type LogChange = (f64, Uncertainty);

/// The shift that all changes share, and what each has beyond it; `None` with too few.
/// The median: one configuration that did change does not move it.
pub(super) fn separated(changes: &[LogChange], goal: Goal) -> Option<(Shift, Vec<Beyond>)> {
    if changes.len() < SEVERAL {
        return None;
    }
    let values: Vec<f64> = changes.iter().map(|(value, _)| *value).collect();
    let middle = median(&values)?;
    let k = changes.len() as f64;
    let part =
        |it: &LogChange, factor: f64| Uncertainty { variance: it.1.variance * factor, ..it.1 };
    let nothing = Uncertainty { variance: 0.0, degrees_of_freedom: f64::INFINITY };
    let sum = |factor: f64| changes.iter().fold(nothing, |sum, it| sum.plus(part(it, factor)));
    let of_shift = sum(OF_MEDIAN / (k * k));
    let around = |value: f64, error: Uncertainty| {
        Interval::around(value, error.variance.sqrt(), error.degrees_of_freedom).exp()
    };
    let interval = around(middle, of_shift);
    let shift = Shift {
        value: middle.exp(),
        low: interval.low,
        high: interval.high,
        configurations: changes.len(),
    };
    let errors: Vec<Uncertainty> =
        changes.iter().map(|it| part(it, (1.0 - 2.0 / k).max(0.0)).plus(of_shift)).collect();
    let own: Vec<f64> = values.iter().map(|value| value - middle).collect();
    let p: Vec<f64> = own
        .iter()
        .zip(&errors)
        .map(|(own, error)| two_sided_p(own / error.variance.sqrt(), error.degrees_of_freedom))
        .collect();
    let adjusted = holm(&p);
    let beyond = own.iter().zip(&errors).zip(adjusted).map(|((own, error), p)| {
        let interval = around(*own, *error);
        let way = if (*own < 0.0) == (goal == Goal::Minimize) { Way::Better } else { Way::Worse };
        Beyond {
            value: own.exp(),
            low: interval.low,
            high: interval.high,
            p,
            shown: (p < SIGNIFICANCE).then_some(way),
        }
    });
    Some((shift, beyond.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(ratio: f64) -> LogChange {
        (ratio.ln(), Uncertainty { variance: 0.02_f64.powi(2), degrees_of_freedom: 20.0 })
    }

    #[test]
    fn a_night_that_slowed_all_is_separated_from_the_one_that_got_faster() {
        let changes = [1.30, 1.28, 1.31, 0.9, 1.29].map(change);
        let (shift, beyond) = separated(&changes, Goal::Minimize).unwrap();
        assert!((shift.value - 1.29).abs() < 1e-9 && shift.low > 1.2, "{shift:?}");
        let shown: Vec<Option<Way>> = beyond.iter().map(|it| it.shown).collect();
        assert_eq!(shown, [None, None, None, Some(Way::Better), None]);
        assert!((beyond[3].value - 0.9 / 1.29).abs() < 1e-9, "{beyond:?}");
        assert!(separated(&changes[..2], Goal::Minimize).is_none());
    }
}
