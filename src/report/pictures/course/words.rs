//! What the night's picture says in words: its title, its caption, durations. Marks and
//! absences are named only where they occur.

use jiff::Timestamp;

use super::super::palette::shown;
use super::clock::Clock;
use super::{Night, panels, rows};
use crate::results::analysis::Course;

/// `45 s`, `8.2 min`, `1.5 h`.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        _ if seconds < 89.5 => format!("{seconds:.0} s"),
        _ if seconds < 5370.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// `1 launch`, `3 launches`.
pub(super) fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// The first launch of each further block, with the block's number.
pub(super) fn changes(course: &Course) -> Vec<(Timestamp, u32)> {
    let mut seen = course.launches.first().map_or(1, |it| it.block);
    let mut changes = Vec::new();
    for span in &course.launches {
        if span.block > seen
            && let Some(time) = span.started.or(span.ready).or(span.ended)
        {
            seen = span.block;
            changes.push((time, span.block));
        }
    }
    changes
}

/// `40 launches of 12 configurations in 7.4 h; 3 failed; the machine's speed jumped once`.
pub(super) fn title(night: &Night<'_>) -> String {
    let launches = &night.course.launches;
    let clock = Clock::new(night.ends, (0.0, 100.0));
    let span = clock.as_ref().and_then(Clock::extent);
    let elapsed = span.map_or(0.0, |(from, until)| until.duration_since(from).as_secs_f64());
    let pauses: f64 = clock.iter().flat_map(Clock::pauses).sum();
    let failed = launches.iter().filter(|it| it.failure.is_some()).count();
    let gates = launches.iter().filter(|it| !it.failed_gates.is_empty()).count();
    let mut parts = vec![format!(
        "{} of {} in {}",
        counted(launches.len(), "launch", "launches"),
        counted(night.rows.len(), "configuration", "configurations"),
        duration(elapsed - pauses)
    )];
    parts.push(match failed {
        0 => "none failed".to_owned(),
        _ => format!("{failed} failed"),
    });
    if gates > 0 {
        parts.push(format!("{} failed a gate", counted(gates, "launch", "launches")));
    }
    match night.course.jumps.len() {
        0 => {}
        1 => parts.push("the machine's speed jumped once".to_owned()),
        jumps => parts.push(format!("the machine's speed jumped {jumps} times")),
    }
    parts.join("; ")
}

pub(super) fn caption(night: &Night<'_>) -> String {
    let launches = &night.course.launches;
    let any = |of: &dyn Fn(&crate::results::analysis::Span) -> bool| launches.iter().any(of);
    let mut text = when(night);
    text.push_str(
        " Each block is a launch: boot, warm-up, measuring and drain in four tints and heights.",
    );
    let marks = [
        (any(&|it| it.failure.is_some()), "crossed: failed"),
        (any(&|it| !it.failed_gates.is_empty()), "triangle: a gate failed"),
        (any(&|it| it.unfinished), "hollow: unfinished"),
        (any(&|it| it.confirms), "outlined: a launch of a confirmation"),
        (
            night
                .phases
                .iter()
                .any(|it| it.parts.iter().any(|it| it.phase == super::phases::Phase::Undivided)),
            "dashed outline: phases whose times are not known",
        ),
        (!night.course.jumps.is_empty(), "dashed upright line: the machine's speed jumped"),
        (
            !changes(night.course).is_empty(),
            "solid upright line: what is measured with changed (a new block)",
        ),
    ];
    let marks: Vec<&str> = marks.iter().filter(|it| it.0).map(|it| it.1).collect();
    if !marks.is_empty() {
        text.push_str(&format!(" Marks: {}.", marks.join("; ")));
    }
    if rows::are_thin(night.rows) {
        text.push_str(" Rows without a name beside them have it on hover and focus.");
    }
    let untimed = night.phases.iter().filter(|it| it.extent.is_none()).count();
    if untimed > 0 {
        text.push_str(&format!(
            " {} without times {} not drawn.",
            counted(untimed, "launch", "launches"),
            if untimed == 1 { "is" } else { "are" }
        ));
    }
    text.push_str(&panels::caption(night.course));
    text
}

/// From when to when, and what is cut out.
fn when(night: &Night<'_>) -> String {
    let Some(clock) = Clock::new(night.ends, (0.0, 100.0)) else { return String::new() };
    let Some((from, until)) = clock.extent() else { return String::new() };
    let form = |time: Timestamp, form: &str| time.strftime(form).to_string();
    let (first, last) = (form(from, "%Y-%m-%d"), form(until, "%Y-%m-%d"));
    let end = if first == last { form(until, "%H:%M") } else { form(until, "%Y-%m-%d %H:%M") };
    let mut text = format!("{} to {end} UTC.", form(from, "%Y-%m-%d %H:%M"));
    let pauses = clock.pauses();
    if !pauses.is_empty() {
        let shown: Vec<String> = pauses.iter().take(4).map(|it| duration(*it)).collect();
        let more = if pauses.len() > 4 { ", ..." } else { "" };
        text.push_str(&format!(
            " {} cut out of the axis at //: {}{more}.",
            counted(pauses.len(), "pause without launches is", "pauses without launches are"),
            shown.join(", ")
        ));
    }
    text
}

/// Names of some configurations, the rest counted.
pub(super) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(6).map(|it| shown(it)).collect();
    let more = names.len().saturating_sub(6);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
