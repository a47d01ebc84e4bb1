//! What an analysis is computed from: a record, its ranking, and which launches each of the
//! ranking's rows has. The figures of the ranking are used as they are, so that a picture
//! and a table never differ.

use std::collections::HashMap;

use super::Figure;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::values::case_of;
use crate::metric::MetricRef;
use crate::results::arm::{self, Arm};
use crate::results::confirmed::ConfirmedGain;
use crate::results::estimate::Estimate;
use crate::results::ranked::Ranking;

/// A record with its ranking.
pub(super) struct Source<'a> {
    pub(super) record: &'a SweepRecord,
    pub(super) ranking: &'a Ranking,
    /// In the manifest's order.
    pub(super) arms: Vec<Arm<'a>>,
    /// Index of the arm by row.
    arm_of: Vec<Option<usize>>,
    rows: HashMap<&'a str, usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(record: &'a SweepRecord, ranking: &'a Ranking) -> Self {
        let arms = arm::arms(record);
        let by_name: HashMap<&str, usize> = arms
            .iter()
            .enumerate()
            .map(|(index, arm)| (arm.configuration.name.as_str(), index))
            .collect();
        let arm_of = ranking.rows.iter().map(|row| by_name.get(row.name.as_str()).copied());
        let rows = ranking.rows.iter().enumerate().map(|(at, row)| (row.name.as_str(), at));
        Self { arm_of: arm_of.collect(), rows: rows.collect(), record, ranking, arms }
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.ranking.rows.len()
    }

    /// Index of a row's arm.
    pub(super) fn arm_index(&self, row: usize) -> Option<usize> {
        self.arm_of[row]
    }

    /// The configuration of a row with its launches.
    pub(super) fn arm(&self, row: usize) -> Option<&Arm<'a>> {
        self.arms.get(self.arm_of[row]?)
    }

    /// The launches whose values are a row's.
    pub(super) fn launches(&self, row: usize) -> &[&'a LaunchRecord] {
        self.arm(row).map_or(&[], |arm| &arm.launches)
    }

    /// The row of a configuration.
    pub(super) fn row_of(&self, name: &str) -> Option<usize> {
        self.rows.get(name).copied()
    }

    /// Whether a row's figures are those of another row, since both ran as one.
    pub(super) fn is_another(&self, row: usize) -> bool {
        self.arm(row).is_none_or(|arm| arm.same_as.is_some())
    }

    /// The row of the ranking's candidate.
    pub(super) fn candidate(&self) -> Option<usize> {
        self.row_of(&self.ranking.decision.as_ref()?.candidate.configuration)
    }

    /// The row that the result is about: what was confirmed last, or the ranking's candidate.
    pub(super) fn taken(&self) -> Option<usize> {
        let confirmed = self.ranking.confirmation().and_then(|it| self.row_of(&it.candidate));
        confirmed.or_else(|| self.candidate())
    }

    /// What fresh launches show of a row against the grid's baseline.
    pub(super) fn confirmed(&self, row: usize) -> Option<&ConfirmedGain> {
        self.ranking.confirmed_of(&self.ranking.rows[row].name)
    }

    /// The row that the others are compared with: what the baseline ran as.
    pub(super) fn baseline(&self) -> Option<usize> {
        let named = self.ranking.rows.iter().position(|row| row.baseline)?;
        let same_as = self.arm(named).and_then(|arm| arm.same_as);
        same_as.map_or(Some(named), |owner| self.row_of(&self.arms[owner].configuration.name))
    }

    /// Place of a metric among the ranking's, however a reference names its only case.
    pub(super) fn place(&self, metric: &MetricRef) -> Option<usize> {
        let case = |metric: &MetricRef| case_of(&self.record.manifest, metric);
        let wanted = case(metric);
        self.ranking.metrics.iter().position(|known| {
            known.workload == metric.workload && known.name == metric.name && case(known) == wanted
        })
    }

    /// The ranking's estimate of the metric at a [place](Self::place).
    pub(super) fn estimate(&self, row: usize, place: usize) -> Option<Estimate> {
        self.ranking.rows[row].estimates.get(place).copied().flatten()
    }

    /// The same as a figure.
    pub(super) fn figure(&self, row: usize, place: usize) -> Option<Figure> {
        self.estimate(row, place).map(Figure::from)
    }

    /// The cases of a workload, in column spelling, in the grid's order.
    pub(super) fn cases(&self, workload: &str) -> Vec<String> {
        let workloads = self.record.manifest.workloads.iter();
        let mut cases: Vec<String> = Vec::new();
        for case in workloads
            .filter(|it| it.kind().key == workload)
            .flat_map(crate::workload::Workload::cases)
        {
            if !cases.contains(&case) {
                cases.push(case);
            }
        }
        cases
    }
}

impl From<Estimate> for Figure {
    fn from(estimate: Estimate) -> Self {
        let Estimate { mean, interval, launches, repeats, .. } = estimate;
        Self { value: mean, interval, launches, repeats }
    }
}

/// A metric of a case; without its name where the workload has one case only.
pub(super) fn metric(workload: &str, case: &str, name: &str) -> MetricRef {
    let case = (!case.is_empty()).then(|| case.to_owned());
    MetricRef { case, ..MetricRef::of(workload, name) }
}
