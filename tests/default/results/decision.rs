//! What to take, and what is claimed of it: two different statements.

use serde_json::json;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::Goal;
use vllm_grid::results::decision::{Claim, Decision};
use vllm_grid::results::findings::Finding;
use vllm_grid::results::ranking::{Effect, RankingVerdict, rank};
use vllm_grid::results::reading::Reading;

use crate::results::builder::{Building, around, sweep};

fn decision(record: &SweepRecord) -> Decision {
    rank(record).decision.unwrap()
}

/// Three configurations that repeats of 20 % do not distinguish; the third needs least
/// memory.
fn wide_tie(third: f64) -> SweepRecord {
    let memory = |share: f64| json!({"gpu-memory-utilization": share});
    let mut record = sweep(&["plain", "best", "small"])
        .baseline("plain")
        .flags("plain", memory(0.9))
        .flags("best", memory(0.9))
        .flags("small", memory(0.5));
    let noisy = |ms: f64| [0.75, 1.3, 0.9, 1.2, 0.8].map(|factor| ms * factor);
    for _ in 0..3 {
        record = record.launch("plain", &noisy(108.0));
        record = record.launch("best", &noisy(100.0)).launch("small", &noisy(third));
    }
    record
}

#[test]
fn less_memory_decides_only_within_1_percent_of_rank_1() {
    let far = wide_tie(104.0);
    assert!(
        matches!(rank(&far).verdict, RankingVerdict::Tie { ref names, .. } if names.len() == 3)
    );
    let far = decision(&far).candidate;
    assert_eq!((far.configuration.as_str(), far.within_1_percent, far.rank), ("best", 1, 1));
    let near = decision(&wide_tie(100.8)).candidate;
    assert_eq!((near.configuration.as_str(), near.within_1_percent, near.rank), ("small", 2, 2));
    assert!(near.p_within_5_percent.is_some_and(|p| p > 0.3), "{near:?}");
}

#[test]
fn what_is_within_bounds_comes_first_within_1_percent() {
    let mut record = sweep(&["plain", "open", "kept"]).baseline("plain").constraint(
        "kv_cache.ttft_miss_ms",
        None,
        Some(1000.0),
    );
    for _ in 0..3 {
        record = record.launch("plain", &around(140.0)).and("ttft_miss_ms", &around(500.0));
        record = record.launch("open", &around(100.0)).and("ttft_miss_ms", &around(990.0));
        record = record.launch("kept", &around(100.5)).and("ttft_miss_ms", &around(500.0));
    }
    let candidate = decision(&record).candidate;
    assert_eq!((candidate.configuration.as_str(), candidate.within_bounds), ("kept", true));
}

#[test]
fn without_a_claim_the_baseline_is_kept() {
    let tie = decision(&wide_tie(104.0));
    assert!(matches!(&tie.claim, Claim::NotShown { baseline, p: Some(p), .. }
        if baseline == "plain" && *p > 0.05));
    assert_eq!(tie.candidate.configuration, "best");
    let better = sweep(&["plain", "fast"])
        .baseline("plain")
        .launch("plain", &around(200.0))
        .launch("fast", &around(100.0))
        .launch("plain", &around(205.0))
        .launch("fast", &around(101.0));
    let claim = decision(&better);
    let Claim::Better { effect: Effect::Ratio(ratio), p, .. } = &claim.claim else {
        panic!("{claim:?}")
    };
    assert!(*p < 0.05 && ratio.interval.high < 1.0 && claim.claims());
    assert_eq!(claim.candidate.configuration, "fast");
}

#[test]
fn a_claim_needs_two_launches_of_both() {
    let record = sweep(&["plain", "fast"])
        .baseline("plain")
        .launch("plain", &around(200.0))
        .launch("fast", &around(100.0))
        .launch("plain", &around(205.0));
    let ranking = rank(&record);
    assert!(matches!(ranking.verdict, RankingVerdict::Insufficient { more_launches: 1, .. }));
    let text = ranking.verdict.to_string();
    assert!(text.ends_with("1 configuration was launched once"), "{text}");
    assert!(matches!(ranking.decision.unwrap().claim, Claim::NotShown { p: None, .. }));
}

#[test]
fn the_baseline_may_be_the_candidate_or_not_comparable_or_not_named() {
    let record = sweep(&["plain", "slow"])
        .launch("plain", &around(100.0))
        .launch("slow", &around(200.0))
        .launch("plain", &around(100.0))
        .launch("slow", &around(200.0));
    assert_eq!(decision(&record).claim, Claim::NoBaseline);
    assert_eq!(decision(&record.clone().baseline("plain")).claim, Claim::IsBaseline);
    let lost = record.baseline("slow").constraint("kv_cache.ttft_resent_ms", None, Some(150.0));
    assert!(matches!(decision(&lost).claim, Claim::BaselineNotRanked { .. }));
    assert!(rank(&sweep(&["plain"])).decision.is_none());
}

/// `b` has a better mean than `c`, and is known well enough to be worse than `a`.
#[test]
fn one_that_is_shown_to_be_worse_is_not_in_the_tie_wherever_it_stands() {
    let mut record = sweep(&["a", "b", "c"]);
    for _ in 0..6 {
        record = record.launch("a", &[100.0, 101.0, 99.0]).launch("b", &[112.0, 113.0, 111.0]);
    }
    record = record.launch("c", &[114.0, 120.0, 108.0]);
    let ranking = rank(&record);
    let labels: Vec<_> = ranking.rows.iter().map(|row| row.rank_label.clone().unwrap()).collect();
    assert_eq!(labels, ["1,3", "2", "1,3"]);
    assert!(ranking.rows[1].p_first.unwrap() < 0.05);
}

/// Twelve configurations of which one serves twice as many good requests.
fn twelve(metric: &str, low: f64) -> SweepRecord {
    let names: Vec<String> = (0..12).map(|number| format!("c{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut record = sweep(&names).baseline("c00");
    record.manifest.objective.metric = metric.parse().unwrap();
    record.manifest.objective.goal = Goal::Maximize;
    let factors = [[0.9, 1.15, 0.95], [1.1, 0.85, 1.0], [1.05, 0.92, 1.08]];
    for (block, factors) in factors.iter().enumerate() {
        for (at, name) in names.iter().enumerate() {
            let value = if at == 7 { 2.0 * low } else { low };
            let launch = 1.0 + 0.02 * ((at + block) % 3) as f64;
            let values = factors.map(|factor| value * factor * launch);
            record = record.launch_of(name, metric.split('.').nth(1).unwrap(), &values);
        }
    }
    record
}

#[test]
fn twice_as_much_is_shown_among_twelve_though_the_objective_could_be_zero() {
    // Differences by the catalogue and never zero: ratios, the difference kept beside them.
    let ranking = rank(&twelve("kv_cache.hit_tokens_share", 0.3));
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "c07".to_owned() });
    let first = &ranking.rows[0];
    assert!(first.baseline_ratio.is_some() && first.baseline_difference.is_some());
    assert!(ranking.decision.unwrap().claims() && ranking.machine.is_some());
    // Counts share their relative spread; no time effect is taken out of them.
    let ranking = rank(&twelve("kv_cache.requests", 60.0));
    assert_eq!(ranking.verdict, RankingVerdict::First { name: "c07".to_owned() });
    assert!(ranking.decision.as_ref().is_some_and(Decision::claims) && ranking.machine.is_none());
    assert!(ranking.findings().contains(&Finding::NoTimeEffect));
}

/// Good requests per second of a baseline that never has one, and of two others.
fn good(plain: [f64; 2], fast: [[f64; 2]; 3]) -> SweepRecord {
    let mut record = sweep(&["plain", "fast"]).baseline("plain");
    record.manifest.objective.metric = "load.request_goodput".parse().unwrap();
    let options = serde_json::json!({"requests": 8});
    let load = vllm_grid::workload::Workload::from_options("load", options.as_object().unwrap());
    record.manifest.workloads = vec![load.unwrap()];
    record.manifest.objective.goal = Goal::Maximize;
    let case = record.manifest.workloads[0].cases()[0].clone();
    for values in fast {
        record = record.launch_of("plain", "request_goodput", &plain);
        record = record.launch_of("fast", "request_goodput", &values);
    }
    for measurement in record.launches.iter_mut().flat_map(|it| &mut it.measurements) {
        "load".clone_into(&mut measurement.workload);
        measurement.case.clone_from(&case);
    }
    record
}

#[test]
fn a_baseline_without_a_good_request_has_a_rank_and_is_compared() {
    let open = decision(&good([0.0; 2], [[0.0, 9.0], [1.0, 0.0], [4.0, 2.0]]));
    assert!(
        matches!(&open.claim, Claim::NotShown { effect: Some(_), p: Some(p), .. } if *p > 0.05),
        "{open:?}"
    );
    assert_eq!(open.candidate.configuration, "fast");
    let shown = decision(&good([0.0; 2], [[4.0, 4.1], [4.2, 4.0], [4.1, 4.0]]));
    assert!(matches!(shown.claim, Claim::Better { .. }), "{shown:?}");
}

#[test]
fn where_every_value_is_zero_no_mean_is_called_the_best() {
    let record = good([0.0; 2], [[0.0; 2]; 3]);
    let ranking = rank(&record);
    assert!(ranking.all_zero);
    let place = crate::results::reading::place();
    let reading = Reading::of(&ranking, &record.manifest, &place);
    let text = vllm_grid::report::reading::render(&reading, 80);
    assert!(text.contains("every value of request_goodput is 0"), "{text}");
    assert!(!text.contains("within 1%"), "{text}");
    let table = vllm_grid::report::table::render(&ranking, &record.manifest, 80, true);
    assert!(table.contains("every value of load.request_goodput is 0"), "{table}");
    assert!(!rank(&good([0.0; 2], [[0.0, 9.0], [1.0, 0.0], [4.0, 2.0]])).all_zero);
}
