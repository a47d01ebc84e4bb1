//! The metric that sweeps are compared by: the objective that all of them have, or
//! one that is asked for; and why there may be none.

use super::compared::Run;
use crate::history::values::case_of;
use crate::metric::{Direction, Form, Goal, MetricRef, Objective};
use crate::workload::{KINDS, LAUNCH, nearest};

/// Why sweeps cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// There is nothing to compare with.
    #[error("a comparison takes two sweeps or more")]
    TooFew,
    /// They sought different things.
    #[error(
        "the sweeps have different objectives: {first} has `{sought}`, {other} has `{instead}`; name \
         the metric to compare by with --metric"
    )]
    Objectives {
        /// Folder of the first sweep.
        first: String,
        /// Its objective.
        sought: String,
        /// Folder of one with another objective.
        other: String,
        /// That objective.
        instead: String,
    },
    /// No workload yields the metric, or nothing can be compared by it.
    #[error("{0}")]
    Metric(String),
    /// A sweep did not measure it.
    #[error("{folder}: {what}")]
    Missing {
        /// The sweep's folder.
        folder: String,
        /// What it lacks.
        what: String,
    },
}

/// What all of them sought, or the metric asked for with the way that is better.
pub(super) fn chosen(
    runs: &[Run],
    asked: Option<&MetricRef>,
) -> Result<(MetricRef, Goal), CompareError> {
    let [first, others @ ..] = runs else { return Err(CompareError::TooFew) };
    let Some(metric) = asked else {
        if others.is_empty() {
            return Err(CompareError::TooFew);
        }
        let sought = &first.record.manifest.objective;
        if let Some(other) = others.iter().find(|other| place(first) != place(other)) {
            return Err(CompareError::Objectives {
                first: first.folder.clone(),
                sought: written(sought),
                other: other.folder.clone(),
                instead: written(&other.record.manifest.objective),
            });
        }
        return Ok((sought.metric.clone(), sought.goal));
    };
    let goal = direction(metric, &first.record.manifest.objective)?;
    for run in runs {
        check_measured(run, metric)?;
    }
    Ok((metric.clone(), goal))
}

/// An objective without regard to how it names its only case.
fn place(run: &Run) -> (&str, &str, Option<String>, Goal) {
    let Objective { metric, goal, .. } = &run.record.manifest.objective;
    (&metric.workload, &metric.name, case_of(&run.record.manifest, metric), *goal)
}

fn written(objective: &Objective) -> String {
    let goal = match objective.goal {
        Goal::Minimize => "minimize",
        Goal::Maximize => "maximize",
    };
    format!("{goal} {}", objective.metric)
}

/// Which way is better: as the first sweep sought it, or as the catalogue says.
fn direction(metric: &MetricRef, objective: &Objective) -> Result<Goal, CompareError> {
    let error = |what: String| Err(CompareError::Metric(what));
    let Some(known) = metric.known() else {
        let kind = KINDS.iter().find(|kind| kind.key == metric.workload);
        let names = || kind.iter().flat_map(|kind| kind.all_metrics()).map(|metric| metric.name);
        let near = nearest(&metric.name, &names().collect::<Vec<_>>()).map_or_else(
            || "; `vllm-grid metrics` lists them".to_owned(),
            |near| format!("; did you mean `{}.{near}`?", metric.workload),
        );
        return error(format!("no workload yields `{metric}`{near}"));
    };
    if known.form() != Form::Number {
        return error(format!("`{metric}` is no single number: nothing can be compared by it"));
    }
    let sought = &objective.metric;
    if sought.workload == metric.workload && sought.name == metric.name {
        return Ok(objective.goal);
    }
    match known.direction {
        Direction::Lower => Ok(Goal::Minimize),
        Direction::Higher => Ok(Goal::Maximize),
        Direction::Neutral => error(format!("of `{metric}` neither less nor more is better")),
    }
}

/// Checks that a sweep ran the case that the metric is of.
fn check_measured(run: &Run, metric: &MetricRef) -> Result<(), CompareError> {
    let error = |what: String| Err(CompareError::Missing { folder: run.folder.clone(), what });
    if metric.workload == LAUNCH {
        return Ok(());
    }
    let workloads = &run.record.manifest.workloads;
    let of = workloads.iter().filter(|workload| workload.kind().key == metric.workload);
    let cases: Vec<String> = of.clone().flat_map(crate::workload::Workload::cases).collect();
    if of.count() == 0 {
        return error(format!("the sweep has no workload `{}`", metric.workload));
    }
    match &metric.case {
        None if cases.len() > 1 => {
            error(format!("`{metric}` names no case, and there are several: {}", cases.join(", ")))
        }
        Some(case) if !cases.contains(case) => {
            error(format!("the sweep has no case `{case}`; its cases: {}", cases.join(", ")))
        }
        _ => Ok(()),
    }
}
