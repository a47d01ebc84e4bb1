//! The engine `simulated`: starts the simulated vLLM in this process, on a free
//! loopback port, so that the whole HTTP path is real. What it simulates is in
//! [`crate::simulator`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::net::TcpListener;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failure::Exit;
use super::log::{EngineLog, LogWriter};
use super::readiness::{BootPhase, Limits, NotReady, over_http, wait_until_ready};
use super::{Engine, EngineError, LaunchOrder, Launched};
use crate::event::Emit;
use crate::flags;
use crate::grid::SimulatedBlock;
use crate::history::launch::{LaunchFacts, LaunchFailure};
use crate::secret::Secrets;
use crate::server::{Endpoint, Server};
use crate::simulator::drift::Drift;
use crate::simulator::faults::Faults;
use crate::simulator::{BootFailure, Ending, Options, boot, profile};

/// How long the server may take to end its requests when it is stopped.
const GRACE: Duration = Duration::from_secs(5);
/// How often the log of a start is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Starts simulated servers in this process.
#[derive(Debug)]
pub struct SimulatedEngine {
    block: SimulatedBlock,
    gpu: profile::Gpu,
    secrets: Secrets,
    limits: Limits,
    /// The node of a cluster that it is: it has a machine of its own.
    node: Option<String>,
    /// By what its times are multiplied.
    slowness: f64,
    /// Starts of each configuration so far.
    starts: Mutex<BTreeMap<String, u32>>,
}

impl SimulatedEngine {
    /// An engine for a grid's block.
    ///
    /// # Errors
    /// A model or GPU that the simulator has no profile of.
    pub fn new(block: SimulatedBlock) -> Result<Self, EngineError> {
        let unknown = |what: &str, name: &str, known: Vec<&str>| {
            EngineError::Unknown(format!(
                "the simulator knows no {what} `{name}`; it knows {}",
                known.join(", ")
            ))
        };
        let gpu = profile::gpu(&block.gpu)
            .ok_or_else(|| unknown("GPU", &block.gpu, profile::gpu_names().collect()))?;
        if profile::model(&block.model).is_none() {
            return Err(unknown("model", &block.model, profile::model_names().collect()));
        }
        let (secrets, limits) = (Secrets::default(), Limits::default());
        let host = sysinfo::System::host_name().ok().filter(|_| !block.hosts.is_empty());
        let slowness = host.and_then(|host| block.hosts.get(&host).copied()).unwrap_or(1.0);
        let starts = Mutex::default();
        Ok(Self { block, gpu, secrets, limits, node: None, slowness, starts })
    }

    /// The same on a node of a cluster.
    #[must_use]
    pub fn on_node(self, node: &str) -> Self {
        let slowness = self.block.hosts.get(node).copied().unwrap_or(1.0);
        Self { node: Some(node.to_owned()), slowness, ..self }
    }

    /// The same; its logs are written without these secrets.
    #[must_use]
    pub fn without(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// The same; a server is waited for no longer than this.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Counts a start of the order's configuration: which one it is, from 1. Starts of earlier
    /// sessions are those that have left a folder.
    fn start_number(&self, order: &LaunchOrder) -> u32 {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let name = order.configuration.name.clone();
        let count = starts.entry(name).or_insert_with(|| earlier_launches(order));
        *count += 1;
        *count
    }

    fn options(&self, order: &LaunchOrder, faults: Faults) -> Options {
        Options {
            gpus: self.block.gpus,
            seed: self.block.seed,
            speed: self.block.speed / self.slowness,
            other_memory_gib: self.block.other_memory_gib,
            launch: u64::from(order.launch),
            environment: order.configuration.environment.clone(),
            drift: self.drift(),
            faults,
            machine_seconds: order.worked.as_secs_f64() * self.block.speed,
            ..Options::new(self.gpu.clone())
        }
    }

    /// How the machine's speed moves: each node's by itself.
    fn drift(&self) -> Option<Drift> {
        let drift = self.block.drift.clone()?;
        Some(match &self.node {
            Some(node) => drift.of_host(node, self.block.seed),
            None => drift,
        })
    }

    fn argv(&self, order: &LaunchOrder, port: u16) -> Vec<String> {
        let mut argv = vec![self.block.model.clone()];
        argv.extend(["--host".to_owned(), "127.0.0.1".to_owned()]);
        argv.extend(["--port".to_owned(), port.to_string()]);
        argv.extend(flags::argv(&order.configuration.flags));
        argv
    }
}

#[async_trait]
impl Engine for SimulatedEngine {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn launch(
        &self,
        order: &LaunchOrder,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        let environment =
            |error: std::io::Error| LaunchFailure::of_io("the simulated engine", &error);
        let began = Instant::now();
        let started_at = jiff::Timestamp::now().to_string();
        let (log, file) = EngineLog::create(&order.folder, &self.secrets).map_err(environment)?;
        // Taken before the boot, so that the port is ours; served only after it.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(environment)?;
        let port = listener.local_addr().map_err(environment)?.port();
        let start = if self.block.faults.is_empty() { 1 } else { self.start_number(order) };
        let faults = self.block.faults.of(&order.configuration.name, start);
        // What the kernel would report.
        let oom_killed = faults.exit.is_some_and(|exit| exit.class == "host_memory");
        let options = self.options(order, faults);
        let argv = self.argv(order, port);
        let booting = boot(&argv, &options, writer(file.telling(emit)), cancel);
        let booted = match within(&self.limits, &log, booting).await {
            Ok(Ok(booted)) => booted,
            Err(not_ready) => return Err(LaunchFailure::of_not_ready(&log.text(), &not_ready)),
            Ok(Err(BootFailure::Cancelled)) => {
                return Err(LaunchFailure::of_not_ready("", &NotReady::Cancelled));
            }
            Ok(Err(BootFailure::Exited(code))) => {
                let exit = Exit { code: Some(code), oom_killed };
                return Err(LaunchFailure::of_exit(&log.text(), exit, false));
            }
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(booted.serve(listener, stop.clone()));
        let serving = serving.map(|ended| exit(&ended)).boxed().shared();
        let mut running = Running { log, serving, stop };
        let endpoint = Endpoint::new(format!("http://127.0.0.1:{port}"), None);
        match running.wait(endpoint, &self.limits, emit, cancel).await {
            Ok(server) => {
                let facts = LaunchFacts {
                    started_at,
                    boot_seconds: began.elapsed().as_secs_f64(),
                    image_id: None,
                    engine_version: server.version.clone(),
                    simulated: true,
                };
                Ok(Box::new(LaunchedSimulation { running, server, facts }))
            }
            Err(not_ready) => {
                let log = running.log.text();
                running.stop().await;
                Err(LaunchFailure::of_not_ready(&log, &not_ready))
            }
        }
    }
}

/// Lines of the engine's log go to its file at once.
fn writer(file: LogWriter) -> crate::simulator::LogSink {
    let file = Mutex::new(file);
    Arc::new(move |line: &str| {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written must not stop the server that writes it; it was said.
        let _ = file.write(format!("{line}\n").as_bytes());
    })
}

/// Waits for the start of a server that does not listen yet, as long as its log may be silent.
async fn within<T>(
    limits: &Limits,
    log: &EngineLog,
    booting: impl Future<Output = T>,
) -> Result<T, NotReady> {
    let (mut booting, began) = (std::pin::pin!(booting), Instant::now());
    let (mut length, mut since, mut phase) = (0, began, BootPhase::Starting);
    loop {
        if let Ok(booted) = tokio::time::timeout(LOOK, &mut booting).await {
            return Ok(booted);
        }
        let text = log.text();
        if text.len() != length {
            (length, since) = (text.len(), Instant::now());
            phase = BootPhase::of(&text).unwrap_or(phase);
        }
        let allowed = limits.silence(phase);
        if since.elapsed() > allowed {
            return Err(NotReady::Silent { phase, allowed });
        }
        if began.elapsed() > limits.hard_cap {
            return Err(NotReady::TooLong { phase, cap: limits.hard_cap });
        }
    }
}

/// Launches of the same configuration before this one, by the folders beside its own: each is
/// a number, `-` and the configuration's name.
fn earlier_launches(order: &LaunchOrder) -> u32 {
    let parts = |path: &Path| {
        let name = path.file_name()?.to_str()?.split_once('-')?;
        Some((name.0.parse::<u32>().ok()?, name.1.to_owned()))
    };
    let (Some(own), Some(folder)) = (parts(&order.folder), order.folder.parent()) else { return 0 };
    let folders = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let earlier = folders.filter_map(|entry| parts(&entry.path()));
    earlier.filter(|(number, name)| *number < own.0 && *name == own.1).count() as u32
}

/// How the server's task ended, as a process would.
fn exit(ended: &Result<std::io::Result<Ending>, JoinError>) -> Exit {
    let code = match ended {
        Ok(Ok(Ending::Stopped) | Err(_)) | Err(_) => None,
        Ok(Ok(ending)) => Some(ending.code()),
    };
    Exit { code, oom_killed: false }
}

struct Running {
    log: EngineLog,
    serving: Shared<BoxFuture<'static, Exit>>,
    stop: CancellationToken,
}

impl Running {
    async fn wait(
        &mut self,
        endpoint: Endpoint,
        limits: &Limits,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<Server, NotReady> {
        let candidate = over_http()(endpoint);
        let Self { log, serving, .. } = self;
        let ended = std::pin::pin!(serving.clone());
        wait_until_ready(ended, &mut || log.read_new(), &*candidate, limits, emit, cancel).await
    }

    async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, self.serving).await.is_err() {
            tracing::warn!("the simulated server did not end within {} s", GRACE.as_secs());
        }
    }
}

/// A ready simulated server.
struct LaunchedSimulation {
    running: Running,
    server: Server,
    facts: LaunchFacts,
}

#[async_trait]
impl Launched for LaunchedSimulation {
    fn server(&self) -> &Server {
        &self.server
    }

    fn facts(&self) -> &LaunchFacts {
        &self.facts
    }

    fn log(&self) -> String {
        self.running.log.text()
    }

    async fn check(&mut self) -> Result<(), LaunchFailure> {
        match self.running.serving.clone().now_or_never() {
            Some(exit) => Err(LaunchFailure::of_exit(&self.log(), exit, true)),
            None => Ok(()),
        }
    }

    async fn stop(self: Box<Self>) -> Result<(), LaunchFailure> {
        self.running.stop().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Configuration, Flags};
    use crate::simulator::fault_plan::FaultPlan;

    fn engine(drift: &str) -> SimulatedEngine {
        let block = SimulatedBlock {
            model: "Qwen/Qwen3-8B".to_owned(),
            gpu: "rtx-4090".to_owned(),
            gpus: 1,
            other_memory_gib: 0.0,
            seed: 1,
            speed: 20.0,
            hosts: BTreeMap::from([("n2".to_owned(), 1.25)]),
            drift: Drift::parse(drift).ok(),
            faults: FaultPlan::default(),
            flags: Flags::new(),
        };
        SimulatedEngine::new(block).expect("it is known")
    }

    fn order(launch: u32, worked: u64) -> LaunchOrder {
        LaunchOrder {
            sweep: "s".to_owned(),
            launch,
            configuration: Configuration {
                name: "c".to_owned(),
                aliases: Vec::new(),
                id: "0".to_owned(),
                flags: Flags::new(),
                varied: Flags::new(),
                environment: std::collections::BTreeMap::new(),
                ..Default::default()
            },
            folder: std::path::PathBuf::new(),
            worked: Duration::from_secs(worked),
        }
    }

    #[test]
    fn the_machines_time_goes_on_from_launch_to_launch() {
        let engine = engine("step:factor=0.5,at=1h");
        let first = engine.options(&order(1, 0), Faults::default());
        assert!(first.drift.is_some() && first.machine_seconds.abs() < f64::EPSILON);
        // 90 s at 20 times the pace.
        let later = engine.options(&order(2, 90), Faults::default());
        assert!((later.machine_seconds - 1800.0).abs() < 1e-9);
        assert_eq!(later.drift, first.drift);
    }
    #[test]
    fn a_node_has_a_pace_and_a_course_of_its_own_and_the_same_ones_in_each_launch() {
        let on = |node: &str, launch| {
            let engine = engine("walk:sd=25%,tau=60m").on_node(node);
            engine.options(&order(launch, 0), Faults::default())
        };
        let (first, slow) = (on("n1", 1), on("n2", 1));
        assert!((first.speed - 20.0).abs() < 1e-9 && (slow.speed - 16.0).abs() < 1e-9);
        let level = |options: &Options| {
            let drift = options.drift.as_ref().expect("it drifts");
            drift.machine(options.seed).speed(100.0)
        };
        assert!((level(&first) - level(&slow)).abs() > 1e-6);
        assert!((level(&first) - level(&on("n1", 2))).abs() < 1e-12);
        let here = engine("walk:sd=25%,tau=60m").options(&order(1, 0), Faults::default());
        assert!(
            (here.speed - 20.0).abs() < 1e-9
                && here.drift == Drift::parse("walk:sd=25%,tau=60m").ok()
        );
    }
}
