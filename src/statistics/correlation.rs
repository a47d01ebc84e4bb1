//! Which of several series moves with the machine's level, launch by launch. Two series that
//! drift look alike by chance, so their changes from one launch to the next are tested, under
//! random orders and signs of the level's; and, since an excursion is two changes, so are their
//! values, under random orders. Both must show it (permutation tests in the sense of R. A.
//! Fisher; the greatest of all series counts, as in P. H. Westfall, S. S. Young, 1993). One
//! jump among few launches is therefore never enough. Pure; seeded.

use rand::seq::SliceRandom;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::SIGNIFICANCE;
use super::cholesky::{cholesky, solve};

/// Launches from which a correlation is looked for.
pub const LEAST_LAUNCHES: usize = 6;

/// A weaker correlation explains less than a quarter of what the level did.
const LEAST_CORRELATION: f64 = 0.5;

/// Random orders that the observed one is compared with.
const ORDERS: usize = 1999;

/// The series that moves with the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlated {
    /// Its index.
    pub series: usize,
    /// Its correlation with the level over the launches, configurations taken out.
    pub r: f64,
    /// p-value, adjusted for the number of series.
    pub p: f64,
}

/// Of the series that are shown to move with `level` (at the 5 % level, adjusted), the one
/// with the strongest correlation. Launches are in the order of time; `configurations` are
/// their indices below `count`. `level` has configurations taken out, `series` have not.
/// Positive correlations count only.
///
/// `None` where none is shown, and with fewer than [`LEAST_LAUNCHES`] launches, or fewer than
/// four more than configurations.
pub fn strongest(
    level: &[f64],
    configurations: &[usize],
    count: usize,
    series: &[Vec<f64>],
) -> Option<Correlated> {
    strongest_of(level, configurations, count, series, ORDERS)
}

fn strongest_of(
    level: &[f64],
    configurations: &[usize],
    count: usize,
    series: &[Vec<f64>],
    orders: usize,
) -> Option<Correlated> {
    let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
    if level.len() < LEAST_LAUNCHES.max(count + 4) || !finite(level) {
        return None;
    }
    let effects = Effects::new(configurations, count)?;
    let without: Vec<Option<Vec<f64>>> = series
        .iter()
        .map(|values| finite(values).then(|| effects.taken_out(values)))
        .map(|values| values.filter(|values| varies(values)))
        .collect();
    let by_changes = p_values(
        level,
        &without,
        orders,
        changes,
        |it, random| {
            it.shuffle(random);
            for change in it {
                *change = if random.random() { *change } else { -*change };
            }
        },
        |it| effects.taken_out_of_changes(it),
    );
    let by_levels =
        p_values(level, &without, orders, <[f64]>::to_vec, SliceRandom::shuffle, |it| {
            effects.centred(it);
        });
    let shown = (0..series.len()).filter_map(|at| {
        let p = by_changes[at].max(by_levels[at]);
        let r = correlation(level, without[at].as_ref()?)?;
        (p < SIGNIFICANCE && r >= LEAST_CORRELATION).then_some(Correlated { series: at, r, p })
    });
    shown.max_by(|a, b| a.r.total_cmp(&b.r))
}

/// p-values of each series by random orders, the greatest of all series counting. `form`: what
/// of a series is compared; `redraw`: makes another one of the level's; `reduce`: takes the
/// configurations out of it.
fn p_values(
    level: &[f64],
    series: &[Option<Vec<f64>>],
    orders: usize,
    form: impl Fn(&[f64]) -> Vec<f64>,
    redraw: impl Fn(&mut [f64], &mut ChaCha8Rng),
    reduce: impl Fn(&mut [f64]),
) -> Vec<f64> {
    let reduced = |values: &[f64]| {
        let mut values = form(values);
        reduce(&mut values);
        to_unit(&mut values);
        values
    };
    let own = reduced(level);
    let series: Vec<Option<Vec<f64>>> =
        series.iter().map(|it| it.as_ref().map(|values| reduced(values))).collect();
    let products = |own: &[f64]| -> Vec<f64> {
        let product = |other: &Vec<f64>| own.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
        series.iter().map(|it| it.as_ref().map_or(f64::NEG_INFINITY, product)).collect()
    };
    let observed = products(&own);
    let mut greater = vec![1_usize; series.len()];
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for _ in 0..orders {
        let mut other = own.clone();
        redraw(&mut other, &mut random);
        reduce(&mut other);
        to_unit(&mut other);
        let most = products(&other).into_iter().fold(f64::NEG_INFINITY, f64::max);
        for (greater, observed) in greater.iter_mut().zip(&observed) {
            // As if a sum did not depend on its order.
            *greater += usize::from(most >= observed - 1e-9);
        }
    }
    greater.into_iter().map(|greater| greater as f64 / (orders + 1) as f64).collect()
}

/// Takes the effects of configurations out of a series that drifts: least squares on the
/// changes between neighbouring launches.
struct Effects<'a> {
    configurations: &'a [usize],
    /// Factor of the neighbourhoods, the first configuration left out.
    factor: Vec<f64>,
    width: usize,
}

impl<'a> Effects<'a> {
    fn new(configurations: &'a [usize], count: usize) -> Option<Self> {
        let width = count.checked_sub(1)?;
        let mut matrix = vec![0.0; width * width];
        for pair in configurations.windows(2).filter(|pair| pair[0] != pair[1]) {
            for (own, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
                if own > 0 {
                    matrix[(own - 1) * width + own - 1] += 1.0;
                    if other > 0 {
                        matrix[(own - 1) * width + other - 1] -= 1.0;
                    }
                }
            }
        }
        Some(Self { configurations, factor: cholesky(matrix, width)?, width })
    }

    fn taken_out(&self, values: &[f64]) -> Vec<f64> {
        let effects = self.of_changes(&changes(values));
        let effect = |own: &usize| own.checked_sub(1).map_or(0.0, |at| effects[at]);
        values.iter().zip(self.configurations).map(|(value, own)| value - effect(own)).collect()
    }

    fn taken_out_of_changes(&self, changes: &mut [f64]) {
        let effects = self.of_changes(changes);
        let effect = |own: usize| own.checked_sub(1).map_or(0.0, |at| effects[at]);
        for (pair, change) in self.configurations.windows(2).zip(changes.iter_mut()) {
            *change -= effect(pair[1]) - effect(pair[0]);
        }
    }

    /// Each configuration's launches around 0.
    fn centred(&self, values: &mut [f64]) {
        let mut sums = vec![(0.0, 0.0); self.width + 1];
        for (value, own) in values.iter().zip(self.configurations) {
            sums[*own] = (sums[*own].0 + value, sums[*own].1 + 1.0);
        }
        for (value, own) in values.iter_mut().zip(self.configurations) {
            *value -= sums[*own].0 / sums[*own].1;
        }
    }

    fn of_changes(&self, changes: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        for (pair, change) in self.configurations.windows(2).zip(changes) {
            if pair[0] != pair[1] {
                for (own, sign) in [(pair[1], 1.0), (pair[0], -1.0)] {
                    if own > 0 {
                        sums[own - 1] += sign * change;
                    }
                }
            }
        }
        solve(&self.factor, self.width, &sums)
    }
}

fn changes(values: &[f64]) -> Vec<f64> {
    values.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Whether there are changes; rounding is none.
fn varies(values: &[f64]) -> bool {
    let scale = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    changes(values).iter().any(|change| change.abs() > 1e-9 * scale)
}

/// Scales to length 1, where there is any.
fn to_unit(values: &mut [f64]) {
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in values {
            *value /= length;
        }
    }
}

fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len() as f64;
    if a.len() != b.len() {
        return None;
    }
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        (aa, bb, ab) = (aa + a * a, bb + b * b, ab + a * b);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

#[cfg(test)]
#[path = "correlation_tests.rs"]
mod tests;
