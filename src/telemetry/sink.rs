//! Where the raw data of a launch is stored: request records of each repeat and the
//! samples of the telemetry. Who measures calls it, who opens the files implements it.

use super::Sample;
use crate::client::record::RequestRecord;

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
