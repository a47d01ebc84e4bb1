//! What a person who waits wants to know of the sweep so far: what a launch gave of the
//! objective, its configuration's place, which bounds it broke, and which repeats lack a
//! value that is asked for. Pure. It claims nothing: what differs is said by `results`.

use std::fmt;

use crate::clean::counted;
use crate::history::journal::Entry;
use crate::history::launch::{Behind, LaunchOutcome};
use crate::history::record::{LaunchRecord, Manifest, SweepRecord};
use crate::history::values::{case_of, kept, value};
use crate::metric::{Constraint, Goal, Measurement, MetricRef, Scale, Status};

/// What a launch gave of what the grid asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Number of the launch.
    pub launch: u32,
    /// Its configuration's name.
    pub configuration: String,
    /// The objective.
    pub metric: MetricRef,
    /// Mean of the launch's kept repeats: the geometric one of ratios that are all
    /// positive. `None` where no repeat has a value.
    pub value: Option<f64>,
    /// Where its configuration is so far.
    pub place: Option<Place>,
    /// Bounds that the launch's means are outside of.
    pub broken: Vec<BrokenBound>,
}

/// A configuration's place by the mean of all its launches so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1; equal ones share the better place.
    pub place: usize,
    /// Configurations that have a value so far.
    pub of: usize,
}

/// A bound and a launch's mean that is outside of it.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokenBound {
    /// The bound.
    pub bound: Constraint,
    /// The mean.
    pub value: f64,
}

/// A kept repeat that ended well and has no value of what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingValue {
    /// Number of the launch.
    pub launch: u32,
    /// Number of the repeat in it.
    pub repeat: u32,
    /// The objective, or a bounded metric.
    pub metric: MetricRef,
    /// Why, where it is known.
    pub reason: Option<String>,
}

/// A launch that is clearly behind, and measures no further repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct BehindBest {
    /// Number of the launch.
    pub launch: u32,
    /// The objective.
    pub metric: MetricRef,
    /// What is journalled of it.
    pub behind: Behind,
    /// Best mean of another configuration so far, where there is one.
    pub best: Option<f64>,
    /// Kept repeats of each case that were asked for.
    pub of: u32,
}

impl BehindBest {
    /// What an entry says of it.
    pub(super) fn after(record: &SweepRecord, entry: &Entry) -> Option<Self> {
        let Entry::LaunchShortened { launch, behind } = entry else { return None };
        let own = record.launches.iter().rfind(|it| it.launch == *launch)?;
        let manifest = &record.manifest;
        let others = manifest.configurations.iter().filter(|it| it.name != own.configuration);
        let better = match manifest.objective.goal {
            Goal::Minimize => f64::min,
            Goal::Maximize => f64::max,
        };
        Some(Self {
            launch: *launch,
            metric: manifest.objective.metric.clone(),
            behind: *behind,
            best: others.filter_map(|it| mean_of(record, &it.name)).reduce(better),
            of: own.repeats.unwrap_or_else(|| manifest.strategy.repeats()),
        })
    }
}

impl Standing {
    /// What a launch gave, with its configuration's place among the launches so far.
    pub fn of(record: &SweepRecord, launch: u32) -> Option<Self> {
        let manifest = &record.manifest;
        let own = record.launches.iter().rfind(|it| it.launch == launch)?;
        let metric = &manifest.objective.metric;
        let of_own = |metric: &MetricRef| mean(metric, &values(manifest, own, metric));
        let bounds = manifest.objective.constraints.iter();
        let broken = bounds.filter_map(|bound| {
            let value = of_own(&bound.metric)?;
            let low = bound.min.is_some_and(|min| value < min);
            let high = bound.max.is_some_and(|max| value > max);
            (low || high).then(|| BrokenBound { bound: bound.clone(), value })
        });
        let value = of_own(metric);
        // Why a launch failed is said already.
        if value.is_none() && own.outcome != Some(LaunchOutcome::Measured) {
            return None;
        }
        Some(Self {
            launch,
            configuration: own.configuration.clone(),
            metric: metric.clone(),
            value,
            place: own.confirmation.is_none().then(|| place(record, &own.configuration)).flatten(),
            broken: broken.collect(),
        })
    }
}

/// What is to be reported of an entry that was journalled.
pub(super) fn missing_after(record: &SweepRecord, entry: &Entry) -> Vec<MissingValue> {
    let Entry::RepeatFinished { launch, measurement } = entry else { return Vec::new() };
    // What is not `ok` is shown with its reason anyway.
    if measurement.repeat == 0 || measurement.status != Status::Ok {
        return Vec::new();
    }
    let objective = &record.manifest.objective;
    let bounded = objective.constraints.iter().map(|bound| &bound.metric);
    let mut missing: Vec<MissingValue> = Vec::new();
    for metric in std::iter::once(&objective.metric).chain(bounded) {
        let is_its = measurement.workload_key() == metric.workload
            && case_of(&record.manifest, metric).as_deref() == Some(&measurement.case);
        if is_its
            && value(measurement, &metric.name).is_none()
            && !missing.iter().any(|known| known.metric == *metric)
        {
            missing.push(MissingValue {
                launch: *launch,
                repeat: measurement.repeat,
                metric: metric.clone(),
                reason: reason(measurement, &metric.name),
            });
        }
    }
    missing
}

/// The launch that an entry ended after it was measured, in whole or in part.
pub(super) fn ended(entry: &Entry) -> Option<u32> {
    match entry {
        Entry::LaunchEnded { outcome: LaunchOutcome::Skipped { .. }, .. } => None,
        Entry::LaunchEnded { launch, .. } => Some(*launch),
        _ => None,
    }
}

/// Why a metric has no value: its own reason, or the repeat's.
fn reason(measurement: &Measurement, metric: &str) -> Option<String> {
    measurement.metric_reasons.get(metric).or(measurement.reason.as_ref()).cloned()
}

/// Values of a launch's kept repeats.
fn values(manifest: &Manifest, launch: &LaunchRecord, metric: &MetricRef) -> Vec<f64> {
    let Some(case) = case_of(manifest, metric) else { return Vec::new() };
    kept(launch, &metric.workload, &case).filter_map(|it| value(it, &metric.name)).collect()
}

fn mean(metric: &MetricRef, values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let ratios = metric.known().is_none_or(|known| known.scale == Scale::Ratios);
    Some(if ratios && values.iter().all(|value| *value > 0.0) {
        (values.iter().map(|value| value.ln()).sum::<f64>() / n).exp()
    } else {
        values.iter().sum::<f64>() / n
    })
}

/// Where a configuration is by the means of all that have values.
fn place(record: &SweepRecord, configuration: &str) -> Option<Place> {
    let manifest = &record.manifest;
    let own = mean_of(record, configuration)?;
    let others = manifest.configurations.iter();
    let means: Vec<f64> = others.filter_map(|it| mean_of(record, &it.name)).collect();
    let better = |other: &&f64| match manifest.objective.goal {
        Goal::Minimize => **other < own,
        Goal::Maximize => **other > own,
    };
    Some(Place { place: 1 + means.iter().filter(better).count(), of: means.len() })
}

/// Mean of the objective over a configuration's launches so far.
fn mean_of(record: &SweepRecord, configuration: &str) -> Option<f64> {
    let metric = &record.manifest.objective.metric;
    let is_its =
        |it: &&LaunchRecord| it.confirmation.is_none() && it.configuration == configuration;
    let launches = record.launches.iter().filter(is_its);
    let all: Vec<f64> = launches.flat_map(|it| values(&record.manifest, it, metric)).collect();
    mean(metric, &all)
}

impl fmt::Display for BehindBest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, behind, best, of, .. } = self;
        write!(f, "behind ({} {}, ", named(metric), shown(behind.value, metric))?;
        match best {
            Some(best) => write!(f, "the best so far {}", shown(*best, metric))?,
            None => write!(f, "the bar {}", shown(behind.bar, metric))?,
        }
        write!(f, "): {} of {}", behind.repeats.min(*of), counted(*of, "repeat"))
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            None => write!(f, "no value of {}", named(&self.metric))?,
            Some(value) => write!(f, "{} {}", named(&self.metric), shown(value, &self.metric))?,
        }
        if let Some(Place { place, of }) = self.place.filter(|place| place.of > 1) {
            write!(f, ", place {place} of {of} so far")?;
        }
        Ok(())
    }
}

impl fmt::Display for BrokenBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bound, value } = self;
        let metric = &bound.metric;
        write!(f, "{} {} is outside of its bound: ", named(metric), shown(*value, metric))?;
        match (bound.min, bound.max) {
            (Some(min), _) if *value < min => write!(f, "at least {min}"),
            (_, Some(max)) => write!(f, "at most {max}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for MissingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing in repeat {}", named(&self.metric), self.repeat)?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// A metric for a person who knows the grid: its name, and its case where it has one.
fn named(metric: &MetricRef) -> String {
    match &metric.case {
        Some(case) => format!("{} at {case}", metric.name),
        None => metric.name.clone(),
    }
}

/// Three significant digits, whole where that is more, with the unit.
fn shown(value: f64, metric: &MetricRef) -> String {
    let magnitude = if value == 0.0 { 2.0 } else { value.abs().log10().floor() };
    let decimals = (2.0 - magnitude).clamp(0.0, 9.0) as usize;
    let unit = metric.known().map(|known| known.unit);
    match unit.filter(|unit| !matches!(*unit, "1" | "share" | "text")) {
        Some(unit) => format!("{value:.decimals$} {unit}"),
        None => format!("{value:.decimals$}"),
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
