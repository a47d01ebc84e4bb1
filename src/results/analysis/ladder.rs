//! Throughput and latency over the cases of `load`, step by step: by concurrency, or by
//! rate where there are no several concurrencies.

use super::source::{Source, metric};
use super::{Ladder, Path, Step};
use crate::history::values::case_of;
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
    let (latency, limit, limits) = latency(source, &cases);
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
    let ladder = Ladder { throughput: of(THROUGHPUT), latency: of(&latency), limit, limits, paths };
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

/// Name of the latency; its bound at every load, the SLO's; its bounds at single loads, those
/// of constraints. A constraint is of one case, and says nothing of the others.
fn latency(source: &Source<'_>, cases: &[String]) -> (String, Option<f64>, Vec<(String, f64)>) {
    let objective = &source.record.manifest.objective;
    let is_latency = |it: &MetricRef| it.workload == WORKLOAD && it.name.ends_with("ttft_ms");
    let bounded =
        objective.constraints.iter().find(|it| is_latency(&it.metric) && it.max.is_some());
    if let Some(bound) = bounded {
        let name = &bound.metric.name;
        return (name.clone(), None, limits(source, name, cases));
    }
    if is_latency(&objective.metric) {
        return (objective.metric.name.clone(), None, Vec::new());
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
    // The SLO bounds nearly every request: a median is not held against it.
    if slo.is_some() && measured(LATENCIES[1]) {
        return (LATENCIES[1].to_owned(), slo, Vec::new());
    }
    (LATENCIES[0].to_owned(), None, Vec::new())
}

/// The lowest bound of a latency at each of the cases that has one.
fn limits(source: &Source<'_>, name: &str, cases: &[String]) -> Vec<(String, f64)> {
    let manifest = &source.record.manifest;
    let of_case = |case: &String| {
        let bounds = manifest.objective.constraints.iter().filter(|it| {
            let metric = &it.metric;
            metric.workload == WORKLOAD
                && metric.name == name
                && case_of(manifest, metric).as_ref() == Some(case)
        });
        let least = bounds.filter_map(|it| it.max).min_by(f64::total_cmp)?;
        Some((case.clone(), least))
    };
    cases.iter().filter_map(of_case).collect()
}
