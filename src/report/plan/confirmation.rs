//! The confirmation that follows a sweep, in a plan: what it takes, what it shows, and what is
//! kept for it.

use super::{percent, wrap};
use crate::clean::counted;
use crate::grid::Limits;
use crate::grid::plan::{Begun, Plan, PlannedConfirmation, ToShow, range, spoken};

/// Its lines, where one follows.
pub(super) fn text(text: &mut String, plan: &Plan<'_>, width: usize) {
    let (Some(planned), Some(baseline)) = (&plan.confirm, plan.baseline) else { return };
    let PlannedConfirmation { launches, hours, repeats, half_width, can_show, .. } = planned;
    let from = if planned.measured { "as in earlier runs" } else { "assumed" };
    let shows = can_show.map_or_else(String::new, |it| {
        format!(", and a true difference of {} in {:.0}% of sweeps", percent(it), power(plan))
    });
    let mut add = |line: String, first: &str| wrap(text, line.split(' '), first, "    ", width);
    add(format!("then a confirmation: the leading configuration and {baseline} in turn"), "");
    let (count, time) = (range((launches.low, launches.high)), times((hours.low, hours.high)));
    let repeats = counted(*repeats, "repeat");
    add(format!("{count} launches of {repeats}, {time} ({from})"), "  ");
    let asked = planned.asked.claim / 2.0;
    let other = (percent(asked) != percent(*half_width))
        .then(|| format!(" (±{} is asked for)", percent(asked)));
    let other = other.unwrap_or_default();
    add(format!("shows the gain to ±{}{other}{shows}", percent(*half_width)), "  ");
    if let Some((reserve, begun)) = planned.reserve.zip(planned.begun_within_reserve) {
        let (share, kept) = (percent(planned.asked.share), limits(reserve));
        let enough = enough(begun, launches.low, planned);
        add(format!("kept for it: {share} of the budget ({kept}) {enough}"), "  ");
        add("what the strategy leaves of the budget comes to that".to_owned(), "  ");
    }
    if let Some(all) = plan.hours_in_all {
        let within = if planned.reserve.is_some() { ", within the budget" } else { "" };
        let line = format!("in all with it: {} ({from}{within})", times((all.low, all.high)));
        wrap(text, line.split(' '), "", "  ", width);
    }
}

fn power(plan: &Plan<'_>) -> f64 {
    plan.differences.power * 100.0
}

/// For how much a reserve is enough that allows so many launches; `needed` of them reach the
/// claim, and the fewest reach `half_width`.
fn enough(begun: Begun, needed: u64, planned: &PlannedConfirmation) -> String {
    let to_show = planned.to_show.map_or_else(String::new, |it| format!(": {}", to_show(&it)));
    // Half of a pair shows nothing.
    let pairs = |launches: u64| launches / 2 * 2;
    let (least, most) = (pairs(begun.least), pairs(begun.most));
    let count = match range((least, most)) {
        none if none == "0" => return format!("is too little for a pair of launches{to_show}"),
        count => format!("is enough for {count} launches"),
    };
    match planned.half_width_within_reserve {
        _ if least >= needed => count,
        Some(reached) => format!("{count}; {least} show the gain to ±{}", percent(reached)),
        None => format!("{count}; {least} show nothing{to_show}"),
    }
}

/// What would do where a reserve shows nothing.
fn to_show(needed: &ToShow) -> String {
    let ToShow { launches, share, budget } = needed;
    let each = launches / 2;
    let share = share.map(|it| format!("`share` to {:.0}%", it * 100.0));
    let budget = Some(format!("`budget` to {}", limits(*budget)));
    let raise = share.into_iter().chain(budget).collect::<Vec<_>>().join(", or ");
    format!("a gain takes {each} + {each}; raise {raise}")
}

fn times((low, high): (f64, f64)) -> String {
    match (spoken(low * 3600.0), spoken(high * 3600.0)) {
        (low, high) if low == high => low,
        (low, high) => format!("{low} to {high}"),
    }
}

/// `2.0 h, 10 launches, 4 GPU hours`.
pub(super) fn limits(limits: Limits) -> String {
    let time = limits.seconds.map(|it| spoken(it as f64));
    let count = limits.besides.launches.map(|it| match it {
        1 => "1 launch".to_owned(),
        several => format!("{several} launches"),
    });
    let gpus = limits.besides.gpu_hours.map(|it| format!("{it} GPU hours"));
    [time, count, gpus].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
