//! The one place that joins a metric's name to its column and back, for frames and
//! everything that reads them.

use crate::metric::MetricRef;

/// The column of a metric in `results`: one for all cases, `load.output_throughput`.
pub(super) fn column_of(workload: &str, name: &str) -> String {
    MetricRef { workload: workload.to_owned(), case: None, name: name.to_owned() }.to_string()
}

/// A workload's name in columns (`kv_cache`), of its name in the grid (`kv-cache`).
pub(crate) fn workload_key(name: &str) -> String {
    name.replace('-', "_")
}
