//! A world on disk: candidates, production, and a log of what was done to them. A file
//! stands for a container, so that what a killed process leaves is there afterwards. The
//! world notes at once what must never be: two candidates, or one beside production.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::point::point;
use crate::bench::suite::BenchError;
use crate::bench::{RecordSink, RepeatKey};
use crate::engine::production::{Production, ProductionError};
use crate::engine::{Engine, LaunchOrder, Launched};
use crate::event::Emit;
use crate::gate::{Gate, GateOrder, GateReport};
use crate::history::journal::Line;
use crate::history::launch::{FailureClass, LaunchFacts, LaunchFailure};
use crate::history::production::ProductionFacts;
use crate::metric::{Measurement, MetricReasons, MetricValue, Status};
use crate::ownership::debt::{self, Damaged, Debt};
use crate::ownership::{Owed, StateFolder};
use crate::results::records::ParquetRecords;
use crate::server::proof::Proof;
use crate::server::{Endpoint, Server};
use crate::sweep::Pass;
use crate::sweep::launch::{Job, Measure, MeasureSession, TrialOrder};

/// The id of production's container.
pub(super) const PRODUCTION: &str = "production-1";

/// One thing that was done, in the order of doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Did {
    /// A process began.
    Began(String),
    /// A candidate was made.
    Launched { launch: u32, configuration: String },
    /// A repeat is about to be measured.
    Measures { trial: u32, workload: String, case: String, repeat: u32 },
    /// An append to the journal returned.
    Acked(Box<Line>),
    /// What must never be.
    Violated(String),
    /// Production is down, and no debt says so.
    Unowed(String),
    /// A point struck.
    Struck(String),
    /// The process ended by itself; points passed, and what it came to.
    Ended { points: u64, result: Result<String, String> },
}

/// What production is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) id: String,
    pub(super) running: bool,
    pub(super) proven: bool,
}

/// A world's folder.
#[derive(Clone, Debug)]
pub(super) struct World(PathBuf);

impl World {
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// A new one, in which production runs.
    pub(super) fn new(path: &Path, grid: &str) -> Self {
        let world = Self(path.to_owned());
        std::fs::create_dir_all(world.candidate_folder()).expect("a folder");
        std::fs::create_dir_all(world.0.join("once")).expect("a folder");
        std::fs::write(world.grid(), grid).expect("written");
        world.turn(true, true);
        world
    }

    /// A copy of what is there, which has done nothing yet.
    pub(super) fn copy(&self, to: &Path) -> Self {
        let copied = std::process::Command::new("cp").arg("-a").args([&self.0, to]).status();
        assert!(copied.is_ok_and(|status| status.success()), "copied");
        let _ = std::fs::remove_file(to.join("log"));
        Self(to.to_owned())
    }

    /// The files of all launches, with what is in them.
    pub(super) fn launch_files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.run().join("launches")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match std::fs::read(&path) {
                    Ok(text) => drop(files.insert(path.display().to_string(), text)),
                    Err(_) => folders.push(path),
                }
            }
        }
        files
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn grid(&self) -> PathBuf {
        self.0.join("grid.yaml")
    }

    pub(super) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// The state folder of whoever works here.
    pub(super) fn state_folder(&self) -> PathBuf {
        self.0.join("state")
    }

    /// What dead sessions owe, and notes of it that cannot be read.
    pub(super) fn debts(&self) -> (Vec<Debt>, Vec<Damaged>) {
        let path = self.state_folder();
        // To look changes nothing: a folder that was never whole holds no debt.
        let is_there = path.join("id").is_file() && path.join("debts").is_dir();
        let state = is_there.then(|| StateFolder::at(&path).expect("ours"));
        state.map(|state| debt::all(&state)).unwrap_or_default()
    }

    /// Whether a debt says that production is to be started.
    pub(super) fn owes_production(&self) -> bool {
        let is = |debt: &Debt| matches!(&debt.owed, Owed::Production(it) if it.id == PRODUCTION);
        self.debts().0.iter().any(is)
    }

    /// Notes where production is stopped, and nobody would find out.
    fn is_owed(&self, when: &str) {
        if !self.owes_production() {
            self.did(&Did::Unowed(format!("{when}, and no debt is noted")));
        }
    }

    fn candidate_folder(&self) -> PathBuf {
        self.0.join("candidates")
    }

    /// The candidates that exist.
    pub(super) fn candidates(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.candidate_folder()).expect("readable");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Removes what a dead session left, as a daemon's label shows it.
    pub(super) fn remove_candidates(&self) {
        for candidate in self.candidates() {
            let _ = point("world: before a leftover is removed");
            std::fs::remove_file(candidate).expect("removed");
            let _ = point("world: after a leftover is removed");
        }
    }

    pub(super) fn state(&self) -> State {
        let text = std::fs::read(self.0.join("production.json")).expect("readable");
        serde_json::from_slice(&text).expect("whole")
    }

    fn turn(&self, running: bool, proven: bool) {
        let state = State { id: PRODUCTION.to_owned(), running, proven };
        let text = serde_json::to_vec(&state).expect("data");
        let temporary = self.0.join("production.new");
        std::fs::write(&temporary, text).expect("written");
        std::fs::rename(temporary, self.0.join("production.json")).expect("renamed");
    }

    pub(super) fn did(&self, what: &Did) {
        let line = serde_json::to_string(what).expect("data") + "\n";
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join("log"));
        // One call: a kill leaves the whole line or none.
        log.expect("opened").write_all(line.as_bytes()).expect("written");
    }

    pub(super) fn log(&self) -> Vec<Did> {
        let text = std::fs::read_to_string(self.0.join("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect()
    }

    /// Whether this is the first time, in this world, that `what` happens.
    fn first(&self, what: &str) -> bool {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.0.join("once").join(what));
        file.is_ok()
    }
}

fn seqs(order: &LaunchOrder) -> u64 {
    order.configuration.flags.get("max-num-seqs").and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// How much slower a configuration is by its other flag: nothing where it has none.
fn factor(order: &LaunchOrder) -> f64 {
    let tokens = order.configuration.flags.get("max-num-batched-tokens");
    1.0 + tokens.and_then(serde_json::Value::as_f64).unwrap_or(0.0) / 32_768.0
}

/// The engine. `max-num-seqs: 64` does not fit; 16 boots at the second attempt only; of 4
/// one server is lost after a repeat.
pub(super) struct WorldEngine(pub(super) World);

impl WorldEngine {
    fn candidate(&self, launch: u32) -> PathBuf {
        self.0.candidate_folder().join(launch.to_string())
    }

    fn failed(&self, order: &LaunchOrder, class: FailureClass, message: &str) -> LaunchFailure {
        let _ = point("engine: before a failed candidate is removed");
        std::fs::remove_file(self.candidate(order.launch)).expect("removed");
        let _ = point("engine: after a failed candidate is removed");
        LaunchFailure::new(class, message)
    }
}

#[async_trait]
impl Engine for WorldEngine {
    fn name(&self) -> &'static str {
        "world"
    }

    async fn launch(
        &self,
        order: &LaunchOrder,
        _: &Emit,
        _: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        let _ = point("engine: before a launch");
        let world = &self.0;
        if let Some(other) = world.candidates().first() {
            world.did(&Did::Violated(format!("a second candidate beside {}", other.display())));
        }
        if world.state().running {
            world.did(&Did::Violated("a candidate beside production".to_owned()));
        }
        std::fs::write(self.candidate(order.launch), order.folder.display().to_string())
            .expect("written");
        let configuration = order.configuration.name.clone();
        world.did(&Did::Launched { launch: order.launch, configuration });
        let _ = point("engine: a candidate boots");
        let log = order.folder.join(crate::engine::log::EngineLog::NAME);
        std::fs::write(log, format!("process {}\n", std::process::id())).expect("written");
        sleep(Duration::from_secs(10)).await;
        match seqs(order) {
            64 => {
                Err(self.failed(order, FailureClass::KvCacheTooSmall, "the KV cache is too small"))
            }
            16 if world.first("boot") => {
                Err(self.failed(order, FailureClass::Environment, "not at once"))
            }
            seqs => {
                let _ = point("engine: after a launch");
                Ok(Box::new(Candidate {
                    world: world.clone(),
                    file: self.candidate(order.launch),
                    seqs,
                    checked: 0,
                    server: Server {
                        endpoint: Endpoint::new("http://none".to_owned(), None),
                        model: "m".to_owned(),
                        max_model_len: None,
                        choice: crate::server::ModelChoice::Clear,
                        version: None,
                        simulated: true,
                    },
                    facts: LaunchFacts { boot_seconds: 10.0, ..LaunchFacts::default() },
                }))
            }
        }
    }
}

struct Candidate {
    world: World,
    file: PathBuf,
    seqs: u64,
    checked: u32,
    server: Server,
    facts: LaunchFacts,
}

#[async_trait]
impl Launched for Candidate {
    fn server(&self) -> &Server {
        &self.server
    }

    fn facts(&self) -> &LaunchFacts {
        &self.facts
    }

    fn log(&self) -> String {
        String::new()
    }

    async fn check(&mut self) -> Result<(), LaunchFailure> {
        let _ = point("engine: before a check");
        self.checked += 1;
        if self.seqs == 4 && self.checked == 3 && self.world.first("lost") {
            return Err(LaunchFailure::new(FailureClass::EngineDied, "the engine died"));
        }
        let _ = point("engine: after a check");
        Ok(())
    }

    async fn stop(self: Box<Self>) -> Result<(), LaunchFailure> {
        sleep(Duration::from_secs(1)).await;
        let _ = point("engine: before a stop");
        std::fs::remove_file(&self.file).expect("removed");
        let _ = point("engine: after a stop");
        Ok(())
    }
}

/// Values that depend on configuration, trial, case and repeat alone.
pub(super) struct WorldMeasure(pub(super) World);

#[async_trait]
impl Measure for WorldMeasure {
    async fn prove(&self, _: &TrialOrder, _: &mut dyn Launched) -> Proof {
        Proof::default()
    }

    fn records(&self, folder: &Path) -> Box<dyn RecordSink> {
        Box::new(ParquetRecords::in_launch(folder))
    }

    async fn begin<'a>(&'a self, job: Job<'a>) -> Result<Box<dyn MeasureSession + 'a>, BenchError> {
        Ok(Box::new(Session { world: &self.0, job }))
    }
}

struct Session<'a> {
    world: &'a World,
    job: Job<'a>,
}

#[async_trait]
impl MeasureSession for Session<'_> {
    async fn gate(&mut self, gate: Gate, order: &GateOrder) -> Result<GateReport, BenchError> {
        Ok(GateReport::judged(gate, Vec::new(), BTreeMap::new(), &order.against))
    }

    async fn repeat(&mut self, pass: &Pass) -> Result<Measurement, BenchError> {
        let order = self.job.order;
        let workload = pass.workload.kind().name.to_owned();
        let (trial, case, repeat) = (order.trial, pass.case.clone(), pass.repeat);
        self.world.did(&Did::Measures {
            trial,
            workload: workload.clone(),
            case: case.clone(),
            repeat,
        });
        sleep(Duration::from_secs(5)).await;
        let key = RepeatKey {
            launch: order.launch.launch,
            workload: workload.clone(),
            case: case.clone(),
            repeat,
        };
        self.job.records.store(&key, &[]).map_err(BenchError::Records)?;
        let _ = point("measure: a repeat is done");
        let seqs = seqs(&order.launch) as f64;
        let text = format!("{seqs} {trial} {case} {repeat}");
        let noise = text.bytes().fold(7_u32, |sum, byte| {
            sum.wrapping_mul(16_777_619).wrapping_add(u32::from(byte)) ^ (sum >> 13)
        });
        let value =
            factor(&order.launch) * 1000.0 / (seqs + 1.0) * (1.0 + f64::from(noise % 1000) / 1e5);
        Ok(Measurement {
            workload,
            case,
            repeat,
            status: Status::Ok,
            reason: None,
            metrics: [("ttft_resent_ms".to_owned(), Some(MetricValue::Number(value)))].into(),
            metric_reasons: MetricReasons::new(),
        })
    }
}

/// Production's container.
pub(super) struct WorldProduction(pub(super) World);

impl WorldProduction {
    fn facts(&self) -> ProductionFacts {
        let state = self.0.state();
        ProductionFacts {
            id: state.id,
            name: "production".to_owned(),
            running: state.running,
            ..ProductionFacts::default()
        }
    }
}

#[async_trait]
impl Production for WorldProduction {
    async fn find(&self) -> Result<Option<ProductionFacts>, ProductionError> {
        let _ = point("production: before a look");
        let facts = self.facts();
        let _ = point("production: after a look");
        Ok(Some(facts))
    }

    async fn look(&self, id: &str) -> Result<Option<ProductionFacts>, ProductionError> {
        Ok(self.find().await?.filter(|facts| facts.id == id))
    }

    async fn stop(&self, _: &str) -> Result<(), ProductionError> {
        let _ = point("production: before a stop");
        self.0.is_owed("production is stopped");
        self.0.turn(false, false);
        let _ = point("production: after a stop");
        Ok(())
    }

    async fn start(&self, _: &str) -> Result<(), ProductionError> {
        let _ = point("production: before a start");
        if !self.0.candidates().is_empty() {
            self.0.did(&Did::Violated("production is started beside a candidate".to_owned()));
        }
        self.0.is_owed("production is started");
        self.0.turn(true, false);
        let _ = point("production: after a start");
        Ok(())
    }

    async fn make_again(&self) -> Result<ProductionFacts, ProductionError> {
        self.0.did(&Did::Violated("production is made again".to_owned()));
        Ok(self.facts())
    }

    async fn prove(&self, _: &str, _: Duration) -> Result<(), String> {
        let _ = point("production: before a proof");
        let state = self.0.state();
        if !state.running {
            return Err("it does not run".to_owned());
        }
        // Where the proof could not be journalled, it is paid, and proven once more.
        if !state.proven {
            self.0.is_owed("production is to be proven");
        }
        self.0.turn(true, true);
        let _ = point("production: after a proof");
        Ok(())
    }
}
