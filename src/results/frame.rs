//! The frame `results`: the only schema of measured rows. One row per
//! measurement, and one per launch that gave none; what was not measured is
//! null. Nothing is judged here: warm-ups, void repeats and earlier blocks are kept.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::{Column, DataFrame};

use super::ResultsError;
use super::columns::{column, list, list_text};
use super::disturbance::is_disturbed;
use super::flag_columns::{self, Asked};
use crate::configuration::Configuration;
use crate::gate::Gate;
use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::values::each;
use crate::metric::{Form, Measurement, Metric, MetricRef, MetricValue, Status};
use crate::workload::{LAUNCH, catalogue};

/// One row before it becomes columns.
struct Row<'a> {
    block: u32,
    launch: &'a LaunchRecord,
    configuration: Option<&'a Configuration>,
    measurement: Option<&'a Measurement>,
    status: Status,
    reason: Option<String>,
    failure_class: Option<&'static str>,
}

/// The frame `results` of a sweep, in the order of measuring.
///
/// # Errors
/// When polars refuses the columns; a bug, since they are all of one length.
pub fn results(sweep: &SweepRecord) -> Result<DataFrame, ResultsError> {
    let rows = rows(sweep);
    let mut columns = fixed_columns(sweep, &rows);
    let asked: Vec<Asked<'_>> = rows
        .iter()
        .map(|row| Asked {
            configuration: row.configuration,
            launches: std::slice::from_ref(&row.launch),
        })
        .collect();
    columns.extend(flag_columns::of_flags(sweep, &asked));
    columns.extend(flag_columns::of_variables(sweep, &asked));
    columns.push(column(
        "boot_seconds",
        rows.iter().map(|row| row.launch.facts.as_ref().map(|facts| facts.boot_seconds)).collect(),
    ));
    let estimated = |row: &Row<'_>| match &row.launch.outcome {
        Some(LaunchOutcome::Failed(failure)) => {
            row.failure_class.and(failure.estimated_max_model_len)
        }
        _ => None,
    };
    columns.push(column("estimated_max_model_len", rows.iter().map(estimated).collect()));
    let purposes = rows.iter().map(|row| Some(row.launch.purpose.as_str().to_owned()));
    columns.push(column("purpose", purposes.collect()));
    let confirmations = rows.iter().map(|row| row.launch.confirmation);
    columns.push(column("confirmation", confirmations.collect()));
    columns.push(column("block", rows.iter().map(|row| Some(row.block)).collect()));
    // Of valid repeats and others alike: `None` where the host was not sampled.
    let disturbed = |row: &Row<'_>| is_disturbed(row.measurement?);
    columns.push(column("disturbed", rows.iter().map(disturbed).collect()));
    columns.extend(gate_columns(&rows));
    columns.extend(metric_columns(sweep, &rows));
    Ok(DataFrame::new(rows.len(), columns)?)
}

fn rows(sweep: &SweepRecord) -> Vec<Row<'_>> {
    let by_name: BTreeMap<&str, &Configuration> =
        sweep.manifest.configurations.iter().map(|c| (c.name.as_str(), c)).collect();
    let mut rows = Vec::new();
    for (block, launch) in sweep.all_launches() {
        let configuration = by_name.get(launch.configuration.as_str()).copied();
        let class = match &launch.outcome {
            Some(LaunchOutcome::Failed(failure)) if !failure.cancelled => {
                Some(failure.class.as_str())
            }
            _ => None,
        };
        for measurement in &launch.measurements {
            rows.push(Row {
                block,
                launch,
                configuration,
                measurement: Some(measurement),
                status: measurement.status,
                reason: measurement.reason.clone(),
                failure_class: class.filter(|_| measurement.status == Status::Failed),
            });
        }
        // A server that died after its last good repeat is a row too: failures are rows.
        let has_failed = launch.measurements.iter().any(|m| m.status == Status::Failed);
        if launch.measurements.is_empty() || (class.is_some() && !has_failed) {
            let (status, reason) = match launch.status() {
                // Given up because a stop was asked for: no failure of the configuration.
                (Status::Failed, _) if class.is_none() => {
                    (Status::Void, Some("interrupted".to_owned()))
                }
                (Status::Ok, _) => (Status::Void, Some("nothing was measured".to_owned())),
                other => other,
            };
            let measurement = None;
            rows.push(Row {
                block,
                launch,
                configuration,
                measurement,
                status,
                reason,
                failure_class: class,
            });
        }
    }
    rows
}

fn fixed_columns(sweep: &SweepRecord, rows: &[Row<'_>]) -> Vec<Column> {
    let manifest = &sweep.manifest;
    let texts = |read: &dyn Fn(&Row<'_>) -> Option<String>| rows.iter().map(read).collect();
    let measured = |read: &dyn Fn(&Measurement) -> String| -> Vec<Option<String>> {
        rows.iter().map(|row| row.measurement.map(read)).collect()
    };
    let facts = |read: &dyn Fn(&crate::history::launch::LaunchFacts) -> Option<String>| {
        rows.iter().map(|row| row.launch.facts.as_ref().and_then(read)).collect()
    };
    let asked = |read: &dyn Fn(&Configuration) -> Option<String>| {
        rows.iter().map(|row| row.configuration.and_then(read)).collect()
    };
    let own_service = manifest.service.as_ref().map(|it| it.source.clone());
    let own_service = own_service.filter(|it| manifest.engine == "docker" && it.contains('#'));
    let mut columns = vec![
        column("sweep", texts(&|_| Some(manifest.sweep.clone()))),
        column("configuration", texts(&|row| Some(row.launch.configuration.clone()))),
        column(
            "configuration_id",
            texts(&|row| row.configuration.map(|it| sweep.id_in(row.block, it))),
        ),
        column("launch", rows.iter().map(|row| Some(row.launch.launch)).collect()),
        column("workload", measured(&|m| m.workload.clone())),
        column("case", measured(&|m| m.case.clone())),
        column("repeat", rows.iter().map(|row| row.measurement.map(|m| m.repeat)).collect()),
        column("status", texts(&|row| Some(row.status.as_str().to_owned()))),
        column("reason", texts(&|row| row.reason.clone())),
        column("failure_class", texts(&|row| row.failure_class.map(str::to_owned))),
        column("simulated", vec![Some(manifest.simulated); rows.len()]),
        column("engine", texts(&|_| Some(manifest.engine.clone()))),
        column("image", asked(&|it| it.image.clone())),
        column("model", asked(&|it| it.model.clone())),
        column("service", asked(&|it| it.stack.service_label().or_else(|| own_service.clone()))),
        column("image_id", facts(&|facts| facts.image_id.clone())),
        column("engine_version", facts(&|facts| facts.engine_version.clone())),
        column("started_at", facts(&|facts| Some(facts.started_at.clone()))),
    ];
    // Without a cluster it is the same in all rows, and in the manifest.
    if manifest.hosts.is_some() {
        columns.push(column("host", texts(&|row| row.launch.host.clone())));
    }
    columns
}

/// `gate.*`: how each gate ended, and the gates' own figures, in each row of the launch.
fn gate_columns(rows: &[Row<'_>]) -> Vec<Column> {
    let reports = || rows.iter().flat_map(|row| &row.launch.gates);
    let gates: BTreeSet<Gate> = reports().map(|report| report.gate).collect();
    let names: BTreeSet<&str> =
        reports().flat_map(|report| report.metrics.keys()).map(String::as_str).collect();
    let verdicts = gates.into_iter().map(|gate| {
        let of = |row: &Row<'_>| {
            let report = row.launch.gates.iter().find(|it| it.gate == gate)?;
            Some(report.verdict.to_string())
        };
        column(&format!("gate.{gate}"), rows.iter().map(of).collect::<Vec<Option<String>>>())
    });
    let figures = names.into_iter().map(|name| {
        let of =
            |row: &Row<'_>| row.launch.gates.iter().find_map(|it| it.metrics.get(name).copied());
        column(name, rows.iter().map(of).collect::<Vec<Option<f64>>>())
    });
    verdicts.chain(figures).collect()
}

/// Every metric of the sweep's workloads in the catalogue's order, measured or
/// not, then those that the catalogue does not know.
fn metric_columns(sweep: &SweepRecord, rows: &[Row<'_>]) -> Vec<Column> {
    let planned: BTreeSet<&str> =
        sweep.manifest.workloads.iter().map(|workload| workload.kind().key).collect();
    let metrics: Vec<&Metric> = catalogue()
        .iter()
        .filter(|metric| planned.contains(metric.workload) || metric.workload == LAUNCH)
        .collect();
    let mut sought: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    for (at, metric) in metrics.iter().enumerate() {
        sought.entry(metric.workload).or_default().push((metric.name, at));
    }
    for names in sought.values_mut() {
        names.sort_unstable();
    }
    // A long sweep has hundreds of thousands of values: each is read once.
    let mut cells: Vec<Cells<'_>> = vec![vec![None; rows.len()]; metrics.len()];
    let mut further: BTreeMap<String, BTreeMap<&str, Cells<'_>>> = BTreeMap::new();
    let nothing = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        // What is of a launch stands in each of its rows.
        if let (Some(own), Some(names)) = (&row.launch.own, sought.get(LAUNCH)) {
            each(&own.metrics, names, |at, _, value| {
                if let Some(at) = at {
                    cells[at][place] = value;
                }
            });
        }
        let Some(measurement) = row.measurement else { continue };
        let key = measurement.workload_key();
        let names = sought.get(key.as_str()).unwrap_or(&nothing);
        each(&measurement.metrics, names, |at, name, value| {
            if let Some(at) = at {
                cells[at][place] = value;
            } else {
                let of_workload = further.entry(key.clone()).or_default();
                of_workload.entry(name).or_insert_with(|| vec![None; rows.len()])[place] = value;
            }
        });
    }
    let known = metrics.iter().zip(&cells).map(|(metric, cells)| {
        let name = MetricRef::of(metric.workload, metric.name).column();
        metric_column(&name, cells, Some(metric.form()))
    });
    let further = further.iter().flat_map(|(key, of_workload)| {
        of_workload.iter().map(move |(name, cells)| {
            metric_column(&MetricRef::of(key, name).column(), cells, None)
        })
    });
    known.chain(further).collect()
}

/// A metric's values by row.
type Cells<'a> = Vec<Option<&'a MetricValue>>;

/// A column of values; `form`: of those that the catalogue knows.
fn metric_column(name: &str, values: &[Option<&MetricValue>], form: Option<Form>) -> Column {
    let is_number = |value: &&MetricValue| matches!(value, MetricValue::Number(_));
    let numbers = values.iter().flatten().all(is_number);
    match form.unwrap_or(Form::Number) {
        Form::Number if numbers => {
            let read = |value: &MetricValue| match value {
                MetricValue::Number(number) if number.is_finite() => Some(*number),
                _ => None,
            };
            column(name, values.iter().map(|value| value.and_then(read)).collect())
        }
        // What is no number in spite of the catalogue is kept, too.
        Form::Number | Form::Text => {
            column(name, values.iter().map(|value| value.map(written)).collect())
        }
        Form::List => list(
            name,
            values.iter().map(|value| match value {
                Some(MetricValue::List(numbers)) => Some(numbers.as_slice()),
                _ => None,
            }),
        ),
    }
}

fn written(value: &MetricValue) -> String {
    match value {
        MetricValue::Text(text) => text.clone(),
        MetricValue::Number(number) => number.to_string(),
        MetricValue::List(numbers) => list_text(numbers.iter().copied()),
    }
}
