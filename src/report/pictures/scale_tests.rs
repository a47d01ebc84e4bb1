use proptest::prelude::*;

use super::*;

fn texts(scale: &Scale, most: usize) -> Vec<String> {
    scale.labelled_ticks(most).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn ticks_are_round_and_short() {
    let places = (0.0, 600.0);
    let near = Scale::positions([212.0, 480.0], places);
    assert_eq!(texts(&near, 6), ["250", "300", "350", "400", "450"]);
    let wide = Scale::positions([12.0, 4000.0], places);
    assert!(wide.is_logarithmic() && !near.is_logarithmic());
    assert_eq!(texts(&wide, 9), ["10", "20", "50", "100", "200", "500", "1000", "2000", "5000"]);
    assert_eq!(texts(&wide, 4), ["10", "100", "1000"]);
    let shown = [(12_500.0, 2500.0), (0.25, 0.05), (-0.0, 1.0), (2e6, 5e5)]
        .map(|(value, step)| short(value, step));
    assert_eq!(shown, ["12.5k", "0.25", "0", "2.0M"]);
}

#[test]
fn lengths_begin_at_zero_and_positions_do_not() {
    let places = (0.0, 100.0);
    let lengths = Scale::lengths([80.0, 90.0], places);
    assert!(lengths.at(0.0).abs() < 1e-9 && lengths.contains(0.0));
    assert!(!Scale::positions([80.0, 90.0], places).contains(0.0));
    // Without spread there is an axis, and the value stands in its middle.
    assert!((Scale::positions([5.0, 5.0], places).at(5.0) - 50.0).abs() < 1e-6);
}

#[test]
fn times_are_whole_times_of_the_clock() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let night = [time("2026-05-03T21:47:12Z"), time("2026-05-04T06:30:00Z")];
    let scale = TimeScale::new(night, (0.0, 800.0)).unwrap();
    let texts: Vec<String> = scale.ticks(6).into_iter().map(|it| it.1).collect();
    assert_eq!(texts, ["22:00", "4 May", "02:00", "04:00", "06:00"]);
    let short = TimeScale::new([night[0], time("2026-05-03T21:47:40Z")], (0.0, 800.0)).unwrap();
    assert_eq!(short.ticks(4)[0].1, "21:47:20");
    assert!(TimeScale::new([], (0.0, 1.0)).is_none());
}

proptest! {
    #[test]
    fn every_range_has_an_axis(values in prop::collection::vec(prop::num::f64::ANY, 0..6), most in 2_usize..12) {
        for scale in [
            Scale::positions(values.clone(), (40.0, 600.0)),
            Scale::linear(values.clone(), (600.0, 40.0)),
            Scale::lengths(values.clone(), (40.0, 600.0)),
        ] {
            let ticks = scale.ticks(most);
            prop_assert!(ticks.windows(2).all(|it| it[0] < it[1]), "{ticks:?}");
            prop_assert!(ticks.iter().all(|it| it.is_finite()), "{ticks:?}");
            for value in values.iter().chain(&ticks) {
                prop_assert!((40.0..=600.0).contains(&scale.at(*value)));
            }
        }
    }
}
