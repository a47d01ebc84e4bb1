//! The strategy `adaptive`: a block or two of all configurations, then adjacent duels of the
//! leader and its challenger until the leader is probably good enough. Here is only what is
//! launched when; which configurations are out is in `eligible`, who leads in `standing`. What
//! it reaches is in `docs/strategies.md`.

use super::hosts::Turn;
use super::{Action, AdaptiveStrategy, Bar, Observation, Remaining, Situation, Strategy, Task};

pub(super) mod bar;
mod blocks;
mod counts;
pub(super) mod eligible;
pub(super) mod observed;
pub(super) mod race;
pub(super) mod standing;

pub use super::finished::Leader;
pub use counts::{SMALL, SURVIVORS, launches_of, most_launches, opening_launches};

use blocks::Blocks;
use race::Race;

/// A race of configurations.
#[derive(Clone, Debug)]
pub struct Adaptive {
    blocks: Blocks,
    race: Race,
}

impl Adaptive {
    /// The race of a sweep.
    pub fn new(spec: AdaptiveStrategy, task: Task) -> Self {
        let blocks = Blocks::new(spec.seed, &task);
        Self { blocks, race: Race::new(spec, task) }
    }

    /// What is held for the best by these observations; `None` while nothing has a value.
    pub fn leader(&self, observations: &[Observation]) -> Option<Leader> {
        Some(self.race.standing(&observations.iter().collect::<Vec<_>>())?.held())
    }
}

impl Strategy for Adaptive {
    fn next(&self, situation: Situation<'_>) -> Action {
        if let Some(action) = self.race.is_spent(&situation) {
            return action;
        }
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let turn = Turn::of(&situation);
        let eligible = self.race.eligible(&known);
        let (mut pending, mut first) = (self.blocks.opening(&turn, &eligible), 0);
        if pending.is_empty() {
            if !self.blocks.is_small() && self.blocks.is_opening(&situation) {
                return Action::Wait;
            }
            let second = self.blocks.second(&self.race, &known);
            (pending, first) = (second.left(&turn, &eligible), self.blocks.opened());
            if pending.is_empty() {
                return self.race.next(&self.race.limited(situation), second.end());
            }
        }
        let Some((trial, configuration, purpose)) = turn.take(&pending, first) else {
            return Action::Wait;
        };
        Action::Launch { trial, configuration, purpose, repeats: self.race.spec.repeats }
    }

    fn trials(&self) -> u32 {
        self.race.most()
    }

    fn opens_pair(&self, situation: Situation<'_>, trial: u32) -> bool {
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let start = self.blocks.second(&self.race, &known).end();
        self.race.opens_pair(&situation, trial, start)
    }

    fn remaining(&self, situation: Situation<'_>) -> Remaining {
        let begun = (situation.observations.len() + situation.in_flight.len()) as u32;
        let high = self.trials().saturating_sub(begun);
        let known: Vec<&Observation> = situation.observations.iter().collect();
        let (turn, eligible) = (Turn::of(&situation), self.race.eligible(&known));
        let is_opening = !self.blocks.opening(&turn, &eligible).is_empty();
        // Of a second block that is not known yet there is the best one at the least.
        let second = u32::from(is_opening && !self.blocks.is_small());
        let planned = self.blocks.planned(&turn, &eligible) + second;
        if planned > 0 || !situation.in_flight.is_empty() {
            return Remaining { low: planned.min(high), high };
        }
        match self.next(situation) {
            Action::Finish { .. } => Remaining { low: 0, high: 0 },
            _ => Remaining { low: 1.min(high), high },
        }
    }

    fn bar(&self, observations: &[Observation], configuration: usize) -> Option<Bar> {
        let next = observations.iter().map(|it| it.trial + 1).max().unwrap_or_default();
        let known: Vec<&Observation> = observations.iter().collect();
        // In duels each repeat counts, and those of a pair have equally many.
        (next < self.blocks.screened())
            .then(|| bar::bar(&self.race.task, &known, configuration, bar::BEHIND))?
    }
}

/// The greatest number of a trial so far.
pub(super) fn last(situation: &Situation<'_>) -> Option<u32> {
    let over = situation.observations.iter().map(|it| it.trial);
    over.chain(situation.in_flight.iter().map(|it| it.trial)).max()
}

/// What was observed of trials with a smaller number.
pub(super) fn before<'a>(observations: &[&'a Observation], trial: u32) -> Vec<&'a Observation> {
    observations.iter().copied().filter(|it| it.trial < trial).collect()
}

#[cfg(test)]
mod tests;
