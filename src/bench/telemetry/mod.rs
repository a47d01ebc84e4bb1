//! What the machine and the server do beside a measurement: samples with times.
//! Knows no engine: what an engine can tell comes through a probe.

pub(crate) mod watch;
