//! What rankings are made from: the arms of a sweep, and each metric over them.

use super::arm::Arm;
use super::measured::Measured;
use crate::history::record::SweepRecord;
use crate::history::values::case_of;
use crate::metric::MetricRef;

/// What rows of a ranking are made from.
pub(super) struct Evidence<'a> {
    pub(super) sweep: &'a SweepRecord,
    /// By configuration, in the manifest's order.
    pub(super) arms: &'a [Arm<'a>],
    /// The objective first.
    pub(super) metrics: &'a [MetricRef],
    /// Parallel to `metrics`.
    pub(super) measured: &'a [Measured],
}

impl Evidence<'_> {
    /// What was measured of a metric, however a reference names its only case.
    pub(super) fn of(&self, metric: &MetricRef) -> Option<&Measured> {
        let case = |metric: &MetricRef| case_of(&self.sweep.manifest, metric);
        let same = |known: &MetricRef| {
            (known.workload == metric.workload && known.name == metric.name)
                && case(known) == case(metric)
        };
        let position = self.metrics.iter().position(same)?;
        self.measured.get(position)
    }

    pub(super) fn baseline(&self) -> Option<usize> {
        let name = self.sweep.manifest.baseline.as_ref()?;
        self.arms.iter().position(|arm| {
            arm.configuration.name == *name || arm.configuration.aliases.contains(name)
        })
    }

    /// A baseline whose flags were overridden is compared as what it ran as.
    pub(super) fn compared_baseline(&self) -> Option<usize> {
        let named = self.baseline()?;
        Some(self.arms[named].same_as.unwrap_or(named))
    }
}
