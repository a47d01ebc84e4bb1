use super::super::made_up_course::{assert_inside, course, names, ranking, time};
use super::*;
use crate::results::analysis::Span;

fn many(count: usize) -> Ranking {
    let names = names(count);
    ranking(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn course_of(ranking: &Ranking, rounds: usize, gpus: usize) -> Course {
    let names: Vec<&str> = ranking.rows.iter().map(|it| it.name.as_str()).collect();
    course(&names, rounds, gpus)
}

fn night_of(course: &Course, ranking: &Ranking) -> Picture {
    night(course, ranking, &Palette::new(ranking))
}

fn svg(picture: &Picture) -> String {
    picture.svg.clone().expect("drawn").into_string()
}

#[test]
fn the_title_counts_launches_hours_failures_and_jumps() {
    let ranking = many(6);
    let picture = night_of(&course_of(&ranking, 4, 1), &ranking);
    let title = &picture.title;
    assert!(title.starts_with("24 launches of 6 configurations in "), "{title}");
    assert!(title.contains("; 2 failed; 2 launches failed a gate; "), "{title}");
    assert!(title.ends_with("the machine's speed jumped 2 times"), "{title}");
    assert!(picture.caption.contains("Without samples: KV cache in use."), "{}", picture.caption);
    for mark in [
        "crossed: failed",
        "hollow: unfinished",
        "outlined: a launch of a confirmation",
        "a new block",
    ] {
        assert!(picture.caption.contains(mark), "{mark}: {}", picture.caption);
    }
}

#[test]
fn every_launch_is_a_block_that_leads_to_its_rows() {
    let ranking = many(5);
    let course = course_of(&ranking, 4, 2);
    let picture = night_of(&course, &ranking);
    let svg = svg(&picture);
    for span in &course.launches {
        let link = format!("href=\"#launch-{}\"", span.launch);
        assert_eq!(svg.matches(&link).count(), 2, "{link}");
    }
    assert_eq!(picture.table.len(), 21);
    assert!(svg.contains("failed: out_of_memory") && svg.contains("gates failed: function"));
    assert_inside(&picture);
}

#[test]
fn launches_without_times_are_counted_and_not_drawn() {
    let ranking = many(3);
    let mut course = course_of(&ranking, 2, 0);
    let timeless = Span {
        started: None,
        ready: None,
        warm: None,
        measured: None,
        ended: None,
        ..course.launches[0].clone()
    };
    course.launches[0] = timeless.clone();
    let picture = night_of(&course, &ranking);
    assert!(picture.caption.contains("1 launch without times is not drawn"), "{}", picture.caption);
    assert!(!svg(&picture).contains("href=\"#launch-1\""));
    for span in &mut course.launches[1..] {
        *span = Span { launch: span.launch, ..timeless.clone() };
    }
    let picture = night_of(&course, &ranking);
    assert!(picture.svg.is_none() && picture.title.starts_with("No launch has a time"));
    assert!(timeline(&course, &ranking, &Palette::new(&ranking)).svg.is_none());
    assert!(night_of(&Course::default(), &ranking).svg.is_none());
}

#[test]
fn odd_times_stay_inside() {
    let ranking = many(4);
    let mut course = course_of(&ranking, 2, 1);
    // Out of order, of no length, all at once, years apart.
    course.launches[0].ready = Some(time(-5000.0));
    let start = course.launches[1].started;
    for it in [1, 2] {
        let span = &mut course.launches[it];
        (span.started, span.ready, span.warm) = (start, start, start);
        (span.measured, span.ended) = (start, start);
    }
    course.launches[3].started = Some(time(1e8));
    course.launches[4].ended = Some(time(-1e8));
    course.jumps.push(time(-1e9));
    course.level.push((time(1e9), f64::NAN, crate::statistics::Interval { low: 0.0, high: 1.0 }));
    let picture = night_of(&course, &ranking);
    assert_inside(&picture);
    assert!(picture.caption.contains("cut out of the axis"), "{}", picture.caption);
    let all = timeline(&course, &ranking, &Palette::new(&ranking));
    assert_inside(&all);
}

#[test]
fn one_sample_is_no_line_and_is_named() {
    let ranking = many(2);
    let mut course = course_of(&ranking, 2, 1);
    for series in &mut course.series {
        series.points.truncate(1);
    }
    course.level.truncate(1);
    let picture = night_of(&course, &ranking);
    assert!(!svg(&picture).contains("class=\"sample\""));
    let caption = &picture.caption;
    assert!(caption.contains("The machine's level is not estimated."), "{caption}");
    assert!(
        caption.contains("Without samples: host CPU in use, GPU memory, GPU power"),
        "{caption}"
    );
    assert_inside(&picture);
}

#[test]
fn two_hundred_configurations_stay_small() {
    let ranking = many(200);
    let course = course_of(&ranking, 3, 8);
    let picture = night_of(&course, &ranking);
    let size = svg(&picture).len();
    println!("night of 200 configurations, 600 launches, 8 GPUs: {size} bytes");
    assert!(size < 1_000_000, "{size}");
    assert!(picture.caption.contains("Rows without a name beside them"), "{}", picture.caption);
    assert_inside(&picture);
    let bars = timeline(&course, &ranking, &Palette::new(&ranking));
    let size = svg(&bars).len();
    println!("timeline of 200 configurations: {size} bytes");
    assert!(size < 400_000, "{size}");
    assert_inside(&bars);
}

#[test]
fn the_timeline_says_where_the_hours_went() {
    let ranking = many(4);
    let course = course_of(&ranking, 6, 0);
    let picture = timeline(&course, &ranking, &Palette::new(&ranking));
    let title = &picture.title;
    assert!(title.starts_with("Of 2.1") && title.contains(" h in 24 launches, "), "{title}");
    assert!(title.ends_with(" min were boots"), "{title}");
    assert!(picture.caption.contains("that failed or did not end"), "{}", picture.caption);
    assert_eq!(picture.table.len(), 5);
    assert_inside(&picture);
    let alone = many(1);
    let one = course_of(&alone, 3, 0);
    assert!(timeline(&one, &alone, &Palette::new(&alone)).svg.is_none());
}

#[test]
fn configurations_that_the_ranking_does_not_have_come_last() {
    let ranking = many(2);
    let mut course = course_of(&ranking, 3, 0);
    course.launches[0].configuration = None;
    course.launches[0].name = "<b>earlier</b>\u{1b}[31m".to_owned();
    let rows = rows::rows(&course, &Palette::new(&ranking));
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2].name, "<b>earlier</b>");
    let svg = svg(&night_of(&course, &ranking));
    assert!(svg.contains("&lt;b&gt;earlier") && !svg.contains("<b>"));
}

#[test]
fn simulated_courses_are_marked() {
    let ranking = Ranking { simulated: true, ..many(2) };
    let course = course_of(&ranking, 2, 0);
    let palette = Palette::new(&ranking);
    assert!(night(&course, &ranking, &palette).title.starts_with("Simulated: "));
    assert!(timeline(&course, &ranking, &palette).title.starts_with("Simulated: "));
    assert!(night(&Course::default(), &ranking, &palette).title.starts_with("Simulated: "));
}

/// `PICTURES=<folder>`: writes a page to look at.
#[test]
#[ignore = "writes a page for eyes"]
fn a_page_to_look_at() {
    let Some(folder) = std::env::var_os("PICTURES") else { return };
    for count in [6, 18, 200] {
        let ranking = Ranking { simulated: count == 6, ..many(count) };
        let palette = Palette::new(&ranking);
        let mut course =
            course_of(&ranking, if count == 200 { 3 } else { 5 }, if count == 200 { 8 } else { 2 });
        if count == 18 {
            let later = |it: &mut Option<jiff::Timestamp>| {
                *it = it.map(|it| it + jiff::SignedDuration::from_hours(17));
            };
            for span in course.launches.iter_mut().skip(45) {
                [
                    &mut span.started,
                    &mut span.ready,
                    &mut span.warm,
                    &mut span.measured,
                    &mut span.ended,
                ]
                .into_iter()
                .for_each(later);
            }
        }
        let distribution = super::super::made_up_course::distribution(count, 500);
        let turns = super::super::made_up_course::turns(count, 8);
        let mut pictures =
            super::super::distributions::pictures(&[distribution], &ranking, &palette);
        pictures.extend(super::super::turns::picture_of(Some(&turns), &ranking, &palette));
        pictures.push(night(&course, &ranking, &palette));
        pictures.push(timeline(&course, &ranking, &palette));
        let page = html! {
            (maud::DOCTYPE)
            meta charset="utf-8";
            meta name="viewport" content="width=device-width";
            style {
                (maud::PreEscaped(super::super::STYLE))
                "body{font:15px system-ui,sans-serif;background:var(--paper);color:var(--ink);margin:12px} figcaption{color:var(--muted);font-size:13px} h2{font-size:17px}"
            }
            @for picture in pictures {
                figure.pictured style="margin:0 0 30px" id=(picture.id) {
                    h2 { (picture.title) }
                    @if let Some(svg) = picture.svg { (svg) }
                    figcaption { (picture.caption) }
                }
            }
        };
        let path = std::path::Path::new(&folder).join(format!("course-{count}.html"));
        std::fs::write(path, page.into_string()).unwrap();
    }
}
