//! What is to be taken for which use, from made-up sweeps.

use serde_json::json;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Measurement, MetricValue};
use vllm_grid::results::analysis::Use;
use vllm_grid::results::ranking::rank;
use vllm_grid::server::effective::{Effective, FlagProof};
use vllm_grid::workload::Workload;

use super::analysis::{Step, loads, of, row};
use super::builder::{Building as _, measured, sweep};

fn use_of(record: &SweepRecord, name: &str) -> Use {
    of(record).uses.into_iter().find(|it| it.name == name).expect("a use")
}

#[test]
fn a_use_keeps_the_baseline_unless_a_difference_is_shown() {
    let mut record = loads(&[
        ("base", &[(8, 100.0, 50.0)]),
        ("same", &[(8, 100.5, 50.0)]),
        ("more", &[(8, 150.0, 50.0)]),
    ])
    .baseline("base");
    let throughput = |record: &SweepRecord| {
        let uses = of(record).uses;
        uses.into_iter().find(|it| it.name == "throughput").unwrap()
    };
    let it = throughput(&record);
    assert_eq!((it.best, it.shown), (Some(row(&rank(&record), "more")), true), "{it:?}");
    let ratio = it.ratio.unwrap();
    assert!((ratio.value - 1.5).abs() < 0.01 && ratio.launches == 4, "{ratio:?}");
    // It is the objective: nothing else is said of it than in the ranking.
    let ranked = &rank(&record).rows[it.best.unwrap()];
    assert_eq!(ratio.interval, ranked.baseline_ratio.map(|it| it.interval));
    assert_eq!(it.figure.map(|it| it.value), ranked.estimates[0].map(|it| it.mean));
    record.launches.retain(|it| it.configuration != "more");
    let it = throughput(&record);
    assert_eq!((it.best, it.shown), (Some(row(&rank(&record), "same")), false), "{it:?}");
    assert!(it.ratio.unwrap().interval.unwrap().contains(1.0));
    record.launches.retain(|it| it.configuration != "same");
    let it = throughput(&record);
    assert_eq!((it.best, it.ratio), (Some(row(&rank(&record), "base")), None), "{it:?}");
}

/// What has no rank is compared with nothing: neither kept for its figure nor beaten.
#[test]
fn a_baseline_without_a_rank_takes_no_part() {
    for more in [50.0, 150.0] {
        let record = loads(&[("base", &[(8, 100.0, 900.0)]), ("other", &[(8, more, 50.0)])])
            .baseline("base")
            .constraint("load[concurrency=8].median_ttft_ms", None, Some(500.0));
        let ranking = rank(&record);
        assert!(!ranking.rows[row(&ranking, "base")].eligible);
        let it = use_of(&record, "throughput");
        assert_eq!((it.best, it.shown, it.ratio), (None, false, None));
        let why = it.without.unwrap();
        assert!(why.starts_with("the baseline is not ranked: "), "{why}");
    }
}

/// The ranking's p-values are adjusted: adjusting them again would hide what it shows.
#[test]
fn a_use_that_is_the_objective_is_adjusted_once() {
    let mut tried = 0;
    for step in 1..200 {
        let much = 100.0 * (1.0 + 0.0005 * f64::from(step));
        let names = ["b", "c", "d", "e"];
        let mut all: Vec<(&str, [Step; 1])> = names.map(|it| (it, [(8, 100.0, 50.0)])).into();
        all.extend([("base", [(8, 100.0, 50.0)]), ("more", [(8, much, 50.0)])]);
        let all: Vec<(&str, &[Step])> = all.iter().map(|(name, it)| (*name, &it[..])).collect();
        let record = loads(&all).baseline("base");
        let ranking = rank(&record);
        let ranked = &ranking.rows[row(&ranking, "more")];
        let (alone, p) = (ranked.p_baseline_alone.unwrap(), ranked.p_baseline.unwrap());
        assert!((p - (5.0 * alone).min(1.0)).abs() < 1e-9, "{p} {alone}");
        if !(0.015..0.05).contains(&p) {
            continue;
        }
        let it = use_of(&record, "throughput");
        // Below 1 % the baseline may be preferred.
        if it.best != Some(row(&ranking, "more")) {
            continue;
        }
        tried += 1;
        assert!(it.shown, "{p}");
    }
    assert!(tried > 0, "no difference had such a p-value");
}

#[test]
fn of_the_objective_it_is_said_where_the_candidate_has_not_the_best_mean() {
    let record = loads(&[("base", &[(8, 100.0, 50.0)]), ("more", &[(8, 150.0, 50.0)])]);
    let it = use_of(&record.baseline("base"), "throughput");
    assert!(!it.by_ranking && it.best.is_some() && it.against.is_some());
    // Within 1 % of the best mean the one with fewer changed flags is preferred.
    let record = loads(&[("base", &[(8, 100.0, 50.0)]), ("even", &[(8, 100.3, 50.0)])]);
    let record = record.flags("even", json!({"max-num-seqs": 8})).baseline("base");
    let ranking = rank(&record);
    let candidate = &ranking.decision.as_ref().unwrap().candidate.configuration;
    let it = use_of(&record, "throughput");
    assert_eq!(it.best, Some(row(&ranking, candidate)));
    assert_eq!(it.by_ranking, ranking.rows[0].name != *candidate, "{it:?}");
    assert!(it.by_ranking, "the baseline is preferred: {candidate}");
}

/// A baseline that ran as another configuration is that one.
#[test]
fn a_use_compares_with_what_the_baseline_ran_as() {
    let mut record = loads(&[("a", &[(8, 150.0, 50.0)]), ("prod", &[(8, 150.0, 50.0)])]);
    record = record
        .flags("a", json!({"max-num-seqs": 8}))
        .flags("prod", json!({"max-num-seqs": 16}))
        .baseline("prod");
    for launch in record.launches.iter_mut().filter(|it| it.configuration == "prod") {
        let (value, proof) = (Some(json!(8)), Some(FlagProof::Overridden));
        let shown = Effective { value, proof, source: "log".to_owned() };
        launch.effective.insert("max-num-seqs".to_owned(), shown);
    }
    let it = use_of(&record, "throughput");
    let a = Some(row(&rank(&record), "a"));
    assert_eq!((it.best, it.against, it.ratio, it.without), (a, a, None, None));
}

/// A launch that died after the easy case would make its configuration better than it is.
#[test]
fn a_share_over_several_cases_is_of_repeats_that_have_all_of_them() {
    let mut record = sweep(&["base", "died"]).baseline("base");
    let workload = Workload::from_options("tool-calling", &serde_json::Map::new()).unwrap();
    let cases = workload.cases();
    assert!(cases.len() > 1, "{cases:?}");
    record.manifest.workloads = vec![workload];
    record.manifest.objective.metric =
        format!("tool_calling[{}].mean_e2el_ms", cases[0]).parse().unwrap();
    for off in [0.99, 1.0, 1.01] {
        for name in ["base", "died"] {
            record = record.launch(name, &[]);
            for (at, case) in cases.iter().enumerate() {
                for repeat in 1..=2 {
                    if name == "died" && repeat == 2 && at > 0 {
                        continue;
                    }
                    let right = if at == 0 { 1.0 } else { 0.25 };
                    let mut it = Measurement {
                        workload: "tool_calling".to_owned(),
                        case: case.clone(),
                        ..measured(repeat, "mean_e2el_ms", 100.0 * off)
                    };
                    for (metric, value) in [("accuracy", right), ("asked", 20.0)] {
                        let value = Some(MetricValue::Number(value));
                        it.metrics.insert(metric.to_owned(), value);
                    }
                    record = record.measurement(it);
                }
            }
        }
    }
    let it = use_of(&record, "tools");
    let wanted = (1.0 + 0.25 * (cases.len() - 1) as f64) / cases.len() as f64;
    assert_eq!(it.metric.name, "accuracy");
    for figure in [it.figure.unwrap(), it.baseline.unwrap()] {
        assert!((figure.value - wanted).abs() < 1e-9, "{it:?} {wanted}");
    }
    assert_eq!(it.best, Some(row(&rank(&record), "base")), "both are equal");
}

#[test]
fn a_use_with_several_cases_is_judged_over_all_of_them() {
    let mut record = sweep(&["base", "quick"]).baseline("base");
    let workload = Workload::from_options("reasoning", &serde_json::Map::new()).unwrap();
    let cases = workload.cases();
    record.manifest.workloads = vec![workload];
    record.manifest.objective.metric =
        format!("reasoning[{}].mean_e2el_ms", cases[0]).parse().unwrap();
    for off in [0.99, 1.01, 1.0] {
        for (name, level) in [("base", 1000.0), ("quick", 800.0)] {
            record = record.launch(name, &[]);
            for (at, case) in cases.iter().enumerate() {
                for repeat in 1..=2 {
                    let value = off * level * (1.0 + at as f64) * (1.0 + 0.01 * f64::from(repeat));
                    record = record.measurement(Measurement {
                        workload: "reasoning".to_owned(),
                        case: case.clone(),
                        ..measured(repeat, "mean_e2el_ms", value)
                    });
                }
            }
        }
    }
    let uses = of(&record).uses;
    let it = uses.iter().find(|it| it.name == "reasoning").unwrap();
    assert_eq!((it.metric.case.as_ref(), it.shown), (None, true), "{it:?}");
    let ratio = it.ratio.unwrap();
    assert!((ratio.value - 0.8).abs() < 0.005, "{ratio:?}");
    // The geometric mean of 1, 2 and 3 times the level.
    let mean = 6.0_f64.powf(1.0 / 3.0) * 800.0 * 1.015;
    assert!((it.figure.unwrap().value / mean - 1.0).abs() < 0.01, "{it:?}");
}
