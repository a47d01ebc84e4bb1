//! Which configuration a screen launches next, and when it has seen enough. It begins with a
//! spread of all levels, then launches what may be best by what is believed so far: the bound
//! of N. Srinivas, A. Krause, S. Kakade, M. Seeger (*Gaussian process optimization in the
//! bandit setting*, ICML 2010), each configuration once.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF as _, Normal};

use super::kernel::Kernel;
use super::process::Process;
use crate::strategy::adaptive::SURVIVORS;
use crate::strategy::adaptive::standing::BEHIND;

/// Standard errors by which a configuration may be better than it looks.
const BOUND: f64 = 1.5;

/// How much better is worth a launch, on log scale.
const WORTH: f64 = 0.05;

/// The screen ends when those that were not launched are that much better with at most this
/// probability, all together.
const DOUBT: f64 = 0.2;

/// All configurations such that each part of the list has each level of each axis, and each
/// pair of levels, about equally often; `first` opens it. Seeded.
pub(super) fn spread(
    kernel: &Kernel,
    configurations: usize,
    first: Option<usize>,
    seed: u64,
) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..configurations).collect();
    rest.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    if let Some(first) = first {
        rest.retain(|it| *it != first);
        rest.insert(0, first);
    }
    // How much of each is in the list already: by what they have in common with it.
    let axes = kernel.axes().max(1) as f64;
    let alike = |a: usize, b: usize| {
        let common = kernel.common(a, b);
        let (pairs, single) = (common[kernel.axes()], common[..kernel.axes()].iter().sum::<f64>());
        single / axes + pairs
    };
    let mut seen: Vec<f64> = vec![0.0; configurations];
    let mut order = Vec::with_capacity(configurations);
    while !rest.is_empty() {
        let least = (0..rest.len()).min_by(|a, b| seen[rest[*a]].total_cmp(&seen[rest[*b]]));
        let next = rest.remove(least.unwrap_or_default());
        for &other in &rest {
            seen[other] += alike(next, other);
        }
        order.push(next);
    }
    order
}

/// Launches before anything is chosen by what is believed: so many that each level of each
/// axis is seen.
pub(super) fn opening(kernel: &Kernel, configurations: usize) -> usize {
    (kernel.freedom() + 4).max(configurations / 8).min(configurations)
}

/// Launches after which it is asked whether the model predicts, and whether the screen has
/// seen enough: some, and then ever a few more.
pub(super) fn looks(kernel: &Kernel, configurations: usize) -> impl Iterator<Item = usize> {
    let opening = opening(kernel, configurations);
    let step = (opening / 3).max(2);
    (0..).map(move |look| opening + (look + 1) * step).take_while(move |it| *it < configurations)
}

/// The first of them; all configurations where there is none.
pub(super) fn first_look(kernel: &Kernel, configurations: usize) -> usize {
    looks(kernel, configurations).next().unwrap_or(configurations)
}

/// The configurations of a screen.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Those that are not out.
    pub(super) allowed: Vec<usize>,
    /// Those of them that were not launched, in the order of the spread.
    pub(super) open: Vec<usize>,
    /// Those of them that keep every bound as far as is known.
    pub(super) sound: Vec<usize>,
}

impl Field {
    /// The best one by what is believed.
    pub(super) fn leader(&self, belief: &Process) -> Option<usize> {
        let best = |of: &[usize]| {
            let means = &belief.means;
            of.iter().copied().min_by(|a, b| means[*a].total_cmp(&means[*b]))
        };
        best(&self.sound).or_else(|| best(&self.allowed))
    }

    /// Whether those that were not launched are better than the best by more than [`WORTH`]
    /// with a probability of [`DOUBT`] at most.
    pub(super) fn is_seen(&self, belief: &Process) -> bool {
        let Some(leader) = self.leader(belief) else { return self.open.is_empty() };
        doubt(belief, leader, &self.open) <= DOUBT
    }

    /// What is worth a launch most among those that were not launched.
    pub(super) fn next(&self, belief: &Process) -> Option<usize> {
        let leader = self.leader(belief)?;
        let bound = |c: usize| belief.means[c] - BOUND * belief.variance(c, leader).sqrt();
        self.open.iter().copied().min_by(|a, b| bound(*a).total_cmp(&bound(*b)))
    }

    /// Those that may still be the best, best first: at most [`SURVIVORS`].
    pub(super) fn survivors(&self, belief: &Process) -> Vec<usize> {
        let Some(leader) = self.leader(belief) else { return Vec::new() };
        let gap = |c: usize| belief.means[c] - belief.means[leader];
        let near = |c: &usize| gap(*c) <= BEHIND * belief.variance(*c, leader).sqrt();
        let mut members: Vec<usize> = self.allowed.iter().copied().filter(near).collect();
        members.sort_by(|a, b| belief.means[*a].total_cmp(&belief.means[*b]));
        members.truncate(SURVIVORS);
        members
    }
}

/// Probability that one of these is better than the leader by more than [`WORTH`], at most.
pub(super) fn doubt(belief: &Process, leader: usize, others: &[usize]) -> f64 {
    let chance = |c: &usize| {
        let error = belief.variance(*c, leader).sqrt();
        let ahead = belief.means[leader] - WORTH - belief.means[*c];
        if error > 0.0 { Normal::standard().cdf(ahead / error) } else { 0.0 }
    };
    others.iter().map(chance).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Kernel {
        let levels = (0..24).map(|it| vec![it % 2, it / 2 % 3, it / 6]).collect::<Vec<_>>();
        Kernel::new(&levels)
    }

    #[test]
    fn the_beginning_of_the_list_has_each_level_about_equally_often() {
        let kernel = kernel();
        let order = spread(&kernel, 24, Some(5), 9);
        assert_eq!(order[0], 5);
        assert_ne!(order, spread(&kernel, 24, Some(5), 10));
        let mut all = order.clone();
        all.sort_unstable();
        assert_eq!(all, (0..24).collect::<Vec<_>>());
        for axis in 0..kernel.axes() {
            let of = kernel.axis(axis);
            let levels = of.iter().max().unwrap() + 1;
            let count = |level| order[..12].iter().filter(|it| of[**it] == level).count();
            let counts: Vec<usize> = (0..levels).map(count).collect();
            let even = 12 / levels;
            assert!(counts.iter().all(|it| it.abs_diff(even) <= 1), "{axis}: {counts:?}");
        }
    }

    #[test]
    fn it_is_looked_at_after_the_opening_and_before_the_end() {
        let kernel = kernel();
        // 1 + 2 + 3 levels beyond the first ones.
        assert_eq!(opening(&kernel, 24), 10);
        assert_eq!(looks(&kernel, 24).collect::<Vec<_>>(), [13, 16, 19, 22]);
        assert_eq!(looks(&kernel, 6).count(), 0);
    }
}
