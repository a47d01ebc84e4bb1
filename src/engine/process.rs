//! The process engine: `vllm serve`, or a given command, as a child in its own
//! process group, on a loopback port of our choice. Stopping means the whole
//! group: vLLM's workers outlive their parent otherwise. Readiness and failure
//! classes are shared with the other engines.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::command;
use super::command_view::CommandView;
use super::docker::gpus::CUDA;
use super::failure::Exit;
use super::haste::Haste;
use super::log::{EngineLog, Following};
use super::readiness::{Connect, Limits, NotReady, wait_until_ready};
use super::service_view::of_process;
use super::{Engine, LaunchOrder, Launched, devices};
use crate::configuration::{Configuration, Flags};
use crate::event::Emit;
use crate::history::launch::{FailureClass, LaunchFacts, LaunchFailure};
use crate::ownership::{Ledger, Uses};
use crate::secret::Secrets;
use crate::server::proof::ProcessReading;
use crate::server::{ApiKey, Endpoint, GpuIds, ResourceProbe, Server};

/// Longest wait for the end of a log whose process has exited: one that left its
/// group may keep the log open.
const END_OF_LOG: Duration = Duration::from_secs(1);

mod arguments;
pub mod noted;
mod parts;
mod probe;
mod table;

pub use arguments::server_of_machine;

use noted::{Killed, Noted};
use probe::ProcessProbe;
use table::only_zombies;

/// What is started.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// Program and arguments (`vllm serve MODEL ...`), without the flags that we own.
    pub command: Vec<String>,
    /// The key that the server is to ask for; it travels in `VLLM_API_KEY`.
    pub api_key: Option<ApiKey>,
    /// Whether vLLM's development endpoints are switched on (they need no key).
    pub introspect: bool,
    /// How long to wait for it.
    pub limits: Limits,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// What shortens that time.
    pub haste: Haste,
    /// What its log is written without.
    pub secrets: Secrets,
}

impl ProcessSpec {
    /// `command` with the usual limits and no key.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            api_key: None,
            introspect: false,
            limits: Limits::default(),
            grace: Duration::from_mins(1),
            haste: Haste::default(),
            secrets: Secrets::default(),
        }
    }
}

/// A command that cannot be started by this engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// Nothing to start.
    #[error("the process engine's command is empty")]
    Empty,
    /// A key on a command line is visible to every user of the machine.
    #[error(
        "the command passes --api-key: name the variable that holds the key in `api-key-env` instead"
    )]
    KeyInCommand,
}

/// Starts servers as child processes.
pub struct ProcessEngine {
    spec: ProcessSpec,
    connect: Connect,
    /// The run that it launches for.
    owner: OnceLock<Arc<Ledger>>,
    left: Left,
}

/// Groups that could not be killed.
type Left = Arc<Mutex<Vec<Noted>>>;

impl ProcessEngine {
    /// An engine that starts `spec` and asks its endpoint through `connect`.
    pub fn new(mut spec: ProcessSpec, connect: Connect) -> Result<Self, ProcessError> {
        if spec.command.is_empty() {
            return Err(ProcessError::Empty);
        }
        let names_key = |argument: &String| {
            argument.starts_with("--")
                && crate::flags::canonical_name(argument.split('=').next().unwrap_or_default())
                    == "api-key"
        };
        let view = CommandView::of_vector(&spec.command);
        if view.has("api-key") || spec.command.iter().any(names_key) {
            return Err(ProcessError::KeyInCommand);
        }
        // A key in the file that `--config` names is on no command line.
        let own = of_process(&spec.command);
        own.reveal_config_to(&spec.secrets);
        if let Some(key) = &spec.api_key {
            spec.secrets.add(key.reveal());
        }
        if spec.api_key.is_none() {
            spec.api_key = own.value("api-key").filter(|key| !key.is_empty()).map(ApiKey::new);
        }
        Ok(Self { spec, connect, owner: OnceLock::new(), left: Left::default() })
    }

    /// The full argument vector for `flags` on `port`.
    pub fn argv(&self, flags: &Flags, port: u16) -> Vec<String> {
        let mut flags = flags.clone();
        flags.insert("host".to_owned(), Value::from("127.0.0.1"));
        flags.insert("port".to_owned(), Value::from(port));
        let view = of_process(&self.spec.command);
        match view.unreadable() {
            None => view.overlaid(&flags).words(),
            // A script that starts something else gets them as its own arguments.
            Some(_) => command::overlay(&self.spec.command, &flags),
        }
    }

    fn start(&self, order: &LaunchOrder, emit: &Emit) -> Result<Running, LaunchFailure> {
        let environment = |message: String| LaunchFailure::new(FailureClass::Environment, message);
        let port = free_port().map_err(|error| LaunchFailure::of_io("no free port", &error))?;
        let (log, writer) = EngineLog::create(&order.folder, &self.spec.secrets)
            .map_err(|error| LaunchFailure::of_io("the launch's folder", &error))?;
        let pipe = || -> std::io::Result<_> {
            let (reader, output) = std::io::pipe()?;
            Ok((reader, output.try_clone()?, output))
        };
        let (reader, errors, output) =
            pipe().map_err(|error| LaunchFailure::of_io("engine.log", &error))?;
        let flags = of_process(&self.spec.command).flags_of(&order.configuration);
        let argv = self.argv(&flags, port);
        let names = of_process(&argv).served_names().unwrap_or_default();
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .envs(self.environment(&order.configuration.environment))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        let child = command.spawn().map_err(|error| {
            LaunchFailure::of_io(&format!("`{}` cannot be started", argv[0]), &error)
        })?;
        // Ours are the writing ends in `command`: they would keep the log open.
        drop(command);
        let following = writer.telling(emit).follow(reader);
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group =
            Group(leader.ok_or_else(|| environment("the process ended at once".to_owned()))?);
        let noted = Noted::start(&order.folder, self.owner.get(), order.launch, group.0);
        Ok(Running {
            child,
            group,
            noted,
            left: Arc::clone(&self.left),
            haste: self.spec.haste.clone(),
            log,
            following,
            port,
            names,
            started: Instant::now(),
            started_at: jiff::Timestamp::now().to_string(),
        })
    }

    fn environment(&self, configured: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut environment = configured.clone();
        if let Some(owner) = self.owner.get() {
            environment.extend(noted::marks(owner));
        }
        if let Some(key) = &self.spec.api_key {
            environment.insert("VLLM_API_KEY".to_owned(), key.reveal().to_owned());
        }
        if self.spec.introspect {
            environment.insert("VLLM_SERVER_DEV_MODE".to_owned(), "1".to_owned());
        }
        environment
    }

    /// The GPUs that the server is to use; vLLM takes these ids for NVML's, too.
    fn gpus(configured: &BTreeMap<String, String>) -> Option<GpuIds> {
        let visible = configured.get(CUDA).cloned();
        visible.or_else(|| std::env::var(CUDA).ok()).map(|ids| GpuIds::listed(&ids))
    }
}

#[async_trait]
impl Engine for ProcessEngine {
    fn name(&self) -> &'static str {
        "process"
    }

    fn service_parts(&self) -> Option<BTreeMap<String, String>> {
        let text = |it: std::ffi::OsString| it.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Some(parts::of(&self.spec.command[0], variables))
    }

    fn uses(&self, configurations: &[Configuration]) -> Uses {
        devices::of_processes(configurations)
    }

    fn owned_by(&self, ledger: &Arc<Ledger>) {
        // There is one run in the life of an engine.
        let _ = self.owner.set(Arc::clone(ledger));
    }

    async fn launch(
        &self,
        order: &LaunchOrder,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        // Nothing is started beside it, and it says nothing of the configuration.
        self.end_left().await.map_err(|left| LaunchFailure::of_shortage(&left.message))?;
        let mut running = self.start(order, emit)?;
        let endpoint =
            Endpoint::new(format!("http://127.0.0.1:{}", running.port), self.spec.api_key.clone());
        let mut candidate = (self.connect)(endpoint);
        candidate.expect_one_of(std::mem::take(&mut running.names));
        let ready = {
            let mut ended = Box::pin(exit_of(&mut running.child));
            let log = &mut running.log;
            let mut new_log = || log.read_new();
            wait_until_ready(
                ended.as_mut(),
                &mut new_log,
                candidate.as_ref(),
                &self.spec.limits,
                emit,
                cancel,
            )
            .await
        };
        match ready {
            Ok(server) => {
                let boot_seconds = running.started.elapsed().as_secs_f64();
                running.noted.refresh();
                let facts = LaunchFacts {
                    started_at: running.started_at.clone(),
                    boot_seconds,
                    image_id: None,
                    engine_version: server.version.clone(),
                    simulated: server.simulated,
                };
                Ok(Box::new(LaunchedProcess {
                    running,
                    server,
                    facts,
                    grace: self.spec.grace,
                    gpus: Self::gpus(&order.configuration.environment),
                }))
            }
            Err(not_ready) => {
                // What did not come up in an hour needs no long grace.
                let grace = if matches!(not_ready, NotReady::Ended(_)) {
                    Duration::ZERO
                } else {
                    self.spec.grace
                };
                let stopped = running.stop(grace).await;
                let failure = LaunchFailure::of_not_ready(&running.log.text(), &not_ready);
                match stopped {
                    Ok(()) => Err(failure),
                    Err(left) => Err(failure.leaving(&left)),
                }
            }
        }
    }

    /// What was noted, and what has the run's id in its environment: a panic stops nothing, and
    /// what it left may outlive the signal.
    async fn end_left(&self) -> Result<(), LaunchFailure> {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        let mut stubborn = Vec::new();
        for noted in left {
            match noted.kill_rest().await {
                Killed::Stubborn(ids) => {
                    stubborn.extend(ids);
                    keep(&self.left, noted);
                }
                Killed::Nothing | Killed::Ended => noted.forget(),
            }
        }
        if stubborn.is_empty()
            && let Some(owner) = self.owner.get()
            && let Killed::Stubborn(ids) = noted::kill_of_run(owner.run_id()).await
        {
            stubborn = ids;
        }
        if stubborn.is_empty() { Ok(()) } else { Err(cannot_be_killed(&stubborn)) }
    }
}

/// A started process and what belongs to it.
struct Running {
    child: Child,
    group: Group,
    noted: Noted,
    left: Left,
    haste: Haste,
    log: EngineLog,
    following: Following,
    port: u16,
    /// Names of the model that it is to offer, where they are known.
    names: Vec<String>,
    started: Instant,
    started_at: String,
}

/// The failure of a stop after which these live.
fn cannot_be_killed(ids: &[i32]) -> LaunchFailure {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    LaunchFailure::of_left(format!(
        "process {} of a launch cannot be killed and may still hold its GPU",
        ids.join(", ")
    ))
}

/// Keeps what lives for a later attempt.
fn keep(left: &Left, noted: Noted) {
    left.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
}

impl Running {
    /// SIGTERM, `grace`, SIGKILL of the group, until nothing of it is left.
    async fn stop(&mut self, grace: Duration) -> Result<(), LaunchFailure> {
        let stopped = self.stop_all(grace).await;
        if stopped.is_err() {
            keep(&self.left, self.noted.clone());
        }
        stopped
    }

    async fn stop_all(&mut self, grace: Duration) -> Result<(), LaunchFailure> {
        let _may_have_exited = kill_process_group(self.group.0, Signal::TERM);
        tokio::select! {
            biased;
            _status = self.child.wait() => {}
            () = self.haste.grace(grace) => {
                let group = self.group.0.as_raw_nonzero();
                tracing::warn!(group, "no end after SIGTERM, killing");
            }
        }
        let killed_at = Instant::now();
        while self.group.alive() {
            let _may_have_exited = kill_process_group(self.group.0, Signal::KILL);
            if timeout(Duration::from_secs(1), self.child.wait()).await.is_ok()
                && self.group.alive()
            {
                sleep(Duration::from_millis(20)).await;
            }
            if killed_at.elapsed() > Duration::from_secs(20) {
                return Err(cannot_be_killed(&[self.group.0.as_raw_nonzero().get()]));
            }
        }
        // Reaps the leader, so that no zombie of ours stays.
        let _status = timeout(Duration::from_secs(1), self.child.wait()).await;
        self.following.finish(END_OF_LOG).await;
        if let Killed::Stubborn(ids) = self.noted.kill_rest().await {
            return Err(cannot_be_killed(&ids));
        }
        self.noted.forget();
        Ok(())
    }
}

/// A process group that is killed when it has no owner any more (a panic, a dropped future).
struct Group(Pid);

impl Group {
    fn alive(&self) -> bool {
        test_kill_process_group(self.0).is_ok() && !only_zombies(self.0.as_raw_nonzero().get())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.alive() {
            let _may_have_exited = kill_process_group(self.0, Signal::KILL);
        }
    }
}

async fn exit_of(child: &mut Child) -> Exit {
    match child.wait().await {
        Ok(status) => exit(status),
        Err(_) => Exit::default(),
    }
}

fn exit(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;

    Exit {
        code: status.code().or_else(|| status.signal().map(|signal| 128 + signal)),
        oom_killed: false,
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A ready server in a child process.
struct LaunchedProcess {
    running: Running,
    server: Server,
    facts: LaunchFacts,
    grace: Duration,
    gpus: Option<GpuIds>,
}

#[async_trait]
impl Launched for LaunchedProcess {
    fn server(&self) -> &Server {
        &self.server
    }

    fn facts(&self) -> &LaunchFacts {
        &self.facts
    }

    fn log(&self) -> String {
        self.running.log.text()
    }

    async fn process(&self, variables: &[String]) -> ProcessReading {
        arguments::read(self.running.group.0, self.running.port, variables).await
    }

    fn probe(&self) -> Option<Arc<dyn ResourceProbe>> {
        Some(Arc::new(ProcessProbe::new(self.running.group.0, self.gpus.clone())))
    }

    async fn check(&mut self) -> Result<(), LaunchFailure> {
        match self.running.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.running.following.finish(END_OF_LOG).await;
                Err(LaunchFailure::of_exit(&self.log(), exit(status), true))
            }
            Err(error) => Err(LaunchFailure::new(
                FailureClass::Environment,
                format!("the process cannot be observed: {error}"),
            )),
        }
    }

    async fn stop(mut self: Box<Self>) -> Result<(), LaunchFailure> {
        self.running.stop(self.grace).await
    }
}

#[cfg(test)]
mod tests;
