//! Combinations next to the candidate that the grid did not try: where a number is at the
//! end of the values that were tried, or far from the next one. Only numbers that tuning is
//! about, and only values that vLLM takes.

use serde_json::{Number, Value};

use super::Neighbour;
use super::source::Source;
use crate::configuration::canonical;
use crate::flags::{Kind, check, lookup};

/// Memory beyond this part leaves nothing for what vLLM does not account for.
const MOST_OF_MEMORY: f64 = 0.97;
/// Counts that are this many times as large as the next ones are far from them.
const FAR: f64 = 4.0;
/// Parts that differ by this much are far from each other.
const FAR_APART: f64 = 0.08;
/// Largest block that vLLM's kernels know.
const LARGEST_BLOCK: f64 = 128.0;

/// Numbers that say what is served, where or on what, not how: a neighbour of them is
/// another task.
const NOT_TUNED: &[&str] = &[
    "api-server-count",
    "data-parallel-rank",
    "data-parallel-size",
    "data-parallel-size-local",
    "decode-context-parallel-size",
    "max-logprobs",
    "max-model-len",
    "nnodes",
    "node-rank",
    "num-gpu-blocks-override",
    "pipeline-parallel-size",
    "port",
    "prefill-context-parallel-size",
    "seed",
    "tensor-parallel-size",
];

/// What could be tried, in the grid's order of the axes.
pub(super) fn neighbours(source: &Source<'_>) -> Vec<Neighbour> {
    let Some(candidate) = source.candidate().and_then(|row| source.arm(row)) else {
        return Vec::new();
    };
    let manifest = &source.record.manifest;
    let launched =
        |name: &str| source.record.launches.iter().any(|launch| launch.configuration == name);
    let mut found = Vec::new();
    for axis in &manifest.varied {
        let Some(kind) = lookup(axis).map(|flag| flag.kind) else { continue };
        if !matches!(kind, Kind::Int | Kind::Float) || NOT_TUNED.contains(&axis.as_str()) {
            continue;
        }
        let Some(own) = candidate.configuration.flags.get(axis).and_then(number) else { continue };
        // What failed was tried, too.
        let tried = manifest.configurations.iter().filter(|it| launched(&it.name));
        let mut tried: Vec<f64> =
            tried.filter_map(|it| it.flags.get(axis).and_then(number)).collect();
        tried.sort_by(f64::total_cmp);
        tried.dedup();
        found.extend(of_axis(axis, kind, own, &tried));
    }
    found
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|it| it.is_finite())
}

fn of_axis(axis: &str, kind: Kind, own: f64, tried: &[f64]) -> Vec<Neighbour> {
    let below = tried.iter().copied().rfind(|it| *it < own);
    let above = tried.iter().copied().find(|it| *it > own);
    let mut found = Vec::new();
    let mut suggest = |side: &'static str, value: Option<f64>| {
        let Some(value) = value.and_then(|it| valid(axis, kind, it)) else { return };
        let Some(number) = number(&value) else { return };
        let is_new = !tried.contains(&number)
            && match side {
                "above" => number > own,
                "below" => number < own,
                _ => true,
            };
        if is_new {
            let value_text = canonical(&json(kind, own));
            found.push(Neighbour {
                axis: axis.to_owned(),
                value: value_text,
                side,
                suggestion: canonical(&value),
            });
        }
    };
    match (below, above) {
        (Some(below), None) => suggest("above", further(kind, below, own)),
        (None, Some(above)) => suggest("below", further(kind, above, own)),
        _ => {}
    }
    for next in [below, above].into_iter().flatten() {
        if is_far(kind, own, next) {
            suggest("between", middle(kind, own, next));
        }
    }
    found
}

/// One more step from `from` over `own`: as large as the last one, and at most a doubling.
fn further(kind: Kind, from: f64, own: f64) -> Option<f64> {
    if kind == Kind::Float {
        return Some(own + (own - from).clamp(-0.05, 0.05));
    }
    if from <= 0.0 || own <= 0.0 {
        return None;
    }
    Some(own * (own / from).clamp(0.5, 2.0))
}

fn is_far(kind: Kind, own: f64, next: f64) -> bool {
    if kind == Kind::Float {
        return (own - next).abs() >= FAR_APART;
    }
    let (low, high) = (own.min(next), own.max(next));
    low > 0.0 && high / low >= FAR
}

fn middle(kind: Kind, own: f64, next: f64) -> Option<f64> {
    if kind == Kind::Float {
        return Some(f64::midpoint(own, next));
    }
    (own > 0.0 && next > 0.0).then(|| (own * next).sqrt())
}

/// The nearest round value that vLLM takes.
fn valid(axis: &str, kind: Kind, value: f64) -> Option<Value> {
    let is_memory = axis.ends_with("memory-utilization");
    let value = match kind {
        Kind::Float => (value * 100.0).round() / 100.0,
        _ => round_count(value),
    };
    if (is_memory && value > MOST_OF_MEMORY) || (axis == "block-size" && value > LARGEST_BLOCK) {
        return None;
    }
    check(axis, &json(kind, value)).ok()
}

/// A power of two where the value is within a tenth of one, else a multiple of eight, or
/// the whole number of a small one.
fn round_count(value: f64) -> f64 {
    let power = 2.0_f64.powf(value.max(1.0).log2().round());
    match value {
        near if (near / power - 1.0).abs() < 0.1 => power,
        large if large >= 16.0 => (large / 8.0).round() * 8.0,
        small => small.round(),
    }
}

fn json(kind: Kind, value: f64) -> Value {
    if kind == Kind::Int {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;
