//! A launch's telemetry as Parquet: one row per sample; columns that its source
//! does not have are null.

use std::path::Path;

use polars::prelude::{Column, DataFrame};

use super::ResultsError;
use super::columns::column;
use super::file::write_parquet;
use crate::server::ResourceSample;
use crate::telemetry::{GpuReading, HostReading, Reading, Sample, ServerReading};

/// Writes the samples of a launch as one Parquet file, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, samples: &[Sample]) -> Result<(), ResultsError> {
    let mut frame = DataFrame::new(samples.len(), columns(samples))?;
    write_parquet(path, &mut frame)
}

fn source(sample: &Sample) -> &'static str {
    match sample.reading {
        Reading::Gpu(_) => "gpu",
        Reading::Host(_) => "host",
        Reading::Engine(_) => "engine",
        Reading::Server(_) => "server",
    }
}

fn gpu(sample: &Sample) -> Option<&GpuReading> {
    if let Reading::Gpu(reading) = &sample.reading { Some(reading) } else { None }
}

fn host(sample: &Sample) -> Option<&HostReading> {
    if let Reading::Host(reading) = &sample.reading { Some(reading) } else { None }
}

fn engine(sample: &Sample) -> Option<&ResourceSample> {
    if let Reading::Engine(reading) = &sample.reading { Some(reading) } else { None }
}

fn server(sample: &Sample) -> Option<&ServerReading> {
    if let Reading::Server(reading) = &sample.reading { Some(reading) } else { None }
}

fn columns(samples: &[Sample]) -> Vec<Column> {
    let number = |name: &str, read: &dyn Fn(&Sample) -> Option<f64>| {
        column(name, samples.iter().map(|s| read(s).filter(|v| v.is_finite())).collect())
    };
    let count = |name: &str, read: &dyn Fn(&Sample) -> Option<u64>| {
        column(name, samples.iter().map(read).collect())
    };
    vec![
        column("at_unix_ms", samples.iter().map(|sample| Some(sample.at_unix_ms)).collect()),
        column("source", samples.iter().map(|s| Some(source(s).to_owned())).collect()),
        column("gpu.index", samples.iter().map(|s| gpu(s).map(|gpu| gpu.index)).collect()),
        number("gpu.utilization", &|s| gpu(s)?.utilization),
        count("gpu.memory_bytes", &|s| gpu(s)?.memory_bytes),
        number("gpu.power_w", &|s| gpu(s)?.power_w),
        number("gpu.temperature_c", &|s| gpu(s)?.temperature_c),
        number("gpu.sm_clock_mhz", &|s| gpu(s)?.sm_clock_mhz),
        number("gpu.memory_clock_mhz", &|s| gpu(s)?.memory_clock_mhz),
        count("gpu.throttle_reasons", &|s| gpu(s)?.throttle_reasons),
        number("host.cpu", &|s| host(s)?.cpu),
        count("host.memory_bytes", &|s| host(s)?.memory_bytes),
        number("client.cpu_cores", &|s| host(s)?.client_cpu_cores),
        count("client.memory_bytes", &|s| host(s)?.client_memory_bytes),
        number("engine.cpu_cores", &|s| engine(s)?.cpu_cores),
        count("engine.memory_bytes", &|s| engine(s)?.memory_bytes),
        count("engine.memory_limit_bytes", &|s| engine(s)?.memory_limit_bytes),
        count("engine.restarts", &|s| engine(s)?.restarts),
        number("server.running", &|s| server(s)?.running),
        number("server.waiting", &|s| server(s)?.waiting),
        number("server.kv_cache_usage", &|s| server(s)?.kv_usage),
        count("server.preemptions", &|s| server(s)?.preemptions),
        count("server.requests", &|s| server(s)?.requests),
        count("server.prompt_tokens", &|s| server(s)?.prompt_tokens),
        count("server.generation_tokens", &|s| server(s)?.generation_tokens),
        number("server.resident_bytes", &|s| server(s)?.resident_bytes),
    ]
}
