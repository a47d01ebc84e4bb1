//! What a service is made of besides its image, part by part, so that a later session can
//! say what changed. Values are kept as hashes, and those of secrets not at all: another key
//! measures the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Mount, ServiceSpec};
use crate::configuration::{canonical, hexadecimal};
use crate::engine::command::redacted;
use crate::secret::is_secret;

/// Name of each part, and a hash of what it is.
pub fn of(service: &ServiceSpec) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    for (name, value) in &service.environment {
        parts.insert(format!("environment: {name}"), hash(&json!(value)));
    }
    for mount in &service.mounts {
        let Mount { kind, source, target, read_only, create_host_path: _, .. } = mount;
        let Mount { tmpfs_size, tmpfs_mode, options, subpath, .. } = mount;
        let kind = format!("{kind:?}");
        let value = json!([kind, source, read_only, tmpfs_size, tmpfs_mode, options, subpath]);
        parts.insert(format!("volumes: {target}"), hash(&value));
    }
    let gpus = service
        .gpus
        .iter()
        .map(|it| json!([it.driver, it.count, it.device_ids, it.capabilities, it.options]));
    let ulimits = service.ulimits.iter().map(|it| json!([it.name, it.soft, it.hard]));
    for (name, value) in [
        ("entrypoint", arguments(service.entrypoint.as_deref())),
        ("command", arguments(service.command.as_deref())),
        ("ipc", json!(service.ipc)),
        ("shm_size", json!(service.shm_size)),
        ("ulimits", ulimits.collect()),
        ("runtime", json!(service.runtime)),
        ("gpus", gpus.collect()),
        ("networks", json!(service.networks)),
        ("extra_hosts", json!(service.extra_hosts)),
        ("user", json!(service.user)),
        ("working_dir", json!(service.working_dir)),
        ("security_opt", json!(service.security_opt)),
        ("cap_add", json!(service.cap_add)),
        ("cap_drop", json!(service.cap_drop)),
        ("devices", json!(service.devices)),
        ("tmpfs", json!(service.tmpfs)),
    ] {
        if !value.is_null() && value != json!([]) {
            parts.insert(name.to_owned(), hash(&value));
        }
    }
    let options = serde_json::to_value(&service.options).unwrap_or_default();
    for (name, value) in options.as_object().into_iter().flatten() {
        if !(value.is_null() || *value == json!([]) || *value == json!({})) {
            parts.insert(name.clone(), hash(value));
        }
    }
    // What stands under such a name is masked wherever it is written, its hash too.
    let bare = |name: &str| name.split_once(": ").is_some_and(|(_, bare)| is_secret(bare));
    parts.retain(|name, _| !is_secret(name) && !bare(name));
    parts
}

/// What is compared of a list of arguments: not its secrets.
pub fn arguments(list: Option<&[String]>) -> Value {
    let shown = json!(list.map(redacted));
    // Of a script or of program text only the whole shows a change.
    let text = shown.to_string();
    let is_hidden = text.contains("(shell script)") || text.contains("(program text)");
    if is_hidden { json!(list) } else { shown }
}

/// Enough of a hash to distinguish two values of a part.
pub fn hash(value: &Value) -> String {
    hexadecimal(&Sha256::digest(canonical(value).as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compose::MountKind;

    fn service() -> ServiceSpec {
        let mount = Mount {
            kind: MountKind::Bind,
            source: Some("/models".to_owned()),
            target: "/root/models".to_owned(),
            read_only: true,
            ..Mount::default()
        };
        let pairs = [("HF_TOKEN", "hf_secret-of-a-user"), ("VLLM_USE_V1", "1")];
        let command = ["m", "--api-key", "sk-secret-of-a-user"].map(str::to_owned);
        ServiceSpec {
            environment: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            mounts: vec![mount],
            command: Some(command.into()),
            shm_size: Some(1 << 30),
            ..ServiceSpec::of_image("i", Vec::new())
        }
    }

    /// Names of the parts that a change changes.
    fn changed(change: impl FnOnce(&mut ServiceSpec)) -> Vec<String> {
        let (before, mut now) = (of(&service()), service());
        change(&mut now);
        let now = of(&now);
        let all: std::collections::BTreeSet<_> = before.keys().chain(now.keys()).cloned().collect();
        all.into_iter().filter(|name| before.get(name) != now.get(name)).collect()
    }

    #[test]
    fn each_part_has_a_name_and_no_secret_is_in_any() {
        let text = format!("{:?}", of(&service()));
        for value in ["secret-of-a-user", "\"/models\"", "sk-"] {
            assert!(!text.contains(value), "{text}");
        }
        assert!(!of(&service()).contains_key("environment: HF_TOKEN"));
        let variable = |name: &'static str, value: &'static str| {
            changed(|it| drop(it.environment.insert(name.to_owned(), value.to_owned())))
        };
        assert_eq!(variable("VLLM_USE_V1", "0"), ["environment: VLLM_USE_V1"]);
        assert_eq!(variable("OMP_NUM_THREADS", "4"), ["environment: OMP_NUM_THREADS"]);
        assert!(variable("HF_TOKEN", "hf_another").is_empty(), "another key measures the same");
        assert!(variable("TOKEN", "another").is_empty(), "it has no other word");
        let source = changed(|it| it.mounts[0].source = Some("/other".to_owned()));
        assert_eq!(source, ["volumes: /root/models"]);
        assert_eq!(changed(|it| it.mounts.clear()), ["volumes: /root/models"]);
        assert_eq!(changed(|it| it.shm_size = None), ["shm_size"]);
        assert_eq!(changed(|it| it.options.memory = Some(1)), ["memory"]);
        assert_eq!(
            changed(|it| it.mounts[0].options.push("z".to_owned())),
            ["volumes: /root/models"]
        );
        assert_eq!(changed(|it| it.ipc = Some("host".to_owned())), ["ipc"]);
        assert!(changed(|it| it.image = "j".to_owned()).is_empty(), "it has a name of its own");
        let key = |it: &mut ServiceSpec| it.command.as_mut().expect("one")[2] = "sk-x".to_owned();
        assert!(changed(key).is_empty());
    }
}
