//! How a sweep is told: the plan before it, the terminal table and the exported
//! files after it. What is told is decided in [`crate::results`] and
//! [`crate::grid`]; nothing is computed here but layout.

mod bounds;
pub mod comparison;
pub mod export;
mod fields;
pub mod figures;
pub mod measurements;
pub mod plan;
pub mod table;
mod text;
pub mod workloads;
