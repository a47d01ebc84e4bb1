//! When a candidate need not ask the hub. Once a launch has served, its model is
//! in the cache; if that cache is kept, later launches of the same model start
//! with `HF_HUB_OFFLINE=1`: no download during a sweep, no boot that hangs on a
//! hub that does not answer. What a configuration takes from the hub besides the
//! model (a draft model, a tokenizer) must have served as well. The cache itself
//! is not looked into, so a sweep's first launch always asks. Some models ask the
//! hub at every start, in vain or not: where such a launch fails in the hub's
//! words, the variable is left out for the rest of the sweep. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::configuration::{Configuration, Flags};
use crate::engine::failure::{is_local, misses_hub};
use crate::flags;
use crate::history::launch::{FailureClass, LaunchFailure};

/// The variable that keeps `huggingface_hub` from asking.
pub(super) const VARIABLE: &str = "HF_HUB_OFFLINE";

/// Flags that name something on the hub.
const FROM_THE_HUB: &[&str] = &[
    "code-revision",
    "config-format",
    "generation-config",
    "hf-config-path",
    "load-format",
    "lora-modules",
    "revision",
    "speculative-config",
    "tokenizer",
    "tokenizer-mode",
    "tokenizer-revision",
];

/// What has served, by what it takes from the hub.
#[derive(Debug, Default)]
pub(super) struct Offline {
    served: Vec<(Flags, BTreeMap<String, String>)>,
    is_off: bool,
}

impl Offline {
    /// A launch of this configuration served: what it needs is in the cache.
    pub(super) fn served(&mut self, configuration: &Configuration) {
        let needs = needs(configuration);
        if !self.served.contains(&needs) {
            self.served.push(needs);
        }
    }

    /// Whether everything that this configuration of this model needs has served.
    pub(super) fn applies_to(&self, configuration: &Configuration, model: Option<&str>) -> bool {
        !self.is_off
            && model.is_none_or(is_of_the_hub)
            && !configuration.environment.contains_key(VARIABLE)
            && self.served.contains(&needs(configuration))
    }

    /// Looks whether a launch with the variable failed because of it. Then it is
    /// left out from now on, and the failure is one that may pass.
    pub(super) fn blamed(&mut self, failure: LaunchFailure, log: &str) -> LaunchFailure {
        // These have a cause of their own, whatever else the log says of the hub.
        let may_be = matches!(
            failure.class,
            FailureClass::Unknown
                | FailureClass::Environment
                | FailureClass::Credentials
                | FailureClass::BadFlag
                | FailureClass::EngineDied
        );
        if failure.cancelled || !may_be || !misses_hub(log) {
            return failure;
        }
        self.is_off = true;
        LaunchFailure {
            class: FailureClass::Environment,
            missing_path: None,
            message: format!(
                "{} ({VARIABLE}=1, which vllm-grid had set, kept it from asking the hub; it is left out for the rest of the sweep)",
                failure.message
            ),
            ..failure
        }
    }
}

/// Whether a model comes from the hub, as far as it is known: not from a folder, and not
/// from what only the container's shell expands, which may be a folder.
fn is_of_the_hub(model: &str) -> bool {
    !is_local(model)
        && !flags::is_unexpanded(&Value::from(model))
        && !std::path::Path::new(model).is_dir()
}

fn needs(configuration: &Configuration) -> (Flags, BTreeMap<String, String>) {
    let is_needed =
        |name: &str| FROM_THE_HUB.contains(&name.split_once('.').map_or(name, |(whole, _)| whole));
    let mut flags = configuration.flags.clone();
    flags.retain(|name, _| is_needed(name));
    let variables = configuration.environment.iter().filter(|(name, _)| name.starts_with("HF_"));
    (flags, variables.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MODEL: Option<&str> = Some("example/model-8b");

    fn configuration(flags: &Value) -> Configuration {
        let flags: Flags = flags.as_object().expect("flags").clone().into_iter().collect();
        Configuration {
            name: "c".to_owned(),
            aliases: Vec::new(),
            id: "0".to_owned(),
            varied: Flags::new(),
            flags,
            environment: BTreeMap::new(),
            ..Default::default()
        }
    }

    #[test]
    fn only_what_served_is_launched_without_the_hub() {
        let mut offline = Offline::default();
        let plain = configuration(&json!({"max-num-seqs": 8}));
        assert!(!offline.applies_to(&plain, MODEL), "the first launch asks");
        offline.served(&plain);
        assert!(offline.applies_to(&configuration(&json!({"max-num-seqs": 16})), MODEL));
        let drafted = configuration(&json!({"speculative-config": {"model": "d"}}));
        assert!(!offline.applies_to(&drafted, MODEL), "its draft model may not be there yet");
        offline.served(&drafted);
        assert!(offline.applies_to(&drafted, MODEL));
        let mut decided = plain;
        decided.environment.insert(VARIABLE.to_owned(), "0".to_owned());
        assert!(!offline.applies_to(&decided, MODEL), "the grid has decided");
    }

    #[test]
    fn a_model_that_is_a_path_asks_nobody() {
        let mut offline = Offline::default();
        let plain = configuration(&json!({}));
        offline.served(&plain);
        for path in ["/models/m", "./m", "../m", "~/m", "."] {
            assert!(!offline.applies_to(&plain, Some(path)), "{path}");
        }
        assert!(offline.applies_to(&plain, None), "not known");
        for unexpanded in ["$MODEL", "${MODEL:-/models/m}", "`cat model`", "\"$MODEL\""] {
            assert!(!offline.applies_to(&plain, Some(unexpanded)), "{unexpanded}: maybe a path");
        }
    }

    #[test]
    fn a_launch_that_fails_for_lack_of_the_hub_is_the_last_one_without_it() {
        let hub = "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files";
        let plain = configuration(&json!({}));
        for class in [FailureClass::Unknown, FailureClass::BadFlag, FailureClass::Environment] {
            let mut offline = Offline::default();
            offline.served(&plain);
            let failure = offline.blamed(LaunchFailure::new(class, "it ended"), hub);
            assert_eq!(failure.class, FailureClass::Environment, "so it is launched again");
            assert!(failure.message.contains("HF_HUB_OFFLINE=1"), "{}", failure.message);
            offline.served(&plain);
            assert!(!offline.applies_to(&plain, MODEL), "left out for good");
        }
        let mut offline = Offline::default();
        offline.served(&plain);
        let own = LaunchFailure::new(FailureClass::OutOfMemory, "too large");
        assert_eq!(offline.blamed(own.clone(), hub), own);
        let other = LaunchFailure::new(FailureClass::Unknown, "it ended");
        assert_eq!(offline.blamed(other.clone(), "AssertionError"), other);
        assert!(offline.applies_to(&plain, MODEL));
    }
}
