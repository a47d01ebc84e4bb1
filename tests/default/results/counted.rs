//! Metrics that may be zero: shares and events are judged by what was counted, and
//! no configuration has a say in how another one is judged.

use serde_json::json;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Goal, Measurement, MetricValue, MetricValues, Status};
use vllm_grid::results::ranking::{
    ConstraintVerdict, Estimate, RankedConfiguration, RankingVerdict, rank,
};
use vllm_grid::workload::Workload;

use crate::results::builder::{Building, around, sweep};

/// A sweep with one more workload.
fn with(names: &[&str], workload: &str, options: serde_json::Value) -> SweepRecord {
    let mut record = sweep(names);
    let serde_json::Value::Object(options) = options else { panic!("an object") };
    let workload = Workload::from_options(workload, &options).unwrap();
    record.manifest.workloads.push(workload);
    record
}

fn repeat(workload: &str, number: u32, metrics: &[(&str, f64)]) -> Measurement {
    let metrics =
        metrics.iter().map(|(name, n)| ((*name).to_owned(), Some(MetricValue::Number(*n))));
    Measurement {
        workload: workload.to_owned(),
        case: String::new(),
        repeat: number,
        status: Status::Ok,
        reason: None,
        metrics: metrics.collect::<MetricValues>(),
        metric_reasons: vllm_grid::metric::MetricReasons::new(),
    }
}

fn puzzles() -> SweepRecord {
    with(&["a", "b"], "reasoning", json!({"kinds": ["planning"]})).constraint(
        "reasoning.accuracy",
        Some(0.5),
        None,
    )
}

/// A launch whose repeats solved so many of four puzzles.
fn solved(mut record: SweepRecord, name: &str, correct: &[u32]) -> SweepRecord {
    record = record.launch(name, &around(100.0));
    for (number, correct) in (1..).zip(correct) {
        let correct = f64::from(*correct);
        let of = [("accuracy", correct / 4.0), ("correct", correct), ("asked", 4.0)];
        record = record.measurement(repeat("reasoning", number, &of));
    }
    record
}

fn row(record: &SweepRecord, name: &str) -> RankedConfiguration {
    rank(record).rows.into_iter().find(|row| row.name == name).unwrap()
}

fn judged(record: &SweepRecord, name: &str) -> (ConstraintVerdict, Estimate) {
    let bounded = row(record, name).constraints.remove(0);
    (bounded.verdict, bounded.estimate.unwrap())
}

fn written(estimate: Estimate) -> String {
    let interval = estimate.interval.unwrap();
    format!("{:.3} [{:.3}, {:.3}]", estimate.mean, interval.low, interval.high)
}

#[test]
fn a_zero_elsewhere_changes_nobodys_verdict() {
    let few = |record| {
        let record = solved(record, "a", &[1, 1]);
        solved(record, "a", &[1, 2])
    };
    let alone = few(puzzles());
    let with_zeros = solved(few(puzzles()), "b", &[0, 0]);
    let (verdict, estimate) = judged(&alone, "a");
    assert_eq!(verdict, ConstraintVerdict::NotShown);
    // Repeat 1: 1 of 4, twice; repeat 2: 1 and 2 of the same 4. 2.5 of 8 puzzles.
    assert_eq!(written(estimate), "0.312 [0.032, 0.755]");
    assert_eq!(judged(&with_zeros, "a"), (verdict, estimate));
    assert!(row(&with_zeros, "a").eligible);
}

#[test]
fn a_question_asked_in_every_launch_is_one_question() {
    let mut record = puzzles();
    for _ in 0..10 {
        record = solved(record, "a", &[1]);
    }
    let (verdict, estimate) = judged(&record, "a");
    assert_eq!(verdict, ConstraintVerdict::NotShown);
    assert_eq!(written(estimate), "0.250 [0.006, 0.806]");
    // New questions in each repeat do add up: 10 of 40.
    let record = solved(puzzles(), "a", &[1; 10]);
    let (verdict, estimate) = judged(&record, "a");
    assert_eq!((verdict, estimate.mean), (ConstraintVerdict::Violated, 0.25));
    let reason = row(&record, "a").reason().unwrap();
    assert!(reason.contains("reasoning.accuracy: 0.250 [0.127, 0.412], at least 0.5"), "{reason}");
}

#[test]
fn four_right_answers_of_four_do_not_show_a_half() {
    let verdict = |correct: &[u32]| judged(&solved(puzzles(), "a", correct), "a").0;
    assert_eq!(verdict(&[4]), ConstraintVerdict::NotShown);
    assert_eq!(verdict(&[4, 4]), ConstraintVerdict::Holds);
    assert_eq!(verdict(&[0]), ConstraintVerdict::NotShown);
    assert_eq!(verdict(&[0, 0]), ConstraintVerdict::Violated);
}

#[test]
fn accuracy_can_be_maximised_though_somebody_has_none() {
    let mut record = solved(puzzles(), "a", &[0, 0, 0]);
    record = solved(record, "b", &[4, 4, 4]);
    record.manifest.objective.constraints.clear();
    record.manifest.objective.metric = "reasoning.accuracy".parse().unwrap();
    record.manifest.objective.goal = Goal::Maximize;
    record.manifest.baseline = Some("a".to_owned());
    let ranking = rank(&record);
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "b".to_owned() });
    let (difference, interval) = ranking.rows[0].baseline_difference.unwrap();
    assert!((difference - 1.0).abs() < 1e-9 && interval.low > 0.5, "{interval:?}");
    assert_eq!(ranking.rows[0].baseline_ratio, None);
    // One puzzle more of four is nothing, however equal the launches are.
    let mut record = puzzles();
    record.manifest.objective = ranking.objective;
    for _ in 0..5 {
        record = solved(record, "a", &[3]);
        record = solved(record, "b", &[4]);
    }
    assert!(matches!(rank(&record).verdict, RankingVerdict::Tie { .. }));
}

/// Launches of two repeats each that counted so many preemptions.
fn preempted(of: &[(&str, &[f64])]) -> SweepRecord {
    let mut record = with(&["a", "b"], "load", json!({}));
    record.manifest.objective.metric = "load.preemptions".parse().unwrap();
    for (name, counts) in of {
        for two in counts.chunks(2) {
            record = record.launch(name, &[]);
            for (number, count) in (1..).zip(two) {
                record = record.measurement(repeat("load", number, &[("preemptions", *count)]));
            }
        }
    }
    record
}

#[test]
fn where_zero_is_the_best_value_it_ranks_first() {
    let ranking = rank(&preempted(&[("a", &[40.0, 45.0, 38.0, 41.0]), ("b", &[0.0; 4])]));
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "b".to_owned() });
    let best = ranking.rows[0].estimates[0].unwrap();
    assert_eq!((best.mean, best.geomean), (0.0, None));
    // Garwood: 0 events in 4 repeats.
    assert_eq!(written(best), "0.000 [0.000, 0.922]");
    let frame = ranking.frame().unwrap();
    let means = frame.column("load.preemptions.mean").unwrap().f64().unwrap();
    assert_eq!((means.get(0), means.get(1)), (Some(0.0), Some(41.0)));
}

#[test]
fn nothing_but_perfect_configurations_is_a_tie() {
    let ranking = rank(&preempted(&[("a", &[0.0; 4]), ("b", &[0.0; 4])]));
    assert_eq!(ranking.verdict.to_string(), "tie: ranks 1-2 are not distinguishable");
    // Four events are no difference to none.
    let ranking = rank(&preempted(&[("a", &[0.0; 4]), ("b", &[1.0; 4])]));
    assert!(matches!(ranking.verdict, RankingVerdict::Tie { .. }), "{:?}", ranking.verdict);
    // Bursts of one launch are one burst.
    let ranking = rank(&preempted(&[("a", &[0.0; 4]), ("b", &[0.0, 0.0, 30.0, 28.0])]));
    assert!(matches!(ranking.verdict, RankingVerdict::Tie { .. }), "{:?}", ranking.verdict);
}

#[test]
fn one_launch_each_is_not_enough_for_a_difference() {
    let ranking = rank(&preempted(&[("a", &[40.0, 45.0]), ("b", &[0.0, 0.0])]));
    assert!(matches!(ranking.verdict, RankingVerdict::Insufficient { more_launches: 2, .. }));
}

#[test]
fn no_event_in_few_repeats_does_not_show_that_there_is_none() {
    let build = |max, counts: &[f64]| {
        let record = sweep(&["a"])
            .constraint("kv_cache.failed", None, Some(max))
            .launch("a", &around(100.0))
            .and("failed", counts);
        judged(&record, "a").0
    };
    assert_eq!(build(0.0, &[0.0; 5]), ConstraintVerdict::NotShown);
    assert_eq!(build(1.0, &[0.0; 5]), ConstraintVerdict::Holds);
    assert_eq!(build(0.0, &[3.0; 5]), ConstraintVerdict::Violated);
}

#[test]
fn equal_values_of_few_launches_are_no_certainty() {
    let mut record = with(&["a"], "conversation", json!({}));
    for _ in 0..2 {
        record = record.launch("a", &around(100.0)).measurement(repeat(
            "conversation",
            1,
            &[("cache_share", 0.95), ("ttft_slope_ms_per_turn", 0.0)],
        ));
    }
    let bound = |metric, min| judged(&record.clone().constraint(metric, Some(min), None), "a");
    let (verdict, estimate) = bound("conversation.cache_share", 0.93);
    assert_eq!(verdict, ConstraintVerdict::NotShown, "{estimate:?}");
    assert_eq!(bound("conversation.cache_share", 0.5).0, ConstraintVerdict::Holds);
    // Zeros alone leave nothing to make an interval of.
    let (verdict, estimate) = bound("conversation.ttft_slope_ms_per_turn", -1.0);
    assert_eq!((verdict, estimate.interval), (ConstraintVerdict::NotShown, None));
}

#[test]
fn requests_that_fail_are_counted_over_all_launches() {
    let mut record = with(&["a"], "stability", json!({}));
    for _ in 0..4 {
        let of = [("failure_rate", 0.0), ("failed", 0.0), ("requests", 20.0)];
        record = record.launch("a", &around(100.0)).measurement(repeat("stability", 1, &of));
    }
    let (verdict, estimate) =
        judged(&record.clone().constraint("stability.failure_rate", None, Some(0.05)), "a");
    assert_eq!(
        (verdict, written(estimate).as_str()),
        (ConstraintVerdict::Holds, "0.000 [0.000, 0.045]")
    );
    // All failures in one launch are one burst: wider than 20 of 80.
    let Some(last) = record.launches.last_mut().and_then(|launch| launch.measurements.last_mut())
    else {
        panic!("a measurement")
    };
    last.metrics.insert("failure_rate".to_owned(), Some(MetricValue::Number(1.0)));
    let (_, estimate) = judged(&record.constraint("stability.failure_rate", None, Some(0.05)), "a");
    assert_eq!((estimate.mean, estimate.interval.unwrap().low), (0.25, 0.0));
}
