//! A random part of the values of one curve, and the curve that it gives: bounded however many
//! requests there are. Which values go into it is decided in `distributions`.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Curve;
use crate::statistics::distribution;

/// Points of a curve at most.
pub(super) const POINTS: usize = 120;
/// Requests from which the 95th percentile is none of the three greatest values.
pub(super) const FOR_P95: usize = 60;

/// A random part of many values (J. S. Vitter, *Random sampling with a reservoir*, ACM
/// Trans. Math. Softw. 11, 1985, algorithm R).
#[derive(Debug)]
pub(super) struct Reservoir {
    pub(super) values: Vec<f64>,
    /// Values at most.
    room: usize,
    pub(super) seen: usize,
    /// Requests that failed: they took for ever.
    pub(super) lost: usize,
    rng: ChaCha8Rng,
}

impl Reservoir {
    pub(super) fn new(seed: usize, room: usize) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed as u64);
        Self { values: Vec::new(), room, seen: 0, lost: 0, rng }
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        (self.seen, self.lost) = (0, 0);
    }

    pub(super) fn add(&mut self, value: f64) {
        self.seen += 1;
        if self.values.len() < self.room {
            self.values.push(value);
            return;
        }
        let place = self.rng.random_range(0..self.seen);
        if let Some(kept) = self.values.get_mut(place) {
            *kept = value;
        }
    }

    /// The curve; `None` without a median.
    pub(super) fn curve(&self, configuration: usize) -> Option<Curve> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        let (kept, requests) = (values.len(), self.seen + self.lost);
        if kept == 0 {
            return None;
        }
        let lost = (self.lost as f64 * kept as f64 / self.seen as f64).round() as usize;
        let all = distribution::Distribution::of(values.iter().copied()).with_lost(lost);
        let answered = self.seen as f64 / requests as f64;
        Some(Curve {
            configuration,
            requests,
            points: points(&values, answered),
            p50: all.median()?,
            p95: if requests >= FOR_P95 { all.p95() } else { None },
        })
    }
}

/// Steps of the distribution, thinned out. `answered`: the share that the greatest value has.
fn points(sorted: &[f64], answered: f64) -> Vec<(f64, f64)> {
    let last = sorted.len() - 1;
    let many = sorted.len().min(POINTS);
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(many);
    for point in 0..many {
        let at = if many == 1 { 0 } else { point * last / (many - 1) };
        let share = answered * (at + 1) as f64 / sorted.len() as f64;
        match points.last_mut() {
            Some(before) if before.0 >= sorted[at] => before.1 = share,
            _ => points.push((sorted[at], share)),
        }
    }
    points
}
