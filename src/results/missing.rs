//! Repeats that ended well and have no value of what is judged: they count as lost. A
//! percentile that falls among failed requests has no value either, and is beyond any
//! maximum.

use crate::clean::counted;
use std::fmt;

use serde::Serialize;

use super::arm::Arm;
use super::failed_repeats::{MAX_LOST_RATE, shows_too_many};
use crate::history::values::{kept, number};
use crate::metric::{AMONG_FAILURES, MetricRef, Status};

/// Repeats of one configuration without a value of a judged metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MissingValues {
    /// The metric.
    pub metric: MetricRef,
    /// Valid repeats that lack it.
    pub count: usize,
    /// Repeats that were tried: valid and failed ones.
    pub repeats: usize,
    /// Of those that lack it: percentiles that fall among failed requests.
    pub among_failures: usize,
    /// What the first of them says.
    pub first_reason: Option<String>,
    #[serde(skip)]
    lost: usize,
}

/// A judged metric that configurations have no value of, in whole or in part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MissingMetric {
    /// The metric.
    pub metric: MetricRef,
    /// Names of the configurations.
    pub configurations: Vec<String>,
    /// Of how many that were measured.
    pub of: usize,
    /// Whether the baseline is one of them.
    pub baseline: bool,
    /// Repeats that lack it.
    pub repeats: usize,
    /// What the first of them says.
    pub first_reason: Option<String>,
}

impl MissingValues {
    /// What an arm lacks of a metric; `None` where it lacks nothing.
    pub(super) fn of(arm: &Arm<'_>, metric: &MetricRef, case: &str) -> Option<Self> {
        let (mut tried, mut failed) = (0, 0);
        let (mut count, mut among_failures) = (0, 0);
        let mut first_reason = None;
        for measurement in arm.launches.iter().flat_map(|it| kept(it, &metric.workload, case)) {
            match measurement.status {
                Status::Ok => tried += 1,
                Status::Failed => (tried, failed) = (tried + 1, failed + 1),
                Status::Void | Status::Skipped => {}
            }
            if measurement.status != Status::Ok || number(measurement, &metric.name).is_some() {
                continue;
            }
            count += 1;
            let own = measurement.metric_reasons.get(&metric.name);
            let among = own.is_some_and(|reason| reason.ends_with(AMONG_FAILURES));
            among_failures += usize::from(among);
            first_reason = first_reason.or(own.or(measurement.reason.as_ref()).cloned());
        }
        let metric = metric.clone();
        let lost = count + failed;
        let missing = Self { metric, count, repeats: tried, among_failures, first_reason, lost };
        (count > 0).then_some(missing)
    }

    /// Whether too many repeats are lost to judge by the rest. Where none has a value,
    /// the metric is not measured at all.
    pub(super) fn too_many(&self) -> bool {
        self.lost < self.repeats && shows_too_many(self.lost, self.repeats)
    }

    /// Whether a maximum is broken: too many of its values lie among failed requests.
    pub(super) fn beyond_maximum(&self) -> bool {
        self.among_failures as f64 > MAX_LOST_RATE * self.repeats as f64
    }
}

impl fmt::Display for MissingValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, count, repeats, first_reason, .. } = self;
        write!(f, "{metric} is missing in {count} of {}", counted(*repeats, "repeat"))?;
        match first_reason {
            Some(first) => write!(f, " ({first})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for MissingMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, configurations, of, baseline, first_reason, .. } = self;
        write!(f, "{metric} is missing for {} of {of} configurations", configurations.len())?;
        if *baseline {
            write!(f, ", the baseline included")?;
        }
        match first_reason {
            Some(first) => write!(f, ": {first}"),
            None => Ok(()),
        }
    }
}
