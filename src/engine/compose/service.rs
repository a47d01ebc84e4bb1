//! Reads the YAML that the compose tool prints, v1's form and v2's. Scalars are
//! taken as they are written: `1e3` in a command is a text, whatever YAML
//! would make of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::ComposeError;
use super::options::Options;
use super::resources::{Device, Limit, Reserved, Volume, cdi_request, gpus_key, is_cdi};
use super::scalars::{bytes, scalar, undouble};
use super::spec::{MountKind, ServiceSpec};

/// Keys that a candidate does without on purpose.
const REPLACED: &[&str] = &[
    "container_name",
    "ports",
    "expose",
    "restart",
    "healthcheck",
    "logging",
    "depends_on",
    "labels",
    "hostname",
    "domainname",
    "stop_grace_period",
    "profiles",
];

/// Keys that mean nothing for a candidate: how an image comes here, what is shown where,
/// how many there are.
const PASSED_OVER: &[&str] =
    &["pull_policy", "pull_refresh_after", "attach", "develop", "label_file", "env_file"];

/// Keys of `deploy` that only a swarm reads.
const OF_SWARM: &[&str] = &[
    "mode",
    "placement",
    "update_config",
    "rollback_config",
    "restart_policy",
    "labels",
    "endpoint_mode",
];

/// The service `name` of a rendered compose file; `project` names networks and
/// volumes where the file (v1) leaves them to the project.
///
/// # Errors
/// No such service, or keys that a candidate cannot keep.
pub fn parse(yaml: &str, name: &str, project: &str) -> Result<ServiceSpec, ComposeError> {
    let form = |error: &dyn std::fmt::Display| ComposeError::Form(error.to_string());
    let names: Names = serde_saphyr::from_str(yaml).map_err(|error| form(&error))?;
    if !names.services.contains_key(name) {
        let services = names.services.into_keys().collect();
        return Err(ComposeError::NoService { service: name.to_owned(), services });
    }
    let mut file: File = serde_saphyr::from_str(yaml).map_err(|error| form(&error))?;
    let project = file.name.clone().unwrap_or_else(|| project.to_owned());
    let mut service = file.services.remove(name).unwrap_or_default();
    let (options, mut refused) = match service.options() {
        Ok(options) => (options, Vec::new()),
        Err(key) => (Options::default(), vec![key]),
    };
    refused.extend(service.refused());
    if !refused.is_empty() {
        return Err(ComposeError::Refused { service: name.to_owned(), keys: refused });
    }
    service.spec(&file, &project, options).map_err(ComposeError::Form)
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    services: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct File {
    name: Option<String>,
    services: BTreeMap<String, Service>,
    #[serde(default)]
    networks: BTreeMap<String, Option<Resource>>,
    #[serde(default)]
    volumes: BTreeMap<String, Option<Resource>>,
}

/// A network or volume of the project.
#[derive(Clone, Default, Deserialize)]
struct Resource {
    name: Option<String>,
    external: Option<External>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum External {
    Flag(bool),
    Named { name: String },
}

impl Resource {
    /// The name that the daemon knows it by.
    fn real_name(resource: Option<&Self>, key: &str, project: &str) -> String {
        let Some(resource) = resource else { return format!("{project}_{key}") };
        match (&resource.name, &resource.external) {
            (Some(name), _) | (None, Some(External::Named { name })) => name.clone(),
            (None, Some(External::Flag(true))) => key.to_owned(),
            _ => format!("{project}_{key}"),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    image: Option<String>,
    command: Option<Words>,
    entrypoint: Option<Words>,
    environment: BTreeMap<String, Option<String>>,
    volumes: Vec<Volume>,
    ipc: Option<String>,
    shm_size: Option<String>,
    ulimits: BTreeMap<String, Limit>,
    runtime: Option<String>,
    deploy: Option<Deploy>,
    gpus: Option<Value>,
    network_mode: Option<String>,
    networks: BTreeMap<String, Value>,
    extra_hosts: Option<Pairs>,
    user: Option<String>,
    working_dir: Option<String>,
    security_opt: Vec<String>,
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    devices: Vec<Device>,
    tmpfs: Option<Words>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Deploy {
    resources: Resources,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: BTreeMap<String, Value>,
    reservations: Reservations,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reservations {
    devices: Vec<Reserved>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Service {
    /// Its options, which are taken out of the other keys.
    fn options(&mut self) -> Result<Options, String> {
        let mut options = Options::take(&mut self.rest)?;
        if let Some(deploy) = &mut self.deploy {
            let resources = &mut deploy.resources;
            options.limit(&mut resources.limits, &mut resources.reservations.rest)?;
        }
        Ok(options)
    }

    /// Key and reason of everything that must not be lost silently.
    fn refused(&self) -> Vec<String> {
        let mut refused = Vec::new();
        if self.image.is_none() {
            refused.push(if self.rest.contains_key("build") {
                "`build` without `image` (build it, and give it a name by `image`)".to_owned()
            } else {
                "no `image`".to_owned()
            });
        }
        match self.network_mode.as_deref() {
            None | Some("bridge" | "default") => {}
            Some("host") => refused
                .push("`network_mode: host` (a candidate needs a port of its own)".to_owned()),
            Some(other) => refused.push(format!("`network_mode: {other}`")),
        }
        let unknown = self.rest.iter().filter(|(key, value)| {
            let is_one = *key == "scale" && scalar(value) == "1";
            let is_known = REPLACED.contains(&key.as_str()) || PASSED_OVER.contains(&key.as_str());
            !(is_known || is_one || *key == "build" || key.starts_with("x-") || is_empty(value))
        });
        refused.extend(unknown.map(|(key, _)| format!("`{key}`")));
        if let Some(deploy) = &self.deploy {
            let means_nothing = |key: &str, value: &Value| {
                (key == "replicas" && scalar(value) == "1") || OF_SWARM.contains(&key)
            };
            let parts = [
                ("deploy", &deploy.rest),
                ("deploy.resources", &deploy.resources.rest),
                ("deploy.resources.limits", &deploy.resources.limits),
                ("deploy.resources.reservations", &deploy.resources.reservations.rest),
            ];
            for (prefix, rest) in parts {
                let unknown = rest
                    .iter()
                    .filter(|(key, value)| !is_empty(value) && !means_nothing(key, value));
                refused.extend(unknown.map(|(key, _)| format!("`{prefix}.{key}`")));
            }
        }
        refused
    }

    fn spec(self, file: &File, project: &str, options: Options) -> Result<ServiceSpec, String> {
        let mut gpus = Vec::new();
        if let Some(deploy) = self.deploy {
            for reserved in deploy.resources.reservations.devices {
                gpus.push(reserved.request()?);
            }
        }
        let devices = self.devices.into_iter().map(Device::text);
        let (cdi, devices): (Vec<String>, Vec<String>) = devices.partition(|it| is_cdi(it));
        gpus.extend(cdi_request(&cdi));
        if let Some(requested) = &self.gpus {
            gpus.extend(gpus_key(requested)?);
        }
        let network = |key: &String| {
            Resource::real_name(file.networks.get(key).and_then(Option::as_ref), key, project)
        };
        let networks: Vec<String> = match self.network_mode {
            Some(_) => Vec::new(),
            None if self.networks.is_empty() => vec![network(&"default".to_owned())],
            None => self.networks.keys().map(network).collect(),
        };
        let mounts = self.volumes.into_iter().map(|volume| {
            let mut mount = volume.mount()?;
            if mount.kind == MountKind::Volume
                && let Some(key) = &mount.source
            {
                let resource = file.volumes.get(key).and_then(Option::as_ref);
                mount.source = Some(Resource::real_name(resource, key, project));
            }
            Ok::<_, String>(mount)
        });
        let undoubled = |key: &str, words: Option<Words>| -> Result<Option<Vec<String>>, String> {
            words.map(|words| words.split(key)).transpose()
        };
        Ok(ServiceSpec {
            image: self.image.map(|image| undouble(&image)).unwrap_or_default(),
            command: undoubled("command", self.command)?,
            entrypoint: undoubled("entrypoint", self.entrypoint)?,
            environment: self
                .environment
                .into_iter()
                .filter_map(|(name, value)| Some((name, undouble(&value?))))
                .collect(),
            mounts: mounts.collect::<Result<_, _>>()?,
            ipc: self.ipc,
            shm_size: self.shm_size.map(|size| bytes(&size)).transpose()?,
            ulimits: self.ulimits.into_iter().map(|(name, limit)| limit.named(name)).collect(),
            runtime: self.runtime,
            gpus,
            networks,
            extra_hosts: self.extra_hosts.map(Pairs::hosts).unwrap_or_default(),
            user: self.user,
            working_dir: self.working_dir.map(|path| undouble(&path)),
            security_opt: self.security_opt,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            devices,
            options,
            tmpfs: self.tmpfs.map(Words::list).unwrap_or_default(),
            said: Vec::new(),
            replaced: self
                .rest
                .into_keys()
                .filter(|key| !key.starts_with("x-") && !PASSED_OVER.contains(&key.as_str()))
                .collect(),
        })
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A string with shell quoting, or a list.
pub(super) enum Words {
    /// The string.
    Text(String),
    /// The list.
    List(Vec<String>),
}

impl Words {
    /// The words of `key`. Its text is not in the message: it may hold a key.
    fn split(self, key: &str) -> Result<Vec<String>, String> {
        match self {
            Self::Text(text) => shell_words::split(&undouble(&text)).map_err(|error| {
                format!("`{key}` is not quoted as a shell would read it: {error}")
            }),
            Self::List(words) => Ok(words.iter().map(|word| undouble(word)).collect()),
        }
    }

    fn list(self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![undouble(&text)],
            Self::List(words) => words,
        }
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Words;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                Ok(Words::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = items.next_element::<String>()? {
                    words.push(word);
                }
                Ok(Words::List(words))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// `host: address` (v1) or a list of `host:address` or `host=address` (v2).
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn hosts(self) -> Vec<String> {
        self.0.into_iter().map(|(host, address)| format!("{host}:{address}")).collect()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a mapping or a list of `host:address`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(item) = items.next_element::<String>()? {
                    let (host, address) = item
                        .split_once(['=', ':'])
                        .ok_or_else(|| A::Error::custom(format!("`{item}` has no address")))?;
                    pairs.push((host.to_owned(), address.to_owned()));
                }
                Ok(Pairs(pairs))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, String>()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
