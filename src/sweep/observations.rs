//! What a strategy sees of a sweep: one observation for each trial that is over,
//! and what is in flight. Pure.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, Manifest, SweepRecord};
use crate::metric::{Measurement, MetricRef, MetricValue, Status};
use crate::strategy::{InFlight, Observation, TrialOutcome};

/// The trials that are over, in the order of their first launches.
pub(super) fn observations(record: &SweepRecord) -> Vec<Observation> {
    let indices = indices(&record.manifest);
    let mut trials: Vec<(u32, Vec<&LaunchRecord>)> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    for launch in &record.launches {
        let place = *places.entry(launch.trial).or_insert_with(|| {
            trials.push((launch.trial, Vec::new()));
            trials.len() - 1
        });
        trials[place].1.push(launch);
    }
    trials
        .into_iter()
        .filter(|(_, launches)| launches.iter().all(|launch| launch.outcome.is_some()))
        .filter_map(|(trial, launches)| {
            let first = launches.first()?;
            let objective = &record.manifest.objective;
            let of = |metric: &MetricRef| values(&record.manifest, &launches, metric);
            Some(Observation {
                trial,
                configuration: *indices.get(first.configuration.as_str())?,
                purpose: first.purpose,
                host: record.manifest.host.clone(),
                started_at: first.started_at,
                duration: launches.iter().map(|launch| duration(launch)).sum(),
                repeat_seconds: repeat_seconds(&launches),
                outcome: outcome(&launches),
                objective: of(&objective.metric),
                constraints: objective.constraints.iter().map(|bound| of(&bound.metric)).collect(),
            })
        })
        .collect()
}

/// The trials that run.
pub(super) fn in_flight(record: &SweepRecord) -> Vec<InFlight> {
    let indices = indices(&record.manifest);
    let running = record.launches.iter().filter(|launch| launch.outcome.is_none());
    running
        .filter_map(|launch| {
            Some(InFlight {
                trial: launch.trial,
                configuration: *indices.get(launch.configuration.as_str())?,
                purpose: launch.purpose,
                host: record.manifest.host.clone(),
                started_at: launch.started_at,
            })
        })
        .collect()
}

fn indices(manifest: &Manifest) -> HashMap<&str, usize> {
    let names = manifest.configurations.iter().map(|known| known.name.as_str());
    names.zip(0..).collect()
}

fn duration(launch: &LaunchRecord) -> Duration {
    match (launch.started_at, launch.ended_at) {
        (Some(from), Some(to)) => Duration::try_from(to.duration_since(from)).unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// The time between the ends of two measurements is that of the second one; all cases of
/// one repeat number are one repeat.
fn repeat_seconds(launches: &[&LaunchRecord]) -> Option<f64> {
    let mut seconds = 0.0;
    let mut repeats: std::collections::BTreeSet<(u32, u32)> = std::collections::BTreeSet::new();
    for launch in launches {
        let ends = launch.measured_at.windows(2).zip(launch.measurements.iter().skip(1));
        for (pair, measurement) in ends.filter(|(_, measurement)| measurement.repeat > 0) {
            seconds += pair[1].duration_since(pair[0]).as_secs_f64();
            repeats.insert((launch.launch, measurement.repeat));
        }
    }
    (!repeats.is_empty()).then(|| seconds / repeats.len() as f64)
}

/// The last launch that came to an end of its own says how the trial ended.
fn outcome(launches: &[&LaunchRecord]) -> TrialOutcome {
    let settled = launches.iter().rev().filter_map(|launch| launch.outcome.as_ref());
    match settled.into_iter().find(|outcome| outcome.is_settled()) {
        Some(LaunchOutcome::Measured) => TrialOutcome::Measured,
        Some(LaunchOutcome::Failed(failure)) if failure.class.is_deterministic() => {
            TrialOutcome::Infeasible
        }
        Some(LaunchOutcome::Failed(_) | LaunchOutcome::Unknown) => TrialOutcome::Failed,
        Some(LaunchOutcome::Skipped { .. }) => TrialOutcome::Skipped,
        Some(LaunchOutcome::Interrupted) | None => TrialOutcome::Interrupted,
    }
}

/// The valid values of a metric, in the order of measuring. A metric without a
/// case has values only where its workload has one case.
fn values(manifest: &Manifest, launches: &[&LaunchRecord], metric: &MetricRef) -> Vec<f64> {
    let is_of = |name: &str| name.replace('-', "_") == metric.workload;
    let workload = manifest.workloads.iter().find(|known| is_of(known.kind().name));
    let cases = workload.map(crate::workload::Workload::cases).unwrap_or_default();
    let case = match (&metric.case, cases.as_slice()) {
        (Some(case), _) => case,
        (None, [only]) => only,
        _ => return Vec::new(),
    };
    let counts = |known: &&Measurement| {
        is_of(&known.workload)
            && known.case == *case
            && known.repeat > 0
            && known.status == Status::Ok
    };
    let all = launches.iter().flat_map(|launch| &launch.measurements).filter(counts);
    all.filter_map(|known| match known.metrics.get(&metric.name) {
        Some(Some(MetricValue::Number(value))) => Some(*value),
        _ => None,
    })
    .collect()
}
