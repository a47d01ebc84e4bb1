//! What the services of a rendered compose file are to each other, as far as a sweep that
//! stops one of them has to know: who needs it to run, and who may start it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::ComposeError;

/// What a service is to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relations {
    /// Services that it hangs on, each with the key that says so.
    pub needs: BTreeMap<String, &'static str>,
    /// Whether it has the daemon's socket.
    pub has_socket: bool,
    /// Its container's name, where the file gives it one.
    pub container_name: Option<String>,
}

/// The services of what the compose tool prints.
pub(super) fn of(yaml: &str) -> Result<BTreeMap<String, Relations>, ComposeError> {
    let file: File =
        serde_saphyr::from_str(yaml).map_err(|error| ComposeError::Form(error.to_string()))?;
    let related = |(name, value): (String, Value)| (name, relations(&value));
    Ok(file.services.into_iter().map(related).collect())
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    services: BTreeMap<String, Value>,
}

fn relations(service: &Value) -> Relations {
    let mut needs = BTreeMap::new();
    let mut add = |name: &str, key| {
        needs.entry(name.to_owned()).or_insert(key);
    };
    for key in ["network_mode", "ipc", "pid"] {
        if let Some(name) = service[key].as_str().and_then(|mode| mode.strip_prefix("service:")) {
            add(name, key);
        }
    }
    for key in ["depends_on", "links", "volumes_from"] {
        for entry in entries(&service[key]) {
            // `SERVICE:ALIAS`, `SERVICE:ro`; a container of somebody else is none of its services.
            let name = entry.split(':').next().unwrap_or(entry);
            if name != "container" || key != "volumes_from" {
                add(name, key);
            }
        }
    }
    Relations {
        needs,
        has_socket: entries(&service["volumes"]).chain(sources(service)).any(is_socket),
        container_name: service["container_name"].as_str().map(str::to_owned),
    }
}

/// The texts of a list, or the keys of a mapping.
fn entries(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    let keys = value.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str));
    list.chain(keys)
}

/// The sources of mounts in their long form.
fn sources(service: &Value) -> impl Iterator<Item = &str> {
    let volumes = service["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|it| it["source"].as_str())
}

fn is_socket(mount: &str) -> bool {
    let source = mount.split(':').next().unwrap_or(mount);
    source.ends_with("docker.sock") || source.ends_with("podman.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_on_a_service_is_seen_in_either_form() {
        let of = |lines: &str| {
            let yaml = format!("services:\n  llm: {{image: i}}\n  a:\n    image: i\n{lines}");
            of(&yaml).expect("a good file").remove("a").expect("it is there")
        };
        for (lines, key) in [
            ("    depends_on: [llm]\n", "depends_on"),
            ("    depends_on: {llm: {condition: service_started, restart: true}}\n", "depends_on"),
            ("    network_mode: service:llm\n", "network_mode"),
            ("    ipc: service:llm\n", "ipc"),
            ("    pid: service:llm\n", "pid"),
            ("    links: ['llm:server']\n", "links"),
            ("    volumes_from: ['llm:ro']\n", "volumes_from"),
        ] {
            let needs = of(lines).needs;
            assert_eq!(needs, BTreeMap::from([("llm".to_owned(), key)]), "{lines}");
        }
        let none = of("    volumes_from: ['container:llm']\n    network_mode: bridge\n");
        assert_eq!(none, Relations::default());
        let by_text = of("    volumes: ['/var/run/docker.sock:/var/run/docker.sock:ro']\n");
        assert!(by_text.has_socket);
        let mount = "{type: bind, source: /run/docker.sock, target: /s}";
        assert!(of(&format!("    volumes: [{mount}]\n")).has_socket);
        assert!(!of("    volumes: ['/srv/docker:/x']\n").has_socket);
    }
}
