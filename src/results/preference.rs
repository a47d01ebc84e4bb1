//! Which of the configurations whose means are nearly those of rank 1 to take: so small a
//! difference does not matter, so what else is known decides.

use super::bounded::ConstraintVerdict;
use super::decision::Criterion;
use super::ranked::RankedConfiguration;
use crate::configuration::Configuration;

/// The index of the preferred one of rows that are nearly equal, best mean first, and
/// what decided it against the first.
pub(super) fn preferred(
    near: &[(&RankedConfiguration, &Configuration)],
    baseline: Option<&Configuration>,
) -> Option<(usize, Criterion)> {
    let memory = |configuration: &Configuration| {
        configuration.flags.get("gpu-memory-utilization").and_then(serde_json::Value::as_f64)
    };
    // One that leaves it to vLLM cannot be compared.
    let comparable = near.iter().all(|(_, configuration)| memory(configuration).is_some());
    let key = |(row, configuration): &(&RankedConfiguration, &Configuration)| {
        let memory = memory(configuration).filter(|_| comparable).unwrap_or_default();
        let changed = baseline.map_or(0, |baseline| changed(configuration, baseline));
        let failed = row.settled - row.lived + row.failed_repeats + row.missing_repeats;
        (!within_bounds(row), failed, memory, changed)
    };
    // The first of equals stays: it has the best mean.
    let compare = |a: usize, b: usize| {
        let (a, b) = (key(&near[a]), key(&near[b]));
        let criteria = [
            (a.0.cmp(&b.0), Criterion::WithinBounds),
            (a.1.cmp(&b.1), Criterion::FewerFailures),
            (a.2.total_cmp(&b.2), Criterion::LessMemory),
            (a.3.cmp(&b.3), Criterion::FewerChangedFlags),
        ];
        let decisive = criteria.into_iter().find(|(order, _)| order.is_ne());
        decisive.unwrap_or((std::cmp::Ordering::Equal, Criterion::Mean))
    };
    let best = (0..near.len()).min_by(|&a, &b| compare(a, b).0)?;
    Some((best, compare(best, 0).1))
}

/// Whether every bound is shown to be kept; true without any.
pub(super) fn within_bounds(row: &RankedConfiguration) -> bool {
    row.constraints.iter().all(|bounded| bounded.verdict == ConstraintVerdict::Holds)
}

/// Flags that differ, with the environment and the stack as one each.
fn changed(configuration: &Configuration, baseline: &Configuration) -> usize {
    let flags = configuration.flags.keys().chain(baseline.flags.keys());
    let mut different: Vec<&String> = flags
        .filter(|name| configuration.flags.get(name.as_str()) != baseline.flags.get(name.as_str()))
        .collect();
    different.sort_unstable();
    different.dedup();
    let environment = usize::from(configuration.environment != baseline.environment);
    different.len() + environment + usize::from(configuration.stack != baseline.stack)
}
