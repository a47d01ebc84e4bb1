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
    SPREADS.iter().flatten().chain(&ALONE).map(move |resource| {
        let Resource { name, unit, direction, definition, source } = *resource;
        Metric { workload, name, unit, direction, definition, source, scale: Scale::of_unit(unit) }
    })
}
