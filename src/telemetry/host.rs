//! The machine that this program runs on, and the resources that this program itself uses.
//! The server's resources are sampled through a `ResourceProbe`; what neither of both uses
//! of the CPU is others'. What `/proc` and `/sys` say is read by [`kernel`](super::kernel).

use std::fs::{read_dir, read_to_string};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind,
    System,
};

use super::kernel::{self, CpuTimes, Throttling};
use super::{Reading, Tape, pause};
use crate::client::clock::now_ns;

/// A figure of the server's CPU that is older is not subtracted from the host's.
const STALE_NS: u64 = 3_500_000_000;

/// One sample of the host. Shares and counts are since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostReading {
    /// CPU in use, as a share of all cores.
    pub cpu: Option<f64>,
    /// CPU that neither the server nor this program uses, as a share of all cores; `None`
    /// where the server's is not known. Steal is not in it.
    pub cpu_others: Option<f64>,
    /// Time that cores were idle while a disk was waited for, as a share.
    pub iowait: Option<f64>,
    /// Time that a hypervisor gave to others, as a share.
    pub steal: Option<f64>,
    /// Time in which something waited for a core, as a share.
    pub cpu_pressure: Option<f64>,
    /// Load average of one minute over the number of cores.
    pub load_per_core: Option<f64>,
    /// Times that a core was slowed down by heat.
    pub thermal_throttles: Option<u64>,
    /// RAM in use, bytes.
    pub memory_bytes: Option<u64>,
    /// RAM that programs can have without swapping, bytes.
    pub memory_available_bytes: Option<u64>,
    /// CPU that this program uses, in cores.
    pub client_cpu_cores: Option<f64>,
    /// RAM that this program uses, bytes.
    pub client_memory_bytes: Option<u64>,
    /// Share of the periods in which a CPU limit held this program's control group back.
    pub client_throttled_share: Option<f64>,
}

/// The server's CPU, as far as it is known on this machine.
#[derive(Clone, Debug)]
pub(super) enum ServerCpu {
    /// It runs inside this program: what this program uses is both.
    Ours,
    /// When it was sampled last, in [`now_ns`], and the cores; nothing where nobody samples it.
    Sampled(Arc<Mutex<Option<(u64, f64)>>>),
}

impl ServerCpu {
    /// Notes a sample.
    pub(super) fn note(&self, at_ns: u64, cores: Option<f64>) {
        if let Self::Sampled(last) = self {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = cores.map(|cores| (at_ns, cores)).or(*last);
        }
    }

    /// Cores that the server uses besides this program.
    fn cores(&self, at_ns: u64) -> Option<f64> {
        match self {
            Self::Ours => Some(0.0),
            Self::Sampled(last) => {
                let last = *last.lock().unwrap_or_else(PoisonError::into_inner);
                last.filter(|(then, _)| at_ns.saturating_sub(*then) <= STALE_NS).map(|it| it.1)
            }
        }
    }
}

/// Samples the host until `stop` is set, on a thread of its own.
pub(super) fn watch(each: Duration, tape: Tape, stop: Arc<AtomicBool>, server: ServerCpu) {
    let watching = std::thread::Builder::new().name("telemetry host".to_owned());
    // Without the thread there are no samples; the measurement continues.
    let started = watching.spawn(move || {
        let Some(mut host) = Host::new() else { return };
        // Shares are of the time between two looks: the first has none.
        while pause(each, &stop) {
            let reading = host.look(&server);
            tape.put(now_ns(), [Reading::Host(reading)]);
        }
    });
    if let Err(error) = started {
        tracing::warn!("no telemetry of the host: {error}");
    }
}

/// What is read again and again, and what it was before.
struct Host {
    system: System,
    own: Option<Pid>,
    cpu_stat: Option<PathBuf>,
    thermal: Vec<PathBuf>,
    before: Counts,
}

/// Counts since the machine's start, as far as it has them.
struct Counts {
    at: Instant,
    cpu: Option<CpuTimes>,
    pressure_us: Option<u64>,
    throttling: Option<Throttling>,
    thermal: Option<u64>,
}

impl Host {
    fn new() -> Option<Self> {
        let kind = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kind).ok()?;
        let cgroup = read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of_limit = |path: &String| {
            read_to_string(path).ok().is_some_and(|text| Throttling::parse(&text).is_some())
        };
        let cpu_stat = kernel::cpu_stat_files(&cgroup).into_iter().find(of_limit);
        let (cpu_stat, thermal) = (cpu_stat.map(PathBuf::from), thermal_files());
        let before = Counts::read(cpu_stat.as_ref(), &thermal);
        let own = sysinfo::get_current_pid().ok();
        let mut host = Self { system, own, cpu_stat, thermal, before };
        host.refresh();
        Some(host)
    }

    fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        if let Some(own) = self.own {
            let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
            let which = ProcessesToUpdate::Some(&[own]);
            self.system.refresh_processes_specifics(which, false, what);
        }
    }

    fn look(&mut self, server: &ServerCpu) -> HostReading {
        self.refresh();
        let now = Counts::read(self.cpu_stat.as_ref(), &self.thermal);
        let before = std::mem::replace(&mut self.before, now);
        let now = &self.before;
        let seconds = now.at.duration_since(before.at).as_secs_f64();
        let shares = now.cpu.zip(before.cpu).and_then(|(now, before)| now.since(&before));
        let process = self.own.and_then(|own| self.system.process(own));
        let share = |percent: f32| f64::from(percent) / 100.0;
        let cores = now.cpu.map_or(self.system.cpus().len(), |cpu| cpu.cores);
        let cores = (cores > 0).then_some(cores as f64);
        let elsewhere = || cores.map(|_| share(self.system.global_cpu_usage()));
        let cpu = shares.map(|shares| shares.busy).or_else(elsewhere);
        let steal = shares.and_then(|shares| shares.steal);
        let client = process.map(|process| share(process.cpu_usage()));
        let waited = now.pressure_us.zip(before.pressure_us);
        let waited = waited.and_then(|(now, before)| Some(now.checked_sub(before)? as f64 / 1e6));
        let load = file("/proc/loadavg").and_then(|text| kernel::load(&text));
        HostReading {
            cpu,
            cpu_others: others(cpu, steal, client, server.cores(now_ns()), cores),
            iowait: shares.and_then(|shares| shares.iowait),
            steal,
            cpu_pressure: waited.filter(|_| seconds > 0.0).map(|it| (it / seconds).min(1.0)),
            load_per_core: load.zip(cores).map(|(load, cores)| load / cores),
            thermal_throttles: now.thermal.zip(before.thermal).and_then(|(a, b)| a.checked_sub(b)),
            memory_bytes: Some(self.system.used_memory()).filter(|bytes| *bytes > 0),
            memory_available_bytes: file("/proc/meminfo")
                .and_then(|text| kernel::available_bytes(&text)),
            client_cpu_cores: client,
            client_memory_bytes: process.map(sysinfo::Process::memory),
            client_throttled_share: now
                .throttling
                .zip(before.throttling)
                .and_then(|(now, before)| now.since(&before)),
        }
    }
}

impl Counts {
    fn read(cpu_stat: Option<&PathBuf>, thermal: &[PathBuf]) -> Self {
        let number = |path: &PathBuf| file(path)?.trim().parse::<u64>().ok();
        Self {
            at: Instant::now(),
            cpu: file("/proc/stat").and_then(|text| CpuTimes::parse(&text)),
            pressure_us: file("/proc/pressure/cpu").and_then(|text| kernel::pressure_us(&text)),
            throttling: cpu_stat.and_then(file).and_then(|text| Throttling::parse(&text)),
            thermal: thermal.iter().map(number).reduce(|a, b| Some(a? + b?)).flatten(),
        }
    }
}

fn file(path: impl AsRef<std::path::Path>) -> Option<String> {
    read_to_string(path).ok()
}

/// The counts of each core; machines without them, and virtual ones, have none.
fn thermal_files() -> Vec<PathBuf> {
    let Ok(entries) = read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let counts =
        |entry: std::fs::DirEntry| entry.path().join("thermal_throttle/core_throttle_count");
    entries.flatten().map(counts).filter(|path| path.is_file()).collect()
}

/// The part of the CPU that is neither the hypervisor's, this program's, nor the server's.
fn others(
    cpu: Option<f64>,
    steal: Option<f64>,
    client_cores: Option<f64>,
    server_cores: Option<f64>,
    cores: Option<f64>,
) -> Option<f64> {
    let known = (client_cores? + server_cores?) / cores?;
    Some((cpu? - steal.unwrap_or_default() - known).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_use_what_neither_the_server_nor_this_program_uses() {
        let of = |server| others(Some(0.9), Some(0.1), Some(0.5), server, Some(4.0));
        assert!((of(Some(1.5)).expect("known") - 0.3).abs() < 1e-9);
        assert_eq!(of(Some(9.0)), Some(0.0), "both are not sampled at the same time");
        assert_eq!(of(None), None, "not guessed");
        assert_eq!(others(None, None, Some(0.5), Some(0.0), Some(4.0)), None);
    }

    #[test]
    fn the_servers_cpu_is_known_while_it_is_fresh_or_where_it_is_ours() {
        let sampled = ServerCpu::Sampled(Arc::default());
        assert_eq!(sampled.cores(0), None, "nobody samples it");
        sampled.note(1_000_000_000, Some(2.5));
        sampled.note(2_000_000_000, None);
        assert_eq!(sampled.cores(2_000_000_000), Some(2.5));
        assert_eq!(sampled.cores(9_000_000_000), None);
        assert_eq!(ServerCpu::Ours.cores(0), Some(0.0));
    }

    #[test]
    fn this_machine_is_read() {
        let mut host = Host::new().expect("a system");
        std::thread::sleep(Duration::from_millis(250));
        let reading = host.look(&ServerCpu::Ours);
        let share = |value: Option<f64>| (0.0..=1.0).contains(&value.expect("sampled"));
        assert!(share(reading.cpu) && share(reading.cpu_others), "{reading:?}");
        assert!(reading.memory_bytes > Some(1 << 20), "{reading:?}");
        if cfg!(target_os = "linux") {
            assert!(share(reading.iowait), "{reading:?}");
            assert!(reading.load_per_core.is_some(), "{reading:?}");
            assert!(reading.memory_available_bytes > Some(1 << 20), "{reading:?}");
        }
    }
}
