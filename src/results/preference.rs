//! Which of the configurations that cannot be told apart to take: the mean does not
//! say, so what else is known decides.

use super::ranking::RankedConfiguration;
use crate::configuration::Configuration;

/// What is preferred, in words and in this order.
pub(crate) const PREFERENCE: &str = "fewer failures, then less gpu-memory-utilization, then fewer flags \
                              that differ from the baseline's, then the mean";

/// The index of the preferred one of rows that cannot be told apart, best mean first.
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
