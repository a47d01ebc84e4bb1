//! A simulated server in this process, and a bench that keeps everything.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError, BenchSettings, run_suite};
use vllm_grid::bench::{RecordSink, RepeatKey};
use vllm_grid::client::Limits;
use vllm_grid::client::record::RequestRecord;
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, MetricValue};
use vllm_grid::server::{Endpoint, Server};
use vllm_grid::simulator::{self, LogSink};
use vllm_grid::workload::Workload;

/// Seed of every bench here.
pub(crate) const SEED: u64 = 1;

/// A served simulator; it stops with this.
pub(crate) struct Simulated {
    pub(crate) server: Server,
    stop: CancellationToken,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Simulated {
    /// Qwen3-8B on an H100, with these further arguments.
    pub(crate) async fn start(line: &str) -> Self {
        let line = format!("Qwen/Qwen3-8B --max-model-len 16384 --sim-gpu h100 {line}");
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (argv, options) = simulator::command_line(&words, []).expect("known options");
        Self::serve(&argv, &options).await
    }

    async fn serve(argv: &[String], options: &simulator::Options) -> Self {
        let log: LogSink = Arc::new(|_: &str| {});
        let stop = CancellationToken::new();
        let quick = simulator::Options { speed: 1e6, ..options.clone() };
        let booted = simulator::boot(argv, &quick, log, &stop).await.expect("it boots");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(booted.at_speed(options.speed).serve(listener, stop.clone()));
        let server = Server::open(Endpoint::new(url, None), None).await.expect("it serves");
        Self { server, stop }
    }
}

/// The same, with these answers in a file.
pub(crate) async fn scripted(line: &str, answers: &Value) -> Simulated {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("answers.json");
    std::fs::write(&file, answers.to_string()).expect("written");
    Simulated::start(&format!("--sim-answers {} {line}", file.display())).await
}

#[derive(Default)]
struct Kept(Mutex<Vec<(RepeatKey, Vec<RequestRecord>)>>);

impl RecordSink for Kept {
    fn store(&self, key: &RepeatKey, records: &[RequestRecord]) -> std::io::Result<()> {
        self.0.lock().expect("no panic").push((key.clone(), records.to_vec()));
        Ok(())
    }
}

/// What a bench gave.
pub(crate) struct Measured {
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) records: Vec<(RepeatKey, Vec<RequestRecord>)>,
    pub(crate) ended: Result<(), BenchError>,
}

/// A workload as a grid spells it.
pub(crate) fn workload(name: &str, options: &Value) -> Workload {
    let options = options.as_object().expect("a mapping");
    Workload::from_options(name, options).expect("known options")
}

/// One kept repeat of every case; a warm-up before it where the workload says so.
pub(crate) async fn measure(server: &Server, workload: &Workload) -> Measured {
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let settings = BenchSettings {
        salt: "a sweep".to_owned(),
        seed: SEED,
        launch: 3,
        block: 0,
        limits: Limits::default(),
    };
    let mut bench = Bench::new(server, &kept, &emit, &cancel, settings).await.expect("an address");
    let mut measurements = Vec::new();
    let workloads = [workload.clone()];
    let ended = run_suite(&mut bench, &workloads, 1, &mut measurements).await;
    drop(bench);
    let named: Vec<&str> = workload.kind().all_metrics().map(|metric| metric.name).collect();
    for measurement in &measurements {
        let mut given: Vec<&str> = measurement.metrics.keys().map(String::as_str).collect();
        let mut wanted = named.clone();
        given.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(given, wanted, "the catalogue and the workload name the same metrics");
    }
    Measured { measurements, records: kept.0.into_inner().expect("no panic"), ended }
}

pub(crate) fn number(measurement: &Measurement, name: &str) -> Option<f64> {
    match measurement.metrics.get(name).unwrap_or_else(|| panic!("no metric {name}")) {
        Some(MetricValue::Number(value)) => Some(*value),
        Some(other) => panic!("{name} is {other:?}"),
        None => None,
    }
}

pub(crate) fn text<'a>(measurement: &'a Measurement, name: &str) -> Option<&'a str> {
    match measurement.metrics.get(name).unwrap_or_else(|| panic!("no metric {name}")) {
        Some(MetricValue::Text(text)) => Some(text),
        Some(other) => panic!("{name} is {other:?}"),
        None => None,
    }
}

/// A list without gaps.
pub(crate) fn list(measurement: &Measurement, name: &str) -> Vec<f64> {
    match measurement.metrics.get(name).unwrap_or_else(|| panic!("no metric {name}")) {
        Some(MetricValue::List(numbers)) => {
            numbers.iter().map(|number| number.expect("measured")).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}
