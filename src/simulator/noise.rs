//! Seeded noise on step times: per step, per launch, and the slowness of what
//! an engine does for the first time. The same seeds give the same noise.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Spread of a launch's speed (log scale).
const LAUNCH: f64 = 0.03;
/// Spread of a step's time (log scale).
const STEP: f64 = 0.015;
/// A first prompt of its size takes this much longer: JIT, graph capture, cold
/// caches. The user saw +40 to +90 %.
const FIRST: std::ops::Range<f64> = 1.4..1.9;

/// Factors on simulated times.
#[derive(Debug)]
pub struct Noise {
    random: ChaCha8Rng,
    launch: f64,
    seen: HashSet<u32>,
}

impl Noise {
    /// The noise of one launch: `seed` is the simulation's, `launch` the number of the launch.
    pub fn new(seed: u64, launch: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(super::text::mix(seed, launch));
        let launch = (LAUNCH * normal(&mut random)).exp();
        Self { random, launch, seen: HashSet::new() }
    }

    /// This launch's factor on everything.
    pub fn launch(&self) -> f64 {
        self.launch
    }

    /// The factor of the next step, the launch's own included.
    pub fn step(&mut self) -> f64 {
        self.launch * (STEP * normal(&mut self.random)).exp()
    }

    /// The factor on the prefill of a prompt of this length: 1 unless it is the
    /// launch's first of its size (to the next power of two).
    pub fn prompt(&mut self, tokens: u64) -> f64 {
        let size = (tokens.max(1) as f64).log2().round() as u32;
        if self.seen.insert(size) { self.random.random_range(FIRST) } else { 1.0 }
    }
}

/// Standard normal by Box and Muller.
pub(super) fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_differ_by_three_percent_and_repeat_with_their_seed() {
        let factors: Vec<f64> =
            (0..400).map(|launch| Noise::new(1, launch).launch().ln()).collect();
        let mean = factors.iter().sum::<f64>() / 400.0;
        let spread = (factors.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
        assert!(mean.abs() < 0.006, "{mean}");
        assert!((0.026..0.034).contains(&spread), "{spread}");
        let steps = |launch| {
            let mut noise = Noise::new(1, launch);
            (0..5).map(|_| noise.step()).collect::<Vec<_>>()
        };
        assert_eq!(steps(3), steps(3));
        assert_ne!(steps(3), steps(4));
    }

    #[test]
    fn only_the_first_prompt_of_a_size_is_slow() {
        let mut noise = Noise::new(1, 1);
        assert!(FIRST.contains(&noise.prompt(4096)));
        assert!((noise.prompt(4100) - 1.0).abs() < f64::EPSILON);
        assert!(FIRST.contains(&noise.prompt(64)));
    }
}
