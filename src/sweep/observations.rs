//! What a strategy sees of a sweep: one observation for each trial that is over,
//! and what is in flight. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::conclusions::Conclusions;
use super::pass;
use super::trial::Trial;
use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, Manifest, SweepRecord};
use crate::history::values::{case_of, timed, value};
use crate::metric::MetricRef;
use crate::strategy::{InFlight, Observation, ObservedRepeat, TrialOutcome};

/// The trials of launches that count which are over, in the order of their first launches.
pub(crate) fn observations(
    record: &SweepRecord,
    counts: impl Fn(&LaunchRecord) -> bool,
) -> Vec<Observation> {
    let indices = indices(&record.manifest);
    let mut trials: Vec<(u32, Vec<&LaunchRecord>)> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    for launch in record.launches.iter().filter(|launch| counts(launch)) {
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
            let host = host(record, &launches).unwrap_or_else(|| record.host_of(first));
            // A strategy knows one host of a trial: what others measured of it has another level.
            let there: Vec<&LaunchRecord> =
                launches.iter().copied().filter(|it| record.host_of(it) == host).collect();
            Some(Observation {
                trial,
                configuration: *indices.get(first.configuration.as_str())?,
                purpose: first.purpose,
                host: host.to_owned(),
                started_at: first.started_at,
                duration: launches.iter().map(|launch| duration(launch)).sum(),
                repeat_seconds: repeat_seconds(&launches),
                outcome: outcome(record, &launches)?,
                repeats: repeats(&record.manifest, &there),
            })
        })
        .collect()
}

/// The host that measured most of a trial, the later one of two: it may have been cut, and made
/// again elsewhere. `None` where nothing was measured.
fn host<'a>(record: &'a SweepRecord, launches: &[&'a LaunchRecord]) -> Option<&'a str> {
    let kept = |it: &&LaunchRecord| {
        let repeats = it.measurements.iter();
        repeats.filter(|one| LaunchRecord::is_kept(one)).count()
    };
    let on = |host: &str| -> usize {
        let own = launches.iter().copied().filter(|it| record.host_of(it) == host);
        own.map(|it| kept(&it)).sum()
    };
    let measured = launches.iter().copied().filter(|it| kept(it) > 0);
    measured.map(|it| record.host_of(it)).max_by_key(|host| on(host))
}

/// The trials of launches that count which run.
pub(super) fn in_flight(
    record: &SweepRecord,
    counts: impl Fn(&LaunchRecord) -> bool,
) -> Vec<InFlight> {
    let indices = indices(&record.manifest);
    let running = record.launches.iter().filter(|launch| launch.outcome.is_none());
    running
        .filter(|launch| counts(launch))
        .filter_map(|launch| {
            Some(InFlight {
                trial: launch.trial,
                configuration: *indices.get(launch.configuration.as_str())?,
                purpose: launch.purpose,
                host: record.host_of(launch).to_owned(),
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

/// How a trial ended, as its last launch that came to an end of its own says;
/// `None` where it was interrupted before everything was measured: it is not over.
fn outcome(record: &SweepRecord, launches: &[&LaunchRecord]) -> Option<TrialOutcome> {
    let last = launches.last()?;
    if last.outcome.as_ref().is_some_and(LaunchOutcome::is_cut) {
        let trial = Trial::of(record, last)?;
        let lacking = pass::missing(record, trial.number, trial.repeats);
        return lacking.is_empty().then_some(TrialOutcome::Measured);
    }
    Some(match &last.outcome {
        Some(LaunchOutcome::Measured) => TrialOutcome::Measured,
        Some(LaunchOutcome::Failed(_)) => {
            let mut known = record.manifest.configurations.iter();
            let configuration = known.find(|known| known.name == last.configuration)?;
            // What was known when it ended: a strategy's earlier decisions must stay what they were.
            let until = record.launches.iter().rposition(|it| it.launch == last.launch)?;
            match Conclusions::of_first(record, until + 1).against(configuration) {
                Some(_) => TrialOutcome::Infeasible,
                None => TrialOutcome::Failed,
            }
        }
        Some(LaunchOutcome::Skipped { .. }) => TrialOutcome::Skipped,
        _ => TrialOutcome::Failed,
    })
}

/// When a repeat was journalled, and its value of each metric.
type Found = (Option<jiff::Timestamp>, Vec<Option<f64>>);

/// What the kept repeats gave of the objective and the constraints, in the order
/// of measuring. A metric without a case has values only where its workload has
/// one case.
fn repeats(manifest: &Manifest, launches: &[&LaunchRecord]) -> Vec<ObservedRepeat> {
    let objective = &manifest.objective;
    let constraints = objective.constraints.iter().map(|bound| &bound.metric);
    let metrics: Vec<&MetricRef> = std::iter::once(&objective.metric).chain(constraints).collect();
    let mut found: BTreeMap<(u32, u32), Found> = BTreeMap::new();
    for (index, metric) in metrics.iter().enumerate() {
        let Some(case) = case_of(manifest, metric) else { continue };
        for launch in launches {
            for (at, measurement) in timed(launch, &metric.workload, &case) {
                let of_repeat = found.entry((launch.launch, measurement.repeat));
                let known = of_repeat.or_insert_with(|| (at, vec![None; metrics.len()]));
                known.1[index] = value(measurement, &metric.name);
            }
        }
    }
    let observed = found.into_iter().map(|((launch, repeat), (at, values))| ObservedRepeat {
        launch,
        repeat,
        at,
        objective: values[0],
        constraints: values[1..].to_vec(),
    });
    observed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::loss::Loss;
    use crate::metric::{Measurement, MetricReasons, MetricValue, Status};
    use crate::sweep::fakes::manifest;

    fn launch(number: u32, host: &str, repeats: &[u32], outcome: LaunchOutcome) -> LaunchRecord {
        let repeat = |repeat: &u32| Measurement {
            workload: "kv-cache".to_owned(),
            case: "prefix=8192".to_owned(),
            repeat: *repeat,
            status: Status::Ok,
            reason: None,
            metrics: [("ttft_resent_ms".to_owned(), Some(MetricValue::Number(1.0)))].into(),
            metric_reasons: MetricReasons::new(),
        };
        LaunchRecord {
            launch: number,
            configuration: "c0".to_owned(),
            host: Some(host.to_owned()),
            measurements: repeats.iter().map(repeat).collect(),
            outcome: Some(outcome),
            ..LaunchRecord::default()
        }
    }

    #[test]
    fn a_trial_that_two_nodes_measured_is_seen_as_the_one_that_measured_most_did_it() {
        let of = |first: &[u32], rest: &[u32], hosts: [&str; 2]| {
            let mut record = SweepRecord::new(manifest(1, 1, 3));
            let case = record.manifest.workloads[0].cases().remove(0);
            let lost = LaunchOutcome::Lost { loss: Loss::Preempted, message: String::new() };
            let mut launches = vec![
                launch(1, hosts[0], first, lost),
                launch(2, hosts[1], rest, LaunchOutcome::Measured),
            ];
            let measured = launches.iter_mut().flat_map(|it| &mut it.measurements);
            measured.for_each(|it| it.case.clone_from(&case));
            record.launches = launches;
            let seen = observations(&record, |_| true).remove(0);
            let repeats: Vec<u32> = seen.repeats.iter().map(|it| it.repeat).collect();
            (seen.host, repeats)
        };
        assert_eq!(of(&[0, 1, 2], &[0, 3], ["n1", "n2"]), ("n1".to_owned(), vec![1, 2]));
        assert_eq!(of(&[0, 1], &[0, 2, 3], ["n1", "n2"]), ("n2".to_owned(), vec![2, 3]));
        assert_eq!(of(&[0], &[0, 1, 2, 3], ["n1", "n2"]), ("n2".to_owned(), vec![1, 2, 3]));
        assert_eq!(of(&[0, 1, 2], &[0, 3], ["n1", "n1"]), ("n1".to_owned(), vec![1, 2, 3]));
    }
}
