//! Throughput and latency over the cases of `load`, step by step: by concurrency, or by
//! rate where there are no several concurrencies.

use super::source::{Source, metric};
use super::{Ladder, Path, Step};
use crate::metric::MetricRef;
use crate::workload::{LoadCase, Slo, Spec};

const WORKLOAD: &str = "load";
const THROUGHPUT: &str = "output_throughput";
/// Times to first token, the most usual one first.
const LATENCIES: [&str; 2] = ["median_ttft_ms", "p95_ttft_ms"];

/// The ladder, where at least two steps were measured; and what is left out of it.
pub(super) fn ladder(source: &Source<'_>) -> (Option<Ladder>, Option<String>) {
    let (cases, note) = steps(source);
    if cases.len() < 2 {
        return (None, None);
    }
    let (latency, limit) = latency(source, &cases);
    let places: Vec<(String, Option<usize>, Option<usize>)> = cases
        .into_iter()
        .map(|case| {
            let place = |name: &str| source.place(&metric(WORKLOAD, &case, name));
            let (throughput, latency) = (place(THROUGHPUT), place(&latency));
            (case, throughput, latency)
        })
        .collect();
    let paths: Vec<Path> = (0..source.count())
        .filter(|row| !source.is_another(*row))
        .filter_map(|row| {
            let step = |(case, throughput, latency): &(String, Option<usize>, Option<usize>)| {
                Some(Step {
                    case: case.clone(),
                    throughput: source.figure(row, (*throughput)?)?,
                    latency: source.figure(row, (*latency)?)?,
                })
            };
            let steps: Vec<Step> = places.iter().filter_map(step).collect();
            (!steps.is_empty()).then_some(Path { configuration: row, steps })
        })
        .collect();
    if paths.is_empty() {
        return (None, None);
    }
    let of = |name: &str| MetricRef::of(WORKLOAD, name);
    let ladder = Ladder { throughput: of(THROUGHPUT), latency: of(&latency), limit, paths };
    (Some(ladder), note)
}

/// The cases in the order of the load.
fn steps(source: &Source<'_>) -> (Vec<String>, Option<String>) {
    let mut closed: Vec<(u64, String)> = Vec::new();
    let mut open: Vec<(f64, String)> = Vec::new();
    for workload in &source.record.manifest.workloads {
        let Spec::Load(load) = &workload.spec else { continue };
        for (case, name) in load.named_cases() {
            match case {
                LoadCase::Concurrency(count) => closed.push((count, name)),
                LoadCase::Rate(rate) => open.push((rate, name)),
                LoadCase::MaxRate => {}
            }
        }
    }
    closed.sort();
    closed.dedup();
    open.sort_by(|a, b| a.0.total_cmp(&b.0));
    open.dedup();
    if closed.len() < 2 {
        return (open.into_iter().map(|(_, name)| name).collect(), None);
    }
    let note = (!open.is_empty()).then(|| {
        let rates = if open.len() == 1 { "rate is" } else { "rates are" };
        format!("the load ladder has the concurrencies: {} {rates} left out", open.len())
    });
    (closed.into_iter().map(|(_, name)| name).collect(), note)
}

/// Name of the latency, and its bound: of a constraint, else the SLO's, else none.
fn latency(source: &Source<'_>, cases: &[String]) -> (String, Option<f64>) {
    let objective = &source.record.manifest.objective;
    let is_latency = |it: &MetricRef| it.workload == WORKLOAD && it.name.ends_with("ttft_ms");
    let bounded =
        objective.constraints.iter().find(|it| is_latency(&it.metric) && it.max.is_some());
    if let Some(bound) = bounded {
        return (bound.metric.name.clone(), bound.max);
    }
    if is_latency(&objective.metric) {
        return (objective.metric.name.clone(), None);
    }
    let measured = |name: &str| {
        let places: Vec<usize> =
            cases.iter().filter_map(|case| source.place(&metric(WORKLOAD, case, name))).collect();
        (0..source.count()).any(|row| places.iter().any(|at| source.figure(row, *at).is_some()))
    };
    let slos = source.record.manifest.workloads.iter().filter_map(|it| match &it.spec {
        Spec::Load(load) => Some(load.slo),
        _ => None,
    });
    let slo = slos.clone().find_map(|Slo { ttft_ms, .. }| ttft_ms);
    // The SLO bounds nearly every request: the percentile says more of it than the median.
    let name = if slo.is_some() && measured(LATENCIES[1]) { LATENCIES[1] } else { LATENCIES[0] };
    (name.to_owned(), slo)
}
