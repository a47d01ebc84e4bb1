//! Configurations whose launch has no end yet, or was interrupted: what the report says of them.

use vllm_grid::history::extent::{Extent, State};
use vllm_grid::history::journal::REFUSED;
use vllm_grid::history::launch::{FailureClass, LaunchOutcome};
use vllm_grid::history::record::SweepRecord;
use vllm_grid::results::ranking::rank;
use vllm_grid::results::reading::next::{Change, NextStep};
use vllm_grid::results::reading::{Place, Reading};

use crate::results::builder::{Building, late, sweep};
use crate::results::reading::{block_of, extent, place, words};

/// A launch that has no end has not failed, whatever it and those before it gave so far.
#[test]
fn a_launch_without_an_end_is_under_way_or_was_interrupted_and_no_failure() {
    let open = |record: SweepRecord, outcome| {
        let mut record = record.launch("fast", &[]);
        let last = record.launches.last_mut().unwrap();
        last.outcome = outcome;
        record
    };
    let text = |record: &SweepRecord, state| {
        let place = Place { extent: Some(extent(state)), exported: false, ..place() };
        let text = words(&block_of(record, &rank(record), &place));
        assert!(!text.contains("results.csv"), "{text}");
        text
    };
    let begun = sweep(&["slow", "fast"]).launch("slow", &[100.0, 101.0]);
    let before = || begun.clone().failed("fast", FailureClass::EngineDied, "it died");
    let void = open(begun.clone(), None).measurement(late(1));
    for record in [open(begun.clone(), None), open(before(), None), void] {
        let runs = text(&record, State::Running);
        assert!(runs.contains("The sweep is running. Running, not finished: fast."), "{runs}");
        let killed = text(&record, State::Interrupted);
        assert!(killed.contains("was interrupted. Interrupted, not finished: fast."), "{killed}");
        for text in [runs, killed] {
            assert!(!text.contains("FAILED"), "{text}");
        }
    }
    // Interrupted before, and another one is under way.
    let stopped = open(begun.clone(), Some(LaunchOutcome::Interrupted));
    let runs = text(&stopped, State::Running);
    assert!(runs.contains("Interrupted, not finished: fast."), "{runs}");
    // It has an end, and gave nothing: that is a failure, and its tables are named if they exist.
    let over = open(begun, Some(LaunchOutcome::Measured)).measurement(late(1));
    let failed = text(&over, State::Running);
    assert!(failed.contains("FAILED"), "{failed}");
    assert!(block_of(&over, &rank(&over), &place()).contains("results.csv"));
}

/// Launches that run at once, as jobs of a cluster do: all of them are under way, whichever was
/// begun last. Once their controller is dead, nobody knows whether the jobs run.
#[test]
fn launches_that_run_at_once_are_all_under_way_and_jobs_outlive_their_controller() {
    let mut record = sweep(&["slow", "fast", "third"]).launch("slow", &[100.0, 101.0]);
    for (name, job) in [("fast", "12"), ("third", "13")] {
        record = record.launch(name, &[]);
        let last = record.launches.last_mut().unwrap();
        (last.outcome, last.job) = (None, Some(job.to_owned()));
    }
    let text = |written: bool| {
        let lines = [];
        let extent = Extent::of(&record, &lines, &jiff::ZonedDateTime::now(), || written);
        let place = Place { extent: Some(extent), ..place() };
        words(&block_of(&record, &rank(&record), &place))
    };
    let runs = text(true);
    assert!(runs.contains("The sweep is running. Running, not finished: fast, third."), "{runs}");
    assert!(!runs.contains("nterrupted") && !runs.contains("Nobody follows"), "{runs}");
    let killed = text(false);
    assert!(killed.contains("was interrupted. Nobody follows jobs 12, 13, which may"), "{killed}");
    assert!(!killed.contains("not finished"), "{killed}");
}

/// On a cluster the baseline may be the last to be measured: nothing speaks against it until then.
#[test]
fn a_baseline_that_was_not_measured_so_far_is_kept() {
    let begun = sweep(&["plain", "fast", "slow"])
        .baseline("plain")
        .launch("fast", &[100.0])
        .launch("slow", &[200.0]);
    let mut open = begun.clone().launch("plain", &[]);
    open.launches.last_mut().unwrap().outcome = Some(LaunchOutcome::Interrupted);
    for record in [begun.clone(), open] {
        let text = words(&block_of(&record, &rank(&record), &place()));
        assert!(text.contains("USE keep plain candidate: fast"), "{text}");
        assert!(text.contains("No gain can be stated: plain has no rank."), "{text}");
    }
    // What failed for reasons of its own is no advice.
    let failed = begun.failed("plain", FailureClass::EngineDied, "it died");
    let text = words(&block_of(&failed, &rank(&failed), &place()));
    assert!(text.contains("USE fast"), "{text}");
}

/// A run keeps what its grid asks of a cluster: what that refuses, or a limit of time that ends
/// each launch, would stop a resumed sweep again.
#[test]
fn a_sweep_that_would_stop_again_is_not_to_be_resumed() {
    let next = |record: &SweepRecord, reason: &str| {
        let extent = extent(State::Stopped { reason: reason.to_owned() });
        let place = Place { extent: Some(extent), exported: false, ..place() };
        words(&block_of(record, &rank(record), &place))
    };
    let none = sweep(&["slow", "fast"]);
    let refused = format!("{REFUSED}: sbatch: invalid partition");
    let text = next(&none, &refused);
    assert!(text.contains("Correct what the grid's `hosts` ask for"), "{text}");
    assert!(!text.contains("vllm-grid resume") && text.contains("vllm-grid sweep"), "{text}");
    assert!(next(&none, "the disk is full").contains("vllm-grid resume"));
    // It took launches before: the cluster is what changed.
    let some = none.clone().launch("slow", &[100.0, 101.0]);
    assert!(next(&some, &refused).contains("vllm-grid resume"));
}

/// What ran into its limit of time is not made again, as the run keeps its limit; what was not
/// launched so far is.
#[test]
fn a_limit_of_time_is_to_be_raised_where_no_continuation_can_show_a_gain() {
    let next = |record: &SweepRecord| {
        let place = Place { extent: Some(extent(State::Interrupted)), exported: false, ..place() };
        match &Reading::of(&rank(record), &record.manifest, &place).next[..] {
            [NextStep::Resume { .. }] => false,
            [NextStep::Change { change: Change::Reason { text } }, NextStep::Sweep { .. }]
                if text == "raise `hosts: slurm: time`" =>
            {
                true
            }
            other => panic!("{other:?}"),
        }
    };
    let late = |record: SweepRecord, name: &str| {
        record.failed(name, FailureClass::TimeLimit, "for the second time")
    };
    let none = sweep(&["slow", "fast", "third"]);
    // Ctrl-C while the second boots, and the third was never launched.
    let mut early = late(none.clone(), "slow").launch("fast", &[]);
    early.launches.last_mut().unwrap().outcome = Some(LaunchOutcome::Interrupted);
    assert!(!next(&early));
    let two = late(late(none.clone(), "slow"), "fast");
    assert!(!next(&two), "the third may be measured");
    assert!(next(&late(two, "third")), "nothing is left");
    assert!(!next(&late(none.clone().launch("fast", &[100.0]), "slow")), "others were measured");
    // Without the baseline's figures no other one shows a gain.
    let named = none.baseline("slow");
    assert!(next(&late(named.clone(), "slow")));
    assert!(next(&late(named.clone().launch("fast", &[100.0]), "slow")));
    assert!(!next(&late(named.clone(), "fast")));
    assert!(!next(&late(named.launch("slow", &[100.0]), "fast")));
}
