use proptest::prelude::*;

use super::*;

fn texts(scale: &Scale, most: usize) -> Vec<String> {
    scale.labelled_ticks(most).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn ticks_are_round_and_short() {
    let places = (0.0, 600.0);
    assert_eq!(texts(&Scale::positions([212.0, 480.0], places), 6), ["200", "300", "400"]);
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
