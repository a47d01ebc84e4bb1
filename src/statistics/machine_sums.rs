//! Sums of the filter's innovations, of values and configurations' indicators, and the
//! restricted likelihood that follows from them.

use super::cholesky::forward;

/// Weighted sums of products of innovations.
pub(super) struct Sums {
    pub(super) width: usize,
    log_spread: f64,
    s_yy: f64,
    pub(super) s_xy: Vec<f64>,
    /// Lower triangle of a square, row by row.
    pub(super) s_xx: Vec<f64>,
}

impl Sums {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            log_spread: 0.0,
            s_yy: 0.0,
            s_xy: vec![0.0; width],
            s_xx: vec![0.0; width * width],
        }
    }

    pub(super) fn add(&mut self, innovation: &[f64], spread: f64) {
        let (value, indicators) = (innovation[0], &innovation[1..]);
        self.log_spread += spread.ln();
        self.s_yy += value * value / spread;
        for (row, own) in indicators.iter().enumerate() {
            let scaled = own / spread;
            self.s_xy[row] += scaled * value;
            let cells = &mut self.s_xx[row * self.width..=row * self.width + row];
            for (cell, other) in cells.iter_mut().zip(indicators) {
                *cell += scaled * other;
            }
        }
    }

    /// Restricted log likelihood, up to a constant.
    pub(super) fn restricted(&self, factor: &[f64]) -> f64 {
        let width = self.width;
        let log_determinant: f64 = (0..width).map(|at| 2.0 * factor[at * width + at].ln()).sum();
        let explained: f64 =
            forward(factor, width, &self.s_xy).iter().map(|part| part * part).sum();
        -0.5 * (self.log_spread + log_determinant + self.s_yy - explained)
    }
}
