use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::results::analysis::Analysis;
use crate::results::ranking::Ranking;

fn all(analysis: &Analysis, of: &Ranking) -> Vec<Picture> {
    let mut pictures = vec![ranking(analysis, of), hits(analysis, of)];
    pictures.extend(ladder(analysis, of));
    pictures.extend(pareto(analysis, of));
    pictures.extend(effects(analysis, of));
    pictures
}

fn drawn(picture: &Picture) -> String {
    picture.svg.clone().map(maud::PreEscaped::into_string).unwrap_or_default()
}

/// Every text of the drawing with its place: x, y and where it is anchored.
fn texts(svg: &str) -> Vec<(f64, f64, String, String)> {
    let part = |text: &str, name: &str| {
        let from = text.find(&format!(" {name}=\""))? + name.len() + 3;
        Some(text[from..].split('"').next().unwrap_or_default().to_owned())
    };
    let parts = svg.split("<text").skip(1);
    let parts = parts.filter_map(|it| {
        let (attributes, rest) = it.split_once('>')?;
        let content = rest.split("</text>").next()?.to_owned();
        let number = |name| part(attributes, name)?.parse().ok();
        Some((
            number("x")?,
            number("y")?,
            part(attributes, "text-anchor").unwrap_or_default(),
            content,
        ))
    });
    parts.collect()
}

fn areas(svg: &str) -> Vec<(label::Area, String)> {
    let area = |(x, y, anchor, content): (f64, f64, String, String)| {
        let plain = content.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let wide = label::text_width(&plain);
        let left = match anchor.as_str() {
            "middle" => x - wide / 2.0,
            "end" => x - wide,
            _ => x,
        };
        (label::Area { left, top: y - 10.0, right: left + wide, bottom: y + 2.0 }, content)
    };
    texts(svg).into_iter().map(area).collect()
}

/// Wide and narrow drawing, each with its width and height.
fn sheets(svg: &str) -> Vec<(f64, f64, String)> {
    let parts = svg.split("<svg").skip(1);
    let parts = parts.map(|it| {
        let view = it.split("viewBox=\"0 0 ").nth(1).unwrap().split('"').next().unwrap();
        let (width, height) = view.split_once(' ').unwrap();
        (width.parse().unwrap(), height.parse().unwrap(), it.to_owned())
    });
    parts.collect()
}

#[test]
fn no_text_covers_another_one_or_leaves_the_drawing() {
    for count in [2, 5, 12] {
        let (analysis, of) = fixture::made_up(count);
        for picture in all(&analysis, &of) {
            for (width, height, svg) in sheets(&drawn(&picture)) {
                let areas = areas(&svg);
                for (at, (area, content)) in areas.iter().enumerate() {
                    let inside =
                        area.left > -4.0 && area.right < width + 4.0 && area.bottom < height;
                    assert!(inside, "{} {width}: {content} {area:?}", picture.id);
                    for (other, text) in &areas[..at] {
                        assert!(!area.meets(other), "{} {width}: {content} / {text}", picture.id);
                    }
                }
            }
        }
    }
}

#[test]
fn names_from_outside_stay_text() {
    let long = "x".repeat(300);
    let hostile = [
        "<script>alert(1)</script>",
        "\" onload=\"x",
        long.as_str(),
        "\u{202e}evil \u{1f600}",
        "",
        "a'b&c<d>",
    ];
    let names: Vec<String> = hostile.map(str::to_owned).to_vec();
    let means: Vec<f64> = (0..names.len()).map(|at| 100.0 + 30.0 * at as f64).collect();
    let of = fixture::ranking(&names, &means);
    let mut analysis = fixture::analysis(&means);
    analysis.effects.axes[0].name = hostile[0].to_owned();
    analysis.effects.axes[0].values[0].value = hostile[1].to_owned();
    analysis.hits.without[0].1 = hostile[0].to_owned();
    for picture in all(&analysis, &of) {
        let svg = drawn(&picture);
        assert!(!svg.contains("<script") && !svg.contains("\" onload="), "{}", picture.id);
        assert!(!svg.contains('\u{202e}') && !picture.title.contains('\u{202e}'), "{}", picture.id);
        assert!(picture.table.iter().flatten().all(|it| !it.contains('\u{202e}')));
        let longest = texts(&svg).into_iter().map(|it| it.3.chars().count()).max().unwrap_or(0);
        assert!(longest < 90, "{}: {longest}", picture.id);
    }
}

#[test]
fn titles_say_what_the_statistics_carry() {
    let (analysis, mut of) = fixture::made_up(12);
    let title = |of: &Ranking| ranking(&analysis, of).title;
    assert_eq!(
        title(&of),
        "Seven configurations are better than production, none confirmed yet; the first three are \
         not distinguishable from each other"
    );
    of.verdict = crate::results::ranking::RankingVerdict::Undecided {
        names: of.rows.iter().take(2).map(|it| it.name.clone()).collect(),
        ranks: vec![1, 2],
        causes: Vec::new(),
    };
    // The claim of the candidate stands, as in the summary.
    assert_eq!(
        title(&of),
        format!(
            "{} is better than production, not confirmed yet; between two configurations nothing is \
             decided",
            of.rows[0].name
        )
    );
    of.decision.as_mut().unwrap().claim = crate::results::decision::Claim::NotShown {
        baseline: "production".to_owned(),
        effect: None,
        p: None,
    };
    of.simulated = true;
    assert_eq!(
        title(&of),
        "Simulated: No configuration is shown to be better than production; the measurement does not \
         carry an order"
    );
    for picture in all(&analysis, &of) {
        assert!(picture.title.starts_with("Simulated: "), "{}", picture.title);
    }
    // Nor does it carry an effect of an axis, whatever its p.
    let main = &effects(&analysis, &of)[0].title;
    assert!(
        main.starts_with("Simulated: The measurement does not carry that an axis changes"),
        "{main}"
    );
}

#[test]
fn fewer_than_two_points_are_a_sentence() {
    let (_, of) = fixture::made_up(1);
    let nothing = Analysis::default();
    assert!(all(&nothing, &of).iter().all(|it| it.svg.is_none() && !it.title.is_empty()));
}

#[test]
fn figures_of_hits_that_are_missing_are_grouped_by_reason() {
    let (mut analysis, of) = fixture::made_up(6);
    let off = "not_applicable: prefix caching is off".to_owned();
    let void = "not measured: no repeat is valid".to_owned();
    analysis.hits.pairs.retain(|it| it.configuration > 2);
    analysis.hits.without = vec![(0, off.clone()), (1, void), (2, off)];
    let name = |at: usize| of.rows[at].name.as_str();
    let wanted = format!(
        "Left out: {}, {} (not applicable: prefix caching is off); {} (not measured: no repeat is valid).",
        name(0),
        name(2),
        name(1)
    );
    let caption = hits(&analysis, &of).caption;
    assert!(caption.ends_with(&wanted), "{caption}");
    analysis.hits.pairs.clear();
    assert_eq!(
        hits(&analysis, &of).title,
        "No configuration has a figure of what a cache hit gains: not applicable: prefix caching is off \
         (two configurations); not measured: no repeat is valid (one configuration)"
    );
}

#[test]
fn a_bound_at_one_load_is_claimed_of_that_load_alone() {
    let (mut analysis, of) = fixture::made_up(3);
    let whole = ladder(&analysis, &of).unwrap();
    assert!(whole.title.starts_with("Shown to keep "), "{}", whole.title);
    let it = analysis.ladder.as_mut().unwrap();
    it.limit = None;
    // No step of it is within.
    it.limits = vec![("concurrency=32".to_owned(), 1.0)];
    let one = ladder(&analysis, &of).unwrap();
    assert!(one.title.contains(" bounded at 32 in flight (1 ms) alone, "), "{}", one.title);
    assert!(!one.title.contains("at 32 in flight,"), "a step beyond its bound: {}", one.title);
    assert!(one.title.contains("at 16 in flight"), "unbounded steps count: {}", one.title);
    assert!(one.caption.contains("bound at one load: 32 in flight (1 ms)"), "{}", one.caption);
    assert!(drawn(&one).contains("bound 1 ms at 32 in flight"));
    for (width, _, sheet) in sheets(&drawn(&one)) {
        assert_eq!(sheet.matches("class=\"limit\"").count(), 1, "{width}");
    }
}

#[test]
fn effects_say_how_many_configurations_they_rest_on_and_what_is_left_out() {
    let (mut analysis, of) = fixture::made_up(20);
    analysis.effects.left_out = vec![3];
    let caption = &effects(&analysis, &of)[0].caption;
    assert!(caption.contains("over 12 configurations"), "{caption}");
    let wanted = format!("a value of several axes: {}.", of.rows[3].name);
    assert!(caption.ends_with(&wanted), "{caption}");
}

#[test]
fn every_mark_is_a_link_with_a_title_and_a_place_in_the_page() {
    let (analysis, of) = fixture::made_up(12);
    for picture in all(&analysis, &of) {
        let svg = drawn(&picture);
        let links = svg.matches("<a class=\"mark").count();
        assert!(links >= 4, "{}", picture.id);
        assert_eq!(links, svg.matches("<title>").count(), "{}", picture.id);
        let rows = if picture.id.starts_with("effects") || picture.id.starts_with("interaction") {
            format!("href=\"#{}\"", picture_anchor(&picture.id))
        } else {
            "href=\"#configuration-".to_owned()
        };
        assert_eq!(links, svg.matches(&rows).count(), "{}", picture.id);
        // In a page an element that is not closed holds all that follows.
        for element in ["rect", "line", "path", "circle", "text"] {
            let (opened, closed) = (format!("<{element} "), format!("</{element}>"));
            assert_eq!(svg.matches(&opened).count(), svg.matches(&closed).count(), "{element}");
        }
        let columns = picture.table[0].len();
        assert!(picture.table.iter().all(|it| it.len() == columns), "{}", picture.id);
    }
}

#[test]
fn with_many_configurations_only_those_that_are_spoken_of_have_colour_and_name() {
    let (analysis, of) = fixture::made_up(200);
    let picture = ranking(&analysis, &of);
    let svg = drawn(&picture);
    let pale = svg.matches("<a class=\"mark kp\"").count();
    assert_eq!(pale, 2 * (200 - 4), "all but production and the group of three");
    let size: usize = all(&analysis, &of).iter().map(|it| drawn(it).len()).sum();
    assert!(size < 1_200_000, "{size} bytes of at most 3 MB for the page");
}

#[test]
fn colour_and_shape_together_are_unique() {
    let (_, of) = fixture::made_up(12);
    let palette = palette::Palette::new(&of);
    let looks: std::collections::HashSet<_> =
        (0..12).map(|at| (palette.look(at).class, palette.look(at).shape)).collect();
    assert_eq!(looks.len(), 12);
    assert_eq!((palette.look(0).class, palette.look(8).class), ("k1", "k0"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn marks_are_inside_and_numbers_are_numbers(
        means in prop::collection::vec(prop_oneof![1e-6..1e9, 1.0..2.0, Just(5.0), Just(f64::NAN), Just(f64::INFINITY)], 2..30),
    ) {
        let names: Vec<String> = (0..means.len()).map(fixture::name).collect();
        let of = fixture::ranking(&names, &means);
        for picture in all(&fixture::analysis(&means), &of) {
            for (width, height, svg) in sheets(&drawn(&picture)) {
                let coordinates: String = svg
                    .split([' ', '<'])
                    .filter(|it| ["cx=", "cy=", "x1=", "x2=", "y1=", "y2=", "d="].iter().any(|of| it.starts_with(of)))
                    .collect();
                prop_assert!(!coordinates.contains("NaN") && !coordinates.contains("inf"));
                let places = |name: &str| -> Vec<f64> {
                    let opening = format!(" {name}=\"");
                    let parts = svg.split(&opening).skip(1);
                    parts.map(|it| it.split('"').next().unwrap().parse().unwrap()).collect()
                };
                for x in ["cx", "x1", "x2"].into_iter().flat_map(places) {
                    prop_assert!((0.0..=width).contains(&x), "{} {x}", picture.id);
                }
                for y in ["cy", "y1", "y2"].into_iter().flat_map(places) {
                    prop_assert!((0.0..=height).contains(&y), "{} {y}", picture.id);
                }
            }
        }
    }
}

/// A page with all pictures, to be looked at: `PICTURES=/tmp/pictures cargo test --lib
/// a_page_to_look_at -- --ignored`.
#[test]
#[ignore = "writes files to look at"]
fn a_page_to_look_at() {
    let folder =
        std::env::var("PICTURES").unwrap_or_else(|_| std::env::temp_dir().display().to_string());
    for (count, theme) in [(2, "light"), (12, "light"), (12, "dark"), (60, "light"), (60, "dark")] {
        let (analysis, of) = fixture::made_up(count);
        let mut page = format!(
            "<!doctype html><html lang=en data-theme={theme}><meta charset=utf-8><meta name=viewport \
             content='width=device-width'><title>Pictures</title><style>{STYLE} body {{ background: \
             var(--paper); color: var(--ink); font: 15px system-ui, sans-serif; max-width: 960px; \
             margin: 1rem auto; padding: 0 1rem }} figure {{ margin: 2rem 0 }}</style><main><h1>Pictures</h1>"
        );
        for it in all(&analysis, &of) {
            let (id, svg) = (&it.id, drawn(&it));
            let (title, caption) = (maud::html! { (it.title) }, maud::html! { (it.caption) });
            let (title, caption) = (title.into_string(), caption.into_string());
            write!(
                page,
                "<figure id={id} class=pictured><h2>{title}</h2>{svg}<figcaption>{caption}</figcaption></figure>"
            )
            .unwrap();
        }
        std::fs::write(format!("{folder}/pictures-{count}-{theme}.html"), page).unwrap();
    }
}
