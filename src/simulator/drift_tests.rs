#![allow(clippy::float_cmp, reason = "these speeds are set, not computed")]

use super::*;

fn machine(text: &str, seed: u64) -> Machine {
    Drift::parse(text).unwrap().machine(seed)
}

fn faults(text: &str) -> Vec<String> {
    Drift::parse(text).unwrap_err().iter().map(Fault::to_string).collect()
}

/// Log speeds of machines with seeds 0, 1, ... at one time.
fn levels(text: &str, seconds: f64, count: u64) -> Vec<f64> {
    (0..count).map(|seed| machine(text, seed).speed(seconds).ln()).collect()
}

fn sd(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

#[test]
fn the_same_seed_and_time_give_the_same_speed_in_whatever_order() {
    for text in ["walk:sd=25%,tau=60m", "walk:d=16%/h", "two-state:factor=1.8,dwell=40m"] {
        let times = [0.0, 5.0, 3000.0, 3000.1, 40_000.0];
        let mut forwards = machine(text, 3);
        let speeds: Vec<f64> = times.iter().map(|at| forwards.speed(*at)).collect();
        for (at, speed) in times.iter().zip(&speeds).rev() {
            assert_eq!(forwards.speed(*at).to_bits(), speed.to_bits(), "{text} backwards");
            assert_eq!(machine(text, 3).speed(*at).to_bits(), speed.to_bits(), "{text} afresh");
        }
        let other: Vec<f64> = times.iter().map(|at| machine(text, 4).speed(*at)).collect();
        assert_ne!(speeds, other, "{text}: another seed");
        let own = machine(&format!("{text},seed=4"), 3).speed(40_000.0);
        assert_eq!(own.to_bits(), other[4].to_bits(), "{text}: a seed of its own");
    }
}

#[test]
fn a_returning_walk_keeps_its_sd_and_forgets_with_its_correlation_time() {
    let text = "walk:sd=25%,tau=60m";
    for hours in [0.0, 1.0, 8.0] {
        let spread = sd(&levels(text, hours * 3600.0, 600));
        assert!((0.22..0.28).contains(&spread), "{spread} after {hours} h");
    }
    let correlation = |seconds: f64| {
        let (a, b) = (levels(text, 7200.0, 600), levels(text, 7200.0 + seconds, 600));
        let products: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
        products / 600.0 / (0.25 * 0.25)
    };
    assert!((0.25..0.49).contains(&correlation(3600.0)), "e^-1: {}", correlation(3600.0));
    assert!(correlation(60.0) > 0.85);
}

#[test]
fn a_walk_spreads_with_the_root_of_time_from_a_speed_of_1() {
    let text = "walk:d=16%/h";
    assert_eq!(machine(text, 1).speed(0.0), 1.0);
    for (hours, expected) in [(1.0, 0.16), (4.0, 0.32)] {
        let spread = sd(&levels(text, hours * 3600.0, 600));
        assert!((spread / expected - 1.0).abs() < 0.1, "{spread} after {hours} h");
    }
    assert_eq!(Drift::parse("walk:d=0.16").unwrap().course, Drift::parse(text).unwrap().course);
}

#[test]
fn a_step_is_at_its_time_and_two_states_change_after_their_dwell() {
    let mut step = machine("step:factor=0.55,at=2h", 1);
    assert_eq!([step.speed(7199.9), step.speed(7200.0), step.speed(1e6)], [1.0, 0.55, 0.55]);
    let mut jumps = machine("two-state:factor=1.8,dwell=40m", 1);
    let speeds: Vec<f64> = (0..100_000).map(|at| jumps.speed(f64::from(at) * 30.0)).collect();
    let high = speeds.iter().filter(|speed| **speed == 1.8).count() as f64 / 1e5;
    assert!((0.42..0.58).contains(&high), "{high}");
    assert!(speeds.iter().all(|speed| *speed == 1.0 || *speed == 1.8));
    // 3 million seconds in stretches of 2400.
    let changes = speeds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((1100..1400).contains(&changes), "{changes}");
    let first =
        (0..200).filter(|seed| machine("two-state:factor=2,dwell=1h", *seed).speed(0.0) > 1.5);
    assert!((70..130).contains(&first.count()));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    assert_eq!(faults("wlak:sd=1%"), ["`wlak` is no kind of drift (did you mean `walk`?)"]);
    assert_eq!(
        faults("step:factr=2,at=soon,at=1h,5"),
        [
            "`factr` is no part of the drift `step` (did you mean `factor`?)",
            "`at` is given twice",
            "`5` is not of the form NAME=VALUE",
            "`factor` is missing: a factor from 0.01 to 100 other than 1, for example 0.55",
            "`at` must be a duration, for example 2h, not `soon`",
        ]
    );
    assert_eq!(
        faults("walk:d=16%,tau=1h,seed=x"),
        [
            "`d` and `tau` are both given (`d` is a walk that does not return, `sd` and `tau` one \
             that does)",
            "`seed` must be a whole number, not `x`",
        ]
    );
    assert_eq!(faults("walk").len(), 2, "both parts are missing");
    assert!(faults("walk:sd=0,25,tau=1h")[1].contains("decimal point"));
    for bad in [
        "walk:sd=0%,tau=1h",
        "walk:sd=-5%,tau=1h",
        "walk:sd=inf,tau=1h",
        "walk:sd=300%,tau=1h",
        "walk:sd=5%,tau=9s",
        "walk:sd=5%,tau=60",
        "step:factor=1,at=1h",
        "step:factor=NaN,at=1h",
        "two-state:factor=0,dwell=1h",
        "two-state:factor=2,dwell=1.2.3h",
        "walk:d=16%/m",
    ] {
        assert_eq!(faults(bad).len(), 1, "{bad}: {:?}", faults(bad));
    }
    assert!(faults("")[0].contains("write one of"));
}

#[test]
fn durations_have_units_and_may_be_added() {
    for (text, expected) in [("90m", 5400.0), ("1h30m", 5400.0), ("0.5h", 1800.0), ("0s", 0.0)] {
        assert_eq!(seconds(text), Some(expected), "{text}");
    }
}
