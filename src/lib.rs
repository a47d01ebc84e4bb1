//! `vllm-grid` chooses vLLM launch flags by measurement.
//!
//! ```text
//! grid file -> Grid -> [Configuration] -> Strategy -> Engine.launch -> Server -> effective values -> Suite -> records
//!                                            ^                                                         |
//!                                            +------------- Journal (fsync, JSON lines) <--------------+
//! Journal + records -> DataFrame -> statistics -> ranking -> terminal table, CSV, Parquet
//! ```
//!
//! Each module is a room of that path; arrows between rooms point downwards
//! only. The library never prints: it emits [`event`]s.

pub mod bench;
pub mod clean;
pub mod client;
pub mod configuration;
#[cfg(test)]
mod crash;
pub mod engine;
pub mod event;
pub mod flags;
pub mod gate;
pub mod grid;
pub mod history;
pub mod input;
pub mod machine;
pub mod metric;
pub mod ownership;
pub mod prediction;
pub mod report;
pub mod results;
pub mod route;
pub mod secret;
pub mod server;
pub mod shortage;
pub mod simulator;
pub mod statistics;
pub mod strategy;
pub mod sweep;
pub mod telemetry;
pub mod workload;
