//! Which values of a metric count. The loop's observations and the results are
//! computed from the same ones; what the values mean is not decided here.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::record::{LaunchRecord, Manifest};
use crate::metric::{Measurement, MetricRef, MetricValue, MetricValues, Status};
use crate::workload::Workload;

/// The one case that a reference means; `None` where it names none and there
/// are several.
pub fn case_of(manifest: &Manifest, metric: &MetricRef) -> Option<String> {
    if let Some(case) = &metric.case {
        return Some(case.clone());
    }
    let workloads = manifest.workloads.iter();
    // A launch has no cases, and belongs to no workload: one empty text.
    let of_metric = workloads.filter(|workload| workload.kind().key == metric.workload);
    let cases: BTreeSet<String> = of_metric.flat_map(Workload::cases).collect();
    (cases.len() <= 1).then(|| cases.into_iter().next().unwrap_or_default())
}

/// The kept repeats of a case, whatever became of them: no warm-ups. Of `launch` it is the
/// one measurement of the launch itself.
/// `workload` is in column spelling.
pub fn kept<'a>(
    launch: &'a LaunchRecord,
    workload: &str,
    case: &str,
) -> impl Iterator<Item = &'a Measurement> {
    launch
        .measurements
        .iter()
        .chain(&launch.own)
        .filter(move |known| known.repeat >= 1 && known.case == case && known.is_of(workload))
}

/// The same, each with the time at which it was journalled, where that is known.
pub fn timed<'a>(
    launch: &'a LaunchRecord,
    workload: &str,
    case: &str,
) -> impl Iterator<Item = (Option<jiff::Timestamp>, &'a Measurement)> {
    let repeats = launch.measurements.iter().enumerate();
    let repeats = repeats.map(|(at, known)| (launch.measured_at.get(at).copied(), known));
    let own = launch.own.iter().map(|known| (launch.ready_at, known));
    repeats
        .chain(own)
        .filter(move |(_, known)| known.repeat >= 1 && known.case == case && known.is_of(workload))
}

/// The value of a metric, where it counts: the measurement is valid, and has one.
pub fn value(measurement: &Measurement, name: &str) -> Option<f64> {
    number(measurement, name).filter(|_| measurement.status == Status::Ok)
}

/// A number that was measured, whatever the measurement's status.
pub fn number(measurement: &Measurement, name: &str) -> Option<f64> {
    match measurement.metrics.get(name)? {
        Some(MetricValue::Number(value)) if value.is_finite() => Some(*value),
        _ => None,
    }
}

/// Names that are looked for in many measurements, in their order, and a number of each.
pub type Sought<'n> = [(&'n str, usize)];

/// Passes each metric of a measurement to `take`, with the number of its name where that is one
/// of `sought` (a name that is there twice comes twice). Both are in the order of the names: one
/// walk compares each once, where a look-up for each would compare many.
pub fn each<'m>(
    metrics: &'m MetricValues,
    sought: &Sought<'_>,
    mut take: impl FnMut(Option<usize>, &'m str, Option<&'m MetricValue>),
) {
    let mut rest = sought;
    for (name, value) in metrics {
        let mut is_sought = false;
        while let Some(((next, number), behind)) = rest.split_first() {
            let order = (*next).cmp(name.as_str());
            if order == Ordering::Greater {
                break;
            }
            if order == Ordering::Equal {
                is_sought = true;
                take(Some(*number), name, value.as_ref());
            }
            rest = behind;
        }
        if !is_sought {
            take(None, name, value.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat(repeat: u32, case: &str, status: Status, value: f64) -> Measurement {
        let metrics = [("ttft_ms".to_owned(), Some(MetricValue::Number(value)))].into();
        let (workload, case) = ("kv-cache".to_owned(), case.to_owned());
        Measurement {
            workload,
            case,
            repeat,
            status,
            reason: None,
            metrics,
            metric_reasons: crate::metric::MetricReasons::new(),
        }
    }

    #[test]
    fn a_walk_finds_what_look_ups_find() {
        let metrics = crate::metric::numbers([("b", Some(2.0)), ("d", None), ("e", Some(5.0))]);
        let found = |sought: &Sought<'_>| {
            let mut found = Vec::new();
            each(&metrics, sought, |number, name, value| {
                found.push((number, name.to_owned(), value.is_some()));
            });
            found
        };
        let of = |number, name: &str, has| (number, name.to_owned(), has);
        let none = [of(None, "b", true), of(None, "d", false), of(None, "e", true)];
        assert_eq!(found(&[]), none);
        assert_eq!(found(&[("a", 0), ("c", 1), ("z", 2)]), none);
        let some = [of(Some(7), "b", true), of(Some(9), "d", false), of(None, "e", true)];
        assert_eq!(found(&[("b", 7), ("c", 8), ("d", 9)]), some);
        let twice = [of(None, "b", true), of(None, "d", false), of(Some(1), "e", true)];
        assert_eq!(found(&[("e", 1), ("e", 2)])[..3], twice);
        assert_eq!(found(&[("e", 1), ("e", 2)])[3], of(Some(2), "e", true));
    }

    #[test]
    fn a_value_counts_where_it_is_valid_finite_of_the_case_and_of_no_warm_up() {
        let measurements = vec![
            repeat(0, "a", Status::Ok, 1.0),
            repeat(1, "a", Status::Ok, 2.0),
            repeat(2, "a", Status::Void, 3.0),
            repeat(3, "a", Status::Ok, f64::NAN),
            repeat(1, "b", Status::Ok, 5.0),
        ];
        let launch = LaunchRecord { measurements, ..LaunchRecord::default() };
        let values: Vec<_> =
            kept(&launch, "kv_cache", "a").map(|known| value(known, "ttft_ms")).collect();
        assert_eq!(values, [Some(2.0), None, None]);
        assert_eq!(kept(&launch, "kv-cache", "a").count(), 0, "the column's spelling is asked for");
        assert_eq!(value(&launch.measurements[1], "other"), None);
    }
}
