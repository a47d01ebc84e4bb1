//! The objective against another metric, and which configurations no other one beats in
//! both: the bounded metric, or the nearest one of the other kind (a latency of a
//! throughput, and the other way round).

use super::source::Source;
use super::{Pareto, ParetoPoint};
use crate::metric::{Direction, Goal, MetricRef};

/// The picture; `None` where no second metric was measured of two eligible configurations.
pub(super) fn pareto(source: &Source<'_>) -> Option<Pareto> {
    let objective = &source.record.manifest.objective;
    let x_place = source.place(&objective.metric)?;
    let bounded = objective.constraints.iter().filter_map(|bound| {
        let goal = if bound.max.is_some() { Goal::Minimize } else { Goal::Maximize };
        Some((source.place(&bound.metric)?, goal))
    });
    let mut others =
        bounded.chain(of_the_other_kind(source, x_place)).filter(|(y, _)| *y != x_place);
    let points = |(y_place, _): &(usize, Goal)| {
        let point = |row: usize| {
            let (x, y) = (source.figure(row, x_place)?, source.figure(row, *y_place)?);
            Some(ParetoPoint { configuration: row, x, y, on_front: true })
        };
        let eligible = (0..source.count()).filter(|row| source.ranking.rows[*row].eligible);
        eligible.filter_map(point).collect::<Vec<_>>()
    };
    let (other, mut points) = others.find_map(|other| {
        let points = points(&other);
        (points.len() > 1).then_some((other, points))
    })?;
    let (x_goal, y_goal) = (objective.goal, other.1);
    let beats = |a: &ParetoPoint, b: &ParetoPoint| {
        let (x, y) = (gain(a.x.value, b.x.value, x_goal), gain(a.y.value, b.y.value, y_goal));
        x >= 0.0 && y >= 0.0 && (x > 0.0 || y > 0.0)
    };
    let on_front: Vec<bool> =
        points.iter().map(|own| !points.iter().any(|other| beats(other, own))).collect();
    for (point, on_front) in points.iter_mut().zip(on_front) {
        point.on_front = on_front;
    }
    let y = source.ranking.metrics[other.0].clone();
    Some(Pareto { x: objective.metric.clone(), x_goal, y, y_goal, points })
}

/// How far the first value is on the better side of the second.
fn gain(value: f64, than: f64, goal: Goal) -> f64 {
    match goal {
        Goal::Maximize => value - than,
        Goal::Minimize => than - value,
    }
}

/// What a unit measures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Throughput,
    Latency,
    Other,
}

fn kind(metric: &MetricRef) -> Kind {
    match metric.known().map(|known| known.unit) {
        Some("ms" | "s") => Kind::Latency,
        Some(unit) if unit.ends_with("/s") => Kind::Throughput,
        _ => Kind::Other,
    }
}

/// Metrics of the other kind, the most telling one first: of the objective's own case,
/// then of its workload, then of any; usual ones first.
fn of_the_other_kind(source: &Source<'_>, objective: usize) -> Vec<(usize, Goal)> {
    const USUAL: [&str; 4] =
        ["median_ttft_ms", "output_throughput", "mean_ttft_ms", "ttft_resent_ms"];
    let metrics = &source.ranking.metrics;
    let own = &metrics[objective];
    let wanted = match kind(own) {
        Kind::Latency => [Kind::Throughput, Kind::Latency],
        Kind::Throughput | Kind::Other => [Kind::Latency, Kind::Throughput],
    };
    let goal = |metric: &MetricRef| match metric.known()?.direction {
        Direction::Lower => Some(Goal::Minimize),
        Direction::Higher => Some(Goal::Maximize),
        Direction::Neutral => None,
    };
    let mut found: Vec<_> = metrics
        .iter()
        .enumerate()
        .filter(|(at, metric)| *at != objective && metric.workload != crate::workload::LAUNCH)
        .filter_map(|(at, metric)| {
            let kind = wanted.iter().position(|it| *it == kind(metric))?;
            // Of the own kind only another workload's figure says something new.
            let is_other = metric.workload != own.workload;
            let of_kind = kind == 0 || is_other;
            let distance = (is_other, metric.case != own.case);
            let usual = USUAL.iter().position(|it| *it == metric.name).unwrap_or(USUAL.len());
            of_kind.then_some(((kind, distance, usual, at), goal(metric)?))
        })
        .collect();
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().map(|((.., at), goal)| (at, goal)).collect()
}
