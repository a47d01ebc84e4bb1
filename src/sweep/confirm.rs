//! Which confirmation a session works on: a new one, one that is to be continued, or none,
//! since what was asked for is known. Pure.

use std::collections::BTreeSet;

use super::relaunch;
use super::scope::Scope;
use crate::history::confirmation::{Confirmation, ConfirmationRecord};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::strategy::confirm::Ended;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Name of the configuration to confirm.
    pub candidate: String,
    /// Name of the one that it is compared with.
    pub baseline: String,
    /// The interval's half-width is to be at most half of this fraction.
    pub claim: f64,
    /// Kept repeats of a new one's launches.
    pub repeats: u32,
    /// Seconds that the session may take.
    pub budget_seconds: Option<u64>,
    /// Whether to begin a new one in any case.
    pub again: bool,
    /// Whether the grid asks, and no person: its budget is what is left of the grid's.
    pub of_grid: bool,
}

/// What a session is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Session {
    /// Begin a confirmation.
    Begin(Confirmation),
    /// Continue one.
    Continue(Confirmation),
    /// Nothing: the one of this number is over, by what is asked for now.
    Over {
        /// Its number.
        number: u32,
        /// Why it is over.
        ended: Ended,
    },
}

/// Trials of a confirmation that need no further launch: one that was stopped behind its last
/// repeat is none.
pub fn settled(record: &SweepRecord, number: u32) -> BTreeSet<u32> {
    let own = |it: &LaunchRecord| it.confirmation == Some(number);
    let undone = relaunch::undone(record, own);
    let all = record.launches.iter().filter(|it| own(it)).map(|it| it.trial);
    all.filter(|trial| undone.iter().all(|it| it.number != *trial)).collect()
}

/// What to do for what is asked. The last confirmation of the same two configurations is
/// continued, also by another claim, until it is over by that claim.
pub fn session(record: &SweepRecord, asked: &Asked) -> Session {
    let number = record.next_confirmation();
    let new = Confirmation {
        number,
        candidate: asked.candidate.clone(),
        baseline: asked.baseline.clone(),
        claim: asked.claim,
        seed: record.manifest.strategy.seed().wrapping_add(u64::from(number)),
        repeats: asked.repeats,
        budget_seconds: asked.budget_seconds,
        of_grid: asked.of_grid,
    };
    let known = record.confirmations.iter().rfind(|it| it.asked.is_same_pair(&new));
    let Some(known) = known.filter(|_| !asked.again) else { return Session::Begin(new) };
    let continued = Confirmation {
        claim: asked.claim,
        budget_seconds: asked.budget_seconds,
        of_grid: asked.of_grid,
        ..known.asked.clone()
    };
    match ended(record, &continued) {
        // What is over by this claim and not journalled so is continued, without a launch:
        // the journal then has its end.
        Some(ended) if known.ended == Some(ended) && is_met(known, asked.claim) => {
            Session::Over { number: continued.number, ended }
        }
        _ => Session::Continue(continued),
    }
}

/// Whether what a confirmation was last asked for is at least what is asked for now.
fn is_met(known: &ConfirmationRecord, claim: f64) -> bool {
    known.asked.claim <= claim + 1e-9
}

/// Why a confirmation is over by its claim; `None` while launches are wanted.
pub fn ended(record: &SweepRecord, confirmation: &Confirmation) -> Option<Ended> {
    Scope::confirmation(record, confirmation.clone())?.ended(record)
}

/// Why a configuration cannot be launched for a confirmation; `None` where it can.
pub fn would_fail(record: &SweepRecord, name: &str) -> Option<String> {
    let mut configurations = record.manifest.configurations.iter();
    let index = configurations.position(|known| known.name == name)?;
    Some(format!("`{name}` {}", relaunch::skip_reason(record, index)?))
}

#[cfg(test)]
mod tests {
    use super::super::fakes::manifest;
    use super::*;
    use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};

    fn asked(candidate: &str, claim: f64) -> Asked {
        Asked {
            candidate: candidate.to_owned(),
            baseline: "c0".to_owned(),
            claim,
            repeats: 3,
            budget_seconds: Some(60),
            again: false,
            of_grid: false,
        }
    }

    fn record(confirmations: Vec<ConfirmationRecord>) -> SweepRecord {
        SweepRecord { confirmations, ..SweepRecord::new(manifest(3, 1, 1)) }
    }

    #[test]
    fn a_trial_that_was_stopped_with_all_its_repeats_is_settled() {
        let repeat = |repeat: u32| crate::metric::Measurement {
            workload: "kv-cache".to_owned(),
            case: manifest(1, 1, 1).workloads[0].cases()[0].clone(),
            repeat,
            status: crate::metric::Status::Ok,
            reason: None,
            metrics: std::collections::BTreeMap::new(),
            metric_reasons: crate::metric::MetricReasons::new(),
        };
        let stopped = |trial: u32, repeats: u32| LaunchRecord {
            launch: trial + 1,
            trial,
            configuration: "c1".to_owned(),
            confirmation: Some(1),
            repeats: Some(2),
            measurements: (0..=repeats).map(repeat).collect(),
            outcome: Some(LaunchOutcome::Interrupted),
            ..LaunchRecord::default()
        };
        let mut record = record(Vec::new());
        record.launches = vec![stopped(0, 2), stopped(1, 1)];
        assert_eq!(settled(&record, 1), BTreeSet::from([0]));
        assert_eq!(settled(&record, 2), BTreeSet::new());
    }

    /// One with two repeats, which failed three times or was stopped.
    fn known(ended: Option<Ended>) -> SweepRecord {
        let Session::Begin(began) = session(&record(Vec::new()), &asked("c1", 0.1)) else {
            panic!("nothing is known")
        };
        let began = Confirmation { repeats: 2, ..began };
        let at = jiff::Timestamp::UNIX_EPOCH;
        record(vec![ConfirmationRecord {
            asked: began,
            ended,
            of_grid: false,
            by_person: Vec::new(),
            earlier: None,
            open: false,
            session: (at, at),
        }])
    }

    fn failed(trial: u32, confirmation: Option<u32>, class: FailureClass) -> LaunchRecord {
        LaunchRecord {
            launch: trial % 1000 + 1,
            trial,
            configuration: "c1".to_owned(),
            confirmation,
            outcome: Some(LaunchOutcome::Failed(LaunchFailure::new(class, "it failed"))),
            ..LaunchRecord::default()
        }
    }

    #[test]
    fn what_was_stopped_is_continued_with_what_is_asked_for_now() {
        let Session::Continue(continued) = session(&known(None), &asked("c1", 0.2)) else {
            panic!("it is continued")
        };
        assert_eq!((continued.number, continued.repeats, continued.claim), (1, 2, 0.2));
        assert_eq!(continued.budget_seconds, Some(60));
        let spent = session(&known(Some(Ended::Budget)), &asked("c1", 0.1));
        assert!(matches!(spent, Session::Continue(_)), "a new budget: {spent:?}");
    }

    #[test]
    fn another_pair_and_what_is_wanted_again_begin_anew() {
        for asked in [asked("c2", 0.1), Asked { again: true, ..asked("c1", 0.1) }] {
            let Session::Begin(begun) = session(&known(None), &asked) else { panic!("{asked:?}") };
            assert_eq!((begun.number, begun.first_trial(), begun.repeats), (2, 2_000_000, 3));
        }
    }

    #[test]
    fn what_is_over_by_its_rule_is_not_repeated() {
        let mut record = known(Some(Ended::Failing));
        for trial in [1_000_000, 1_000_002, 1_000_004] {
            record.launches.push(failed(trial, Some(1), FailureClass::Timeout));
        }
        let over = session(&record, &asked("c1", 0.1));
        assert_eq!(over, Session::Over { number: 1, ended: Ended::Failing });
        let narrower = session(&record, &asked("c1", 0.05));
        assert!(matches!(narrower, Session::Continue(_)), "its end is journalled: {narrower:?}");
        record.confirmations[0].ended = None;
        let killed = session(&record, &asked("c1", 0.1));
        assert!(matches!(killed, Session::Continue(_)), "its end is journalled: {killed:?}");
    }

    #[test]
    fn what_failed_in_a_way_that_repeats_itself_is_known_before() {
        let mut record = record(Vec::new());
        assert_eq!(would_fail(&record, "c1"), None);
        record.launches.push(failed(0, None, FailureClass::OutOfMemory));
        assert_eq!(would_fail(&record, "c1"), None, "others may have used the memory");
        record.launches.push(failed(1, None, FailureClass::OutOfMemory));
        let reason = would_fail(&record, "c1").expect("it would fail");
        assert_eq!(reason, "`c1` failed in an earlier launch, and would fail so again");
    }
}
