//! Which configurations need not be launched, since one that failed shows that
//! they would fail too. A rule applies only where every other flag is equal.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::configuration::{Configuration, canonical};
use crate::history::launch::FailureClass;

const UTILISATION: &str = "gpu-memory-utilization";
const CONTEXT: &str = "max-model-len";
const SEQUENCES: &str = "max-num-seqs";
const BATCH_TOKENS: &str = "max-num-batched-tokens";

/// Whether `candidate` would fail as `failed` did, by `class`.
///
/// A configuration with the same flags and environment always would, where the
/// class is deterministic. A flag that only one of the two passes is not
/// comparable: its default depends on release, model and device. Memory that was
/// not free says what others used at that moment, and nothing of a configuration.
pub fn prunes(failed: &Configuration, class: FailureClass, candidate: &Configuration) -> bool {
    let (at_most, at_least): (&[&str], &[&str]) = match class {
        FailureClass::KvCacheTooSmall => (&[UTILISATION], &[CONTEXT]),
        FailureClass::OutOfMemory => (&[], &[UTILISATION, SEQUENCES, BATCH_TOKENS]),
        FailureClass::BadFlag | FailureClass::HostMemory => (&[], &[]),
        _ => return false,
    };
    // Another image, model or service has other needs.
    let rest = |it: &Configuration| (it.environment.clone(), it.stack.clone(), it.model.clone());
    if rest(failed) != rest(candidate) {
        return false;
    }
    let names: BTreeSet<&String> = failed.flags.keys().chain(candidate.flags.keys()).collect();
    names.into_iter().all(|name| {
        let order = compare(candidate.flags.get(name), failed.flags.get(name));
        match order {
            Some(Ordering::Equal) => true,
            Some(Ordering::Less) => at_most.contains(&name.as_str()),
            Some(Ordering::Greater) => at_least.contains(&name.as_str()),
            None => false,
        }
    })
}

fn compare(left: Option<&Value>, right: Option<&Value>) -> Option<Ordering> {
    let left = left.filter(|value| !value.is_null());
    let right = right.filter(|value| !value.is_null());
    match (left, right) {
        (None, None) => Some(Ordering::Equal),
        (Some(left), Some(right)) => {
            if canonical(left) == canonical(right) {
                return Some(Ordering::Equal);
            }
            number(left)?.partial_cmp(&number(right)?)
        }
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::configuration::Flags;

    fn configuration(flags: &Value) -> Configuration {
        let flags = flags.as_object().expect("flags are a mapping");
        Configuration {
            name: "any".to_owned(),
            aliases: Vec::new(),
            id: String::new(),
            flags: flags.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            varied: Flags::default(),
            environment: BTreeMap::new(),
            ..Default::default()
        }
    }

    fn pruned(class: FailureClass, failed: &Value, candidate: &Value) -> bool {
        prunes(&configuration(failed), class, &configuration(candidate))
    }

    #[test]
    fn a_kv_cache_that_does_not_fit_prunes_less_memory_and_longer_contexts() {
        let class = FailureClass::KvCacheTooSmall;
        let failed =
            json!({"gpu-memory-utilization": 0.85, "max-model-len": 16384, "max-num-seqs": 32});
        let with = |utilisation: f64, context: u64, sequences: u64| json!({"gpu-memory-utilization": utilisation, "max-model-len": context, "max-num-seqs": sequences});
        assert!(pruned(class, &failed, &failed));
        assert!(pruned(class, &failed, &with(0.80, 16384, 32)));
        assert!(pruned(class, &failed, &with(0.80, 32768, 32)));
        assert!(!pruned(class, &failed, &with(0.90, 16384, 32)), "more memory may do");
        assert!(!pruned(class, &failed, &with(0.85, 8192, 32)), "a shorter context may do");
        assert!(!pruned(class, &failed, &with(0.80, 16384, 16)), "another flag differs");
    }

    #[test]
    fn out_of_memory_prunes_what_asks_for_more() {
        let class = FailureClass::OutOfMemory;
        let failed = json!({"gpu-memory-utilization": 0.92, "max-num-seqs": 64, "enable-prefix-caching": true});
        let with = |utilisation: f64, sequences: u64, caching: bool| json!({"gpu-memory-utilization": utilisation, "max-num-seqs": sequences, "enable-prefix-caching": caching});
        assert!(pruned(class, &failed, &with(0.95, 64, true)));
        assert!(pruned(class, &failed, &with(0.95, 128, true)));
        assert!(!pruned(class, &failed, &with(0.90, 128, true)));
        assert!(!pruned(class, &failed, &with(0.95, 128, false)));
    }

    #[test]
    fn a_flag_that_only_one_passes_is_not_comparable() {
        let failed = json!({"gpu-memory-utilization": 0.92, "max-num-seqs": 64});
        let candidate = json!({"gpu-memory-utilization": 0.95, "max-num-seqs": null});
        assert!(!pruned(FailureClass::OutOfMemory, &failed, &candidate));
    }

    #[test]
    fn what_is_not_deterministic_prunes_nothing() {
        let flags = json!({"max-num-seqs": 64});
        for class in [
            FailureClass::MemoryNotFree,
            FailureClass::GpuMemoryChanged,
            FailureClass::Credentials,
            FailureClass::NoGpu,
            FailureClass::CompileCache,
            FailureClass::SharedMemory,
            FailureClass::EngineDied,
            FailureClass::Killed,
            FailureClass::Timeout,
            FailureClass::TimeLimit,
            FailureClass::Environment,
            FailureClass::NotServing,
            FailureClass::Unknown,
            FailureClass::NoProgress,
        ] {
            assert!(!pruned(class, &flags, &flags), "{class:?}");
        }
        assert!(pruned(FailureClass::BadFlag, &flags, &flags));
    }

    #[test]
    fn another_environment_is_another_case() {
        let failed = configuration(&json!({"max-num-seqs": 64}));
        let mut candidate = failed.clone();
        candidate.environment.insert("VLLM_USE_V1".to_owned(), "1".to_owned());
        assert!(!prunes(&failed, FailureClass::BadFlag, &candidate));
    }
}
