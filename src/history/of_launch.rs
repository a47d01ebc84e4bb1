//! The metrics of a launch itself (`launch.boot_seconds`), from what the journal has of it:
//! one measurement for each launch, so that its repeats do not count as several values.

use super::launch::{FailureClass, LaunchOutcome};
use super::record::LaunchRecord;
use super::values::number;
use crate::metric::{Measurement, MetricReasons, Status, numbers};
use crate::workload::LAUNCH;

const MIB: f64 = 1024.0 * 1024.0;

/// The measurement of a launch whose server became ready; `None` of one that did not, or
/// that ran with other flags than asked for.
pub fn measurement(launch: &LaunchRecord) -> Option<Measurement> {
    let facts = launch.facts.as_ref()?;
    if let Some(LaunchOutcome::Failed(failure)) = &launch.outcome
        && failure.class == FailureClass::FlagNotApplied
    {
        return None;
    }
    let shown = |name: &str| {
        let number = launch.effective.get(name)?.number()?;
        (number.is_finite() && number > 0.0).then_some(number)
    };
    let blocks = || Some(shown("num-gpu-blocks")? * shown("block-size")?);
    let tokens = shown("kv-cache-size-tokens").or_else(blocks);
    let first = launch.measurements.first();
    let memory = first.and_then(|first| number(first, "gpu_memory_used_mean"));
    let metrics = numbers([
        ("boot_seconds", Some(facts.boot_seconds).filter(|seconds| seconds.is_finite())),
        ("kv_cache_tokens", tokens),
        ("kv_cache_windows", tokens.zip(shown("max-model-len")).map(|(all, one)| all / one)),
        ("max_concurrency", shown("kv-cache-max-concurrency")),
        ("gpu_memory_mib", memory.map(|bytes| bytes / MIB)),
    ]);
    Some(Measurement {
        workload: LAUNCH.to_owned(),
        case: String::new(),
        repeat: 1,
        status: Status::Ok,
        reason: None,
        metrics,
        metric_reasons: MetricReasons::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::history::launch::{LaunchFacts, LaunchFailure};
    use crate::server::effective::Effective;
    use crate::workload::LAUNCH_METRICS;

    fn launch(shown: &[(&str, Value)]) -> LaunchRecord {
        let facts = LaunchFacts { boot_seconds: 31.5, ..LaunchFacts::default() };
        let effective = shown.iter().map(|(name, value)| {
            let source = "metrics".to_owned();
            let value = Effective { value: Some(value.clone()), proof: None, source };
            ((*name).to_owned(), value)
        });
        LaunchRecord {
            facts: Some(facts),
            effective: effective.collect(),
            ..LaunchRecord::default()
        }
    }

    fn value(launch: &LaunchRecord, name: &str) -> Option<f64> {
        number(&measurement(launch).expect("ready"), name)
    }

    #[test]
    fn a_launch_has_one_value_of_each_metric_and_null_where_nothing_shows_it() {
        let mut all = launch(&[
            ("kv-cache-size-tokens", json!(131_072)),
            ("kv-cache-max-concurrency", json!("17.5")),
            ("num-gpu-blocks", json!(1)),
            ("block-size", json!(16)),
            ("max-model-len", json!(8192)),
        ]);
        let used = numbers([("gpu_memory_used_mean", Some(3.0 * MIB))]);
        let repeat = Measurement { metrics: used, ..measurement(&all).expect("ready") };
        all.measurements = vec![Measurement { repeat: 0, ..repeat }];
        let own = measurement(&all).expect("ready");
        let named: BTreeSet<&str> = own.metrics.keys().map(String::as_str).collect();
        assert_eq!(named, LAUNCH_METRICS.iter().map(|metric| metric.name).collect());
        assert_eq!(value(&all, "boot_seconds"), Some(31.5));
        assert_eq!(value(&all, "kv_cache_tokens"), Some(131_072.0));
        assert_eq!(value(&all, "kv_cache_windows"), Some(16.0));
        assert_eq!(value(&all, "max_concurrency"), Some(17.5));
        assert_eq!(value(&all, "gpu_memory_mib"), Some(3.0));
        // An older server shows blocks alone.
        let blocks = launch(&[("num-gpu-blocks", json!(100)), ("block-size", json!(16))]);
        assert_eq!(value(&blocks, "kv_cache_tokens"), Some(1600.0));
        assert_eq!(value(&blocks, "kv_cache_windows"), None);
        let bare = launch(&[]);
        for name in ["kv_cache_tokens", "max_concurrency", "gpu_memory_mib"] {
            assert_eq!(value(&bare, name), None, "{name}");
        }
        assert_eq!(measurement(&LaunchRecord::default()), None, "it was never ready");
        let failure = LaunchFailure::new(FailureClass::FlagNotApplied, "");
        let other = LaunchRecord { outcome: Some(LaunchOutcome::Failed(failure)), ..bare };
        assert_eq!(measurement(&other), None, "it was another configuration");
    }
}
