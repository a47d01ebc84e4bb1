//! What a service asks of the machine, in the compose tool's forms: GPUs,
//! devices, limits, volumes, sizes. The service around them is read elsewhere.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::scalars::{bytes, scalar, undouble};
use super::spec::{GpuRequest, Mount, MountKind, Ulimit};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reserved {
    driver: Option<String>,
    count: Option<String>,
    device_ids: Vec<String>,
    capabilities: Vec<String>,
    options: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Limit {
    Both(i64),
    Each { soft: i64, hard: i64 },
}

impl Limit {
    pub(super) fn named(self, name: String) -> Ulimit {
        let (soft, hard) = match self {
            Self::Both(limit) => (limit, limit),
            Self::Each { soft, hard } => (soft, hard),
        };
        Ulimit { name, soft, hard }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Device {
    Short(String),
    Long { source: String, target: String, permissions: Option<String> },
}

impl Device {
    pub(super) fn text(self) -> String {
        match self {
            Self::Short(text) => text,
            Self::Long { source, target, permissions } => {
                format!("{source}:{target}:{}", permissions.as_deref().unwrap_or("rwm"))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Volume {
    Short(String),
    Long(Box<LongVolume>),
}

#[derive(Deserialize)]
pub(super) struct LongVolume {
    r#type: String,
    source: Option<String>,
    target: String,
    #[serde(default)]
    read_only: bool,
    bind: Option<BindOptions>,
    volume: Option<VolumeOptions>,
    tmpfs: Option<TmpfsOptions>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct BindOptions {
    create_host_path: bool,
    propagation: Option<String>,
    selinux: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct VolumeOptions {
    nocopy: bool,
    subpath: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TmpfsOptions {
    size: Option<Value>,
    mode: Option<i64>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Volume {
    pub(super) fn mount(self) -> Result<Mount, String> {
        match self {
            Self::Short(text) => Ok(short_volume(&undouble(&text))),
            Self::Long(long) => {
                let (bind, volume, tmpfs) = (
                    long.bind.unwrap_or_default(),
                    long.volume.unwrap_or_default(),
                    long.tmpfs.unwrap_or_default(),
                );
                // How a mount is kept alike is of no effect on Linux.
                let all = [&long.rest, &bind.rest, &volume.rest, &tmpfs.rest];
                let unknown = all.into_iter().flatten().find(|(key, value)| {
                    *key != "consistency" && !key.starts_with("x-") && !value.is_null()
                });
                if let Some((key, _)) = unknown {
                    return Err(format!("a volume's `{key}` (`{}`)", long.target));
                }
                let nocopy = volume.nocopy.then(|| "nocopy".to_owned());
                let options = [bind.selinux, bind.propagation, nocopy];
                let kind = match long.r#type.as_str() {
                    "bind" => MountKind::Bind,
                    "volume" => MountKind::Volume,
                    "tmpfs" => MountKind::Tmpfs,
                    other => return Err(format!("a volume of type `{other}`")),
                };
                let size = tmpfs.size;
                Ok(Mount {
                    kind,
                    source: long.source.map(|source| undouble(&source)),
                    target: undouble(&long.target),
                    read_only: long.read_only,
                    create_host_path: bind.create_host_path,
                    tmpfs_size: size.map(|size| bytes(&scalar(&size))).transpose()?,
                    tmpfs_mode: tmpfs.mode,
                    options: options.into_iter().flatten().collect(),
                    subpath: volume.subpath,
                })
            }
        }
    }
}

/// `[source:]target[:mode]`; the tool has made paths of the host absolute.
fn short_volume(text: &str) -> Mount {
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default().to_owned();
    let (source, target) = match parts.next() {
        Some(target) => (Some(first), target.to_owned()),
        None => (None, first),
    };
    let mode = parts.next().unwrap_or_default();
    let is_path = source.as_deref().is_some_and(|source| source.starts_with('/'));
    Mount {
        kind: if is_path { MountKind::Bind } else { MountKind::Volume },
        source,
        target,
        read_only: mode.split(',').any(|option| option == "ro"),
        create_host_path: true,
        tmpfs_size: None,
        tmpfs_mode: None,
        options: mode
            .split(',')
            .filter(|option| {
                !["", "ro", "rw", "cached", "delegated", "consistent"].contains(option)
            })
            .map(str::to_owned)
            .collect(),
        subpath: None,
    }
}

/// The driver of devices that the Container Device Interface names.
const CDI: &str = "cdi";

/// Whether a device is a name of the Container Device Interface (`nvidia.com/gpu=all`) and
/// not a path.
pub(super) fn is_cdi(device: &str) -> bool {
    let is_kind = |kind: &str| !kind.starts_with(['/', '.']) && kind.contains('/');
    device.split_once('=').is_some_and(|(kind, name)| is_kind(kind) && !name.is_empty())
}

/// The request for such devices; `None` without any.
pub(super) fn cdi_request(devices: &[String]) -> Option<GpuRequest> {
    // The long form has the name as the path inside, too: `NAME:NAME:rwm`.
    let name = |device: &String| match device.split_once(':') {
        Some((name, behind)) if behind.starts_with(name) => name.to_owned(),
        _ => device.strip_suffix(":rwm").unwrap_or(device).to_owned(),
    };
    (!devices.is_empty()).then(|| GpuRequest {
        driver: Some(CDI.to_owned()),
        device_ids: devices.iter().map(name).collect(),
        ..GpuRequest::default()
    })
}

impl Reserved {
    pub(super) fn request(self) -> Result<GpuRequest, String> {
        let count = match self.count.as_deref() {
            None => None,
            Some("all") => Some(-1),
            Some(count) => Some(count.parse().map_err(|_| format!("a GPU count of `{count}`"))?),
        };
        // Without either, compose asks for all.
        let count = if count.is_none() && self.device_ids.is_empty() { Some(-1) } else { count };
        Ok(GpuRequest {
            driver: self.driver,
            count,
            device_ids: self.device_ids,
            capabilities: self.capabilities,
            options: self.options,
        })
    }
}

/// `gpus: all`, or a list of requests (v2.30 and later).
pub(super) fn gpus_key(requested: &Value) -> Result<Vec<GpuRequest>, String> {
    let with_capability = |mut request: GpuRequest| {
        if request.capabilities.is_empty() {
            request.capabilities.push("gpu".to_owned());
        }
        request
    };
    match requested {
        Value::Null => Ok(Vec::new()),
        Value::String(all) if all == "all" => {
            let all = GpuRequest { count: Some(-1), ..GpuRequest::default() };
            Ok(vec![with_capability(all)])
        }
        Value::Array(items) => {
            let texts = |value: &Value| -> Vec<String> {
                value.as_array().into_iter().flatten().map(scalar).collect()
            };
            let requests = items.iter().map(|item| {
                Reserved {
                    driver: item["driver"].as_str().map(str::to_owned),
                    count: (!item["count"].is_null()).then(|| scalar(&item["count"])),
                    device_ids: texts(&item["device_ids"]),
                    capabilities: texts(&item["capabilities"]),
                    options: BTreeMap::new(),
                }
                .request()
                .map(with_capability)
            });
            requests.collect()
        }
        other => Err(format!("`gpus: {other}`")),
    }
}
