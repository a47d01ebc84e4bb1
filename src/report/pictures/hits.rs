//! What a cache hit gains as a picture: the time to first token without and with a hit,
//! two marks joined for each configuration.

use maud::{Markup, html};

use super::axis;
use super::label::{Align, LINE, text, text_width};
use super::mark::{self, Fill};
use super::palette::{Palette, Shape, shown};
use super::rows::{Row, Rows};
use super::scale::{Scale, ends};
use super::wording::{capital, figure, names, rests_on, small};
use super::{Drawing, Picture, anchor, picture, sentence, titled};
use crate::results::analysis::{Analysis, Figure, HitPair};
use crate::results::ranking::Ranking;

/// Miss against hit.
pub fn hits(analysis: &Analysis, ranking: &Ranking) -> Picture {
    let palette = Palette::new(ranking);
    let drawable = |it: &&HitPair| it.miss.value.is_finite() && it.hit.value.is_finite();
    let pairs: Vec<&HitPair> = analysis.hits.pairs.iter().filter(drawable).collect();
    let title = titled(ranking.simulated, answer(&pairs, analysis));
    if pairs.is_empty() {
        return sentence("hits", title);
    }
    let caption = caption(&pairs, analysis, &palette);
    picture("hits", title, caption, table(&pairs, &palette), |width| draw(width, &pairs, &palette))
}

/// Whether the intervals of both have nothing in common.
fn is_shown(pair: &HitPair) -> bool {
    let ends = pair.hit.interval.zip(pair.miss.interval);
    ends.is_some_and(|(hit, miss)| hit.high < miss.low)
}

fn answer(pairs: &[&HitPair], analysis: &Analysis) -> String {
    if pairs.is_empty() {
        let reasons = reasons(analysis).into_iter();
        let reasons = reasons.map(|(why, of)| format!("{why} ({})", some_configurations(of.len())));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        return if reasons.is_empty() {
            "What a cache hit gains was not measured".to_owned()
        } else {
            format!("No configuration has a figure of what a cache hit gains: {reasons}")
        };
    }
    let shown: Vec<&&HitPair> = pairs.iter().filter(|it| is_shown(it)).collect();
    if shown.is_empty() {
        return "No configuration is shown to answer sooner after a cache hit".to_owned();
    }
    let gain = |it: &&&HitPair| (1.0 - it.hit.value / it.miss.value) * 100.0;
    let least = shown.iter().map(gain).fold(f64::INFINITY, f64::min);
    let most = shown.iter().map(gain).fold(f64::NEG_INFINITY, f64::max);
    let by = if format!("{least:.0}") == format!("{most:.0}") {
        format!("{most:.0}%")
    } else {
        format!("{least:.0}% to {most:.0}%")
    };
    match (shown.len(), pairs.len()) {
        (1, 1) => format!("A cache hit shortens the time to first token by {by}"),
        (some, all) if some == all => {
            format!(
                "A cache hit shortens the time to first token in all {} configurations, by {by}",
                small(all)
            )
        }
        (some, all) => {
            let verb = if some == 1 { "shows" } else { "show" };
            format!(
                "{} of {} configurations {verb} a shorter time to first token after a cache hit, by {by}",
                capital(some),
                small(all)
            )
        }
    }
}

/// Why figures are missing, each reason with the configurations that it is of.
fn reasons(analysis: &Analysis) -> Vec<(String, Vec<usize>)> {
    let mut all: Vec<(String, Vec<usize>)> = Vec::new();
    for (configuration, why) in &analysis.hits.without {
        let why = shown(why).replace('_', " ");
        match all.iter_mut().find(|it| it.0 == why) {
            Some((_, of)) => of.push(*configuration),
            None => all.push((why, vec![*configuration])),
        }
    }
    all
}

fn some_configurations(count: usize) -> String {
    if count == 1 {
        "one configuration".to_owned()
    } else {
        format!("{} configurations", small(count))
    }
}

fn caption(pairs: &[&HitPair], analysis: &Analysis, palette: &Palette) -> String {
    let case = shown(&analysis.hits.case);
    let case = if analysis.hits.case.is_empty() { String::new() } else { format!(", {case}") };
    let n: usize = pairs.iter().map(|it| it.miss.repeats + it.hit.repeats).sum();
    let mut caption = format!(
        "Time to first token in ms{case}: square without, dot with a cache hit, 95% intervals (n: {n} repeats). \
         Shorter is said where both intervals have nothing in common."
    );
    if !analysis.hits.without.is_empty() {
        let without = reasons(analysis).into_iter();
        let without = without.map(|(why, of)| format!("{} ({why})", names(palette, &of)));
        let without = without.collect::<Vec<_>>().join("; ");
        caption = format!("{caption} Left out: {without}.");
    }
    caption
}

fn table(pairs: &[&HitPair], palette: &Palette) -> Vec<Vec<String>> {
    let head =
        ["configuration", "miss, ms [95%]", "n", "hit, ms [95%]", "n", "hit compared with miss"];
    let row = |it: &&HitPair| {
        vec![
            palette.name(it.configuration).to_owned(),
            figure(&it.miss, ""),
            rests_on(&it.miss),
            figure(&it.hit, ""),
            rests_on(&it.hit),
            change(it),
        ]
    };
    [head.map(str::to_owned).to_vec()].into_iter().chain(pairs.iter().map(row)).collect()
}

/// `-83%`.
fn change(pair: &HitPair) -> String {
    if pair.miss.value > 0.0 {
        format!("{:+.0}%", (pair.hit.value / pair.miss.value - 1.0) * 100.0)
    } else {
        "-".to_owned()
    }
}

fn draw(width: f64, pairs: &[&HitPair], palette: &Palette) -> Drawing {
    let order: Vec<usize> = pairs.iter().map(|it| it.configuration).collect();
    let figures: Vec<String> = pairs.iter().map(|it| change(it)).collect();
    let rows = Rows::new(width, &order, palette, &figures);
    let values = pairs.iter().flat_map(|it| {
        ends(it.miss.value, it.miss.interval).chain(ends(it.hit.value, it.hit.interval))
    });
    let scale = Scale::positions(values, rows.frame.across());
    let body = html! {
        @for row in &rows.all { (rows.line(row)) }
        @if let Some(first) = pairs.first() { (legend(first, &rows, &scale)) }
        @for (row, (pair, figure)) in rows.all.iter().zip(pairs.iter().zip(&figures)) {
            (rows.texts(row, palette, figure))
            (mark_of(row, pair, &scale, palette))
        }
        (axis::across(&rows.frame, &scale, &axis::title("time to first token", "ms", &scale)))
    };
    Drawing { height: rows.height, body }
}

/// What both marks are, above the first row's.
fn legend(pair: &HitPair, rows: &Rows, scale: &Scale) -> Markup {
    let y = rows.frame.top - LINE / 2.0 - 2.0;
    let (hit, miss) = (scale.at(pair.hit.value), scale.at(pair.miss.value));
    let (left, right) = (rows.frame.left, rows.frame.right);
    let place = |x: f64, word: &str| {
        let half = text_width(word) / 2.0;
        x.clamp(left + half, (right - half).max(left + half))
    };
    let (mut at_hit, mut at_miss) = (place(hit, "hit"), place(miss, "miss"));
    if (at_miss - at_hit).abs() < 44.0 {
        let middle = f64::midpoint(at_hit, at_miss).clamp(left + 48.0, right - 48.0);
        let side = if hit <= miss { 1.0 } else { -1.0 };
        (at_hit, at_miss) = (middle - side * 24.0, middle + side * 24.0);
    }
    html! {
        (text(at_hit, y, Align::Middle, "muted", "hit"))
        (text(at_miss, y, Align::Middle, "muted", "miss"))
    }
}

fn mark_of(row: &Row, pair: &HitPair, scale: &Scale, palette: &Palette) -> Markup {
    let look = palette.look(row.configuration);
    let radius = if row.named { 4.5 } else { 3.0 };
    let (hit, miss) = (scale.at(pair.hit.value), scale.at(pair.miss.value));
    let interval =
        |figure: &Figure| figure.interval.map(|it| (scale.at(it.low), scale.at(it.high)));
    let title = format!(
        "{}: miss {} ({}), hit {} ({})",
        palette.name(row.configuration),
        figure(&pair.miss, "ms"),
        rests_on(&pair.miss),
        figure(&pair.hit, "ms"),
        rests_on(&pair.hit),
    );
    let body = html! {
        (Rows::target(row, hit, miss))
        (mark::straight("joint", (hit, row.y), (miss, row.y)))
        @for (low, high) in [interval(&pair.hit), interval(&pair.miss)].into_iter().flatten() {
            (mark::across(low, high, row.y))
        }
        (mark::dot(Shape::Square, miss, row.y, radius, Fill::Full))
        (mark::dot(Shape::Circle, hit, row.y, radius, Fill::Full))
    };
    mark::link(&anchor(row.configuration), &title, look, &body)
}
