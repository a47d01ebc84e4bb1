//! Metrics: named numbers with unit and direction, how they are referred to,
//! and what is wanted of them (objective and constraints).
//!
//! The catalogue of every metric is assembled here from the workloads' tables;
//! how a metric is measured is in [`crate::bench`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether less or more of a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither: a count or a state.
    Neutral,
}

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Workload in column spelling (`kv_cache`).
    pub workload: &'static str,
    /// Name inside the workload (`ttft_resent_ms`).
    pub name: &'static str,
    /// Unit (`ms`, `tokens`, `1/s`, `share`, `text`); `ms[]` is a list of such numbers.
    pub unit: &'static str,
    /// Which way is better.
    pub direction: Direction,
    /// What the number is, in one sentence.
    pub definition: &'static str,
    /// Where the number comes from (`client clock`, `/metrics`, ...).
    pub source: &'static str,
    /// How configurations are compared by it.
    pub scale: Scale,
}

/// How configurations are compared by a metric: which mean is taken, and where
/// its uncertainty comes from. How each is computed is in [`crate::results`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Positive by nature: geometric means, compared as ratios.
    Ratios,
    /// May be zero or negative: arithmetic means, compared as differences.
    Differences,
    /// Counted events, with 0 where none was: as differences, and never surer
    /// than so few events allow.
    Events,
    /// A share of things that were counted: judged by the counts.
    Share(Counted),
}

/// The counts behind a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Metrics of the same workload whose sum is what the share is of.
    pub of: &'static [&'static str],
    /// Whether every launch asks the same again: a question asked in two launches
    /// is one question.
    pub asked_again: bool,
}

impl Scale {
    /// What a unit says: counts and shares may be zero, slopes and growth negative.
    pub const fn of_unit(unit: &str) -> Self {
        match unit.as_bytes() {
            b"1" => Self::Events,
            b"share" | b"share/h" | b"share/request" | b"ms/turn" | b"bytes/h" => Self::Differences,
            _ => Self::Ratios,
        }
    }

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ratios => "ratios",
            Self::Differences => "differences",
            Self::Events => "events",
            Self::Share(_) => "share",
        }
    }
}

impl Serialize for Scale {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One number: it can be ranked and bounded.
    Number,
    /// A state.
    Text,
    /// Numbers in their order.
    List,
}

impl Metric {
    /// A metric whose scale its unit tells.
    pub const fn new(
        workload: &'static str,
        name: &'static str,
        unit: &'static str,
        direction: Direction,
        definition: &'static str,
        source: &'static str,
    ) -> Self {
        let scale = Scale::of_unit(unit);
        Self { workload, name, unit, direction, definition, source, scale }
    }

    /// What its values are, as its unit says.
    pub fn form(&self) -> Form {
        match self.unit {
            "text" => Form::Text,
            unit if unit.ends_with("[]") => Form::List,
            _ => Form::Number,
        }
    }

    /// Whether a value can be below zero: slopes and growth.
    pub fn may_be_negative(&self) -> bool {
        matches!(self.unit, "share/h" | "share/request" | "ms/turn" | "bytes" | "bytes/h")
    }

    /// The same, compared on another scale than its unit says.
    #[must_use]
    pub const fn on(self, scale: Scale) -> Self {
        Self { scale, ..self }
    }
}

/// A value of a metric. What was not measured is absent (`None` in a map), never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetricValue {
    /// A number in the metric's unit; always finite.
    Number(f64),
    /// A state, such as `hit_state`.
    Text(String),
    /// Numbers in their order, such as one for each turn; what of them was not
    /// measured is absent.
    List(Vec<Option<f64>>),
}

/// Metric values by name; `None` is "not measured".
pub type MetricValues = BTreeMap<String, Option<MetricValue>>;

/// Metrics that are numbers.
pub fn numbers<'a>(values: impl IntoIterator<Item = (&'a str, Option<f64>)>) -> MetricValues {
    let named =
        |(name, value): (&str, Option<f64>)| (name.to_owned(), value.map(MetricValue::Number));
    values.into_iter().map(named).collect()
}

/// How a measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Valid.
    Ok,
    /// The launch or the server failed.
    Failed,
    /// Not tried; the reason says why.
    Skipped,
    /// Measured, but not to be used; the reason says why. The status of a newer
    /// version reads as this one.
    #[serde(other)]
    Void,
}

impl Status {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Void => "void",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The metrics of one (configuration, launch, workload, case, repeat).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Workload in the grid's spelling (`kv-cache`).
    pub workload: String,
    /// Setting inside the workload (`prefix=4096`); empty where there is one only.
    pub case: String,
    /// 0 is the warm-up: kept, never ranked.
    pub repeat: u32,
    /// Whether the values may be used.
    pub status: Status,
    /// Why not, where not.
    pub reason: Option<String>,
    /// The values by metric name.
    pub metrics: MetricValues,
}

/// A metric as a grid names it: `kv_cache.ttft_resent_ms`,
/// `load[concurrency=8].output_throughput`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricRef {
    /// Workload in column spelling (`kv_cache`); `-` is read as `_`.
    pub workload: String,
    /// Case, where one is named.
    pub case: Option<String>,
    /// Metric name.
    pub name: String,
}

impl fmt::Display for MetricRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.case {
            Some(case) => write!(f, "{}[{case}].{}", self.workload, self.name),
            None => write!(f, "{}.{}", self.workload, self.name),
        }
    }
}

/// A text that is no metric reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a metric: write `workload.metric` or `workload[case].metric`")]
pub struct MetricRefError(pub String);

impl FromStr for MetricRef {
    type Err = MetricRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || MetricRefError(text.to_owned());
        let (workload, case, name) = if let Some((workload, rest)) = text.split_once('[') {
            let (case, rest) = rest.split_once(']').ok_or_else(fault)?;
            (workload, Some(case.to_owned()), rest.strip_prefix('.').ok_or_else(fault)?)
        } else {
            let (workload, name) = text.split_once('.').ok_or_else(fault)?;
            (workload, None, name)
        };
        let word = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        if !word(workload) || !word(name) || case.as_deref() == Some("") {
            return Err(fault());
        }
        Ok(Self { workload: workload.replace('-', "_"), case, name: name.replace('-', "_") })
    }
}

impl MetricRef {
    /// Its entry of the catalogue.
    pub fn known(&self) -> Option<&'static Metric> {
        let mut catalogue = crate::workload::catalogue().iter();
        catalogue.find(|known| known.workload == self.workload && known.name == self.name)
    }
}

impl Serialize for MetricRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MetricRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether the objective is to be small or large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// As small as possible.
    Minimize,
    /// As large as possible.
    Maximize,
}

/// What the sweep is to find.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The metric that configurations are ranked by.
    pub metric: MetricRef,
    /// Which way is better.
    pub goal: Goal,
    /// Bounds that a winner must hold.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
}

/// A bound on a metric, in the metric's unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    /// The bounded metric.
    pub metric: MetricRef,
    /// Lower bound, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Upper bound, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// Every metric that a workload can yield.
pub fn catalogue() -> Vec<&'static Metric> {
    crate::workload::catalogue().iter().collect()
}
