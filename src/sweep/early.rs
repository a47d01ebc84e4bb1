//! When a launch measures no further repeats: it has its bar as data, so that it decides by
//! itself wherever it runs. Pure. What "behind" means is [`Behind`]'s, where
//! the bar lies the strategy's; nothing is left out before that is journalled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pass::Pass;
use crate::history::behind;
use crate::history::launch::Behind;
use crate::history::record::SweepRecord;
use crate::history::values::{case_of, value};
use crate::metric::{Goal, Measurement, MetricRef, Status};
use crate::strategy::Bar;

/// By which a launch finds out that it is clearly behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    /// Beyond which value.
    pub bar: Bar,
    /// Of what.
    pub metric: MetricRef,
    /// Its case.
    pub case: String,
    /// Which way is beyond.
    pub goal: Goal,
    /// What earlier launches of the trial gave of it.
    #[serde(default)]
    pub measured: Vec<f64>,
}

impl EarlyStop {
    /// That of the next launch of a trial.
    pub(super) fn of(record: &SweepRecord, trial: u32, bar: Bar) -> Option<Self> {
        let objective = &record.manifest.objective;
        Some(Self {
            bar,
            metric: objective.metric.clone(),
            case: case_of(&record.manifest, &objective.metric)?,
            goal: objective.goal,
            measured: behind::objective(record, trial),
        })
    }
}

/// What a launch has seen of its own repeats.
pub(super) struct Watch<'o> {
    stop: Option<&'o EarlyStop>,
    /// The objective's valid kept repeats.
    values: Vec<f64>,
    /// Void repeats of this launch by workload and case: each is measured once more.
    voids: BTreeMap<(String, String), u32>,
    behind: Option<Behind>,
}

/// What is to be done with a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    Measure,
    LeaveOut,
    /// It and all that follow are to be left out, once that is journalled.
    Shorten(Behind),
}

impl<'o> Watch<'o> {
    pub(super) fn new(stop: Option<&'o EarlyStop>) -> Self {
        let values = stop.map(|it| it.measured.clone()).unwrap_or_default();
        Self { stop, values, voids: BTreeMap::new(), behind: None }
    }

    /// A repeat as it was journalled.
    pub(super) fn saw(&mut self, measurement: &Measurement) {
        let Some(stop) = self.stop.filter(|_| measurement.repeat > 0) else { return };
        let Measurement { workload, case, status, .. } = measurement;
        if *status == Status::Void {
            *self.voids.entry((workload.clone(), case.clone())).or_default() += 1;
        }
        if measurement.is_of(&stop.metric.workload) && *case == stop.case {
            self.values.extend(value(measurement, &stop.metric.name));
        }
    }

    /// What is to be done with the next pass. Its case's first repeats are measured in any
    /// case, and as many more as are void.
    pub(super) fn next(&self, pass: &Pass) -> Next {
        let Some(stop) = self.stop else { return Next::Measure };
        let case = (pass.workload.kind().name.to_owned(), pass.case.clone());
        let voids = self.voids.get(&case).copied().unwrap_or_default();
        if pass.repeat <= stop.bar.repeats.max(1).saturating_add(voids) {
            return Next::Measure;
        }
        match (self.behind, Behind::of(stop.bar, stop.goal, &self.values)) {
            (Some(_), _) => Next::LeaveOut,
            (None, Some(behind)) => Next::Shorten(behind),
            (None, None) => Next::Measure,
        }
    }

    /// It is journalled that the launch is behind.
    pub(super) fn shortened(&mut self, behind: Behind) {
        self.behind = Some(behind);
    }
}
