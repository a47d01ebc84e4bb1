//! Time to first token over the turns of a conversation, by configuration: the median over
//! a launch's repeats, then over the launches.

use super::source::{Source, metric};
use super::{TurnLine, Turns};
use crate::history::record::LaunchRecord;
use crate::history::values::kept;
use crate::metric::{MetricValue, Status};
use crate::statistics::median;

const WORKLOAD: &str = "conversation";

/// The turns; `None` where no configuration has any.
pub(super) fn turns(source: &Source<'_>) -> Option<Turns> {
    let case = source.cases(WORKLOAD).into_iter().next()?;
    let slope = source.place(&metric(WORKLOAD, &case, "ttft_slope_ms_per_turn"));
    let lines: Vec<TurnLine> = (0..source.count())
        .filter(|row| !source.is_another(*row))
        .filter_map(|row| {
            let launches: Vec<Vec<Option<f64>>> = source
                .launches(row)
                .iter()
                .map(|launch| of_launch(launch, &case))
                .filter(|turns| turns.iter().any(Option::is_some))
                .collect();
            let longest = launches.iter().map(Vec::len).max()?;
            Some(TurnLine {
                configuration: row,
                launches: launches.len(),
                turns: (0..longest).map(|turn| over_launches(&launches, turn)).collect(),
                slope: slope.and_then(|place| source.figure(row, place)),
            })
        })
        .collect();
    (!lines.is_empty()).then_some(Turns { case, lines })
}

/// The median of each turn over the repeats of a launch.
fn of_launch(launch: &LaunchRecord, case: &str) -> Vec<Option<f64>> {
    let valid = kept(launch, WORKLOAD, case).filter(|repeat| repeat.status == Status::Ok);
    let lists: Vec<&Vec<Option<f64>>> = valid
        .filter_map(|repeat| match repeat.metrics.get("ttft_by_turn_ms")? {
            Some(MetricValue::List(turns)) => Some(turns),
            _ => None,
        })
        .collect();
    let longest = lists.iter().map(|turns| turns.len()).max().unwrap_or_default();
    let at = |turn: usize| {
        let values = lists.iter().filter_map(|turns| turns.get(turn).copied().flatten());
        median(&values.filter(|value| value.is_finite()).collect::<Vec<_>>())
    };
    (0..longest).map(at).collect()
}

/// The median of the launches' medians, the least and the greatest of them.
fn over_launches(launches: &[Vec<Option<f64>>], turn: usize) -> Option<(f64, f64, f64)> {
    let values: Vec<f64> =
        launches.iter().filter_map(|turns| turns.get(turn).copied().flatten()).collect();
    let least = values.iter().copied().reduce(f64::min)?;
    let greatest = values.iter().copied().reduce(f64::max)?;
    Some((median(&values)?, least, greatest))
}
