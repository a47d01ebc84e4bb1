//! Metrics: named numbers with unit and direction, how they are referred to,
//! and what is wanted of them (objective and constraints).
//!
//! A metric's name and its columns in files are converted here and nowhere else.
//! The catalogue of every metric is assembled from the workloads' tables, in
//! `workload`; how a metric is measured is in `bench`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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
/// its uncertainty comes from. How each is computed is in `results`.
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
    /// A metric whose scale follows from its unit.
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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

/// By what stands there: a derived one would copy each value before it tries the variants.
impl<'de> Deserialize<'de> for MetricValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = MetricValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text or a list of numbers")
            }

            fn visit_f64<E>(self, value: f64) -> Result<MetricValue, E> {
                Ok(MetricValue::Number(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<MetricValue, E> {
                Ok(MetricValue::Number(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<MetricValue, E> {
                Ok(MetricValue::Number(value as f64))
            }

            fn visit_str<E>(self, value: &str) -> Result<MetricValue, E> {
                Ok(MetricValue::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<MetricValue, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(MetricValue::List)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Metric values by name; `None` is "not measured".
pub type MetricValues = BTreeMap<String, Option<MetricValue>>;

/// Why metrics have no value, by name.
pub type MetricReasons = BTreeMap<String, String>;

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

/// What begins the reason of a repeat that is void since the client itself was late.
pub const CLIENT_LATE: &str = "the client was the bottleneck";

/// What ends the reason of a percentile that has no value since it falls among failed requests.
pub const AMONG_FAILURES: &str = "requests failed: it falls among them";

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
    /// Why some of them are absent, as far as that is known; older journals have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metric_reasons: MetricReasons,
}

impl Measurement {
    /// Its workload in column spelling (`kv_cache`).
    pub fn workload_key(&self) -> String {
        workload_key(&self.workload)
    }

    /// Whether it is of this workload, in column spelling: the same as by the key, without
    /// making one.
    pub fn is_of(&self, key: &str) -> bool {
        let spelt = |byte| if byte == b'-' { b'_' } else { byte };
        self.workload.len() == key.len() && self.workload.bytes().map(spelt).eq(key.bytes())
    }
}

/// A workload's name in column spelling.
fn workload_key(workload: &str) -> String {
    workload.replace('-', "_")
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
        let error = || MetricRefError(text.to_owned());
        let (workload, case, name) = if let Some((workload, rest)) = text.split_once('[') {
            let (case, rest) = rest.split_once(']').ok_or_else(error)?;
            (workload, Some(case.to_owned()), rest.strip_prefix('.').ok_or_else(error)?)
        } else {
            let (workload, name) = text.split_once('.').ok_or_else(error)?;
            (workload, None, name)
        };
        if !is_word(workload) || !is_word(name) || case.as_deref() == Some("") {
            return Err(error());
        }
        Ok(Self { workload: workload_key(workload), case, name: name.replace('-', "_") })
    }
}

/// Columns of `results` that begin like a workload's and hold no metric.
const OTHER_COLUMNS: [&str; 5] = ["flag", "effective", "verdict", "environment", "variable"];

/// What opens the column that says whether a bound is kept.
const CONSTRAINT: &str = "constraint.";

impl MetricRef {
    /// A metric without a case; the workload in either spelling (`kv-cache`, `kv_cache`).
    pub fn of(workload: &str, name: &str) -> Self {
        Self { workload: workload_key(workload), case: None, name: name.to_owned() }
    }

    /// Its column in `results`: `kv_cache.ttft_resent_ms`. A case is no part of it:
    /// cases are rows.
    pub fn column(&self) -> String {
        format!("{}.{}", self.workload, self.name)
    }

    /// The metric whose values a column of `results` has; `None` for every other column.
    pub fn of_column(column: &str) -> Option<Self> {
        let (workload, name) = column.split_once('.')?;
        let is_word = |text: &str| is_word(text) && !text.contains('-');
        let is_metric = !OTHER_COLUMNS.contains(&workload) && is_word(workload) && is_word(name);
        is_metric.then(|| Self::of(workload, name))
    }

    /// One of its columns in `ranking`: `load[concurrency=8].output_throughput.low`.
    pub fn ranking_column(&self, figure: RankingFigure) -> String {
        format!("{self}.{}", figure.as_str())
    }

    /// The metric and the figure of a column of `ranking`; `None` for every other column.
    pub fn of_ranking_column(column: &str) -> Option<(Self, RankingFigure)> {
        let (metric, figure) = column.rsplit_once('.')?;
        let figure = RankingFigure::ALL.into_iter().find(|known| known.as_str() == figure)?;
        Some((metric.parse().ok()?, figure))
    }

    /// Its column in `ranking` that says whether its bounds are kept.
    pub fn constraint_column(&self) -> String {
        format!("{CONSTRAINT}{self}")
    }

    /// The metric of such a column; `None` for every other column.
    pub fn of_constraint_column(column: &str) -> Option<Self> {
        column.strip_prefix(CONSTRAINT)?.parse().ok()
    }
}

/// What a column of `ranking` has of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankingFigure {
    /// The geometric mean, where ratios are compared.
    Geomean,
    /// The arithmetic mean, where differences are compared.
    Mean,
    /// The lower end of the mean's 95 % interval.
    Low,
    /// The upper end.
    High,
}

impl RankingFigure {
    /// Every figure.
    pub const ALL: [Self; 4] = [Self::Geomean, Self::Mean, Self::Low, Self::High];

    /// The word in columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Geomean => "geomean",
            Self::Mean => "mean",
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

/// Whether a text can be the name of a workload or of a metric.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
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
    /// Bounds that a winner must keep.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
    /// Further objectives: configurations are not ranked by them, and make a Pareto front
    /// with the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Aim>,
}

/// A further objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aim {
    /// Its metric.
    pub metric: MetricRef,
    /// Which way is better.
    pub goal: Goal,
}

impl Objective {
    /// The metrics besides the one that configurations are ranked by: those with a bound,
    /// then further objectives.
    pub fn others(&self) -> impl Iterator<Item = &MetricRef> {
        let bounded = self.constraints.iter().map(|it| &it.metric);
        bounded.chain(self.further.iter().map(|it| &it.metric))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_and_its_column_of_results_are_converted_both_ways() {
        let metric = MetricRef::of("kv-cache", "ttft_resent_ms");
        assert_eq!(metric.column(), "kv_cache.ttft_resent_ms");
        assert_eq!(MetricRef::of_column(&metric.column()), Some(metric));
        let of_a_case: MetricRef = "load[rate=0.5].p99_ttft_ms".parse().expect("a metric");
        assert_eq!(of_a_case.column(), "load.p99_ttft_ms", "cases are rows");
        for column in [
            "flag.max-num-seqs",
            "flag.seed",
            "effective.seed",
            "verdict.seed",
            "environment.A",
            "repeat",
            "load[rate=4].p99_ttft_ms",
            "kv-cache.tpot_ms",
            "load.",
            ".tpot_ms",
        ] {
            assert_eq!(MetricRef::of_column(column), None, "{column}");
        }
    }

    #[test]
    fn a_metric_and_its_columns_of_the_ranking_are_converted_both_ways() {
        for text in ["kv_cache.ttft_resent_ms", "load[rate=0.5].p99_ttft_ms"] {
            let metric: MetricRef = text.parse().expect("a metric");
            for figure in RankingFigure::ALL {
                let column = metric.ranking_column(figure);
                assert_eq!(MetricRef::of_ranking_column(&column), Some((metric.clone(), figure)));
            }
            let column = metric.constraint_column();
            assert_eq!(column, format!("constraint.{text}"));
            assert_eq!(MetricRef::of_constraint_column(&column), Some(metric));
        }
        for column in ["rank", "baseline_ratio.low", "kv_cache.tpot_ms", "constraint.x"] {
            assert_eq!(MetricRef::of_ranking_column(column), None, "{column}");
            assert_eq!(MetricRef::of_constraint_column(column), None, "{column}");
        }
    }
}
