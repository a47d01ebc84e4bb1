//! What a person should read before the night: things that are allowed, and
//! that will not give what they seem to promise.

use super::Grid;
use super::estimate::{Estimate, longest};
use super::expand::Kind;
use super::fault::Findings;
use super::node::Span;
use super::plan::spoken;

use crate::configuration::Configuration;
use crate::flags;
use crate::workload::{Concurrency, LEAST_OF_AN_HOUR};

/// Varied flags that cannot act where the objective is measured
/// (`measurement-validity.md`, "a flag can only be judged where it acts").
pub(super) fn inert_flags(
    grid: &Grid,
    varied: &[(Kind, String, Span)],
    objective: &Span,
    findings: &mut Findings,
) {
    let metric = &grid.objective.metric;
    let workload = grid.workloads.iter().find(|it| it.kind().key == metric.workload);
    let Some(workload) = workload else { return };
    if workload.concurrency(metric.case.as_deref()) == Concurrency::Many {
        return;
    }
    let kind = workload.kind();
    let load =
        if kind.concurrency == Concurrency::Many { " with more requests at once" } else { "" };
    for (_, name, span) in varied
        .iter()
        .filter(|(kind, name, _)| *kind == Kind::Flag && flags::acts_under_load_only(name))
    {
        let place = if span.is_empty() { objective } else { span };
        findings.warning(
            Some(place),
            format!(
                "`{name}` is varied, but the objective {metric} comes from `{}`, which sends one \
                 request at a time: the flag can hardly act there, and what differs will be noise; \
                 judge it under load{load}",
                kind.name
            ),
        );
    }
}

/// Without chunking vLLM refuses a batch that cannot hold the longest prompt.
pub(super) fn small_batches(grid: &Grid, findings: &mut Findings) {
    let too_small = |configuration: &&Configuration| {
        let flags = &configuration.flags;
        let number = |name| flags.get(name).and_then(serde_json::Value::as_i64);
        let unchunked = flags.get("enable-chunked-prefill").and_then(serde_json::Value::as_bool);
        matches!(
            (unchunked, number("max-num-batched-tokens"), number("max-model-len")),
            (Some(false), Some(batch), Some(longest)) if batch < longest
        )
    };
    let names: Vec<&str> =
        grid.configurations.iter().filter(too_small).map(|it| it.name.as_str()).collect();
    let Some((first, rest)) = names.split_first() else { return };
    let others = match rest.len() {
        0 => String::new(),
        1 => " and 1 more".to_owned(),
        count => format!(" and {count} more"),
    };
    findings.warning(
        None,
        format!(
            "`{first}`{others}: chunked prefill is off and max-num-batched-tokens is below \
             max-model-len, which vLLM refuses at the start"
        ),
    );
}

/// A figure per hour from repeats that are over in minutes: it will be absent.
pub(super) fn hourly(grid: &Grid, objective: &Span, findings: &mut Findings) {
    let constraints = grid.objective.constraints.iter().map(|constraint| &constraint.metric);
    for metric in std::iter::once(&grid.objective.metric).chain(constraints) {
        if !metric.name.contains("_per_hour") {
            continue;
        }
        let workload = grid.workloads.iter().find(|it| it.kind().key == metric.workload);
        let Some(longest) = workload.map(|workload| longest(grid, workload)) else { continue };
        if longest < LEAST_OF_AN_HOUR {
            findings.warning(
                Some(objective),
                format!(
                    "{metric} is absent where a repeat lasts less than {}, and here one takes {} at \
                     the most, by assumption: set `duration` or more `requests`",
                    spoken(LEAST_OF_AN_HOUR),
                    spoken(longest)
                ),
            );
        }
    }
}

/// A budget that even the fastest run that can be assumed does not fit.
pub(super) fn budget(grid: &Grid, span: Option<&Span>, findings: &mut Findings) {
    let Some(budget) = grid.budget_seconds else { return };
    let estimate = Estimate::of(grid);
    if estimate.low_seconds > budget as f64 {
        findings.warning(
            span,
            format!(
                "{} launches take {} at the least, by assumption: the budget of {} ends the sweep \
                 before that",
                estimate.launches,
                spoken(estimate.low_seconds),
                spoken(budget as f64)
            ),
        );
    }
}
