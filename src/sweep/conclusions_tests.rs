use proptest::prelude::*;

use super::super::fakes::manifest;
use super::super::relaunch::skip_reason;
use super::*;
use crate::history::launch::LaunchFacts;
use crate::metric::{Measurement, MetricReasons, Status};

const ALL: [FailureClass; 18] = [
    FailureClass::KvCacheTooSmall,
    FailureClass::OutOfMemory,
    FailureClass::MemoryNotFree,
    FailureClass::GpuMemoryChanged,
    FailureClass::BadFlag,
    FailureClass::FlagNotApplied,
    FailureClass::Credentials,
    FailureClass::NoGpu,
    FailureClass::CompileCache,
    FailureClass::SharedMemory,
    FailureClass::EngineDied,
    FailureClass::HostMemory,
    FailureClass::Killed,
    FailureClass::Timeout,
    FailureClass::TimeLimit,
    FailureClass::Environment,
    FailureClass::NotServing,
    FailureClass::Unknown,
];

/// Utilisations by configuration: 0.70, 0.75, ...
fn record(configurations: usize) -> SweepRecord {
    let mut manifest = manifest(configurations, 1, 1);
    for (index, it) in manifest.configurations.iter_mut().enumerate() {
        it.flags.insert("max-num-seqs".to_owned(), 8.into());
        let share = 0.70 + 0.05 * index as f64;
        it.flags.insert("gpu-memory-utilization".to_owned(), share.into());
        it.flags.insert("max-model-len".to_owned(), 4096.into());
    }
    SweepRecord::new(manifest)
}

fn launched(record: &mut SweepRecord, configuration: usize, how: How) {
    let name = format!("c{configuration}");
    let facts = |is_ready: bool| is_ready.then(LaunchFacts::default);
    let number = record.launches.len() as u32;
    let (facts, outcome) = match how {
        How::Fails(class, was_ready) => {
            (facts(was_ready), LaunchOutcome::Failed(LaunchFailure::new(class, "it failed")))
        }
        How::Ready => (facts(true), LaunchOutcome::Interrupted),
        How::Measured => (facts(true), LaunchOutcome::Measured),
    };
    let measured = Measurement {
        workload: "kv-cache".to_owned(),
        case: String::new(),
        repeat: 1,
        status: Status::Ok,
        reason: None,
        metrics: std::collections::BTreeMap::new(),
        metric_reasons: MetricReasons::new(),
    };
    let is_measured = outcome == LaunchOutcome::Measured;
    record.launches.push(LaunchRecord {
        launch: number + 1,
        trial: number,
        configuration: name,
        facts,
        outcome: Some(outcome),
        measurements: is_measured.then_some(measured).into_iter().collect(),
        ..LaunchRecord::default()
    });
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// By a class; whether the server had been ready.
    Fails(FailureClass, bool),
    /// Ready, and stopped before anything was measured.
    Ready,
    Measured,
}

use FailureClass::{KvCacheTooSmall, OutOfMemory};

fn skipped(launches: &[(usize, How)]) -> Vec<usize> {
    let mut record = record(4);
    for (configuration, how) in launches {
        launched(&mut record, *configuration, *how);
    }
    (0..4).filter(|at| skip_reason(&record, *at).is_some()).collect()
}

const fn boot(class: FailureClass) -> How {
    How::Fails(class, false)
}

#[test]
fn two_that_ask_for_no_more_and_ran_out_of_memory_speak_against_a_third() {
    assert_eq!(skipped(&[(2, boot(OutOfMemory))]), [0; 0]);
    assert_eq!(skipped(&[(2, boot(OutOfMemory)), (1, boot(OutOfMemory))]), [2, 3]);
    assert_eq!(skipped(&[(1, boot(OutOfMemory)), (1, boot(OutOfMemory))]), [1, 2, 3]);
}

#[test]
fn a_configuration_that_ever_served_is_not_infeasible_whatever_came_before_or_after() {
    let twice = [(1, boot(OutOfMemory)), (1, boot(OutOfMemory))];
    for at in 0..=2 {
        let mut launches = twice.to_vec();
        launches.insert(at, (1, How::Ready));
        assert_eq!(skipped(&launches), [0; 0], "served as launch {at}");
    }
    assert_eq!(skipped(&[(1, boot(KvCacheTooSmall)), (1, How::Measured)]), [0; 0]);
}

#[test]
fn one_that_must_fail_by_the_rule_and_serves_revokes_it() {
    // Less memory than where the cache was too small, and it serves.
    assert_eq!(skipped(&[(2, boot(KvCacheTooSmall))]), [0, 1, 2]);
    assert_eq!(skipped(&[(2, boot(KvCacheTooSmall)), (0, How::Ready)]), [0; 0]);
    // More memory than where it ran out.
    let full = boot(OutOfMemory);
    assert_eq!(skipped(&[(1, full), (1, full), (3, How::Ready)]), [0; 0]);
    assert_eq!(skipped(&[(1, full), (1, full), (0, How::Ready)]), [1, 2, 3], "it asks for less");
}

#[test]
fn a_failure_under_load_is_revoked_by_a_launch_that_was_measured_and_not_by_a_boot() {
    let under_load = How::Fails(OutOfMemory, true);
    assert_eq!(skipped(&[(1, under_load), (1, under_load), (2, How::Ready)]), [1, 2, 3]);
    assert_eq!(skipped(&[(1, under_load), (1, under_load), (2, How::Measured)]), [0; 0]);
    let dropped = How::Fails(FailureClass::FlagNotApplied, true);
    assert_eq!(skipped(&[(1, dropped)]), [1], "it was ready, and not with the flags");
}

#[test]
fn what_may_pass_says_nothing_however_often_it_is_seen() {
    for class in ALL.into_iter().filter(|class| class.sightings().is_none()) {
        let fails = boot(class);
        assert_eq!(skipped(&[(1, fails), (1, fails), (1, fails)]), [0; 0], "{class:?}");
    }
}

#[test]
fn the_configurations_that_speak_against_it_are_named() {
    let mut record = record(4);
    launched(&mut record, 2, boot(OutOfMemory));
    launched(&mut record, 1, boot(OutOfMemory));
    let reason = skip_reason(&record, 3).expect("two speak against it");
    assert_eq!(reason, "`c2` and `c1` failed (out_of_memory), and this one would fail so, too");
}

#[test]
fn a_model_of_the_hub_that_was_not_found_may_be_there_next_time_and_a_folder_not() {
    for (path, skips) in [("/models/m", true), ("example/m", false)] {
        let mut record = record(2);
        launched(&mut record, 1, boot(FailureClass::Environment));
        let Some(LaunchOutcome::Failed(failure)) = &mut record.launches[0].outcome else {
            panic!("it failed")
        };
        failure.missing_path = Some(path.to_owned());
        assert_eq!(skip_reason(&record, 1).is_some(), skips, "{path}");
    }
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        (0..ALL.len(), any::<bool>()).prop_map(|(class, ready)| How::Fails(ALL[class], ready)),
        Just(How::Ready),
        Just(How::Measured),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A sweep that asks before each launch: whatever comes, what failed in a way that
    /// repeats itself is not launched again, and nothing else keeps one from its launch.
    #[test]
    fn no_infeasible_configuration_is_launched_again_and_nothing_else_is_skipped(
        plan in proptest::collection::vec((0_usize..5, how()), 1..40),
    ) {
        let mut record = record(5);
        for (configuration, how) in plan {
            let reason = skip_reason(&record, configuration);
            let of = |at: usize| {
                let name = format!("c{at}");
                record.launches.iter().filter(move |it| it.configuration == name)
            };
            let failures = |at: usize, class: FailureClass| {
                of(at).filter(|it| matches!(&it.outcome, Some(LaunchOutcome::Failed(f)) if f.class == class)).count()
            };
            // Anything that must fail if this one must.
            let served = |class| (0..5).any(|at| {
                let known = &record.manifest.configurations;
                let must = at == configuration || prunes(&known[configuration], class, &known[at]);
                must && of(at).any(|it| it.facts.is_some())
            });
            let measured = of(configuration).any(|it| it.outcome == Some(LaunchOutcome::Measured));
            if reason.is_some() {
                prop_assert!(!measured, "c{configuration} was measured before");
                let any_lasts = (0..5).any(|at| {
                    ALL.iter().any(|class| class.sightings().is_some() && failures(at, *class) > 0)
                });
                prop_assert!(any_lasts, "skipped for what may pass");
            } else {
                for class in ALL {
                    let seen = failures(configuration, class) as u32;
                    if let Some(needed) = class.sightings() && !served(class) {
                        prop_assert!(seen < needed, "c{configuration} failed by {class:?} before");
                    }
                }
                launched(&mut record, configuration, how);
            }
        }
    }

    /// What is concluded does not depend on the order in which the launches came.
    #[test]
    fn the_same_launches_in_any_order_say_the_same(
        plan in proptest::collection::vec((0_usize..4, how()), 1..12),
        seed in any::<u64>(),
    ) {
        use rand::SeedableRng as _;
        use rand::seq::SliceRandom as _;
        let mut shuffled = plan.clone();
        shuffled.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
        prop_assert_eq!(skipped(&plan), skipped(&shuffled));
    }
}
