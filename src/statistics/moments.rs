//! Moments of the differences between effects over a mixture of normal distributions, one
//! component at a time: only sums are kept, since the covariances of all components together
//! would fill the memory.

use super::variance::Uncertainty;

/// Second and fourth moments of each difference around its mean.
pub(super) struct Moments<'a> {
    /// Means of the effects over the mixture.
    centre: &'a [f64],
    /// Where each effect stands in the covariance; `None` of those that are 0.
    columns: &'a [Option<usize>],
    /// Lower triangles of squares, row by row.
    second: Vec<f64>,
    fourth: Vec<f64>,
}

impl<'a> Moments<'a> {
    pub(super) fn new(centre: &'a [f64], columns: &'a [Option<usize>]) -> Self {
        let cells = centre.len() * centre.len();
        Self { centre, columns, second: vec![0.0; cells], fourth: vec![0.0; cells] }
    }

    /// Adds a component. `covariance`: lower triangle of a square of all effects that have a
    /// column, in the order of their columns.
    pub(super) fn add(&mut self, weight: f64, effects: &[f64], covariance: &[f64]) {
        let k = self.centre.len();
        let width = self.columns.iter().flatten().count();
        let cell = |a: usize, b: usize| match (self.columns[a], self.columns[b]) {
            (Some(a), Some(b)) => covariance[a * width + b],
            _ => 0.0,
        };
        for i in 0..k {
            for j in 0..i {
                let centre = self.centre[i] - self.centre[j];
                let off = (effects[i] - effects[j] - centre).powi(2);
                let variance = cell(i, i) + cell(j, j) - 2.0 * cell(i, j);
                let fourth = 3.0 * variance * variance + 6.0 * variance * off + off * off;
                self.second[i * k + j] += weight * (variance + off);
                self.fourth[i * k + j] += weight * fourth;
            }
        }
    }

    /// The t distribution of each difference, row by row.
    pub(super) fn differences(&self) -> Vec<Uncertainty> {
        let k = self.centre.len();
        let unknown = Uncertainty { variance: 0.0, degrees_of_freedom: f64::INFINITY };
        let mut differences = vec![unknown; k * k];
        for i in 0..k {
            for j in 0..i {
                let (second, fourth) = (self.second[i * k + j], self.fourth[i * k + j]);
                let kurtosis = (fourth / (second * second) - 3.0).max(0.001);
                let df = 4.0 + 6.0 / kurtosis;
                let variance = second * (df - 2.0) / df;
                let known = Uncertainty { variance, degrees_of_freedom: df };
                differences[i * k + j] = known;
                differences[j * k + i] = known;
            }
        }
        differences
    }
}
