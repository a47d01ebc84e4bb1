//! Each workload's own metrics and those that workloads share, for the code that computes
//! them: a name is compared with them when that code is compiled.

use super::{conversation, kv_cache, load, long_context, reasoning, stability, tool_calling};
use crate::metric::Metric;

pub(crate) const ANSWERS: &[Metric] = super::answers::METRICS;
pub(crate) const CONVERSATION: &[Metric] = conversation::KIND.metrics;
pub(crate) const KV_CACHE: &[Metric] = kv_cache::KIND.metrics;
pub(crate) const LOAD: &[Metric] = load::KIND.metrics;
pub(crate) const LONG_CONTEXT: &[Metric] = long_context::KIND.metrics;
pub(crate) const REASONING: &[Metric] = reasoning::KIND.metrics;
pub(crate) const SPECULATION: &[Metric] = super::speculation::METRICS;
pub(crate) const STABILITY: &[Metric] = stability::KIND.metrics;
pub(crate) const TOOL_CALLING: &[Metric] = tool_calling::KIND.metrics;
