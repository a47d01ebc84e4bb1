//! Measures a [`Server`](crate::server::Server): prompts, workloads and what their
//! requests add up to. [`suite`] dispatches; a session lives for one launch, a
//! repeat context for one repeat. Knows no engine: the server may have been started
//! by anybody. How requests are sent is in [`crate::client`].

pub use crate::telemetry::sink::{NoRecords, RecordSink, RepeatKey};

mod error;
mod gates;
mod liveness;
mod lookups;
mod metrics;
mod outcome;
pub mod prompt;
mod repeat;
mod sequence;
mod session;
mod shared;
mod standing;
pub mod suite;
mod traffic;
mod watchdog;
pub mod workloads;
