//! A trial as the loop has it: what a strategy asked for, with its number. Pure.

use std::collections::BTreeMap;

use crate::history::record::{LaunchRecord, SweepRecord};
use crate::strategy::{Action, Numbered, Place, Purpose, is_kept};

/// What a strategy asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) number: u32,
    pub(super) configuration: usize,
    pub(super) purpose: Purpose,
    pub(super) repeats: u32,
}

impl Trial {
    /// The trial that a launch served; `None` where its configuration is not known.
    /// Older journals do not have the repeats: the strategy's options do.
    pub(super) fn of(record: &SweepRecord, launch: &LaunchRecord) -> Option<Self> {
        let manifest = &record.manifest;
        let mut names = manifest.configurations.iter().map(|known| &known.name);
        Some(Self {
            number: launch.trial,
            configuration: names.position(|name| *name == launch.configuration)?,
            purpose: launch.purpose,
            repeats: launch.repeats.unwrap_or_else(|| manifest.strategy.repeats()),
        })
    }

    /// The round of trials that it is part of; of a confirmation its pair. A trial that is
    /// launched again keeps its round.
    pub(super) fn round(&self, record: &SweepRecord) -> u32 {
        if self.purpose == Purpose::Confirm {
            return self.number / 2;
        }
        let manifest = &record.manifest;
        let is_final = self.purpose == Purpose::Final;
        let place = Place {
            trial: self.number.saturating_sub(record.first_trial()),
            is_final,
            duel: if is_final { self.duel(record) } else { None },
        };
        let (configurations, baseline) =
            (manifest.configurations.len(), manifest.baseline.is_some());
        manifest.strategy.round(manifest.order, place, configurations, baseline)
    }
}

impl Trial {
    /// The trial that it is compared with directly, where it is one of a duel, or of a pair of
    /// a confirmation.
    pub(super) fn partner(&self, record: &SweepRecord) -> Option<u32> {
        match self.purpose {
            Purpose::Confirm => Some(self.number ^ 1),
            Purpose::Final if self.is_kept(record, self.number) => {
                // It has no second half, but is compared with what was launched so before it.
                let before = self.number.checked_sub(4)?;
                self.is_kept(record, before).then_some(before)
            }
            Purpose::Final => {
                let place = self.duel(record)?;
                Some(self.number - place + (place ^ 1))
            }
            _ => None,
        }
    }

    /// Whether a trial that decides is there, or this one, and was launched alone for a claim.
    fn is_kept(&self, record: &SweepRecord, trial: u32) -> bool {
        let mut own = record.own_launches();
        let is_there = |number| record.own_launches().any(|it| it.trial == number);
        let is_final = |it: &LaunchRecord| it.trial == trial && it.purpose == Purpose::Final;
        (trial == self.number || own.any(is_final)) && is_kept(is_there, trial)
    }

    /// Its place among the trials of duels, itself included.
    fn duel(&self, record: &SweepRecord) -> Option<u32> {
        let manifest = &record.manifest;
        let own = manifest.configurations.get(self.configuration).map(|it| it.name.as_str());
        let own = Numbered {
            trial: self.number,
            is_final: self.purpose == Purpose::Final,
            configuration: own.unwrap_or_default(),
        };
        let trials: BTreeMap<u32, Numbered<'_>> = record
            .own_launches()
            .map(|it| (it.trial, it.numbered()))
            .chain([(self.number, own)])
            .collect();
        let first = manifest.strategy.first_duel(trials.into_values())?;
        self.number.checked_sub(first)
    }
}

impl From<Trial> for Action {
    fn from(trial: Trial) -> Self {
        let Trial { number: trial, configuration, purpose, repeats } = trial;
        Self::Launch { trial, configuration, purpose, repeats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{AdaptiveStrategy, StrategySpec};
    use crate::sweep::fakes::manifest;

    #[test]
    fn both_of_a_duel_have_one_round_and_keep_it() {
        let mut manifest = manifest(3, 1, 1);
        manifest.strategy = StrategySpec::Adaptive(AdaptiveStrategy::default());
        let mut record = SweepRecord::new(manifest);
        let mut rounds = |purpose: Purpose, numbers: std::ops::Range<u32>| -> Vec<u32> {
            let mut rounds = Vec::new();
            for number in numbers {
                let trial = Trial { number, configuration: 0, purpose, repeats: 1 };
                rounds.push(trial.round(&record));
                record.launches.push(LaunchRecord {
                    trial: number,
                    purpose,
                    ..LaunchRecord::default()
                });
                // After an interruption.
                assert_eq!(trial.round(&record), rounds[rounds.len() - 1]);
            }
            rounds
        };
        assert_eq!(rounds(Purpose::Screen, 0..6), [0, 0, 0, 1, 1, 1]);
        assert_eq!(rounds(Purpose::Final, 6..11), [2, 2, 3, 3, 4]);
    }

    #[test]
    fn what_is_launched_alone_runs_beside_what_was_launched_so_before_it() {
        let mut manifest = manifest(3, 1, 1);
        manifest.strategy = StrategySpec::Adaptive(AdaptiveStrategy::default());
        let mut record = SweepRecord::new(manifest);
        let launched = |trial: u32, purpose: Purpose| LaunchRecord {
            trial,
            purpose,
            ..LaunchRecord::default()
        };
        record.launches = (0..5).map(|trial| launched(trial, Purpose::Screen)).collect();
        let partner = |record: &SweepRecord, number: u32| {
            Trial { number, configuration: 0, purpose: Purpose::Final, repeats: 1 }.partner(record)
        };
        // The last of the second block is left out.
        assert_eq!(partner(&record, 8), None);
        record.launches.push(launched(8, Purpose::Final));
        assert_eq!(partner(&record, 12), Some(8));
        record.launches.push(launched(12, Purpose::Final));
        assert_eq!(partner(&record, 12), Some(8), "after an interruption, too");
        assert_eq!(partner(&record, 16), Some(12));
        // A duel.
        record.launches.push(launched(14, Purpose::Final));
        assert_eq!(partner(&record, 15), Some(14));
    }
}
