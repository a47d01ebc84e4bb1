//! What a report shows besides the ranking, as data: effects of axes, the Pareto front,
//! distributions, turns, the load ladder, what a cache hit gains, the course of the
//! sweep, recommendations by use, and what would separate configurations. Computed from
//! a record, its ranking and the sweep's files; drawn and worded in [`crate::report`].
//! No figure here is an expected or an assumed one: what was not measured is left out
//! and named.

mod compute;
mod course;
mod distributions;
mod effects;
mod files;
mod hits;
mod ladder;
mod neighbours;
mod pareto;
mod reservoir;
mod seen;
mod separations;
mod series;
mod source;
mod turns;
mod uses;

use jiff::Timestamp;

pub use seen::Records;

use crate::metric::{Goal, MetricRef};
use crate::statistics::Interval;

/// A figure with its interval, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// In the metric's unit, or a ratio.
    pub value: f64,
    /// Its 95 % interval, where there is one.
    pub interval: Option<Interval>,
    /// Launches that it rests on.
    pub launches: usize,
    /// Repeats that it rests on.
    pub repeats: usize,
}

/// What a report shows besides the ranking. Configurations are given by their index in
/// [`Ranking::rows`](crate::results::ranking::Ranking::rows).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// The objective's own repeats, by configuration.
    pub repeats: Vec<Vec<Repeat>>,
    /// What a cache hit gains.
    pub hits: Hits,
    /// Distributions of requests, by workload, case and quantity.
    pub distributions: Vec<Distribution>,
    /// Time to first token over the turns of a conversation.
    pub turns: Option<Turns>,
    /// Throughput and latency over the load ladder.
    pub ladder: Option<Ladder>,
    /// Two metrics against each other.
    pub pareto: Option<Pareto>,
    /// What each axis of the grid does to the objective.
    pub effects: Effects,
    /// The course of the sweep.
    pub course: Course,
    /// What is to be taken for which use.
    pub uses: Vec<Use>,
    /// About how many launches would separate which configurations.
    pub separations: Vec<Separation>,
    /// Combinations next to the candidate that the grid did not try.
    pub neighbours: Vec<Neighbour>,
    /// What is left out of all this, and why: files that could not be read.
    pub notes: Vec<String>,
}

/// A repeat of the objective that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeat {
    /// Number of its launch.
    pub launch: u32,
    /// Its number in the launch, from 1.
    pub repeat: u32,
    /// The objective's value.
    pub value: f64,
}

/// What a cache hit gains.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hits {
    /// Configurations with both figures, in the ranking's order.
    pub pairs: Vec<HitPair>,
    /// Configurations without, by index, with the reason (`not_applicable: ...`).
    pub without: Vec<(usize, String)>,
    /// The case that the figures are of; empty where there is one.
    pub case: String,
}

/// Time to first token without and with a cache hit, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct HitPair {
    /// Index of the configuration.
    pub configuration: usize,
    /// Without.
    pub miss: Figure,
    /// With.
    pub hit: Figure,
}

/// Distributions of one quantity of the requests of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// The workload's name.
    pub workload: String,
    /// The case; empty where there is one.
    pub case: String,
    /// What was measured of each request: `time to first token`. Of `kv-cache` each kind of
    /// prompt is a distribution of its own; of an open loop it is from the schedule.
    pub quantity: &'static str,
    /// Its unit: `ms`.
    pub unit: &'static str,
    /// One for each configuration that has requests.
    pub curves: Vec<Curve>,
}

/// The empirical distribution of a configuration's requests, all launches and kept
/// repeats pooled.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Index of the configuration.
    pub configuration: usize,
    /// Requests that it rests on, failed ones too: they took for ever, so that the share of
    /// the greatest value is below 1 then.
    pub requests: usize,
    /// Value and share of the requests that are at most that value, rising in both; at
    /// most 120 points, the smallest and the greatest value among them.
    pub points: Vec<(f64, f64)>,
    /// The median.
    pub p50: f64,
    /// The 95th percentile; `None` with fewer than 60 requests, where it is one of the
    /// three greatest values.
    pub p95: Option<f64>,
}

/// Time to first token over the turns of a conversation, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Turns {
    /// The case; empty where there is one.
    pub case: String,
    /// One for each configuration that has turns.
    pub lines: Vec<TurnLine>,
}

/// The turns of one configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnLine {
    /// Index of the configuration.
    pub configuration: usize,
    /// Launches that it rests on.
    pub launches: usize,
    /// From turn 1: median of the launches' medians, the least and the greatest of them;
    /// `None` where no launch has the turn.
    pub turns: Vec<Option<(f64, f64, f64)>>,
    /// Slope in milliseconds per turn with its interval over the launches.
    pub slope: Option<Figure>,
}

/// Throughput and latency over the load ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// What is on the horizontal axis: output tokens per second.
    pub throughput: MetricRef,
    /// What is on the vertical axis: a time to first token in milliseconds.
    pub latency: MetricRef,
    /// Bound of the latency metric at every load, where the grid has one: the SLO's.
    pub limit: Option<f64>,
    /// Bounds of the latency metric at one load each, by case: those of constraints.
    pub limits: Vec<(String, f64)>,
    /// One for each configuration that has at least one step.
    pub paths: Vec<Path>,
}

impl Ladder {
    /// The bound of the latency metric at the load of a case.
    pub fn limit_of(&self, case: &str) -> Option<f64> {
        let own = self.limits.iter().find(|(of, _)| of == case).map(|(_, limit)| *limit);
        own.or(self.limit)
    }
}

/// The steps of one configuration, in the order of the load.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Index of the configuration.
    pub configuration: usize,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step of the load ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The case: `concurrency=8`, `rate=2`.
    pub case: String,
    /// Throughput.
    pub throughput: Figure,
    /// Latency.
    pub latency: Figure,
}

/// Two metrics against each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Pareto {
    /// The objective.
    pub x: MetricRef,
    /// Which way of it is better.
    pub x_goal: Goal,
    /// The other one.
    pub y: MetricRef,
    /// Which way of it is better.
    pub y_goal: Goal,
    /// Eligible configurations that have both.
    pub points: Vec<ParetoPoint>,
}

/// One configuration of a Pareto picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ParetoPoint {
    /// Index of the configuration.
    pub configuration: usize,
    /// The objective.
    pub x: Figure,
    /// The other metric.
    pub y: Figure,
    /// Whether no other point is better in one and at least as good in the other.
    pub on_front: bool,
}

/// What each axis does to the objective, the others held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// One for each axis with at least two values that were measured.
    pub axes: Vec<Axis>,
    /// Pairs of axes whose effects are shown not to add up.
    pub interactions: Vec<Interaction>,
    /// Why nothing can be said of any axis, where that is so.
    pub without: Option<String>,
    /// Axes of which nothing can be said, where that is possible of others: their values
    /// always change together with those of other axes.
    pub confounded: Vec<String>,
    /// Configurations that the effects rest on.
    pub configurations: usize,
    /// Configurations with a figure that are left out, since each alone has a value of several
    /// axes: which of them makes its difference cannot be seen.
    pub left_out: Vec<usize>,
    /// Whether the values are ratios (to the axis's mean); differences otherwise.
    pub ratios: bool,
}

/// The effect of one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The flag or variable: `max-num-seqs`.
    pub name: String,
    /// Its values in the grid's order.
    pub values: Vec<AxisValue>,
    /// p-value of "the axis does nothing", adjusted over the axes (Holm).
    pub p: Option<f64>,
}

/// The effect of one value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue {
    /// The value as text; `not set` for a flag that is not passed.
    pub value: String,
    /// Configurations that have it.
    pub configurations: usize,
    /// Objective relative to the mean over the axis's values.
    pub effect: Figure,
}

/// Two axes whose effects do not add up.
#[derive(Clone, Debug, PartialEq)]
pub struct Interaction {
    /// The one axis.
    pub first: String,
    /// The other one.
    pub second: String,
    /// Adjusted p-value of "the effects add up".
    pub p: f64,
    /// Each combination of values with the objective's figure.
    pub cells: Vec<(String, String, Figure)>,
}

/// The course of the sweep on one time axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Launches in their order, of all blocks.
    pub launches: Vec<Span>,
    /// The machine's estimated level: time, ratio to its mean, 95 % band.
    pub level: Vec<(Timestamp, f64, Interval)>,
    /// When the machine's speed jumped.
    pub jumps: Vec<Timestamp>,
    /// Samples over time.
    pub series: Vec<Series>,
}

/// One launch on the time axis. Times that are not known are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its number.
    pub launch: u32,
    /// Its block, from 1.
    pub block: u32,
    /// Its configuration's name.
    pub name: String,
    /// Index of the configuration, where the ranking has it.
    pub configuration: Option<usize>,
    /// Whether it confirms something.
    pub confirms: bool,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When its server was ready and proven: boot ends, gates and warm-up begin.
    pub ready: Option<Timestamp>,
    /// When the first kept repeat began to be measured, as far as it is known: warm-up ends.
    pub warm: Option<Timestamp>,
    /// When the last repeat was journalled: measuring ends, the server is stopped.
    pub measured: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Class of its failure, where it failed.
    pub failure: Option<&'static str>,
    /// Gates that failed, by name.
    pub failed_gates: Vec<String>,
    /// Whether it was interrupted or has no end.
    pub unfinished: bool,
}

/// Samples of one quantity over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What: `host CPU`, `GPU 0 memory`.
    pub name: String,
    /// Which of the pictured quantities it is.
    pub quantity: Quantity,
    /// Time with the mean and the greatest value around that time; at most 600 points.
    /// `None` separates launches.
    pub points: Vec<Option<(Timestamp, f64, f64)>>,
}

/// Quantities that are pictured over time, with their units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Share of the host's CPU in use, 0 to 1.
    HostCpu,
    /// GPU memory in use, bytes.
    GpuMemory,
    /// Power, watts.
    GpuPower,
    /// Temperature, degrees Celsius.
    GpuTemperature,
    /// Share of the KV cache in use, 0 to 1.
    KvUsage,
}

/// What is to be taken for a use.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The use: `conversation`, `reasoning`, `tools`, `throughput`.
    pub name: &'static str,
    /// The metric that it is judged by, of those that were measured. Where its workload has
    /// several cases and it names none, it is the mean over all of them. A use may be there
    /// twice: tools are judged by what is right, and by their time.
    pub metric: MetricRef,
    /// Which way is better.
    pub goal: Goal,
    /// What has the best figure, of the objective the ranking's candidate; `None` where no
    /// configuration has one.
    pub best: Option<usize>,
    /// Whether `best` is there as the ranking's candidate, though another one has a better
    /// mean: the two are not distinguishable.
    pub by_ranking: bool,
    /// What `best` is compared with: what the baseline ran as. `None` without a baseline.
    pub against: Option<usize>,
    /// Its figure.
    pub figure: Option<Figure>,
    /// The baseline's figure.
    pub baseline: Option<Figure>,
    /// Best relative to the baseline, with its interval; by each one's own launches, of the
    /// objective as the ranking has it, or by fresh launches where there are any. `None` where the baseline is the best, and of a share.
    pub ratio: Option<Figure>,
    /// Whether that difference is shown at the 5 % level, over all uses and configurations
    /// that were compared (Holm); of the objective by fresh launches, where there are any.
    /// Without it the baseline is kept.
    pub shown: bool,
    /// Whether fresh launches confirm it; `None` where there are none of it.
    pub confirmed: Option<bool>,
    /// Why nothing is said of this use, where that is so: its workload was not measured, or the
    /// baseline has no rank.
    pub without: Option<String>,
}

/// About how many launches would separate two configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Separation {
    /// Index of the one.
    pub first: usize,
    /// Index of the other.
    pub second: usize,
    /// Their estimated difference as a ratio.
    pub ratio: f64,
    /// Launches of each that show a difference of that size four times out of five, at the
    /// 5 % level over all comparisons of the ranking; `None` where no number up to 200 does.
    pub launches: Option<usize>,
    /// Launches of each that there are.
    pub have: usize,
}

/// A combination next to the candidate that the grid did not try.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// The axis.
    pub axis: String,
    /// The candidate's value, which is at the end of the tried ones.
    pub value: String,
    /// On which side nothing was tried: `above` or `below`; `between` where two neighbouring
    /// values are far from each other.
    pub side: &'static str,
    /// What could be tried.
    pub suggestion: String,
}
