use super::super::made_up_course::{assert_inside, distribution, names, ranking};
use super::*;

fn drawn(whole: &Distribution, ranking: &Ranking) -> Picture {
    pictures(std::slice::from_ref(whole), ranking, &Palette::new(ranking)).remove(0)
}

fn svg(picture: &Picture) -> String {
    picture.svg.clone().expect("drawn").into_string()
}

fn many(count: usize) -> Ranking {
    let names = names(count);
    ranking(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn the_title_compares_the_candidate_with_the_baseline() {
    let picture = drawn(&distribution(6, 400), &many(6));
    let title = picture.title;
    assert!(
        title.starts_with("kv-cache concurrency=8: half of the requests of prefix-seqs32"),
        "{title}"
    );
    assert!(title.contains("have a time to first token of at most"), "{title}");
    assert!(title.contains("; of production, of at most"), "{title}");
    assert!(picture.caption.contains("400 requests of prefix-seqs32"), "{}", picture.caption);
    assert_eq!(picture.table.len(), 7);
}

#[test]
fn names_on_a_phone_can_be_told_apart() {
    let names = ["prefix-util0.82-seqs64", "plain", "prefix-util0.82-seqs32"];
    let picture = drawn(&distribution(3, 400), &ranking(&names));
    let svg = svg(&picture);
    let narrow = svg.split("<svg").nth(2).expect("the narrow one");
    assert!(narrow.contains(">seqs64 ") && narrow.contains(">seqs32 "), "{narrow}");
    // What does not fit even so keeps its end.
    let palette = Palette::new(&ranking(&["a1-averylongone-x", "b", "a2-averylongone-y"]));
    let short = palette.distinct_names(&[0, 2], 5.0 * super::super::COLUMN);
    assert!(short[0] != short[1] && short.iter().all(|it| it.chars().count() <= 5), "{short:?}");
    assert!(picture.caption.contains("mean of the repeats' medians"), "{}", picture.caption);
}

#[test]
fn simulated_requests_are_marked() {
    let ranking = Ranking { simulated: true, ..many(3) };
    assert!(drawn(&distribution(3, 100), &ranking).title.starts_with("Simulated: "));
    let none = Distribution { curves: Vec::new(), ..distribution(1, 10) };
    assert!(drawn(&none, &ranking).title.starts_with("Simulated: "));
}

#[test]
fn a_95th_percentile_that_does_not_exist_is_not_drawn_and_named() {
    let with = drawn(&distribution(2, 80), &many(2));
    assert_eq!(svg(&with).matches("class=\"stroke\"").count(), 4);
    assert!(!with.caption.contains("No 95th percentile"));
    let without = drawn(&distribution(2, 40), &many(2));
    assert!(!svg(&without).contains("class=\"stroke\""));
    let caption = without.caption;
    let said = "No 95th percentile of prefix-seqs32, production: fewer than 60 requests";
    assert!(caption.contains(said), "{caption}");
    assert_eq!(without.table[1][3], "-");
}

#[test]
fn everything_is_inside() {
    for (count, requests) in [(2, 60), (6, 400), (12, 1000), (40, 300)] {
        assert_inside(&drawn(&distribution(count, requests), &many(count)));
    }
}

#[test]
fn values_without_a_logarithm_and_without_a_number_are_no_panic() {
    let mut whole = distribution(2, 60);
    whole.curves[0].points[0].0 = 0.0;
    assert_inside(&drawn(&whole, &many(2)));
    whole.curves[0].points[1].0 = f64::NAN;
    whole.curves[1].points.truncate(1);
    let picture = drawn(&whole, &many(2));
    assert!(
        picture.svg.is_none() && picture.title.contains("too few requests"),
        "{}",
        picture.title
    );
}

#[test]
fn only_those_that_are_spoken_of_have_a_name() {
    let picture = drawn(&distribution(200, 300), &many(200));
    let svg = svg(&picture);
    assert!(picture.caption.contains("196 further configurations are pale"), "{}", picture.caption);
    // A curve each, in both drawings.
    assert_eq!(svg.matches("href=\"#configuration-").count(), 400);
    assert!(svg.len() < 200_000, "{}", svg.len());
}

#[test]
fn names_from_outside_stay_text() {
    let hostile = "</title><script>alert(1)</script>\u{202e}\"";
    let ranking = ranking(&[hostile, "production"]);
    let picture = drawn(&distribution(2, 100), &ranking);
    let svg = svg(&picture);
    assert!(!svg.contains("<script") && svg.contains("&lt;script"), "{svg}");
    assert!(!svg.contains('\u{202e}') && !picture.title.contains('\u{202e}'));
}
