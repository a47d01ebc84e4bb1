//! What a failure means for further launches: boot once more, measure a trial's
//! missing repeats by another launch, skip a configuration, or stop the sweep.
//! This is the only place that decides it; engines only remove what made a
//! launch fail. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::conclusions::Conclusions;
use super::trial::Trial;
use super::{SweepError, pass};
use crate::configuration::Configuration;
use crate::engine::failure::is_local;
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
            | FailureClass::GpuMemoryChanged
            | FailureClass::CompileCache
            | FailureClass::EngineDied
            | FailureClass::Killed
            | FailureClass::Environment
    );
    // A hub may answer next time; a folder does not appear by itself.
    let may_pass = !failure.missing_path.as_deref().is_some_and(is_local);
    by_class && may_pass && !failure.cancelled && !failure.shortage
}

/// Whether the last launch of a trial left repeats that one more launch is to
/// measure: a server that had been ready was lost, or repeats are void, by
/// something that is not the configuration's own, for the first time; or a cluster took it.
pub(super) fn measures_rest(record: &SweepRecord, trial: u32, repeats: u32) -> bool {
    let of_trial = || record.launches.iter().filter(|launch| launch.trial == trial);
    let settled =
        |launch: &&LaunchRecord| launch.outcome.as_ref().is_some_and(LaunchOutcome::is_settled);
    let is_first = of_trial().filter(settled).count() == 1;
    let Some(last) = of_trial().next_back() else { return false };
    if last.outcome.as_ref().is_some_and(LaunchOutcome::is_cut) {
        return !pass::missing(record, trial, repeats).is_empty();
    }
    let may_pass = match &last.outcome {
        Some(LaunchOutcome::Failed(failure)) => {
            // What ran out of time twice does so again: the run keeps its limit.
            let is_out_of_time = failure.class == FailureClass::TimeLimit;
            last.facts.is_some() && !failure.class.is_deterministic() && !is_out_of_time
        }
        Some(LaunchOutcome::Measured) => true,
        _ => false,
    };
    may_pass && is_first && !pass::missing(record, trial, repeats).is_empty()
}

/// The trials that earlier sessions left undone, in their order: interrupted
/// before everything was measured, or still to be measured by one more launch. Only launches
/// that count are looked at.
pub(super) fn undone(
    record: &SweepRecord,
    counts: impl Fn(&LaunchRecord) -> bool,
) -> VecDeque<Trial> {
    let mut last: BTreeMap<u32, &LaunchRecord> = BTreeMap::new();
    let mut order = Vec::new();
    for launch in record.launches.iter().filter(|launch| counts(launch)) {
        if last.insert(launch.trial, launch).is_none() {
            order.push(launch.trial);
        }
    }
    let launches = order.iter().filter_map(|trial| last.get(trial));
    let undone = launches.filter_map(|launch| {
        let trial = Trial::of(record, launch)?;
        let left = match &launch.outcome {
            // Without an end: its session died in it.
            // Its job makes it still.
            None if launch.runs_on() => false,
            None | Some(LaunchOutcome::Interrupted | LaunchOutcome::Lost { .. }) => {
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
pub fn skip_reason(record: &SweepRecord, configuration: usize) -> Option<String> {
    Conclusions::of(record).against(record.manifest.configurations.get(configuration)?)
}

/// The trials that are launched once more when nothing else is left to do, in their order:
/// skipped for a failure that a success has revoked since, or out of memory once, which
/// may have been others' memory. Only launches that count are looked at.
pub(super) fn reopened(
    record: &SweepRecord,
    counts: impl Fn(&LaunchRecord) -> bool,
) -> VecDeque<Trial> {
    let conclusions = Conclusions::of(record);
    let mut trials: BTreeMap<u32, Vec<&LaunchRecord>> = BTreeMap::new();
    for launch in record.launches.iter().filter(|launch| counts(launch)) {
        trials.entry(launch.trial).or_default().push(launch);
    }
    let reopened = trials.values().filter_map(|launches| {
        let last = launches.last()?;
        let is_open = match last.outcome.as_ref()? {
            LaunchOutcome::Skipped { by_strategy, .. } => !by_strategy,
            LaunchOutcome::Failed(failure) => {
                let is_lottery = failure.class.sightings().is_some_and(|needed| needed > 1);
                let failed = |it: &&&LaunchRecord| {
                    matches!(it.outcome, Some(LaunchOutcome::Failed(_) | LaunchOutcome::Measured))
                };
                is_lottery && launches.iter().filter(failed).count() == 1
            }
            _ => false,
        };
        let trial = Trial::of(record, last).filter(|_| is_open)?;
        let candidate = record.manifest.configurations.get(trial.configuration)?;
        let is_lacking = !pass::missing(record, trial.number, trial.repeats).is_empty();
        (is_lacking && conclusions.against(candidate).is_none()).then_some(trial)
    });
    reopened.collect()
}

/// The circuit breaker: stops a sweep in which nothing works, so that a night is
/// not spent on launches that fail for a reason that is not their own. Holds
/// what failed since a launch last succeeded.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: Vec<LaunchFailure>,
    /// Names of the configurations whose flags did not arrive.
    not_applied: BTreeSet<String>,
    is_reported: bool,
}

impl Breaker {
    /// A launch of `record` ended, and no other follows for the same trial. One that had
    /// nothing to measure shows nothing of what works. Gives what a person should know
    /// where the sweep continues in spite of failures.
    ///
    /// # Errors
    /// When the next one would fail too: no credentials, no GPU, no model, three failures
    /// in a row that are not the configurations' own, or three configurations in a row
    /// whose flags did not arrive.
    pub(super) fn after(
        &mut self,
        record: &SweepRecord,
        launch: &LaunchRecord,
    ) -> Result<Option<String>, SweepError> {
        match &launch.outcome {
            Some(LaunchOutcome::Failed(failure)) => {
                let mut configurations = record.manifest.configurations.iter();
                let known = configurations.find(|known| known.name == launch.configuration);
                if failure.class == FailureClass::FlagNotApplied {
                    return self.flag_not_applied(record, launch, failure).map(|()| None);
                }
                self.failed(record, known, failure.clone())
            }
            Some(LaunchOutcome::Interrupted | LaunchOutcome::Lost { .. }) | None => Ok(None),
            _ if launch.measurements.is_empty() => Ok(None),
            _ => {
                *self = Self::default();
                Ok(None)
            }
        }
    }

    /// A flag that did not arrive is neither a success nor a failure of the environment:
    /// the other failures count on. Where nothing was ever measured and several
    /// configurations fail so, the launcher passes nothing on.
    fn flag_not_applied(
        &mut self,
        record: &SweepRecord,
        launch: &LaunchRecord,
        failure: &LaunchFailure,
    ) -> Result<(), SweepError> {
        self.not_applied.insert(launch.configuration.clone());
        let has_measured = record.launches.iter().any(|launch| !launch.measurements.is_empty());
        if has_measured || self.not_applied.len() < IN_A_ROW {
            return Ok(());
        }
        Err(SweepError::Stopped {
            message: format!(
                "the flags of {} configurations in a row did not reach vLLM, and nothing was \
                 measured, the last so: {} ({})",
                self.not_applied.len(),
                failure.message,
                failure.class.as_str()
            ),
            log_lines: failure.log_lines.clone(),
            environment: false,
        })
    }

    fn failed(
        &mut self,
        record: &SweepRecord,
        configuration: Option<&Configuration>,
        failure: LaunchFailure,
    ) -> Result<Option<String>, SweepError> {
        let missing = failure.missing_path.as_deref();
        let chose_path =
            |path: &str| configuration.is_some_and(|configuration| names(configuration, path));
        // A configuration that does not fit, or names a file of its own that is
        // not there, says nothing about the next one.
        if failure.class.is_deterministic() || missing.is_some_and(chose_path) {
            *self = Self::default();
            return Ok(None);
        }
        // A model of the hub that served before is missing only for a while.
        let has_served = record.launches.iter().any(|launch| launch.facts.is_some());
        let hopeless = matches!(failure.class, FailureClass::Credentials | FailureClass::NoGpu)
            || missing.is_some_and(|path| is_local(path) || !has_served);
        self.failures.push(failure);
        let Some(last) = self.failures.last() else { return Ok(None) };
        if !hopeless && self.failures.len() < IN_A_ROW {
            return Ok(None);
        }
        let all_unknown =
            self.failures.iter().all(|failure| failure.class == FailureClass::Unknown);
        if !hopeless && all_unknown && baseline_serves(record) {
            // What their failures have in common is not known; the environment is not to blame.
            let notice = format!(
                "{} launches in a row failed for a reason that is not known, but the last launch of the baseline served: the sweep continues",
                self.failures.len()
            );
            return Ok((!std::mem::replace(&mut self.is_reported, true)).then_some(notice));
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

/// Whether a configuration varies something that names this path.
fn names(configuration: &Configuration, path: &str) -> bool {
    let flags = configuration.varied.values().map(ToString::to_string);
    let mut values = flags.chain(configuration.environment.values().cloned());
    !path.is_empty() && values.any(|value| value.contains(path))
}

/// Whether the baseline served when it was last launched. The grid's strategy
/// launches it before all others; where a grid names none, any configuration
/// that served is as good.
fn baseline_serves(record: &SweepRecord) -> bool {
    let serves = |launch: &LaunchRecord| launch.facts.is_some();
    let baseline = record.manifest.baseline.as_deref().and_then(|name| {
        record.manifest.configurations.iter().find(|known| known.answers_to(name))
    });
    let ended = || {
        let settled = |outcome: &LaunchOutcome| {
            outcome.is_settled() && !matches!(outcome, LaunchOutcome::Skipped { .. })
        };
        record.launches.iter().filter(move |launch| launch.outcome.as_ref().is_some_and(settled))
    };
    match baseline {
        Some(baseline) => {
            ended().rfind(|launch| launch.configuration == baseline.name).is_some_and(serves)
        }
        None => ended().any(serves),
    }
}

#[cfg(test)]
#[path = "relaunch_tests.rs"]
mod tests;
