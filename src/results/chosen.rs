//! What is to be known where launches were chosen by what was measured: how, how many
//! configurations a claim can be about, and how probably the leader is good enough. Claims
//! are made between configurations with enough launches alone: the best of many looks
//! better than it is, and those that were soon launched no more had bad luck as a rule.

use std::fmt;

use serde::Serialize;

use super::evidence::Evidence;
use crate::history::record::{Manifest, SweepEnd};

/// Launches of a configuration from which it can be in a claim although launches were chosen
/// by what was measured: with fewer, false claims reach 28 %.
pub const CLAIMED_FROM: usize = 3;

/// How launches were chosen, and what that leaves to be said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// The strategy's name in a grid file.
    pub strategy: &'static str,
    /// Launches of a configuration from which it can be in a claim.
    pub claimed_from: usize,
    /// Ranked configurations that can be in a claim.
    pub in_claims: usize,
    /// Ranked configurations that cannot.
    pub unclaimed: usize,
    /// Probability that rank 1 is within 5 % of the best one, by the rule that ends a race;
    /// `None` where ratios are not taken.
    pub probability: Option<f64>,
    /// The probability that was asked for.
    pub asked: f64,
    /// How the sweep ended; `None` while it goes on, and where it was killed.
    pub ended: Option<SweepEnd>,
}

impl Chosen {
    /// Whether the sweep ended before the probability was reached that was asked for.
    pub fn is_short(&self) -> bool {
        self.probability.is_some_and(|reached| reached < self.asked) && self.ended.is_some()
    }
}

/// Launches from which a configuration can be in a claim.
pub(super) fn claimed_from(manifest: &Manifest) -> usize {
    if manifest.strategy.chooses() { CLAIMED_FROM } else { 2 }
}

/// What is to be known of a sweep that chose its launches; `order`: its ranked arms, best
/// first.
pub(super) fn chosen(evidence: &Evidence<'_>, order: &[usize]) -> Option<Chosen> {
    let manifest = &evidence.sweep.manifest;
    let (strategy, asked) = (manifest.strategy.name(), manifest.strategy.probability()?);
    let objective = &evidence.measured[0];
    let unclaimed = order.iter().filter(|index| objective.has_too_few(**index)).count();
    Some(Chosen {
        strategy,
        claimed_from: CLAIMED_FROM,
        in_claims: order.len() - unclaimed,
        unclaimed,
        probability: objective.p_good_enough(order, manifest.objective.goal),
        asked,
        ended: evidence.sweep.ended.clone(),
    })
}

impl fmt::Display for Chosen {
    /// Two sentences for a person, without the last full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Launches were chosen by what was measured ({}): intervals of the leader are no \
             confirmation. Coverage is claimed for `confirm` only",
            self.strategy
        )
    }
}
