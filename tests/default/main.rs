//! Everything that needs neither Docker nor a real vLLM, in one binary: one link
//! instead of fifteen. What needs more is in `tests/docker` and `tests/vllm`.
#![allow(clippy::unwrap_used, reason = "a specification fails loudly")]

mod apply;
mod architecture;
mod bench;
mod beside;
mod blocks;
mod cases;
mod commands;
mod confirm;
mod confirming;
mod daemon;
mod dataset;
mod dialogue;
mod endless;
mod failures;
mod faults;
mod files;
mod finish;
mod fuzz;
mod gate;
mod gates;
mod grid;
mod grid_errors;
mod grid_expansion;
mod grid_request;
mod grid_schema;
mod grid_stacks;
mod hostile_files;
mod journal;
mod limits;
mod listed;
mod outage;
mod owed;
mod ownership;
mod parquet;
mod process;
mod production;
mod progress;
mod proof;
mod report_page;
mod results;
mod secrets;
mod shell_script;
mod shipped;
mod simulator;
mod simulator_clock;
mod stacks;
mod statistics;
mod suite_version;
#[path = "../support/mod.rs"]
mod support;
mod sweep;
mod tables;
mod turns;
mod units;
