//! What a sweep may spend: `budget: 8h`, or any of time, launches and GPU hours. Here it is
//! read; what it leaves of a plan is reckoned in [`super::estimate`], and the loop keeps it. A
//! launch that has begun is never ended by it. Pure.

use serde::{Deserialize, Serialize};

use super::EngineBlock;
use super::duration;
use super::error::Findings;
use super::fields::Fields;
use super::node::{Content, Node, Span};

/// Launches and GPU hours that a grid can name at the most.
const MOST: i64 = 1_000_000;

/// What a sweep may spend besides time: no launch is begun after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Launches that are begun, whatever becomes of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launches: Option<u32>,
    /// GPU hours: the GPUs of each launch, times the hours from its start to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_hours: Option<f64>,
}

impl Budget {
    /// Whether it limits nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A part of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Hours on the clock.
    Time,
    /// Launches that are begun.
    Launches,
    /// GPUs times hours.
    GpuHours,
}

impl Part {
    /// The word for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Launches => "launches",
            Self::GpuHours => "GPU hours",
        }
    }
}

/// A budget as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub(super) seconds: Option<u64>,
    pub(super) besides: Budget,
    /// Where the file has it.
    pub(super) span: Span,
}

/// A duration such as `8h`, or a mapping of `time`, `launches` and `gpu-hours`.
pub(super) fn read(node: &Node, key: &Span, findings: &mut Findings) -> Option<Read> {
    let span = node.span.clone();
    let Content::Map(_) = &node.content else {
        let seconds = time("budget", node, findings)?;
        return Some(Read { seconds: Some(seconds), besides: Budget::default(), span });
    };
    let known = ["time", "launches", "gpu-hours"];
    let errors = findings.errors.len();
    let fields = Fields::of(node, "`budget`", key, &known, findings)?;
    let seconds = fields.given("time").and_then(|(_, node)| time("time", node, findings));
    let launches = fields.count("launches", 1, MOST, findings);
    let gpu_hours = fields.number("gpu-hours", findings).filter(|hours| {
        let fits = *hours > 0.0 && *hours <= MOST as f64;
        if !fits && let Some((_, node)) = fields.given("gpu-hours") {
            let message = format!("`gpu-hours` must be above 0 and at most {MOST}, not {hours}");
            findings.error(&node.span, message);
        }
        fits
    });
    let besides = Budget { launches: launches.and_then(|it| u32::try_from(it).ok()), gpu_hours };
    if findings.errors.len() > errors {
        return None;
    }
    if seconds.is_none() && besides.is_empty() {
        findings
            .error(key, "`budget` limits nothing")
            .help("write for example `budget: {time: 8h, launches: 40, gpu-hours: 16}`");
        return None;
    }
    Some(Read { seconds, besides, span })
}

/// Seconds of a duration such as `8h`, `90m`, `1h30m`.
fn time(name: &str, node: &Node, findings: &mut Findings) -> Option<u64> {
    let seconds = match &node.content {
        Content::Text(text) => duration::read(text),
        _ => None,
    };
    if seconds.is_none() {
        let message = format!("`{name}` must be a duration, not {}", node.describe());
        findings.error(&node.span, message).help("write for example `8h`, `90m` or `1h30m`");
    }
    seconds
}

/// GPU hours of an engine that uses no GPU would never be spent.
pub(super) fn refuse_idle(engine: &EngineBlock, read: &Read, findings: &mut Findings) {
    let no_gpu = matches!(engine, EngineBlock::Docker(block) if block.gpus == Some(false));
    if no_gpu && read.besides.gpu_hours.is_some() {
        findings
            .error(&read.span, "`gpu-hours` limits nothing: `gpus: false` gives no GPU")
            .help("limit `time` or `launches`");
    }
}
