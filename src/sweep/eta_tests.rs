use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::gate::SurvivalSettings;
use crate::history::launch::LaunchFacts;
use crate::metric::{Measurement, MetricValues, Status};
use crate::sweep::fakes::manifest;

fn at(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-11-28T18:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs_f64(seconds)
}

/// A launch of `c<index>` for a trial: so many seconds of boot, a warm-up and two
/// repeats of `repeat` seconds each, and a stop of 2 s.
fn launch(trial: u32, index: usize, boot: f64, repeat: f64) -> LaunchRecord {
    let start = f64::from(trial) * 1000.0;
    let case = manifest(1, 1, 1).workloads[0].cases().remove(0);
    let measurement = |number| Measurement {
        workload: "kv-cache".to_owned(),
        case: case.clone(),
        repeat: number,
        status: Status::Ok,
        metric_reasons: std::collections::BTreeMap::new(),
        reason: None,
        metrics: MetricValues::new(),
    };
    LaunchRecord {
        launch: trial + 1,
        trial,
        configuration: format!("c{index}"),
        repeats: Some(2),
        started_at: Some(at(start)),
        ended_at: Some(at(start + boot + 3.0 * repeat + 2.0)),
        facts: Some(LaunchFacts {
            started_at: at(start).to_string(),
            boot_seconds: boot,
            ..LaunchFacts::default()
        }),
        measurements: (0..3).map(measurement).collect(),
        measured_at: (1..=3).map(|n| at(start + boot + f64::from(n) * repeat)).collect(),
        outcome: Some(LaunchOutcome::Measured),
        ..LaunchRecord::default()
    }
}

/// Two configurations, three launches of two repeats each.
fn sweep(launches: Vec<LaunchRecord>) -> SweepRecord {
    SweepRecord { launches, ..SweepRecord::new(manifest(2, 3, 2)) }
}

fn earlier(launches: Vec<LaunchRecord>) -> Foreknown {
    let mut timing = Timing::default();
    timing.learn(&sweep(launches));
    Foreknown { earlier: timing, assumed: (10.0, 500.0), ..Foreknown::default() }
}

fn near(eta: &Eta, seconds: f64) {
    assert!((eta.seconds.0 - seconds).abs() < 1e-6, "{eta:?} is not {seconds}");
    assert!((eta.seconds.1 - seconds).abs() < 1e-6, "{eta:?} is not {seconds}");
}

#[test]
fn where_nothing_is_known_the_range_is_said() {
    let foreknown = Foreknown { assumed: (10.0, 500.0), ..Foreknown::default() };
    let eta = eta(&sweep(Vec::new()), &foreknown, (6, 6), 0.0);
    assert_eq!(
        eta,
        Eta {
            seconds: (60.0, 3000.0),
            launches: (6, 6),
            source: Source::Assumed,
            budget: None,
            confirms: false,
        }
    );
}

#[test]
fn before_the_first_launch_ends_earlier_runs_count_by_configuration() {
    // 100 + 3 x 20 + 2 and 40 + 3 x 10 + 2 s.
    let foreknown = earlier(vec![launch(0, 0, 100.0, 20.0), launch(1, 1, 40.0, 10.0)]);
    let eta = eta(&sweep(Vec::new()), &foreknown, (6, 6), 0.0);
    assert_eq!(eta.source, Source::Earlier(1));
    near(&eta, 3.0 * 162.0 + 3.0 * 72.0);
}

#[test]
fn then_its_own_launches_count_and_earlier_ones_for_what_was_not_launched_yet() {
    let foreknown = earlier(vec![launch(0, 0, 100.0, 20.0), launch(1, 1, 40.0, 10.0)]);
    let running = sweep(vec![launch(0, 0, 50.0, 20.0)]);
    let reported = eta(&running, &foreknown, (6, 6), 112.0);
    assert_eq!(reported.source, Source::Measured);
    near(&reported, 2.0 * 112.0 + 3.0 * 72.0);
    // Without earlier ones the others' times stand for it.
    let reported = eta(&running, &Foreknown::default(), (6, 6), 112.0);
    near(&reported, 5.0 * 112.0);
}

#[test]
fn a_launch_s_length_is_measured_only_where_its_own_configuration_was() {
    let cold = earlier(vec![launch(0, 0, 25_000.0, 20.0)]);
    let longest = |record: &SweepRecord, index| longest_launch(record, &cold, index, 2);
    let is = |Longest { seconds, measured }: Longest, expected: f64, is_measured: bool| {
        assert!((seconds - expected * 1.1).abs() < 1e-6, "{seconds}");
        assert_eq!(measured, is_measured.then_some(seconds));
    };
    is(longest(&sweep(Vec::new()), 0), 25_062.0, true);
    is(longest(&sweep(Vec::new()), 1), 25_062.0, false);
    let own = sweep(vec![launch(0, 1, 100.0, 20.0)]);
    is(longest(&own, 1), 162.0, true);
    is(longest(&own, 0), 25_062.0, true);
    let nothing = longest_launch(&sweep(Vec::new()), &Foreknown::default(), 0, 2);
    assert_eq!(nothing, Longest { seconds: 0.0, measured: None });
}

#[test]
fn medians_count_and_an_interrupted_launch_is_still_to_be_made() {
    let mut launches = vec![
        launch(0, 0, 50.0, 20.0),
        launch(1, 1, 50.0, 20.0),
        launch(2, 0, 950.0, 20.0),
        launch(3, 1, 50.0, 20.0),
        launch(4, 0, 60.0, 20.0),
        launch(5, 1, 50.0, 20.0),
    ];
    assert_eq!(
        eta(&sweep(launches.clone()), &Foreknown::default(), (6, 6), 0.0).seconds,
        (0.0, 0.0)
    );
    launches[4].outcome = Some(LaunchOutcome::Interrupted);
    let reported = eta(&sweep(launches), &Foreknown::default(), (6, 6), 0.0);
    // The median of 50 and 950.
    near(&reported, 500.0 + 60.0 + 2.0);
}

#[test]
fn a_trial_that_took_two_launches_is_done_once() {
    let mut lost = launch(0, 0, 50.0, 20.0);
    lost.outcome = Some(LaunchOutcome::Unknown);
    let mut again = launch(0, 0, 50.0, 20.0);
    again.launch = 2;
    let reported = eta(&sweep(vec![lost, again]), &Foreknown::default(), (6, 6), 0.0);
    near(&reported, 5.0 * 112.0);
}

#[test]
fn a_budget_that_ends_first_says_after_how_many_launches() {
    let with_budget = |launches| {
        let mut sweep = sweep(launches);
        sweep.manifest.budget_seconds = Some(400);
        sweep
    };
    let done = with_budget(vec![launch(0, 0, 50.0, 20.0)]);
    let reported = eta(&done, &Foreknown::default(), (6, 6), 112.0);
    // 288 s are left: 2.6 launches of 112 s, and one is done.
    let end = BudgetEnd { seconds: 288.0, launches: (4, 4), of: (6, 6) };
    assert_eq!(reported.budget, Some(end));
    let foreknown = Foreknown { assumed: (10.0, 100.0), ..Foreknown::default() };
    let reported = eta(&with_budget(Vec::new()), &foreknown, (6, 6), 0.0);
    assert_eq!(reported.budget, Some(BudgetEnd { seconds: 400.0, launches: (4, 6), of: (6, 6) }));
    let foreknown = Foreknown { assumed: (10.0, 50.0), ..Foreknown::default() };
    assert_eq!(eta(&with_budget(Vec::new()), &foreknown, (6, 6), 0.0).budget, None);
}

#[test]
fn of_several_budgets_the_first_to_end_is_told() {
    let mut running = sweep(vec![launch(0, 0, 50.0, 20.0)]);
    let told = |it: &SweepRecord| eta(it, &Foreknown::default(), (6, 6), 112.0).budget;
    running.manifest.budget.launches = Some(6);
    assert_eq!(told(&running), None, "as many as there are");
    running.manifest.budget.launches = Some(4);
    let three = BudgetEnd { seconds: 3.0 * 112.0, launches: (4, 4), of: (6, 6) };
    assert_eq!(told(&running), Some(three));
    running.manifest.budget_seconds = Some(400);
    assert_eq!(told(&running).map(|it| it.seconds), Some(288.0), "the time is first");
    // Two GPUs each: 224 of 424 GPU seconds are spent, and 200 last for 100 s.
    for configuration in &mut running.manifest.configurations {
        configuration.flags.insert("tensor-parallel-size".to_owned(), 2.into());
    }
    running.manifest.budget.gpu_hours = Some(424.0 / 3600.0);
    let left = told(&running).expect("it ends first").seconds;
    assert!((left - 100.0).abs() < 1e-6, "{left}");
}

#[test]
fn what_a_strategy_plans_by_itself_is_reckoned_by_the_mean() {
    let running = sweep(vec![launch(0, 0, 50.0, 20.0), launch(1, 1, 150.0, 20.0)]);
    let reported = eta(&running, &Foreknown::default(), (10, 10), 0.0);
    near(&reported, 8.0 * (112.0 + 212.0) / 2.0);
}

/// The launch with gates of so many seconds between boot and warm-up.
fn gated(mut launch: LaunchRecord, gates: &[(Gate, f64)]) -> LaunchRecord {
    let mut later = 0.0;
    let ready = launch.started_at.unwrap()
        + SignedDuration::from_secs_f64(launch.facts.as_ref().unwrap().boot_seconds);
    for (gate, seconds) in gates {
        later += seconds;
        launch.gates.push(serde_json::from_value(passed(*gate)).unwrap());
        launch.gated_at.push(ready + SignedDuration::from_secs_f64(later));
    }
    let shift = SignedDuration::from_secs_f64(later);
    launch.measured_at.iter_mut().for_each(|at| *at += shift);
    launch.ended_at = launch.ended_at.map(|at| at + shift);
    launch
}

fn passed(gate: Gate) -> serde_json::Value {
    serde_json::json!({"gate": gate, "verdict": "passed"})
}

/// The sweep with `canary` and `survival`, of prompts of so many tokens.
fn with_gates(launches: Vec<LaunchRecord>, prompt_tokens: u32) -> SweepRecord {
    let mut sweep = sweep(launches);
    let survival = SurvivalSettings { prompt_tokens: vec![prompt_tokens] };
    sweep.manifest.gates = Some(Gates { survival: Some(survival), ..Gates::default() });
    sweep
}

const BOTH: [(Gate, f64); 2] = [(Gate::Canary, 4.0), (Gate::Survival, 300.0)];

#[test]
fn gates_that_are_asked_once_count_once_for_each_configuration() {
    // 50 + 3 x 20 + 2 s and the gates.
    let running = with_gates(vec![gated(launch(0, 0, 50.0, 20.0), &BOTH)], 1000);
    let reported = eta(&running, &Foreknown::default(), (6, 6), 0.0);
    near(&reported, 5.0 * (112.0 + 4.0) + 300.0);
    let nothing = with_gates(Vec::new(), 1000);
    let mut timing = Timing::default();
    timing.learn(&running);
    let foreknown = Foreknown { earlier: timing, ..Foreknown::default() };
    near(&eta(&nothing, &foreknown, (6, 6), 0.0), 6.0 * (112.0 + 4.0) + 2.0 * 300.0);
    // The same where a strategy plans by itself: ten launches in place of six.
    near(&eta(&nothing, &foreknown, (10, 10), 0.0), 10.0 * (112.0 + 4.0) + 2.0 * 300.0);
}

#[test]
fn a_configurations_own_gate_counts_before_those_of_others() {
    let mut timing = Timing::default();
    let slow = [(Gate::Canary, 4.0), (Gate::Survival, 900.0)];
    timing.learn(&with_gates(vec![gated(launch(0, 1, 50.0, 20.0), &slow)], 1000));
    let foreknown = Foreknown { earlier: timing, ..Foreknown::default() };
    let quick = [(Gate::Canary, 1.0), (Gate::Survival, 300.0)];
    let running = with_gates(vec![gated(launch(0, 0, 50.0, 20.0), &quick)], 1000);
    let reported = eta(&running, &foreknown, (6, 6), 0.0);
    near(&reported, 2.0 * (112.0 + 1.0) + 3.0 * (112.0 + 4.0) + 900.0);
}

#[test]
fn a_gate_that_was_never_asked_so_has_its_assumed_time_as_a_range() {
    let mut timing = Timing::default();
    timing.learn(&with_gates(vec![gated(launch(0, 0, 50.0, 20.0), &BOTH)], 500));
    let foreknown = Foreknown {
        earlier: timing,
        assumed_gates: BTreeMap::from([(Gate::Survival, (30.0, 700.0))]),
        ..Foreknown::default()
    };
    let nothing = with_gates(Vec::new(), 100_000);
    let reported = eta(&nothing, &foreknown, (6, 6), 0.0);
    let launches = 6.0 * (112.0 + 4.0);
    let (low, high) = reported.seconds;
    assert!((low - launches - 2.0 * 30.0).abs() < 1e-6, "{low}");
    assert!((high - launches - 2.0 * 700.0).abs() < 1e-6, "{high}");
    // It may last so long, and takes no launch from anybody.
    let longest = longest_launch(&nothing, &foreknown, 0, 2);
    assert!((longest.seconds - (112.0 + 4.0 + 700.0) * 1.1).abs() < 1e-6, "{longest:?}");
    assert!((longest.measured.unwrap() - (112.0 + 4.0) * 1.1).abs() < 1e-6, "{longest:?}");
}

#[test]
fn the_longest_launch_has_the_gates_of_the_next_one_at_their_longest() {
    let longer = gated(launch(1, 0, 50.0, 20.0), &[(Gate::Canary, 40.0)]);
    let running = with_gates(vec![gated(launch(0, 0, 50.0, 20.0), &BOTH), longer], 1000);
    let is = |seconds: Option<f64>, expected: f64| {
        assert!((seconds.unwrap() - expected * 1.1).abs() < 1e-6, "{seconds:?} {expected}");
    };
    let of = |index| longest_launch(&running, &Foreknown::default(), index, 2);
    is(Some(of(0).seconds), 112.0 + 40.0);
    is(of(0).measured, 112.0 + 40.0);
    is(Some(of(1).seconds), 112.0 + 40.0 + 300.0);
    assert_eq!(of(1).measured, None);
}

/// As of a strategy that chooses its launches: the range of what is left is one of time.
#[test]
fn launches_that_are_chosen_make_the_time_a_range() {
    let mut running = sweep(vec![launch(0, 0, 50.0, 20.0), launch(1, 1, 30.0, 10.0)]);
    running.manifest.strategy =
        crate::strategy::StrategySpec::Adaptive(crate::strategy::AdaptiveStrategy {
            repeats: 2,
            ..Default::default()
        });
    // 112 and 62 s: 87 s in the mean.
    let reported = eta(&running, &Foreknown::default(), (6, 20), 174.0);
    assert_eq!((reported.launches, reported.seconds), ((6, 20), (4.0 * 87.0, 18.0 * 87.0)));
    // A budget that may end it, and one that will.
    let mut with = |budget: u64| {
        running.manifest.budget_seconds = Some(174 + budget);
        eta(&running, &Foreknown::default(), (6, 20), 174.0).budget
    };
    let may = with(870).expect("it may");
    assert_eq!((may.seconds, may.launches, may.of), (870.0, (6, 12), (6, 20)));
    assert_eq!(with(174).expect("it will").launches, (4, 4));
    assert_eq!(with(18 * 87 + 1), None);
}

#[test]
fn launches_in_flight_are_in_the_forecast_of_a_budget_in_launches() {
    let running = |trial: u32| LaunchRecord { outcome: None, ..launch(trial, 1, 50.0, 20.0) };
    let mut sweep = sweep(vec![launch(0, 0, 50.0, 20.0), running(1), running(2)]);
    sweep.manifest.budget.launches = Some(4);
    let told = |it: &SweepRecord| eta(it, &Foreknown::default(), (6, 6), 112.0).budget;
    // One is over, two run, and one more is begun.
    assert_eq!(told(&sweep).expect("a budget").launches, (4, 4));
    sweep.manifest.budget.launches = Some(3);
    assert_eq!(told(&sweep).expect("a budget").launches, (3, 3));
    // What a dead session left is made again as one more.
    sweep.launches.push(LaunchRecord { launch: 9, ..running(2) });
    sweep.manifest.budget.launches = Some(5);
    assert_eq!(told(&sweep).expect("a budget").launches, (4, 4));
    sweep.manifest.budget.launches = Some(7);
    assert_eq!(told(&sweep), None);
}

#[test]
fn a_launch_that_an_earlier_block_left_open_is_spent_and_not_waited_for() {
    let open = LaunchRecord { outcome: None, ..launch(0, 1, 50.0, 20.0) };
    let mut sweep = sweep(vec![open]);
    // Its session was killed, and a change was accepted after that.
    let block = serde_json::json!({
        "number": 2, "first_trial": 1, "differences": [], "tool_version": "", "suite_version": 1,
        "host": "",
    });
    sweep.begin_block(&serde_json::from_value(block).unwrap());
    let running = LaunchRecord { outcome: None, ..launch(2, 1, 50.0, 20.0) };
    sweep.launches = vec![launch(1, 0, 50.0, 20.0), running];
    sweep.manifest.budget.launches = Some(4);
    let told = eta(&sweep, &Foreknown::default(), (6, 6), 112.0).budget;
    // One of four went with the earlier block: of this one, one is over, one runs, one is begun.
    assert_eq!(told.expect("a budget").launches, (3, 3));
}
