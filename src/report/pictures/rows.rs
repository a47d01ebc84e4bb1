//! Pictures with one row for each configuration, best on top: where rows stand and how
//! names and figures are written beside them. On a narrow page a row's texts stand above
//! its marks. Rows of configurations that nothing is said of are thin and without texts.

use maud::{Markup, html};

use super::axis::{ABOVE, BELOW, Frame};
use super::label::{Align, LINE, text, text_width};
use super::palette::Palette;
use super::{NARROW, px};

/// Height of a row with texts, on a wide and on a narrow page, and of one without.
const FULL: f64 = 30.0;
const STACKED: f64 = 46.0;
const THIN: f64 = 12.0;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Its configuration.
    pub(super) configuration: usize,
    /// The middle of its marks.
    pub(super) y: f64,
    /// Its upper edge.
    pub(super) top: f64,
    /// Its lower edge.
    pub(super) bottom: f64,
    /// Whether it has texts.
    pub(super) named: bool,
}

/// Rows and the rectangle of their marks.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    /// Where marks are.
    pub(super) frame: Frame,
    /// In the order of the configurations.
    pub(super) all: Vec<Row>,
    /// Height of the whole drawing.
    pub(super) height: f64,
    stacked: bool,
    width: f64,
}

impl Rows {
    /// For a drawing of a width; `figures`: the texts at the rows' right ends.
    pub(super) fn new(
        width: f64,
        configurations: &[usize],
        palette: &Palette,
        figures: &[String],
    ) -> Self {
        let stacked = width <= NARROW;
        let mut y = ABOVE;
        let mut rows = Vec::with_capacity(configurations.len());
        for &configuration in configurations {
            let named = palette.look(configuration).named;
            let (high, middle) = match (named, stacked) {
                (false, _) => (THIN, THIN / 2.0),
                (true, false) => (FULL, FULL / 2.0 - 2.0),
                (true, true) => (STACKED, STACKED - 16.0),
            };
            rows.push(Row { configuration, y: y + middle, top: y, bottom: y + high, named });
            y += high;
        }
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let (left, right) = if stacked {
            (18.0, width - 18.0)
        } else {
            let named = || configurations.iter().filter(|it| palette.look(**it).named);
            let names = widest(&mut named().map(|it| text_width(palette.name(*it))));
            let figures = widest(&mut figures.iter().map(|it| text_width(it)));
            (names.min(width * 0.3) + 14.0, width - figures.min(width * 0.24) - 12.0)
        };
        let frame = Frame { left, right, top: ABOVE, bottom: y + 4.0 };
        Self { frame, all: rows, height: y + 4.0 + BELOW, stacked, width }
    }

    /// Name and figure of a row.
    pub(super) fn texts(&self, row: &Row, palette: &Palette, figure: &str) -> Markup {
        if !row.named {
            return html! {};
        }
        if self.stacked {
            let y = row.top + LINE / 2.0 + 1.0;
            let name =
                palette.short_name(row.configuration, self.width - text_width(figure) - 12.0);
            return html! {
                (text(0.0, y, Align::Start, "", &name))
                (text(self.width, y, Align::End, "muted", figure))
            };
        }
        let name = palette.short_name(row.configuration, self.frame.left - 12.0);
        html! {
            (text(self.frame.left - 10.0, row.y, Align::End, "", &name))
            (text(self.frame.right + 10.0, row.y, Align::Start, "muted", figure))
        }
    }

    /// A rectangle behind a row.
    pub(super) fn behind(&self, row: &Row, class: &str) -> Markup {
        html! {
            rect class=(class) x="0" width=(px(self.width)) y=(px(row.top)) height=(px(row.bottom - row.top)) {}
        }
    }

    /// A thin line below a row with texts, across the marks.
    pub(super) fn line(&self, row: &Row) -> Markup {
        html! {
            @if row.named {
                (super::mark::straight("grid", (self.frame.left, row.y), (self.frame.right, row.y)))
            }
        }
    }

    /// What catches the pointer over a row's marks: they are small.
    pub(super) fn target(row: &Row, from: f64, to: f64) -> Markup {
        let (left, right) = (from.min(to) - 8.0, from.max(to) + 8.0);
        html! {
            rect class="hit" x=(px(left)) width=(px(right - left)) y=(px(row.y - 6.0)) height="12" {}
        }
    }
}
