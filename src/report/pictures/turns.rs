//! Time to first token over the turns of a conversation: the median line of each
//! configuration, the band of its launches, and the slope with its interval at the line's
//! end. Slopes are computed in [`crate::results::analysis`].

use maud::{Markup, html};

use super::axis::{self, Frame};
use super::ends::{self, Ending};
use super::label::{Align, text};
use super::mark::{self, Fill};
use super::palette::{Palette, cut};
use super::scale::Scale;
use super::{Drawing, Picture, WIDE, anchor, compact, picture, sentence, titled};
use crate::results::analysis::{Figure, TurnLine, Turns};
use crate::results::number;
use crate::results::ranking::Ranking;

/// Identifier in the page.
const ID: &str = "turns";

/// The picture; `None` where no conversation was measured.
pub fn picture_of(turns: Option<&Turns>, ranking: &Ranking, palette: &Palette) -> Option<Picture> {
    let turns = turns?;
    let lines: Vec<&TurnLine> = turns.lines.iter().filter(|it| points(it).count() > 1).collect();
    if lines.is_empty() {
        let title = "Fewer than two turns of a conversation were measured";
        return Some(sentence(ID, titled(ranking.simulated, title)));
    }
    let title = titled(ranking.simulated, title(&lines, ranking, palette));
    let caption = caption(turns, &lines, palette);
    let table = table(&lines, palette);
    Some(picture(ID, title, caption, table, |width| draw(&lines, palette, width)))
}

/// Turns that were measured: the number, median, least and greatest.
fn points(line: &TurnLine) -> impl Iterator<Item = (usize, (f64, f64, f64))> + '_ {
    let finite = |it: &(f64, f64, f64)| it.0.is_finite() && it.1.is_finite() && it.2.is_finite();
    (1..).zip(&line.turns).filter_map(move |(turn, it)| Some((turn, it.filter(finite)?)))
}

fn title(lines: &[&TurnLine], ranking: &Ranking, palette: &Palette) -> String {
    let baseline =
        |it: &&&TurnLine| ranking.rows.get(it.configuration).is_some_and(|it| it.baseline);
    let other = lines.iter().find(baseline);
    let first = lines.iter().find(|it| palette.look(it.configuration).class == "k1");
    let first = first.or_else(|| lines.iter().find(|it| !baseline(it))).or(other);
    let Some(first) = first else { return String::new() };
    let of = |line: &TurnLine| {
        let name = palette.short_name(line.configuration, 320.0);
        format!("of {name} it {}", course(line.slope.as_ref()))
    };
    let other = other.filter(|it| it.configuration != first.configuration);
    let second = other.map(|it| format!("; {}", of(it))).unwrap_or_default();
    format!("Time to first token over the turns: {}{second}", of(first))
}

/// What a slope shows.
fn course(slope: Option<&Figure>) -> String {
    let Some(slope) = slope.filter(|it| it.value.is_finite()) else {
        return "has no slope: too few turns".to_owned();
    };
    let text = slope_text(slope);
    match slope.interval {
        Some(it) if it.low > 0.0 => format!("rises by {} per turn", text.trim_start_matches('+')),
        Some(it) if it.high < 0.0 => format!("falls: {text} per turn"),
        Some(_) => format!("is not shown to change ({text} per turn)"),
        None => format!("changes by {text} per turn, without an interval"),
    }
}

/// `+3.1 ms [2.0, 4.2]`.
fn slope_text(slope: &Figure) -> String {
    let text = number::estimate_of(slope.value, slope.interval, false, "ms");
    if slope.value > 0.0 { format!("+{text}") } else { text }
}

fn caption(turns: &Turns, lines: &[&TurnLine], palette: &Palette) -> String {
    let case = if turns.case.is_empty() { String::new() } else { format!(" ({})", turns.case) };
    let mut text = format!(
        "Time to first token in ms by turn of a conversation{case}: median over the launches, band \
         from the least to the greatest launch; at the end the slope in ms per turn with its 95% \
         interval over the launches."
    );
    let launches = || lines.iter().map(|it| it.launches);
    let (least, most) = (launches().min().unwrap_or(0), launches().max().unwrap_or(0));
    let n = if least == most { least.to_string() } else { format!("{least} to {most}") };
    text.push_str(&format!(" n: {n} launches of each configuration."));
    let pale = lines.iter().filter(|it| !palette.look(it.configuration).named).count();
    if pale > 0 {
        text.push_str(&format!(
            " {pale} further configurations are pale; names on hover and focus."
        ));
    }
    text
}

fn table(lines: &[&TurnLine], palette: &Palette) -> Vec<Vec<String>> {
    let most = lines.iter().map(|it| it.turns.len()).max().unwrap_or(0);
    let heads = ["configuration", "launches", "slope, ms per turn [95%]"].map(str::to_owned);
    let heads = heads.into_iter().chain((1..=most).map(|turn| format!("turn {turn}, ms")));
    let figure = |it: f64| {
        let decimals = number::decimals(it);
        format!("{it:.decimals$}")
    };
    let cell = |line: &TurnLine, turn: usize| match points(line).find(|it| it.0 == turn) {
        Some((_, (median, low, high))) if line.launches > 1 => {
            format!("{} ({} to {})", figure(median), figure(low), figure(high))
        }
        Some((_, (median, ..))) => figure(median),
        None => "-".to_owned(),
    };
    let row = |line: &&TurnLine| {
        let slope = line.slope.filter(|it| it.value.is_finite());
        let slope = slope
            .map_or("-".to_owned(), |it| number::estimate_of(it.value, it.interval, false, ""));
        let own = [palette.name(line.configuration).to_owned(), line.launches.to_string(), slope];
        own.into_iter().chain((1..=most).map(|turn| cell(line, turn))).collect()
    };
    std::iter::once(heads.collect()).chain(lines.iter().map(row)).collect()
}

fn draw(lines: &[&TurnLine], palette: &Palette, width: f64) -> Drawing {
    let wide = width >= WIDE;
    let (margin, height) = if wide { (230.0, 300.0) } else { (126.0, 330.0) };
    let top = axis::ABOVE;
    let mut frame = Frame { left: 44.0, right: width - margin, top, bottom: top + height };
    let values = lines.iter().flat_map(|line| {
        let named = palette.look(line.configuration).named;
        points(line).flat_map(
            move |(_, (median, low, high))| {
                if named { vec![median, low, high] } else { vec![median] }
            },
        )
    });
    let upwards = Scale::positions(values, frame.upwards());
    frame.left = axis::room_for(&upwards, axis::most_upwards(&frame));
    let last = lines.iter().flat_map(|it| points(it)).map(|it| it.0).max().unwrap_or(1);
    let across = Scale::linear([1.0, last as f64], frame.across());
    let mut order: Vec<&TurnLine> = lines.to_vec();
    order.sort_by_key(|line| {
        let look = palette.look(line.configuration);
        (look.named, look.class == "k0", look.class == "k1")
    });
    // Whole turns, as many as fit.
    let step = last.div_ceil(axis::most_across(&frame)).max(1);
    let turns = (1..=last).step_by(step).map(|turn| (across.at(turn as f64), turn.to_string()));
    let y_title = axis::title("time to first token", "ms", &upwards);
    let body = html! {
        (axis::upwards(&frame, &upwards, &y_title))
        (axis::along(&frame, turns))
        (text(frame.right, frame.bottom + 34.0, Align::End, "muted", "turn"))
        @for line in order.iter().filter(|it| palette.look(it.configuration).named) {
            (band(line, palette, &across, &upwards))
        }
        @for line in &order { (drawn(line, palette, &across, &upwards)) }
        (ends::draw(&endings(lines, palette, (&across, &upwards), wide), width - margin + 14.0, top - 8.0, frame.bottom + 8.0))
    };
    Drawing { height: frame.bottom + axis::BELOW, body }
}

/// A turn's number, from 0, with its median, least and greatest value.
type Turn = (usize, (f64, f64, f64));

/// Runs of turns that follow each other: a turn that was not measured parts a line.
fn runs(line: &TurnLine) -> Vec<Vec<Turn>> {
    let mut runs: Vec<Vec<Turn>> = Vec::new();
    for point in points(line) {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|it| it.0 + 1 == point.0) => run.push(point),
            _ => runs.push(vec![point]),
        }
    }
    runs
}

fn band(line: &TurnLine, palette: &Palette, across: &Scale, upwards: &Scale) -> Markup {
    let look = palette.look(line.configuration);
    let place = |(turn, (_, low, high)): &(usize, (f64, f64, f64))| {
        (across.at(*turn as f64), upwards.at(*low), upwards.at(*high))
    };
    html! {
        @if line.launches > 1 {
            @for run in runs(line) {
                (mark::band(&run.iter().map(place).collect::<Vec<_>>(), look.class))
            }
        }
    }
}

fn drawn(line: &TurnLine, palette: &Palette, across: &Scale, upwards: &Scale) -> Markup {
    let look = palette.look(line.configuration);
    let place = |(turn, (median, ..)): &(usize, (f64, f64, f64))| {
        (across.at(*turn as f64), upwards.at(*median))
    };
    let slope = line.slope.as_ref().filter(|it| it.value.is_finite());
    let slope = slope.map_or("no slope".to_owned(), |it| format!("{} per turn", slope_text(it)));
    let launches =
        if line.launches == 1 { "1 launch" } else { &format!("{} launches", line.launches) };
    let title = format!("{}: {slope}, {launches}", palette.name(line.configuration));
    let class = if look.named { "line" } else { "line faint" };
    let dash = look.dash.filter(|_| look.named);
    let body = html! {
        @for run in runs(line) {
            @let places: Vec<(f64, f64)> = run.iter().map(place).collect();
            @if places.len() > 1 { path class=(class) stroke-dasharray=[dash] d=(compact::line(&places)) {} }
            @if look.named || places.len() == 1 {
                @let radius = if places.len() > 24 { 1.8 } else { 3.2 };
                @for (x, y) in places { (mark::dot(look.shape, x, y, radius, Fill::Full)) }
            }
        }
    };
    mark::link(&anchor(line.configuration), &title, look, &body)
}

/// Name and slope of each named line, candidate and baseline first.
fn endings(
    lines: &[&TurnLine],
    palette: &Palette,
    (across, upwards): (&Scale, &Scale),
    wide: bool,
) -> Vec<Ending> {
    let mut named: Vec<&&TurnLine> =
        lines.iter().filter(|it| palette.look(it.configuration).named).collect();
    named.sort_by_key(|line| {
        let class = palette.look(line.configuration).class;
        (class != "k1", class != "k0", line.configuration)
    });
    let ending = |line: &&&TurnLine| {
        let (turn, (median, ..)) = points(line).last()?;
        let room = if wide { 210.0 } else { 108.0 };
        let mut texts = vec![palette.short_name(line.configuration, room)];
        match line.slope.as_ref().filter(|it| it.value.is_finite()) {
            Some(slope) if wide => texts.push(format!("{}/turn", slope_text(slope))),
            Some(slope) => {
                let whole = slope_text(slope);
                let (value, interval) = whole.split_once(" [").unwrap_or((&whole, ""));
                texts.push(cut(&format!("{value}/turn"), room));
                texts.extend((!interval.is_empty()).then(|| cut(&format!("[{interval}"), room)));
            }
            None => texts.push("no slope".to_owned()),
        }
        Some(Ending { x: across.at(turn as f64), y: upwards.at(median), lines: texts })
    };
    named.iter().filter_map(ending).collect()
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
