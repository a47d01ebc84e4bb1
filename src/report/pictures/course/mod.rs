//! The course of a sweep as pictures: the night on one time axis ([`night`]) and where its
//! hours went ([`timeline`]). Phases, the time axis, rows, blocks and panels have a file
//! each; what is shown is computed in [`crate::results::analysis`].

use maud::{Markup, html};

mod blocks;
mod clock;
mod figures;
mod panels;
mod phases;
mod rows;
mod timeline;
mod words;

pub use timeline::timeline;

use self::clock::Clock;
use self::phases::{Phases, phases};
use self::rows::{Lane, Row};
use super::axis::{self, Frame};
use super::label::{Align, LINE, text, text_width};
use super::mark::straight;
use super::palette::Palette;
use super::{Drawing, Picture, WIDE, picture, sentence, titled};
use crate::results::analysis::Course;
use crate::results::ranking::Ranking;

/// Identifier in the page.
const ID: &str = "night";

/// Launches, the machine's level, jumps and samples over time.
pub fn night(course: &Course, ranking: &Ranking, palette: &Palette) -> Picture {
    let phases: Vec<Phases> = course.launches.iter().map(phases).collect();
    let timed = phases.iter().filter(|it| it.extent.is_some()).count();
    let Some(ends) = ends(&phases).filter(|_| timed > 1) else {
        let title = match timed {
            0 => "No launch has a time: nothing is shown of the course",
            _ => "One launch has a time: its course is in the table of the launches",
        };
        return sentence(ID, titled(ranking.simulated, title));
    };
    let rows = rows::rows(course, palette);
    let night = Night { course, phases: &phases, rows: &rows, ends: &ends };
    let title = titled(ranking.simulated, words::title(&night));
    let caption = words::caption(&night);
    let table = figures::table(&night);
    picture(ID, title, caption, table, |width| night.draw(width).unwrap_or_else(empty))
}

/// Beginning and end of each launch that has one; `None` without any.
fn ends(phases: &[Phases]) -> Option<Vec<(jiff::Timestamp, jiff::Timestamp)>> {
    let ends: Vec<_> = phases.iter().filter_map(|it| it.extent).collect();
    (!ends.is_empty()).then_some(ends)
}

fn empty() -> Drawing {
    Drawing { height: LINE, body: html! {} }
}

/// What the night's picture is made of.
struct Night<'a> {
    course: &'a Course,
    /// Parallel to the launches.
    phases: &'a [Phases],
    rows: &'a [Row],
    ends: &'a [(jiff::Timestamp, jiff::Timestamp)],
}

/// Units between what is above each other.
const GAP: f64 = 12.0;

impl Night<'_> {
    fn draw(&self, width: f64) -> Option<Drawing> {
        let wide = width >= WIDE;
        let left = if wide { rows::gutter(self.rows).max(132.0) } else { 44.0 };
        let right = width - if panels::has_labels(self.course) { 54.0 } else { 10.0 };
        let clock = Clock::new(self.ends, (left, right))?;
        // A line for the names of vertical lines, and the key.
        let mut top = 2.0 * LINE + 8.0;
        let above = panels::level(self.course, &clock, (left, right), top, wide);
        if let Some(panel) = &above {
            top = panel.bottom + GAP;
        }
        let (lanes, bottom) = rows::lanes(self.rows, top, wide);
        let frame = Frame { left, right, top, bottom };
        let below = panels::below(self.course, &clock, (left, right), bottom + axis::BELOW, wide);
        let lowest = below.last().map_or(bottom, |it| it.bottom);
        let height = lowest + axis::BELOW;
        let end = Frame { bottom: lowest, ..frame };
        let body = html! {
            @if let Some(panel) = above { (panel.body) }
            @for panel in &below { (panel.body) }
            (self.verticals(&clock, lowest, width))
            (rows::names(self.rows, &lanes, frame.across(), wide))
            (blocks::key(width))
            (self.blocks(&clock, &lanes))
            (clock.axis(&frame, below.is_empty()))
            @if !below.is_empty() { (clock.axis(&end, true)) }
        };
        Some(Drawing { height, body })
    }

    fn blocks(&self, clock: &Clock, lanes: &[Lane]) -> Markup {
        let brief = self.course.launches.len() > 200;
        html! {
            @for (row, lane) in self.rows.iter().zip(lanes) {
                @for &at in &row.launches {
                    (blocks::block(&self.course.launches[at], &self.phases[at], clock, (row, *lane), brief))
                }
            }
        }
    }

    /// Jumps and changes of what is measured with, with their names on top where they fit.
    fn verticals(&self, clock: &Clock, bottom: f64, width: f64) -> Markup {
        let jumps = self.course.jumps.iter().map(|it| (*it, "rule", "jump".to_owned()));
        let changes = words::changes(self.course).into_iter();
        let changes = changes.map(|(time, block)| (time, "change", format!("block {block}")));
        let mut lines: Vec<_> =
            jumps.chain(changes).map(|(time, class, name)| (clock.at(time), class, name)).collect();
        lines.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = 0.0;
        html! {
            @for (x, class, name) in lines {
                (straight(class, (x, 1.5 * LINE + 6.0), (x, bottom)))
                @let wide = text_width(&name);
                @let start = (x - wide / 2.0).clamp(0.0, (width - wide).max(0.0));
                @if start >= free {
                    @let () = free = start + wide + 6.0;
                    (text(start, 1.5 * LINE - 2.0, Align::Start, "muted", &name))
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "course_tests.rs"]
mod tests;
