//! The catalogue: every metric that a workload can yield, put together from the
//! workloads' own tables.

use std::sync::LazyLock;

use super::{KINDS, LAUNCH_METRICS, answers, resources, speculation};
use crate::metric::{Metric, MetricRef};

/// Metrics of every kind, its own before those of its answers, of speculative decoding and
/// of resources; then those of launches.
static CATALOGUE: LazyLock<Vec<Metric>> = LazyLock::new(|| {
    KINDS
        .iter()
        .flat_map(|kind| {
            let own = kind.metrics.iter().copied();
            let shared = answers::of(kind.key).chain(speculation::of(kind.key));
            own.chain(shared).chain(resources::of(kind.key))
        })
        .chain(LAUNCH_METRICS.iter().copied())
        .collect()
});

/// Every metric that a workload can yield, and those of launches.
pub fn catalogue() -> &'static [Metric] {
    &CATALOGUE
}

impl MetricRef {
    /// Its entry of the catalogue. Here, so that `metric` knows no workload.
    pub fn known(&self) -> Option<&'static Metric> {
        let mut all = catalogue().iter();
        all.find(|known| known.workload == self.workload && known.name == self.name)
    }
}
