//! `bench`: the suite against a server that somebody else started.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use vllm_grid::bench::suite::{Bench, BenchError, BenchSettings, planned_repeats, run_suite};
use vllm_grid::bench::{RecordSink, RepeatKey};
use vllm_grid::clean;
use vllm_grid::client::Limits;
use vllm_grid::client::record::RequestRecord;
use vllm_grid::event::Emit;
use vllm_grid::history::record::SCHEMA_VERSION;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::report;
use vllm_grid::results::records;
use vllm_grid::server::{Endpoint, GpuIds, Server, ServerError};
use vllm_grid::telemetry::{Telemetry, TelemetrySettings, gpus_are_here};
use vllm_grid::workload::Workload;

use self::input::BenchInput;
use super::descriptors;
use super::show::{print_json, width};
use crate::cli::{BenchArgs, Format};
use crate::exit::{CommandError, Exit, print};
use crate::output::secrets;
use crate::progress::Progress;
use crate::signals::Shutdown;

mod input;

/// `bench --format json`.
#[derive(Debug, Serialize)]
struct Output<'a> {
    schema_version: u32,
    simulated: bool,
    server: About<'a>,
    measurements: Vec<&'a Measurement>,
}

#[derive(Debug, Serialize)]
struct About<'a> {
    url: &'a str,
    model: std::borrow::Cow<'a, str>,
    version: Option<&'a str>,
    max_model_len: Option<u64>,
    /// This machine's GPUs that the server runs on, as a person said.
    local_gpus: Option<&'a str>,
}

/// Keeps every record in memory until the end.
#[derive(Debug, Default)]
struct Kept {
    wanted: bool,
    records: Mutex<Vec<(RepeatKey, Vec<RequestRecord>)>>,
}

impl RecordSink for Kept {
    fn store(&self, key: &RepeatKey, records: &[RequestRecord]) -> std::io::Result<()> {
        if self.wanted {
            let mut kept = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((key.clone(), records::without(records, secrets()).into_owned()));
        }
        Ok(())
    }
}

/// `bench`: measures a running server.
pub(crate) async fn bench(args: &BenchArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let stop = shutdown.token();
    secrets().add_text(&args.url);
    let Some(input) = stop.run_until_cancelled(BenchInput::read(args)).await else {
        return Ok(Exit::Interrupted);
    };
    let BenchInput { workloads, datasets, api_key, trust, gpus } = input?;
    descriptors::check(&workloads, false)?;
    if let Some(key) = &api_key {
        secrets().add(key.reveal());
    }
    let endpoint = Endpoint { trust, ..Endpoint::new(args.url.clone(), api_key) };
    let opening = Server::open(endpoint, args.model.as_deref());
    let Some(server) = stop.run_until_cancelled(opening).await else {
        return Ok(Exit::Interrupted);
    };
    let server = server.map_err(unusable)?;
    let progress = Progress::of_repeats(planned_repeats(&workloads, args.repeats));
    let emit = progress.emit();
    if let Some(note) = server.choice.note(&server.model) {
        emit.warn(format!("{note}; --model NAME measures another"));
    }
    let files: BTreeSet<_> = workloads.iter().filter_map(Workload::dataset).collect();
    for remark in files.into_iter().filter_map(|path| datasets.remark(path)) {
        emit.warn(remark);
    }
    let sink = Kept { wanted: args.records.is_some(), ..Kept::default() };
    let settings = BenchSettings {
        // Unique to this run: a prompt of an earlier one may still be cached.
        salt: format!("bench {} {}", jiff::Timestamp::now(), std::process::id()),
        seed: args.seed,
        launch: 0,
        block: 0,
        limits: Limits::default(),
    };
    let preparing = Bench::new(&server, &sink, &emit, stop, settings);
    let Some(bench) = stop.run_until_cancelled(preparing).await else {
        return Ok(Exit::Interrupted);
    };
    let mut bench = bench
        .map_err(|error| CommandError::new(Exit::Environment, error))?
        .with_datasets(datasets)
        .with_telemetry(telemetry(args, gpus, &server, &emit));
    let mut measurements = Vec::new();
    let ended = run_suite(&mut bench, &workloads, args.repeats, &mut measurements).await;
    progress.close(None);
    // What was measured is printed even if the records cannot be written, and the other way round.
    let printed = print_measurements(args, &server, &measurements);
    let kept = args.records.as_deref().map_or(Ok(()), |path| keep(path, &sink));
    let ended = exit_after(ended, &measurements);
    match kept {
        Err(error) if ended.is_err() => {
            error.print();
        }
        kept => kept?,
    }
    printed?;
    ended
}

/// How the process ends after the suite did.
fn exit_after(
    ended: Result<(), BenchError>,
    measurements: &[Measurement],
) -> Result<Exit, CommandError> {
    match ended {
        Ok(()) => Ok(exit_of(measurements)),
        Err(BenchError::Cancelled) => Ok(Exit::Interrupted),
        Err(error @ (BenchError::EngineDied { .. } | BenchError::NoProgress { .. })) => {
            Err(CommandError::new(Exit::Engine, error))
        }
        Err(error @ BenchError::NoSuchCase { .. }) => Err(CommandError::new(Exit::Bug, error)),
        Err(error) => Err(CommandError::new(Exit::Environment, error)),
    }
}

/// Whether anything was measured. Warm-ups are printed nowhere, and are no measurement.
fn exit_of(measurements: &[Measurement]) -> Exit {
    let mut kept = measurements.iter().filter(|measurement| measurement.repeat > 0);
    if kept.any(|measurement| measurement.status == Status::Ok) {
        Exit::Done
    } else {
        Exit::NothingRanked
    }
}

/// Looks at this machine, and at its GPUs where a person says that the server runs
/// on them: behind a tunnel the address is local and the GPUs are not.
fn telemetry(args: &BenchArgs, gpus: Option<GpuIds>, server: &Server, emit: &Emit) -> Telemetry {
    let local_gpus = args.local_gpus.as_deref();
    let telemetry = Telemetry::start(&TelemetrySettings {
        gpus: local_gpus.is_some() && !server.simulated,
        only: gpus,
        ..TelemetrySettings::default()
    });
    let warning = match local_gpus {
        Some(_) if server.simulated => "the server is simulated: no GPU is looked at",
        Some(_) if !telemetry.has_gpus() => "no GPU is seen on this machine (--local-gpus)",
        None if !server.simulated && server.endpoint.is_loopback() && gpus_are_here() => {
            "no GPU is looked at: if the server runs on this machine's, say so with --local-gpus"
        }
        _ => return telemetry,
    };
    emit.warn(warning);
    telemetry
}

fn keep(path: &Path, sink: &Kept) -> Result<(), CommandError> {
    let kept = sink.records.lock().unwrap_or_else(PoisonError::into_inner);
    records::write_all(path, &kept).map_err(|error| CommandError::new(Exit::Environment, error))
}

fn unusable(error: ServerError) -> CommandError {
    let exit = match error {
        ServerError::Address { .. } | ServerError::WrongModel { .. } => Exit::Usage,
        ServerError::NotServing { .. } => Exit::Engine,
        _ => Exit::Environment,
    };
    CommandError::new(exit, error)
}

fn print_measurements(
    args: &BenchArgs,
    server: &Server,
    measurements: &[Measurement],
) -> Result<(), CommandError> {
    let kept: Vec<&Measurement> = measurements.iter().filter(|m| m.repeat > 0).collect();
    if args.format == Format::Json {
        return print_json(&Output {
            schema_version: SCHEMA_VERSION,
            simulated: server.simulated,
            server: About {
                url: &server.endpoint.base_url,
                model: clean::plain(&server.model),
                version: server.version.as_deref(),
                max_model_len: server.max_model_len,
                local_gpus: args.local_gpus.as_deref().filter(|_| !server.simulated),
            },
            measurements: kept,
        });
    }
    let mark = if server.simulated { " SIMULATED" } else { "" };
    print(&format!("{} {}{mark}\n\n", server.endpoint.base_url, clean::plain(&server.model)))?;
    print(&report::measurements::render(&kept, width()))
}

#[cfg(test)]
mod tests {
    use vllm_grid::metric::MetricValues;

    use super::*;

    #[test]
    fn a_warm_up_that_went_well_is_no_measurement() {
        let measurement = |repeat, status| Measurement {
            workload: "load".to_owned(),
            case: String::new(),
            repeat,
            status,
            reason: None,
            metrics: MetricValues::new(),
            metric_reasons: vllm_grid::metric::MetricReasons::new(),
        };
        let warmup = measurement(0, Status::Ok);
        assert_eq!(exit_of(&[warmup.clone(), measurement(1, Status::Void)]), Exit::NothingRanked);
        assert_eq!(
            exit_of(&[warmup, measurement(1, Status::Void), measurement(2, Status::Ok)]),
            Exit::Done
        );
    }
}
