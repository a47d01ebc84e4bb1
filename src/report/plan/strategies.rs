//! The strategies of a plan side by side: launches, time, and the smallest difference that each
//! can show between the best configuration and the next one.

use crate::clean::counted;
use std::fmt::Write as _;

use super::{percent, wrap};
use crate::grid::plan::{Differences, Plan, PlannedStrategy, range, spoken};

/// The table, with what its figures come from. The one that would run is marked.
pub(super) fn text(text: &mut String, plan: &Plan<'_>, width: usize) {
    text.push_str("\n  strategy      launches  time                  can show\n");
    for strategy in &plan.strategies {
        let PlannedStrategy { strategy: name, is_chosen, launches, hours, can_show, .. } = strategy;
        let mark = if *is_chosen { '>' } else { ' ' };
        let launches = range((launches.low, launches.high));
        let (low, high) = (spoken(hours.low * 3600.0), spoken(hours.high * 3600.0));
        let time = if low == high { low } else { format!("{low} to {high}") };
        let shown = match can_show.map(|it| (percent(it.low), it.high.map(percent))) {
            None if !plan.differences.is_known() => "-".to_owned(),
            None => "nothing".to_owned(),
            Some((low, None)) => format!("{low} at best"),
            Some((low, Some(high))) if low == high => high,
            Some((low, Some(high))) => format!("{low} to {high}"),
        };
        let _ = writeln!(text, "{mark} {name:<9} {launches:>12}  {time:<20}  {shown}");
    }
    let from = if plan.strategies.iter().any(|it| it.measured) {
        "as in earlier runs of this service"
    } else {
        "assumed, not measured"
    };
    let line = format!("> chosen; time: {from}");
    wrap(text, line.split(' '), "  ", "  ", width);
    let shown = differences(&plan.differences);
    wrap(text, shown.split(' '), "  ", "  ", width);
    if let Some(note) = by_how_many(plan) {
        wrap(text, note.split(' '), "  ", "  ", width);
    }
    if let Some(why) = &plan.default_strategy {
        wrap(text, format!("strategy: {why}").split(' '), "", "  ", width);
    }
}

/// After how many launches; nothing where none are chosen and no budget ends them.
fn by_how_many(plan: &Plan<'_>) -> Option<String> {
    let shown = || plan.strategies.iter().filter_map(|it| it.can_show);
    let is_budget = plan.strategies.iter().any(|it| it.begun_within_budget.is_some());
    let within = if is_budget { " that the budget allows" } else { "" };
    let is_range = shown().any(|it| it.high != Some(it.low));
    let range = is_range.then(|| {
        format!(
            "a range: after the most launches{within}, and after the fewest by which the two best \
             can be compared"
        )
    });
    let has_nothing = plan.differences.is_known()
        && plan.strategies.iter().any(|it| it.can_show.is_none_or(|it| it.high.is_none()));
    let nothing = has_nothing.then(|| {
        let (at_best, none) =
            ("\"at best\": the fewest show nothing", "\"nothing\": too few launches");
        let is_none = plan.strategies.iter().any(|it| it.can_show.is_none());
        let is_at_best = shown().any(|it| it.high.is_none());
        [is_at_best.then_some(at_best), is_none.then_some(none)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; ")
    });
    let is_modelled = plan.strategies.iter().any(|it| it.is_chosen && it.strategy == "model");
    let guard = (is_modelled && plan.differences.is_known()).then(|| {
        "model: where its axes predict; else it launches every configuration first, and shows less"
            .to_owned()
    });
    let notes: Vec<String> = range.into_iter().chain(nothing).chain(guard).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// What a difference is, and what it is reckoned from.
fn differences(of: &Differences) -> String {
    if of.comparisons == 0 {
        return "can show: nothing, there is one configuration".to_owned();
    }
    if !of.ratio {
        return "can show: not known of an objective that is a share or a count: no ratio can be \
                taken of it"
            .to_owned();
    }
    let Differences { power, level, launch_sd, repeat_sd, repeat_sd_measured, repeats, .. } = of;
    let whole = |share: f64| format!("{:.0}%", share * 100.0);
    let from = if *repeat_sd_measured { "as in earlier runs" } else { "assumed" };
    format!(
        "can show: the smallest difference between the best and the next that is shown in {} of \
         sweeps, at a level of {} for all; by {} that differ by {} (SD, {from}), launches by \
         {} (assumed), on a machine at rest",
        whole(*power),
        whole(*level),
        counted(*repeats, "repeat"),
        percent(*repeat_sd),
        whole(*launch_sd)
    )
}
