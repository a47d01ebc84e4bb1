use super::super::made_up_course::{assert_inside, figure, names, ranking, turns};
use super::*;

fn many(count: usize) -> Ranking {
    let names = names(count);
    ranking(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn drawn(turns: &Turns, ranking: &Ranking) -> Picture {
    picture_of(Some(turns), ranking, &Palette::new(ranking)).expect("turns")
}

fn svg(picture: &Picture) -> String {
    picture.svg.clone().expect("drawn").into_string()
}

#[test]
fn the_title_says_what_the_slopes_show() {
    let title = drawn(&turns(3, 8), &many(3)).title;
    let said = "Time to first token over the turns: of prefix-seqs32 it rises by 3.10 ms [2.00, 4.20] \
                per turn; of production it rises by 41.0 ms [39.9, 42.1] per turn";
    assert_eq!(title, said);
    let mut flat = turns(1, 8);
    flat.lines[0].slope = Some(figure(0.3, 0.8));
    let title = drawn(&flat, &many(1)).title;
    assert!(
        title.contains("is not shown to change (+0.300 ms [-0.500, 1.100] per turn)"),
        "{title}"
    );
    flat.lines[0].slope = Some(figure(-3.0, 0.8));
    assert!(drawn(&flat, &many(1)).title.contains("falls: -3.00 ms"));
    flat.lines[0].slope = None;
    assert!(drawn(&flat, &many(1)).title.contains("has no slope"));
}

#[test]
fn the_slope_with_its_interval_is_at_the_lines_end() {
    let svg = svg(&drawn(&turns(2, 8), &many(2)));
    let (wide, narrow) = svg.split_once("narrow").expect("two drawings");
    assert!(wide.contains(">+3.10 ms [2.00, 4.20]/turn<"), "{wide}");
    assert!(narrow.contains(">+3.10 ms/turn<") && narrow.contains(">[2.00, 4.20]<"), "{narrow}");
}

#[test]
fn a_turn_that_was_not_measured_parts_the_line() {
    let mut gap = turns(1, 6);
    gap.lines[0].turns[2] = None;
    let picture = drawn(&gap, &many(1));
    let svg = svg(&picture);
    assert_eq!(svg.matches("class=\"line\"").count(), 4, "{svg}");
    assert_eq!(picture.table[1][5], "-");
    assert_inside(&picture);
}

#[test]
fn fewer_than_two_turns_are_a_sentence() {
    assert!(picture_of(None, &many(1), &Palette::new(&many(1))).is_none());
    let picture = drawn(&turns(2, 1), &many(2));
    assert!(picture.svg.is_none() && picture.title.contains("Fewer than two turns"));
}

#[test]
fn everything_is_inside() {
    for (count, length) in [(1, 2), (4, 12), (12, 8), (60, 40)] {
        assert_inside(&drawn(&turns(count, length), &many(count)));
    }
    let mut odd = turns(2, 4);
    odd.lines[0].turns[0] = Some((f64::INFINITY, f64::NAN, 1.0));
    odd.lines[1].slope = Some(figure(f64::NAN, 1.0));
    assert_inside(&drawn(&odd, &many(2)));
}
