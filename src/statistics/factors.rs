//! What factors do to a value, each with the others held: a linear model in which the
//! effects of factors add up, by least squares, for designs that need not be balanced. A
//! factor that always changes together with others is not estimable, and is said to be so.
//! Two factors interact where the model fits better with a mean for each pair of levels.
//!
//! The sums of squares are those of each factor behind all others (F. Yates, *The analysis
//! of multiple classifications with unequal numbers in the different classes*, J. Am. Stat.
//! Assoc. 29, 1934); a factor's own part is found by regression on what the other factors
//! leave of it (R. Frisch, F. V. Waugh, Econometrica 1, 1933).

use statrs::distribution::{ContinuousCDF as _, FisherSnedecor};

use super::cholesky::{cholesky, inverse, solve};
use super::variance::Uncertainty;

/// What is left of a column, as a part of its length, from which it is a combination of others.
const DEPENDENT: f64 = 1e-8;

/// Degrees of freedom that stand for a variance that is known.
const KNOWN: f64 = 1e6;

/// A factor: which of its levels each value was measured at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// How many levels there are, from 0.
    pub levels: usize,
    /// The level of each value.
    pub of: Vec<usize>,
}

/// What a factor does.
#[derive(Clone, Debug, PartialEq)]
pub struct FactorEffect {
    /// Of each level: the value relative to the mean over the levels, and how well that is
    /// known; `None` where nothing shows the error.
    pub levels: Vec<(f64, Option<Uncertainty>)>,
    /// p-value of "the factor does nothing"; `None` where nothing shows the error.
    pub p: Option<f64>,
}

/// Values and the factors that they were measured at.
#[derive(Clone, Debug)]
pub struct Additive<'a> {
    values: &'a [f64],
    factors: &'a [Factor],
    /// The least error of one value: what it is known by itself.
    least: Option<Uncertainty>,
    basis: Basis,
    /// What the model leaves of the values.
    left: f64,
}

impl<'a> Additive<'a> {
    /// Fits values, one for each entry of [`Factor::of`]. `least`: the error of one value as it
    /// is known by itself, on average. It counts where the model leaves less than that, and
    /// where it leaves nothing to estimate an error from.
    pub fn fit(values: &'a [f64], factors: &'a [Factor], least: Option<Uncertainty>) -> Self {
        let basis = Basis::of(values.len(), factors.iter());
        let left = square(&basis.rest_of(values));
        Self { values, factors, least, basis, left }
    }

    /// Values beyond what the model has parameters for.
    pub fn freedom(&self) -> usize {
        self.values.len().saturating_sub(self.basis.rank())
    }

    /// The error of one value around the model, and how well it is known.
    pub fn error(&self) -> Option<Uncertainty> {
        self.error_of(self.left, self.freedom())
    }

    fn error_of(&self, left: f64, freedom: usize) -> Option<Uncertainty> {
        let degrees_of_freedom = freedom as f64;
        let seen = (freedom > 0)
            .then(|| Uncertainty { variance: left / degrees_of_freedom, degrees_of_freedom });
        match (seen, self.least) {
            (Some(seen), Some(least)) if seen.variance < least.variance => Some(least),
            (seen, least) => seen.or(least),
        }
    }

    /// What a factor does, the others held; `None` where it has one level, and where it is not
    /// estimable, since it always changes together with others.
    pub fn effect(&self, factor: usize) -> Option<FactorEffect> {
        let own = &self.factors[factor];
        let others = self.factors.iter().enumerate().filter(|(at, _)| *at != factor);
        let others = Basis::of(self.values.len(), others.map(|(_, other)| other));
        let mut both = others.clone();
        let mut columns = Vec::new();
        for level in 1..own.levels {
            let column = own.column(level);
            if !both.add(&column) {
                return None;
            }
            columns.push(others.rest_of(&column));
        }
        let width = columns.len();
        if width == 0 {
            return None;
        }
        let mut gram = vec![0.0; width * width];
        for (row, column) in columns.iter().enumerate() {
            for (at, other) in columns.iter().enumerate() {
                gram[row * width + at] = product(column, other);
            }
        }
        let right: Vec<f64> = columns.iter().map(|column| product(column, self.values)).collect();
        let factor = cholesky(gram, width)?;
        let solved = solve(&factor, width, &right);
        let covariance = inverse(&factor, width);
        let error = self.error();
        let explained = product(&solved, &right);
        let p = error.map(|error| p_of(explained, width, error));
        let levels = (0..own.levels).map(|level| {
            let weights: Vec<f64> = (1..own.levels)
                .map(|at| f64::from(u8::from(at == level)) - 1.0 / own.levels as f64)
                .collect();
            let variance = form(&weights, &covariance, width);
            let known = error.map(|it| Uncertainty { variance: it.variance * variance, ..it });
            (product(&weights, &solved), known)
        });
        Some(FactorEffect { levels: levels.collect(), p })
    }

    /// p-value of "what two factors do adds up"; `None` where the values do not show it.
    pub fn interaction(&self, first: usize, second: usize) -> Option<f64> {
        let (a, b) = (&self.factors[first], &self.factors[second]);
        let mut basis = self.basis.clone();
        for of_a in 1..a.levels {
            for of_b in 1..b.levels {
                let column: Vec<f64> =
                    a.column(of_a).iter().zip(b.column(of_b)).map(|(x, y)| x * y).collect();
                basis.add(&column);
            }
        }
        let width = basis.rank() - self.basis.rank();
        if width == 0 {
            return None;
        }
        let left = square(&basis.rest_of(self.values));
        let error = self.error_of(left, self.values.len() - basis.rank())?;
        Some(p_of((self.left - left).max(0.0), width, error))
    }
}

impl Factor {
    /// 1 where a value was measured at this level, 0 elsewhere.
    fn column(&self, level: usize) -> Vec<f64> {
        self.of.iter().map(|at| f64::from(u8::from(*at == level))).collect()
    }
}

/// Columns at right angles, each of length 1: a constant and the levels of factors.
#[derive(Clone, Debug)]
struct Basis {
    columns: Vec<Vec<f64>>,
}

impl Basis {
    fn of<'f>(values: usize, factors: impl Iterator<Item = &'f Factor>) -> Self {
        let mut basis = Self { columns: Vec::new() };
        basis.add(&vec![1.0; values]);
        for factor in factors {
            for level in 1..factor.levels {
                basis.add(&factor.column(level));
            }
        }
        basis
    }

    fn rank(&self) -> usize {
        self.columns.len()
    }

    /// What no combination of the columns explains.
    fn rest_of(&self, column: &[f64]) -> Vec<f64> {
        let mut rest = column.to_vec();
        // A second pass takes away what rounding left in the first.
        for _ in 0..2 {
            for known in &self.columns {
                let part = product(known, &rest);
                for (cell, value) in rest.iter_mut().zip(known) {
                    *cell -= part * value;
                }
            }
        }
        rest
    }

    /// Adds a column; false where it is a combination of those that there are.
    fn add(&mut self, column: &[f64]) -> bool {
        let mut rest = self.rest_of(column);
        let (length, whole) = (square(&rest).sqrt(), square(column).sqrt());
        if length <= DEPENDENT * whole || length == 0.0 {
            return false;
        }
        for cell in &mut rest {
            *cell /= length;
        }
        self.columns.push(rest);
        true
    }
}

/// p-value of a sum of squares with so many degrees of freedom, as large by chance.
fn p_of(explained: f64, freedom: usize, error: Uncertainty) -> f64 {
    if error.variance <= 0.0 {
        return if explained > 0.0 { 0.0 } else { 1.0 };
    }
    let ratio = explained / freedom as f64 / error.variance;
    let of_error = error.degrees_of_freedom.clamp(1.0, KNOWN);
    match FisherSnedecor::new(freedom as f64, of_error) {
        Ok(chance) if ratio > 0.0 => chance.sf(ratio).clamp(0.0, 1.0),
        _ => 1.0,
    }
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn square(column: &[f64]) -> f64 {
    product(column, column)
}

/// The quadratic form of a symmetric matrix, of which the lower triangle is read.
fn form(weights: &[f64], lower: &[f64], width: usize) -> f64 {
    let mut sum = 0.0;
    for row in 0..width {
        for column in 0..=row {
            let twice = if row == column { 1.0 } else { 2.0 };
            sum += twice * weights[row] * weights[column] * lower[row * width + column];
        }
    }
    sum
}

#[cfg(test)]
#[path = "factors_tests.rs"]
mod tests;
