use super::super::fakes::manifest;
use super::*;
use crate::history::launch::LaunchFacts;
use crate::metric::{Measurement, Status};
use crate::strategy::Purpose;

fn failure(class: FailureClass) -> LaunchFailure {
    LaunchFailure::new(class, "it failed")
}

fn record(launches: Vec<LaunchRecord>) -> SweepRecord {
    SweepRecord { launches, ..SweepRecord::new(manifest(3, 2, 2)) }
}

fn launch(trial: u32, configuration: &str, outcome: LaunchOutcome) -> LaunchRecord {
    LaunchRecord {
        launch: trial + 1,
        trial,
        configuration: configuration.to_owned(),
        outcome: Some(outcome),
        ..LaunchRecord::default()
    }
}

#[test]
fn a_boot_is_tried_again_only_where_it_can_end_otherwise() {
    use FailureClass::{
        BadFlag, CompileCache, Credentials, EngineDied, Environment, GpuMemoryChanged, Killed,
        MemoryNotFree, NoProgress, OutOfMemory, Timeout,
    };
    let passing = [MemoryNotFree, GpuMemoryChanged, CompileCache, EngineDied, Killed, Environment];
    for class in passing {
        assert!(boots_again(&failure(class)), "{class:?}");
        assert!(!boots_again(&LaunchFailure { cancelled: true, ..failure(class) }), "{class:?}");
    }
    for class in [BadFlag, OutOfMemory, Credentials, NoProgress, Timeout] {
        assert!(!boots_again(&failure(class)), "{class:?}");
    }
    assert!(!boots_again(&missing("/models/m")), "it does not appear by itself");
    assert!(boots_again(&missing("example/m")), "the hub may answer");
}

fn missing(path: &str) -> LaunchFailure {
    LaunchFailure { missing_path: Some(path.to_owned()), ..failure(FailureClass::Environment) }
}

#[test]
fn the_rest_is_measured_once_and_only_after_a_server_that_was_ready() {
    let lost = || LaunchOutcome::Failed(failure(FailureClass::EngineDied));
    let ready =
        |launch: LaunchRecord| LaunchRecord { facts: Some(LaunchFacts::default()), ..launch };
    assert!(measures_rest(&record(vec![ready(launch(0, "c0", lost()))]), 0, 2));
    assert!(!measures_rest(&record(vec![launch(0, "c0", lost())]), 0, 2), "never ready");
    let twice = vec![ready(launch(0, "c0", lost())), ready(launch(0, "c0", lost()))];
    assert!(!measures_rest(&record(twice), 0, 2), "for the second time");
    let own = LaunchOutcome::Failed(failure(FailureClass::OutOfMemory));
    assert!(!measures_rest(&record(vec![ready(launch(0, "c0", own))]), 0, 2), "its own");
    let late = LaunchOutcome::Failed(failure(FailureClass::TimeLimit));
    let late = record(vec![ready(launch(0, "c0", late))]);
    assert!(!measures_rest(&late, 0, 2), "the run keeps its limit of time");
    let stopped = launch(0, "c0", LaunchOutcome::Interrupted);
    let after_a_stop = vec![ready(stopped), ready(launch(0, "c0", lost()))];
    assert!(measures_rest(&record(after_a_stop), 0, 2), "a stop is not counted");
    assert!(!measures_rest(&record(Vec::new()), 0, 2));
    let mut in_its_last_repeat = ready(launch(0, "c0", lost()));
    in_its_last_repeat.measurements = vec![repeat(1, Status::Ok), repeat(2, Status::Failed)];
    assert!(!measures_rest(&record(vec![in_its_last_repeat]), 0, 2), "nothing is lacking");
}

fn repeat(repeat: u32, status: Status) -> Measurement {
    Measurement {
        workload: "kv-cache".to_owned(),
        case: manifest(1, 1, 1).workloads[0].cases()[0].clone(),
        repeat,
        status,
        reason: None,
        metrics: std::collections::BTreeMap::new(),
        metric_reasons: crate::metric::MetricReasons::new(),
    }
}

#[test]
fn a_later_session_launches_again_what_was_interrupted_or_never_measured_again() {
    let ready =
        |launch: LaunchRecord| LaunchRecord { facts: Some(LaunchFacts::default()), ..launch };
    let mut stopped = launch(0, "c2", LaunchOutcome::Interrupted);
    (stopped.purpose, stopped.repeats) = (Purpose::Confirm, Some(7));
    let lost = LaunchOutcome::Failed(failure(FailureClass::EngineDied));
    let mut whole = ready(launch(2, "c1", LaunchOutcome::Interrupted));
    whole.measurements = vec![repeat(1, Status::Ok), repeat(2, Status::Failed)];
    let mut done = ready(launch(3, "c1", LaunchOutcome::Measured));
    done.measurements = vec![repeat(1, Status::Ok), repeat(2, Status::Ok)];
    let never_ready = launch(4, "c1", lost.clone());
    let skipped =
        launch(5, "c1", LaunchOutcome::Skipped { reason: String::new(), by_strategy: true });
    // Its session was killed, and nobody noted the end yet.
    let killed = LaunchRecord { outcome: None, ..ready(launch(6, "c1", lost.clone())) };
    let lost = ready(launch(1, "c0", lost));
    let all = vec![stopped, lost, whole, done, never_ready, skipped, killed];
    assert_eq!(
        Vec::from(undone(&record(all), |_| true)),
        [
            Trial { number: 0, configuration: 2, purpose: Purpose::Confirm, repeats: 7 },
            // An older journal: the repeats are the strategy's.
            Trial { number: 1, configuration: 0, purpose: Purpose::Screen, repeats: 2 },
            Trial { number: 6, configuration: 1, purpose: Purpose::Screen, repeats: 2 },
        ]
    );
}

#[test]
fn void_repeats_are_measured_again() {
    let mut measured = launch(0, "c0", LaunchOutcome::Measured);
    measured.measurements = vec![repeat(1, Status::Ok), repeat(2, Status::Void)];
    assert!(measures_rest(&record(vec![measured.clone()]), 0, 2));
    measured.measurements[1].status = Status::Failed;
    assert!(!measures_rest(&record(vec![measured]), 0, 2), "a failed repeat is a result");
}

#[test]
fn an_infeasible_configuration_is_launched_once_and_then_skipped_with_a_reason() {
    let bad = LaunchOutcome::Failed(failure(FailureClass::BadFlag));
    let one = record(vec![launch(0, "c1", bad)]);
    let reason = skip_reason(&one, 1).expect("it would fail again");
    assert_eq!(reason, "failed in an earlier launch, and would fail so again");
    assert_eq!(skip_reason(&one, 0), None);
    let died = record(vec![launch(0, "c1", LaunchOutcome::Failed(failure(FailureClass::Killed)))]);
    assert_eq!(skip_reason(&died, 1), None, "it may end otherwise");
}

#[test]
fn what_asks_for_more_than_what_did_not_fit_twice_is_skipped() {
    let full = || LaunchOutcome::Failed(failure(FailureClass::OutOfMemory));
    let once = record(vec![launch(0, "c1", full())]);
    assert_eq!((0..3).find_map(|at| skip_reason(&once, at)), None, "others may have used it");
    let twice = record(vec![launch(0, "c1", full()), launch(1, "c1", full())]);
    assert_eq!(skip_reason(&twice, 0), None, "fewer sequences may fit");
    let reason = skip_reason(&twice, 2).expect("more sequences need more");
    assert_eq!(reason, "`c1` failed (out_of_memory), and this one would fail so, too");
}

#[test]
fn what_was_skipped_is_launched_after_all_once_a_success_revokes_the_reason() {
    let full = || LaunchOutcome::Failed(failure(FailureClass::OutOfMemory));
    let by_rule = LaunchOutcome::Skipped { reason: String::new(), by_strategy: false };
    let chosen = LaunchOutcome::Skipped { reason: String::new(), by_strategy: true };
    let mut launches = vec![
        launch(0, "c1", full()),
        launch(1, "c1", full()),
        launch(2, "c2", by_rule),
        launch(3, "c2", chosen),
    ];
    let numbers = |launches: &[LaunchRecord]| -> Vec<u32> {
        reopened(&record(launches.to_vec()), |_| true).iter().map(|trial| trial.number).collect()
    };
    assert_eq!(numbers(&launches), [0; 0], "the conclusion stands");
    launches.push(LaunchRecord {
        facts: Some(LaunchFacts::default()),
        ..launch(4, "c1", LaunchOutcome::Interrupted)
    });
    assert_eq!(numbers(&launches), [0, 1, 2], "but not what the strategy skipped");
}

#[test]
fn a_launch_that_ran_out_of_memory_is_made_once_more_in_the_end_and_no_third_time() {
    let full = || LaunchOutcome::Failed(failure(FailureClass::OutOfMemory));
    let numbers = |launches: Vec<LaunchRecord>| -> Vec<u32> {
        reopened(&record(launches), |_| true).iter().map(|trial| trial.number).collect()
    };
    assert_eq!(numbers(vec![launch(0, "c1", full())]), [0]);
    assert_eq!(numbers(vec![launch(0, "c1", full()), launch(0, "c1", full())]), [0; 0]);
    let bad = LaunchOutcome::Failed(failure(FailureClass::BadFlag));
    assert_eq!(numbers(vec![launch(0, "c1", bad)]), [0; 0]);
}

fn after(breaker: &mut Breaker, class: FailureClass) -> Result<Option<String>, SweepError> {
    breaker.after(&record(Vec::new()), &launch(0, "c1", LaunchOutcome::Failed(failure(class))))
}

#[test]
fn three_failures_in_a_row_that_are_not_their_own_stop_the_sweep() {
    let mut breaker = Breaker::default();
    assert!(after(&mut breaker, FailureClass::EngineDied).is_ok());
    assert!(after(&mut breaker, FailureClass::Unknown).is_ok());
    assert!(
        breaker.after(&record(Vec::new()), &launch(0, "c0", LaunchOutcome::Interrupted)).is_ok()
    );
    let stopped = after(&mut breaker, FailureClass::Environment).unwrap_err();
    assert!(stopped.to_string().contains("3 launches in a row"), "{stopped}");
    assert!(matches!(stopped, SweepError::Stopped { environment: false, .. }));
}

#[test]
fn a_success_or_an_infeasible_configuration_in_between_starts_the_count_again() {
    let mut breaker = Breaker::default();
    let mut measured = launch(0, "c0", LaunchOutcome::Measured);
    measured.measurements.push(repeat(1, Status::Ok));
    for _ in 0..3 {
        assert!(after(&mut breaker, FailureClass::Unknown).is_ok());
        assert!(after(&mut breaker, FailureClass::Unknown).is_ok());
        assert!(after(&mut breaker, FailureClass::OutOfMemory).is_ok());
        assert!(after(&mut breaker, FailureClass::Unknown).is_ok());
        assert!(breaker.after(&record(Vec::new()), &measured).is_ok());
    }
}

#[test]
fn a_launch_that_had_nothing_to_measure_does_not_start_the_count_again() {
    let mut breaker = Breaker::default();
    for class in [FailureClass::Unknown, FailureClass::Timeout] {
        assert!(after(&mut breaker, class).is_ok());
        assert!(
            breaker.after(&record(Vec::new()), &launch(0, "c0", LaunchOutcome::Measured)).is_ok()
        );
    }
    assert!(after(&mut breaker, FailureClass::Unknown).is_err());
}

fn not_applied(configuration: &str) -> LaunchRecord {
    let dropped = LaunchFailure::new(FailureClass::FlagNotApplied, "--max-num-seqs was dropped");
    launch(0, configuration, LaunchOutcome::Failed(dropped))
}

#[test]
fn a_flag_that_did_not_arrive_does_not_start_the_count_again() {
    let mut breaker = Breaker::default();
    assert!(after(&mut breaker, FailureClass::EngineDied).is_ok());
    assert!(after(&mut breaker, FailureClass::EngineDied).is_ok());
    assert!(breaker.after(&record(Vec::new()), &not_applied("c0")).is_ok());
    assert!(after(&mut breaker, FailureClass::EngineDied).is_err());
}

#[test]
fn three_configurations_whose_flags_did_not_arrive_stop_a_sweep_that_measured_nothing() {
    let mut breaker = Breaker::default();
    let nothing = record(Vec::new());
    for configuration in ["c0", "c1", "c1", "c0"] {
        assert!(breaker.after(&nothing, &not_applied(configuration)).is_ok(), "two of them");
    }
    let stopped = breaker.after(&nothing, &not_applied("c2")).unwrap_err();
    assert!(stopped.to_string().contains("--max-num-seqs was dropped"), "{stopped}");
    assert!(matches!(stopped, SweepError::Stopped { environment: false, .. }));

    let mut measured = launch(0, "c0", LaunchOutcome::Measured);
    measured.measurements.push(repeat(1, Status::Ok));
    let something = record(vec![measured.clone()]);
    let mut breaker = Breaker::default();
    for configuration in ["c0", "c1", "c2"] {
        assert!(breaker.after(&something, &not_applied(configuration)).is_ok(), "one works");
    }
    // Another failure of its own, or a launch that measured, ends the row.
    for between in
        [launch(0, "c0", LaunchOutcome::Failed(failure(FailureClass::BadFlag))), measured]
    {
        let mut breaker = Breaker::default();
        for launch in [&not_applied("c0"), &not_applied("c1"), &between, &not_applied("c2")] {
            assert!(breaker.after(&nothing, launch).is_ok());
        }
    }
}

#[test]
fn without_credentials_or_a_gpu_nothing_will_work() {
    for class in [FailureClass::Credentials, FailureClass::NoGpu] {
        let stopped = after(&mut Breaker::default(), class).unwrap_err();
        assert!(matches!(stopped, SweepError::Stopped { environment: true, .. }));
    }
}

#[test]
fn without_its_model_nothing_will_work() {
    let served = LaunchRecord {
        facts: Some(LaunchFacts::default()),
        ..launch(0, "c0", LaunchOutcome::Measured)
    };
    for (path, before, stops) in [
        ("/models/m", vec![], true),
        ("/models/m", vec![served.clone()], true),
        ("example/m", vec![], true),
        // The hub may answer again.
        ("example/m", vec![served], false),
    ] {
        let outcome = LaunchOutcome::Failed(missing(path));
        let after = Breaker::default().after(&record(before), &launch(1, "c1", outcome));
        assert_eq!(after.is_err(), stops, "{path}");
        if let Err(stopped) = after {
            assert!(matches!(stopped, SweepError::Stopped { environment: true, .. }));
        }
    }
}

#[test]
fn a_path_that_only_one_configuration_names_is_its_own_failure() {
    let mut record = record(vec![launch(0, "c1", LaunchOutcome::Failed(missing("/drafts/d")))]);
    let speculative = serde_json::json!({"model": "/drafts/d", "num_speculative_tokens": 2});
    record.manifest.configurations[1].varied.insert("speculative-config".to_owned(), speculative);
    assert!(Breaker::default().after(&record, &record.launches[0]).is_ok());
    assert!(skip_reason(&record, 1).is_some(), "it would fail so again");
    assert_eq!(skip_reason(&record, 2), None);
}

#[test]
fn others_that_freed_memory_prune_nothing() {
    let changed = LaunchOutcome::Failed(failure(FailureClass::GpuMemoryChanged));
    let one = record(vec![launch(0, "c1", changed)]);
    assert_eq!((0..3).find_map(|at| skip_reason(&one, at)), None);
}

#[test]
fn unknown_failures_stop_the_sweep_only_where_the_baseline_fails_too() {
    let served = LaunchRecord {
        facts: Some(LaunchFacts::default()),
        ..launch(0, "c0", LaunchOutcome::Measured)
    };
    let unknown = launch(1, "c1", LaunchOutcome::Failed(failure(FailureClass::Unknown)));
    let rows = |launches: Vec<LaunchRecord>, baseline: Option<&str>| {
        let mut record = record(launches);
        record.manifest.baseline = baseline.map(str::to_owned);
        let mut breaker = Breaker::default();
        (0..5).map(|_| breaker.after(&record, &unknown)).collect::<Vec<_>>()
    };
    for baseline in [Some("c0"), None] {
        let notices = rows(vec![served.clone()], baseline);
        let said: Vec<bool> =
            notices.iter().map(|it| it.as_ref().expect("it continues").is_some()).collect();
        assert_eq!(said, [false, false, true, false, false], "said once");
    }
    // The baseline's last launch counts.
    let failed = launch(1, "c0", unknown.outcome.clone().expect("it ended"));
    let skipped =
        launch(2, "c0", LaunchOutcome::Skipped { reason: String::new(), by_strategy: true });
    for launches in [vec![], vec![served.clone(), failed.clone(), skipped]] {
        assert!(rows(launches, Some("c0"))[2].is_err());
    }
    // Another configuration that served says nothing about the baseline.
    let other = LaunchRecord { configuration: "c2".to_owned(), ..served };
    assert!(rows(vec![other, failed], Some("c0"))[2].is_err());
}
