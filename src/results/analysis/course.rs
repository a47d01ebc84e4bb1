//! The course of a sweep on one time axis: its launches in all blocks, the machine's
//! estimated level, and the samples that were taken. A time that is not known is left out.

use jiff::Timestamp;

use super::files::Files;
use super::series;
use super::source::Source;
use super::{Course, Records, Span};
use crate::gate::GateVerdict;
use crate::history::launch::LaunchOutcome;
use crate::history::record::LaunchRecord;
use crate::statistics::Interval;

/// The course, and what of its files could not be read.
pub(super) fn course(
    source: &Source<'_>,
    files: &Files,
    records: Option<&mut Records>,
) -> (Course, Vec<String>) {
    let launched: Vec<(u32, &LaunchRecord)> = source
        .record
        .all_launches()
        .filter(|(_, launch)| !matches!(launch.outcome, Some(LaunchOutcome::Skipped { .. })))
        .collect();
    let launches: Vec<Span> =
        launched.iter().map(|(block, launch)| span(source, *block, launch)).collect();
    let (series, notes) = series::series(&launches, &launched, files, records);
    let machine = source.ranking.machine.as_ref();
    let jumps = machine.into_iter().flat_map(|it| &it.jumps).filter_map(|jump| jump.at);
    (Course { launches, level: level(source), jumps: jumps.collect(), series }, notes)
}

/// The machine's level where times are known.
fn level(source: &Source<'_>) -> Vec<(Timestamp, f64, Interval)> {
    let levels = source.ranking.course.iter().flat_map(|course| &course.levels);
    let at = levels.filter_map(|it| {
        let band = Interval::around(it.level, it.error, f64::INFINITY);
        Some((it.at?, it.level.exp(), band.exp()))
    });
    at.collect()
}

fn span(source: &Source<'_>, block: u32, launch: &LaunchRecord) -> Span {
    let facts = launch.facts.as_ref();
    let failure = match &launch.outcome {
        Some(LaunchOutcome::Failed(failure)) if !failure.cancelled => Some(failure.class.as_str()),
        _ => None,
    };
    let is_cancelled =
        matches!(&launch.outcome, Some(LaunchOutcome::Failed(failure)) if failure.cancelled);
    let has_end = launch.outcome.as_ref().is_some_and(LaunchOutcome::is_settled);
    let failed = launch.gates.iter().filter(|gate| gate.verdict == GateVerdict::Failed);
    Span {
        launch: launch.launch,
        block,
        name: launch.configuration.clone(),
        configuration: source.row_of(&launch.configuration),
        confirms: launch.confirmation.is_some(),
        started: launch.started_at.or_else(|| facts?.started_at.parse().ok()),
        ready: launch.ready_at,
        warm: warm(launch),
        measured: launch.measured_at.last().copied(),
        ended: launch.ended_at,
        failure,
        failed_gates: failed.map(|report| report.gate.to_string()).collect(),
        unfinished: is_cancelled || !has_end,
    }
}

/// When what came before the first kept repeat was over: a warm-up, or without one the
/// boot, where no gate followed it.
fn warm(launch: &LaunchRecord) -> Option<Timestamp> {
    let first = launch.measurements.iter().position(|repeat| repeat.repeat >= 1)?;
    match first.checked_sub(1) {
        Some(before) => launch.measured_at.get(before).copied(),
        None => launch.ready_at.filter(|_| launch.gates.is_empty()),
    }
}
