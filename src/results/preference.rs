//! Which of the configurations that are not distinguishable to take: the mean does
//! not say, so what else is known decides.

use std::fmt;

use serde::Serialize;

use super::ranked::RankedConfiguration;
use crate::configuration::Configuration;

/// What decides between configurations that are not distinguishable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Fewer launches and repeats that failed.
    FewerFailures,
    /// Less `gpu-memory-utilization`.
    LessMemory,
    /// Fewer flags that differ from the baseline's.
    FewerChangedFlags,
    /// The better mean.
    Mean,
}

impl Criterion {
    /// All of them, in the order in which they decide.
    pub const ALL: &[Self] =
        &[Self::FewerFailures, Self::LessMemory, Self::FewerChangedFlags, Self::Mean];
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FewerFailures => "fewer failures",
            Self::LessMemory => "less gpu-memory-utilization",
            Self::FewerChangedFlags => "fewer flags that differ from the baseline's",
            Self::Mean => "the mean",
        })
    }
}

/// The index of the preferred one of rows that are not distinguishable, best mean first.
pub(super) fn preferred(
    tied: &[(&RankedConfiguration, &Configuration)],
    baseline: Option<&Configuration>,
) -> Option<usize> {
    let memory = |configuration: &Configuration| {
        configuration.flags.get("gpu-memory-utilization").and_then(serde_json::Value::as_f64)
    };
    // One that leaves it to vLLM cannot be compared.
    let comparable = tied.iter().all(|(_, configuration)| memory(configuration).is_some());
    let key = |(row, configuration): &(&RankedConfiguration, &Configuration)| {
        let memory = memory(configuration).filter(|_| comparable).unwrap_or_default();
        let changed = baseline.map_or(0, |baseline| changed(configuration, baseline));
        (row.failures + row.failed_repeats, memory, changed)
    };
    // The first of equals stays: it has the best mean.
    (0..tied.len()).min_by(|&a, &b| {
        let (a, b) = (key(&tied[a]), key(&tied[b]));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
    })
}

/// Flags and variables that differ.
fn changed(configuration: &Configuration, baseline: &Configuration) -> usize {
    let flags = configuration.flags.keys().chain(baseline.flags.keys());
    let mut different: Vec<&String> = flags
        .filter(|name| configuration.flags.get(name.as_str()) != baseline.flags.get(name.as_str()))
        .collect();
    different.sort_unstable();
    different.dedup();
    different.len() + usize::from(configuration.environment != baseline.environment)
}
