//! A bounded metric of one configuration, and whether it is within its bounds.

use std::fmt;

use serde::Serialize;

use super::estimate::Estimate;
use super::number;
use crate::metric::{Constraint, MetricRef};

/// A bounded metric of one configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bounded {
    /// The metric.
    pub metric: MetricRef,
    /// Its bounds: one as a rule.
    pub bounds: Vec<Constraint>,
    /// What is compared with them.
    pub estimate: Option<Estimate>,
    /// The worst verdict.
    pub verdict: ConstraintVerdict,
}

impl Bounded {
    /// Whether it is not known whether it is within its bounds.
    pub fn is_open(&self) -> bool {
        matches!(self.verdict, ConstraintVerdict::NotShown | ConstraintVerdict::NotMeasured)
    }
}

/// `load.median_ttft_ms: 4003 ms [3801, 4200], at most 3000 ms`.
impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds: Vec<String> = self.bounds.iter().map(number::bound).collect();
        let figure = self.estimate.as_ref().map_or_else(
            || "-".to_owned(),
            |estimate| number::estimate(estimate, number::unit(&self.metric)),
        );
        write!(f, "{}: {figure}, {}", self.metric, bounds.join(" and "))
    }
}

/// An interval compared with a bound. Ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintVerdict {
    /// The whole interval is within the bound.
    Holds,
    /// The bound lies inside the interval.
    NotShown,
    /// There is no value.
    NotMeasured,
    /// The whole interval is beyond the bound.
    Violated,
}

impl ConstraintVerdict {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::NotShown => "not_shown",
            Self::NotMeasured => "not_measured",
        }
    }
}
