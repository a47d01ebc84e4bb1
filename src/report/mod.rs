//! How a sweep is shown: the plan before it, the terminal table and the exported
//! files after it. What is said is decided in [`crate::results`] and
//! [`crate::grid`]; here it is only worded and laid out. Nothing is printed.

mod bars;
mod bounds;
pub mod comparison;
pub mod comparison_markdown;
mod comparison_notes;
pub mod confirmation;
pub mod content;
pub mod document;
pub mod export;
mod fields;
pub mod figures;
mod front;
pub mod list;
pub mod markdown;
pub mod measurements;
mod names;
mod no_claim;
mod not_confirmed;
mod notes;
mod objectives;
pub mod page;
pub mod pictures;
pub mod plan;
pub mod reading;
mod reading_lines;
mod reading_next;
mod reading_trust;
mod spoken;
pub mod table;
mod text;
pub mod why;
pub mod workloads;
