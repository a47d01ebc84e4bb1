//! From a service and a launch to the body that creates its container: pure.
//! What is replaced on purpose is replaced here, so that a candidate is never
//! taken for production.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointSettings, HealthConfig, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount as DockerMount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType, MountVolumeOptions,
    NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::engine::compose::{GpuRequest, Mount, MountKind, Options, ServiceSpec};

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
        stop_signal: spec.options.stop_signal.clone(),
        tty: spec.options.tty,
        open_stdin: spec.options.stdin_open,
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
        ..of_options(&spec.options)
    }
}

/// What a service's options are to the daemon.
fn of_options(options: &Options) -> HostConfig {
    let list = |items: &Vec<String>| (!items.is_empty()).then(|| items.clone());
    let map = |pairs: &BTreeMap<String, String>| {
        (!pairs.is_empty()).then(|| pairs.clone().into_iter().collect::<HashMap<_, _>>())
    };
    HostConfig {
        memory: options.memory.map(u64::cast_signed),
        memory_reservation: options.memory_reservation.map(u64::cast_signed),
        memory_swap: options.memory_swap,
        memory_swappiness: options.memory_swappiness,
        nano_cpus: options.cpus.map(|cpus| (cpus * 1e9).round() as i64),
        cpu_shares: options.cpu_shares,
        cpu_period: options.cpu_period,
        cpu_quota: options.cpu_quota,
        cpuset_cpus: options.cpuset.clone(),
        pids_limit: options.pids_limit,
        oom_score_adj: options.oom_score_adj,
        oom_kill_disable: options.oom_kill_disable,
        dns: list(&options.dns),
        dns_search: list(&options.dns_search),
        dns_options: list(&options.dns_options),
        init: options.init,
        privileged: options.privileged,
        readonly_rootfs: options.read_only,
        group_add: list(&options.groups),
        pid_mode: options.pid.clone(),
        userns_mode: options.user_namespace.clone(),
        uts_mode: options.uts.clone(),
        cgroupns_mode: options.cgroup.as_deref().map(|mode| match mode {
            "host" => HostConfigCgroupnsModeEnum::HOST,
            _ => HostConfigCgroupnsModeEnum::PRIVATE,
        }),
        cgroup_parent: options.cgroup_parent.clone(),
        device_cgroup_rules: list(&options.device_rules),
        sysctls: map(&options.sysctls),
        storage_opt: map(&options.storage),
        annotations: map(&options.annotations),
        ..HostConfig::default()
    }
}

pub(super) fn is_nvidia(runtime: &str) -> bool {
    runtime.starts_with("nvidia")
}

/// The short form: the daemon creates a missing path of the host, as compose does.
fn bind(mount: &Mount) -> Option<String> {
    let source = mount.source.as_ref()?;
    // SELinux labels have the short form alone; it creates the path, as compose does.
    let labelled = mount.options.iter().any(|option| option.eq_ignore_ascii_case("z"));
    let short = mount.kind == MountKind::Volume || mount.create_host_path || labelled;
    let mode = if mount.read_only { "ro" } else { "rw" };
    let options: String = mount.options.iter().flat_map(|option| [",", option]).collect();
    (short && mount.kind != MountKind::Tmpfs && mount.subpath.is_none())
        .then(|| format!("{source}:{}:{mode}{options}", mount.target))
}

fn long_mount(mount: &Mount) -> Option<DockerMount> {
    if bind(mount).is_some() {
        return None;
    }
    let size = mount.tmpfs_size.map(u64::cast_signed);
    let has_tmpfs = size.is_some() || mount.tmpfs_mode.is_some();
    let propagation = mount.options.iter().find_map(|option| {
        serde_json::from_value::<MountBindOptionsPropagationEnum>(option.as_str().into()).ok()
    });
    Some(DockerMount {
        target: Some(mount.target.clone()),
        source: mount.source.clone(),
        typ: Some(match mount.kind {
            MountKind::Bind => MountType::BIND,
            MountKind::Volume => MountType::VOLUME,
            MountKind::Tmpfs => MountType::TMPFS,
        }),
        read_only: Some(mount.read_only),
        tmpfs_options: has_tmpfs.then(|| MountTmpfsOptions {
            size_bytes: size,
            mode: mount.tmpfs_mode,
            ..Default::default()
        }),
        bind_options: propagation
            .map(|it| MountBindOptions { propagation: Some(it), ..Default::default() }),
        volume_options: mount
            .subpath
            .clone()
            .map(|subpath| MountVolumeOptions { subpath: Some(subpath), ..Default::default() }),
        ..DockerMount::default()
    })
}

pub(super) fn gpu_request(request: &GpuRequest) -> DeviceRequest {
    DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: (!request.device_ids.is_empty()).then(|| request.device_ids.clone()),
        // CDI names devices, and asks for none by what they can do.
        capabilities: (!request.capabilities.is_empty())
            .then(|| vec![request.capabilities.clone()]),
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
                    tmpfs_mode: None,
                    options: Vec::new(),
                    subpath: None,
                },
                Mount {
                    kind: MountKind::Bind,
                    source: Some("/data".to_owned()),
                    target: "/data".to_owned(),
                    read_only: true,
                    create_host_path: false,
                    tmpfs_size: None,
                    tmpfs_mode: None,
                    options: Vec::new(),
                    subpath: None,
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

    #[test]
    fn options_have_their_fields() {
        let mut spec = spec();
        spec.options = Options {
            memory: Some(1 << 30),
            cpus: Some(1.5),
            dns: vec!["192.0.2.53".to_owned()],
            groups: vec!["video".to_owned()],
            init: Some(true),
            tty: Some(true),
            stdin_open: Some(true),
            stop_signal: Some("SIGINT".to_owned()),
            cgroup: Some("host".to_owned()),
            device_rules: vec!["c 1:3 mr".to_owned()],
            ..Options::default()
        };
        spec.gpus = vec![GpuRequest {
            driver: Some("cdi".to_owned()),
            device_ids: vec!["nvidia.com/gpu=all".to_owned()],
            ..GpuRequest::default()
        }];
        spec.mounts[0].options = vec!["nocopy".to_owned()];
        spec.mounts[1].options = vec!["rslave".to_owned()];
        let body = body(&spec, &addition(true));
        assert_eq!((body.tty, body.open_stdin), (Some(true), Some(true)));
        assert_eq!(body.stop_signal.as_deref(), Some("SIGINT"));
        let host = body.host_config.expect("host configuration");
        assert_eq!((host.memory, host.nano_cpus), (Some(1 << 30), Some(1_500_000_000)));
        assert_eq!(host.dns.as_deref(), Some(&["192.0.2.53".to_owned()][..]));
        assert_eq!(host.group_add.as_deref(), Some(&["video".to_owned()][..]));
        assert_eq!((host.init, host.privileged), (Some(true), None));
        assert_eq!(host.cgroupns_mode, Some(HostConfigCgroupnsModeEnum::HOST));
        assert_eq!(host.device_cgroup_rules.as_deref(), Some(&["c 1:3 mr".to_owned()][..]));
        let request = &host.device_requests.expect("requests")[0];
        assert_eq!((request.driver.as_deref(), request.capabilities.as_ref()), (Some("cdi"), None));
        assert_eq!(host.binds, Some(vec!["p_hf:/hf:rw,nocopy".to_owned()]));
        let mounts = host.mounts.expect("mounts");
        let propagation = mounts[0].bind_options.as_ref().and_then(|it| it.propagation);
        assert_eq!(propagation, Some(MountBindOptionsPropagationEnum::RSLAVE));
        spec.mounts[1].options.push("z".to_owned());
        let host = super::body(&spec, &addition(true)).host_config.expect("host configuration");
        assert!(host.binds.expect("binds").contains(&"/data:/data:ro,rslave,z".to_owned()));
    }
}
