//! What a sweep means and how it is told, from synthetic sweeps.

mod aa;
mod builder;
mod comparison;
mod counted;
mod export;
mod frame;
mod lost;
mod noise;
mod ranking;
mod table;
