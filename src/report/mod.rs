//! How a sweep is told: the terminal table and the exported files. What is told
//! is decided in [`crate::results`]; nothing is computed here but layout.

pub mod export;
mod number;
pub mod table;
mod text;
