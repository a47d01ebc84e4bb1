//! Known answers: the reference's vectors, and an evening of a real machine.

use serde_json::Value;

use super::super::machine_repeats::chi;
use super::*;
use crate::statistics::Interval;

/// `tests/fixtures/drift-vectors.json`, whose `made_by` has the call that made it.
pub(super) fn vectors() -> Vec<Value> {
    let text = include_str!("../../tests/fixtures/drift-vectors.json");
    let file: Value = serde_json::from_str(text).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

pub(super) fn launches(vector: &Value) -> Vec<LaunchMean> {
    let column = |name: &str| numbers(&vector[name]);
    let (configurations, times) = (column("cfg"), column("t"));
    let (means, variances) = (column("y"), column("v"));
    let repeats = u32::try_from(vector["n"].as_u64().unwrap()).unwrap();
    (0..configurations.len())
        .map(|at| LaunchMean {
            configuration: configurations[at] as usize,
            host: 0,
            time: times[at],
            mean: means[at],
            repeats,
            variance: variances[at],
        })
        .collect()
}

fn fitted(vector: &Value) -> MachineFit {
    let launches = launches(vector);
    let configurations = launches.iter().map(|it| it.configuration).max().unwrap() + 1;
    fit(&launches, configurations, MAX_JUMPS).unwrap()
}

fn close(got: f64, wanted: &Value, what: &str) {
    let wanted = wanted.as_f64().unwrap();
    assert!((got - wanted).abs() < 1e-6 * (1.0 + wanted.abs()), "{what}: {got}, not {wanted}");
}

#[test]
fn the_reference_is_reproduced() {
    for vector in vectors() {
        let (name, expected) = (vector["name"].as_str().unwrap(), &vector["expected"]);
        let found = fitted(&vector);
        let count = found.effects().len();
        for i in 0..count {
            close(found.effects()[i], &expected["E"][i], name);
            for j in (0..count).filter(|j| *j != i) {
                let (_, uncertainty) = found.difference(i, j).unwrap();
                close(uncertainty.variance, &expected["V"][i][j], name);
                close(uncertainty.degrees_of_freedom, &expected["df"][i][j], name);
            }
        }
        close(found.repeat_variance, &expected["s2"], name);
        close(found.expected_jumps, &expected["expected_jumps"], name);
        close(found.launch_sd, &expected["launch_sd"], name);
        close(found.drift, &expected["drift"], name);
        close(found.p_calm, &expected["p_calm"], name);
        let jumps: Vec<f64> = found.jumps.iter().map(|at| *at as f64).collect();
        assert_eq!(jumps, numbers(&expected["jumps"]), "{name}");
        let moved: Vec<f64> = found.moved_inside.iter().map(|at| *at as f64).collect();
        assert_eq!(moved, numbers(&expected["widened"]), "{name}");
    }
}

/// Tokens per second of A, B, A, B, A, 28 minutes apart, while the machine warmed up.
#[test]
fn the_owners_evening_shows_what_it_shows() {
    let evening = fitted(&vectors()[0]);
    let (difference, error) = evening.difference(0, 1).unwrap();
    let interval =
        Interval::around(difference, error.variance.sqrt(), error.degrees_of_freedom).exp();
    let text = format!("{:.1} [{:.1}, {:.1}]", difference.exp(), interval.low, interval.high);
    assert_eq!(text, "6.3 [5.1, 7.9]");
}

#[test]
fn jumps_are_found_and_named_and_a_calm_night_has_none() {
    let by_name = |name: &str| vectors().into_iter().find(|it| it["name"] == name).unwrap();
    let steps = by_name("steps x1.8");
    let found = fitted(&steps).state(&launches(&steps));
    assert!(found.moved && found.share > 0.9, "{found:?}");
    assert!((1.6..2.2).contains(&found.range) && found.deviation > 0.2, "{found:?}");
    assert_eq!(found.time_constant, None);
    let calm = by_name("calm");
    let found = fitted(&calm).state(&launches(&calm));
    assert!(!found.moved && found.share < 0.5, "{found:?}");
    let wave = by_name("slow wave");
    let found = fitted(&wave).state(&launches(&wave));
    assert!(found.moved && found.time_constant.is_some(), "{found:?}");
}

#[test]
fn the_level_follows_the_machine() {
    let steps = &vectors()[2];
    let (fit, launches) = (fitted(steps), launches(steps));
    let levels = fit.levels(&launches);
    for (level, launch) in levels.iter().zip(&launches) {
        // x1.8 in every other 3000 s.
        let slow = (launch.time / 3000.0).floor() as u32 % 2 == 1;
        let relative = level - levels[0];
        let wanted = if slow { 1.8_f64.ln() } else { 0.0 };
        assert!((relative - wanted).abs() < 0.12, "{relative} at {}", launch.time);
    }
}

#[test]
fn errors_add_up_to_those_of_differences() {
    let calm = &vectors()[1];
    let fit = fitted(calm);
    let errors = fit.errors(&[0, 1, 2, 3]).unwrap();
    for (i, j) in [(0, 1), (1, 3), (2, 3)] {
        let sum = errors[i].variance + errors[j].variance;
        let known = fit.difference(i, j).unwrap().1.variance;
        assert!((sum / known - 1.0).abs() < 0.1, "{sum} {known}");
    }
    let two = fit.errors(&[0, 1]).unwrap();
    assert!((two[0].variance * 2.0 - fit.difference(0, 1).unwrap().1.variance).abs() < 1e-12);
    assert!(fit.errors(&[0]).is_none());
}

#[test]
fn one_configuration_has_nothing_to_compare() {
    let one = LaunchMean::of(0, 0.0, &[0.9, 1.0, 1.1]);
    assert_eq!(fit(&[one; 4], 1, MAX_JUMPS), None);
    let nothing = LaunchMean { configuration: 1, mean: f64::NAN, ..one };
    assert_eq!(fit(&[one, nothing, one], 2, MAX_JUMPS), None);
}

#[test]
fn a_large_sweep_is_analysed() {
    let mut random = 12_345_u64;
    let mut noise = || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
    };
    let launches: Vec<LaunchMean> = (0..96)
        .map(|at| LaunchMean {
            configuration: at % 24,
            host: 0,
            time: at as f64 * 400.0,
            mean: noise() * 0.1 + if at / 32 % 2 == 1 { 0.6 } else { 0.0 },
            repeats: 3,
            variance: 0.0025,
        })
        .collect();
    let found = fit(&launches, 24, MAX_JUMPS).unwrap();
    let mut jumps = found.jumps.clone();
    jumps.sort_unstable();
    assert_eq!(jumps, [32, 64]);
}

#[test]
fn repeats_are_pooled_by_the_quantiles_of_chi_squared() {
    // R: qchisq(c(.5, .999), n - 1) / (n - 1)
    for (repeats, median, far) in [(9, 0.9180, 3.2656), (20, 0.9652, 2.3063), (30, 0.9770, 2.0097)]
    {
        let (got_median, got_far) = chi(repeats);
        assert!((got_median / median - 1.0).abs() < 0.002, "{repeats}: {got_median}");
        assert!((got_far / far - 1.0).abs() < 0.01, "{repeats}: {got_far}");
    }
}

/// `configurations` by turns, each `times` times.
fn by_turns(configurations: usize, times: usize) -> Vec<LaunchMean> {
    let launch = |at: usize| LaunchMean {
        configuration: at % configurations,
        host: 0,
        time: at as f64 * 400.0,
        mean: 0.01 * (at * 7919 % 101) as f64,
        repeats: 3,
        variance: 0.0025,
    };
    (0..configurations * times).map(launch).collect()
}

#[test]
fn what_would_take_too_long_is_not_fitted() {
    assert!(!is_too_large(800, 200) && is_too_large(1_200, 300) && !is_too_large(310, 300));
    assert_eq!(fit(&by_turns(2_000, 2), 2_000, MAX_JUMPS), None);
}

#[test]
fn a_fit_says_whether_there_are_enough_launches_for_jumps() {
    let looked = |launches: &[LaunchMean], configurations| {
        fit(launches, configurations, MAX_JUMPS).unwrap().enough_for_jumps
    };
    assert!(looked(&by_turns(3, 4), 3));
    assert!(!looked(&by_turns(3, 2), 3));
    // Most configurations have one launch.
    let mut mixed = by_turns(2, 4);
    let last = mixed[7];
    mixed.extend((2..5).map(|configuration| LaunchMean { configuration, ..last }));
    assert!(!looked(&mixed, 5));
}
