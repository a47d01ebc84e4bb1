//! A metric over all arms: its values, their logs, and the pooled variance.

use super::arm::{self, Arm};
use super::ranking::{ConstraintVerdict, Estimate};
use crate::metric::{Constraint, MetricRef};
use crate::statistics::{self, Components, Interval, Prior};
use crate::sweep::record::SweepRecord;

/// A metric's values over all arms, and the pooled variance of their logs.
pub(super) struct Measured {
    /// Values by arm; `None` where the metric names no case and there are several.
    pub(super) arms: Option<Vec<statistics::Arm>>,
    /// Logs by arm; `None` where there is no value, or one that is not positive.
    pub(super) logs: Vec<Option<statistics::Arm>>,
    pub(super) components: Components,
    /// Whether every value of every arm has a logarithm.
    positive: bool,
}

impl Measured {
    pub(super) fn new(sweep: &SweepRecord, arms: &[Arm<'_>], metric: &MetricRef) -> Self {
        let values: Option<Vec<statistics::Arm>> = arm::resolve(&sweep.manifest, metric)
            .map(|case| arms.iter().map(|a| arm::values(&a.launches, metric, &case)).collect());
        let logs: Vec<Option<statistics::Arm>> = arms
            .iter()
            .enumerate()
            .map(|(index, _)| {
                let values = values.as_ref()?.get(index)?;
                values.log().filter(|logs| logs.repeats() > 0)
            })
            .collect();
        // What ran under two names is pooled once.
        let own = arms.iter().zip(&logs).filter(|(arm, _)| arm.same_as.is_none());
        let components = Components::pool(own.filter_map(|(_, logs)| logs.as_ref()), Prior::LOG);
        let positive = values.iter().flatten().all(|values| values.log().is_some());
        Self { arms: values, logs, components, positive }
    }

    pub(super) fn values(&self, index: usize) -> Option<&statistics::Arm> {
        self.arms.as_ref()?.get(index).filter(|values| values.repeats() > 0)
    }

    pub(super) fn estimate(&self, index: usize) -> Option<Estimate> {
        let logs = self.logs[index].as_ref()?;
        Some(Estimate {
            geomean: logs.mean()?.exp(),
            interval: self.components.interval(logs)?.exp(),
            launches: logs.launches(),
            repeats: logs.repeats(),
            assumed: self.components.assumed(),
        })
    }

    /// How the arm stands against a bound. A metric that is zero or negative
    /// anywhere (counts, shares) is judged as it is, not by logs, and from the
    /// arm's own spread: counts of different arms share no variance.
    pub(super) fn verdict(&self, index: usize, bound: &Constraint) -> ConstraintVerdict {
        let Some(values) = self.values(index) else {
            return ConstraintVerdict::NotMeasured;
        };
        let interval = if self.positive {
            self.estimate(index).map(|estimate| estimate.interval)
        } else if values.repeats() > 1 {
            Components::pool([values], Prior::NONE).interval(values)
        } else {
            None
        };
        interval.map_or(ConstraintVerdict::NotShown, |interval| judge(interval, bound))
    }
}

fn judge(interval: Interval, bound: &Constraint) -> ConstraintVerdict {
    let (min, max) = (bound.min.unwrap_or(f64::NEG_INFINITY), bound.max.unwrap_or(f64::INFINITY));
    if interval.low > max || interval.high < min {
        ConstraintVerdict::Violated
    } else if interval.high <= max && interval.low >= min {
        ConstraintVerdict::Holds
    } else {
        ConstraintVerdict::NotShown
    }
}
