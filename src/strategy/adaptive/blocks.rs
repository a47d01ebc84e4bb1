//! The blocks that a race begins with: one of all configurations that the baseline opens, and
//! a second one of all or of those that may be the best. The first trials of a sweep are
//! theirs, each with a fixed number; what is out is passed over. Which of them a host gets
//! where there are several is in `hosts`.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::hosts::{Place, Turn};
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

    /// Further trials that are known beforehand, without what is out.
    pub(super) fn planned(&self, turn: &Turn<'_>, eligible: &[Eligible]) -> u32 {
        if turn.last().is_some_and(|last| last >= self.screened()) {
            return 0;
        }
        let second = self.planned_second();
        let opening = self.opening.iter().map(|(it, _)| it);
        let all = (0..).zip(opening.chain(&second));
        let left = all.filter(|(trial, it)| turn.is_left(*trial) && eligible[**it].is_in());
        left.count() as u32
    }

    /// The trials of the first block that are left, while it is not over.
    pub(super) fn opening(&self, turn: &Turn<'_>, eligible: &[Eligible]) -> Vec<Place> {
        if turn.last().is_some_and(|last| last >= self.opened()) {
            return Vec::new();
        }
        let all = (0..).zip(&self.opening).map(|(trial, &(it, purpose))| (trial, it, purpose));
        all.filter(|(trial, it, _)| turn.is_left(*trial) && eligible[*it].is_in()).collect()
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
    /// Its trials that are left, while it is not over.
    pub(super) fn left(&self, turn: &Turn<'_>, eligible: &[Eligible]) -> Vec<Place> {
        if turn.last().is_some_and(|last| last >= self.end()) {
            return Vec::new();
        }
        let all = (self.first_trial..).zip(&self.members);
        let all = all.map(|(trial, &it)| (trial, it, Purpose::Screen));
        all.filter(|(trial, it, _)| turn.is_left(*trial) && eligible[*it].is_in()).collect()
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
