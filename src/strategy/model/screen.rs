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

/// Standard errors by which a configuration may be better than it looks.
const BOUND: f64 = 1.5;

/// How much better is worth a launch, on log scale.
const WORTH: f64 = 0.05;

/// The screen ends when those that were not launched are that much better with at most this
/// probability, all together.
const DOUBT: f64 = 0.2;

/// Standard errors within which a configuration may still be the best.
const REACH: f64 = 2.5;

/// Configurations that go on to the duels, at most.
const SURVIVORS: usize = 8;

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

/// The best one of these by what is believed.
pub(super) fn leader(belief: &Process, of: impl Iterator<Item = usize>) -> Option<usize> {
    of.min_by(|a, b| belief.means[*a].total_cmp(&belief.means[*b]))
}

/// What is worth a launch most among those that were not launched; `None` where none of them
/// is better than the best by more than [`WORTH`] with a probability above [`DOUBT`].
pub(super) fn next(belief: &Process, open: &[usize], allowed: &[usize]) -> Option<usize> {
    let leader = leader(belief, allowed.iter().copied())?;
    let error = |c: usize| belief.variance(c, leader).sqrt();
    let chance = |c: usize| {
        let ahead = belief.means[leader] - WORTH - belief.means[c];
        if error(c) > 0.0 { Normal::standard().cdf(ahead / error(c)) } else { 0.0 }
    };
    if open.iter().map(|c| chance(*c)).sum::<f64>() <= DOUBT {
        return None;
    }
    let bound = |c: usize| belief.means[c] - BOUND * error(c);
    open.iter().copied().min_by(|a, b| bound(*a).total_cmp(&bound(*b)))
}

/// Those that may still be the best, best first: at most [`SURVIVORS`].
pub(super) fn survivors(belief: &Process, allowed: &[usize]) -> Vec<usize> {
    let Some(leader) = leader(belief, allowed.iter().copied()) else { return Vec::new() };
    let near = |c: &usize| {
        belief.means[*c] - belief.means[leader] <= REACH * belief.variance(*c, leader).sqrt()
    };
    let mut members: Vec<usize> = allowed.iter().copied().filter(near).collect();
    members.sort_by(|a, b| belief.means[*a].total_cmp(&belief.means[*b]));
    members.truncate(SURVIVORS);
    members
}
