//! Axes: the rectangle that data are drawn in, horizontal gridlines below the data, ticks
//! with short numbers, and what an axis shows with its unit. Which values an axis has is
//! in `scale`.

use maud::{Markup, html};

use super::label::{Align, Area, LINE, text, text_width};
use super::mark::straight;
use super::scale::{Scale, TimeScale};

/// Units between two ticks of a horizontal axis at least, and of a vertical one.
const ACROSS: f64 = 62.0;
const DOWN: f64 = 38.0;

/// Where data are drawn, in units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Left edge.
    pub left: f64,
    /// Right edge.
    pub right: f64,
    /// Upper edge.
    pub top: f64,
    /// Lower edge.
    pub bottom: f64,
}

impl Frame {
    /// From left to right, for a scale.
    pub fn across(&self) -> (f64, f64) {
        (self.left, self.right)
    }

    /// From below to above, for a scale.
    pub fn upwards(&self) -> (f64, f64) {
        (self.bottom, self.top)
    }

    /// Units from left to right.
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    /// Units from above to below.
    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// The same as an area for labels.
    pub fn area(&self) -> Area {
        Area { left: self.left, top: self.top, right: self.right, bottom: self.bottom }
    }
}

/// Ticks that fit a horizontal axis.
pub fn most_across(frame: &Frame) -> usize {
    (frame.width() / ACROSS).floor().max(2.0) as usize
}

/// Ticks that fit a vertical axis.
pub fn most_upwards(frame: &Frame) -> usize {
    (frame.height() / DOWN).floor().clamp(2.0, 8.0) as usize
}

/// Units that the labels of a vertical axis need on its left, with a space.
pub fn room_for(scale: &Scale, most: usize) -> f64 {
    let ticks = scale.labelled_ticks(most);
    ticks.iter().map(|(_, label)| text_width(label)).fold(0.0, f64::max) + 10.0
}

/// What an axis shows: `time to first token, ms`, with `(logarithmic)` where it is.
pub fn title(what: &str, unit: &str, scale: &Scale) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
    let log = if scale.is_logarithmic() { " (logarithmic)" } else { "" };
    format!("{what}{unit}{log}")
}

/// Horizontal gridlines with their values on the left; `title` stands above the axis, from
/// the drawing's left edge.
pub fn upwards(frame: &Frame, scale: &Scale, title: &str) -> Markup {
    html! {
        (text(0.0, frame.top - LINE, Align::Start, "muted", title))
        @for (value, label) in scale.labelled_ticks(most_upwards(frame)) {
            @let y = scale.at(value);
            (straight("grid", (frame.left, y), (frame.right, y)))
            (text(frame.left - 6.0, y, Align::End, "tick", &label))
        }
    }
}

/// A horizontal axis below the frame; `title` stands below its numbers and ends at the
/// right edge.
pub fn across(frame: &Frame, scale: &Scale, title: &str) -> Markup {
    let ticks = scale.labelled_ticks(most_across(frame));
    let ticks = ticks.into_iter().map(|(value, label)| (scale.at(value), label));
    // A title that is wider than the axis begins at the drawing's left edge.
    let end = frame.right.max(text_width(title));
    html! {
        (along(frame, ticks))
        (text(end, frame.bottom + 2.0 * LINE + 2.0, Align::End, "muted", title))
    }
}

/// A horizontal axis of time below the frame.
pub fn time(frame: &Frame, scale: &TimeScale) -> Markup {
    let ticks = scale.ticks(most_across(frame));
    let ticks = ticks.into_iter().map(|(time, label)| (scale.at(time), label));
    html! {
        (along(frame, ticks))
        (text(frame.right, frame.bottom + 2.0 * LINE + 2.0, Align::End, "muted", "time, UTC"))
    }
}

/// The upper right corner, where a picture says how many labels found no room.
pub fn rest(frame: &Frame) -> Area {
    let (left, bottom) = (frame.right - text_width("999 more"), frame.top + LINE);
    Area { left, top: frame.top, right: frame.right, bottom }
}

/// Units that a horizontal axis with its title needs below the frame.
pub const BELOW: f64 = 2.0 * LINE + 12.0;

/// Units that a vertical axis's title needs above the frame.
pub const ABOVE: f64 = LINE + 12.0;

/// The line of a horizontal axis with ticks at places, in units, and their texts.
pub fn along(frame: &Frame, ticks: impl Iterator<Item = (f64, String)>) -> Markup {
    let mut end = f64::NEG_INFINITY;
    html! {
        (straight("axis", (frame.left, frame.bottom), (frame.right, frame.bottom)))
        @for (x, label) in ticks {
            (straight("axis", (x, frame.bottom), (x, frame.bottom + 4.0)))
            // A label that would touch the one before it is left out; its tick stays.
            @let half = text_width(&label) / 2.0;
            @if x - half > end {
                @let () = end = x + half + 4.0;
                (text(x, frame.bottom + LINE - 2.0, Align::Middle, "tick", &label))
            }
        }
    }
}
