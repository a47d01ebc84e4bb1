//! What a sweep means and how it is told, from synthetic sweeps.
#![allow(clippy::unwrap_used)] // tests

mod aa;
mod builder;
mod export;
mod frame;
mod noise;
mod ranking;
mod table;
