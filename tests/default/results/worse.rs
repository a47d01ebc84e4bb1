//! Whether a sweep is shown to be worse than another by more than a share.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::Goal;
use vllm_grid::report::{comparison, comparison_markdown};
use vllm_grid::results::comparison::{Comparison, Outcome, Run, WorseThan, compare_within};
use vllm_grid::strategy::{AdaptiveStrategy, StrategySpec};

use crate::results::builder::{Building, around, sweep};
use crate::results::noise::normal;

/// Three launches of five repeats each around these values, which differ by 1 % from launch
/// to launch.
fn night(figures: &[(&str, f64)]) -> SweepRecord {
    let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
    let mut record = sweep(&names);
    for factor in [0.99, 1.0, 1.01] {
        for (name, value) in figures {
            record = record.launch(name, &around(value * factor));
        }
    }
    record
}

fn comparison_of(first: &SweepRecord, last: &SweepRecord, share: f64) -> Comparison {
    let mut last = last.clone();
    "test-20261201T061353Z".clone_into(&mut last.manifest.sweep);
    let run = |folder: &str, record: &SweepRecord| Run {
        folder: folder.to_owned(),
        record: record.clone(),
    };
    compare_within(vec![run("runs/a", first), run("runs/b", &last)], None, Some(share)).unwrap()
}

fn judged(first: &SweepRecord, last: &SweepRecord, share: f64) -> WorseThan {
    comparison_of(first, last, share).worse_than.unwrap()
}

#[test]
fn what_is_far_beyond_the_share_is_claimed_and_what_is_within_is_not() {
    let first = night(&[("a", 200.0), ("b", 300.0)]);
    let worse = judged(&first, &night(&[("a", 260.0), ("b", 301.0)]), 0.05);
    assert_eq!(worse.outcome, Outcome::Worse);
    let claimed: Vec<&str> =
        worse.judged.iter().filter(|it| it.worse).map(|it| it.configuration.as_str()).collect();
    assert_eq!(claimed, ["a"]);
    // 30 % worse, and 40 % is allowed.
    let worse = judged(&first, &night(&[("a", 260.0), ("b", 301.0)]), 0.4);
    assert_eq!(worse.outcome, Outcome::NotShown);
    assert_eq!(worse.judged.len(), 2);
    // Faster is never worse.
    assert_eq!(
        judged(&first, &night(&[("a", 100.0), ("b", 150.0)]), 0.0).outcome,
        Outcome::NotShown
    );
}

/// The estimate alone is no claim: the whole one-sided bound has to be beyond the share.
#[test]
fn an_estimate_beyond_the_share_whose_bound_is_not_shows_nothing() {
    let first = night(&[("a", 200.0)]);
    let worse = judged(&first, &night(&[("a", 211.0)]), 0.05);
    assert_eq!(worse.outcome, Outcome::NotShown, "{worse:?}");
    let one = &worse.judged[0];
    assert!(one.bound < 1.05 && one.limit > 1.0499, "{one:?}");
    let change = comparison_of(&first, &night(&[("a", 211.0)]), 0.05).configurations[0].change;
    let change = change.unwrap();
    assert!(change.value > 1.05);
    // One configuration: the end of the 90 % interval, which is inside of the 95 % one.
    assert!(change.low < one.bound && one.bound < change.value, "{change:?} {one:?}");
}

#[test]
fn of_a_metric_of_which_more_is_better_less_is_worse() {
    let maximised = |figures: &[(&str, f64)]| {
        let mut record = night(figures);
        record.manifest.objective.goal = Goal::Maximize;
        record
    };
    let first = maximised(&[("a", 200.0)]);
    assert_eq!(judged(&first, &maximised(&[("a", 150.0)]), 0.05).outcome, Outcome::Worse);
    assert_eq!(judged(&first, &maximised(&[("a", 260.0)]), 0.05).outcome, Outcome::NotShown);
    assert_eq!(judged(&first, &maximised(&[("a", 150.0)]), 0.3).outcome, Outcome::NotShown);
}

/// A growth that may be zero or negative is compared by differences, and the limit is a share
/// of the first mean.
#[test]
fn a_metric_without_ratios_is_judged_by_its_difference() {
    let stable = |values: [f64; 3]| {
        let mut record = sweep(&["a"]);
        record.manifest.objective.metric = "kv_cache.hit_tokens_share".parse().unwrap();
        record.manifest.objective.goal = Goal::Maximize;
        for value in values {
            let repeats: Vec<f64> = [-0.002, -0.001, 0.0, 0.001, 0.002].map(|it| value + it).into();
            record = record.launch_of("a", "hit_tokens_share", &repeats);
        }
        record
    };
    let first = stable([0.799, 0.8, 0.801]);
    let worse = judged(&first, &stable([0.6, 0.601, 0.602]), 0.05);
    assert_eq!(worse.outcome, Outcome::Worse, "{worse:?}");
    let one = &worse.judged[0];
    assert!((one.limit + 0.04).abs() < 1e-9, "5 % of 0.8: {one:?}");
    assert!(one.bound < one.limit && one.bound > -0.199, "{one:?}");
    assert_eq!(judged(&first, &stable([0.799, 0.79, 0.8]), 0.05).outcome, Outcome::NotShown);
}

/// With more configurations chance makes more of them look worse: each needs more.
#[test]
fn the_level_is_of_all_configurations_together() {
    let bound = |names: &[&str]| {
        let of = |value: f64| names.iter().map(|name| (*name, value)).collect::<Vec<_>>();
        judged(&night(&of(200.0)), &night(&of(230.0)), 0.05).judged[0].bound
    };
    assert!(bound(&["a"]) > bound(&["a", "b", "c", "d", "e", "f"]));
}

/// Last sweeps that are worse by exactly the share, in truth: the error that the level is of.
/// Launches differ by 9 %, repeats by 5 %.
#[test]
fn of_200_pairs_that_are_worse_by_exactly_the_share_at_most_18_are_claimed() {
    for (names, seed) in [(&["a"][..], 11), (&["a", "b", "c", "d"], 12)] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut night = |value: f64| {
            let mut record = sweep(names);
            for name in names.iter().cycle().take(3 * names.len()) {
                let launch = 0.09 * normal(&mut rng);
                let values = (0..3).map(|_| value * (launch + 0.05 * normal(&mut rng)).exp());
                record = record.launch(name, &values.collect::<Vec<_>>());
            }
            record
        };
        let claimed = (0..200).filter(|_| {
            let (first, last) = (night(200.0), night(210.0));
            judged(&first, &last, 0.05).outcome == Outcome::Worse
        });
        let claimed = claimed.count();
        assert!((1..=18).contains(&claimed), "{claimed} of 200, {names:?}");
    }
}

/// The same of a share that is to be large, which is compared by differences.
#[test]
fn of_200_pairs_without_ratios_at_most_18_are_claimed() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut night = |value: f64| {
        let mut record = sweep(&["a"]);
        record.manifest.objective.metric = "kv_cache.hit_tokens_share".parse().unwrap();
        record.manifest.objective.goal = Goal::Maximize;
        for _ in 0..4 {
            let launch = value + 0.02 * normal(&mut rng);
            let values: Vec<f64> = (0..3).map(|_| launch + 0.01 * normal(&mut rng)).collect();
            record = record.launch_of("a", "hit_tokens_share", &values);
        }
        record
    };
    let claimed = (0..200).filter(|_| {
        let (first, last) = (night(0.8), night(0.76));
        judged(&first, &last, 0.05).outcome == Outcome::Worse
    });
    let claimed = claimed.count();
    assert!(claimed <= 18, "{claimed} of 200");
}

#[test]
fn what_cannot_be_answered_is_not_called_not_shown() {
    let first = night(&[("a", 200.0), ("b", 300.0)]);
    // One failed in the last sweep: that it is not slower is not known.
    let mut last = sweep(&["a", "b"]);
    for factor in [0.99, 1.0, 1.01] {
        last = last.launch("a", &around(200.0 * factor));
        last = last.failed("b", FailureClass::OutOfMemory, "no memory");
    }
    let worse = judged(&first, &last, 0.05);
    assert_eq!(worse.outcome, Outcome::NotComparable);
    assert_eq!(worse.not_judged.len(), 1);
    assert!(worse.not_judged[0].missing, "{worse:?}");
    // What is worse is worse, whatever else is missing.
    let mut slower = sweep(&["a", "b"]);
    for factor in [0.99, 1.0, 1.01] {
        slower = slower.launch("a", &around(300.0 * factor));
        slower = slower.failed("b", FailureClass::OutOfMemory, "no memory");
    }
    assert_eq!(judged(&first, &slower, 0.05).outcome, Outcome::Worse);
    // Launched once: nothing can be shown of any.
    let once = sweep(&["a"]).launch("a", &around(400.0));
    let worse = judged(&first, &once, 0.05);
    assert_eq!(worse.outcome, Outcome::NotComparable, "{worse:?}");
    // Launched three times with one repeat each: the spread of launches is measured.
    let nights = |value: f64| {
        [0.99, 1.0, 1.01].iter().fold(sweep(&["a"]), |it, factor| it.launch("a", &[value * factor]))
    };
    let worse = judged(&nights(200.0), &nights(400.0), 0.05);
    assert_eq!((worse.outcome, worse.not_judged.len()), (Outcome::Worse, 0), "{worse:?}");
    assert_eq!(judged(&nights(200.0), &nights(201.0), 0.05).outcome, Outcome::NotShown);
    // A simulated sweep says nothing about a real one.
    let mut real = night(&[("a", 400.0), ("b", 600.0)]);
    real.manifest.simulated = false;
    assert_eq!(judged(&first, &real, 0.05).outcome, Outcome::NotComparable);
    // A configuration that only one grid has is named, and judged by nobody.
    let worse = judged(&first, &night(&[("a", 200.0)]), 0.05);
    assert_eq!((worse.outcome, worse.judged.len()), (Outcome::NotShown, 1));
    assert_eq!(worse.not_judged[0].configuration, "b");
}

/// The same launches, chosen by what was measured.
fn chosen(mut record: SweepRecord) -> SweepRecord {
    record.manifest.strategy = StrategySpec::Adaptive(AdaptiveStrategy::default());
    record
}

#[test]
fn of_launches_that_were_chosen_fewer_than_three_claim_nothing() {
    // `a` has three launches in both nights, `b` two in the last one.
    let first = night(&[("a", 200.0), ("b", 300.0)]);
    let mut last = night(&[("a", 201.0), ("b", 600.0)]);
    last.launches.pop();
    assert_eq!(judged(&first, &last, 0.05).outcome, Outcome::Worse, "two are enough for `grid`");
    let comparison = comparison_of(&first, &chosen(last.clone()), 0.05);
    let worse = comparison.worse_than.as_ref().unwrap();
    assert_eq!((worse.outcome, worse.judged.len()), (Outcome::NotShown, 1), "{worse:?}");
    let expected = "not enough launches: 2 in the last sweep, claims need 3 where launches are \
                    chosen";
    assert_eq!(worse.not_judged[0].reason, expected);
    assert!(!worse.not_judged[0].missing);
    // Nor is it called worse in the table, although its change stands there.
    let b = comparison.configurations.iter().find(|it| it.configuration == "b").unwrap();
    let change = b.change.unwrap();
    assert!(change.value > 1.9 && change.p.is_none() && change.shown.is_none(), "{change:?}");
    let text = comparison::render(&comparison, 100);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&format!("not judged: b: {expected}")), "{text}");
    let said = "nothing is claimed of b: a sweep chose its launches, and has fewer than 3 of them";
    assert!(text.contains(said), "{text}");
    // A first sweep that chose is no better, and with none left there is no answer.
    let (one, two) = (night(&[("a", 200.0)]), night(&[("a", 400.0)]));
    let few = |record: &SweepRecord, count: usize| {
        let mut record = record.clone();
        record.launches.truncate(count);
        chosen(record)
    };
    let worse = judged(&few(&one, 1), &few(&two, 2), 0.05);
    assert_eq!(worse.outcome, Outcome::NotComparable);
    let reason = &worse.not_judged[0].reason;
    let said = "not enough launches: 1 in the first sweep and 2 in the last sweep, claims need 3";
    assert!(reason.starts_with(said), "{reason}");
    // With three each it is judged as any other.
    assert_eq!(judged(&chosen(one), &chosen(two), 0.05).outcome, Outcome::Worse);
}

#[test]
fn text_and_markdown_say_it_with_limit_and_bound() {
    let first = night(&[("a", 200.0), ("b|c<i>", 300.0)]);
    let comparison = comparison_of(&first, &night(&[("a", 260.0), ("b|c<i>", 301.0)]), 0.05);
    let text = comparison::render(&comparison, 80);
    assert!(text.contains("WORSE by more than 5%, shown at the 5% level over 2"), "{text}");
    assert!(text.contains("a: change is at least 1.2"), "{text}");
    let markdown = comparison_markdown::render(&comparison);
    insta::assert_snapshot!(markdown);
    assert!(!markdown.contains("<i>"), "{markdown}");
    let json = serde_json::to_value(&comparison).unwrap();
    assert_eq!(json["worse_than"]["outcome"], "worse");
    // Nothing is said where nothing was asked.
    let run = |folder: &str| Run { folder: folder.to_owned(), record: first.clone() };
    let unasked = compare_within(vec![run("a"), run("b")], None, None).unwrap();
    assert!(serde_json::to_value(&unasked).unwrap().get("worse_than").is_none());
}
