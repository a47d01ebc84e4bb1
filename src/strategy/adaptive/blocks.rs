//! The blocks that a race begins with: one of all configurations that the baseline opens, and
//! a second one of all or of those that may be the best. The first trials of a sweep are
//! theirs, each with a fixed number; what is out is passed over.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::{Observation, Purpose, Situation, Task, order};
use super::before;
use super::counts::{BETWEEN, SMALL, SURVIVORS};
use super::eligible::Eligible;
use super::race::Race;

/// The opening blocks of a sweep.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    opening: Vec<(usize, Purpose)>,
    seed: u64,
    configurations: usize,
}

/// The second block.
pub(super) struct Second {
    first_trial: u32,
    members: Vec<usize>,
}

/// Number, configuration and purpose of a trial.
pub(super) type Place = (u32, usize, Purpose);

impl Blocks {
    pub(super) fn new(seed: u64, task: &Task) -> Self {
        let configurations = task.configurations;
        let members = order::shuffled(configurations, None, task.baseline, &mut random(seed, 0));
        let mut opening = Vec::new();
        for (place, member) in members.into_iter().enumerate() {
            opening.push((member, Purpose::Screen));
            let is_due = place > 0 && place.is_multiple_of(BETWEEN);
            if let Some(baseline) = task.baseline.filter(|_| is_due && configurations > SMALL) {
                opening.push((baseline, Purpose::Sentinel));
            }
        }
        Self { opening, seed, configurations }
    }

    /// Whether the second block has every configuration.
    pub(super) fn is_small(&self) -> bool {
        self.configurations <= SMALL
    }

    /// The trial after the first block.
    pub(super) fn opened(&self) -> u32 {
        self.opening.len() as u32
    }

    /// The trial after the last one of which it is known beforehand that it is of a block.
    pub(super) fn screened(&self) -> u32 {
        self.opened() + if self.is_small() { self.configurations as u32 } else { 0 }
    }

    /// Whether a trial of the first block is in flight.
    pub(super) fn is_opening(&self, situation: &Situation<'_>) -> bool {
        situation.in_flight.iter().any(|it| it.trial < self.opened())
    }

    /// Trials after the `last` one that are known beforehand, without what is out.
    pub(super) fn planned(&self, last: Option<u32>, eligible: &[Eligible]) -> u32 {
        let from = last.map_or(0, |last| last as usize + 1);
        let second = self.planned_second();
        let opening = self.opening.iter().map(|(it, _)| it);
        let left = opening.chain(&second).skip(from).filter(|it| eligible[**it].is_in());
        left.count() as u32
    }

    /// The next trial of the first block after the `last` one.
    pub(super) fn opening(&self, last: Option<u32>, eligible: &[Eligible]) -> Option<Place> {
        let from = last.map_or(0, |last| last + 1);
        (from..).zip(self.opening.iter().skip(from as usize)).find_map(|(trial, &(it, purpose))| {
            eligible[it].is_in().then_some((trial, it, purpose))
        })
    }

    /// The second block where it has every configuration.
    fn planned_second(&self) -> Vec<usize> {
        if !self.is_small() {
            return Vec::new();
        }
        let last = self.opening.last().map(|(it, _)| *it);
        order::shuffled(self.configurations, last, None, &mut random(self.seed, 1))
    }

    /// The second block: all, or those that may be the best by the first one and those that
    /// gave no value in it.
    pub(super) fn second(&self, race: &Race, observations: &[&Observation]) -> Second {
        let first_trial = self.opened();
        let opening = before(observations, first_trial);
        let last = opening.iter().max_by_key(|it| it.trial).map(|it| it.configuration);
        if self.is_small() {
            return Second { first_trial, members: self.planned_second() };
        }
        let eligible = race.eligible(&opening);
        let standing = race.standing(&opening);
        let mut members = standing.as_ref().map(|it| it.near(SURVIVORS)).unwrap_or_default();
        let no_value = |arm: &usize| {
            eligible[*arm].is_in() && standing.as_ref().is_none_or(|it| it.launches[*arm] == 0)
        };
        members.extend((0..self.configurations).filter(no_value));
        members.sort_unstable();
        let last = last.and_then(|last| members.iter().position(|it| *it == last));
        let places = order::shuffled(members.len(), last, None, &mut random(self.seed, 1));
        Second { first_trial, members: places.into_iter().map(|place| members[place]).collect() }
    }
}

impl Second {
    /// Its next trial after the `last` one.
    pub(super) fn next(&self, last: Option<u32>, eligible: &[Eligible]) -> Option<Place> {
        let from = last.map_or(0, |last| (last + 1).saturating_sub(self.first_trial));
        let members = (from..).zip(self.members.iter().skip(from as usize));
        members.into_iter().find_map(|(place, &it)| {
            eligible[it].is_in().then_some((self.first_trial + place, it, Purpose::Screen))
        })
    }

    /// The trial after it.
    pub(super) fn end(&self) -> u32 {
        self.first_trial + self.members.len() as u32
    }
}

fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}
