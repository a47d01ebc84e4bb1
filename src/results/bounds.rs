//! Compares arms with the bounds of an objective: by the launches of a sweep, or by those of a
//! confirmation. Whom a bound excludes is not decided here.

use super::bounded::{Bounded, ConstraintVerdict};
use super::evidence::Evidence;
use super::missing::MissingValues;
use crate::metric::{Constraint, MetricRef, Objective};

/// The metrics of an objective's bounds, each once, in their order.
pub(super) fn constrained(objective: &Objective) -> Vec<MetricRef> {
    let mut found: Vec<MetricRef> = Vec::new();
    for constraint in &objective.constraints {
        if !found.contains(&constraint.metric) {
            found.push(constraint.metric.clone());
        }
    }
    found
}

impl Evidence<'_> {
    /// An arm compared with the bounds of each bounded metric.
    pub(super) fn constraints(&self, index: usize, constrained: &[MetricRef]) -> Vec<Bounded> {
        let bounds_of = |metric: &MetricRef| -> Vec<Constraint> {
            let all = self.sweep.manifest.objective.constraints.iter();
            all.filter(|bound| bound.metric == *metric).cloned().collect()
        };
        constrained
            .iter()
            .map(|metric| {
                let (measured, bounds) = (self.of(metric), bounds_of(metric));
                let verdicts =
                    bounds.iter().filter_map(|bound| Some(measured?.verdict(index, bound)));
                let case = measured.and_then(|measured| measured.case.clone());
                let lost =
                    case.and_then(|case| MissingValues::of(&self.arms[index], metric, &case));
                let has_maximum = bounds.iter().any(|bound| bound.max.is_some());
                let beyond = has_maximum && lost.is_some_and(|lost| lost.beyond_maximum());
                let verdicts = verdicts.chain(beyond.then_some(ConstraintVerdict::Violated));
                Bounded {
                    verdict: verdicts.max().unwrap_or(ConstraintVerdict::NotMeasured),
                    estimate: measured.and_then(|measured| measured.judged(index)),
                    metric: metric.clone(),
                    bounds,
                }
            })
            .collect()
    }
}
