//! Varied flags that cannot act where the objective is measured
//! (a flag can only be judged where it acts): what
//! differs between their values is noise, and a night of it ranks noise.

use serde_json::Value;

use super::Grid;
use super::error::Findings;
use super::node::Span;
use crate::configuration::Configuration;
use crate::flags;
use crate::metric::MetricRef;
use crate::workload::{Concurrency, LoadCase, Spec, Workload};

const SEQUENCES: &str = "max-num-seqs";
const CACHING: &str = "enable-prefix-caching";

/// Sequences that vLLM runs at once by default: 256 or more on GPUs, 128
/// or more on CPUs.
const DEFAULT_SEQUENCES: u64 = 128;

/// All advice on flags that cannot act.
pub(super) fn all(grid: &Grid, findings: &mut Findings) {
    alone(grid, findings);
    sequences(grid, findings);
    caching(grid, findings);
}

/// Where the file sets a flag first, or its objective.
fn place<'g>(grid: &'g Grid, flag: &str) -> &'g Span {
    let set = grid.places.flags.iter().find(|(name, _)| name == flag);
    set.map(|(_, span)| span).filter(|span| !span.is_empty()).unwrap_or(&grid.places.objective)
}

/// Whether the case of a metric has one request in flight.
fn is_alone(workload: &Workload, metric: &MetricRef) -> bool {
    workload.concurrency(metric.case.as_deref()) == Concurrency::One
}

/// Flags that act under load alone, where there is one request at a time.
fn alone(grid: &Grid, findings: &mut Findings) {
    let metric = &grid.objective.metric;
    let Some(workload) = grid.workload_of(metric).filter(|it| is_alone(it, metric)) else { return };
    let kind = workload.kind();
    let load =
        if kind.concurrency == Concurrency::Many { " with more requests at once" } else { "" };
    for name in grid.varied.iter().filter(|name| flags::acts_under_load_only(name)) {
        findings.warning(
            Some(place(grid, name)),
            format!(
                "`{name}` is varied, but the objective {metric} comes from `{}`, which sends one \
                 request at a time: the flag can hardly act there, and what differs will be noise; \
                 judge it under load{load}",
                kind.name
            ),
        );
    }
}

/// Limits on the sequences, none of which is below what a closed loop has in flight.
fn sequences(grid: &Grid, findings: &mut Findings) {
    let metric = &grid.objective.metric;
    let Some(LoadCase::Concurrency(slots @ 2..)) = case_of(grid, metric) else { return };
    if !grid.varied.iter().any(|name| name == SEQUENCES) {
        return;
    }
    let limits: Option<Vec<u64>> = grid.configurations.iter().map(|it| limit(grid, it)).collect();
    // A limit that is not known yet may bind.
    let Some(least) = limits.and_then(|limits| limits.into_iter().min()) else { return };
    let binds = |metric: &MetricRef| match case_of(grid, metric) {
        Some(LoadCase::Concurrency(slots)) => least < slots,
        // How many are in flight in an open loop is the server's.
        Some(LoadCase::Rate(_) | LoadCase::MaxRate) => true,
        None => grid.workload_of(metric).is_some_and(|workload| !is_alone(workload, metric)),
    };
    if least < slots || grid.objective.others().any(binds) {
        return;
    }
    findings.warning(
        Some(place(grid, SEQUENCES)),
        format!(
            "`{SEQUENCES}` is varied, but the objective {metric} has {slots} requests in flight, and \
             no value is below that: the flag can hardly act there, and what differs will be noise; \
             judge it with more requests at once, or try values below {slots}"
        ),
    );
}

/// The most sequences at once of a configuration; `None` where it is not known.
fn limit(grid: &Grid, configuration: &Configuration) -> Option<u64> {
    match configuration.flags.get(SEQUENCES) {
        Some(value) => value.as_u64(),
        // The service may set it, which is not read yet.
        None if grid.engine.lacks_service() && !configuration.varied.contains_key(SEQUENCES) => {
            None
        }
        None => Some(DEFAULT_SEQUENCES),
    }
}

/// The case of `load` that a metric is of.
fn case_of(grid: &Grid, metric: &MetricRef) -> Option<LoadCase> {
    match &grid.workload_of(metric)?.spec {
        Spec::Load(load) => load.case(metric.case.as_deref().unwrap_or_default()),
        _ => None,
    }
}

/// A cache that is switched on and off where no prompt has anything of another.
fn caching(grid: &Grid, findings: &mut Findings) {
    let values = grid.configurations.iter().map(|it| it.flags.get(CACHING));
    let is_switched = grid.varied.iter().any(|name| name == CACHING)
        && values.into_iter().any(|value| value == Some(&Value::Bool(false)));
    let metric = &grid.objective.metric;
    let Some(workload) = grid.workload_of(metric) else { return };
    let others = grid.objective.others().any(|metric| {
        grid.workload_of(metric).is_some_and(|workload| !workload.shares_nothing(&metric.name))
    });
    if !is_switched || others || !workload.shares_nothing(&metric.name) {
        return;
    }
    let help = match &workload.spec {
        Spec::Load(load) if load.dataset.is_none() => "set `shared-prefix-tokens`, or judge",
        _ => "judge",
    };
    findings.warning(
        Some(place(grid, CACHING)),
        format!(
            "`{CACHING}` is varied, but the prompts behind the objective {metric} share no beginning: \
             the cache can hardly act there, and what differs will be noise; {help} it by \
             `kv_cache.ttft_resent_ms` or by `conversation`"
        ),
    );
}
