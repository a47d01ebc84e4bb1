//! The result in words where a confirmation ended and nothing is confirmed.

use super::spoken::{self, better, bounds_of};
use crate::results::confirmed::Unfit;
use crate::results::reading::{Reading, Statement};

/// The sentences; `None` of any other result.
pub(super) fn sentence(reading: &Reading) -> Option<String> {
    let name = |name: &str| spoken::name_of(name);
    let metric = &reading.metric;
    let (said, baseline, not_kept) = match &reading.result {
        Statement::BoundBroken { configuration, baseline, metrics, better: shown, not_kept } => {
            let shown = if *shown { "though fresh launches" } else { "and fresh launches do not" };
            let said = format!(
                "Not confirmed: {} breaks {}, {shown} show that it is {} {}.",
                name(configuration),
                bounds_of(metrics),
                better(metric, reading.goal),
                name(baseline)
            );
            (said, baseline, not_kept)
        }
        Statement::Unfit { configuration, baseline, cause, not_kept } => {
            let what = match cause {
                Unfit::GateFailed { .. } => "failed a gate",
                Unfit::Failing => "gave no values any more in its confirmation",
            };
            let said = format!("Not confirmed: {} {what}.", name(configuration));
            (said, baseline, not_kept)
        }
        Statement::NotConfirmed { configuration, baseline, worse, not_kept } => {
            let (a, b) = (name(configuration), name(baseline));
            let said = if !worse {
                format!(
                    "Fresh launches do not show that {a} is {} {b}.",
                    better(metric, reading.goal)
                )
            } else if spoken::is_speed(metric, reading.goal) {
                format!("Fresh launches show that {a} is slower than {b}.")
            } else {
                let metric = spoken::metric(metric);
                format!("Fresh launches show that {a} is worse on {metric} than {b}.")
            };
            (said, baseline, not_kept)
        }
        _ => return None,
    };
    let not_kept = not_kept.map(|why| format!(" But {} {why}.", name(baseline)));
    Some(said + &not_kept.unwrap_or_default())
}
