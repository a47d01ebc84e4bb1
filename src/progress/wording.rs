//! The words for when a sweep ends, and for a repeat. Pure.

use jiff::{SignedDuration, ZonedDateTime};
use vllm_grid::clean::{counted, plural};
use vllm_grid::grid::plan::spoken;
use vllm_grid::sweep::eta::{BudgetEnd, Eta, Source};

/// A repeat as a person names it.
pub(super) fn named(workload: &str, case: &str, repeat: u32) -> String {
    let case = if case.is_empty() { String::new() } else { format!(" {case}") };
    match repeat {
        0 => format!("{workload}{case}, warm-up"),
        _ => format!("{workload}{case}, repeat {repeat}"),
    }
}

/// When a sweep ends; `None` where nothing is left.
pub(super) fn eta(eta: &Eta, now: &ZonedDateTime) -> Option<String> {
    let (low, high) = eta.seconds;
    if high <= 0.0 {
        return None;
    }
    let source = match eta.source {
        Source::Measured => String::new(),
        Source::Earlier(runs) => {
            format!(", as {} of this service took", counted(runs, "earlier run"))
        }
        Source::Assumed => ": assumed, nothing is measured yet".to_owned(),
    };
    let is_chosen = eta.launches.0 < eta.launches.1;
    let ends = match (eta.budget, eta.source) {
        (Some(BudgetEnd { seconds, launches, of }), _) => {
            let begun = match launches {
                (least, most) if least == most => format!("about {least}"),
                both => range(both, " to "),
            };
            let (end, left) = (at(now, seconds), spoken(seconds));
            let begun =
                format!("after {begun} of {} {}", range(of, " to "), plural(of.1, "launch"));
            if is_chosen && low < seconds {
                let first = at(now, low);
                format!("ends between {first} and the budget's end at {end}, in {left}, {begun}")
            } else {
                format!("the budget ends at {end}, in {left}, {begun}")
            }
        }
        (None, source) if source == Source::Assumed || low < high => format!(
            "ends between {} and {}, in {} to {}",
            at(now, low),
            at(now, high),
            spoken(low),
            spoken(high)
        ),
        (None, _) => format!("ends about {}, in {}", at(now, high), spoken(high)),
    };
    let part = match (eta.source, eta.budget) {
        (_, None) if is_chosen => {
            format!("; {} launches in all, as it chooses", range(eta.launches, " to "))
        }
        // A gate that was never asked with these settings.
        (Source::Measured | Source::Earlier(_), _) if low < high && !is_chosen => {
            "; a gate's time is assumed".to_owned()
        }
        _ => String::new(),
    };
    let then = if eta.confirms { "; a confirmation may follow" } else { "" };
    Some(format!("{ends}{source}{part}{then}"))
}

/// The same in a few words, for a bar.
pub(super) fn short_eta(eta: &Eta, now: &ZonedDateTime) -> String {
    match (eta.budget, eta.source) {
        (Some(budget), _) => format!("budget ends {}", at(now, budget.seconds)),
        (None, Source::Assumed) => String::new(),
        (None, _) if eta.launches.0 < eta.launches.1 => {
            format!("ends by {}", at(now, eta.seconds.1))
        }
        (None, _) => format!("ends about {}", at(now, eta.seconds.1)),
    }
}

/// One number where both are the same.
pub(super) fn range((least, most): (u32, u32), to: &str) -> String {
    if least == most { least.to_string() } else { format!("{least}{to}{most}") }
}

/// The clock time in so many seconds, with the day where it is another one.
fn at(now: &ZonedDateTime, seconds: f64) -> String {
    let later = SignedDuration::try_from_secs_f64(seconds).ok();
    let Some(then) = later.and_then(|later| now.checked_add(later).ok()) else {
        return "never".to_owned();
    };
    let form = if seconds < 600.0 { "%H:%M:%S" } else { "%H:%M" };
    let day = if then.date() == now.date() { "" } else { " on %-d %b" };
    then.strftime(&format!("{form}{day}")).to_string()
}
