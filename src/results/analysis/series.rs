//! Samples over the time of a sweep: from each launch's `telemetry.parquet`, thinned out
//! while they are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use jiff::Timestamp;
use polars::prelude::{
    Column, DataFrame, DataType, Float64Chunked, ParallelStrategy, ParquetReader, PolarsResult,
    SerReader,
};

use super::files::{Files, Unread, parallel};
use super::seen::{Around, Key, OfLaunch};
use super::{Quantity, Records, Series, Span};
use crate::history::record::LaunchRecord;

/// Points of one series at most, gaps included.
const POINTS: usize = 600;

const AT: &str = "at_unix_ms";
const GPU: &str = "gpu.index";
/// Columns with the quantity that each has.
const READ: [(&str, Quantity); 5] = [
    ("host.cpu", Quantity::HostCpu),
    ("gpu.memory_bytes", Quantity::GpuMemory),
    ("gpu.power_w", Quantity::GpuPower),
    ("gpu.temperature_c", Quantity::GpuTemperature),
    ("server.kv_cache_usage", Quantity::KvUsage),
];

/// The series, and what could not be read. `spans` and `launches` are parallel.
pub(super) fn series(
    spans: &[Span],
    launches: &[(u32, &LaunchRecord)],
    files: &Files,
    records: Option<&mut Records>,
) -> (Vec<Series>, Vec<String>) {
    if files.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let shares = shares(spans);
    let path = |at: usize| files.telemetry(spans[at].launch);
    let read = |at: usize| of_launch(&path(at)?, shares[at]).ok();
    let read: Vec<_> = match records {
        None => parallel(spans.len(), |at| (read(at), path(at))),
        Some(records) => (0..spans.len())
            .map(|at| {
                let is_over = launches[at].1.is_over();
                (records.samples_of(spans[at].launch, shares[at], is_over, || read(at)), path(at))
            })
            .collect(),
    };
    let mut unread = Unread::default();
    let mut all: BTreeMap<Key, Vec<Vec<Around>>> = BTreeMap::new();
    for ((found, path), (_, launch)) in read.into_iter().zip(launches) {
        match found {
            Some(found) => {
                for (key, points) in found {
                    all.entry(key).or_default().push(points);
                }
            }
            // One that never became ready has none.
            None if launch.measurements.is_empty()
                && !path.as_deref().is_some_and(Path::exists) => {}
            None => unread.count(path.as_deref()),
        }
    }
    let made = all.into_iter().map(|(key, launches)| Series {
        name: name(key),
        quantity: key.0,
        points: joined(launches),
    });
    (made.collect(), unread.notes("telemetry"))
}

impl Records {
    /// The samples of a launch around so many times: those that are known, else as `read`. A
    /// launch's part of the time becomes less as others follow it.
    fn samples_of(
        &mut self,
        launch: u32,
        points: usize,
        is_over: bool,
        read: impl FnOnce() -> Option<BTreeMap<Key, Vec<Around>>>,
    ) -> Option<BTreeMap<Key, Vec<Around>>> {
        if let Some(known) = self.samples.get(&launch).filter(|it| it.points >= points) {
            let thin = |(key, all): (&Key, &Vec<Around>)| {
                let each = all.len().div_ceil(points).max(1);
                let merged =
                    all.chunks(each).filter_map(|it| it.iter().copied().reduce(Around::with));
                (*key, merged.collect())
            };
            return Some(known.series.iter().map(thin).collect());
        }
        let series = read()?;
        self.files += 1;
        if is_over {
            self.samples.insert(launch, OfLaunch { points, series: series.clone() });
        }
        Some(series)
    }
}

fn name((quantity, gpu): Key) -> String {
    match quantity {
        Quantity::HostCpu => "host CPU".to_owned(),
        Quantity::GpuMemory => format!("GPU {gpu} memory"),
        Quantity::GpuPower => format!("GPU {gpu} power"),
        Quantity::GpuTemperature => format!("GPU {gpu} temperature"),
        Quantity::KvUsage => "KV cache".to_owned(),
    }
}

/// Points of each launch: as many as its part of the time, and at least one.
fn shares(spans: &[Span]) -> Vec<usize> {
    let seconds = |span: &Span| {
        let until = span.ended.or(span.measured)?;
        Some(until.duration_since(span.started?).as_secs_f64().max(0.0))
    };
    // Each launch adds one point at least, and a gap behind it.
    let points = POINTS.saturating_sub(2 * spans.len()) as f64;
    let known: Vec<Option<f64>> = spans.iter().map(seconds).collect();
    let sum: f64 = known.iter().flatten().sum();
    let typical = sum / known.iter().flatten().count().max(1) as f64;
    let all: f64 = known.iter().map(|it| it.unwrap_or(typical)).sum();
    let share = |it: &Option<f64>| {
        let part = if all > 0.0 { it.unwrap_or(typical) / all } else { 1.0 / known.len() as f64 };
        ((points * part) as usize).max(1)
    };
    known.iter().map(share).collect()
}

/// The samples of one launch, around so many times.
fn of_launch(path: &Path, points: usize) -> PolarsResult<BTreeMap<Key, Vec<Around>>> {
    let frame = read(path)?;
    let numbers = |name: &str| -> PolarsResult<Option<Float64Chunked>> {
        // A column of an older version, or of another machine, may not be there.
        let Ok(column): Result<&Column, _> = frame.column(name) else { return Ok(None) };
        Ok(Some(column.cast(&DataType::Float64)?.f64()?.clone()))
    };
    let Some(times) = numbers(AT)? else { return Ok(BTreeMap::new()) };
    let (Some(first), Some(last)) = (least(&times), greatest(&times)) else {
        return Ok(BTreeMap::new());
    };
    let gpus = numbers(GPU)?;
    let place = |at: f64| {
        let part = if last > first { (at - first) / (last - first) } else { 0.0 };
        ((part * points as f64) as usize).min(points - 1)
    };
    let mut found: BTreeMap<Key, Vec<Option<Around>>> = BTreeMap::new();
    for (column, quantity) in READ {
        let Some(values) = numbers(column)? else { continue };
        let is_of_gpu = column.starts_with("gpu.");
        for row in 0..frame.height() {
            let (Some(at), Some(value)) = (times.get(row), values.get(row)) else { continue };
            let gpu = gpus.as_ref().filter(|_| is_of_gpu).and_then(|it| it.get(row));
            let key = (quantity, gpu.unwrap_or_default() as u32);
            let cells = found.entry(key).or_insert_with(|| vec![None; points]);
            let own = Around { at, mean: value, most: value, samples: 1.0 };
            let cell = &mut cells[place(at)];
            *cell = Some(cell.map_or(own, |it| it.with(own)));
        }
    }
    Ok(found.into_iter().map(|(key, it)| (key, it.into_iter().flatten().collect())).collect())
}

fn least(numbers: &Float64Chunked) -> Option<f64> {
    numbers.iter().flatten().reduce(f64::min)
}

fn greatest(numbers: &Float64Chunked) -> Option<f64> {
    numbers.iter().flatten().reduce(f64::max)
}

fn read(path: &Path) -> PolarsResult<DataFrame> {
    let open = || -> PolarsResult<File> {
        Ok(crate::input::open(path, u64::MAX).map_err(std::io::Error::from)?)
    };
    let mut reader = ParquetReader::new(open()?);
    let schema = reader.schema()?;
    let wanted = [AT, GPU].into_iter().chain(READ.iter().map(|(column, _)| *column));
    let columns = wanted.filter(|name| schema.contains(name)).map(str::to_owned).collect();
    reader.read_parallel(ParallelStrategy::None).with_columns(Some(columns)).finish()
}

impl Around {
    /// Both together.
    fn with(self, other: Self) -> Self {
        let samples = self.samples + other.samples;
        let mean = |a: f64, b: f64| (a * self.samples + b * other.samples) / samples;
        Self {
            at: mean(self.at, other.at),
            mean: mean(self.mean, other.mean),
            most: self.most.max(other.most),
            samples,
        }
    }

    fn point(self) -> Option<(Timestamp, f64, f64)> {
        let at = Timestamp::from_millisecond(self.at as i64).ok()?;
        Some((at, self.mean, self.most))
    }
}

/// One launch behind the other, with a gap between; of very many launches without gaps.
fn joined(launches: Vec<Vec<Around>>) -> Vec<Option<(Timestamp, f64, f64)>> {
    let count: usize = launches.iter().map(|it| it.len() + 1).sum();
    if count > POINTS {
        let all: Vec<Around> = launches.into_iter().flatten().collect();
        let each = all.len().div_ceil(POINTS);
        let merged = all.chunks(each).filter_map(|it| it.iter().copied().reduce(Around::with));
        return merged.filter_map(Around::point).map(Some).collect();
    }
    let mut points = Vec::with_capacity(count);
    for launch in launches.into_iter().filter(|it| !it.is_empty()) {
        if !points.is_empty() {
            points.push(None);
        }
        points.extend(launch.into_iter().filter_map(Around::point).map(Some));
    }
    points
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
