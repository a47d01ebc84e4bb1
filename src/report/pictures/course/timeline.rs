//! Where the hours of a sweep went: the median seconds of each phase per launch as a
//! stacked bar for each configuration, with the sums over all launches in the title.

use maud::{Markup, html};

use super::super::axis::{self, Frame};
use super::super::label::{Align, LINE, text};
use super::super::mark;
use super::super::palette::Palette;
use super::super::scale::Scale;
use super::super::{
    Drawing, Picture, WIDE, anchor, compact, launch_anchor, picture, sentence, titled,
};
use super::blocks;
use super::phases::{Part, Phase, Phases, phases};
use super::rows::{self, Lane, Row};
use super::words::{counted, duration, listed};
use crate::results::analysis::Course;
use crate::results::ranking::Ranking;
use crate::statistics::median;

/// Identifier in the page.
const ID: &str = "timeline";

/// One configuration's bar.
struct Bar<'a> {
    row: &'a Row,
    /// Median seconds of each phase, in their order; `None` where no launch has it.
    medians: [Option<f64>; 4],
    /// Launches that the medians rest on.
    launches: usize,
    /// Seconds of all its launches.
    seconds: f64,
}

impl Bar<'_> {
    fn total(&self) -> f64 {
        self.medians.iter().flatten().sum()
    }
}

/// Boot, warm-up, measuring and drain of each configuration.
pub fn timeline(course: &Course, ranking: &Ranking, palette: &Palette) -> Picture {
    let phases: Vec<Phases> = course.launches.iter().map(phases).collect();
    let rows = rows::rows(course, palette);
    let bars: Vec<Bar<'_>> = rows.iter().map(|row| bar(row, course, &phases)).collect();
    let title = titled(ranking.simulated, title(&phases));
    let drawn = bars.iter().filter(|it| it.total() > 0.0).count();
    if drawn < 2 {
        return sentence(ID, title);
    }
    let caption = caption(course, &phases, &bars);
    let table = table(&bars);
    let shown: Vec<&Bar<'_>> = bars.iter().filter(|it| it.total() > 0.0).collect();
    picture(ID, title, caption, table, |width| draw(&shown, course, width))
}

/// Launches that came to their end count for the medians.
fn bar<'a>(row: &'a Row, course: &Course, phases: &[Phases]) -> Bar<'a> {
    let finished = |at: &&usize| {
        let span = &course.launches[**at];
        span.failure.is_none() && !span.unfinished && !phases[**at].parts.is_empty()
    };
    let complete: Vec<usize> = row.launches.iter().filter(finished).copied().collect();
    let of = |phase: Phase| {
        let seconds = complete.iter().filter_map(|at| phases[*at].seconds(phase));
        let seconds: Vec<f64> = seconds.collect();
        median(&seconds)
    };
    let seconds = row.launches.iter().map(|at| phases[*at].total()).sum();
    Bar { row, medians: Phase::ALL.map(of), launches: complete.len(), seconds }
}

/// Seconds of one phase over all launches.
fn seconds(phases: &[Phases], phase: Phase) -> f64 {
    let parts = phases.iter().flat_map(|it| &it.parts);
    parts.filter(|it| it.phase == phase).map(Part::seconds).sum()
}

fn title(phases: &[Phases]) -> String {
    let timed = phases.iter().filter(|it| !it.parts.is_empty()).count();
    if timed == 0 {
        return "No launch has a beginning and an end: how long boots took is not known".to_owned();
    }
    let total: f64 = phases.iter().map(Phases::total).sum();
    let launches = counted(timed, "launch", "launches");
    let boots = duration(seconds(phases, Phase::Boot));
    format!("Of {} in {launches}, {boots} were boots", duration(total))
}

fn caption(course: &Course, phases: &[Phases], bars: &[Bar<'_>]) -> String {
    let sums = [Phase::WarmUp, Phase::Measuring, Phase::Drain]
        .map(|it| format!("{} {}", it.name(), duration(seconds(phases, it))));
    let mut text = format!(
        "Median seconds of each phase per launch, stacked; only launches that came to their end. \
         Over all launches: {}.",
        sums.join(", ")
    );
    let undivided = seconds(phases, Phase::Undivided);
    if undivided > 0.0 {
        text.push_str(&format!(" {} cannot be divided into phases.", duration(undivided)));
    }
    let broken = course.launches.iter().zip(phases);
    let broken = broken.filter(|(span, _)| span.failure.is_some() || span.unfinished);
    let (mut count, mut lost) = (0, 0.0);
    for (_, phases) in broken {
        count += 1;
        lost += phases.total();
    }
    if count > 0 {
        text.push_str(&format!(
            " {} of the total are in {} that failed or did not end.",
            duration(lost),
            counted(count, "launch", "launches")
        ));
    }
    let without: Vec<&str> =
        bars.iter().filter(|it| it.total() <= 0.0).map(|it| it.row.name.as_str()).collect();
    if !without.is_empty() {
        text.push_str(&format!(" Without a bar, no launch came to its end: {}.", listed(&without)));
    }
    let counts = || bars.iter().map(|it| it.launches).filter(|it| *it > 0);
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let n = if least == most { least.to_string() } else { format!("{least} to {most}") };
    text.push_str(&format!(" n: {n} launches of each configuration."));
    text
}

fn table(bars: &[Bar<'_>]) -> Vec<Vec<String>> {
    let phases = Phase::ALL.map(|it| format!("{}, s (median)", it.name()));
    let mut heads = vec!["configuration".to_owned(), "launches".to_owned()];
    heads.extend(phases);
    heads.push("all launches, h".to_owned());
    let row = |bar: &Bar<'_>| {
        let mut row = vec![bar.row.name.clone(), bar.launches.to_string()];
        row.extend(bar.medians.map(|it| it.map_or("-".to_owned(), |it| format!("{it:.1}"))));
        row.push(format!("{:.2}", bar.seconds / 3600.0));
        row
    };
    std::iter::once(heads).chain(bars.iter().map(row)).collect()
}

fn draw(bars: &[&Bar<'_>], course: &Course, width: f64) -> Drawing {
    let wide = width >= WIDE;
    let rows: Vec<Row> = bars.iter().map(|it| copy(it.row)).collect();
    let left = if wide { rows::gutter(&rows) } else { 4.0 };
    // Sums stand behind the bars.
    let (left, right) = (left, width - 66.0);
    let top = LINE + 12.0;
    let (lanes, bottom) = rows::lanes(&rows, top, wide);
    let frame = Frame { left, right, top, bottom };
    let most = bars.iter().map(|it| it.total()).fold(0.0, f64::max);
    // Minutes where seconds would be thousands.
    let (unit, divisor) = if most > 600.0 { ("min", 60.0) } else { ("s", 1.0) };
    let scale = Scale::lengths(bars.iter().map(|it| it.total() / divisor), frame.across());
    let body = html! {
        (blocks::key(width))
        (rows::names(&rows, &lanes, (left, right), wide))
        (axis::across(&frame, &scale, &format!("per launch, {unit}")))
        @for (bar, lane) in bars.iter().zip(&lanes) {
            (stacked(bar, *lane, course, &scale, divisor))
        }
    };
    Drawing { height: frame.bottom + axis::BELOW, body }
}

fn copy(row: &Row) -> Row {
    Row { name: row.name.clone(), launches: row.launches.clone(), ..*row }
}

fn stacked(bar: &Bar<'_>, lane: Lane, course: &Course, scale: &Scale, divisor: f64) -> Markup {
    let mut parts: Vec<(f64, f64, Phase)> = Vec::new();
    let mut sum = 0.0;
    for (phase, seconds) in Phase::ALL.into_iter().zip(bar.medians) {
        let Some(seconds) = seconds else { continue };
        let (from, until) = (scale.at(sum / divisor), scale.at((sum + seconds) / divisor));
        sum += seconds;
        parts.push((from, until, phase));
    }
    let named = Phase::ALL.into_iter().zip(bar.medians);
    let named = named.filter_map(|(phase, it)| Some(format!("{} {}", phase.name(), duration(it?))));
    let named = named.collect::<Vec<_>>().join(", ");
    let title =
        format!("{}: {named}; n {}", bar.row.name, counted(bar.launches, "launch", "launches"));
    let anchor = match bar.row.configuration {
        Some(configuration) => anchor(configuration),
        None => launch_anchor(bar.row.launches.first().map_or(0, |at| course.launches[*at].launch)),
    };
    let bottom = lane.top + lane.height;
    let body = html! {
        @for (from, until, phase) in parts.iter().filter(|it| it.1 - it.0 >= 0.1) {
            path class=(phase.class()) d=(compact::rectangle(*from, bottom - lane.height * blocks::share(*phase), *until, bottom)) {}
        }
        @if lane.named {
            (text(scale.at(sum / divisor) + 6.0, lane.middle(), Align::Start, "tick", &duration(sum)))
        }
    };
    mark::linked(&anchor, &title, bar.row.look.class, &body)
}
