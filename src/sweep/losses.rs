//! What it means that a cluster took launches: a loss costs its configuration nothing, and what
//! it lacks is launched again, after a pause that grows with each loss. Where it is lost in the
//! same way again and again, either the configuration is the reason after all, or nothing works,
//! and the sweep stops. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::SweepError;
use super::trial::Trial;
use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use crate::history::loss::Loss;
use crate::history::record::{LaunchRecord, SweepRecord};

/// Launches in a row that came to nothing, for reasons that the next one would meet, before a
/// sweep stops.
const IN_A_ROW: usize = 3;
/// Losses in a row, for whatever reason, before a sweep stops.
const WITHOUT_PROGRESS: usize = 10;
/// Seconds before the next launch after so many losses of a class in a row; the last one is
/// repeated.
const PAUSES: [u64; 7] = [0, 30, 60, 120, 240, 480, 600];

/// The outcome of a launch as it counts: one that is lost to its limit of time, or of memory,
/// for the second time and finished nothing is its configuration's failure.
pub(super) fn counted(
    record: &SweepRecord,
    trial: &Trial,
    launch: u32,
    outcome: LaunchOutcome,
) -> LaunchOutcome {
    let LaunchOutcome::Lost { loss, message } = &outcome else { return outcome };
    let class = match loss {
        Loss::TimedOut => FailureClass::TimeLimit,
        Loss::OutOfMemory => FailureClass::HostMemory,
        _ => return outcome,
    };
    // One that did not even begin on its node says nothing of its configuration.
    let is_barren =
        |it: &&LaunchRecord| it.host.is_some() && it.measurements.iter().all(|one| one.repeat == 0);
    let mut of_trial = record.launches.iter().rev().filter(|it| it.trial == trial.number);
    let is_own = of_trial.next().filter(is_barren).is_some_and(|it| it.launch == launch);
    let was_lost = |it: &LaunchRecord| matches!(&it.outcome, Some(LaunchOutcome::Lost { loss: before, .. }) if before == loss);
    if !is_own || !of_trial.next().filter(is_barren).is_some_and(was_lost) {
        return outcome;
    }
    let advice = match loss {
        Loss::TimedOut => "raise `time` of the grid's `hosts`",
        _ => "give jobs more memory by `options` of the grid's `hosts`, such as --mem",
    };
    let message = format!("for the second time {message}: {advice}");
    LaunchOutcome::Failed(LaunchFailure::new(class, message))
}

/// Launches of a session that a cluster took, one after the other, since the last one that
/// finished or kept a repeat.
#[derive(Debug, Default)]
pub(super) struct InARow {
    /// Those that were lost for reasons that the next one would meet, too.
    hopeless: usize,
    /// All of them, by class. Launches that were in flight at one loss are lost to the same
    /// cause as a rule: they count as one.
    by_class: BTreeMap<Loss, usize>,
    /// The launch that was begun last when the last one of these was lost.
    begun: u32,
    /// The same of the last one that somebody cancelled.
    cancelled: u32,
    /// Nodes that were refused meanwhile: what they take counts once for each.
    refused: BTreeSet<String>,
}

impl InARow {
    /// A launch of `record` ended: how long nothing is to be launched now.
    ///
    /// # Errors
    /// When nothing more is to be launched.
    pub(super) fn after(
        &mut self,
        record: &SweepRecord,
        launch: u32,
    ) -> Result<Duration, SweepError> {
        let Some(ended) = record.launches.iter().rfind(|it| it.launch == launch) else {
            return Ok(Duration::ZERO);
        };
        match &ended.outcome {
            Some(LaunchOutcome::Lost { loss, message }) if !ended.has_kept() => {
                let begun = record.launches.iter().map(|it| it.launch).max().unwrap_or(launch);
                let refused = ended.refused_node().map(|(node, _)| node);
                // What the cluster does to one is no matter of nodes.
                let is_of_node = refused.is_some() || loss.is_of_node();
                let goes_on = is_of_node && self.goes_on(record, ended, refused);
                self.lost(*loss, launch, begun, message, goes_on)
            }
            Some(LaunchOutcome::Interrupted | LaunchOutcome::Skipped { .. }) | None => {
                Ok(Duration::ZERO)
            }
            Some(_) => {
                *self = Self::default();
                Ok(Duration::ZERO)
            }
        }
    }

    /// Whether the sweep goes on although a node took a launch: it is not used again, and either
    /// did so before, or another one makes a launch, or made one since this one began.
    fn goes_on(
        &mut self,
        record: &SweepRecord,
        lost: &LaunchRecord,
        refused: Option<&str>,
    ) -> bool {
        let is_new = refused.is_none_or(|node| self.refused.insert(node.to_owned()));
        let is_fine = |it: &&LaunchRecord| {
            it.machine.is_some() && it.host.as_ref().is_some_and(|it| !self.refused.contains(it))
        };
        let makes =
            |it: &LaunchRecord| it.runs_on() || (it.has_kept() && it.ended_at >= lost.started_at);
        !is_new || record.launches.iter().filter(is_fine).any(makes)
    }

    /// `goes_on`: whether it is only a node's, and others make launches.
    fn lost(
        &mut self,
        loss: Loss,
        launch: u32,
        begun: u32,
        message: &str,
        goes_on: bool,
    ) -> Result<Duration, SweepError> {
        // Who cancels all that is in flight does it once.
        if loss == Loss::Cancelled && launch <= self.cancelled {
            return Ok(Duration::ZERO);
        }
        if loss == Loss::Cancelled {
            self.cancelled = begun;
        }
        if goes_on {
            return Ok(Duration::ZERO);
        }
        if matches!(loss, Loss::NoResult | Loss::NodeUnable | Loss::Cancelled) {
            self.hopeless += 1;
            if self.hopeless == IN_A_ROW {
                return Err(stopped(&format!("{IN_A_ROW} launches in a row were lost"), message));
            }
        }
        // The node is not used again: the next launch goes elsewhere, or there is none.
        if loss.is_of_node() || launch <= self.begun {
            return Ok(Duration::ZERO);
        }
        self.begun = begun;
        let of_class = self.by_class.entry(loss).or_default();
        *of_class += 1;
        let pause = PAUSES[(*of_class - 1).min(PAUSES.len() - 1)];
        if self.by_class.values().sum::<usize>() < WITHOUT_PROGRESS {
            return Ok(Duration::from_secs(pause));
        }
        let what =
            format!("{WITHOUT_PROGRESS} launches in a row were lost, and none finished a repeat");
        Err(stopped(&what, message))
    }
}

fn stopped(what: &str, last: &str) -> SweepError {
    SweepError::Stopped {
        message: format!(
            "{what}, the last so: {last}. `vllm-grid resume` continues when that is put right"
        ),
        log_lines: Vec::new(),
        environment: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Purpose;
    use crate::sweep::fakes::manifest;

    fn lost(loss: Loss) -> LaunchOutcome {
        LaunchOutcome::Lost { loss, message: loss.as_str().to_owned() }
    }

    fn record(outcomes: &[Option<LaunchOutcome>]) -> SweepRecord {
        let mut record = SweepRecord::new(manifest(1, 1, 1));
        for (at, outcome) in outcomes.iter().enumerate() {
            record.launches.push(LaunchRecord {
                launch: at as u32 + 1,
                configuration: "c0".to_owned(),
                host: Some("n1".to_owned()),
                outcome: outcome.clone(),
                ended_at: jiff::Timestamp::from_second(i64::from(at as u32)).ok(),
                ..LaunchRecord::default()
            });
        }
        record
    }

    #[test]
    fn a_second_loss_to_the_same_limit_is_the_configurations_and_others_never_are() {
        let trial = Trial { number: 0, configuration: 0, purpose: Purpose::default(), repeats: 1 };
        let of = |before: Option<Loss>, now: Loss| {
            let mut outcomes = Vec::from_iter(before.map(|it| Some(lost(it))));
            outcomes.push(None);
            let record = record(&outcomes);
            match counted(&record, &trial, outcomes.len() as u32, lost(now)) {
                LaunchOutcome::Failed(failure) => Some(failure.class),
                _ => None,
            }
        };
        assert_eq!(of(None, Loss::TimedOut), None);
        assert_eq!(of(Some(Loss::TimedOut), Loss::TimedOut), Some(FailureClass::TimeLimit));
        assert_eq!(of(Some(Loss::NodeFailed), Loss::TimedOut), None);
        assert_eq!(of(Some(Loss::OutOfMemory), Loss::OutOfMemory), Some(FailureClass::HostMemory));
        for other in [Loss::NodeFailed, Loss::Preempted, Loss::Cancelled, Loss::Requeued] {
            assert_eq!(of(Some(other), other), None, "{other:?}");
        }
    }

    #[test]
    fn three_launches_in_a_row_without_a_result_stop_the_sweep_and_ten_lost_in_whatever_way() {
        let stops = |outcomes: &[LaunchOutcome]| {
            let all: Vec<_> = outcomes.iter().cloned().map(Some).collect();
            let mut row = InARow::default();
            (1..=all.len()).any(|until| row.after(&record(&all[..until]), until as u32).is_err())
        };
        let of = |losses: &[Loss]| stops(&losses.iter().map(|it| lost(*it)).collect::<Vec<_>>());
        assert!(of(&[Loss::NoResult, Loss::Cancelled, Loss::NoResult]));
        assert!(!of(&[Loss::NoResult, Loss::NoResult]));
        assert!(!of(&[Loss::Preempted; 9]));
        assert!(of(&[Loss::Preempted; 10]));
        assert!(of(&[[Loss::Preempted; 5], [Loss::NodeFailed; 5]].concat()));
        let progress = [&vec![lost(Loss::Preempted); 9][..], &[LaunchOutcome::Measured]].concat();
        assert!(!stops(&[&progress[..], &progress[..]].concat()));
        assert!(of(&[Loss::NoResult, Loss::NodeFailed, Loss::NoResult, Loss::NoResult]));
        let between = [lost(Loss::NoResult), LaunchOutcome::Measured];
        assert!(!stops(&[&between[..], &between[..], &between[..]].concat()));
    }

    #[test]
    fn the_pause_grows_with_each_loss_of_a_class_until_a_launch_finishes() {
        let (preempted, failed) = (lost(Loss::Preempted), lost(Loss::NodeFailed));
        let outcomes = [
            (&preempted, 0),
            (&preempted, 30),
            (&failed, 0),
            (&preempted, 60),
            (&LaunchOutcome::Measured, 0),
            (&preempted, 0),
            (&preempted, 30),
        ];
        let (mut row, mut so_far) = (InARow::default(), Vec::new());
        for (at, (outcome, pause)) in outcomes.into_iter().enumerate() {
            so_far.push(Some(outcome.clone()));
            let seconds = row.after(&record(&so_far), at as u32 + 1).expect("it goes on").as_secs();
            assert_eq!(seconds, pause, "{at}");
        }
    }

    #[test]
    fn what_was_in_flight_at_one_loss_is_lost_with_it_and_counts_once() {
        let mut row = InARow::default();
        let wave = record(&vec![Some(lost(Loss::Preempted)); 16]);
        for launch in 1..=16 {
            assert_eq!(row.after(&wave, launch).expect("one cause"), Duration::ZERO);
        }
        let next = record(&vec![Some(lost(Loss::Preempted)); 17]);
        assert_eq!(row.after(&next, 17).expect("it goes on"), Duration::from_secs(30));
    }
}
