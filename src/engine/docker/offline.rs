//! When a candidate need not ask the hub. Once a launch has served, its model is
//! in the cache; if that cache is kept, later launches of the same model start
//! with `HF_HUB_OFFLINE=1`: no download during a sweep, no boot that hangs on a
//! hub that does not answer. What a configuration takes from the hub besides the
//! model (a draft model, a tokenizer) must have served as well. The cache itself
//! is not looked into, so a sweep's first launch always asks. Pure.

use std::collections::BTreeMap;

use super::caches;
use crate::configuration::{Configuration, Flags};
use crate::engine::compose::{MountKind, ServiceSpec};

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
pub(super) struct Offline(Vec<(Flags, BTreeMap<String, String>)>);

impl Offline {
    /// A launch of this configuration served: what it needs is in the cache.
    pub(super) fn served(&mut self, configuration: &Configuration) {
        let needs = needs(configuration);
        if !self.0.contains(&needs) {
            self.0.push(needs);
        }
    }

    /// Whether everything that this configuration needs has served.
    pub(super) fn applies_to(&self, configuration: &Configuration) -> bool {
        !configuration.environment.contains_key(VARIABLE) && self.0.contains(&needs(configuration))
    }
}

fn needs(configuration: &Configuration) -> (Flags, BTreeMap<String, String>) {
    let is_needed =
        |name: &str| FROM_THE_HUB.contains(&name.split_once('.').map_or(name, |(whole, _)| whole));
    let mut flags = configuration.flags.clone();
    flags.retain(|name, _| is_needed(name));
    let variables = configuration.environment.iter().filter(|(name, _)| name.starts_with("HF_"));
    (flags, variables.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Whether the hub's cache outlives a container: a mount of the service holds
/// it, or ours does.
pub(super) fn is_kept(service: &ServiceSpec, ours: bool, image_id: &str) -> bool {
    let lacking = caches::missing(service, image_id).iter().any(|cache| !cache.compiled);
    let on_disk = !service.mounts.iter().any(|mount| mount.kind == MountKind::Tmpfs);
    if lacking { ours } else { on_disk }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn configuration(flags: &Value) -> Configuration {
        let flags: Flags = flags.as_object().expect("flags").clone().into_iter().collect();
        Configuration {
            name: "c".to_owned(),
            aliases: Vec::new(),
            id: "0".to_owned(),
            varied: Flags::new(),
            flags,
            environment: BTreeMap::new(),
        }
    }

    #[test]
    fn only_what_served_is_launched_without_the_hub() {
        let mut offline = Offline::default();
        let plain = configuration(&json!({"max-num-seqs": 8}));
        assert!(!offline.applies_to(&plain), "the first launch asks");
        offline.served(&plain);
        assert!(offline.applies_to(&configuration(&json!({"max-num-seqs": 16}))));
        let drafted = configuration(&json!({"speculative-config": {"model": "d"}}));
        assert!(!offline.applies_to(&drafted), "its draft model may not be there yet");
        offline.served(&drafted);
        assert!(offline.applies_to(&drafted));
        let mut decided = plain;
        decided.environment.insert(VARIABLE.to_owned(), "0".to_owned());
        assert!(!offline.applies_to(&decided), "the grid has decided");
    }

    #[test]
    fn a_cache_that_goes_with_the_container_is_none() {
        let service = ServiceSpec::of_image("i", Vec::new());
        assert!(is_kept(&service, true, "sha256:0"));
        assert!(!is_kept(&service, false, "sha256:0"));
    }
}
