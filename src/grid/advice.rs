//! What a person should read before the night: things that are allowed, and
//! that will not give what they seem to promise. Flags that cannot act are in
//! [`super::inert_flags`], what will not be measured is in [`super::unmeasured`].

use std::collections::BTreeSet;

use super::budget::Part;
use super::duration::spoken;
use super::error::Findings;
use super::estimate::{Estimate, mean_gpus};
use super::{Grid, hosts, inert_flags, plan, some, unmeasured};

use crate::clean::counted;
use crate::configuration::Configuration;
use crate::strategy::confirm::FIRST_LOOK;
use crate::workload::MIN_OF_AN_HOUR;

/// All advice on a grid, whose flags may not be complete yet.
pub(super) fn all(grid: &Grid, findings: &mut Findings) {
    inert_flags::all(grid, findings);
    unmeasured::all(grid, findings);
    hourly(grid, findings);
    small_batches(grid, findings);
    models(grid, findings);
    budget(grid, findings);
    confirmation(grid, findings);
    window(grid, findings);
    hosts::advise(grid, findings);
}

/// Without chunking vLLM refuses a batch that is smaller than the longest prompt.
fn small_batches(grid: &Grid, findings: &mut Findings) {
    let too_small = |configuration: &&Configuration| {
        let flags = &configuration.flags;
        let number = |name| flags.get(name).and_then(serde_json::Value::as_i64);
        let unchunked = flags.get("enable-chunked-prefill").and_then(serde_json::Value::as_bool);
        matches!(
            (unchunked, number("max-num-batched-tokens"), number("max-model-len")),
            (Some(false), Some(batch), Some(longest)) if batch < longest
        )
    };
    let refused: Vec<&Configuration> = grid.configurations.iter().filter(too_small).collect();
    if refused.is_empty() {
        return;
    }
    findings.warning(
        None,
        format!(
            "{}: chunked prefill is off and max-num-batched-tokens is below max-model-len, which \
             vLLM refuses at the start",
            some(&refused)
        ),
    );
}

/// Tokens of two tokenizers are not one unit.
fn models(grid: &Grid, findings: &mut Findings) {
    let models: BTreeSet<&str> =
        grid.configurations.iter().filter_map(|it| it.model.as_deref()).collect();
    if models.len() < 2 {
        return;
    }
    let names: Vec<String> = models.iter().map(|it| format!("`{it}`")).collect();
    findings.warning(
        Some(&grid.places.objective),
        format!(
            "the configurations have {} models ({}): where their tokenizers differ, tokens are not one \
             unit, neither in a rate nor in a latency per token; compare characters \
             (load.output_characters_throughput), or times of whole answers",
            models.len(),
            names.join(", ")
        ),
    );
}

/// A figure per hour from repeats that are over in minutes: it will be absent.
fn hourly(grid: &Grid, findings: &mut Findings) {
    for (metric, span) in &grid.places.metrics {
        if !metric.name.contains("_per_hour") {
            continue;
        }
        let Some(workload) = grid.workload_of(metric) else { continue };
        let longest = workload.longest(&grid.datasets);
        if longest < MIN_OF_AN_HOUR {
            findings.warning(
                Some(span),
                format!(
                    "{metric} is absent where a repeat lasts less than {}, and here one takes at most \
                     {}, by assumption: set `duration` or more `requests`",
                    spoken(MIN_OF_AN_HOUR),
                    spoken(longest)
                ),
            );
        }
    }
}

/// A window in which no launch may fit. A quarter of an hour is kept for production.
fn window(grid: &Grid, findings: &mut Findings) {
    let Some(window) = grid.window else { return };
    let seconds = window.seconds();
    let (least, most) = grid.assumed_launch_seconds();
    let kept = grid.kept_of_window_seconds();
    let message = if least + kept > seconds {
        format!(
            "a launch takes at least {}, by assumption: with {} kept for the end, none fits into the window \
             {window}",
            spoken(least),
            spoken(kept)
        )
    } else if most + kept > seconds {
        format!(
            "a launch may take up to {}, by assumption: with {} kept for the end, it may not fit into the \
             window {window}",
            spoken(most),
            spoken(kept)
        )
    } else {
        return;
    };
    findings.warning(grid.places.window.as_ref(), message);
}

/// A budget that not all launches are begun within, if they are as slow as can be
/// assumed or even if they are as fast. Where launches are chosen, the fewest are enough: a
/// budget is a good end of duels.
fn budget(grid: &Grid, findings: &mut Findings) {
    let estimate = Estimate::of(grid);
    let limits = grid.strategy_limits();
    for (part, (least, most)) in estimate.begun_within(grid) {
        let mut limit = match part {
            Part::Time => spoken(limits.seconds.unwrap_or_default() as f64),
            Part::Launches => counted(limits.besides.launches.unwrap_or_default(), "launch"),
            Part::GpuHours => {
                format!("{} GPU hours", limits.besides.gpu_hours.unwrap_or_default())
            }
        };
        if grid.confirm.is_some() {
            limit.push_str(" that `confirm` leaves the strategy");
        }
        if let Some(message) = too_short(grid, &estimate, part, &limit, (least, most)) {
            findings.warning_of_budget(grid.places.budget.as_ref(), message);
        }
    }
}

/// A confirmation that cannot be made, or not come to its end within its reserve.
fn confirmation(grid: &Grid, findings: &mut Findings) {
    let Some(confirm) = grid.confirm else { return };
    let place = grid.places.confirm.as_ref();
    if let Some(none) = grid.nothing_to_confirm() {
        let kept = if grid.limits().is_empty() { "" } else { "; its share of the budget is kept" };
        findings.warning_of_budget(place, format!("{none}; nothing will be confirmed{kept}"));
        return;
    }
    let kept = grid.limits().reserve(confirm);
    let (launch, _) = grid.assumed_launch_seconds();
    let fewest = 2 * FIRST_LOOK;
    let hours = kept.besides.gpu_hours.map(|hours| hours * 3600.0);
    let gpus = mean_gpus(&grid.configurations);
    let time = kept.seconds.map(|it| it as f64);
    let fits = |seconds: f64, each: f64| (seconds / each.max(1e-9)).ceil() as u32;
    let within = [
        kept.besides.launches,
        time.map(|it| fits(it, launch)),
        hours.map(|it| fits(it, launch * gpus)),
    ];
    let Some(begun) = within.into_iter().flatten().min().filter(|it| *it < fewest) else { return };
    findings.warning_of_budget(
        place,
        format!(
            "a confirmation looks at its gain after {fewest} launches, and its reserve allows at most {begun}: \
             unless the strategy leaves some of its own, it ends before that; raise `share`, or `budget`"
        ),
    );
}

/// What is said of a part of a budget within which so many launches are begun.
fn too_short(
    grid: &Grid,
    estimate: &Estimate,
    part: Part,
    limit: &str,
    (least, most): (u64, u64),
) -> Option<String> {
    let fewest = estimate.launches.0;
    let launches = plan::range(estimate.launches);
    // Launches come in blocks of all configurations.
    let never = if least < grid.configurations.len() as u64 {
        ", and configurations without any"
    } else {
        ""
    };
    if part == Part::Launches {
        let ends = format!("the budget of {limit} ends the sweep before its {launches}{never}");
        return (most < fewest).then_some(ends);
    }
    let beside = if part == Part::Time { estimate.beside } else { 1.0 };
    if most < fewest {
        return Some(format!(
            "{launches} launches take at least {}, by assumption: the budget of {limit} ends the \
             sweep before that, after {}",
            spoken(estimate.low_seconds / beside),
            plan::range((least, most))
        ));
    }
    (least < fewest).then(|| {
        format!(
            "{launches} launches may take up to {}, by assumption: the budget of {limit} may end the sweep \
             after {least} of them{never}",
            spoken(estimate.high_seconds / beside)
        )
    })
}
