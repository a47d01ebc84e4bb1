//! Why configurations differ, as far as a workload's own metrics say it: hit share, queue,
//! running and waiting requests, preemptions, KV usage, lateness of the client, what the
//! hardware did. They are no merit to rank by, so the ranking has none of them; here they
//! have the same means and intervals. Nothing is explained: figures are put side by side.

use std::collections::BTreeMap;

use super::arm::{self, Arm};
use super::estimate::Estimate;
use super::measured::Measured;
use super::ranked::Ranking;
use super::sheet;
use crate::history::record::SweepRecord;
use crate::history::values::kept;
use crate::metric::{Form, Metric, MetricRef, MetricValue, Status};
use crate::workload::{Kind, Workload};

/// Metrics that may explain a difference, in a reader's order: the cache, the engine's queue,
/// the client, what was asked and answered, the hardware.
const EXPLAIN: &[&str] = &[
    "hit_state",
    "cache_state",
    "hit_tokens_share",
    "mean_queue_ms",
    "mean_running",
    "max_running",
    "mean_waiting",
    "max_waiting",
    "preemptions",
    "mean_kv_cache_usage",
    "max_kv_cache_usage",
    "max_concurrent_requests",
    "p99_send_lag_ms",
    "max_send_lag_ms",
    "failed",
    "acceptance",
    "prompt_tokens",
    "mean_output_tokens",
    "mean_output_characters",
    "gpu_utilization_mean",
    "gpu_power_mean",
    "gpu_throttled_share",
    "host_cpu_mean",
    "host_cpu_others_mean",
    "client_cpu_mean",
    "engine_cpu_mean",
    "windows_cpu_others_mean",
];

/// What may explain the figures of one case of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WhyCase {
    /// The case; empty where there is one.
    pub case: String,
    /// Metrics that at least one configuration has.
    pub metrics: Vec<WhyMetric>,
}

/// One metric over all configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct WhyMetric {
    /// Its entry in the catalogue.
    pub metric: &'static Metric,
    /// Parallel to [`Ranking::rows`]; `None` where it was not measured.
    pub values: Vec<Option<WhyValue>>,
}

/// The value of one configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum WhyValue {
    /// Mean and interval.
    Number(Estimate),
    /// The most frequent state, in how many repeats, of how many.
    State {
        /// The state.
        state: String,
        /// Repeats that have it.
        repeats: usize,
        /// Repeats that have any.
        of: usize,
    },
}

/// What may explain the figures of a workload, case by case. Rows are those of `ranking`,
/// which is of the same sweep.
pub fn of(sweep: &SweepRecord, ranking: &Ranking, kind: &Kind) -> Vec<WhyCase> {
    let arms = arm::arms(sweep);
    let by_name: BTreeMap<&str, usize> =
        arms.iter().enumerate().map(|(at, arm)| (arm.configuration.name.as_str(), at)).collect();
    let order: Vec<Option<usize>> =
        ranking.rows.iter().map(|row| by_name.get(row.name.as_str()).copied()).collect();
    let workloads = sweep.manifest.workloads.iter();
    let cases = workloads.filter(|it| it.kind().key == kind.key).flat_map(Workload::cases);
    cases.map(|case| of_case(sweep, &arms, &order, kind, case)).collect()
}

fn of_case(
    sweep: &SweepRecord,
    arms: &[Arm<'_>],
    order: &[Option<usize>],
    kind: &Kind,
    case: String,
) -> WhyCase {
    let named = |name: &&str| kind.all_metrics().find(|metric| metric.name == *name);
    let known: Vec<&'static Metric> = EXPLAIN.iter().filter_map(named).collect();
    let numbers: Vec<MetricRef> = known
        .iter()
        .filter(|metric| metric.form() == Form::Number)
        .map(|metric| MetricRef {
            workload: metric.workload.to_owned(),
            case: Some(case.clone()),
            name: metric.name.to_owned(),
        })
        .collect();
    let read = sheet::read(&sweep.manifest, arms, &numbers);
    let mut measured = read.into_iter().map(|read| Measured::new(arms, read));
    let metrics = known.into_iter().map(|metric| {
        let values: Vec<Option<WhyValue>> = if metric.form() == Form::Number {
            let measured = measured.next();
            let of = |at: usize| measured.as_ref()?.shown(at).map(WhyValue::Number);
            order.iter().map(|at| of((*at)?)).collect()
        } else {
            order.iter().map(|at| state(&arms[(*at)?], metric, &case)).collect()
        };
        WhyMetric { metric, values }
    });
    let metrics = metrics.filter(|it| it.values.iter().any(Option::is_some)).collect();
    WhyCase { case, metrics }
}

/// The state that most repeats have; of equally many the first by name.
fn state(arm: &Arm<'_>, metric: &Metric, case: &str) -> Option<WhyValue> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let repeats = arm.launches.iter().flat_map(|launch| kept(launch, metric.workload, case));
    for repeat in repeats.filter(|it| it.status == Status::Ok) {
        if let Some(Some(MetricValue::Text(text))) = repeat.metrics.get(metric.name) {
            *counts.entry(text).or_default() += 1;
        }
    }
    let of = counts.values().sum();
    let (state, repeats) = counts.into_iter().rev().max_by_key(|(_, count)| *count)?;
    Some(WhyValue::State { state: state.to_owned(), repeats, of })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::KINDS;

    #[test]
    fn every_name_is_a_metric_of_some_workload() {
        for name in EXPLAIN {
            let known = KINDS.iter().flat_map(Kind::all_metrics).any(|it| it.name == *name);
            assert!(known, "{name}");
        }
    }
}
