//! Metrics that every workload has besides its own: what the machine used while a
//! repeat ran. How they are sampled is in `telemetry`.

use crate::metric::{Direction, Metric, Scale};

/// A metric of a resource, for any workload.
#[derive(Clone, Copy, Debug)]
struct Resource {
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
    source: &'static str,
}

const fn neutral(
    name: &'static str,
    unit: &'static str,
    definition: &'static str,
    source: &'static str,
) -> Resource {
    Resource { name, unit, direction: Direction::Neutral, definition, source }
}

/// Mean and maximum of one quantity; the 95th percentile from 59 samples on.
macro_rules! spread {
    ($name:literal, $unit:literal, $what:literal, $source:expr) => {
        [
            neutral(
                concat!($name, "_mean"),
                $unit,
                concat!($what, ": mean over the repeat."),
                $source,
            ),
            neutral(concat!($name, "_max"), $unit, concat!($what, ": most at once."), $source),
            neutral(
                concat!($name, "_p95"),
                $unit,
                concat!($what, ": 95th percentile; from 59 samples on."),
                $source,
            ),
        ]
    };
}

const GPU: &str = "NVML, or nvidia-smi";
const HOST: &str = "host of the client";
const WINDOWS: &str = "Windows' counters, through PowerShell";
const ENGINE: &str = "Docker's statistics, or /proc";

const SPREADS: [[Resource; 3]; 10] = [
    spread!("gpu_utilization", "share", "Time in which kernels ran, mean of the GPUs", GPU),
    spread!("gpu_memory_used", "bytes", "GPU memory in use, sum of the GPUs", GPU),
    spread!("gpu_power", "W", "Power, sum of the GPUs", GPU),
    spread!("gpu_temperature", "C", "Temperature of the hottest GPU", GPU),
    spread!("gpu_sm_clock", "MHz", "Clock of the multiprocessors, mean of the GPUs", GPU),
    spread!("host_cpu", "share", "CPU in use, of all cores", HOST),
    spread!("host_memory_used", "bytes", "RAM in use", HOST),
    spread!("client_cpu", "cores", "CPU that this program uses, in cores", HOST),
    spread!("engine_cpu", "cores", "CPU that the server's container or processes use", ENGINE),
    spread!(
        "engine_memory",
        "bytes",
        "RAM that the server's container uses, as `docker stats` has it, or resident memory of its processes, summed",
        ENGINE
    ),
];

/// What tells of the machine: others on it, what it lacks, what slows it down.
const WITNESSES: [Resource; 17] = [
    neutral(
        "host_cpu_others_mean",
        "share",
        "CPU of all cores that neither the server nor this program uses, steal left out: mean over the repeat. Null where the server's CPU is not known.",
        HOST,
    ),
    neutral("host_cpu_others_max", "share", "The same: most at once.", HOST),
    neutral(
        "host_memory_available_mean",
        "bytes",
        "RAM that programs can still have without swapping: mean over the repeat.",
        HOST,
    ),
    neutral("host_memory_available_min", "bytes", "The same: least at once.", HOST),
    neutral(
        "host_load_mean",
        "ratio",
        "Load average of one minute over the number of cores: mean over the repeat.",
        HOST,
    ),
    neutral(
        "host_iowait_mean",
        "share",
        "Time of all cores that were idle while a disk was waited for: mean over the repeat.",
        HOST,
    ),
    neutral(
        "host_steal_mean",
        "share",
        "Time of all cores that a hypervisor gave to others: mean over the repeat.",
        HOST,
    ),
    neutral(
        "host_cpu_pressure_mean",
        "share",
        "Time in which something waited for a core (PSI, `some`): mean over the repeat.",
        HOST,
    ),
    neutral(
        "host_thermal_throttles",
        "1",
        "Times that a core was slowed down by heat during the repeat.",
        HOST,
    ),
    neutral(
        "client_throttled_share",
        "share",
        "Periods in which a CPU limit held this program's control group back.",
        HOST,
    ),
    neutral(
        "engine_throttled_share",
        "share",
        "Periods in which a CPU limit held the server's container back.",
        "Docker's statistics",
    ),
    neutral(
        "gpu_other_processes_max",
        "1",
        "Processes on the GPUs that are not the server's: most at once, sum of the GPUs.",
        GPU,
    ),
    neutral(
        "gpu_other_memory_max",
        "bytes",
        "GPU memory of these processes: most at once, sum of the GPUs.",
        GPU,
    ),
    neutral(
        "windows_cpu_mean",
        "share",
        "CPU in use of the Windows host of WSL2, of all its cores: mean over the repeat.",
        WINDOWS,
    ),
    neutral("windows_cpu_max", "share", "The same: most at once.", WINDOWS),
    neutral(
        "windows_cpu_others_mean",
        "share",
        "The part of it that is not the virtual machine of WSL2: mean over the repeat.",
        WINDOWS,
    ),
    neutral(
        "windows_vmmem_cpu_mean",
        "cores",
        "CPU of the virtual machine of WSL2 as Windows sees it: mean over the repeat.",
        WINDOWS,
    ),
];

const ALONE: [Resource; 2] = [
    neutral(
        "gpu_throttled_share",
        "share",
        "Samples in which a GPU was slowed down by heat, power or its board.",
        GPU,
    ),
    Resource {
        name: "energy_per_1000_tokens",
        unit: "J",
        direction: Direction::Lower,
        definition: "Energy of the GPUs over the repeat, per 1000 generated tokens.",
        source: "NVML or nvidia-smi, and usage",
    },
];

/// The metrics of resources, for the workload of this key.
pub(super) fn of(workload: &'static str) -> impl Iterator<Item = Metric> {
    SPREADS.iter().flatten().chain(&WITNESSES).chain(&ALONE).map(move |resource| {
        let Resource { name, unit, direction, definition, source } = *resource;
        Metric { workload, name, unit, direction, definition, source, scale: Scale::of_unit(unit) }
    })
}
