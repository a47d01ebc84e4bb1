//! A trial as the loop has it: what a strategy asked for, with its number. Pure.

use crate::history::record::{LaunchRecord, SweepRecord};
use crate::strategy::{Action, Purpose};

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

    /// The round of trials that it is part of; of a confirmation its pair.
    pub(super) fn round(&self, record: &SweepRecord) -> u32 {
        if self.purpose == Purpose::Confirm {
            return self.number / 2;
        }
        let manifest = &record.manifest;
        let number = self.number.saturating_sub(record.first_trial());
        let (configurations, baseline) =
            (manifest.configurations.len(), manifest.baseline.is_some());
        manifest.strategy.block(manifest.order, number, configurations, baseline)
    }
}

impl From<Trial> for Action {
    fn from(trial: Trial) -> Self {
        let Trial { number: trial, configuration, purpose, repeats } = trial;
        Self::Launch { trial, configuration, purpose, repeats }
    }
}
