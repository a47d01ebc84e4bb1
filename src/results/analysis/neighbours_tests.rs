use super::*;

fn suggested(axis: &str, own: f64, tried: &[f64]) -> Vec<(&'static str, String)> {
    let kind = lookup(axis).expect("a flag").kind;
    of_axis(axis, kind, own, tried).into_iter().map(|it| (it.side, it.suggestion)).collect()
}

fn of(side: &'static str, value: &str) -> (&'static str, String) {
    (side, value.to_owned())
}

#[test]
fn a_value_at_the_end_of_what_was_tried_has_a_neighbour() {
    assert_eq!(suggested("max-num-seqs", 64.0, &[16.0, 32.0, 64.0]), [of("above", "128")]);
    assert_eq!(suggested("max-num-seqs", 16.0, &[16.0, 32.0, 64.0]), [of("below", "8")]);
    assert_eq!(suggested("max-num-seqs", 32.0, &[16.0, 32.0, 64.0]), []);
    assert_eq!(suggested("max-num-seqs", 32.0, &[32.0]), [], "it was not varied");
}

#[test]
fn memory_is_never_suggested_beyond_what_leaves_some() {
    let axis = "gpu-memory-utilization";
    assert_eq!(suggested(axis, 0.9, &[0.85, 0.9]), [of("above", "0.95")]);
    assert_eq!(suggested(axis, 0.95, &[0.9, 0.95]), []);
    assert_eq!(suggested(axis, 0.97, &[0.96, 0.97]), []);
    // What failed above was tried.
    assert_eq!(suggested(axis, 0.9, &[0.85, 0.9, 0.95]), []);
}

#[test]
fn a_wide_gap_has_something_between() {
    let wide = suggested("max-num-seqs", 64.0, &[8.0, 64.0]);
    assert_eq!(wide, [of("above", "128"), of("between", "24")]);
    let part = suggested("gpu-memory-utilization", 0.9, &[0.8, 0.9]);
    assert_eq!(part, [of("above", "0.95"), of("between", "0.85")]);
}

#[test]
fn what_vllm_does_not_take_is_not_suggested() {
    assert_eq!(suggested("max-num-seqs", 1.0, &[1.0, 2.0]), []);
    assert_eq!(suggested("block-size", 128.0, &[64.0, 128.0]), []);
    assert!(NOT_TUNED.contains(&"seed") && NOT_TUNED.windows(2).all(|it| it[0] < it[1]));
}

proptest::proptest! {
    #[test]
    fn every_suggestion_is_new_and_valid(
        at in 0usize..4,
        tried in proptest::collection::btree_set(1u32..5000, 1..5),
        pick in 0usize..5,
    ) {
        let axes = ["max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization", "block-size"];
        let axis = axes[at];
        let kind = lookup(axis).expect("a flag").kind;
        let scale = if kind == Kind::Float { 5000.0 } else { 1.0 };
        let tried: Vec<f64> = tried.iter().map(|it| f64::from(*it) / scale).collect();
        let own = tried[pick % tried.len()];
        for neighbour in of_axis(axis, kind, own, &tried) {
            let value: Value = serde_json::from_str(&neighbour.suggestion).expect("a number");
            proptest::prop_assert!(check(axis, &value).is_ok(), "{neighbour:?}");
            let number = value.as_f64().expect("a number");
            proptest::prop_assert!(!tried.contains(&number));
            proptest::prop_assert!(axis != "gpu-memory-utilization" || number <= MOST_OF_MEMORY);
        }
    }
}
