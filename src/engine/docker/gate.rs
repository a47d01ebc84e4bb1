//! The GPU memory gate: GPU memory outlives a container whose workers survive
//! it, so the next launch waits until every assigned GPU is back to its free
//! memory as read before the first one (within 1 %, stable for 5 s), 120 s at
//! most. Read by NVML, else by a throw-away container of the same image with
//! entry point `nvidia-smi`; where neither shows a GPU, the gate says so once
//! and stays open.

use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{LogsOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::body::{gpu_request, is_nvidia};
use super::container::Container;
use super::naming::aside_labels;
use super::patience::{ACTION, Daemon};
use crate::engine::compose::{GpuRequest, ServiceSpec};
use crate::event::Emit;
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::server::GpuIds;

/// Memory of one GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuMemory {
    /// Its UUID.
    pub uuid: String,
    /// Its index.
    pub index: u32,
    /// Free memory in MiB.
    pub free: f64,
    /// All memory in MiB.
    pub total: f64,
}

/// Reads the free memory of the assigned GPUs; `None` where no GPU can be seen.
#[async_trait]
pub trait ReadMemory: Send + Sync {
    /// The present reading.
    async fn read(&mut self) -> Option<Vec<GpuMemory>>;
}

const MAX_WAIT: Duration = Duration::from_mins(2);
const STABLE_FOR: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const TOLERANCE: f64 = 0.01;
/// Longest that the container which shows the GPUs may take, and longest that its text may.
const OUTPUT: Duration = Duration::from_secs(30);

/// Waits between launches until GPU memory is free.
pub struct Gate {
    reader: Option<Box<dyn ReadMemory>>,
    reference: Option<Vec<GpuMemory>>,
}

impl Gate {
    /// The gate of a service's GPUs; one that asks for none has an open one.
    pub fn new(docker: Daemon, service: &ServiceSpec, image_id: &str, gpus: bool) -> Self {
        let asks = !service.gpus.is_empty() || service.runtime.as_deref().is_some_and(is_nvidia);
        let reader = (gpus && asks)
            .then(|| Box::new(Reader::new(docker, service, image_id)) as Box<dyn ReadMemory>);
        Self { reader, reference: None }
    }

    /// A gate on `reader`.
    pub fn on(reader: Box<dyn ReadMemory>) -> Self {
        Self { reader: Some(reader), reference: None }
    }

    /// Waits until the GPUs are free again. The first passage takes the reading
    /// that later ones are compared with. `utilisation` is what the next launch asks for.
    pub async fn pass(
        &mut self,
        utilisation: Option<f64>,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<(), LaunchFailure> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let Some(first) = reader.read().await else {
            let text = "no GPU can be seen from here (neither NVML nor nvidia-smi): \
                        the GPU memory gate between launches is skipped";
            emit.warn(text);
            self.reader = None;
            return Ok(());
        };
        let Some(reference) = &self.reference else {
            self.reference = Some(first);
            return Ok(());
        };
        let started = Instant::now();
        let mut reading = first;
        let mut free_since: Option<Instant> = None;
        // Nothing ran yet that could have been free all along: a first reading at the reference counts from now.
        while started.elapsed() < MAX_WAIT {
            if is_free_again(reference, &reading) {
                let since = *free_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= STABLE_FOR {
                    return Ok(());
                }
            } else {
                free_since = None;
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = sleep(POLL_INTERVAL) => {}
            }
            if let Some(next) = reader.read().await {
                reading = next;
            }
        }
        let short = short_of(&reading, utilisation);
        if short.is_empty() {
            let text = format!(
                "GPU memory is not back to what it was before the first launch ({}), but suffices: the sweep continues",
                listed(&reading)
            );
            emit.warn(text);
            return Ok(());
        }
        Err(LaunchFailure::new(
            // Not caused by the configuration: it prunes nothing.
            FailureClass::Environment,
            format!(
                "after {} s GPU memory is still held by something else: {}",
                MAX_WAIT.as_secs(),
                listed(&short)
            ),
        ))
    }
}

fn is_free_again(reference: &[GpuMemory], reading: &[GpuMemory]) -> bool {
    reference.iter().all(|before| {
        reading
            .iter()
            .find(|now| now.uuid == before.uuid)
            .is_some_and(|now| now.free >= before.free * (1.0 - TOLERANCE))
    })
}

/// The GPUs with less free memory than the next launch asks for; without a
/// utilisation vLLM's default of 0.9 counts.
fn short_of(reading: &[GpuMemory], utilisation: Option<f64>) -> Vec<GpuMemory> {
    let utilisation = utilisation.unwrap_or(0.9);
    reading.iter().filter(|gpu| gpu.free < gpu.total * utilisation).cloned().collect()
}

fn listed(gpus: &[GpuMemory]) -> String {
    let each: Vec<String> = gpus
        .iter()
        .map(|gpu| format!("GPU {}: {:.0} of {:.0} MiB free", gpu.index, gpu.free, gpu.total))
        .collect();
    each.join(", ")
}

/// NVML on the host, else `nvidia-smi` in a container.
pub(in crate::engine) struct Reader {
    nvml: Option<nvml_wrapper::Nvml>,
    docker: Daemon,
    service: ServiceSpec,
    image_id: String,
    assigned: Option<GpuIds>,
}

/// The GPUs that a container of the service works on, as far as the service says: those
/// that it is given, and of these the visible ones.
pub(in crate::engine) fn assigned(service: &ServiceSpec) -> Option<GpuIds> {
    let given = given(service);
    match service.environment.get("CUDA_VISIBLE_DEVICES") {
        Some(visible) if !visible.trim().is_empty() => visible_of(given, visible),
        _ => given,
    }
}

/// CUDA counts the GPUs of a container from 0, in the order of their indices (all of
/// one kind, or `CUDA_DEVICE_ORDER=PCI_BUS_ID`). Where that order cannot be known, all
/// that are given count.
fn visible_of(given: Option<GpuIds>, visible: &str) -> Option<GpuIds> {
    let visible = GpuIds::listed(visible);
    let is_index = |id: &str| id.parse::<usize>().is_ok();
    if !visible.iter().all(is_index) {
        return if visible.iter().any(is_index) { given } else { Some(visible) };
    }
    let Some(given) = given else { return Some(visible) };
    let indices: Option<Vec<u32>> = given.iter().map(|id| id.parse().ok()).collect();
    let Some(mut indices) = indices else { return Some(given) };
    indices.sort_unstable();
    let at = |id: &str| indices.get(id.parse::<usize>().ok()?).map(u32::to_string);
    // An index that there is not hides those behind it.
    Some(GpuIds::new(visible.iter().map_while(at)))
}

/// The GPU of a name of the Container Device Interface; `None` where it is all, or a part.
fn by_cdi(name: &str) -> Option<&str> {
    let id = name.split_once('=').map_or(name, |(_, id)| id);
    (id.starts_with("GPU-") || id.parse::<u32>().is_ok()).then_some(id)
}

/// The GPUs that a container of the service is given; `None` is all.
/// Docker makes the first n of a count; a request wins over the variable.
fn given(service: &ServiceSpec) -> Option<GpuIds> {
    let requests = &service.gpus;
    let is_cdi = |request: &&GpuRequest| request.driver.as_deref() == Some("cdi");
    let cdi: Vec<&String> = requests.iter().filter(is_cdi).flat_map(|it| &it.device_ids).collect();
    if !cdi.is_empty() {
        let gpus = cdi.iter().filter(|name| name.contains("gpu"));
        return gpus
            .map(|name| by_cdi(name).map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(GpuIds::new);
    }
    let ids: Vec<String> = requests.iter().flat_map(|r| r.device_ids.clone()).collect();
    if !ids.is_empty() {
        return Some(GpuIds::new(ids));
    }
    if !requests.is_empty() {
        let most = requests.iter().map(|request| request.count.unwrap_or(-1)).max()?;
        return (most >= 0).then(|| GpuIds::new((0..most).map(|index| index.to_string())));
    }
    let visible = service.environment.get("NVIDIA_VISIBLE_DEVICES")?;
    (!matches!(visible.as_str(), "all" | "")).then(|| GpuIds::listed(visible))
}

impl Reader {
    pub(in crate::engine) fn new(docker: Daemon, service: &ServiceSpec, image_id: &str) -> Self {
        Self {
            nvml: nvml_wrapper::Nvml::init().ok(),
            docker,
            service: service.clone(),
            image_id: image_id.to_owned(),
            assigned: assigned(service),
        }
    }

    fn is_assigned(&self, index: u32, uuid: &str) -> bool {
        self.assigned.as_ref().is_none_or(|ids| ids.include(index, uuid))
    }

    fn by_nvml(&self) -> Option<Vec<GpuMemory>> {
        let nvml = self.nvml.as_ref()?;
        let mut gpus = Vec::new();
        for index in 0..nvml.device_count().ok()? {
            let device = nvml.device_by_index(index).ok()?;
            let (uuid, memory) = (device.uuid().ok()?, device.memory_info().ok()?);
            if self.is_assigned(index, &uuid) {
                let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
                gpus.push(GpuMemory {
                    uuid,
                    index,
                    free: mebibytes(memory.free),
                    total: mebibytes(memory.total),
                });
            }
        }
        (!gpus.is_empty()).then_some(gpus)
    }

    /// How many processes hold memory of the assigned GPUs; `None` without NVML.
    pub(in crate::engine) fn users(&self) -> Option<usize> {
        let nvml = self.nvml.as_ref()?;
        let mut users = 0;
        for index in 0..nvml.device_count().ok()? {
            let device = nvml.device_by_index(index).ok()?;
            if self.is_assigned(index, &device.uuid().ok()?) {
                users += device.running_compute_processes().ok()?.len();
                users += device.running_graphics_processes().ok()?.len();
            }
        }
        Some(users)
    }

    /// A throw-away container sees the GPUs that the service would see.
    pub(in crate::engine) async fn by_container(&self) -> Option<Vec<GpuMemory>> {
        let visible = self.service.environment.get("NVIDIA_VISIBLE_DEVICES");
        let body = ContainerCreateBody {
            image: Some(self.image_id.clone()),
            entrypoint: Some(vec!["nvidia-smi".to_owned()]),
            cmd: Some(vec![
                "--query-gpu=uuid,index,memory.free,memory.total".to_owned(),
                "--format=csv,noheader,nounits".to_owned(),
            ]),
            labels: Some(aside_labels("gpu-memory").into_iter().collect()),
            env: visible.map(|value| vec![format!("NVIDIA_VISIBLE_DEVICES={value}")]),
            host_config: Some(HostConfig {
                runtime: self.service.runtime.clone(),
                device_requests: Some(self.service.gpus.iter().map(gpu_request).collect()),
                network_mode: Some("none".to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let name = format!("vllm-grid-nvidia-smi-{:x}", std::process::id());
        let mut container = Container::create(&self.docker, &name, body).await.ok()?;
        let text = self.output(&container).await;
        container.stop_and_remove(0).await.ok()?;
        let gpus: Vec<GpuMemory> = text?.lines().filter_map(smi_line).collect();
        (!gpus.is_empty()).then_some(gpus)
    }

    async fn output(&self, container: &Container) -> Option<String> {
        let id = container.id();
        let options = None::<bollard::query_parameters::StartContainerOptions>;
        let start = || self.docker.start_container(id, options.clone());
        self.docker.asked(ACTION, start).await.ok()?;
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let mut waiting = Box::pin(self.docker.wait_container(id, Some(options)));
        timeout(OUTPUT, waiting.next()).await.ok()??.ok()?;
        let options = LogsOptionsBuilder::new().stdout(true).build();
        let mut lines = self.docker.logs(id, Some(options));
        let mut text = String::new();
        let reading = async {
            while let Some(Ok(line)) = lines.next().await {
                text.push_str(&line.to_string());
            }
        };
        timeout(OUTPUT, reading).await.ok()?;
        Some(text)
    }
}

/// `GPU-uuid, 0, 23000, 24564`.
fn smi_line(line: &str) -> Option<GpuMemory> {
    let mut fields = line.split(',').map(str::trim);
    Some(GpuMemory {
        uuid: fields.next()?.to_owned(),
        index: fields.next()?.parse().ok()?,
        free: fields.next()?.parse().ok()?,
        total: fields.next()?.parse().ok()?,
    })
}

#[async_trait]
impl ReadMemory for Reader {
    async fn read(&mut self) -> Option<Vec<GpuMemory>> {
        match self.by_nvml() {
            Some(gpus) => Some(gpus),
            None => self.by_container().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Free memory by the second, the last value for ever.
    struct Scripted(Instant, Vec<f64>);

    #[async_trait]
    impl ReadMemory for Scripted {
        async fn read(&mut self) -> Option<Vec<GpuMemory>> {
            let second = self.0.elapsed().as_secs() as usize;
            let free = *self.1.get(second).or(self.1.last())?;
            Some(vec![GpuMemory { uuid: "GPU-a".to_owned(), index: 0, free, total: 24_000.0 }])
        }
    }

    /// Seconds that the second passage took, and how it ended.
    async fn second_passage(
        free: Vec<f64>,
        utilisation: Option<f64>,
    ) -> (f64, Result<(), LaunchFailure>) {
        let started = Instant::now();
        let mut gate = Gate::on(Box::new(Scripted(started, free)));
        let (emit, cancel) = (Emit::nowhere(), CancellationToken::new());
        gate.pass(utilisation, &emit, &cancel).await.expect("the first passage reads");
        sleep(Duration::from_secs(1)).await;
        let passing = Instant::now();
        let passed = gate.pass(utilisation, &emit, &cancel).await;
        (passing.elapsed().as_secs_f64(), passed)
    }

    #[tokio::test(start_paused = true)]
    async fn memory_has_to_be_back_and_stay() {
        let (seconds, passed) = second_passage(vec![23_000.0, 22_900.0], None).await;
        assert!(passed.is_ok());
        assert!((5.0..6.0).contains(&seconds), "stable for 5 s: {seconds}");

        let mut drains = vec![23_000.0];
        drains.extend(vec![4_000.0; 10]);
        drains.push(23_000.0);
        let (seconds, passed) = second_passage(drains, None).await;
        assert!(passed.is_ok());
        assert!((15.0..16.5).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_drains_is_marked_or_stops_by_what_the_next_one_needs() {
        let held = vec![23_000.0, 20_000.0];
        let (seconds, passed) = second_passage(held.clone(), Some(0.8)).await;
        assert!(passed.is_ok(), "20000 of 24000 suffice for 0.8");
        assert!((120.0..121.0).contains(&seconds), "{seconds}");
        let (_, passed) = second_passage(held, Some(0.95)).await;
        assert_eq!(passed.expect_err("not for 0.95").class, FailureClass::Environment);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_gpu_the_gate_says_so_once() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicU32, Ordering};

        let warnings = Arc::new(AtomicU32::new(0));
        let count = warnings.clone();
        let emit = Emit::to(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let mut gate = Gate::on(Box::new(Scripted(Instant::now(), Vec::new())));
        for _ in 0..3 {
            gate.pass(None, &emit, &CancellationToken::new()).await.expect("open");
        }
        assert_eq!(warnings.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_service_s_gpus_are_its_requests_else_its_variable_s() {
        let service = |requests: &[(Option<i64>, &[&str])], visible: Option<&str>| {
            let mut service = ServiceSpec::of_image("i", Vec::new());
            service.gpus = requests
                .iter()
                .map(|(count, ids)| GpuRequest {
                    count: *count,
                    device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
                    ..GpuRequest::default()
                })
                .collect();
            let variable = visible.map(|ids| ("NVIDIA_VISIBLE_DEVICES".to_owned(), ids.to_owned()));
            service.environment.extend(variable);
            assigned(&service)
        };
        let these = |ids: &str| Some(GpuIds::listed(ids));
        assert_eq!(service(&[(None, &["1", "GPU-5a"])], Some("0")), these("1,GPU-5a"));
        assert_eq!(service(&[(Some(2), &[])], None), these("0,1"), "the first two");
        assert_eq!(service(&[(Some(-1), &[])], Some("0")), None, "all: which is not known here");
        assert_eq!(service(&[], Some("2, 3")), these("2,3"));
        assert_eq!(service(&[], Some("all")), None);
        assert_eq!(service(&[], None), None);
    }

    #[test]
    fn nvidia_smi_is_read() {
        let gpu = smi_line("GPU-1b2c, 1, 23028, 24564").expect("a line");
        assert_eq!((gpu.index, gpu.free, gpu.total), (1, 23_028.0, 24_564.0));
        assert_eq!(smi_line("No devices were found"), None);
    }

    #[test]
    fn the_gpus_of_a_launch_are_those_given_and_visible() {
        let with = |requests: &[(&str, &[&str], Option<i64>)], variables: &[(&str, &str)]| {
            let gpus = requests.iter().map(|(driver, ids, count)| GpuRequest {
                driver: Some((*driver).to_owned()),
                device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
                count: *count,
                ..GpuRequest::default()
            });
            let variables = variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            let service = ServiceSpec {
                gpus: gpus.collect(),
                environment: variables.collect(),
                ..ServiceSpec::default()
            };
            assigned(&service)
                .map(|ids| ids.iter().map(str::to_owned).collect::<Vec<_>>().join(","))
        };
        let is = |ids: &str| Some(ids.to_owned());
        let cuda = |ids| [("CUDA_VISIBLE_DEVICES", ids)];
        assert_eq!(with(&[("nvidia", &[], Some(-1))], &[]), None, "all");
        assert_eq!(with(&[("nvidia", &[], Some(-1))], &cuda("1")), is("1"));
        assert_eq!(
            with(&[("nvidia", &["1", "2"], None)], &cuda("1")),
            is("2"),
            "the second of two"
        );
        assert_eq!(with(&[("nvidia", &["2", "1"], None)], &cuda("0")), is("1"), "by their indices");
        assert_eq!(with(&[("nvidia", &["1"], None)], &cuda("0,1")), is("1"), "there is no second");
        assert_eq!(with(&[("nvidia", &["1"], None)], &cuda("-1")), is(""));
        assert_eq!(with(&[("nvidia", &["1"], None)], &cuda("GPU-5a")), is("GPU-5a"));
        assert_eq!(with(&[("nvidia", &["GPU-a", "GPU-b"], None)], &cuda("1")), is("GPU-a,GPU-b"));
        assert_eq!(with(&[], &[("NVIDIA_VISIBLE_DEVICES", "2,3"), cuda("1")[0]]), is("3"));
        let cdi = |names: &[&str]| with(&[("cdi", names, None)], &[]);
        assert_eq!(cdi(&["nvidia.com/gpu=all"]), None);
        assert_eq!(cdi(&["nvidia.com/gpu=1", "vendor.com/net=eth0"]), is("1"));
        assert_eq!(cdi(&["nvidia.com/gpu=GPU-5a", "nvidia.com/gpu=0"]), is("GPU-5a,0"));
        assert_eq!(cdi(&["nvidia.com/gpu=1:0"]), None, "a part of one");
        assert_eq!(cdi(&["nvidia.com/gpu=0"]), is("0"));
    }
}
