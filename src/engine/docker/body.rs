//! From a service and a launch to the body that creates its container: pure.
//! What is replaced on purpose is replaced here, so that a candidate is never
//! taken for production.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount as DockerMount, MountTmpfsOptions, MountType, NetworkingConfig,
    PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::engine::compose::{GpuRequest, Mount, MountKind, ServiceSpec};

/// Seconds between SIGTERM and SIGKILL: vLLM's workers get 9 s of their own.
pub(super) const GRACE: i32 = 60;

/// What a launch adds to a service.
#[derive(Clone, Debug)]
pub(super) struct Addition<'a> {
    /// Identity of the image.
    pub image_id: &'a str,
    /// The entry point; `None` leaves the image's.
    pub entrypoint: Option<Vec<String>>,
    /// The whole command; `None` leaves the image's.
    pub command: Option<Vec<String>>,
    /// Environment variables, over the service's.
    pub environment: BTreeMap<String, String>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Mounts of ours.
    pub mounts: Vec<Mount>,
    /// Whether GPUs are asked for.
    pub gpus: bool,
    /// First network, by the daemon's name; `None` is Docker's own bridge.
    pub network: Option<&'a str>,
    /// The port inside.
    pub port: u16,
}

/// The body that creates the container.
pub(super) fn body(spec: &ServiceSpec, addition: &Addition<'_>) -> ContainerCreateBody {
    let port = format!("{}/tcp", addition.port);
    let mut environment = spec.environment.clone();
    environment.extend(addition.environment.clone());
    let endpoints = addition.network.map(|network| NetworkingConfig {
        endpoints_config: Some(HashMap::from([(network.to_owned(), EndpointSettings::default())])),
    });
    ContainerCreateBody {
        image: Some(addition.image_id.to_owned()),
        cmd: addition.command.clone(),
        entrypoint: addition.entrypoint.clone(),
        env: Some(environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        labels: Some(addition.labels.clone().into_iter().collect()),
        exposed_ports: Some(vec![port.clone()]),
        // The service's turns unhealthy while a slow candidate still boots.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        stop_timeout: Some(i64::from(GRACE)),
        host_config: Some(host_config(spec, addition, port)),
        networking_config: endpoints,
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ServiceSpec, addition: &Addition<'_>, port: String) -> HostConfig {
    let mounts: Vec<&Mount> = spec.mounts.iter().chain(&addition.mounts).collect();
    let published =
        PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
    let tmpfs: HashMap<String, String> = spec
        .tmpfs
        .iter()
        .map(|entry| entry.split_once(':').unwrap_or((entry, "")))
        .map(|(path, options)| (path.to_owned(), options.to_owned()))
        .collect();
    HostConfig {
        binds: Some(mounts.iter().filter_map(|mount| bind(mount)).collect()),
        mounts: Some(mounts.iter().filter_map(|mount| long_mount(mount)).collect()),
        network_mode: addition.network.map(str::to_owned),
        port_bindings: Some(HashMap::from([(port, Some(vec![published]))])),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), "50m".to_owned()),
                ("max-file".to_owned(), "2".to_owned()),
            ])),
        }),
        ipc_mode: spec.ipc.clone(),
        shm_size: spec.shm_size.map(u64::cast_signed),
        ulimits: Some(
            spec.ulimits
                .iter()
                .map(|limit| ResourcesUlimits {
                    name: Some(limit.name.clone()),
                    soft: Some(limit.soft),
                    hard: Some(limit.hard),
                })
                .collect(),
        ),
        runtime: spec.runtime.clone().filter(|runtime| addition.gpus || !is_nvidia(runtime)),
        device_requests: addition.gpus.then(|| spec.gpus.iter().map(gpu_request).collect()),
        extra_hosts: Some(spec.extra_hosts.clone()),
        security_opt: Some(spec.security_opt.clone()),
        cap_add: Some(spec.cap_add.clone()),
        cap_drop: Some(spec.cap_drop.clone()),
        devices: Some(spec.devices.iter().map(|device| device_mapping(device)).collect()),
        tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
        ..HostConfig::default()
    }
}

pub(super) fn is_nvidia(runtime: &str) -> bool {
    runtime.starts_with("nvidia")
}

/// The short form: the daemon creates a missing path of the host, as compose does.
fn bind(mount: &Mount) -> Option<String> {
    let source = mount.source.as_ref()?;
    let created = mount.kind == MountKind::Volume || mount.create_host_path;
    let mode = if mount.read_only { "ro" } else { "rw" };
    (created && mount.kind != MountKind::Tmpfs).then(|| format!("{source}:{}:{mode}", mount.target))
}

fn long_mount(mount: &Mount) -> Option<DockerMount> {
    if bind(mount).is_some() {
        return None;
    }
    let size = mount.tmpfs_size.map(u64::cast_signed);
    Some(DockerMount {
        target: Some(mount.target.clone()),
        source: mount.source.clone(),
        typ: Some(match mount.kind {
            MountKind::Bind => MountType::BIND,
            MountKind::Volume => MountType::VOLUME,
            MountKind::Tmpfs => MountType::TMPFS,
        }),
        read_only: Some(mount.read_only),
        tmpfs_options: size
            .map(|size| MountTmpfsOptions { size_bytes: Some(size), ..Default::default() }),
        ..DockerMount::default()
    })
}

pub(super) fn gpu_request(request: &GpuRequest) -> DeviceRequest {
    DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: (!request.device_ids.is_empty()).then(|| request.device_ids.clone()),
        capabilities: Some(vec![request.capabilities.clone()]),
        options: Some(request.options.clone().into_iter().collect()),
    }
}

fn device_mapping(device: &str) -> DeviceMapping {
    let mut parts = device.split(':');
    let host = parts.next().unwrap_or_default().to_owned();
    DeviceMapping {
        path_in_container: Some(parts.next().map_or_else(|| host.clone(), str::to_owned)),
        cgroup_permissions: Some(parts.next().unwrap_or("rwm").to_owned()),
        path_on_host: Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            image: "vllm/vllm-openai:v1".to_owned(),
            entrypoint: Some(vec!["vllm".to_owned()]),
            environment: BTreeMap::from([
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "2".to_owned()),
            ]),
            ipc: Some("host".to_owned()),
            shm_size: Some(1 << 30),
            runtime: Some("nvidia".to_owned()),
            gpus: vec![GpuRequest {
                driver: Some("nvidia".to_owned()),
                device_ids: vec!["0".to_owned(), "1".to_owned()],
                capabilities: vec!["gpu".to_owned()],
                ..GpuRequest::default()
            }],
            mounts: vec![
                Mount {
                    kind: MountKind::Volume,
                    source: Some("p_hf".to_owned()),
                    target: "/hf".to_owned(),
                    read_only: false,
                    create_host_path: true,
                    tmpfs_size: None,
                },
                Mount {
                    kind: MountKind::Bind,
                    source: Some("/data".to_owned()),
                    target: "/data".to_owned(),
                    read_only: true,
                    create_host_path: false,
                    tmpfs_size: None,
                },
            ],
            devices: vec!["/dev/null:/dev/x".to_owned()],
            tmpfs: vec!["/scratch:size=1m".to_owned()],
            ..ServiceSpec::default()
        }
    }

    fn addition(gpus: bool) -> Addition<'static> {
        Addition {
            image_id: "sha256:0",
            entrypoint: spec().entrypoint,
            command: Some(vec!["serve".to_owned()]),
            environment: BTreeMap::from([("B".to_owned(), "3".to_owned())]),
            labels: BTreeMap::from([("vllm-grid.sweep".to_owned(), "s".to_owned())]),
            mounts: Vec::new(),
            gpus,
            network: Some("p_default"),
            port: 5002,
        }
    }

    #[test]
    fn a_candidate_is_never_taken_for_production() {
        let body = body(&spec(), &addition(true));
        assert_eq!(body.image.as_deref(), Some("sha256:0"), "by identity, not by a tag that moves");
        assert_eq!(body.labels.expect("labels").len(), 1);
        assert_eq!(body.healthcheck.and_then(|check| check.test), Some(vec!["NONE".to_owned()]));
        assert_eq!((body.hostname, body.stop_timeout), (None, Some(60)));
        let host = body.host_config.expect("host configuration");
        assert_eq!(
            host.restart_policy.and_then(|policy| policy.name),
            Some(RestartPolicyNameEnum::NO)
        );
        let ports = host.port_bindings.expect("ports");
        let bound = ports["5002/tcp"].as_ref().expect("published");
        assert_eq!(
            (bound[0].host_ip.as_deref(), bound[0].host_port.as_deref()),
            (Some("127.0.0.1"), Some(""))
        );
        let endpoints = body
            .networking_config
            .and_then(|networks| networks.endpoints_config)
            .expect("networks");
        assert_eq!(endpoints["p_default"].aliases, None);
    }

    #[test]
    fn what_is_carried_over_arrives() {
        let body = body(&spec(), &addition(true));
        assert_eq!(
            body.env,
            Some(vec!["A=1".to_owned(), "B=3".to_owned()]),
            "ours over the service's"
        );
        let host = body.host_config.expect("host configuration");
        assert_eq!(host.binds, Some(vec!["p_hf:/hf:rw".to_owned()]));
        let mounts = host.mounts.expect("mounts");
        assert_eq!((mounts[0].source.as_deref(), mounts[0].read_only), (Some("/data"), Some(true)));
        assert_eq!((host.ipc_mode.as_deref(), host.shm_size), (Some("host"), Some(1 << 30)));
        let gpus = host.device_requests.expect("GPUs");
        assert_eq!(
            (gpus[0].count, gpus[0].device_ids.as_deref()),
            (None, Some(&["0".to_owned(), "1".to_owned()][..]))
        );
        assert_eq!(host.runtime.as_deref(), Some("nvidia"));
        let devices = host.devices.expect("devices");
        assert_eq!(devices[0].path_in_container.as_deref(), Some("/dev/x"));
        assert_eq!(host.tmpfs.expect("tmpfs")["/scratch"], "size=1m");
    }

    #[test]
    fn gpu_requests_can_be_switched_off() {
        let host = body(&spec(), &addition(false)).host_config.expect("host configuration");
        assert_eq!((host.device_requests, host.runtime), (None, None));
    }
}
