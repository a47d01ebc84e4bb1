//! What the machine and the server do during a measurement: samples with times, taken by
//! threads of their own, for a whole launch. It depends on no engine: an engine's figures
//! come through a [`ResourceProbe`]. What is not known is `None`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::client::clock::now_ns;
use crate::server::counters::Counters;
use crate::server::{GpuIds, ResourceProbe, ResourceSample};

mod gpu;
mod gpu_users;
mod host;
mod kernel;
mod machine;
pub mod sink;
pub(crate) mod summary;
pub(crate) mod watch;
mod windows;
mod witnesses;

pub use gpu::{GpuReading, gpus_are_here, gpus_seen, unknown_gpus};
pub use gpu_users::GpuUsersReading;
pub use host::HostReading;
pub use machine::machine;
pub use windows::WindowsReading;

use gpu_users::ServerProcesses;
use host::ServerCpu;
use windows::Windows;

/// How often GPUs are sampled.
const GPU_INTERVAL: Duration = Duration::from_millis(250);
/// How often everything else is sampled.
const INTERVAL: Duration = Duration::from_secs(1);
/// Samples of the engine for each look at its processes.
const PROCESSES_EACH: u64 = 10;

/// One sample of one source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, in milliseconds since 1970, UTC.
    pub at_unix_ms: i64,
    /// When, in nanoseconds of the bench's clock.
    pub(crate) at_ns: u64,
    /// What was sampled.
    pub reading: Reading,
}

/// What was sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// A GPU.
    Gpu(GpuReading),
    /// Who else uses a GPU.
    GpuUsers(GpuUsersReading),
    /// The machine that this program runs on, and this program.
    Host(HostReading),
    /// The Windows host of the machine, where it is one of WSL2.
    Windows(WindowsReading),
    /// What the engine reports of the server.
    Engine(ResourceSample),
    /// The server's own counters.
    Server(ServerReading),
}

/// A server's counters, without what never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServerReading {
    /// Requests that are being processed.
    pub running: Option<f64>,
    /// Requests that wait.
    pub waiting: Option<f64>,
    /// Share of the KV cache in use.
    pub kv_usage: Option<f64>,
    /// Preemptions since the start.
    pub preemptions: Option<u64>,
    /// Requests finished since the start.
    pub requests: Option<u64>,
    /// Prompt tokens since the start.
    pub prompt_tokens: Option<u64>,
    /// Tokens generated since the start.
    pub generation_tokens: Option<u64>,
    /// Resident memory of the API process, bytes.
    pub resident_bytes: Option<f64>,
}

impl From<&Counters> for ServerReading {
    fn from(counters: &Counters) -> Self {
        Self {
            running: counters.running,
            waiting: counters.waiting,
            kv_usage: counters.kv_usage,
            preemptions: counters.preemptions,
            requests: counters.requests,
            prompt_tokens: counters.prompt_tokens,
            generation_tokens: counters.generation_tokens,
            resident_bytes: counters.resident_bytes,
        }
    }
}

/// What of the machine belongs to the server.
#[derive(Clone, Default)]
pub struct TelemetrySettings {
    /// Whether GPUs are sampled: not for a server elsewhere, and not for a simulated one,
    /// whose figures do not depend on them.
    pub gpus: bool,
    /// Which GPUs; `None`: those that the probe reports, or all.
    pub only: Option<GpuIds>,
    /// The engine's own figures.
    pub probe: Option<Arc<dyn ResourceProbe>>,
    /// Whether the server runs inside this program: then its CPU is this program's.
    pub in_process: bool,
}

impl std::fmt::Debug for TelemetrySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "TelemetrySettings(gpus: {} {:?}, probe: {})",
            self.gpus,
            self.only,
            self.probe.is_some()
        )
    }
}

/// Samples that were taken so far, and the way to add some.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    samples: Arc<Mutex<Vec<Sample>>>,
    /// The same moment on both clocks: milliseconds since 1970, and [`now_ns`].
    origin: (i64, u64),
}

impl Tape {
    fn new() -> Self {
        let origin = (jiff::Timestamp::now().as_millisecond(), now_ns());
        Self { samples: Arc::default(), origin }
    }

    pub(crate) fn put(&self, at_ns: u64, readings: impl IntoIterator<Item = Reading>) {
        let passed_ms = (at_ns.cast_signed() - self.origin.1.cast_signed()) / 1_000_000;
        let at_unix_ms = self.origin.0 + passed_ms;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.extend(readings.into_iter().map(|reading| Sample { at_unix_ms, at_ns, reading }));
    }

    fn all(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes samples until it is dropped.
#[derive(Debug)]
pub struct Telemetry {
    tape: Tape,
    stop: Arc<AtomicBool>,
    /// Ends `nvidia-smi`, where that samples the GPUs.
    gpus: Option<gpu::Gpus>,
    /// Ends PowerShell, where that samples the Windows host.
    windows: Option<Windows>,
    probing: Option<JoinHandle<()>>,
}

impl Telemetry {
    /// Begins. A source that is missing is not sampled; that is no error. To be called
    /// inside a tokio runtime.
    pub fn start(settings: &TelemetrySettings) -> Self {
        let tape = Tape::new();
        let stop = Arc::new(AtomicBool::new(false));
        let of_probe = || settings.probe.as_ref().and_then(|probe| probe.gpus());
        let only = settings.only.clone().or_else(of_probe);
        let processes = ServerProcesses::default();
        let gpus = settings
            .gpus
            .then(|| {
                let (tape, stop) = (tape.clone(), Arc::clone(&stop));
                // Without a probe nobody knows which processes are the server's.
                let known = settings.probe.is_some().then(|| processes.clone());
                gpu::Gpus::watch(only, GPU_INTERVAL, tape, stop, known)
            })
            .flatten();
        let server =
            if settings.in_process { ServerCpu::Ours } else { ServerCpu::Sampled(Arc::default()) };
        host::watch(INTERVAL, tape.clone(), Arc::clone(&stop), server.clone());
        let windows = Windows::watch(tape.clone(), Arc::clone(&stop));
        let has_gpus = gpus.is_some();
        let probing = settings.probe.clone().map(|probe| {
            let tape = tape.clone();
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(INTERVAL);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                for count in 0_u64.. {
                    ticks.tick().await;
                    let Some(sample) = probe.sample().await else { return };
                    let at = now_ns();
                    server.note(at, sample.cpu_cores);
                    tape.put(at, [Reading::Engine(sample)]);
                    if has_gpus && count.is_multiple_of(PROCESSES_EACH) {
                        processes.set(probe.processes().await);
                    }
                }
            })
        });
        Self { tape, stop, gpus, windows, probing }
    }

    /// Whether GPUs are sampled.
    pub fn has_gpus(&self) -> bool {
        self.gpus.is_some()
    }

    pub(crate) fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Every sample so far, in the order in which they were taken.
    pub fn samples(&self) -> Vec<Sample> {
        self.tape.all()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(probing) = self.probing.take() {
            probing.abort();
        }
        self.gpus.take();
        self.windows.take();
    }
}

/// Sleeps between two samples; false when it is time to end.
fn pause(each: Duration, stop: &AtomicBool) -> bool {
    std::thread::sleep(each);
    !stop.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What others use of the host's CPU, of the first sample.
    async fn others(settings: &TelemetrySettings) -> Option<f64> {
        let telemetry = Telemetry::start(settings);
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let host = |sample: &Sample| match sample.reading {
                Reading::Host(host) => Some(host.cpu_others),
                _ => None,
            };
            if let Some(others) = telemetry.samples().iter().find_map(host) {
                return others;
            }
        }
    }

    #[tokio::test]
    async fn others_are_known_where_the_server_is_in_this_program_and_else_not_guessed() {
        let inside = TelemetrySettings { in_process: true, ..TelemetrySettings::default() };
        let elsewhere = TelemetrySettings::default();
        let (inside, elsewhere) = tokio::join!(others(&inside), others(&elsewhere));
        assert!((0.0..=1.0).contains(&inside.expect("known")), "{inside:?}");
        assert_eq!(elsewhere, None);
    }
}
