//! The GPU memory gate: GPU memory outlives a container whose workers survive
//! it, so the next launch waits until each of its GPUs is back to its free
//! memory as read before the first one on it (within 1 %, stable for 5 s), 120 s at
//! most. Read by NVML, else by a throw-away container of the same image with
//! entry point `nvidia-smi`; where neither ever shows a GPU, the gate says so once
//! and stays open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{LogsOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::body::{gpu_request, is_nvidia};
use super::container::Container;
use super::gpus::{CONTAINER, CUDA, assigned, choosing};
use super::naming::aside_labels;
use super::patience::{ACTION, Daemon};
use crate::configuration::Configuration;
use crate::engine::compose::ServiceSpec;
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

/// Reads the free memory of a launch's GPUs; `None` where no GPU can be seen.
#[async_trait]
pub trait ReadMemory: Send + Sync {
    /// The present reading, where the launch has these variables besides the service's.
    async fn read(&mut self, environment: &BTreeMap<String, String>) -> Option<Vec<GpuMemory>>;
}

const MAX_WAIT: Duration = Duration::from_mins(2);
const STABLE_FOR: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const TOLERANCE: f64 = 0.01;
/// For how long a stop waits for a look that was begun.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// Longest that the container which shows the GPUs may take, and longest that its text may.
const OUTPUT: Duration = Duration::from_secs(30);

/// The readings of a grid's memory gates, by GPU: engines that share one must not take what
/// another's server still holds for free memory.
#[derive(Clone, Default)]
pub(in crate::engine) struct Gates(Arc<Mutex<Vec<GpuMemory>>>);

impl Gates {
    /// The first readings of these GPUs; those without one get it now, and are left out.
    fn before(&self, now: &[GpuMemory]) -> Vec<GpuMemory> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = Vec::new();
        for gpu in now {
            match known.iter().find(|it| it.uuid == gpu.uuid) {
                Some(first) => before.push(first.clone()),
                None => known.push(gpu.clone()),
            }
        }
        before
    }
}

/// Waits between launches until GPU memory is free.
pub struct Gate {
    reader: Option<Box<dyn ReadMemory>>,
    /// Whether it ever showed a GPU.
    has_read: bool,
    /// What was free before anything was launched.
    gates: Gates,
}

impl Gate {
    /// The gate of a service's GPUs; one that asks for none has an open one.
    pub fn new(docker: Daemon, service: &ServiceSpec, image_id: &str, gpus: bool) -> Self {
        let asks = !service.gpus.is_empty() || service.runtime.as_deref().is_some_and(is_nvidia);
        let reader = (gpus && asks)
            .then(|| Box::new(Reader::new(docker, service, image_id)) as Box<dyn ReadMemory>);
        Self { reader, has_read: false, gates: Gates::default() }
    }

    /// The same, where others launch on the same GPUs.
    pub(super) fn among(self, gates: &Gates) -> Self {
        Self { gates: gates.clone(), ..self }
    }

    /// Waits until the GPUs of the next launch are free again. The first passage to a GPU takes
    /// the reading that later ones are compared with.
    pub async fn pass(
        &mut self,
        next: &Configuration,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<(), LaunchFailure> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let Some(mut reading) = read(reader.as_mut(), next, cancel).await else { return Ok(()) };
        if reading.is_none() && !self.has_read {
            let text = "no GPU can be seen from here (neither NVML nor nvidia-smi): \
                        the GPU memory gate between launches is skipped";
            emit.warn(text);
            self.reader = None;
            return Ok(());
        }
        let started = Instant::now();
        let (mut reference, mut seen) = (None, None);
        let mut free_since: Option<Instant> = None;
        // Nothing ran yet that could have been free all along: a first reading at the reference counts from now.
        while started.elapsed() < MAX_WAIT {
            let is_free = match reading.take() {
                Some(now) => {
                    self.has_read |= !now.is_empty();
                    let before = reference.get_or_insert_with(|| self.gates.before(&now));
                    if before.is_empty() {
                        return Ok(());
                    }
                    let is_free = is_free_again(before, &now);
                    seen = Some(now);
                    is_free
                }
                // One look that fails tells nothing.
                None => false,
            };
            if is_free {
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
            match read(reader.as_mut(), next, cancel).await {
                Some(now) => reading = now,
                None => return Ok(()),
            }
        }
        let Some(reading) = seen else {
            emit.warn(format!(
                "GPU memory could not be read for {} s: this launch does not wait until it is free",
                MAX_WAIT.as_secs()
            ));
            return Ok(());
        };
        let short = short_of(&reading, utilisation(next));
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

/// One look; `None` where a stop was asked for and the daemon does not answer. A container that
/// shows the GPUs gets the time to end and to be removed.
async fn read(
    reader: &mut dyn ReadMemory,
    next: &Configuration,
    cancel: &CancellationToken,
) -> Option<Option<Vec<GpuMemory>>> {
    let stopped = async {
        cancel.cancelled().await;
        sleep(STOPS_WITHIN).await;
    };
    tokio::select! {
        biased;
        reading = reader.read(&next.environment) => Some(reading),
        () = stopped => None,
    }
}

/// What a launch asks for; vLLM's default where it says nothing.
fn utilisation(next: &Configuration) -> f64 {
    let asked = next.flags.get("gpu-memory-utilization").and_then(serde_json::Value::as_f64);
    asked.unwrap_or(0.9)
}

fn is_free_again(reference: &[GpuMemory], reading: &[GpuMemory]) -> bool {
    reference.iter().all(|before| {
        reading
            .iter()
            .find(|now| now.uuid == before.uuid)
            .is_some_and(|now| now.free >= before.free * (1.0 - TOLERANCE))
    })
}

/// The GPUs with less free memory than the next launch asks for.
fn short_of(reading: &[GpuMemory], utilisation: f64) -> Vec<GpuMemory> {
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
}

impl Reader {
    pub(in crate::engine) fn new(docker: Daemon, service: &ServiceSpec, image_id: &str) -> Self {
        Self {
            nvml: nvml_wrapper::Nvml::init().ok(),
            docker,
            service: service.clone(),
            image_id: image_id.to_owned(),
        }
    }

    fn by_nvml(&self, assigned: Option<&GpuIds>) -> Option<Vec<GpuMemory>> {
        let nvml = self.nvml.as_ref()?;
        let mut gpus = Vec::new();
        for index in 0..nvml.device_count().ok()? {
            let device = nvml.device_by_index(index).ok()?;
            let (uuid, memory) = (device.uuid().ok()?, device.memory_info().ok()?);
            if is_among(assigned, index, &uuid) {
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
        let assigned = assigned(&self.service);
        let mut users = 0;
        for index in 0..nvml.device_count().ok()? {
            let device = nvml.device_by_index(index).ok()?;
            if is_among(assigned.as_ref(), index, &device.uuid().ok()?) {
                users += device.running_compute_processes().ok()?.len();
                users += device.running_graphics_processes().ok()?.len();
            }
        }
        Some(users)
    }

    /// A throw-away container sees the GPUs that the service would see.
    pub(in crate::engine) async fn by_container(&self) -> Option<Vec<GpuMemory>> {
        self.by_container_of(&self.service).await
    }

    async fn by_container_of(&self, service: &ServiceSpec) -> Option<Vec<GpuMemory>> {
        let visible = service.environment.get(CONTAINER);
        let body = ContainerCreateBody {
            image: Some(self.image_id.clone()),
            entrypoint: Some(vec!["nvidia-smi".to_owned()]),
            cmd: Some(vec![
                "--query-gpu=uuid,index,memory.free,memory.total".to_owned(),
                "--format=csv,noheader,nounits".to_owned(),
            ]),
            labels: Some(aside_labels("gpu-memory").into_iter().collect()),
            env: visible.map(|value| vec![format!("{CONTAINER}={value}")]),
            host_config: Some(HostConfig {
                runtime: service.runtime.clone(),
                device_requests: Some(service.gpus.iter().map(gpu_request).collect()),
                network_mode: Some("none".to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        // A process's number is not unique: each container has one of 1.
        let name = format!("vllm-grid-nvidia-smi-{:016x}", rand::random::<u64>());
        let mut container = Container::create(&self.docker, &name, body).await.ok()?;
        let text = self.output(&container).await;
        container.stop_and_remove(0).await.ok()?;
        // `nvidia-smi` shows what CUDA would not use.
        let visible = service.environment.get(CUDA).filter(|ids| !ids.trim().is_empty());
        let visible = visible.map(|ids| GpuIds::listed(ids));
        let is_visible = |gpu: &GpuMemory| is_among(visible.as_ref(), gpu.index, &gpu.uuid);
        let gpus: Vec<GpuMemory> = text?.lines().filter_map(smi_line).filter(is_visible).collect();
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

fn is_among(ids: Option<&GpuIds>, index: u32, uuid: &str) -> bool {
    ids.is_none_or(|ids| ids.include(index, uuid))
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
    async fn read(&mut self, environment: &BTreeMap<String, String>) -> Option<Vec<GpuMemory>> {
        let service = choosing(&self.service, environment);
        let assigned = assigned(&service);
        if assigned.as_ref().is_some_and(GpuIds::is_empty) {
            return Some(Vec::new());
        }
        match self.by_nvml(assigned.as_ref()) {
            Some(gpus) => Some(gpus),
            None => self.by_container_of(&service).await,
        }
    }
}

#[cfg(test)]
mod tests;
