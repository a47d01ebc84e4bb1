//! The machine that this program runs on, and the resources that this program itself uses.
//! The server's resources are sampled through a `ResourceProbe`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind,
    System,
};

use super::{Reading, Tape, pause};
use crate::client::clock::now_ns;

/// One sample of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostReading {
    /// CPU in use, as a share of all cores.
    pub cpu: Option<f64>,
    /// RAM in use, bytes.
    pub memory_bytes: Option<u64>,
    /// CPU that this program uses, in cores.
    pub client_cpu_cores: Option<f64>,
    /// RAM that this program uses, bytes.
    pub client_memory_bytes: Option<u64>,
}

/// Samples the host until `stop` is set, on a thread of its own.
pub(super) fn watch(each: Duration, tape: Tape, stop: Arc<AtomicBool>) {
    let watching = std::thread::Builder::new().name("telemetry host".to_owned());
    // Without the thread there are no samples; the measurement continues.
    let started = watching.spawn(move || {
        let kind = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let Ok(mut system) = System::new_with_specifics(kind) else { return };
        let own = sysinfo::get_current_pid().ok();
        refresh(&mut system, own);
        // Shares are of the time between two refreshes: the first has none.
        while pause(each, &stop) {
            refresh(&mut system, own);
            tape.put(now_ns(), [Reading::Host(reading(&system, own))]);
        }
    });
    if let Err(error) = started {
        tracing::warn!("no telemetry of the host: {error}");
    }
}

fn refresh(system: &mut System, own: Option<Pid>) {
    system.refresh_cpu_usage();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    if let Some(own) = own {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, what);
    }
}

fn reading(system: &System, own: Option<Pid>) -> HostReading {
    let process = own.and_then(|own| system.process(own));
    let share = |percent: f32| f64::from(percent) / 100.0;
    HostReading {
        cpu: (!system.cpus().is_empty()).then(|| share(system.global_cpu_usage())),
        memory_bytes: Some(system.used_memory()).filter(|bytes| *bytes > 0),
        client_cpu_cores: process.map(|process| share(process.cpu_usage())),
        client_memory_bytes: process.map(sysinfo::Process::memory),
    }
}
