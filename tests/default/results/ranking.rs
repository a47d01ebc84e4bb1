//! What the ranking claims, and what it does not.

use serde_json::json;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::metric::{Goal, Measurement, Status};
use vllm_grid::results::ranking::{
    ConstraintVerdict, RankedConfiguration, Ranking, RankingVerdict, Remark, rank,
};
use vllm_grid::server::effective::FlagProof as Shown;

use crate::results::builder::{Building, around, measured, sweep};

fn row<'a>(ranking: &'a Ranking, name: &str) -> &'a RankedConfiguration {
    ranking.rows.iter().find(|row| row.name == name).unwrap()
}

fn labels(ranking: &Ranking) -> Vec<(&str, Option<&str>)> {
    ranking.rows.iter().map(|row| (row.name.as_str(), row.rank_label.as_deref())).collect()
}

fn geomean(row: &RankedConfiguration) -> f64 {
    row.estimates[0].unwrap().mean
}

#[test]
fn the_faster_configuration_ranks_first_and_is_not_called_a_winner() {
    let sweep = sweep(&["off", "on"])
        .launch("on", &around(200.0))
        .launch("off", &around(2000.0))
        .launch("off", &around(2100.0))
        .launch("on", &around(206.0));
    let ranking = rank(&sweep);
    assert_eq!(labels(&ranking), [("on", Some("1")), ("off", Some("2"))]);
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "on".to_owned() });
    assert_eq!(ranking.verdict.to_string(), "on ranks first");
    assert!(row(&ranking, "off").p_first.unwrap() < 0.05);
    let on = row(&ranking, "on");
    assert_eq!((on.launches, on.repeats, on.failures), (2, 10, 0));
    let interval = on.estimates[0].unwrap().interval.unwrap();
    assert!(interval.low < geomean(on) && geomean(on) < interval.high);
    assert!(interval.low > 150.0 && interval.high < 260.0, "{interval:?}");
}

#[test]
fn an_objective_that_is_maximised_ranks_the_largest_first() {
    let mut sweep = sweep(&["slow", "fast"])
        .launch("slow", &around(10.0))
        .launch("slow", &around(10.0))
        .launch("fast", &around(100.0))
        .launch("fast", &around(100.0));
    sweep.manifest.objective.goal = Goal::Maximize;
    assert_eq!(labels(&rank(&sweep)), [("fast", Some("1")), ("slow", Some("2"))]);
}

/// The user's first grid search: three configurations gave "HIT" 895.95, 908.67
/// and 895.47 ms from one measurement each, and one of them was deployed.
#[test]
fn the_users_false_winner_is_insufficient_data() {
    let names = ["prefix_only_safe", "chunked_only_safe", "combined_conservative"];
    let sweep = sweep(&names)
        .launch(names[0], &[895.95])
        .launch(names[1], &[908.67])
        .launch(names[2], &[895.47]);
    let ranking = rank(&sweep);
    assert!(ranking.rows.iter().all(|row| row.rank_label.as_deref() == Some("1-3")));
    assert!(ranking.rows.iter().all(|row| row.estimates[0].unwrap().assumed));
    let RankingVerdict::Insufficient { leader, more_launches } = &ranking.verdict else {
        panic!("{:?}", ranking.verdict)
    };
    assert_eq!((leader.as_str(), *more_launches), (names[2], 3));
}

#[test]
fn three_configurations_of_pure_noise_are_a_tie() {
    // The user's five repeats of one configuration, dealt out as launches of three.
    let sweep = sweep(&["a", "b", "c"])
        .launch("a", &[2188.90, 2534.64, 2462.56])
        .launch("b", &[2522.39, 2278.88, 2050.95])
        .launch("c", &[2852.47, 2100.94, 2150.08])
        .launch("c", &[2188.90, 2050.95, 2278.88])
        .launch("b", &[2534.64, 2100.94, 2462.56])
        .launch("a", &[2150.08, 2522.39, 2852.47]);
    let ranking = rank(&sweep);
    assert!(ranking.rows.iter().all(|row| row.rank_label.as_deref() == Some("1-3")));
    assert_eq!(ranking.verdict.to_string(), "tie: ranks 1-3 are not distinguishable");
    let ranks: Vec<_> = ranking.rows.iter().map(|row| row.rank.unwrap()).collect();
    assert_eq!(ranks, [1, 2, 3]);
}

#[test]
fn below_the_tie_a_label_is_the_place_by_mean() {
    let mut sweep = sweep(&["a", "b", "slow", "slower"]);
    for _ in 0..2 {
        sweep = sweep
            .launch("slower", &around(2100.0))
            .launch("a", &around(100.0))
            .launch("slow", &around(2000.0))
            .launch("b", &around(101.0));
    }
    let ranking = rank(&sweep);
    let expected =
        [("a", Some("1-2")), ("b", Some("1-2")), ("slow", Some("3")), ("slower", Some("4"))];
    assert_eq!(labels(&ranking), expected);
    assert_eq!(
        ranking.verdict,
        RankingVerdict::Tie { names: vec!["a".to_owned(), "b".to_owned()], ranks: vec![1, 2] }
    );
}

#[test]
fn a_slow_first_request_does_not_count() {
    let sweep = sweep(&["only"]).launch("only", &[100.0, 100.0]).measurement(measured(
        0,
        "ttft_resent_ms",
        5000.0,
    ));
    let ranking = rank(&sweep);
    assert!((geomean(&ranking.rows[0]) - 100.0).abs() < 1e-9);
    assert_eq!(ranking.rows[0].repeats, 2);
    assert_eq!(ranking.verdict, RankingVerdict::Only { name: "only".to_owned() });
}

#[test]
fn a_void_repeat_does_not_count() {
    let void = Measurement {
        status: Status::Void,
        reason: Some("foreign traffic".to_owned()),
        ..measured(3, "ttft_resent_ms", 1.0)
    };
    let sweep_with_void = sweep(&["a"]).launch("a", &[100.0, 100.0]).measurement(void.clone());
    assert!((geomean(&rank(&sweep_with_void).rows[0]) - 100.0).abs() < 1e-9);
    // Nothing but void repeats: no rank, and the reason is given.
    let ranking = rank(&sweep(&["a"]).launch("a", &[]).measurement(void));
    assert!(!ranking.rows[0].eligible);
    assert!(ranking.rows[0].reason().unwrap().contains("foreign traffic"));
    assert!(!ranking.verdict.ranked());
}

#[test]
fn a_configuration_that_does_not_fit_is_infeasible_and_never_the_worst() {
    let message = "KV cache needs 4.0 GiB, 1.2 GiB are available";
    let sweep = sweep(&["big", "a"])
        .failed("big", FailureClass::KvCacheTooSmall, message)
        .launch("a", &around(100.0));
    let ranking = rank(&sweep);
    assert_eq!(labels(&ranking), [("a", Some("1")), ("big", None)]);
    let big = row(&ranking, "big");
    assert_eq!((big.rank, big.eligible, big.launches, big.failures), (None, false, 1, 1));
    assert_eq!(big.failure_class, Some("kv_cache_too_small"));
    let reason = big.reason().unwrap();
    assert!(reason.starts_with("infeasible (kv_cache_too_small)"), "{reason}");
    assert_eq!(big.estimates[0], None);
}

#[test]
fn what_would_have_fitted_is_reported() {
    let mut record = sweep(&["big"]).failed("big", FailureClass::KvCacheTooSmall, "no room");
    if let Some(LaunchOutcome::Failed(failure)) = &mut record.launches[0].outcome {
        failure.estimated_max_model_len = Some(9_472);
    }
    let reason = rank(&record).rows[0].reason().unwrap();
    assert!(reason.contains("9472 tokens"), "{reason}");
    let frame = vllm_grid::results::frame::results(&record).unwrap();
    let column = frame.column("estimated_max_model_len").unwrap();
    assert_eq!(column.u64().unwrap().get(0), Some(9_472));
}

#[test]
fn a_failed_launch_among_good_ones_is_remarked() {
    let sweep = sweep(&["a"]).launch("a", &around(100.0)).failed(
        "a",
        FailureClass::Timeout,
        "no answer for 600 s",
    );
    let ranking = rank(&sweep);
    let a = &ranking.rows[0];
    assert_eq!((a.eligible, a.launches, a.failures), (true, 2, 1));
    let failed = Remark::FailedLaunches { failed: 1, launches: 2, class: FailureClass::Timeout };
    assert_eq!(a.remarks, [failed]);
    assert_eq!(a.remarks[0].to_string(), "1 of 2 launches failed (timeout)");
}

#[test]
fn a_configuration_that_was_never_launched_is_a_row_with_the_reason() {
    let mut sweep = sweep(&["a", "never", "pruned"]).launch("a", &around(100.0));
    sweep = sweep.launch("pruned", &[]);
    sweep.launches[1].outcome = Some(LaunchOutcome::Skipped {
        reason: "dominated by `big`".to_owned(),
        by_strategy: false,
    });
    let ranking = rank(&sweep);
    assert_eq!(row(&ranking, "never").reason().as_deref(), Some("not launched so far"));
    let pruned = row(&ranking, "pruned");
    assert_eq!(pruned.reason().as_deref(), Some("not launched: dominated by `big`"));
    assert_eq!((pruned.launches, pruned.failures), (0, 0));
}

#[test]
fn an_interrupted_launch_counts_with_what_it_measured() {
    let mut sweep = sweep(&["a"]).launch("a", &[100.0, 110.0]);
    sweep.launches[0].outcome = Some(LaunchOutcome::Interrupted);
    let ranking = rank(&sweep);
    assert_eq!((ranking.rows[0].eligible, ranking.rows[0].repeats), (true, 2));
}

#[test]
fn an_overridden_flag_costs_the_name_its_rank() {
    let sweep = sweep(&["nochunk", "other"])
        .flags("nochunk", json!({"enable-chunked-prefill": false}))
        .flags("other", json!({"enable-chunked-prefill": false, "max-num-seqs": 32}))
        .launch("nochunk", &around(100.0))
        .shown("enable-chunked-prefill", json!(true), Shown::Overridden)
        .launch("other", &around(200.0))
        .shown("max-num-seqs", json!(32), Shown::Echoed);
    let ranking = rank(&sweep);
    let nochunk = row(&ranking, "nochunk");
    assert!(!nochunk.eligible);
    assert_eq!(
        nochunk.reason().as_deref(),
        Some("overridden: ran with enable-chunked-prefill=true (asked: false)")
    );
    // Its figures are still there.
    assert!((geomean(nochunk) - 100.0).abs() < 2.0);
    assert_eq!(row(&ranking, "other").rank, Some(1));
}

#[test]
fn two_that_ran_as_one_are_one_arm_with_several_names() {
    let sweep = sweep(&["chunk", "nochunk"])
        .flags("chunk", json!({"enable-chunked-prefill": true}))
        .flags("nochunk", json!({"enable-chunked-prefill": false}))
        .launch("chunk", &[100.0, 100.0])
        .shown("enable-chunked-prefill", json!(true), Shown::Honoured)
        .launch("nochunk", &[400.0, 400.0])
        .shown("enable-chunked-prefill", json!(true), Shown::Overridden);
    let ranking = rank(&sweep);
    let chunk = row(&ranking, "chunk");
    assert_eq!((chunk.eligible, chunk.launches, chunk.repeats), (true, 2, 4));
    assert_eq!(chunk.aliases, ["nochunk"]);
    assert!((geomean(chunk) - 200.0).abs() < 1e-9);
    let nochunk = row(&ranking, "nochunk");
    assert!(!nochunk.eligible);
    assert!(nochunk.reason().unwrap().ends_with("; counted as chunk"));
    assert_eq!(ranking.verdict, RankingVerdict::Only { name: "chunk".to_owned() });
}

#[test]
fn proven_values_that_are_equal_make_one_arm_and_the_baseline_keeps_its_name() {
    let record = sweep(&["explicit", "production", "other"])
        .baseline("production")
        .flags("explicit", json!({"max-num-seqs": 256, "dtype": "bfloat16"}))
        .flags("production", json!({"max-num-seqs": null, "dtype": "auto"}))
        .flags("other", json!({"max-num-seqs": 8, "dtype": "auto"}))
        .launch("explicit", &[100.0, 100.0])
        .shown("max-num-seqs", json!("256"), Shown::Honoured)
        .shown("dtype", json!("torch.bfloat16"), Shown::Honoured)
        .launch("production", &[400.0, 400.0])
        .shown("max-num-seqs", json!(256), Shown::Honoured)
        .shown("dtype", json!("torch.bfloat16"), Shown::Passed)
        .launch("other", &[300.0, 300.0])
        .shown("max-num-seqs", json!(8), Shown::Passed)
        .shown("dtype", json!("torch.bfloat16"), Shown::Passed);
    let ranking = rank(&record);
    let production = row(&ranking, "production");
    assert_eq!((production.launches, production.repeats), (2, 4));
    assert_eq!(production.aliases, ["explicit"]);
    // Of both launches, at the machine's mean speed.
    assert_eq!(production.estimates[0].unwrap().launches, 2);
    assert!((150.0..300.0).contains(&geomean(production)), "{}", geomean(production));
    let explicit = row(&ranking, "explicit");
    assert_eq!(
        explicit.reason().as_deref(),
        Some("ran with the same values as production; counted as production")
    );
    assert_eq!(row(&ranking, "other").aliases, Vec::<String>::new());
    assert!(row(&ranking, "other").eligible);
}

#[test]
fn what_only_echoes_or_did_not_arrive_makes_no_arm_of_two() {
    let build = || {
        sweep(&["left-out", "eight"])
            .flags("left-out", json!({"max-num-seqs": null}))
            .flags("eight", json!({"max-num-seqs": 8}))
            .launch("left-out", &[100.0, 100.0])
            .launch("eight", &[400.0, 400.0])
    };
    let both = |record: &_| rank(record).rows.iter().filter(|row| row.eligible).count();
    assert_eq!(both(&build().shown("max-num-seqs", json!(8), Shown::Echoed)), 2);
    // A launch that failed because its flag did not arrive says nothing of how it runs.
    let mut record = build();
    record.launches[0].effective = {
        let shown = build().shown("max-num-seqs", json!(8), Shown::Honoured);
        shown.launches[1].effective.clone()
    };
    assert_eq!(both(&record), 1, "the same launch, if it had been measured");
    let failed = build().failed("left-out", FailureClass::FlagNotApplied, "not there");
    record.launches[0].outcome = failed.launches[2].outcome.clone();
    let ranking = rank(&record);
    assert_eq!(row(&ranking, "eight").aliases, Vec::<String>::new());
}

#[test]
fn what_differs_in_more_than_flags_stays_two() {
    let record = sweep(&["one-image", "another"])
        .launch("one-image", &[100.0, 100.0])
        .launch("another", &[400.0, 400.0]);
    assert_eq!(rank(&record).rows.iter().filter(|row| row.eligible).count(), 2);
}

#[test]
fn a_constraint_holds_is_violated_or_not_shown_by_its_interval() {
    let build = |max| {
        let sweep = sweep(&["a"])
            .constraint("kv_cache.ttft_miss_ms", None, Some(max))
            .launch("a", &around(100.0))
            .and("ttft_miss_ms", &around(4000.0))
            .launch("a", &around(100.0))
            .and("ttft_miss_ms", &around(4000.0));
        rank(&sweep).rows.remove(0)
    };
    let holds = build(5000.0);
    assert_eq!((holds.constraints[0].verdict, holds.eligible), (ConstraintVerdict::Holds, true));
    let violated = build(3000.0);
    assert_eq!(
        (violated.constraints[0].verdict, violated.eligible),
        (ConstraintVerdict::Violated, false)
    );
    // The figure and the bound are next to it.
    let figure = "kv_cache.ttft_miss_ms: 4021 ms [3743, 4319], at most";
    assert_eq!(violated.reason(), Some(format!("breaks the bound of {figure} 3000 ms")));
    let open = build(4100.0);
    assert_eq!((open.constraints[0].verdict, open.eligible), (ConstraintVerdict::NotShown, true));
    assert_eq!(open.remarks, []);
    let remarks: Vec<String> = open.all_remarks().iter().map(Remark::to_string).collect();
    assert_eq!(remarks, [format!("not shown to be within the bound of {figure} 4100 ms")]);
}

#[test]
fn a_lower_bound_works_the_other_way_round() {
    let build = |min| {
        let sweep = sweep(&["a"])
            .constraint("kv_cache.ttft_miss_ms", Some(min), None)
            .launch("a", &around(100.0))
            .and("ttft_miss_ms", &around(4000.0));
        rank(&sweep).rows[0].constraints[0].verdict
    };
    assert_eq!(build(3000.0), ConstraintVerdict::Holds);
    assert_eq!(build(5000.0), ConstraintVerdict::Violated);
    assert_eq!(build(4100.0), ConstraintVerdict::NotShown);
}

#[test]
fn what_was_not_measured_cannot_meet_a_constraint() {
    let sweep = sweep(&["a"])
        .constraint("kv_cache.ttft_hit_ms", None, Some(500.0))
        .launch("a", &around(100.0));
    let ranking = rank(&sweep);
    assert_eq!(ranking.rows[0].constraints[0].verdict, ConstraintVerdict::NotMeasured);
    let reason = ranking.rows[0].reason().unwrap();
    // What it needs is in its definition.
    let expected = "kv_cache.ttft_hit_ms was not measured: 5 valid repeats have no value of it \
                (ttft_resent_ms where the server's counters certify the hits";
    assert!(reason.starts_with(expected), "{reason}");
}

#[test]
fn a_zero_objective_has_no_geometric_mean_and_says_so() {
    let sweep =
        sweep(&["a", "zero"]).launch("a", &around(100.0)).launch("zero", &[100.0, 0.0, 0.0]);
    let ranking = rank(&sweep);
    let zero = row(&ranking, "zero");
    assert_eq!((zero.rank, zero.estimates[0]), (None, None));
    assert!(zero.reason().unwrap().starts_with("2 of 3 values"), "{:?}", zero.reason());
    assert_eq!(row(&ranking, "a").rank, Some(1));
}

#[test]
fn the_difference_to_the_baseline_is_a_ratio_with_an_interval() {
    let sweep = sweep(&["production", "on"])
        .baseline("production")
        .launch("production", &around(2000.0))
        .launch("on", &around(200.0))
        .launch("production", &around(2000.0))
        .launch("on", &around(200.0));
    let ranking = rank(&sweep);
    assert!(row(&ranking, "production").baseline);
    assert_eq!(row(&ranking, "production").baseline_ratio, None);
    let ratio = row(&ranking, "on").baseline_ratio.unwrap();
    assert!((ratio.ratio - 0.1).abs() < 1e-9);
    assert!(ratio.interval.low < 0.1 && ratio.interval.high > 0.1 && ratio.interval.high < 0.13);
}

#[test]
fn an_objective_names_its_case() {
    let mut sweep = sweep(&["a"]).launch("a", &[]);
    for (case, number) in [("prefix=1024", 10.0), ("prefix=4096", 40.0)] {
        let m = measured(1, "ttft_resent_ms", number);
        sweep = sweep.measurement(Measurement { case: case.to_owned(), ..m });
    }
    sweep.manifest.workloads = vec![
        serde_json::from_value(json!({"workload": "kv-cache", "prefix_tokens": [1024, 4096],
            "prompts": 4, "output_tokens": 16, "repeats": null, "warmup": 1}))
        .unwrap(),
    ];
    sweep.manifest.objective.metric = "kv_cache[prefix=4096].ttft_resent_ms".parse().unwrap();
    let ranking = rank(&sweep);
    assert!((geomean(&ranking.rows[0]) - 40.0).abs() < 1e-9);
    let other = ranking
        .metrics
        .iter()
        .position(|m| m.to_string() == "kv_cache[prefix=1024].ttft_resent_ms");
    assert!((ranking.rows[0].estimates[other.unwrap()].unwrap().mean - 10.0).abs() < 1e-9);
    // Without a case it is not guessed.
    sweep.manifest.objective.metric = "kv_cache.ttft_resent_ms".parse().unwrap();
    assert!(rank(&sweep).rows[0].reason().unwrap().contains("names no case"));
}

#[test]
fn nothing_to_rank_is_reported_and_does_not_panic() {
    let empty = rank(&sweep(&[]));
    assert_eq!((empty.rows.len(), empty.verdict.ranked()), (0, false));
    let unlaunched = rank(&sweep(&["a", "b"]));
    assert_eq!(
        unlaunched.verdict.to_string(),
        "nothing could be ranked: none of 2 configurations is eligible"
    );
}

#[test]
fn the_chances_are_reported_with_the_ranks() {
    let mut record = sweep(&["a", "b", "slow"]);
    for _ in 0..2 {
        record = record
            .launch("a", &around(100.0))
            .launch("b", &around(102.0))
            .launch("slow", &around(2000.0));
    }
    let chances = |ranking: &Ranking, name| row(ranking, name).chances.unwrap();
    let ranking = rank(&record);
    let (a, b, slow) = (chances(&ranking, "a"), chances(&ranking, "b"), chances(&ranking, "slow"));
    assert!((0.55..0.8).contains(&a.best) && (a.best + b.best - 1.0).abs() < 0.01, "{a:?} {b:?}");
    assert!(a.near > 0.9 && b.near > 0.6 && slow.near < 0.01, "{a:?} {b:?} {slow:?}");
    let frame = ranking.frame().unwrap();
    assert!(frame.column("p_best").unwrap().f64().unwrap().get(0).unwrap() > 0.5);
    // The other way round, the slow one is the best.
    record.manifest.objective.goal = Goal::Maximize;
    assert!(chances(&rank(&record), "slow").best > 0.99);
}

#[test]
fn in_a_tie_what_else_is_known_decides_what_to_take() {
    let build = |one: serde_json::Value, other: serde_json::Value| {
        let mut record = sweep(&["plain", "one", "other"])
            .baseline("plain")
            .flags("plain", json!({"max-num-seqs": 8, "gpu-memory-utilization": 0.9}))
            .flags("one", one)
            .flags("other", other);
        for _ in 0..2 {
            record = record.launch("one", &around(100.0)).launch("other", &around(101.0));
        }
        record
    };
    let preferred = |record: &_| {
        let ranking = rank(record);
        let names = ranking.rows.iter().filter(|row| row.preferred);
        names.map(|row| row.name.clone()).collect::<Vec<_>>()
    };
    let of =
        |memory: f64, seqs: u32| json!({"max-num-seqs": seqs, "gpu-memory-utilization": memory});
    // The mean, where nothing else differs; then flags of the baseline, then memory.
    assert_eq!(preferred(&build(of(0.9, 16), of(0.9, 32))), ["one"]);
    assert_eq!(preferred(&build(of(0.9, 16), of(0.9, 8))), ["other"]);
    assert_eq!(preferred(&build(of(0.9, 8), of(0.8, 32))), ["other"]);
    // Failures before all.
    let failed = build(of(0.9, 8), of(0.8, 32)).failed("other", FailureClass::Timeout, "slow");
    assert_eq!(preferred(&failed), ["one"]);
    // Ranks are those of the means.
    assert_eq!(rank(&failed).rows[0].name, "one");
    // Where the first is distinguishable there is nothing to prefer.
    let apart = sweep(&["plain", "fast"])
        .launch("plain", &around(1000.0))
        .launch("fast", &around(100.0))
        .launch("plain", &around(1000.0))
        .launch("fast", &around(100.0));
    assert!(preferred(&apart).is_empty());
}
