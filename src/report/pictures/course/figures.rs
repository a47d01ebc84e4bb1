//! The table behind the night's picture: a row for each launch, with its phases and with
//! what was sampled during it.

use jiff::Timestamp;

use super::super::palette::shown;
use super::phases::Phase;
use super::{Night, panels};
use crate::results::analysis::{Quantity, Series};

/// First row headings.
pub(super) fn table(night: &Night<'_>) -> Vec<Vec<String>> {
    let sampled = panels::sampled(night.course);
    let phases = Phase::ALL.map(|it| format!("{}, s", it.name()));
    let mut heads: Vec<String> =
        ["launch", "configuration", "block", "began, UTC"].map(str::to_owned).to_vec();
    heads.extend(phases);
    heads.push("outcome".to_owned());
    for (quantity, _) in &sampled {
        let (name, unit) = panels::words(*quantity);
        heads.push(format!("{name}, {unit}: mean / greatest"));
    }
    let has_level = night.course.level.len() > 1;
    heads.extend(has_level.then(|| "machine's level [95%]".to_owned()));
    let mut rows = vec![heads];
    let mut launches: Vec<usize> = (0..night.course.launches.len()).collect();
    launches.sort_by_key(|at| night.course.launches[*at].launch);
    for at in launches {
        let (span, own) = (&night.course.launches[at], &night.phases[at]);
        let began =
            span.started.map_or("-".to_owned(), |it| it.strftime("%Y-%m-%d %H:%M:%S").to_string());
        let mut row =
            vec![span.launch.to_string(), shown(&span.name), span.block.to_string(), began];
        let seconds = |phase| own.seconds(phase).map_or("-".to_owned(), |it| format!("{it:.0}"));
        row.extend(Phase::ALL.map(seconds));
        row.push(outcome(span));
        for (quantity, series) in &sampled {
            row.push(own.extent.map_or("-".to_owned(), |extent| during(*quantity, series, extent)));
        }
        if has_level {
            row.push(own.extent.map_or("-".to_owned(), |extent| level(night, extent)));
        }
        rows.push(row);
    }
    rows
}

fn outcome(span: &crate::results::analysis::Span) -> String {
    let mut parts = Vec::new();
    match span.failure {
        Some(class) => parts.push(format!("failed: {class}")),
        None if span.unfinished => parts.push("unfinished".to_owned()),
        None => parts.push("measured".to_owned()),
    }
    if !span.failed_gates.is_empty() {
        let gates: Vec<String> = span.failed_gates.iter().map(|it| shown(it)).collect();
        parts.push(format!("gates failed: {}", gates.join(", ")));
    }
    if span.confirms {
        parts.push("confirmation".to_owned());
    }
    parts.join("; ")
}

/// Mean and greatest of the samples during a launch, over all series.
fn during(quantity: Quantity, series: &[&Series], extent: (Timestamp, Timestamp)) -> String {
    let (mut count, mut sum, mut most) = (0.0, 0.0, f64::NEG_INFINITY);
    for (time, mean, peak) in series.iter().flat_map(|it| it.points.iter().flatten()) {
        if extent.0 <= *time && *time <= extent.1 && mean.is_finite() && peak.is_finite() {
            (count, sum, most) = (count + 1.0, sum + mean, most.max(*peak));
        }
    }
    if count == 0.0 {
        return "-".to_owned();
    }
    let value = |it: f64| format!("{:.1}", panels::shown_value(quantity, it));
    format!("{} / {}", value(sum / count), value(most))
}

/// The last estimate during a launch.
fn level(night: &Night<'_>, extent: (Timestamp, Timestamp)) -> String {
    let of =
        |it: &&(Timestamp, f64, crate::statistics::Interval)| extent.0 <= it.0 && it.0 <= extent.1;
    let last = night.course.level.iter().rfind(of);
    last.map_or("-".to_owned(), |(_, value, interval)| {
        format!("{value:.3} [{:.3}, {:.3}]", interval.low, interval.high)
    })
}
