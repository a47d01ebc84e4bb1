//! Measures a [`Server`](crate::server::Server): client, streams, arrivals and
//! workloads. Knows no engine: the server may have been started by anybody.

use crate::bench::record::RequestRecord;
use crate::bench::telemetry::Sample;

mod arrival;
mod calls;
mod chunk;
pub mod client;
pub mod clock;
mod command;
mod connection;
mod conversation;
mod dataset;
mod dialogue;
mod exchange;
mod fault;
mod fitting;
mod gone;
mod http1;
mod kv_cache;
mod length;
mod load;
mod long_context;
pub mod prompts;
pub mod puzzles;
mod reasoning;
pub mod record;
mod repeat;
pub mod request;
mod silence;
mod sse;
mod stability;
pub mod stream;
pub mod suite;
pub mod telemetry;
mod tool_calling;
pub mod tool_tasks;
mod traffic;

/// Which repeat of which case of which workload, in which launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatKey {
    /// Number of the launch in the sweep, from 1; 0 outside a sweep.
    pub launch: u32,
    /// The workload's name (`kv-cache`).
    pub workload: String,
    /// The case; empty where there is one only.
    pub case: String,
    /// 0 is the warm-up.
    pub repeat: u32,
}

/// Takes the request records of a repeat before its measurement is journalled.
pub trait RecordSink: Send + Sync {
    /// Stores the records durably.
    ///
    /// # Errors
    /// When they could not be written; the sweep stops then.
    fn store(&self, key: &RepeatKey, records: &[RequestRecord]) -> std::io::Result<()>;

    /// Stores the launch's telemetry so far, in place of what was stored before.
    ///
    /// # Errors
    /// When it could not be written; the sweep stops then.
    fn store_telemetry(&self, _launch: u32, _samples: &[Sample]) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoRecords;

impl RecordSink for NoRecords {
    fn store(&self, _: &RepeatKey, _: &[RequestRecord]) -> std::io::Result<()> {
        Ok(())
    }
}
