//! Against vLLM itself, on CPU: sweeps through a compose file and through a
//! process, and every workload of `bench`. What vLLM's own counters, log lines
//! and streams say is what counts here; the simulator has its own tests.
//!
//! `tests/vllm-cpu/prepare.sh && cargo test --test vllm -- --ignored --test-threads 1`

#![allow(clippy::unwrap_used, reason = "a specification fails loudly")]
#![allow(clippy::float_cmp, reason = "what is compared so are counts")]

#[path = "../support/mod.rs"]
mod support;

mod apply;
mod bench;
mod models;
mod script;
mod site;
mod sweep;
