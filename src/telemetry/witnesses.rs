//! What tells of the machine in the samples of one repeat: others on it, what it lacks, what
//! slows it down. Pure. What was not sampled is `None`.

use std::collections::BTreeMap;

use super::{Reading, Sample};

/// Values of one quantity.
#[derive(Debug, Default)]
struct Seen(Vec<f64>);

impl Seen {
    fn add(&mut self, value: Option<f64>) {
        self.0.extend(value.filter(|value| value.is_finite()));
    }

    fn mean(&self) -> Option<f64> {
        let all = &self.0;
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    fn sum(&self) -> Option<f64> {
        self.0.iter().copied().reduce(|a, b| a + b)
    }

    fn max(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::max)
    }

    fn min(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::min)
    }
}

/// Others on the GPUs: the last look at each of them.
#[derive(Debug, Default)]
struct GpuOthers {
    latest: BTreeMap<u32, (f64, Option<f64>)>,
    processes: Seen,
    memory: Seen,
}

impl GpuOthers {
    fn add(&mut self, index: u32, others: f64, memory: Option<f64>) {
        self.latest.insert(index, (others, memory));
        let now = || self.latest.values();
        self.processes.add(Some(now().map(|it| it.0).sum()));
        self.memory.add(now().map(|it| it.1).sum());
    }
}

/// The metrics of the samples of one repeat, by name.
pub(super) fn witnesses<'a>(
    samples: impl Iterator<Item = &'a Sample>,
) -> [(&'static str, Option<f64>); 17] {
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    let mut gpus = GpuOthers::default();
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    for sample in samples {
        let mut note = |name, value| seen.entry(name).or_default().add(value);
        match sample.reading {
            Reading::Host(host) => {
                note("others", host.cpu_others);
                note("available", bytes(host.memory_available_bytes));
                note("load", host.load_per_core);
                note("iowait", host.iowait);
                note("steal", host.steal);
                note("pressure", host.cpu_pressure);
                note("thermal", bytes(host.thermal_throttles));
                note("client", host.client_throttled_share);
            }
            Reading::Engine(engine) => note("engine", engine.throttled_share),
            Reading::Windows(windows) => {
                note("windows", windows.cpu);
                note("windows others", windows.cpu_others);
                note("vmmem", windows.vmmem_cpu_cores);
            }
            Reading::GpuUsers(users) => {
                gpus.add(users.index, f64::from(users.others), bytes(users.others_memory_bytes));
            }
            Reading::Gpu(_) | Reading::Server(_) => {}
        }
    }
    let none = Seen::default();
    let of = |name| seen.get(name).unwrap_or(&none);
    [
        ("host_cpu_others_mean", of("others").mean()),
        ("host_cpu_others_max", of("others").max()),
        ("host_memory_available_mean", of("available").mean()),
        ("host_memory_available_min", of("available").min()),
        ("host_load_mean", of("load").mean()),
        ("host_iowait_mean", of("iowait").mean()),
        ("host_steal_mean", of("steal").mean()),
        ("host_cpu_pressure_mean", of("pressure").mean()),
        ("host_thermal_throttles", of("thermal").sum()),
        ("client_throttled_share", of("client").mean()),
        ("engine_throttled_share", of("engine").mean()),
        ("gpu_other_processes_max", gpus.processes.max()),
        ("gpu_other_memory_max", gpus.memory.max()),
        ("windows_cpu_mean", of("windows").mean()),
        ("windows_cpu_max", of("windows").max()),
        ("windows_cpu_others_mean", of("windows others").mean()),
        ("windows_vmmem_cpu_mean", of("vmmem").mean()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{GpuUsersReading, HostReading};

    fn of(readings: Vec<Reading>) -> BTreeMap<&'static str, Option<f64>> {
        let sample = |reading| Sample { at_unix_ms: 0, at_ns: 0, reading };
        let samples: Vec<Sample> = readings.into_iter().map(sample).collect();
        witnesses(samples.iter()).into_iter().collect()
    }

    #[test]
    fn means_sums_and_extremes_of_what_was_sampled() {
        let host = |others, available, thermal| {
            Reading::Host(HostReading {
                cpu_others: others,
                memory_available_bytes: Some(available),
                thermal_throttles: Some(thermal),
                ..HostReading::default()
            })
        };
        let all = of(vec![host(Some(0.25), 100, 2), host(None, 50, 3), host(Some(0.75), 60, 0)]);
        assert_eq!(all["host_cpu_others_mean"], Some(0.5));
        assert_eq!(all["host_cpu_others_max"], Some(0.75));
        assert_eq!(all["host_memory_available_mean"], Some(70.0));
        assert_eq!(all["host_memory_available_min"], Some(50.0));
        assert_eq!(all["host_thermal_throttles"], Some(5.0));
        assert_eq!(all["host_steal_mean"], None);
        assert!(of(Vec::new()).values().all(Option::is_none));
    }

    #[test]
    fn others_are_summed_over_the_gpus_at_one_time() {
        let users = |index, others, memory| {
            Reading::GpuUsers(GpuUsersReading { index, others, others_memory_bytes: memory })
        };
        let all = of(vec![
            users(0, 1, Some(10)),
            users(1, 2, Some(5)),
            users(0, 0, Some(0)),
            users(1, 1, None),
        ]);
        assert_eq!(all["gpu_other_processes_max"], Some(3.0));
        assert_eq!(all["gpu_other_memory_max"], Some(15.0));
    }
}
