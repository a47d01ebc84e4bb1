//! Statistics against figures of scipy and statsmodels: `tests/fixtures/statistics.py` has the calls.

use serde_json::Value;
use vllm_grid::statistics::{
    Components, Events, GroupedValues, Interval, Prior, Share, Uncertainty, holm, lower_bound,
    mean_interval, t_quantile, two_sided_p, upper_bound,
};

/// A list of numbers, or one.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().map(|it| it.as_f64().unwrap()).collect(),
        one => vec![one.as_f64().unwrap()],
    }
}

fn lists(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn ends(interval: Interval) -> Vec<f64> {
    vec![interval.low, interval.high]
}

/// The error of a mean by its own values.
fn of_mean(values: &[f64]) -> (f64, Uncertainty) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|it| (it - mean).powi(2)).sum();
    (mean, Uncertainty { variance: squares / (n - 1.0) / n, degrees_of_freedom: n - 1.0 })
}

fn welch(samples: &[Vec<f64>]) -> (f64, Uncertainty) {
    let (a, b) = (of_mean(&samples[0]), of_mean(&samples[1]));
    (a.0 - b.0, a.1.plus(b.1))
}

fn ours(of: &str, given: &Value) -> Vec<f64> {
    let flat = || numbers(given);
    let share = |at: usize| Share { happened: flat()[at], tried: flat()[at + 1] as u64 };
    let events = |at: usize| Events { counted: flat()[at], repeats: flat()[at + 1] as usize };
    let counts = || (flat()[0] as u64, flat()[1] as u64);
    match of {
        "t_quantile" => vec![t_quantile(flat()[0], flat()[1])],
        "two_sided_p" => vec![two_sided_p(flat()[0], flat()[1])],
        "holm" => holm(&flat()),
        "share" => ends(share(0).interval()),
        "lower_bound" => vec![lower_bound(counts().0, counts().1).unwrap()],
        "upper_bound" => vec![upper_bound(counts().0, counts().1).unwrap()],
        "events" => ends(events(0).interval()),
        "p_of_shares" => vec![share(0).p_of_difference(share(2))],
        "p_of_events" => vec![events(0).p_of_difference(events(2))],
        "welch_df" => vec![welch(&lists(given)).1.degrees_of_freedom],
        "welch_p" => {
            let (difference, error) = welch(&lists(given));
            vec![two_sided_p(difference / error.variance.sqrt(), error.degrees_of_freedom)]
        }
        "mean_interval" => ends(mean_interval(&flat()).unwrap().1),
        "mean_square_ratio" => {
            let launches = lists(given);
            let repeats = launches[0].len() as f64;
            let arm = GroupedValues::new(launches);
            let prior = Prior { launch_sd: 1e-9, ..Prior::LOG };
            let pooled = Components::pool([&arm], prior);
            let between = pooled.repeat_variance + repeats * pooled.launch_variance;
            // The mean square between launches alone makes the error of a mean.
            assert!((pooled.of_mean(&arm).degrees_of_freedom - 2.0).abs() < 1e-9);
            vec![between / pooled.repeat_variance]
        }
        other => panic!("{other} is not compared"),
    }
}

#[test]
fn statistics_are_those_of_other_libraries() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/statistics.json")).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 60, "{}", cases.len());
    for case in cases {
        let (got, wanted) =
            (ours(case["of"].as_str().unwrap(), &case["in"]), numbers(&case["out"]));
        assert_eq!(got.len(), wanted.len(), "{}", case["call"]);
        for (got, wanted) in got.iter().zip(&wanted) {
            let near = (got - wanted).abs() <= 1e-6 * wanted.abs() + 1e-12;
            assert!(near, "{}: {got}, not {wanted}", case["call"]);
        }
    }
}
