//! What is to be known where launches were chosen by what was measured: how, how many
//! configurations a claim can be about, and how probably the leader is good enough. Claims
//! are made between configurations with enough launches alone: the best of many looks
//! better than it is, and those that were soon launched no more had bad luck as a rule.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::duels::{last_duels, took_part};
use super::evidence::Evidence;
use crate::history::record::{Manifest, SweepEnd, SweepRecord};

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
    /// Probability that the candidate, as far as means decide, is within 5 % of the best one, by
    /// the rule that ends a race; `None` where ratios are not taken, and where nothing was
    /// launched twice.
    pub probability: Option<f64>,
    /// The probability that was asked for.
    pub asked: f64,
    /// How the sweep ended; `None` while it goes on, and where it was killed.
    pub ended: Option<SweepEnd>,
    /// Whether as many launches were made as it may choose.
    pub spent: bool,
}

impl Chosen {
    /// Whether the sweep ended before the probability was reached that was asked for; where none
    /// is known, whether it was not allowed more launches, or ended before anything had enough.
    pub fn is_short(&self) -> bool {
        let is_reached = match self.probability {
            Some(reached) => reached >= self.asked,
            None => self.in_claims > 0 && !self.is_stopped(),
        };
        self.ended.is_some() && !is_reached
    }

    /// Whether it was not allowed more launches.
    fn is_stopped(&self) -> bool {
        self.spent || self.ended.as_ref().is_some_and(|it| !it.complete)
    }

    /// Whether it is short since it was not allowed more launches: with more, it would have gone
    /// on.
    pub fn is_cut(&self) -> bool {
        self.is_short() && self.is_stopped()
    }
}

/// Whether as many launches were made as the strategy may choose.
pub(super) fn is_spent(sweep: &SweepRecord) -> bool {
    let trials: BTreeSet<u32> = sweep.own_launches().map(|it| it.trial).collect();
    trials.len() >= sweep.manifest.expected_launches().high as usize
}

/// Launches from which a configuration can be in a claim.
pub(super) fn claimed_from(manifest: &Manifest) -> usize {
    if manifest.strategy.chooses() { CLAIMED_FROM } else { 2 }
}

impl Evidence<'_> {
    /// The best guess of these arms, best mean first: rank 1. Where launches were chosen and it
    /// has too few for a claim, it is the best of those that have enough, or that the last duels
    /// were of: the best mean of many that were launched once is chance more often than not, and
    /// the strategy knew it when it went on with others.
    pub(super) fn best_guess(&self, order: &[usize]) -> Option<usize> {
        let objective = &self.measured[0];
        let &first = order.first()?;
        if !objective.is_choosing() {
            return Some(first);
        }
        let last = last_duels(self);
        let is_dueled = |index: usize| took_part(&self.arms[index], &last);
        if !order.iter().any(|it| is_dueled(*it)) {
            return Some(first);
        }
        let is_known = |index: &usize| !objective.has_too_few(*index) || is_dueled(*index);
        order.iter().copied().find(is_known).or(Some(first))
    }
}

/// What is to be known of a sweep that chose its launches; `order`: its ranked arms, best
/// first; `leader`: the best guess of them.
pub(super) fn chosen(
    evidence: &Evidence<'_>,
    order: &[usize],
    leader: Option<usize>,
) -> Option<Chosen> {
    let manifest = &evidence.sweep.manifest;
    let (strategy, asked) = (manifest.strategy.name(), manifest.strategy.probability()?);
    let objective = &evidence.measured[0];
    let unclaimed = order.iter().filter(|index| objective.has_too_few(**index)).count();
    let others = order.iter().copied().filter(|it| Some(*it) != leader);
    let led: Vec<usize> = leader.into_iter().chain(others).collect();
    Some(Chosen {
        strategy,
        claimed_from: CLAIMED_FROM,
        in_claims: order.len() - unclaimed,
        unclaimed,
        probability: objective.p_good_enough(&led, manifest.objective.goal),
        asked,
        ended: evidence.sweep.ended.clone(),
        spent: is_spent(evidence.sweep),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Without ratios no probability is known: an end by the number of launches is one all the
    /// same, and an end of its own will is none.
    #[test]
    fn an_end_by_the_launches_that_are_allowed_is_known_without_a_probability() {
        let ended = |complete, spent| Chosen {
            strategy: "adaptive",
            claimed_from: CLAIMED_FROM,
            in_claims: 4,
            unclaimed: 0,
            probability: None,
            asked: 0.9,
            ended: Some(SweepEnd { complete, reason: String::new() }),
            spent,
        };
        assert!(ended(true, true).is_cut() && ended(false, false).is_cut());
        assert!(!ended(true, false).is_short());
        let sure = Chosen { probability: Some(0.95), ..ended(true, true) };
        assert!(!sure.is_short() && !sure.is_cut());
    }
}
