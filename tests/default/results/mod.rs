//! What a sweep means and how it is shown, from synthetic sweeps.

mod aa;
mod blocks;
mod builder;
mod claims;
mod comparison;
mod confirmed;
mod confirmed_shown;
mod counted;
mod decision;
mod document;
mod document_sources;
mod drift;
mod export;
mod findings;
mod frame;
mod lost;
mod next;
mod noise;
mod ranking;
mod reading;
mod reading_production;
mod reading_repeated;
mod simulated_drift;
mod table;
mod unfinished;
mod witness;
