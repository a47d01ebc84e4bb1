//! The confirmation that follows a sweep, in a plan: what it takes, what it shows, and what is
//! kept for it.

use super::{percent, wrap};
use crate::grid::Limits;
use crate::grid::plan::{Begun, Plan, PlannedConfirmation, range, spoken};

/// Its lines, where one follows.
pub(super) fn text(text: &mut String, plan: &Plan<'_>, width: usize) {
    let (Some(planned), Some(baseline)) = (&plan.confirm, plan.baseline) else { return };
    let PlannedConfirmation { launches, hours, repeats, half_width, can_show, .. } = planned;
    let from = if planned.measured { "as in earlier runs" } else { "assumed" };
    let shows = can_show.map_or_else(String::new, |it| {
        format!(", and a true difference of {} in {:.0}% of sweeps", percent(it), power(plan))
    });
    let line = format!(
        "then a confirmation of the leading configuration against {baseline}: {} launches of \
         {repeats} repeats, {} ({from}); shows the gain to ±{}{shows}",
        range((launches.low, launches.high)),
        times((hours.low, hours.high)),
        percent(*half_width),
    );
    wrap(text, line.split(' '), "", "  ", width);
    if let Some((reserve, begun)) = planned.reserve.zip(planned.begun_within_reserve) {
        let reaches = match planned.half_width_within_reserve {
            _ if begun.least >= launches.low => String::new(),
            Some(reached) => format!(", of which the fewest show it to ±{}", percent(reached)),
            None => ", of which the fewest show nothing".to_owned(),
        };
        let line = format!(
            "its reserve, {} of the budget: {}, with what the strategy leaves: {} of its launches are \
             begun within the reserve alone{reaches} ({from})",
            percent(planned.asked.share),
            limits(reserve),
            within(begun),
        );
        wrap(text, line.split(' '), "  ", "  ", width);
    }
    if let Some(all) = plan.hours_in_all {
        let line = format!("in all with it: {} ({from})", times((all.low, all.high)));
        wrap(text, line.split(' '), "", "  ", width);
    }
}

fn power(plan: &Plan<'_>) -> f64 {
    plan.differences.power * 100.0
}

fn within(begun: Begun) -> String {
    range((begun.least, begun.most))
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
