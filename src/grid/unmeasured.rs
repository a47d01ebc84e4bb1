//! What some or all configurations will not be measured by: cases that exceed
//! their context, figures of a cache that they switch off, and what their engine
//! does not measure. A configuration without a figure of the objective or of a constraint
//! is not ranked.

use serde_json::Value;

use super::error::Findings;
use super::node::Span;
use super::{EngineBlock, Grid, some};
use crate::configuration::Configuration;
use crate::metric::MetricRef;
use crate::workload::{Absence, Workload};

/// All of it.
pub(super) fn all(grid: &Grid, findings: &mut Findings) {
    for workload in &grid.workloads {
        for case in workload.cases() {
            context(grid, workload, &case, findings);
            throughput(grid, workload, &case, findings);
        }
    }
    for (metric, span) in &grid.places.metrics {
        of_the_cache(grid, metric, span, findings);
        of_the_machine(grid, metric, span, findings);
    }
}

/// A metric that the workload's options make impossible is an error, one that may be
/// absent a warning.
pub(super) fn by_options(
    reference: &MetricRef,
    span: &Span,
    workload: &Workload,
    findings: &mut Findings,
) {
    let Some(absence) = workload.unmeasurable(reference.case.as_deref(), &reference.name) else {
        return;
    };
    let Absence { is_certain, why, help } = absence;
    if is_certain {
        findings.error(span, format!("{reference} is never measured: {why}")).help(help);
    } else {
        findings.warning(Some(span), format!("{reference} may be absent: {why}; {help}"));
    }
}

/// A case that will give no throughput, where nobody seeks it.
fn throughput(grid: &Grid, workload: &Workload, case: &str, findings: &mut Findings) {
    let name = "output_throughput";
    let of_case = Some(case).filter(|case| !case.is_empty());
    let is_sought = grid.places.metrics.iter().any(|(metric, _)| {
        grid.workload_of(metric).is_some_and(|it| std::ptr::eq(it, workload))
            && metric.case.as_deref() == of_case
            && metric.name == name
    });
    let has_it = workload.kind().metrics.iter().any(|metric| metric.name == name);
    if !has_it || is_sought {
        return;
    }
    if let Some(Absence { why, help, .. }) = workload.unmeasurable(of_case, name) {
        let metric = MetricRef {
            case: of_case.map(str::to_owned),
            ..MetricRef::of(workload.kind().key, name)
        };
        findings.warning(None, format!("{metric} will be absent: {why}; {help}"));
    }
}

/// A case that is longer than the context of some configurations, or of all.
fn context(grid: &Grid, workload: &Workload, case: &str, findings: &mut Findings) {
    let Some(needed) = workload.context_needed(case) else { return };
    let context = |it: &Configuration| it.flags.get("max-model-len").and_then(Value::as_u64);
    let short: Vec<&Configuration> = grid
        .configurations
        .iter()
        .filter(|it| context(it).is_some_and(|context| context < needed))
        .collect();
    let Some(longest) = short.iter().filter_map(|it| context(it)).max() else { return };
    let is_all = short.len() == grid.configurations.len();
    let of_case = |metric: &MetricRef| {
        metric.workload == workload.kind().key && metric.case.as_deref().unwrap_or("") == case
    };
    let sought = grid.places.metrics.iter().find(|(metric, _)| of_case(metric));
    let why = format!("it needs a context of {needed} tokens");
    match sought {
        Some((metric, span)) if is_all => {
            findings
                .error(
                    span,
                    format!("{metric} is never measured: {why}, and max-model-len is {longest}"),
                )
                .help("ask for less, or raise max-model-len");
        }
        Some((metric, span)) => findings.warning(
            Some(span),
            format!(
                "{metric} is not measured in {}, which will not be ranked: {why}, and max-model-len \
                 is {longest} or less there",
                some(&short)
            ),
        ),
        None if is_all => {
            let name = workload.kind().name;
            let what =
                if case.is_empty() { format!("`{name}`") } else { format!("`{name}`, {case},") };
            findings.warning(
                None,
                format!("{what} is skipped: {why}, and max-model-len is {longest}"),
            );
        }
        None => {}
    }
}

fn of_the_cache(grid: &Grid, metric: &MetricRef, span: &Span, findings: &mut Findings) {
    if !grid.workload_of(metric).is_some_and(|it| it.is_of_cache(&metric.name)) {
        return;
    }
    let is_off =
        |it: &&Configuration| it.flags.get("enable-prefix-caching") == Some(&Value::Bool(false));
    let off: Vec<&Configuration> = grid.configurations.iter().filter(is_off).collect();
    if off.is_empty() {
        return;
    }
    let instead = if metric.name == "ttft_hit_ms" {
        format!(": `{}` is measured with and without", metric.to_string().replace("hit", "resent"))
    } else {
        String::new()
    };
    findings.warning(
        Some(span),
        format!(
            "{metric} is absent where prefix caching is off: {} will not be ranked{instead}",
            some(&off)
        ),
    );
}

/// The simulated engine has no GPU, and no process of its own.
fn of_the_machine(grid: &Grid, metric: &MetricRef, span: &Span, findings: &mut Findings) {
    let begins = |prefix: &str| metric.name.starts_with(prefix);
    let is_own = grid
        .workload_of(metric)
        .is_some_and(|it| it.kind().metrics.iter().any(|own| own.name == metric.name));
    let of_the_machine = ["gpu_", "energy_", "engine_"].into_iter().any(begins) && !is_own;
    if of_the_machine && matches!(grid.engine, EngineBlock::Simulated(_)) {
        findings.warning(
            Some(span),
            format!(
                "{metric} is absent on the simulated engine, which has no GPU and no process of its \
                 own: nothing will be ranked"
            ),
        );
    }
}
