//! A sweep without servers: an engine, a measurement and production that only
//! record what is asked of them, in virtual time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::launch::{Job, Measure, MeasureSession, TrialOrder};
use super::pass::Pass;
use crate::bench::suite::BenchError;
use crate::bench::{NoRecords, RecordSink};
use crate::configuration::{Configuration, Flags};
use crate::engine::log::EngineLog;
use crate::engine::production::{Production, ProductionError};
use crate::engine::{Engine, LaunchOrder, Launched};
use crate::event::{BootPhase, Emit, Phase};
use crate::gate::{Finding, Gate, GateOrder, GateReport};
use crate::history::launch::{FailureClass, LaunchFacts, LaunchFailure};
use crate::history::production::ProductionFacts;
use crate::history::record::{Manifest, SCHEMA_VERSION};
use crate::metric::{Goal, Measurement, MetricValue, Objective, Status};
use crate::server::proof::Proof;
use crate::server::{Endpoint, Server};
use crate::strategy::{GridStrategy, Order, StrategySpec};
use crate::workload::{KvCache, RequestFields, Spec, Workload};

/// Seconds that a boot takes.
pub(crate) const BOOT: u64 = 10;
/// Seconds that a repeat takes.
pub(crate) const REPEAT: u64 = 5;
/// Seconds that a stop takes.
pub(crate) const STOP: u64 = 1;

/// A sweep of so many configurations, `c0` to ..., with `max-num-seqs` 1, 2, ...
pub(crate) fn manifest(configurations: usize, launches: u32, repeats: u32) -> Manifest {
    let of = |index: usize| {
        let flags = Flags::from_iter([("max-num-seqs".to_owned(), (index + 1).into())]);
        Configuration {
            name: format!("c{index}"),
            aliases: Vec::new(),
            id: index.to_string(),
            flags: flags.clone(),
            varied: flags,
            environment: BTreeMap::new(),
            ..Default::default()
        }
    };
    Manifest {
        schema_version: SCHEMA_VERSION,
        tool_version: "0.1.0".to_owned(),
        run_id: None,
        sweep: "s".to_owned(),
        grid: "g".to_owned(),
        grid_path: "g.yaml".into(),
        grid_sha256: String::new(),
        created_at: "2026-11-24T06:13:53Z".to_owned(),
        engine: "simulated".to_owned(),
        simulated: true,
        service: None,
        simulated_machine: None,
        baseline: None,
        configurations: (0..configurations).map(of).collect(),
        varied: vec!["max-num-seqs".to_owned()],
        workloads: vec![Workload {
            spec: Spec::KvCache(KvCache::default()),
            repeats: None,
            warmup: 1,
            request: RequestFields::default(),
        }],
        workloads_sha256: None,
        datasets: Vec::new(),
        objective: Objective {
            metric: "kv_cache.ttft_resent_ms".parse().expect("a metric"),
            goal: Goal::Minimize,
            constraints: Vec::new(),
            further: Vec::new(),
        },
        strategy: StrategySpec::Grid(GridStrategy { launches, repeats, auto: false, seed: 1 }),
        order: Order::Separated,
        predicted: None,
        budget_seconds: None,
        budget: crate::grid::Budget::default(),
        confirm: None,
        host: "here".to_owned(),
        machine: None,
        image_id: None,
        image: None,
        service_parts: None,
        gates: None,
        window: None,
        hosts: None,
        suite_version: None,
    }
}

/// What was done, each with the second at which it was done.
#[derive(Clone, Default)]
pub(crate) struct Actions(Arc<Mutex<Vec<(u64, String)>>>, Arc<Mutex<Option<Instant>>>);

impl Actions {
    pub(crate) fn did(&self, what: impl Into<String>) {
        let began = *self.1.lock().expect("no panic").get_or_insert_with(Instant::now);
        self.0.lock().expect("no panic").push((began.elapsed().as_secs(), what.into()));
    }

    pub(crate) fn take(&self) -> Vec<String> {
        let done = std::mem::take(&mut *self.0.lock().expect("no panic"));
        done.into_iter().map(|(_, what)| what).collect()
    }

    pub(crate) fn timed(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

/// What happens to a launch: by its number and the attempt, counted from 1.
pub(crate) type BootScript = dyn Fn(&LaunchOrder, u32) -> Option<LaunchFailure> + Send + Sync;
/// What a repeat comes to: by launch and repeat.
pub(crate) type RepeatScript = dyn Fn(u32, u32) -> Repeated + Send + Sync;

/// What is proven of a launch.
pub(crate) type ProofScript = dyn Fn(&TrialOrder) -> Proof + Send + Sync;
/// What a gate finds, by launch.
pub(crate) type GateScript = dyn Fn(u32, Gate) -> Vec<Finding> + Send + Sync;
/// Whether the server is still the one that was launched, by launch and repeats measured.
pub(crate) type CheckScript = dyn Fn(u32, u32) -> Result<(), LaunchFailure> + Send + Sync;

/// What a scripted repeat comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Repeated {
    Value(f64),
    Void,
    /// The server is lost.
    Lost,
    /// Its records cannot be stored.
    Full,
    Panic,
}

pub(crate) struct FakeEngine {
    pub(crate) actions: Actions,
    pub(crate) places: usize,
    pub(crate) boots: Box<BootScript>,
    pub(crate) checks: Arc<CheckScript>,
    /// Seconds that each check takes.
    pub(crate) check_takes: u64,
    /// Whether a server fails to stop in good order.
    pub(crate) stop_fails: bool,
    /// How often what it left cannot be ended, where it leaves something.
    pub(crate) left: Mutex<Option<u32>>,
    /// The version that its servers show.
    pub(crate) version: Option<String>,
    attempts: Mutex<BTreeMap<u32, u32>>,
}

impl FakeEngine {
    pub(crate) fn new(actions: &Actions) -> Self {
        Self {
            actions: actions.clone(),
            places: 1,
            boots: Box::new(|_, _| None),
            checks: Arc::new(|_, _| Ok(())),
            check_takes: 0,
            stop_fails: false,
            left: Mutex::default(),
            version: None,
            attempts: Mutex::default(),
        }
    }
}

#[async_trait]
impl Engine for FakeEngine {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn places(&self) -> usize {
        self.places
    }

    async fn launch(
        &self,
        order: &LaunchOrder,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        let attempt = {
            let mut attempts = self.attempts.lock().expect("no panic");
            let attempt = attempts.entry(order.launch).or_default();
            *attempt += 1;
            *attempt
        };
        self.actions.did(format!("boot {} {}", order.launch, order.configuration.name));
        emit.phase(Phase::Booting(BootPhase::Starting));
        std::fs::write(order.folder.join(EngineLog::NAME), attempt.to_string()).expect("written");
        tokio::select! {
            () = cancel.cancelled() => {
                let stopped = LaunchFailure::new(FailureClass::Unknown, "a stop was asked for");
                return Err(LaunchFailure { cancelled: true, ..stopped });
            }
            () = sleep(Duration::from_secs(BOOT)) => {}
        }
        match (self.boots)(order, attempt) {
            Some(failure) => Err(failure),
            None => Ok(Box::new(FakeLaunched {
                actions: self.actions.clone(),
                launch: order.launch,
                checks: Arc::clone(&self.checks),
                checked: 0,
                check_takes: self.check_takes,
                stop_fails: self.stop_fails,
                server: Server {
                    endpoint: Endpoint::new("http://none".to_owned(), None),
                    model: "m".to_owned(),
                    choice: crate::server::ModelChoice::Clear,
                    max_model_len: None,
                    version: self.version.clone(),
                    simulated: true,
                },
                facts: LaunchFacts {
                    boot_seconds: BOOT as f64,
                    engine_version: self.version.clone(),
                    ..LaunchFacts::default()
                },
            })),
        }
    }

    async fn clean_up(&self, _: &Configuration, _: &LaunchFailure, _: &Emit) {
        self.actions.did("clean up");
    }

    async fn end_left(&self) -> Result<(), LaunchFailure> {
        let mut left = self.left.lock().expect("no panic");
        let Some(attempts) = *left else { return Ok(()) };
        self.actions.did("end left");
        *left = Some(attempts.saturating_sub(1));
        if attempts == 0 { Ok(()) } else { Err(LaunchFailure::of_left("process 7 lives")) }
    }
}

struct FakeLaunched {
    actions: Actions,
    launch: u32,
    checks: Arc<CheckScript>,
    checked: u32,
    check_takes: u64,
    stop_fails: bool,
    server: Server,
    facts: LaunchFacts,
}

#[async_trait]
impl Launched for FakeLaunched {
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
        self.checked += 1;
        sleep(Duration::from_secs(self.check_takes)).await;
        (self.checks)(self.launch, self.checked)
    }

    async fn stop(self: Box<Self>) -> Result<(), LaunchFailure> {
        sleep(Duration::from_secs(STOP)).await;
        self.actions.did(format!("stop {}", self.launch));
        if self.stop_fails {
            return Err(LaunchFailure::new(FailureClass::Environment, "it does not stop"));
        }
        Ok(())
    }
}

pub(crate) struct FakeMeasure {
    pub(crate) actions: Actions,
    pub(crate) repeats: Box<RepeatScript>,
    pub(crate) proofs: Box<ProofScript>,
    pub(crate) gates: Box<GateScript>,
    /// Whether a launch cannot even begin to be measured.
    pub(crate) begins: bool,
}

impl FakeMeasure {
    pub(crate) fn new(actions: &Actions) -> Self {
        let value = |launch, repeat| Repeated::Value(f64::from(launch * 100 + repeat));
        let proofs = Box::new(|_: &TrialOrder| Proof::default());
        let (repeats, gates) = (Box::new(value), Box::new(|_, _| Vec::new()));
        Self { actions: actions.clone(), repeats, proofs, gates, begins: true }
    }
}

#[async_trait]
impl Measure for FakeMeasure {
    async fn prove(&self, order: &TrialOrder, _: &mut dyn Launched) -> Proof {
        (self.proofs)(order)
    }

    fn records(&self, _: &Path) -> Box<dyn RecordSink> {
        Box::new(NoRecords)
    }

    async fn begin<'a>(&'a self, job: Job<'a>) -> Result<Box<dyn MeasureSession + 'a>, BenchError> {
        if !self.begins {
            let (workload, case) = ("kv-cache".to_owned(), "x".to_owned());
            return Err(BenchError::NoSuchCase { workload, case });
        }
        Ok(Box::new(FakeSession { measure: self, job }))
    }
}

struct FakeSession<'a> {
    measure: &'a FakeMeasure,
    job: Job<'a>,
}

#[async_trait]
impl MeasureSession for FakeSession<'_> {
    async fn gate(&mut self, gate: Gate, order: &GateOrder) -> Result<GateReport, BenchError> {
        let launch = self.job.order.launch.launch;
        self.measure.actions.did(format!("gate {launch} {gate}"));
        let findings = (self.measure.gates)(launch, gate);
        Ok(GateReport::judged(gate, findings, BTreeMap::new(), &order.against))
    }

    async fn repeat(&mut self, pass: &Pass) -> Result<Measurement, BenchError> {
        let launch = self.job.order.launch.launch;
        self.measure.actions.did(format!("repeat {launch}.{}", pass.repeat));
        tokio::select! {
            () = self.job.cancel.cancelled() => return Err(BenchError::Cancelled),
            () = sleep(Duration::from_secs(REPEAT)) => {}
        }
        let (status, value) = match (self.measure.repeats)(launch, pass.repeat) {
            Repeated::Value(value) => (Status::Ok, Some(value)),
            Repeated::Void => (Status::Void, None),
            Repeated::Lost => (Status::Failed, None),
            Repeated::Full => {
                return Err(BenchError::Records(std::io::ErrorKind::StorageFull.into()));
            }
            Repeated::Panic => panic!("a bug in the measurement"),
        };
        let measurement = Measurement {
            workload: pass.workload.kind().name.to_owned(),
            case: pass.case.clone(),
            repeat: pass.repeat,
            status,
            reason: None,
            metrics: [("ttft_resent_ms".to_owned(), value.map(MetricValue::Number))].into(),
            metric_reasons: crate::metric::MetricReasons::new(),
        };
        if status == Status::Failed {
            let message = "the engine died".to_owned();
            return Err(BenchError::EngineDied { measurement: Box::new(measurement), message });
        }
        Ok(measurement)
    }
}

/// One container that serves production.
pub(crate) struct FakeProduction {
    actions: Actions,
    running: Arc<Mutex<bool>>,
    /// Whether its daemon answers.
    reachable: Arc<Mutex<bool>>,
    /// Whether it cannot be started.
    broken: Arc<Mutex<bool>>,
    /// Looks after which one panics.
    looks: Arc<Mutex<Option<u32>>>,
    /// Starts so far: each has a time of its own.
    starts: Arc<Mutex<u32>>,
    /// Hash of its container's configuration.
    pub(crate) configuration: Arc<Mutex<String>>,
}

impl FakeProduction {
    pub(crate) fn running(actions: &Actions) -> Self {
        Self {
            actions: actions.clone(),
            running: Arc::new(Mutex::new(true)),
            reachable: Arc::new(Mutex::new(true)),
            broken: Arc::default(),
            looks: Arc::default(),
            starts: Arc::default(),
            configuration: Arc::default(),
        }
    }

    /// After so many looks at it, one panics.
    pub(crate) fn panic_after(&self, looks: u32) {
        *self.looks.lock().expect("no panic") = Some(looks);
    }

    /// From now on it cannot be started.
    pub(crate) fn breaks(&self) {
        *self.broken.lock().expect("no panic") = true;
    }

    /// Starts it from outside.
    pub(crate) fn switch(&self) -> Arc<Mutex<bool>> {
        Arc::clone(&self.running)
    }

    /// Starts it from outside after so many seconds; it ends after so many more.
    pub(crate) fn comes_and_goes(&self, at: f64, after: Option<f64>) {
        let (running, starts) = (Arc::clone(&self.running), Arc::clone(&self.starts));
        tokio::spawn(async move {
            sleep(Duration::from_secs_f64(at)).await;
            *starts.lock().expect("no panic") += 1;
            *running.lock().expect("no panic") = true;
            let Some(after) = after else { return };
            sleep(Duration::from_secs_f64(after)).await;
            *running.lock().expect("no panic") = false;
        });
    }

    /// Takes its daemon away.
    pub(crate) fn daemon(&self) -> Arc<Mutex<bool>> {
        Arc::clone(&self.reachable)
    }

    fn facts(&self) -> ProductionFacts {
        ProductionFacts {
            id: "p".to_owned(),
            name: "production".to_owned(),
            started_at: format!("start {}", self.starts.lock().expect("no panic")),
            configuration_sha256: self.configuration.lock().expect("no panic").clone(),
            running: *self.running.lock().expect("no panic"),
            ..ProductionFacts::default()
        }
    }

    fn turn(&self, running: bool, action: &str) {
        *self.running.lock().expect("no panic") = running;
        self.actions.did(action);
    }
}

#[async_trait]
impl Production for FakeProduction {
    async fn find(&self) -> Result<Option<ProductionFacts>, ProductionError> {
        let looks = self.looks.lock().expect("no panic").take();
        assert!(looks != Some(0), "a bug of a look");
        *self.looks.lock().expect("no panic") = looks.map(|it| it - 1);
        if !*self.reachable.lock().expect("no panic") {
            return Err(ProductionError::Daemon("it does not answer".to_owned()));
        }
        Ok(Some(self.facts()))
    }

    async fn look(&self, _: &str) -> Result<Option<ProductionFacts>, ProductionError> {
        Ok(Some(self.facts()))
    }

    async fn stop(&self, _: &str) -> Result<(), ProductionError> {
        self.turn(false, "stop production");
        Ok(())
    }

    async fn start(&self, _: &str) -> Result<(), ProductionError> {
        if *self.broken.lock().expect("no panic") {
            return Err(ProductionError::Removed("it is broken".to_owned()));
        }
        self.turn(true, "start production");
        Ok(())
    }

    async fn make_again(&self) -> Result<ProductionFacts, ProductionError> {
        Ok(self.facts())
    }

    async fn prove(&self, _: &str, _: Duration) -> Result<(), String> {
        self.actions.did("prove production");
        Ok(())
    }
}
