//! The pictures of a report as SVG: scales, marks, labels, and the table behind each.
//! Colours are variables of the page ([`STYLE`]), so that light, dark and print follow.
//! Each picture is drawn twice, for a wide and for a narrow page; the style shows one.
//! What is shown is computed in [`crate::results::analysis`]; where pictures stand is
//! decided in the page.

use std::fmt::Display;

use maud::{Markup, html};

pub mod axis;
mod compact;
pub mod course;
pub mod distributions;
mod effects;
mod ends;
mod hits;
pub mod label;
mod ladder;
pub mod mark;
pub mod palette;
mod pareto;
mod ranking;
mod rows;
pub mod scale;
pub mod turns;
mod wording;

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod made_up_course;
#[cfg(test)]
mod tests;

/// Units of one column of text, on the safe side: the page's font is not known here.
pub(super) const COLUMN: f64 = 7.6;

pub use effects::effects;
pub use hits::hits;
pub use ladder::ladder;
pub use pareto::pareto;
pub use ranking::ranking;

/// The pictures' style sheet: colours for light, dark and print, and which of the two
/// drawings is shown. A page has it once.
pub const STYLE: &str = concat!(include_str!("style.css"), include_str!("course/style.css"));

/// Units of the wide drawing, shown from about 760 px on.
pub const WIDE: f64 = 880.0;

/// Units of the narrow drawing, shown on phones.
pub const NARROW: f64 = 360.0;

/// A picture, or the sentence in its place.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Identifier in the page, unique: `ranking`, `distribution-kv-cache-0`.
    pub id: String,
    /// The answer that it gives, in one sentence.
    pub title: String,
    /// What is drawn, with unit and n: one or two sentences.
    pub caption: String,
    /// The drawing; `None` where there are fewer than two points: `title` says all then.
    pub svg: Option<Markup>,
    /// The same figures, first row headings; empty where there is nothing to draw.
    pub table: Vec<Vec<String>>,
}

/// One drawing: its content and how high it is, in the units of its width.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Units.
    pub height: f64,
    /// What is inside the `svg`.
    pub body: Markup,
}

/// A picture that is drawn for both widths by `draw`, which gets the units.
pub fn picture(
    id: &str,
    title: String,
    mut caption: String,
    table: Vec<Vec<String>>,
    draw: impl Fn(f64) -> Drawing,
) -> Picture {
    let svg = html! {
        (sheet(&title, "wide", WIDE, &draw(WIDE)))
        (sheet(&title, "narrow", NARROW, &draw(NARROW)))
    };
    // A metric's name stays as files have it.
    let is_name = caption.split(' ').next().is_some_and(|it| it.contains(['_', '-']));
    if let Some(first) = caption.get_mut(..1).filter(|_| !is_name) {
        first.make_ascii_uppercase();
    }
    Picture { id: id.to_owned(), title, caption, svg: Some(svg), table }
}

/// A sentence in place of a picture: there are fewer than two points.
pub fn sentence(id: &str, title: String) -> Picture {
    Picture { id: id.to_owned(), title, caption: String::new(), svg: None, table: Vec::new() }
}

/// Not `role="img"`: the marks are links, and an image has no content.
fn sheet(title: &str, class: &str, width: f64, drawing: &Drawing) -> Markup {
    let view = format!("0 0 {} {}", px(width), px(drawing.height));
    html! {
        svg class=(format!("picture {class}")) role="group" aria-label=(title) viewBox=(view) {
            (drawing.body)
        }
    }
}

/// Where the page has the launches of a configuration, by its index in the ranking's rows.
pub fn anchor(configuration: usize) -> String {
    format!("configuration-{}", configuration + 1)
}

/// Where the page has one launch, by its number.
pub fn launch_anchor(launch: u32) -> String {
    format!("launch-{launch}")
}

/// Where the page has a picture with the table behind it: the target of marks that stand
/// for no single configuration.
pub fn picture_anchor(picture: &str) -> String {
    format!("picture-{picture}")
}

/// `title` with what marks simulated figures before it.
pub fn titled(simulated: bool, title: impl Display) -> String {
    if simulated { format!("Simulated: {title}") } else { title.to_string() }
}

/// A coordinate as it is written: one decimal, none where it is whole.
pub fn px(value: f64) -> String {
    debug_assert!(value.is_finite(), "coordinates are finite");
    // `-0.0` would be another text for the same place.
    let tenths = (value * 10.0).round() + 0.0;
    let whole = tenths / 10.0;
    if tenths % 10.0 == 0.0 { format!("{whole:.0}") } else { format!("{whole:.1}") }
}
