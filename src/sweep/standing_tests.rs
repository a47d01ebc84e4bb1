use super::*;
use crate::metric::numbers;
use crate::sweep::fakes::manifest;

/// A kept repeat with these metrics.
fn repeat(number: u32, metrics: &[(&'static str, f64)]) -> Measurement {
    Measurement {
        workload: "kv-cache".to_owned(),
        case: "prefix=4096".to_owned(),
        repeat: number,
        status: Status::Ok,
        metric_reasons: std::collections::BTreeMap::new(),
        reason: None,
        metrics: numbers(metrics.iter().map(|(name, value)| (*name, Some(*value)))),
    }
}

/// A launch whose repeats gave these times; repeat 0 is the first.
fn launch(number: u32, configuration: &str, times: &[f64]) -> LaunchRecord {
    let of = |(number, time): (u32, &f64)| repeat(number, &[("ttft_resent_ms", *time)]);
    LaunchRecord {
        launch: number,
        configuration: configuration.to_owned(),
        measurements: (0..).zip(times).map(of).collect(),
        outcome: Some(LaunchOutcome::Measured),
        ..LaunchRecord::default()
    }
}

fn record(launches: Vec<LaunchRecord>) -> SweepRecord {
    let mut manifest = manifest(3, 2, 2);
    let case = manifest.workloads[0].cases().remove(0);
    let mut launches = launches;
    for measurement in launches.iter_mut().flat_map(|it| &mut it.measurements) {
        measurement.case.clone_from(&case);
    }
    manifest.objective.constraints = Vec::new();
    SweepRecord { launches, ..SweepRecord::new(manifest) }
}

#[test]
fn the_value_is_the_geometric_mean_of_kept_repeats_and_the_place_that_of_all_launches() {
    let sweep = record(vec![
        launch(1, "c0", &[900.0, 100.0, 400.0]),
        launch(2, "c1", &[900.0, 150.0, 150.0]),
    ]);
    let first = Standing::of(&sweep, 1).unwrap();
    assert!((first.value.unwrap() - 200.0).abs() < 1e-9, "no warm-up: {first:?}");
    assert_eq!(first.place, Some(Place { place: 2, of: 2 }));
    assert_eq!(first.to_string(), "ttft_resent_ms 200 ms, place 2 of 2 so far");
    assert_eq!(Standing::of(&sweep, 2).unwrap().place, Some(Place { place: 1, of: 2 }));
    // A second launch moves its configuration, and where more is better the order turns.
    let mut sweep = sweep;
    sweep.launches.push(launch(3, "c0", &[900.0, 50.0, 50.0]));
    let moved = record(sweep.launches);
    let third = Standing::of(&moved, 3).unwrap();
    assert!((third.value.unwrap() - 50.0).abs() < 1e-9);
    assert_eq!(third.place, Some(Place { place: 1, of: 2 }), "sqrt(200 x 50) is 100");
    let mut more = moved;
    more.manifest.objective.goal = Goal::Maximize;
    assert_eq!(Standing::of(&more, 3).unwrap().place, Some(Place { place: 2, of: 2 }));
}

#[test]
fn the_first_configuration_has_no_place_to_speak_of_and_equal_ones_share_theirs() {
    let alone = record(vec![launch(1, "c0", &[1.0, 0.5])]);
    assert_eq!(Standing::of(&alone, 1).unwrap().to_string(), "ttft_resent_ms 0.500 ms");
    let equal = record(vec![launch(1, "c0", &[1.0, 5.0]), launch(2, "c1", &[1.0, 5.0])]);
    for number in [1, 2] {
        assert_eq!(Standing::of(&equal, number).unwrap().place, Some(Place { place: 1, of: 2 }));
    }
}

#[test]
fn a_launch_without_a_value_says_so_and_a_failed_one_says_nothing_more() {
    let mut sweep = record(vec![launch(1, "c0", &[1.0])]);
    let none = Standing::of(&sweep, 1).unwrap();
    assert_eq!((none.value, none.place), (None, None));
    assert_eq!(none.to_string(), "no value of ttft_resent_ms");
    sweep.launches[0].outcome = Some(LaunchOutcome::Interrupted);
    assert_eq!(Standing::of(&sweep, 1), None);
    assert_eq!(Standing::of(&sweep, 9), None);
}

#[test]
fn a_bound_that_the_launch_is_outside_of_is_named() {
    let mut sweep = record(vec![launch(1, "c0", &[900.0, 100.0, 400.0])]);
    let metric: MetricRef = "kv_cache.ttft_resent_ms".parse().unwrap();
    let bound = |min, max| Constraint { metric: metric.clone(), min, max };
    sweep.manifest.objective.constraints =
        vec![bound(None, Some(150.0)), bound(None, Some(200.5)), bound(Some(300.0), None)];
    let broken: Vec<String> =
        Standing::of(&sweep, 1).unwrap().broken.iter().map(ToString::to_string).collect();
    assert_eq!(
        broken,
        [
            "ttft_resent_ms 200 ms is outside of its bound: at most 150",
            "ttft_resent_ms 200 ms is outside of its bound: at least 300",
        ]
    );
}

#[test]
fn a_repeat_without_a_value_that_is_asked_for_is_reported_with_its_reason() {
    let mut sweep = record(vec![launch(1, "c0", &[1.0, 1.0])]);
    let other: MetricRef = "kv_cache.ttft_miss_ms".parse().unwrap();
    sweep.manifest.objective.constraints =
        vec![Constraint { metric: other, min: None, max: Some(1.0) }];
    let case = sweep.launches[0].measurements[0].case.clone();
    let entry = |number, status, metrics: &[(&'static str, f64)], reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        let measurement =
            Measurement { case: case.clone(), status, reason, ..repeat(number, metrics) };
        Entry::RepeatFinished { launch: 1, measurement }
    };
    let reported = |entry: &Entry| -> Vec<String> {
        missing_after(&sweep, entry).iter().map(ToString::to_string).collect()
    };
    let only_miss = entry(2, Status::Ok, &[("ttft_miss_ms", 5.0)], Some("too few requests"));
    assert_eq!(reported(&only_miss), ["ttft_resent_ms is missing in repeat 2: too few requests"]);
    let nothing = entry(1, Status::Ok, &[], None);
    assert_eq!(
        reported(&nothing),
        ["ttft_resent_ms is missing in repeat 1", "ttft_miss_ms is missing in repeat 1"]
    );
    // A warm-up is not judged; what is void is shown with its reason anyway.
    assert!(reported(&entry(0, Status::Ok, &[], None)).is_empty());
    assert!(reported(&entry(1, Status::Void, &[], Some("restarted"))).is_empty());
    let both = [("ttft_miss_ms", 5.0), ("ttft_resent_ms", 5.0)];
    assert!(reported(&entry(1, Status::Ok, &both, None)).is_empty());
}

#[test]
fn a_metric_of_a_case_is_named_with_it_and_has_its_unit() {
    let metric: MetricRef = "load[concurrency=8].output_throughput".parse().unwrap();
    assert_eq!(named(&metric), "output_throughput at concurrency=8");
    assert_eq!(shown(842.4, &metric), "842 tokens/s");
    let share: MetricRef = "kv_cache.hit_tokens_share".parse().unwrap();
    assert_eq!(shown(0.0, &share), "0");
}
