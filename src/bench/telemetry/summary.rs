//! What the samples of one repeat add up to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{GpuReading, Reading, Sample};
use crate::bench::load::distribution::Distribution;
use crate::metric::{MetricValue, MetricValues};

/// Metrics of resources between two times of the bench's clock, in nanoseconds;
/// what was not sampled there is not among them.
pub(crate) fn metrics(samples: &[Sample], window: (u64, u64), tokens: u64) -> MetricValues {
    let within = |sample: &&Sample| (window.0..=window.1).contains(&sample.at_ns);
    let gpus = looks(samples, window);
    let mut rest: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut note = |name: &'static str, value: Option<f64>| {
        if let Some(value) = value {
            rest.entry(name).or_default().push(value);
        }
    };
    for sample in samples.iter().filter(within) {
        match sample.reading {
            Reading::Host(host) => {
                note("host_cpu", host.cpu);
                note("host_memory_used", host.memory_bytes.map(|bytes| bytes as f64));
                note("client_cpu", host.client_cpu_cores);
            }
            Reading::Engine(engine) => {
                note("engine_cpu", engine.cpu_cores);
                note("engine_memory", engine.memory_bytes.map(|bytes| bytes as f64));
            }
            // Of GPUs further below; of the server its workloads tell, by names of their own.
            Reading::Gpu(_) | Reading::Server(_) => {}
        }
    }
    for readings in gpus.values() {
        note("gpu_utilization", mean(readings, |gpu| gpu.utilization));
        note("gpu_memory_used", sum(readings, |gpu| gpu.memory_bytes.map(|bytes| bytes as f64)));
        note("gpu_power", sum(readings, |gpu| gpu.power_w));
        note("gpu_temperature", most(readings, |gpu| gpu.temperature_c));
        note("gpu_sm_clock", mean(readings, |gpu| gpu.sm_clock_mhz));
    }
    let mut metrics = MetricValues::new();
    let mut tell = |name: String, value: Option<f64>| {
        metrics.insert(name, value.map(MetricValue::Number));
    };
    for (name, values) in rest {
        let all = Distribution::of(values);
        tell(format!("{name}_mean"), all.mean());
        tell(format!("{name}_max"), all.max());
        tell(format!("{name}_p95"), all.p95());
    }
    tell("gpu_throttled_share".to_owned(), throttled(&gpus));
    let energy = energy(&gpus, window);
    let per_1000 = energy.filter(|_| tokens > 0).map(|joules| joules * 1e3 / tokens as f64);
    tell("energy_per_1000_tokens".to_owned(), per_1000);
    metrics
}

/// What an engine told of its server in some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EngineTold {
    /// Memory in use: when, in nanoseconds of the bench's clock, and bytes.
    pub(crate) memory: Vec<(u64, f64)>,
    /// Restarts; `None` where nobody counts them.
    pub(crate) restarts: Option<f64>,
}

/// What the engine told between two times.
pub(crate) fn engine(samples: &[Sample], window: (u64, u64)) -> EngineTold {
    let told = samples.iter().filter(|sample| sample.at_ns <= window.1).filter_map(|sample| {
        let Reading::Engine(engine) = sample.reading else { return None };
        Some((sample.at_ns, engine))
    });
    let memory = told.clone().filter(|(at, _)| *at >= window.0);
    let counts: Vec<(u64, u64)> =
        told.filter_map(|(at, engine)| Some((at, engine.restarts?))).collect();
    EngineTold {
        memory: memory.filter_map(|(at, e)| Some((at, e.memory_bytes? as f64))).collect(),
        restarts: restarts(&counts, window.0),
    }
}

/// Restarts since a time, of counts with theirs; the last count before it is where they began.
fn restarts(counts: &[(u64, u64)], since: u64) -> Option<f64> {
    let before = counts.iter().rev().find(|(at, _)| *at <= since).or(counts.first())?.1;
    Some(counts.last()?.1.checked_sub(before)? as f64)
}

/// A quarter of a second: how often GPUs are looked at.
const TICK_NS: u64 = 250_000_000;
/// A reading older than this says nothing of now.
const STALE_NS: u64 = 1_000_000_000;

/// What all GPUs showed at each tick of the window: `nvidia-smi` tells one after
/// the other, so of each the latest counts. A tick without one of them is no look:
/// a sum of some GPUs is not theirs.
fn looks(samples: &[Sample], window: (u64, u64)) -> BTreeMap<u64, Vec<GpuReading>> {
    let gpus = samples.iter().filter_map(|sample| {
        let Reading::Gpu(reading) = sample.reading else { return None };
        Some((sample.at_ns, reading))
    });
    let known: BTreeSet<u32> = gpus.clone().map(|(_, reading)| reading.index).collect();
    let mut latest: BTreeMap<u32, (u64, GpuReading)> = BTreeMap::new();
    let mut looks: BTreeMap<u64, Vec<GpuReading>> = BTreeMap::new();
    for (at_ns, reading) in gpus.filter(|(at_ns, _)| *at_ns <= window.1) {
        latest.insert(reading.index, (at_ns, reading));
        if at_ns >= window.0 {
            let fresh = |at: u64| at_ns.saturating_sub(at) <= STALE_NS;
            let now = latest.values().filter(|(at, _)| fresh(*at)).map(|(_, reading)| *reading);
            looks.insert(at_ns / TICK_NS, now.collect());
        }
    }
    looks.retain(|_, readings| readings.len() == known.len());
    looks
}

/// One value of each GPU; `None` unless all of them tell it.
fn each(readings: &[GpuReading], read: fn(&GpuReading) -> Option<f64>) -> Option<Vec<f64>> {
    readings.iter().map(read).collect()
}

fn sum(readings: &[GpuReading], read: fn(&GpuReading) -> Option<f64>) -> Option<f64> {
    each(readings, read)?.into_iter().reduce(|a, b| a + b)
}

fn most(readings: &[GpuReading], read: fn(&GpuReading) -> Option<f64>) -> Option<f64> {
    each(readings, read)?.into_iter().reduce(f64::max)
}

fn mean(readings: &[GpuReading], read: fn(&GpuReading) -> Option<f64>) -> Option<f64> {
    Distribution::of(each(readings, read)?).mean()
}

/// Share of the looks in which one GPU was slowed down; without one that was, all must tell.
fn throttled(gpus: &BTreeMap<u64, Vec<GpuReading>>) -> Option<f64> {
    let told: Vec<bool> = gpus
        .values()
        .filter_map(|readings| {
            let all: Vec<_> = readings.iter().map(GpuReading::is_throttled).collect();
            if all.contains(&Some(true)) {
                Some(true)
            } else {
                (!all.contains(&None)).then_some(false)
            }
        })
        .collect();
    let slowed = told.iter().filter(|slowed| **slowed).count();
    (!told.is_empty()).then(|| slowed as f64 / told.len() as f64)
}

/// Mean power times the time of the window, in joules.
fn energy(gpus: &BTreeMap<u64, Vec<GpuReading>>, window: (u64, u64)) -> Option<f64> {
    let power = gpus.values().filter_map(|readings| sum(readings, |gpu| gpu.power_w));
    let seconds = window.1.saturating_sub(window.0) as f64 / 1e9;
    Some(Distribution::of(power).mean()? * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::telemetry::HostReading;
    use crate::server::ResourceSample;
    use crate::workload::KINDS;

    const MS: u64 = 1_000_000;

    fn gpu(at_ms: u64, index: u32, power: f64, reasons: u64) -> Sample {
        let reading = Reading::Gpu(GpuReading {
            index,
            utilization: Some(0.5 + 0.25 * f64::from(index)),
            power_w: Some(power),
            throttle_reasons: Some(reasons),
            ..GpuReading::default()
        });
        Sample { at_unix_ms: 0, at_ns: at_ms * MS, reading }
    }

    fn number(metrics: &MetricValues, name: &str) -> Option<f64> {
        match metrics.get(name).and_then(Option::as_ref) {
            Some(MetricValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    #[test]
    fn gpus_are_summed_at_one_time_and_only_in_the_repeat() {
        let samples = [
            gpu(0, 0, 9999.0, 4),
            gpu(1000, 0, 100.0, 0),
            gpu(1003, 1, 200.0, 0),
            gpu(1250, 0, 120.0, 4),
            gpu(1253, 1, 220.0, 0),
            gpu(9000, 0, 9999.0, 4),
        ];
        let metrics = metrics(&samples, (900 * MS, 2900 * MS), 640);
        assert_eq!(number(&metrics, "gpu_power_mean"), Some(320.0));
        assert_eq!(number(&metrics, "gpu_power_max"), Some(340.0));
        assert_eq!(number(&metrics, "gpu_power_p95"), None);
        assert_eq!(number(&metrics, "gpu_utilization_mean"), Some(0.625));
        assert_eq!(number(&metrics, "gpu_throttled_share"), Some(0.5));
        // 320 W over 2 s for 640 tokens.
        assert_eq!(number(&metrics, "energy_per_1000_tokens"), Some(1000.0));
        assert_eq!(number(&metrics, "gpu_temperature_max"), None);
        assert_eq!(number(&metrics, "host_cpu_mean"), None);
    }

    #[test]
    fn what_one_gpu_does_not_tell_is_not_summed() {
        let silent = |at_ms: u64, index: u32| {
            let reading = Reading::Gpu(GpuReading { index, ..GpuReading::default() });
            Sample { at_unix_ms: 0, at_ns: at_ms * MS, reading }
        };
        let window = (0, 900 * MS);
        let mut samples = vec![gpu(0, 0, 100.0, 0), silent(3, 1)];
        let some = metrics(&samples, window, 640);
        for absent in ["gpu_power_mean", "gpu_utilization_max", "gpu_throttled_share"] {
            assert_eq!(number(&some, absent), None, "{absent}");
        }
        assert_eq!(number(&some, "energy_per_1000_tokens"), None);
        // One that is slow is enough to know.
        samples.push(gpu(250, 0, 100.0, 4));
        assert_eq!(number(&metrics(&samples, window, 0), "gpu_throttled_share"), Some(1.0));
        // Before the second one was looked at for the first time there is no look.
        let apart = [gpu(240, 0, 100.0, 0), gpu(260, 1, 200.0, 0)];
        assert_eq!(number(&metrics(&apart, window, 0), "gpu_power_mean"), Some(300.0));
    }

    #[test]
    fn what_the_engine_tells_is_that_of_the_repeat() {
        let told = |at_ms: u64, restarts, memory_bytes| {
            let reading = ResourceSample { memory_bytes, restarts, ..Default::default() };
            Sample { at_unix_ms: 0, at_ns: at_ms * MS, reading: Reading::Engine(reading) }
        };
        let samples = [
            told(0, Some(1), Some(10)),
            told(5, Some(2), Some(20)),
            told(15, None, None),
            told(20, Some(4), Some(30)),
            told(90, Some(9), Some(40)),
        ];
        let within = |from: u64, to: u64| engine(&samples, (from * MS, to * MS));
        assert_eq!(within(10, 30).restarts, Some(2.0));
        assert_eq!(within(10, 30).memory, [(20 * MS, 30.0)]);
        assert_eq!(within(6, 7), EngineTold { restarts: Some(0.0), memory: Vec::new() });
        assert_eq!(engine(&[told(0, None, None)], (0, 10 * MS)), EngineTold::default());
    }

    /// A minute in which everything was looked at.
    #[test]
    fn what_is_told_is_what_the_catalogue_has_of_resources() {
        let looks = (0..240).flat_map(|tick: u64| {
            let gpu = GpuReading {
                index: 0,
                utilization: Some(0.5),
                memory_bytes: Some(1 << 30),
                power_w: Some(300.0),
                temperature_c: Some(61.0),
                sm_clock_mhz: Some(1980.0),
                memory_clock_mhz: Some(10_501.0),
                throttle_reasons: Some(0),
            };
            let host = HostReading {
                cpu: Some(0.5),
                memory_bytes: Some(1 << 33),
                client_cpu_cores: Some(0.5),
                client_memory_bytes: Some(1 << 26),
            };
            let engine = ResourceSample {
                cpu_cores: Some(1.0),
                memory_bytes: Some(1 << 32),
                memory_limit_bytes: None,
                restarts: Some(0),
            };
            let rest = [Reading::Host(host), Reading::Engine(engine)];
            let rest = rest.into_iter().filter(move |_| tick.is_multiple_of(4));
            let at_ns = tick * TICK_NS;
            let sample = move |reading| Sample { at_unix_ms: 0, at_ns, reading };
            std::iter::once(Reading::Gpu(gpu)).chain(rest).map(sample)
        });
        let told = metrics(&looks.collect::<Vec<_>>(), (0, u64::MAX), 640);
        let kind = &KINDS[0];
        let catalogue = kind.all_metrics().map(|metric| metric.name);
        let resources = catalogue.filter(|name| kind.metrics.iter().all(|own| own.name != *name));
        let named: BTreeSet<&str> = told.keys().map(String::as_str).collect();
        assert_eq!(named, resources.collect());
        let absent: Vec<_> = told.iter().filter(|(_, value)| value.is_none()).collect();
        assert!(absent.is_empty(), "{absent:?}");
    }

    #[test]
    fn a_percentile_needs_59_samples() {
        let host = |second: u64| Sample {
            at_unix_ms: 0,
            at_ns: second * 1000 * MS,
            reading: Reading::Host(HostReading {
                cpu: Some(second as f64 / 100.0),
                ..HostReading::default()
            }),
        };
        let of = |count: u64| {
            let samples: Vec<Sample> = (0..count).map(host).collect();
            number(&metrics(&samples, (0, u64::MAX), 0), "host_cpu_p95")
        };
        assert_eq!(of(58), None);
        assert!((of(59).expect("enough") - 0.551).abs() < 1e-9);
    }
}
