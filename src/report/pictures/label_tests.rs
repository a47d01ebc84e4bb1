use proptest::prelude::*;

use super::*;

fn label(x: f64, y: f64, text: &str) -> Label {
    Label { x, y, text: text.to_owned(), class: "" }
}

fn apart(labels: &Labels) -> bool {
    let areas: Vec<Area> = labels.placed.iter().map(|it| it.area).collect();
    (0..areas.len()).all(|at| areas[..at].iter().all(|other| !areas[at].meets(other)))
}

#[test]
fn labels_at_the_same_end_stand_below_each_other_with_leaders() {
    let all = [label(100.0, 50.0, "a"), label(100.0, 50.0, "b"), label(100.0, 51.0, "c")];
    let labels = at_ends(&all, 108.0, 0.0, 200.0);
    assert!(apart(&labels) && labels.more == 0);
    assert!(labels.placed[0].leader.is_none() && labels.placed[2].leader.is_some());
}

#[test]
fn what_has_no_room_is_counted() {
    let all: Vec<Label> = (0..20).map(|at| label(100.0, f64::from(at), "name")).collect();
    let labels = at_ends(&all, 108.0, 0.0, 100.0);
    assert_eq!((labels.placed.len(), labels.more), (5, 15));
    let crowded = beside(&all, Area { left: 0.0, top: 0.0, right: 160.0, bottom: 60.0 }, &[], 8.0);
    assert_eq!(crowded.placed.len() + crowded.more, 20);
    assert!(crowded.more > 0);
}

proptest! {
    #[test]
    fn labels_never_cover_each_other(
        points in prop::collection::vec((0.0..600.0, 0.0..300.0, "[a-z]{1,18}"), 0..40),
    ) {
        let all: Vec<Label> = points.iter().map(|(x, y, text)| label(*x, *y, text)).collect();
        let bounds = Area { left: 0.0, top: 0.0, right: 600.0, bottom: 300.0 };
        let found = beside(&all, bounds, &[], 8.0);
        prop_assert!(apart(&found));
        prop_assert!(found.placed.iter().all(|it| bounds.holds(&it.area)));
        let ends = at_ends(&all, 620.0, 0.0, 300.0);
        prop_assert!(apart(&ends));
        prop_assert!(ends.placed.iter().all(|it| it.area.top >= -1e-9 && it.area.bottom <= 300.0 + 1e-9));
    }
}
