//! The pictures of a report as SVG: scales, marks, labels, and the table behind each.
//! Colours are variables of the page, so that light, dark and print follow. What is shown
//! is computed in [`crate::results::analysis`]; where pictures stand is decided in the page.

use maud::Markup;

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

/// The pictures' style sheet.
pub const STYLE: &str = include_str!("style.css");
