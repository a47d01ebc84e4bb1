//! Distributions of the times to first token, from the records of requests: by workload,
//! case and configuration, kept valid repeats only. Each file is read once, the columns that
//! are needed; of a long sweep a random part of the values is kept. What [`Records`] has of an
//! earlier analysis is not read again.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use polars::prelude::{DataFrame, ParallelStrategy, ParquetReader, PolarsResult, SerReader};

use super::files::{Files, Unread, parallel};
use super::reservoir::Reservoir;
use super::seen::{Kept, room};
use super::source::Source;
use super::{Curve, Distribution, Records};
use crate::history::record::LaunchRecord;
use crate::metric::{Measurement, Status};
use crate::workload::{LoadCase, Spec, Workload};

/// Values that are kept of one curve.
const KEPT: usize = 10_000;

/// Requests that no metric is made of.
const ASIDE: [&str; 3] = ["calibration", "connection", "outage"];

const COLUMNS: [&str; 5] = ["purpose", "scheduled_ns", "sent_ns", "first_token_ns", "error_class"];

/// A workload's case, and what is measured of its requests.
struct Place<'a> {
    workload: &'a Workload,
    case: String,
    quantities: &'static [Quantity],
}

/// What is measured of requests.
struct Quantity {
    name: &'static str,
    /// The purpose that its requests have; `None`: any.
    purpose: Option<&'static str>,
    /// From the schedule of an open loop in place of the send.
    from_schedule: bool,
}

const fn of_purpose(name: &'static str, purpose: &'static str) -> Quantity {
    Quantity { name, purpose: Some(purpose), from_schedule: false }
}

const SENT: &[Quantity] =
    &[Quantity { name: "time to first token", purpose: None, from_schedule: false }];
const SCHEDULED: &[Quantity] = &[Quantity {
    name: "time to first token from the schedule",
    purpose: None,
    from_schedule: true,
}];
const CACHE: &[Quantity] = &[
    of_purpose("time to first token, sent for the first time", "miss"),
    of_purpose("time to first token, sent again", "resent"),
    of_purpose("time to first token, unrelated", "independent"),
];

/// The distributions, in the order of the grid's workloads, and what could not be read.
pub(super) fn distributions(
    source: &Source<'_>,
    files: &Files,
    records: Option<&mut Records>,
) -> (Vec<Distribution>, Vec<String>) {
    let places = places(source);
    let rows: Vec<usize> = (0..source.count()).filter(|row| !source.is_another(*row)).collect();
    if files.is_empty() {
        let has_values = source.record.launches.iter().any(|it| !it.measurements.is_empty());
        let note = "the sweep's folder has no launches: what is made of records and telemetry is \
                    left out";
        return (Vec::new(), has_values.then(|| note.to_owned()).into_iter().collect());
    }
    let read = match records {
        None => parallel(rows.len(), |at| {
            let mut kept = empty(source, &places, rows[at], KEPT);
            Row::read(source, files, &places, rows[at], &mut kept)
        }),
        Some(records) => again(source, files, &places, &rows, records),
    };
    let mut unread = Unread::default();
    let mut lost = 0;
    let mut found: Vec<Distribution> = places
        .iter()
        .flat_map(|place| place.quantities.iter().map(move |it| (place, it)))
        .map(|(place, quantity)| Distribution {
            workload: place.workload.kind().name.to_owned(),
            case: place.case.clone(),
            quantity: quantity.name,
            unit: "ms",
            curves: Vec::new(),
        })
        .collect();
    for row in read {
        unread.add(row.unread);
        lost += row.without_median;
        for (distribution, curve) in found.iter_mut().zip(row.curves) {
            distribution.curves.extend(curve);
        }
    }
    found.retain(|it| !it.curves.is_empty());
    let mut notes = unread.notes("records");
    if lost > 0 {
        let what = if lost == 1 { "distribution is" } else { "distributions are" };
        notes.push(format!("{lost} {what} left out: half of the requests or more failed"));
    }
    (found, notes)
}

/// The rows, where an earlier analysis of the sweep may have read most of their files.
fn again(
    source: &Source<'_>,
    files: &Files,
    places: &[Place<'_>],
    rows: &[usize],
    records: &mut Records,
) -> Vec<Row> {
    let quantities: usize = places.iter().map(|it| it.quantities.len()).sum();
    let room = room(source.arms.len() * quantities, KEPT);
    let name = |row: usize| source.ranking.rows[row].name.as_str();
    // What became another configuration's has no curve any more.
    records.requests.retain(|known, _| rows.iter().any(|row| name(*row) == known));
    let mut read = Vec::new();
    for &row in rows {
        let kept = records.requests.entry(name(row).to_owned());
        let kept = kept.or_insert_with(|| empty(source, places, row, room));
        let one = Row::read(source, files, places, row, kept);
        records.files += one.files;
        read.push(one);
    }
    read
}

/// Nothing yet of any place.
fn empty(source: &Source<'_>, places: &[Place<'_>], row: usize, room: usize) -> Vec<Kept> {
    // A row's place in the ranking changes with each launch.
    let seed = source.arm_index(row).unwrap_or(row);
    let kept = |place: &Place<'_>| Kept {
        repeats: BTreeSet::new(),
        values: place.quantities.iter().map(|_| Reservoir::new(seed, room)).collect(),
    };
    places.iter().map(kept).collect()
}

fn places<'a>(source: &Source<'a>) -> Vec<Place<'a>> {
    let mut places: Vec<Place<'a>> = Vec::new();
    for workload in &source.record.manifest.workloads {
        for case in workload.cases() {
            let quantities = match &workload.spec {
                // Its program sends the requests: there are no records.
                Spec::Command(_) => continue,
                Spec::KvCache(_) => CACHE,
                Spec::Load(load) => match load.case(&case) {
                    Some(LoadCase::Rate(_)) => SCHEDULED,
                    // Many rates in one repeat.
                    Some(LoadCase::MaxRate) => continue,
                    _ => SENT,
                },
                _ => SENT,
            };
            let is_known =
                |it: &Place<'_>| it.workload.kind().key == workload.kind().key && it.case == case;
            if !places.iter().any(is_known) {
                places.push(Place { workload, case, quantities });
            }
        }
    }
    places
}

/// What was read of one configuration.
struct Row {
    /// By place and quantity.
    curves: Vec<Option<Curve>>,
    unread: Unread,
    /// Curves that are left out, since half of their requests failed.
    without_median: usize,
    /// Files that were read.
    files: usize,
}

impl Row {
    /// Adds to `kept` what it lacks; it has an element for each place.
    fn read(
        source: &Source<'_>,
        files: &Files,
        places: &[Place<'_>],
        row: usize,
        kept: &mut [Kept],
    ) -> Self {
        let mut this =
            Self { curves: Vec::new(), unread: Unread::default(), without_median: 0, files: 0 };
        for (place, kept) in places.iter().zip(kept) {
            let repeats = || {
                source
                    .launches(row)
                    .iter()
                    .flat_map(|launch| valid(launch, place).map(move |it| (*launch, it)))
            };
            let wanted: BTreeSet<(u32, u32)> =
                repeats().map(|(launch, it)| (launch.launch, it.repeat)).collect();
            // What counted may not count any more.
            if !kept.repeats.is_subset(&wanted) {
                kept.repeats.clear();
                kept.values.iter_mut().for_each(Reservoir::clear);
            }
            for (launch, repeat) in repeats() {
                let key = (launch.launch, repeat.repeat);
                if kept.repeats.contains(&key) {
                    continue;
                }
                let path = files.records(launch, repeat);
                let requests = path.as_deref().and_then(|path| Requests::read(path).ok());
                let Some(requests) = requests else {
                    this.unread.count(path.as_deref());
                    continue;
                };
                requests.into_all(place.quantities, &mut kept.values);
                kept.repeats.insert(key);
                this.files += 1;
            }
            for reservoir in &kept.values {
                let has_requests = reservoir.seen + reservoir.lost > 0;
                let curve = reservoir.curve(row);
                this.without_median += usize::from(has_requests && curve.is_none());
                this.curves.push(curve);
            }
        }
        this
    }
}

/// The repeats of a place that count.
fn valid<'l>(launch: &'l LaunchRecord, place: &Place<'_>) -> impl Iterator<Item = &'l Measurement> {
    let (key, case) = (place.workload.kind().key, place.case.clone());
    launch.measurements.iter().filter(move |it| {
        it.repeat >= 1 && it.status == Status::Ok && it.case == case && it.is_of(key)
    })
}

/// The requests of one repeat.
struct Requests {
    frame: DataFrame,
}

impl Requests {
    fn read(path: &Path) -> PolarsResult<Self> {
        let file: File = crate::input::open(path, u64::MAX).map_err(std::io::Error::from)?;
        let columns = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
        let reader = ParquetReader::new(file);
        // Many small files: threads are one level above.
        let reader = reader.read_parallel(ParallelStrategy::None).with_columns(Some(columns));
        let requests = Self { frame: reader.finish()? };
        // What is of another type is no file of ours.
        requests.each(|_, _, _, _, _| {})?;
        Ok(requests)
    }

    /// Purpose, schedule, send, first token, and whether each failed.
    fn each(&self, mut take: impl FnMut(&str, u64, u64, Option<u64>, bool)) -> PolarsResult<()> {
        let purpose = self.frame.column("purpose")?.str()?;
        let scheduled = self.frame.column("scheduled_ns")?.u64()?;
        let sent = self.frame.column("sent_ns")?.u64()?;
        let first = self.frame.column("first_token_ns")?.u64()?;
        let error = self.frame.column("error_class")?.str()?;
        for row in 0..self.frame.height() {
            // What lacks its token counts did answer.
            let failed = error.get(row).is_some_and(|class| class != "missing_usage");
            let (Some(scheduled), Some(sent)) = (scheduled.get(row), sent.get(row)) else {
                continue;
            };
            take(purpose.get(row).unwrap_or_default(), scheduled, sent, first.get(row), failed);
        }
        Ok(())
    }

    fn into_all(self, quantities: &[Quantity], kept: &mut [Reservoir]) {
        // Reading it has succeeded once.
        let _ = self.each(|purpose, scheduled, sent, first, failed| {
            if ASIDE.contains(&purpose) {
                return;
            }
            let fits = |it: &Quantity| it.purpose.is_none_or(|wanted| wanted == purpose);
            let Some(at) = quantities.iter().position(fits) else { return };
            let since = if quantities[at].from_schedule { scheduled } else { sent };
            match first.filter(|_| !failed) {
                Some(first) => kept[at].add(first.saturating_sub(since) as f64 / 1e6),
                None => kept[at].lost += 1,
            }
        });
    }
}

#[cfg(test)]
#[path = "distributions_tests.rs"]
mod tests;
