//! A launch's telemetry as Parquet: one row per sample; columns that its source
//! does not have are null.

use std::path::Path;

use polars::prelude::{Column, DataFrame};

use super::ResultsError;
use super::columns::column;
use super::file::write_parquet;
use crate::server::ResourceSample;
use crate::telemetry::{
    GpuReading, GpuUsersReading, HostReading, Reading, Sample, ServerReading, WindowsReading,
};

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
        Reading::GpuUsers(_) => "gpu_users",
        Reading::Windows(_) => "windows",
        Reading::Host(_) => "host",
        Reading::Engine(_) => "engine",
        Reading::Server(_) => "server",
    }
}

fn gpu(sample: &Sample) -> Option<&GpuReading> {
    if let Reading::Gpu(reading) = &sample.reading { Some(reading) } else { None }
}

fn users(sample: &Sample) -> Option<&GpuUsersReading> {
    if let Reading::GpuUsers(reading) = &sample.reading { Some(reading) } else { None }
}

fn windows(sample: &Sample) -> Option<&WindowsReading> {
    if let Reading::Windows(reading) = &sample.reading { Some(reading) } else { None }
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
    let gpu_index = |s: &Sample| gpu(s).map(|gpu| gpu.index).or(users(s).map(|users| users.index));
    vec![
        column("at_unix_ms", samples.iter().map(|sample| Some(sample.at_unix_ms)).collect()),
        column("source", samples.iter().map(|s| Some(source(s).to_owned())).collect()),
        column("gpu.index", samples.iter().map(gpu_index).collect()),
        number("gpu.utilization", &|s| gpu(s)?.utilization),
        count("gpu.memory_bytes", &|s| gpu(s)?.memory_bytes),
        number("gpu.power_w", &|s| gpu(s)?.power_w),
        number("gpu.temperature_c", &|s| gpu(s)?.temperature_c),
        number("gpu.sm_clock_mhz", &|s| gpu(s)?.sm_clock_mhz),
        number("gpu.memory_clock_mhz", &|s| gpu(s)?.memory_clock_mhz),
        count("gpu.throttle_reasons", &|s| gpu(s)?.throttle_reasons),
        count("gpu.other_processes", &|s| Some(users(s)?.others.into())),
        count("gpu.other_memory_bytes", &|s| users(s)?.others_memory_bytes),
        number("host.cpu", &|s| host(s)?.cpu),
        number("host.cpu_others", &|s| host(s)?.cpu_others),
        number("host.iowait", &|s| host(s)?.iowait),
        number("host.steal", &|s| host(s)?.steal),
        number("host.cpu_pressure", &|s| host(s)?.cpu_pressure),
        number("host.load_per_core", &|s| host(s)?.load_per_core),
        count("host.thermal_throttles", &|s| host(s)?.thermal_throttles),
        count("host.memory_bytes", &|s| host(s)?.memory_bytes),
        count("host.memory_available_bytes", &|s| host(s)?.memory_available_bytes),
        number("client.cpu_cores", &|s| host(s)?.client_cpu_cores),
        count("client.memory_bytes", &|s| host(s)?.client_memory_bytes),
        number("client.throttled_share", &|s| host(s)?.client_throttled_share),
        number("windows.cpu", &|s| windows(s)?.cpu),
        number("windows.cpu_others", &|s| windows(s)?.cpu_others),
        number("windows.vmmem_cpu_cores", &|s| windows(s)?.vmmem_cpu_cores),
        number("engine.cpu_cores", &|s| engine(s)?.cpu_cores),
        count("engine.memory_bytes", &|s| engine(s)?.memory_bytes),
        count("engine.memory_limit_bytes", &|s| engine(s)?.memory_limit_bytes),
        count("engine.restarts", &|s| engine(s)?.restarts),
        number("engine.throttled_share", &|s| engine(s)?.throttled_share),
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
