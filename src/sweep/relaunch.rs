//! What a failure means for further launches: boot once more, measure a trial's
//! missing repeats by another launch, skip a configuration, or stop the sweep.
//! This is the only place that decides it; engines only remove what made a
//! launch fail. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::trial::Trial;
use super::{SweepError, pass};
use crate::engine::failure::prunes;
use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use crate::history::record::{LaunchRecord, SweepRecord};

/// How many launches in a row may fail for reasons that are not their own.
const IN_A_ROW: usize = 3;

/// Whether a boot that failed is worth a second attempt in the same launch: it
/// may have failed for a reason that is not the configuration's.
pub fn boots_again(failure: &LaunchFailure) -> bool {
    let by_class = matches!(
        failure.class,
        FailureClass::MemoryNotFree
            | FailureClass::CompileCache
            | FailureClass::EngineDied
            | FailureClass::Killed
            | FailureClass::Environment
    );
    by_class && !failure.cancelled
}

/// Whether the last launch of a trial left repeats that one more launch is to
/// measure: a server that had been ready was lost, or repeats are void, by
/// something that is not the configuration's own, for the first time.
pub(super) fn measures_rest(record: &SweepRecord, trial: u32, repeats: u32) -> bool {
    let of_trial = || record.launches.iter().filter(|launch| launch.trial == trial);
    let settled =
        |launch: &&LaunchRecord| launch.outcome.as_ref().is_some_and(LaunchOutcome::is_settled);
    let is_first = of_trial().filter(settled).count() == 1;
    let Some(last) = of_trial().next_back() else { return false };
    let may_pass = match &last.outcome {
        Some(LaunchOutcome::Failed(failure)) => {
            last.facts.is_some() && !failure.class.is_deterministic()
        }
        Some(LaunchOutcome::Measured) => true,
        _ => false,
    };
    may_pass && is_first && !pass::missing(record, trial, repeats).is_empty()
}

/// The trials that earlier sessions left undone, in their order: interrupted
/// before everything was measured, or still to be measured by one more launch.
pub(super) fn undone(record: &SweepRecord) -> VecDeque<Trial> {
    let mut last: BTreeMap<u32, &LaunchRecord> = BTreeMap::new();
    let mut order = Vec::new();
    for launch in &record.launches {
        if last.insert(launch.trial, launch).is_none() {
            order.push(launch.trial);
        }
    }
    let launches = order.iter().filter_map(|trial| last.get(trial));
    let undone = launches.filter_map(|launch| {
        let trial = Trial::of(record, launch)?;
        let left = match &launch.outcome {
            Some(LaunchOutcome::Interrupted) => {
                !pass::missing(record, trial.number, trial.repeats).is_empty()
            }
            _ => measures_rest(record, trial.number, trial.repeats),
        };
        left.then_some(trial)
    });
    undone.collect()
}

/// Why a configuration is not launched: it failed before in a way that would
/// repeat itself, or another one did that shows that this one would fail too.
pub(super) fn skip_reason(record: &SweepRecord, configuration: usize) -> Option<String> {
    let configurations = &record.manifest.configurations;
    let candidate = configurations.get(configuration)?;
    let failures = || {
        record.launches.iter().filter_map(|launch| match &launch.outcome {
            Some(LaunchOutcome::Failed(failure)) => Some((launch, failure)),
            _ => None,
        })
    };
    let infeasible = failures().any(|(launch, failure)| {
        launch.configuration == candidate.name && failure.class.is_deterministic()
    });
    if infeasible {
        return Some("failed in an earlier launch, and would fail so again".to_owned());
    }
    failures().find_map(|(launch, failure)| {
        let failed = configurations.iter().find(|known| known.name == launch.configuration)?;
        let shows = failed.id != candidate.id && prunes(failed, failure.class, candidate);
        shows.then(|| {
            let class = failure.class.as_str();
            format!("`{}` failed ({class}), and this one would fail so, too", failed.name)
        })
    })
}

/// The circuit breaker: stops a sweep in which nothing works, so that a night is
/// not spent on launches that fail for a reason that is not their own. Holds
/// what failed since a launch last succeeded.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: Vec<LaunchFailure>,
}

impl Breaker {
    /// A launch ended, and no other follows for the same trial. One that had
    /// nothing to measure shows nothing of what works.
    ///
    /// # Errors
    /// When the next one would fail too: no credentials, no GPU, or three
    /// failures in a row that are not the configurations' own.
    pub(super) fn after(&mut self, launch: &LaunchRecord) -> Result<(), SweepError> {
        match &launch.outcome {
            Some(LaunchOutcome::Failed(failure)) => self.failed(failure.clone()),
            Some(LaunchOutcome::Interrupted) | None => Ok(()),
            _ if launch.measurements.is_empty() => Ok(()),
            _ => {
                self.failures.clear();
                Ok(())
            }
        }
    }

    fn failed(&mut self, failure: LaunchFailure) -> Result<(), SweepError> {
        // A configuration that does not fit says nothing about the next one.
        if failure.class.is_deterministic() {
            self.failures.clear();
            return Ok(());
        }
        self.failures.push(failure);
        let Some(last) = self.failures.last() else { return Ok(()) };
        let hopeless = matches!(last.class, FailureClass::Credentials | FailureClass::NoGpu);
        if !hopeless && self.failures.len() < IN_A_ROW {
            return Ok(());
        }
        let times = match self.failures.len() {
            1 => String::new(),
            several => format!("{several} launches in a row failed, the last so: "),
        };
        Err(SweepError::Stopped {
            message: format!("{times}{} ({})", last.message, last.class.as_str()),
            log_lines: last.log_lines.clone(),
            environment: hopeless,
        })
    }
}

#[cfg(test)]
#[path = "relaunch_tests.rs"]
mod tests;
