//! Compared sweeps as data: what `comparison` computes, and what JSON and every
//! renderer read. The field names are keys of `compare --format json`.

use serde::{Serialize, Serializer};

use super::exclusion::{Exclusion, joined};
use super::not_counted::NotCounted;
use crate::history::record::SweepRecord;
use crate::metric::{Goal, MetricRef, Scale};

/// A sweep and the folder that it was read from.
#[derive(Clone, Debug)]
pub struct Run {
    /// As it was named.
    pub folder: String,
    /// What is in it.
    pub record: SweepRecord,
}

/// Sweeps compared with each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// [`SCHEMA_VERSION`](crate::history::record::SCHEMA_VERSION).
    pub schema_version: u32,
    /// Whether any of them is simulated.
    pub simulated: bool,
    /// What they are compared by.
    pub metric: MetricRef,
    /// Its unit; empty for shares and counts.
    pub unit: &'static str,
    /// Which way is better.
    pub goal: Goal,
    /// Whether `change` is a ratio (`ratios`) or a difference.
    pub scale: Scale,
    /// The sweeps, in the order in which they were named.
    pub runs: Vec<Compared>,
    /// What makes the comparison unsound, or is what it is about.
    #[serde(rename = "unlike")]
    pub differences: Vec<RunDifference>,
    /// What is not recorded in all of them, so that it is not compared.
    pub not_recorded: Vec<&'static str>,
    /// What the last sweep differs from the first one in for all configurations alike;
    /// `None` where no ratios are taken, and with fewer than three.
    pub shift: Option<Shift>,
    /// Configurations in the order of the first ranking that has them.
    pub configurations: Vec<ComparedConfiguration>,
    /// Whether the last sweep is shown to be worse by more than a share, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worse_than: Option<WorseThan>,
}

/// What is shown of a limit on how much worse the last sweep may be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorseThan {
    /// The share that is allowed: 0.05 for 5 %.
    pub share: f64,
    /// Level of the claim, over all configurations together.
    pub level: f64,
    /// The answer.
    pub outcome: Outcome,
    /// Configurations that were judged.
    pub judged: Vec<Judgement>,
    /// Configurations that were not, and why.
    pub not_judged: Vec<NotJudged>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At least one configuration is shown to be worse by more than the share.
    Worse,
    /// None is shown to be.
    NotShown,
    /// The sweeps do not allow an answer.
    NotComparable,
}

/// One configuration, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Its name.
    pub configuration: String,
    /// The change that would be allowed: a ratio, or a difference, as `change` is.
    pub limit: f64,
    /// The end of the change's one-sided interval that is nearest to the limit.
    pub bound: f64,
    /// Whether the bound is on the worse side of the limit.
    pub worse: bool,
}

/// One configuration that is not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotJudged {
    /// Its name.
    pub configuration: String,
    /// Why.
    pub reason: String,
    /// Whether the first sweep has its figure and the last one lacks it: then the answer lacks
    /// something.
    pub missing: bool,
}

/// One of the sweeps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// `A`, `B`, ...
    pub label: String,
    /// Its folder.
    pub folder: String,
    /// Its name.
    pub sweep: String,
    /// When it was started.
    pub created_at: String,
    /// Whether its figures are simulated.
    pub simulated: bool,
    /// Versions of the engine that its launches reported.
    pub engine_versions: Vec<String>,
    /// Images that its launches ran.
    pub image_ids: Vec<String>,
    /// Launches of its earlier blocks, which no figure is made of.
    pub not_counted: Vec<NotCounted>,
    /// What its confirmation shows, where it has one with a result; else what its ranking
    /// carries.
    pub verdict: String,
    /// The configuration that fresh launches showed to be better than the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
}

/// One configuration in all sweeps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedConfiguration {
    /// Its name in the first sweep that has it.
    pub configuration: String,
    /// False where the flags are the same and the ids are not: engine, image or model
    /// is another.
    pub same_id: bool,
    /// Its place and figure in each sweep; `None` where a sweep does not have it.
    pub runs: Vec<Option<Standing>>,
    /// The last sweep's mean to the first one's.
    pub change: Option<Change>,
    /// What is left of `change` when the shared shift is taken out.
    pub beyond: Option<Beyond>,
    /// Sweeps that have another configuration of this name, and the flags that differ.
    pub namesakes: Vec<Namesake>,
}

/// A configuration in one sweep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Its name there.
    pub name: String,
    /// Its id there.
    pub id: String,
    /// Place by mean.
    pub rank: Option<u32>,
    /// What the place carries.
    pub rank_label: Option<String>,
    /// Whether it is the one to take of several first ones.
    pub preferred: bool,
    /// Why it has no rank; in JSON as one text, `null` where it has one.
    #[serde(rename = "reason", serialize_with = "as_text")]
    pub exclusions: Vec<Exclusion>,
    /// Its figure; `None` where nothing was measured.
    pub figure: Option<Figure>,
    /// Launches that a claim needs, where it has fewer since the sweep chose its launches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims_need: Option<usize>,
}

fn as_text<S: Serializer>(exclusions: &[Exclusion], serializer: S) -> Result<S::Ok, S::Error> {
    joined(exclusions).serialize(serializer)
}

/// A mean and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Geometric mean, or arithmetic where the metric may be zero.
    pub mean: f64,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Whether the interval rests on an assumed variance.
    pub assumed: bool,
    /// Launches that gave a value.
    pub launches: usize,
    /// Values.
    pub repeats: usize,
}

/// The last sweep against the first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Ratio or difference.
    pub value: f64,
    /// Lower end of its 95 % interval, which is not adjusted.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// p-value of "nothing changed", by Holm over all configurations.
    pub p: Option<f64>,
    /// Whether it rests on an assumed variance.
    pub assumed: bool,
    /// Which way it went, where that is shown at the 5 % level.
    pub shown: Option<Way>,
}

/// What changed of all configurations alike: the night.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shift {
    /// As a ratio: the median of all.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Configurations that it is of.
    pub configurations: usize,
}

/// The change of one configuration beyond what all share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Beyond {
    /// As a ratio.
    pub value: f64,
    /// Lower end of its 95 % interval, which is not adjusted.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// p-value of "it changed as all others did", by Holm over all configurations.
    pub p: f64,
    /// Which way it went, where that is shown at the 5 % level.
    pub shown: Option<Way>,
}

/// Which way a figure went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Towards what is sought.
    Better,
    /// Away from it.
    Worse,
}

/// Another configuration of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namesake {
    /// Index of the sweep.
    pub run: usize,
    /// Flags and variables that differ.
    pub differs_in: Vec<String>,
}

/// Something that is not the same in all sweeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunDifference {
    /// What it is: `host`, `image`, `load.requests`, `effective.dtype`.
    pub what: String,
    /// Its value in each sweep; `None` where a sweep has none.
    pub values: Vec<Option<String>>,
}
