//! The strategies of a plan side by side: launches, time, and the smallest difference that each
//! can show between the best configuration and the next one.

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
        let shown = can_show.map_or_else(
            || "-".to_owned(),
            |it| match (percent(it.low), percent(it.high)) {
                (low, high) if low == high => high,
                (low, high) => format!("{low} to {high}"),
            },
        );
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
    if let Some(why) = &plan.default_strategy {
        wrap(text, format!("strategy: {why}").split(' '), "", "  ", width);
    }
}

/// What a difference is, and what it is reckoned from.
fn differences(of: &Differences) -> String {
    if of.comparisons == 0 {
        return "can show: nothing, there is one configuration".to_owned();
    }
    let Differences { power, level, launch_sd, repeat_sd, repeat_sd_measured, repeats, .. } = of;
    let whole = |share: f64| format!("{:.0}%", share * 100.0);
    let from = if *repeat_sd_measured { "as in earlier runs" } else { "assumed" };
    format!(
        "can show: the smallest difference between the best and the next that is shown in {} of \
         sweeps, at a level of {} for all; by {repeats} repeats that differ by {} (SD, {from}), launches by \
         {} (assumed), on a machine at rest",
        whole(*power),
        whole(*level),
        percent(*repeat_sd),
        whole(*launch_sd)
    )
}
