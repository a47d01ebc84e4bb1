//! Rows of configurations: which launches each has, where they stand, and their names. With
//! many configurations the rows are thin, and only those that are spoken of have a name
//! beside them.

use maud::{Markup, html};

use super::super::label::{Align, LINE, text, text_width};
use super::super::mark::straight;
use super::super::palette::{Look, Palette, cut, shown};
use crate::results::analysis::Course;

/// With more rows than these they are thin.
const FULL: usize = 24;

/// Units of names at most in a wide drawing.
const NAMES: f64 = 230.0;

/// One configuration.
pub(super) struct Row {
    /// Index in the ranking, where it has it.
    pub(super) configuration: Option<usize>,
    /// Its whole name.
    pub(super) name: String,
    pub(super) look: Look,
    /// Its launches by their place in the course.
    pub(super) launches: Vec<usize>,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lane {
    pub(super) top: f64,
    pub(super) height: f64,
    /// Whether its name stands beside it.
    pub(super) named: bool,
}

impl Lane {
    pub(super) fn middle(&self) -> f64 {
        self.top + self.height / 2.0
    }
}

/// In the ranking's order; what the ranking does not have comes last, as it was launched.
pub(super) fn rows(course: &Course, palette: &Palette) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (at, span) in course.launches.iter().enumerate() {
        let name = match span.configuration {
            Some(configuration) => palette.name(configuration).to_owned(),
            None => shown(&span.name),
        };
        let same = |row: &&mut Row| row.configuration == span.configuration && row.name == name;
        if let Some(row) = rows.iter_mut().find(same) {
            row.launches.push(at);
            continue;
        }
        let look = palette.look(span.configuration.unwrap_or(usize::MAX));
        rows.push(Row { configuration: span.configuration, name, look, launches: vec![at] });
    }
    rows.sort_by_key(|row| row.configuration.unwrap_or(usize::MAX));
    rows
}

/// Whether there are so many that rows are thin.
pub(super) fn are_thin(rows: &[Row]) -> bool {
    rows.len() > FULL
}

/// Units of the names beside the rows of a wide drawing.
pub(super) fn gutter(rows: &[Row]) -> f64 {
    let thin = are_thin(rows);
    let shown = rows.iter().filter(|row| !thin || row.look.named);
    shown.map(|row| text_width(&row.name) + 10.0).fold(60.0, f64::max).min(NAMES)
}

/// Where the rows stand from `top` on, and where they end. A narrow drawing has the names
/// above the rows.
pub(super) fn lanes(rows: &[Row], top: f64, wide: bool) -> (Vec<Lane>, f64) {
    let thin = are_thin(rows);
    let mut next = top;
    let lane = |row: &Row| {
        let named = !thin || row.look.named;
        let (above, height, below) = match (named, wide) {
            (true, true) => (1.5, 13.0, 3.5),
            (true, false) => (LINE, 11.0, 3.0),
            (false, true) => (0.5, 3.0, 0.5),
            (false, false) => (0.5, 2.5, 0.5),
        };
        let lane = Lane { top: next + above, height, named };
        next += above + height + below;
        lane
    };
    let lanes = rows.iter().map(lane).collect();
    (lanes, next)
}

/// Names beside or above their rows, and a thin line along each named row.
pub(super) fn names(rows: &[Row], lanes: &[Lane], across: (f64, f64), wide: bool) -> Markup {
    html! {
        @for (row, lane) in rows.iter().zip(lanes).filter(|(_, lane)| lane.named) {
            @let y = lane.top + lane.height;
            (straight("lane", (across.0, y), (across.1, y)))
            @if wide {
                (text(0.0, lane.middle(), Align::Start, "name", &cut(&row.name, across.0 - 8.0)))
            } @else {
                (text(0.0, lane.top - LINE / 2.0, Align::Start, "name", &cut(&row.name, across.1)))
            }
        }
    }
}
