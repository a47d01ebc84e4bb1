//! What a reader must know of a ranking, as data: which findings there are, in which
//! order, and as which JSON.

use serde_json::{Value, json};
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::Status;
use vllm_grid::results::findings::{AssumedVariance, Finding, IntervalSource};
use vllm_grid::results::ranking::{Effect, Exclusion, MissingValue, RankingVerdict, Remark, rank};
use vllm_grid::server::effective::FlagProof;

use crate::results::builder::{Building, around, measured, sweep};

fn findings(record: &SweepRecord) -> Vec<Finding> {
    rank(record).findings()
}

/// The kinds of the findings, as JSON names them.
fn kinds(findings: &[Finding]) -> Vec<String> {
    let all = serde_json::to_value(findings).unwrap();
    let kind = |finding: &Value| finding["finding"].as_str().unwrap().to_owned();
    all.as_array().unwrap().iter().map(kind).collect()
}

/// Three that are ranked, one that is not; none is shown to be within its bound, and a
/// repeat of the first one failed.
fn mixed() -> SweepRecord {
    let mut record = sweep(&["plain", "fast", "slow", "big"]).baseline("plain").constraint(
        "kv_cache.ttft_miss_ms",
        None,
        Some(4100.0),
    );
    for _ in 0..2 {
        for (name, ms) in [("plain", 1000.0), ("slow", 2000.0), ("fast", 200.0)] {
            record = record.launch(name, &around(ms)).and("ttft_miss_ms", &around(4000.0));
        }
    }
    let mut failed = measured(6, "ttft_resent_ms", 0.0);
    (failed.status, failed.reason) = (Status::Failed, Some("HTTP 500".to_owned()));
    record.measurement(failed).failed("big", FailureClass::OutOfMemory, "CUDA out of memory")
}

#[test]
fn the_verdict_and_its_limits_come_before_the_figures_and_the_configurations() {
    let found = findings(&mixed());
    let expected = [
        "simulated",
        "verdict",
        "decision",
        "constraint_not_shown",
        "failed_repeats",
        "baseline",
        "machine",
        "not_separable",
        "detectable",
        "intervals",
        "order_below_first",
        "first_to_baseline",
        "gain_unconfirmed",
        "not_ranked",
        "remarks",
        "remarks",
        "remarks",
    ];
    assert_eq!(kinds(&found), expected);
    assert_eq!(found[1], Finding::Verdict(RankingVerdict::First { name: "fast".to_owned() }));
    assert_eq!(found[4], Finding::FailedRepeats { configuration: "fast".to_owned(), repeats: 1 });
}

#[test]
fn findings_carry_their_figures() {
    let found = findings(&mixed());
    let effect = found.iter().find_map(|finding| match finding {
        Finding::FirstToBaseline { effect: Effect::Ratio(ratio), .. } => Some(ratio),
        _ => None,
    });
    let ratio = effect.unwrap();
    assert!((ratio.ratio - 0.2).abs() < 1e-9 && ratio.interval.contains(0.2), "{ratio:?}");
    let excluded = found.iter().find_map(|finding| match finding {
        Finding::NotRanked { configuration, exclusions } => Some((configuration, exclusions)),
        _ => None,
    });
    let (name, exclusions) = excluded.unwrap();
    let cause = MissingValue::LaunchFailed {
        class: FailureClass::OutOfMemory,
        message: "CUDA out of memory".to_owned(),
        estimated_max_model_len: None,
        dropped: None,
    };
    let metric = "kv_cache.ttft_resent_ms".parse().unwrap();
    assert_eq!(name, "big");
    assert_eq!(exclusions[0], Exclusion::NotMeasured { metric, cause });
    let Some(Finding::Remarks { configuration, remarks }) =
        found.iter().find(|finding| matches!(finding, Finding::Remarks { .. }))
    else {
        panic!("{found:?}")
    };
    assert_eq!(configuration, "fast");
    assert!(matches!(remarks[..], [Remark::BoundNotShown(_), Remark::LostRepeats(_)]));
}

#[test]
fn findings_are_json() {
    let found = serde_json::to_value(findings(&mixed())).unwrap();
    assert_eq!(found[1], json!({"finding": "verdict", "verdict": "first", "name": "fast"}));
    assert_eq!(found[2]["claim"]["claim"], "better");
    assert_eq!(found[2]["candidate"]["configuration"], "fast");
    assert_eq!(found[3]["metrics"], json!(["kv_cache.ttft_miss_ms"]));
    assert_eq!(found[6]["conclusion"], "unknown");
    assert_eq!(found[7]["limits"], json!([{"limit": "few_launches", "launches": 2}]));
    assert_eq!(found[9]["interval"], "mean_speed");
    assert_eq!(found[9]["repeats"]["assumed"], false);
    assert_eq!(found[11]["effect"]["form"], "ratio");
    assert!(found[11]["effect"]["interval"]["low"].as_f64().unwrap() > 0.1);
    assert_eq!(found[13]["exclusions"][0]["cause"]["class"], "out_of_memory");
    let remarks = &found[14]["remarks"];
    assert_eq!(remarks[0]["verdict"], "not_shown");
    assert_eq!(remarks[1]["first_reason"], "HTTP 500");
}

#[test]
fn an_assumed_variance_is_a_finding_and_claims_no_order() {
    let names = ["a", "b", "c"];
    let mut record = sweep(&names);
    for name in names {
        record = record.launch(name, &[100.0]);
    }
    let found = findings(&record);
    assert!(found.contains(&Finding::VarianceAssumed(AssumedVariance::BetweenLaunches)));
    assert!(!kinds(&found).contains(&"order_below_first".to_owned()));
    record.manifest.objective.metric = "kv_cache.failed".parse().unwrap();
    for launch in &mut record.launches {
        launch.measurements = vec![measured(1, "failed", 3.0), measured(2, "failed", 5.0)];
    }
    let found = findings(&record);
    assert!(found.contains(&Finding::Intervals(IntervalSource::Events)), "{found:?}");
    let assumed = AssumedVariance::OfSingleLaunches { deviation: 0.04 };
    assert!(found.contains(&Finding::VarianceAssumed(assumed)), "{found:?}");
}

#[test]
fn nothing_is_said_of_figures_that_there_are_not() {
    let mut record = sweep(&[]);
    record.manifest.simulated = false;
    assert_eq!(kinds(&findings(&record)), ["verdict"]);
    let record = sweep(&["a", "b"]).failed("a", FailureClass::Timeout, "no answer");
    let expected = ["simulated", "verdict", "not_ranked", "not_ranked"];
    assert_eq!(kinds(&findings(&record)), expected);
}

#[test]
fn a_name_that_ran_as_another_is_a_finding_of_both() {
    let mut record = sweep(&["chunk", "nochunk"])
        .flags("chunk", json!({"enable-chunked-prefill": true}))
        .flags("nochunk", json!({"enable-chunked-prefill": false}));
    record = record.launch("chunk", &[100.0, 100.0]).launch("nochunk", &[400.0, 400.0]).shown(
        "enable-chunked-prefill",
        json!(true),
        FlagProof::Overridden,
    );
    let found = findings(&record);
    let aliases =
        Finding::Aliases { configuration: "chunk".to_owned(), aliases: vec!["nochunk".to_owned()] };
    assert!(found.contains(&aliases), "{found:?}");
    let remarks = vec![Remark::RanAsThis { configuration: "nochunk".to_owned() }];
    assert!(found.contains(&Finding::Remarks { configuration: "chunk".to_owned(), remarks }));
    let counted = found.iter().find_map(|finding| match finding {
        Finding::NotRanked { exclusions, .. } => exclusions.first(),
        _ => None,
    });
    let Some(Exclusion::Overridden { counted_as, .. }) = counted else { panic!("{found:?}") };
    assert_eq!(counted_as.as_deref(), Some("chunk"));
}
