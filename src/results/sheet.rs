//! The values of all metrics of a ranking, read from its repeats in one pass: a long sweep has
//! hundreds of thousands of them. Which repeats and which values count is as in
//! [`crate::history::values`].

use super::arm::Arm;
use crate::history::record::{LaunchRecord, Manifest};
use crate::history::values::{case_of, each};
use crate::metric::{MetricRef, MetricValue, Status};
use crate::statistics::GroupedValues;

/// The values of one metric.
#[derive(Debug)]
pub(super) struct Read<'m> {
    pub(super) metric: &'m MetricRef,
    /// The case that it is of; `None` where it names none and there are several.
    pub(super) case: Option<String>,
    /// As far as there is a case.
    pub(super) by_arm: Option<Vec<GroupedValues>>,
}

/// A workload's case, and the metrics that are looked for in its repeats.
struct Place<'m> {
    /// In column spelling.
    workload: &'m str,
    case: String,
    /// In their order, with their places among all metrics.
    names: Vec<(&'m str, usize)>,
}

/// The values of each of these metrics: status ok, no warm-up, measured.
pub(super) fn read<'m>(
    manifest: &Manifest,
    arms: &[Arm<'_>],
    metrics: &'m [MetricRef],
) -> Vec<Read<'m>> {
    let of_metric = |metric| {
        let case = case_of(manifest, metric);
        let by_arm = case.is_some().then(Vec::new);
        Read { metric, case, by_arm }
    };
    let mut read: Vec<Read<'_>> = metrics.iter().map(of_metric).collect();
    let places = places(&read);
    for arm in arms {
        let mut launches: Vec<Vec<Vec<f64>>> =
            arm.launches.iter().map(|launch| of_launch(launch, &places, metrics.len())).collect();
        for (at, read) in read.iter_mut().enumerate() {
            let Some(by_arm) = &mut read.by_arm else { continue };
            let values = launches.iter_mut().map(|it| std::mem::take(&mut it[at]));
            by_arm.push(GroupedValues::new(values.collect()));
        }
    }
    read
}

/// The same of one metric.
pub(super) fn read_one<'m>(
    manifest: &Manifest,
    arms: &[Arm<'_>],
    metric: &'m MetricRef,
) -> Read<'m> {
    let read = read(manifest, arms, std::slice::from_ref(metric)).into_iter().next();
    read.unwrap_or(Read { metric, case: None, by_arm: None })
}

fn places<'m>(read: &[Read<'m>]) -> Vec<Place<'m>> {
    let mut places: Vec<Place<'_>> = Vec::new();
    for (at, Read { metric, case, .. }) in read.iter().enumerate() {
        let Some(case) = case else { continue };
        let name = (metric.name.as_str(), at);
        let is_same = |it: &&mut Place<'_>| it.workload == metric.workload && it.case == *case;
        match places.iter_mut().find(is_same) {
            Some(place) => place.names.push(name),
            None => places.push(Place {
                workload: &metric.workload,
                case: case.clone(),
                names: vec![name],
            }),
        }
    }
    for place in &mut places {
        place.names.sort_unstable();
    }
    places
}

/// The values of one launch, by metric.
fn of_launch(launch: &LaunchRecord, places: &[Place<'_>], metrics: usize) -> Vec<Vec<f64>> {
    let mut found = vec![Vec::new(); metrics];
    let repeats = launch.measurements.iter().chain(&launch.own);
    for repeat in repeats.filter(|it| it.repeat >= 1 && it.status == Status::Ok) {
        let is_of = |place: &&Place<'_>| repeat.case == place.case && repeat.is_of(place.workload);
        let Some(place) = places.iter().find(is_of) else { continue };
        each(&repeat.metrics, &place.names, |at, _, value| match (at, value) {
            (Some(at), Some(MetricValue::Number(value))) if value.is_finite() => {
                found[at].push(*value);
            }
            _ => {}
        });
    }
    found
}
