//! A simulated server in this process, and workloads measured against it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError, BenchSettings, planned_repeats, run_suite};
use vllm_grid::bench::{RecordSink, RepeatKey};
use vllm_grid::client::Limits;
use vllm_grid::client::record::RequestRecord;
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, MetricValue};
use vllm_grid::server::{Endpoint, Server};
use vllm_grid::simulator;
use vllm_grid::workload::Workload;

use crate::support::alone::{Beside, beside};

/// Keeps records and telemetry.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Mutex<Vec<(RepeatKey, Vec<RequestRecord>)>>);

impl RecordSink for Kept {
    fn store(&self, key: &RepeatKey, records: &[RequestRecord]) -> std::io::Result<()> {
        self.0.lock().expect("no panic").push((key.clone(), records.to_vec()));
        Ok(())
    }
}

/// A served simulator; it ends with the test.
pub(crate) struct Simulated {
    pub(crate) server: Server,
    cancel: CancellationToken,
    _turn: Beside,
}

impl Simulated {
    /// `line` is what follows `vllm serve`, with the simulator's own options.
    pub(crate) async fn start(line: &str) -> Self {
        let turn = beside();
        let line = format!("{line} --sim-boot-seconds 0");
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (argv, options) = simulator::command_line(&words, []).expect("a command line");
        let cancel = CancellationToken::new();
        let silent: simulator::LogSink = Arc::new(|_: &str| {});
        let booted = simulator::boot(&argv, &options, silent, &cancel).await.expect("it starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(booted.serve(listener, cancel.clone()));
        let endpoint = Endpoint::new(base_url, None);
        let server = Server::open(endpoint, None).await.expect("it serves");
        Self { server, cancel, _turn: turn }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

pub(crate) struct Measured {
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) records: Vec<(RepeatKey, Vec<RequestRecord>)>,
    pub(crate) ended: Result<(), BenchError>,
}

/// A workload from options as a grid gives them; nulls are left out.
pub(crate) fn workload(name: &str, options: &Value) -> Workload {
    let Value::Object(mut options) = options.clone() else { panic!("an object") };
    options.retain(|_, value| !value.is_null());
    Workload::from_options(name, &options).expect("good options")
}

pub(crate) fn settings() -> BenchSettings {
    let limits = Limits { first_token: Duration::from_mins(1), ..Limits::default() };
    BenchSettings { salt: "a sweep".to_owned(), seed: 1, launch: 3, block: 0, limits }
}

pub(crate) async fn measure(server: &Server, workloads: &[Workload], repeats: u32) -> Measured {
    measure_with(server, workloads, repeats, false).await
}

/// However late a busy machine makes the client, which is not what is tested.
pub(crate) async fn measure_late(server: &Server, workload: Workload) -> Measured {
    measure_with(server, &[workload], 1, true).await
}

async fn measure_with(
    server: &Server,
    workloads: &[Workload],
    repeats: u32,
    accepts_late: bool,
) -> Measured {
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let bench = Bench::new(server, &kept, &emit, &cancel, settings()).await.expect("an address");
    let mut bench = if accepts_late { bench.accepting_late_client() } else { bench };
    let mut measurements = Vec::new();
    let ended = run_suite(&mut bench, workloads, repeats, &mut measurements).await;
    drop(bench);
    if ended.is_ok() {
        assert_eq!(measurements.len(), planned_repeats(workloads, repeats) as usize, "as planned");
    }
    Measured { measurements, records: kept.0.into_inner().expect("no panic"), ended }
}

pub(crate) fn number(measurement: &Measurement, name: &str) -> Option<f64> {
    match measurement.metrics.get(name)? {
        Some(MetricValue::Number(value)) => Some(*value),
        Some(other) => panic!("{name} is {other:?}"),
        None => None,
    }
}
