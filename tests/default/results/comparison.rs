//! Compared sweeps: what is matched, what is shown, how it is rendered.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Goal, MetricRef, Status};
use vllm_grid::report::comparison::render;
use vllm_grid::results::comparison::{
    CompareError, ComparedConfiguration, Comparison, ComparisonFinding, LaterPlace, Run, Way,
    compare,
};
use vllm_grid::server::effective::FlagProof;
use vllm_grid::statistics::{Components, GroupedValues, Interval, Prior, two_sided_p};
use vllm_grid::strategy::{GridStrategy, StrategySpec};
use vllm_grid::workload::{DatasetFile, KvCache, Spec, Workload};

use crate::results::builder::{Building, around, measured, sweep};
use crate::results::noise::normal;

const METRIC: &str = "kv_cache.ttft_resent_ms";

fn runs(records: &[SweepRecord]) -> Vec<Run> {
    let named = records.iter().enumerate();
    named
        .map(|(at, record)| Run { folder: format!("runs/night-{at}"), record: record.clone() })
        .collect()
}

fn compared(records: &[SweepRecord]) -> Comparison {
    compare(runs(records), None).unwrap()
}

fn by(records: &[SweepRecord], metric: &str) -> Result<Comparison, CompareError> {
    compare(runs(records), Some(&metric.parse::<MetricRef>().unwrap()))
}

fn named<'a>(comparison: &'a Comparison, name: &str) -> &'a ComparedConfiguration {
    comparison.configurations.iter().find(|it| it.configuration == name).unwrap()
}

/// Two launches of five repeats each around these values.
fn night(figures: &[(&str, f64)]) -> SweepRecord {
    let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
    let mut record = sweep(&names);
    for factor in [1.0, 1.05] {
        for (name, value) in figures {
            record = record.launch(name, &around(value * factor));
        }
    }
    record
}

#[test]
fn a_confirmation_is_the_standing_of_its_sweep_as_in_the_report() {
    use crate::results::confirmed::confirming;
    use vllm_grid::strategy::confirm::Ended;

    let record = confirming(70.0, 8, Some(Ended::Precise));
    let comparison = compared(&[record.clone(), later(record)]);
    let [first, _] = &comparison.runs[..] else { panic!("{:?}", comparison.runs) };
    assert_eq!(first.verdict, "a is better than production, confirmed on fresh launches");
    assert_eq!(first.confirmed.as_deref(), Some("a"));
    let record = confirming(101.0, 8, Some(Ended::Precise));
    let comparison = compared(&[record.clone(), later(record)]);
    let expected = "that a is better than production is not confirmed on fresh launches";
    assert_eq!(comparison.runs[0].verdict, expected);
    assert_eq!(comparison.runs[0].confirmed, None);
}

#[test]
fn bounds_and_datasets_that_a_sweep_does_not_have_are_none() {
    let mut bounded = night(&[("a", 100.0), ("b", 120.0)]);
    let other = later(bounded.clone());
    bounded.manifest.objective.constraints.push(vllm_grid::metric::Constraint {
        metric: METRIC.parse().unwrap(),
        min: None,
        max: Some(500.0),
    });
    let text = render(&compared(&[bounded, other]), 120);
    assert!(text.contains("- bounds: A kv_cache.ttft_resent_ms: at most 500 ms; B none"), "{text}");
    assert!(!text.contains("(not recorded)"), "{text}");
}

/// Another night of the same grid.
fn later(mut record: SweepRecord) -> SweepRecord {
    "test-20261201T061353Z".clone_into(&mut record.manifest.sweep);
    "2026-12-01T06:13:53Z".clone_into(&mut record.manifest.created_at);
    record
}

fn rendered(comparison: &Comparison, columns: usize) -> String {
    let text = render(comparison, columns);
    for line in text.lines() {
        assert!(line.width() <= columns, "{columns}: {line}");
    }
    text
}

#[test]
fn a_sweep_against_itself_has_ratio_one_and_shows_nothing() {
    let record = night(&[("a", 200.0), ("b", 300.0)]);
    let comparison = compared(&[record.clone(), record]);
    assert!(comparison.differences.is_empty(), "{:?}", comparison.differences);
    for it in &comparison.configurations {
        let change = it.change.unwrap();
        assert!((change.value - 1.0).abs() < 1e-12 && change.low < 1.0 && change.high > 1.0);
        assert_eq!((change.shown, it.same_id), (None, true));
    }
    assert!(rendered(&comparison, 80).contains("A and B are the same sweep"));
}

#[test]
fn what_became_slower_is_shown_and_what_became_faster_too() {
    let first = night(&[("a", 200.0), ("b", 300.0), ("c", 400.0)]);
    let last = later(night(&[("a", 320.0), ("b", 301.0), ("c", 250.0)]));
    let comparison = compared(&[first.clone(), last.clone()]);
    let shown = |name| named(&comparison, name).change.unwrap().shown;
    assert_eq!(["a", "b", "c"].map(shown), [Some(Way::Worse), None, Some(Way::Better)]);
    let text = rendered(&comparison, 80);
    assert!(text.contains("A chooses a: in B it has rank 3, shown to be behind"), "{text}");
    assert!(text.contains("; B chooses c"), "{text}");
    // More is better: the same numbers mean the opposite.
    let maximised = [first, last].map(|mut record| {
        record.manifest.objective.goal = Goal::Maximize;
        record
    });
    let comparison = compared(&maximised);
    assert_eq!(named(&comparison, "a").change.unwrap().shown, Some(Way::Better));
}

/// The variances of both sweeps, each from its own components, and Welch's degrees of
/// freedom.
#[test]
fn the_interval_has_the_variance_of_both_sweeps() {
    let logs = |launches: &[&[f64]]| {
        let launches = launches.iter().map(|values| values.iter().map(|v| v.ln()).collect());
        GroupedValues::new(launches.collect())
    };
    let calm: [&[f64]; 2] = [&[200.0, 204.0, 198.0], &[210.0, 206.0, 207.0]];
    let rough: [&[f64]; 3] = [&[300.0, 290.0], &[240.0, 236.0], &[270.0, 281.0]];
    let mut first = sweep(&["a"]);
    for values in calm {
        first = first.launch("a", values);
    }
    let mut last = later(sweep(&["a"]));
    for values in rough {
        last = last.launch("a", values);
    }
    let (calm, rough) = (logs(&calm), logs(&rough));
    let of = |arm: &GroupedValues| Components::pool([arm], Prior::LOG).of_mean(arm);
    let error = of(&rough).plus(of(&calm));
    let difference = rough.mean().unwrap() - calm.mean().unwrap();
    let deviation = error.variance.sqrt();
    let wanted = Interval::around(difference, deviation, error.degrees_of_freedom).exp();
    let change = named(&compared(&[first, last]), "a").change.unwrap();
    for (got, wanted) in [
        (change.value, difference.exp()),
        (change.low, wanted.low),
        (change.high, wanted.high),
        (change.p.unwrap(), two_sided_p(difference / deviation, error.degrees_of_freedom)),
    ] {
        assert!((got - wanted).abs() < 1e-12, "{change:?}");
    }
}

/// Nights of the same configurations: launches differ by 9 %, more than is assumed at
/// the least, so that nothing but the measured variance protects.
#[test]
fn of_200_pairs_of_equal_nights_at_most_18_show_a_change() {
    let names = ["a", "b", "c", "d"];
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut night = || {
        let mut record = sweep(&names);
        for name in names.iter().cycle().take(2 * names.len()) {
            let launch = 0.09 * normal(&mut rng);
            let values = (0..3).map(|_| 200.0 * (launch + 0.05 * normal(&mut rng)).exp());
            record = record.launch(name, &values.collect::<Vec<_>>());
        }
        record
    };
    let shown = (0..200).filter(|_| {
        let comparison = compared(&[night(), night()]);
        comparison.configurations.iter().any(|it| it.change.unwrap().shown.is_some())
    });
    let shown = shown.count();
    assert!((1..=18).contains(&shown), "{shown} of 200");
}

#[test]
fn a_variance_that_was_not_measured_is_marked() {
    let first = sweep(&["a"]).launch("a", &around(200.0));
    let comparison = compared(&[first.clone(), later(night(&[("a", 400.0)]))]);
    assert!(named(&comparison, "a").change.unwrap().assumed);
    let text = rendered(&comparison, 80);
    assert!(text.contains("~worse") && text.contains("~ assumed"), "{text}");
}

#[test]
fn the_same_id_is_the_same_configuration_whatever_it_is_called() {
    let first = night(&[("a", 200.0)]);
    let mut last = later(night(&[("a", 200.0)]));
    last.manifest.configurations[0].name = "other-name".to_owned();
    for launch in &mut last.launches {
        launch.configuration = "other-name".to_owned();
    }
    let comparison = compared(&[first, last]);
    assert_eq!(comparison.configurations.len(), 1);
    assert!(named(&comparison, "a").change.is_some());
}

/// Another image gives every configuration another id.
#[test]
fn the_same_flags_under_the_same_name_are_compared_and_said_to_have_other_ids() {
    let first = night(&[("a", 200.0), ("b", 300.0)]);
    let mut last = later(night(&[("a", 200.0), ("b", 300.0)]));
    for (configuration, id) in last.manifest.configurations.iter_mut().zip(["1", "2"]) {
        configuration.id = id.repeat(16);
    }
    let comparison = compared(&[first, last]);
    assert_eq!(comparison.configurations.len(), 2);
    assert!(comparison.configurations.iter().all(|it| !it.same_id && it.change.is_some()));
    let text = rendered(&comparison, 80);
    assert!(text.contains("- engine, image or model: the same flags have other ids: a, b"));
}

#[test]
fn the_same_name_for_other_flags_is_reported_and_never_merged() {
    let seqs = |seqs: u32| json!({"max-num-seqs": seqs});
    let first = night(&[("a", 200.0), ("b", 300.0)]).flags("b", seqs(8));
    let last = later(night(&[("a", 200.0), ("b", 100.0), ("new", 50.0)])).flags("b", seqs(16));
    let comparison = compared(&[first, last]);
    let rows: Vec<(&str, [bool; 2])> = comparison
        .configurations
        .iter()
        .map(|it| (it.configuration.as_str(), [it.runs[0].is_some(), it.runs[1].is_some()]))
        .collect();
    let wanted =
        [("a", [true, true]), ("b", [true, false]), ("new", [false, true]), ("b", [false, true])];
    assert_eq!(rows, wanted);
    assert!(comparison.configurations[1..].iter().all(|it| it.change.is_none()));
    let text = rendered(&comparison, 80);
    for part in [
        "b (A)",
        "b (B)",
        "b asks for something else in B than in A (max-num-seqs), so it is not compared",
        "only in B: new",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn different_objectives_are_refused_until_a_metric_is_named() {
    let first = night(&[("a", 200.0)]).and("ttft_miss_ms", &around(900.0));
    let mut last = later(first.clone());
    last.manifest.objective.metric = "kv_cache.ttft_miss_ms".parse().unwrap();
    let records = [first, last];
    let error = compare(runs(&records), None).unwrap_err().to_string();
    for part in
        ["runs/night-0 has `minimize kv_cache.ttft_resent_ms`", "kv_cache.ttft_miss_ms", "--metric"]
    {
        assert!(error.contains(part), "{error}");
    }
    let comparison = by(&records, "kv_cache.ttft_miss_ms").unwrap();
    assert_eq!(comparison.goal, Goal::Minimize);
    let mean =
        |run: usize| named(&comparison, "a").runs[run].as_ref().unwrap().figure.unwrap().mean;
    assert!((mean(0) - mean(1)).abs() < 1e-9 && mean(0) > 850.0);
    // The same metric, the other way round.
    let mut last = later(records[0].clone());
    last.manifest.objective.goal = Goal::Maximize;
    assert!(compare(runs(&[records[0].clone(), last]), None).is_err());
}

#[test]
fn a_metric_that_cannot_be_compared_is_refused_with_the_reason() {
    let record = night(&[("a", 200.0)]);
    let mut several = record.clone();
    let spec = KvCache { prefix_tokens: vec![512, 4096], ..KvCache::default() };
    several.manifest.workloads[0].spec = Spec::KvCache(spec);
    for (metric, last, wanted) in [
        ("kv_cache.ttft_resend_ms", &record, "did you mean `kv_cache.ttft_resent_ms`?"),
        ("nothing.at_all", &record, "no workload yields `nothing.at_all`"),
        ("kv_cache.hit_state", &record, "is no single number"),
        ("load.output_throughput", &record, "runs/night-0: the sweep has no workload `load`"),
        (METRIC, &several, "runs/night-1: `kv_cache.ttft_resent_ms` names no case"),
    ] {
        let error = by(&[record.clone(), last.clone()], metric).unwrap_err().to_string();
        assert!(error.contains(wanted), "{metric}: {error}");
    }
    assert_eq!(compare(runs(&[record]), None), Err(CompareError::TooFew));
}

#[test]
fn other_fields_of_requests_are_the_first_difference() {
    let first = night(&[("a", 200.0)]);
    let mut last = later(first.clone());
    last.manifest.host = "another host".to_owned();
    let Value::Object(options) = json!({"request": {"temperature": 0.7}}) else { panic!() };
    last.manifest.workloads[0].request =
        Workload::from_options("kv-cache", &options).unwrap().request;
    let comparison = by(&[first, last], METRIC).unwrap();
    let difference = &comparison.differences[0];
    assert_eq!(difference.what, "kv-cache.request");
    assert_eq!(difference.values, [None, Some("{\"temperature\":0.7}".to_owned())]);
}

#[test]
fn what_differs_is_found() {
    let first = night(&[("a", 200.0)]).shown("dtype", json!("bfloat16"), FlagProof::Honoured);
    let mut last = later(first.clone());
    last.manifest.host = "another host".to_owned();
    last.manifest.simulated = false;
    last.manifest.engine = "docker".to_owned();
    last.manifest.strategy =
        StrategySpec::Grid(GridStrategy { seed: 2, ..GridStrategy::default() });
    last.manifest.datasets =
        vec![DatasetFile { path: "chats.json".into(), sha256: "0123456789abcdef".to_owned() }];
    last.manifest.objective.constraints = Vec::new();
    let options = serde_json::Map::new();
    last.manifest.workloads.push(Workload::from_options("conversation", &options).unwrap());
    last.manifest.workloads[0].warmup = 2;
    for launch in &mut last.launches {
        let facts = launch.facts.as_mut().unwrap();
        facts.image_id = Some("sha256:feed".to_owned());
        facts.engine_version = Some("0.34.0".to_owned());
        for shown in launch.effective.values_mut() {
            (shown.value, shown.proof) = (Some(json!("float16")), None);
        }
    }
    let mut first = first;
    for launch in &mut first.launches {
        for shown in launch.effective.values_mut() {
            shown.proof = None;
        }
    }
    let comparison = compared(&[first, last]);
    let found: Vec<(&str, [Option<&str>; 2])> = comparison
        .differences
        .iter()
        .map(|it| (it.what.as_str(), [it.values[0].as_deref(), it.values[1].as_deref()]))
        .collect();
    let wanted = [
        ("figures", [Some("simulated"), Some("measured")]),
        ("host", [Some("a test"), Some("another host")]),
        ("engine", [Some("simulated"), Some("docker")]),
        ("engine version", [Some("0.33.0"), Some("0.34.0")]),
        ("image", [None, Some("sha256:feed")]),
        ("seed", [Some("1"), Some("2")]),
        ("datasets", [Some("none"), Some("chats.json 01234567")]),
        ("kv-cache.warmup", [Some("1"), Some("2")]),
        ("workload conversation", [None, Some("measured")]),
        ("effective.dtype", [Some("\"bfloat16\""), Some("\"float16\"")]),
    ];
    assert_eq!(found, wanted);
    assert!(comparison.simulated);
    let text = rendered(&comparison, 80);
    assert!(text.starts_with("SIMULATED: the figures of A come from the simulator"), "{text}");
    assert!(text.find("- host:").unwrap() < text.find("rank A").unwrap());
}

#[test]
fn a_broken_bound_takes_the_rank_and_not_the_figure() {
    let first = night(&[("a", 200.0), ("b", 300.0)]).constraint(METRIC, None, Some(500.0));
    let last = later(night(&[("a", 900.0), ("b", 300.0)])).constraint(METRIC, None, Some(500.0));
    let comparison = compared(&[first, last]);
    let a = named(&comparison, "a");
    assert_eq!(a.runs[1].as_ref().unwrap().rank, None);
    assert_eq!(a.change.unwrap().shown, Some(Way::Worse));
    assert!(rendered(&comparison, 80).contains("A chooses a: in B it is not ranked: breaks"));
}

#[test]
fn what_ran_with_other_flags_or_lost_too_much_is_not_compared() {
    let plain = || night(&[("a", 200.0), ("b", 300.0)]);
    let overridden = later(plain()).shown("max-num-seqs", json!(8), FlagProof::Overridden);
    let comparison = compared(&[plain(), overridden]);
    assert_eq!(named(&comparison, "b").change, None);
    assert!(named(&comparison, "a").change.is_some());
    let mut lossy = later(plain());
    for repeat in 6..=20 {
        let mut failed = measured(repeat, "", 0.0);
        failed.status = Status::Failed;
        lossy = lossy.measurement(failed);
    }
    assert_eq!(named(&compared(&[plain(), lossy]), "b").change, None);
}

#[test]
fn a_metric_that_may_be_zero_is_compared_by_differences() {
    let night = |counted: &[f64]| {
        let mut record = sweep(&["calm", "busy"]);
        record.manifest.objective.metric = "kv_cache.failed".parse().unwrap();
        for _ in 0..2 {
            record = record.launch_of("calm", "failed", &[0.0; 5]);
            record = record.launch_of("busy", "failed", counted);
        }
        record
    };
    let comparison = compared(&[
        night(&[1.0, 0.0, 2.0, 1.0, 1.0]),
        later(night(&[21.0, 25.0, 24.0, 20.0, 25.0])),
    ]);
    let busy = named(&comparison, "busy").change.unwrap();
    assert!((busy.value - 22.0).abs() < 1e-9 && busy.low > 15.0, "{busy:?}");
    assert_eq!(busy.shown, Some(Way::Worse));
    let calm = named(&comparison, "calm").change.unwrap();
    assert_eq!((calm.value, calm.shown), (0.0, None));
    assert!(calm.low < 0.0 && calm.high > 0.0, "zeros are no certainty: {calm:?}");
    assert!(rendered(&comparison, 80).contains("B - A [95%]"));
}

/// Three nights, of which the second was stopped.
fn three_nights() -> [SweepRecord; 3] {
    let names = ["prefix-util0.9-seqs64-batch8192", "plain", "starved", "dropped"];
    let night = |figures: [f64; 2]| {
        let mut record = sweep(&names).baseline("plain");
        for factor in [1.0, 1.04] {
            for (name, value) in names.iter().zip(figures) {
                record = record.launch(name, &around(value * factor));
            }
        }
        record.failed("starved", FailureClass::OutOfMemory, "CUDA out of memory")
    };
    let mut second = later(night([214.0, 900.0]));
    second.launches.truncate(1);
    let mut third = later(night([320.0, 880.0]));
    "2026-12-02T06:13:53Z".clone_into(&mut third.manifest.created_at);
    third.manifest.configurations.truncate(3);
    for launch in third.launches.iter_mut().filter_map(|launch| launch.facts.as_mut()) {
        launch.engine_version = Some("0.34.0".to_owned());
    }
    [night([214.0, 900.0]), second, third]
}

#[test]
fn what_a_reader_must_know_is_data() {
    let found = compared(&three_nights()).findings();
    let json = serde_json::to_value(&found).unwrap();
    let kinds: Vec<&str> =
        json.as_array().unwrap().iter().map(|it| it["finding"].as_str().unwrap()).collect();
    let expected = [
        "simulated",
        "difference",
        "choice",
        "changes",
        "tested",
        "nights_not_separable",
        "choice_favours_itself",
        "not_recorded",
        "only_in",
        "not_ranked",
        "not_ranked",
        "not_ranked",
    ];
    assert_eq!(kinds, expected);
    let [_, _, ComparisonFinding::Choice { configuration, last, place, instead, .. }, ..] =
        &found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((configuration.as_str(), last.as_str()), ("prefix-util0.9-seqs64-batch8192", "C"));
    assert_eq!((place, instead), (&LaterPlace::First, &None));
    assert_eq!(json[4]["configurations"], 2);
    assert_eq!(json[8]["runs"], json!(["A", "B"]));
}

#[test]
fn at_80_columns() {
    insta::assert_snapshot!(rendered(&compared(&three_nights()), 80));
}

#[test]
fn it_fits_every_width() {
    for columns in [60, 80, 120, 160, 400] {
        let text = rendered(&compared(&three_nights()), columns);
        assert!(!text.to_lowercase().contains("winner"));
    }
}
