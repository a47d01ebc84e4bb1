//! What it means that a cluster took launches: a loss costs its configuration nothing, and what
//! it lacks is launched again. Where it is lost in the same way again and again, either the
//! configuration is the reason after all, or nothing works, and the sweep stops. Pure.

use super::SweepError;
use super::trial::Trial;
use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use crate::history::loss::Loss;
use crate::history::record::{LaunchRecord, SweepRecord};

/// Launches in a row that came to nothing before a sweep stops.
const IN_A_ROW: usize = 3;

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
        Loss::TimedOut => FailureClass::Timeout,
        Loss::OutOfMemory => FailureClass::HostMemory,
        _ => return outcome,
    };
    let is_barren = |it: &&LaunchRecord| it.measurements.iter().all(|one| one.repeat == 0);
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

/// Why nothing more is launched, where the last launches that ended all came to nothing for
/// reasons that the next one would meet, too.
pub(super) fn stops(record: &SweepRecord) -> Option<SweepError> {
    let mut ended: Vec<&LaunchRecord> =
        record.launches.iter().filter(|it| it.outcome.is_some()).collect();
    ended.sort_by_key(|it| it.ended_at);
    let last = ended.get(ended.len().checked_sub(IN_A_ROW)?..)?;
    let is_hopeless = |it: &&LaunchRecord| {
        let by_loss = matches!(
            it.outcome,
            Some(LaunchOutcome::Lost {
                loss: Loss::NoResult | Loss::NodeUnable | Loss::Cancelled,
                ..
            })
        );
        by_loss && it.measurements.is_empty()
    };
    let Some(LaunchOutcome::Lost { message, .. }) = &last.last()?.outcome else { return None };
    last.iter().all(is_hopeless).then(|| SweepError::Stopped {
        message: format!(
            "{IN_A_ROW} launches in a row were lost, the last so: {message}. `vllm-grid resume` \
             continues when that is put right"
        ),
        log_lines: Vec::new(),
        environment: true,
    })
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
        assert_eq!(of(Some(Loss::TimedOut), Loss::TimedOut), Some(FailureClass::Timeout));
        assert_eq!(of(Some(Loss::NodeFailed), Loss::TimedOut), None);
        assert_eq!(of(Some(Loss::OutOfMemory), Loss::OutOfMemory), Some(FailureClass::HostMemory));
        for other in [Loss::NodeFailed, Loss::Preempted, Loss::Cancelled, Loss::Requeued] {
            assert_eq!(of(Some(other), other), None, "{other:?}");
        }
    }

    #[test]
    fn three_launches_in_a_row_without_a_result_stop_the_sweep_and_preemption_never_does() {
        let of = |losses: &[Loss]| {
            let outcomes: Vec<_> = losses.iter().map(|it| Some(lost(*it))).collect();
            stops(&record(&outcomes)).is_some()
        };
        assert!(of(&[Loss::NoResult, Loss::Cancelled, Loss::NoResult]));
        assert!(!of(&[Loss::NoResult, Loss::NoResult]));
        assert!(!of(&[Loss::Preempted; 9]));
        assert!(!of(&[Loss::NoResult, Loss::NoResult, Loss::NodeFailed]));
        let between = [Some(lost(Loss::NoResult)), Some(LaunchOutcome::Measured)];
        let all = [&between[..], &between[..], &between[..]].concat();
        assert!(stops(&record(&all)).is_none());
    }
}
