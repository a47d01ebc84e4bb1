//! Counts a sweep's launches as a person does: by its trials. A trial that was interrupted, or
//! whose server was lost, has several launches, and a folder that nobody knows takes a number.

use std::collections::{BTreeMap, BTreeSet};

use vllm_grid::history::launch::LaunchOutcome;

/// The trials of a sweep as a person counts them: from 1, each once, however often it was
/// launched. Numbers of launches may have gaps and repeats between them.
#[derive(Default)]
pub(super) struct Trials {
    /// The place of each trial.
    places: BTreeMap<u32, u32>,
    /// The trial of each launch of this process.
    of_launches: BTreeMap<u32, u32>,
    /// Those that are done.
    over: BTreeSet<u32>,
}

impl Trials {
    /// Those that earlier sessions have done.
    pub(super) fn done(over: BTreeSet<u32>) -> Self {
        let places = over.iter().copied().zip(1..).collect();
        Self { places, of_launches: BTreeMap::new(), over }
    }

    pub(super) fn begins(&mut self, trial: u32, launch: u32) {
        let next = self.places.len() as u32 + 1;
        self.places.entry(trial).or_insert(next);
        self.of_launches.insert(launch, trial);
    }

    pub(super) fn ends(&mut self, launch: u32, outcome: &LaunchOutcome) {
        if let Some(trial) = self.of_launches.get(&launch).filter(|_| outcome.is_settled()) {
            self.over.insert(*trial);
        }
    }

    pub(super) fn place_of(&self, launch: u32) -> Option<u32> {
        self.places.get(self.of_launches.get(&launch)?).copied()
    }

    pub(super) fn count(&self) -> u64 {
        self.over.len() as u64
    }
}
