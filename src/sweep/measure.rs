//! Measures launched servers by the benchmark suite, with telemetry: what
//! [`super::launch`] does in a real sweep.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::launch::{Job, Measure, MeasureSession, TrialOrder};
use super::pass::Pass;
use crate::bench::RecordSink;
use crate::bench::suite::{Bench, BenchError, BenchSettings};
use crate::client::Limits;
use crate::engine::Launched;
use crate::gate::{Gate, GateOrder, GateReport};
use crate::metric::Measurement;
use crate::server::effective::{self, add_inspected};
use crate::server::proof::{Proof, prove};
use crate::telemetry::{Telemetry, TelemetrySettings};
use crate::workload::Datasets;

/// Makes the record sink of a launch from its folder.
pub type RecordsFor = dyn Fn(&Path) -> Box<dyn RecordSink> + Send + Sync;

/// The benchmark suite.
pub struct SuiteMeasure {
    datasets: Datasets,
    records: Box<RecordsFor>,
    limits: Limits,
    /// Notes on proofs so far: each is given once in a sweep.
    noted: Mutex<BTreeSet<String>>,
}

impl SuiteMeasure {
    /// Takes prompts from `datasets`, and stores records where `records` says.
    pub fn new(datasets: Datasets, records: Box<RecordsFor>) -> Self {
        Self { datasets, records, limits: Limits::default(), noted: Mutex::default() }
    }

    /// The same with other bounds on each request.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl std::fmt::Debug for SuiteMeasure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SuiteMeasure")
    }
}

#[async_trait]
impl Measure for SuiteMeasure {
    async fn prove(&self, order: &TrialOrder, launched: &mut dyn Launched) -> Proof {
        let server = launched.server().clone();
        let configuration = &order.launch.configuration;
        let variables: Vec<String> = configuration.environment.keys().cloned().collect();
        let reading = launched.process(&variables).await;
        let log = launched.log();
        let mut values = effective::of(&server, Some(&log), &configuration.flags).await;
        if let Some(inspected) = launched.inspected() {
            add_inspected(&mut values, inspected);
        }
        let mut proof = prove(configuration, values, Some(&log), &reading);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        proof.notes.retain(|note| noted.insert(note.clone()));
        proof
    }

    fn records(&self, folder: &Path) -> Box<dyn RecordSink> {
        (self.records)(folder)
    }

    async fn begin<'a>(&'a self, job: Job<'a>) -> Result<Box<dyn MeasureSession + 'a>, BenchError> {
        let settings = BenchSettings {
            salt: job.order.salt.clone(),
            seed: job.order.seed,
            launch: job.order.launch.launch,
            block: job.order.round,
            limits: self.limits,
        };
        let bench = Bench::new(job.server, job.records, job.emit, job.cancel, settings).await;
        let telemetry = Telemetry::start(&TelemetrySettings {
            only: None,
            gpus: !job.server.simulated,
            // Every engine but the embedded one can look at its server.
            in_process: job.server.simulated && job.probe.is_none(),
            probe: job.probe,
        });
        let bench = bench?.with_telemetry(telemetry).with_datasets(self.datasets.clone());
        Ok(Box::new(SuiteSession(bench)))
    }
}

struct SuiteSession<'a>(Bench<'a>);

#[async_trait]
impl MeasureSession for SuiteSession<'_> {
    async fn gate(&mut self, gate: Gate, order: &GateOrder) -> Result<GateReport, BenchError> {
        self.0.gate(gate, order).await
    }

    async fn repeat(&mut self, pass: &Pass) -> Result<Measurement, BenchError> {
        self.0.repeat(&pass.workload, &pass.case, pass.repeat).await
    }
}
