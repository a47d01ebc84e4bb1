//! What production's container is made of, part by part and without regard to order: the
//! compose tool writes binds, ports and labels in another order at each creation. Values are
//! kept as hashes, and those of secrets not at all: another key measures the same. What the
//! daemon or the compose tool adds by itself is no part.

use std::collections::BTreeMap;

use bollard::models::ContainerInspectResponse;
use serde_json::{Map, Value, json};

use crate::configuration::canonical;
use crate::engine::compose::parts::{arguments, hash};
use crate::secret::is_secret;

/// Of the daemon, of the terminal of who made it, or of the one creation.
const NOT_ITS_OWN: &[&str] = &[
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "ConsoleSize",
    "ContainerIDFile",
    "Image",
    "MaskedPaths",
    "ReadonlyPaths",
];

/// Lists whose order means something.
const ORDERED: &[&str] = &["Dns", "DnsOptions", "DnsSearch", "OnBuild", "Shell", "Test"];

/// Labels that the compose tool and Docker Desktop note for themselves, such as the id of the
/// container before.
const NOTES: &[&str] = &["com.docker.compose.", "desktop.docker."];

/// Length of the name of a volume that nobody named.
const NAME_OF_ANONYMOUS: usize = 64;

/// Name of each part, and a hash of what it is.
pub(super) fn of(seen: &ContainerInspectResponse) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let mut add = |name: String, value: Value| {
        // What stands under such a name is masked wherever it is written, its hash too.
        if !is_nothing(&value) && !is_secret(&name) {
            parts.insert(name, hash(&value));
        }
    };
    add("image".to_owned(), json!(seen.image));
    let mut mounts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let id = seen.id.as_deref().unwrap_or_default();
    for (name, value) in fields(&seen.config).into_iter().chain(fields(&seen.host_config)) {
        match (name.as_str(), value) {
            (name, _) if NOT_ITS_OWN.contains(&name) => {}
            // By default it is the beginning of the id: one that was made again has another.
            ("Hostname", Value::String(host)) if id.starts_with(&host) => {}
            ("Env", value) => {
                for (name, value) in variables(&value).into_iter().filter(|it| !is_secret(it.0)) {
                    add(format!("environment: {name}"), json!(value));
                }
            }
            ("Cmd", value) => add("command".to_owned(), words(value)),
            ("Entrypoint", value) => add("entrypoint".to_owned(), words(value)),
            ("Labels", Value::Object(labels)) => {
                let is_note = |name: &str| NOTES.iter().any(|it| name.starts_with(it));
                for (name, value) in labels.into_iter().filter(|(name, _)| !is_note(name)) {
                    add(format!("label: {name}"), value);
                }
            }
            ("PortBindings", Value::Object(ports)) => {
                for (port, bindings) in ports {
                    add(format!("port: {port}"), unordered(bindings));
                }
            }
            ("Binds", Value::Array(binds)) => {
                for (target, value) in binds.iter().filter_map(Value::as_str).map(bind) {
                    mounts.entry(target).or_default().push(value);
                }
            }
            ("Mounts", Value::Array(all)) => {
                for mount in all {
                    let target = mount["Target"].as_str().unwrap_or_default().to_owned();
                    mounts.entry(target).or_default().push(unordered(mount));
                }
            }
            (name, value) if ORDERED.contains(&name) => add(name.to_owned(), value),
            (name, value) => add(name.to_owned(), unordered(value)),
        }
    }
    for (target, mounts) in mounts {
        add(format!("mount: {target}"), unordered(Value::Array(mounts)));
    }
    parts
}

/// The fields of one of the daemon's answers, by the daemon's names.
fn fields(of: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(of) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The last value of each variable: that is the one which the process has.
fn variables(list: &Value) -> BTreeMap<&str, Option<&str>> {
    let pairs = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        })
        .collect()
}

fn words(value: Value) -> Value {
    arguments(serde_json::from_value::<Option<Vec<String>>>(value).ok().flatten().as_deref())
}

/// Where a bind is mounted, and what: `rw` is what it is without a word.
fn bind(text: &str) -> (String, Value) {
    let (source, rest) = text.split_once(':').unwrap_or(("", text));
    let (target, options) = rest.split_once(':').unwrap_or((rest, ""));
    let mut options: Vec<&str> =
        options.split(',').filter(|it| !matches!(*it, "" | "rw")).collect();
    options.sort_unstable();
    // A volume that nobody named has another name each time.
    let is_anonymous =
        source.len() == NAME_OF_ANONYMOUS && source.bytes().all(|it| it.is_ascii_hexdigit());
    let source = if is_anonymous { "" } else { source };
    (target.to_owned(), json!([source, options]))
}

/// What another daemon leaves out: no limit is no limit, however it is written.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(it) => !it,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        // Of an exposed port or an anonymous volume the name is all there is.
        Value::Object(fields) => fields.is_empty(),
    }
}

/// The same with each list sorted that has no order, and without what says nothing.
fn unordered(value: Value) -> Value {
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(unordered).collect();
            list.sort_by_cached_key(canonical);
            Value::Array(list)
        }
        Value::Object(fields) => {
            let of = |(name, value): (String, Value)| {
                let value = if ORDERED.contains(&name.as_str()) { value } else { unordered(value) };
                (name, value)
            };
            let says = |(_, value): &(String, Value)| {
                !is_nothing(value) || value.as_object().is_some_and(Map::is_empty)
            };
            Value::Object(fields.into_iter().map(of).filter(says).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(config: &Value, host: &Value) -> ContainerInspectResponse {
        let id = "0123456789abcdef";
        serde_json::from_value(json!({
            "Id": id, "Image": "sha256:a", "Config": config, "HostConfig": host,
        }))
        .expect("an answer of the daemon")
    }

    /// A container that the compose tool made; `turned`: once more, in another order.
    fn made(turned: bool) -> (Value, Value) {
        let list = |items: &[&str]| {
            let mut items: Vec<&str> = items.to_vec();
            if turned {
                items.reverse();
            }
            json!(items)
        };
        let (replaces, host) = if turned { ("b", "0123456789ab") } else { ("a", "") };
        let volume = if turned { "1".repeat(64) } else { "a".repeat(64) };
        let config = json!({
            "Hostname": host,
            "Env": list(&["A=1", "HF_TOKEN=hf_abcdefgh", "B=2", "TOKEN=abcdefgh"]),
            "Cmd": ["m", "--port", "8000", "--api-key", "sk-abcdefgh"],
            "Entrypoint": ["vllm", "serve"],
            "Labels": {"com.docker.compose.replace": replaces, "mine": "1"},
            "Volumes": {"/data": {}},
        });
        let anonymous = format!("{volume}:/data:rw");
        let mounts = [
            json!({"Type": "tmpfs", "Target": "/t"}),
            json!({"Type": "bind", "Source": "/x", "Target": "/x"}),
        ];
        let mounts = if turned { [mounts[1].clone(), mounts[0].clone()] } else { mounts };
        let host = json!({
            "Binds": list(&["/models:/m:ro", &anonymous, "hub:/hub:rw,z"]),
            "Mounts": mounts,
            "PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": "8000"}]},
            "CapAdd": list(&["SYS_NICE", "IPC_LOCK"]),
            "ShmSize": 1 << 30,
            "Memory": 0,
            "DeviceRequests": [{
                "Driver": "nvidia", "DeviceIDs": list(&["0", "1"]), "Capabilities": [list(&["gpu", "compute"])],
            }],
            "Dns": ["1.1.1.1", "8.8.8.8"],
        });
        (config, host)
    }

    fn changed(change: impl FnOnce(&mut Value, &mut Value)) -> Vec<String> {
        let (config, host) = made(false);
        let before = of(&seen(&config, &host));
        let (mut config, mut host) = made(true);
        change(&mut config, &mut host);
        let now = of(&seen(&config, &host));
        let all: std::collections::BTreeSet<_> = before.keys().chain(now.keys()).cloned().collect();
        all.into_iter().filter(|name| before.get(name) != now.get(name)).collect()
    }

    type Change = fn(&mut Value, &mut Value);

    #[test]
    fn another_order_is_no_change_and_each_part_has_a_name() {
        assert_eq!(changed(|_, _| {}), [""; 0]);
        let cases: [(&str, Change); 13] = [
            ("environment: B", |config, _| config["Env"] = json!(["A=1", "B=3"])),
            // The last one counts.
            ("environment: A", |config, _| config["Env"] = json!(["A=1", "B=2", "A=2"])),
            ("command", |config, _| config["Cmd"] = json!(["m", "8000", "--port"])),
            ("entrypoint", |config, _| config["Entrypoint"] = json!(["serve", "vllm"])),
            ("label: mine", |config, _| config["Labels"] = json!({})),
            ("Volumes", |config, _| config["Volumes"] = json!({"/other": {}})),
            ("mount: /m", |_, host| host["Binds"][2] = json!("/other:/m:ro")),
            ("mount: /hub", |_, host| host["Binds"][0] = json!("hub:/hub:z,ro")),
            ("mount: /x", |_, host| host["Mounts"][0]["Source"] = json!("/y")),
            ("port: 8000/tcp", |_, host| {
                host["PortBindings"] = json!({"8000/tcp": [{"HostPort": "9000"}]});
            }),
            ("ShmSize", |_, host| host["ShmSize"] = json!(1_i64 << 31)),
            ("Memory", |_, host| host["Memory"] = json!(1_i64 << 33)),
            ("Dns", |_, host| host["Dns"] = json!(["8.8.8.8", "1.1.1.1"])),
        ];
        for (name, change) in cases {
            assert_eq!(changed(change), [name]);
        }
        assert_eq!(changed(|_, host| host["OomKillDisable"] = json!(false)), [""; 0]);
    }

    #[test]
    fn no_secret_is_in_any_part() {
        let (config, host) = made(false);
        let parts = of(&seen(&config, &host));
        assert!(!parts.keys().any(|name| name.contains("TOKEN")), "{parts:?}");
        let other_keys = |config: &mut Value, _: &mut Value| {
            config["Cmd"][4] = json!("sk-another");
            config["Env"] = json!(["A=1", "B=2", "HF_TOKEN=hf_another", "TOKEN=another"]);
        };
        assert_eq!(changed(other_keys), [""; 0]);
    }
}
