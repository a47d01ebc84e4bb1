//! A vLLM-compatible server with a cost model instead of a GPU.
//!
//! It takes vLLM's own command line, starts (or fails to start) as vLLM would,
//! and answers over HTTP at the pace that a roofline gives for the model and the
//! GPU. The physics ([`scheduler`], [`kv_cache`], [`cost`], [`memory`],
//! [`noise`]) is pure and runs in virtual time too ([`pace::replay`], [`play`]); [`engine`]
//! paces it against the clock, `http` puts vLLM's endpoints in front. Everything
//! it serves is marked as simulated. Of the rest of the crate it uses only the flags.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub mod boot;
mod command;
pub mod cost;
pub mod degenerate;
pub mod drafts;
pub mod drift;
pub mod engine;
pub mod fault_plan;
pub mod faults;
mod http;
pub mod kv_cache;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod noise;
pub mod output;
pub mod pace;
pub mod play;
pub mod profile;
pub mod protocol;
mod reply;
pub mod scheduler;
pub mod script;
pub mod settings;
pub mod spoil;
pub mod text;
pub mod tokens;

pub use command::{ArgumentError, OPTIONS, command_line, run};
pub use log::LogSink;

use self::cost::CostModel;
use self::drift::Drift;
use self::engine::Engine;
use self::faults::Faults;
use self::kv_cache::KvCache;
use self::log::Log;
use self::memory::Division;
use self::metrics::Metrics;
use self::noise::Noise;
use self::pace::Pace;
use self::scheduler::{Limits, Scheduler};
use self::script::Script;
use self::settings::Settings;

/// What `/version` and the log show: the release whose behaviour is imitated.
pub const VERSION: &str = "0.32.0+simulated";

/// What is simulated, in addition to vLLM's own command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The kind of GPU ([`profile::gpu`]).
    pub gpu: profile::Gpu,
    /// How many of them there are.
    pub gpus: u32,
    /// Seed of all noise and of all answers.
    pub seed: u64,
    /// Divides all times, the start's included; 1 is real time.
    pub speed: f64,
    /// Memory in use by other programs on every GPU, GiB.
    pub other_memory_gib: f64,
    /// The known model to imitate where the command line names another one.
    pub model: Option<String>,
    /// Number of the launch: launches of one seed differ in noise.
    pub launch: u64,
    /// Environment variables that vLLM reads (`VLLM_API_KEY`, ...).
    pub environment: BTreeMap<String, String>,
    /// Injected faults.
    pub faults: Faults,
    /// Scripted answers in place of random words.
    pub answers: Script,
    /// How the machine's speed moves; it does not where `None`.
    pub drift: Option<Drift>,
    /// The machine's own time when the start begins, simulated seconds.
    pub machine_seconds: f64,
}

impl Options {
    /// One GPU of this kind at real speed, seed 1.
    pub fn new(gpu: profile::Gpu) -> Self {
        Self {
            gpu,
            gpus: 1,
            seed: 1,
            speed: 1.0,
            other_memory_gib: 0.0,
            model: None,
            launch: 0,
            environment: BTreeMap::new(),
            faults: Faults::default(),
            answers: Script::default(),
            drift: None,
            machine_seconds: 0.0,
        }
    }
}

/// A start that ended before the server was ready. Its lines are in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootFailure {
    /// The process exited, as vLLM would.
    #[error("the simulated engine exited with code {0}")]
    Exited(i32),
    /// The caller cancelled.
    #[error("the start was cancelled")]
    Cancelled,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The caller cancelled.
    Stopped,
    /// The engine died. vLLM's process then exits with code 0.
    EngineDied,
    /// The process ended by itself, with this code.
    Exited(i32),
}

impl Ending {
    /// The process's exit code.
    pub fn code(self) -> i32 {
        match self {
            Self::Stopped | Self::EngineDied => 0,
            Self::Exited(code) => code,
        }
    }
}

/// A started engine that is not served yet.
#[derive(Debug)]
pub struct Booted {
    settings: Settings,
    division: Division,
    options: Options,
    log: Log,
    /// The machine's own time when the start was over, simulated seconds.
    machine_seconds: f64,
}

/// Starts a simulated engine: `argv` is what follows `vllm serve`. Lines go to
/// `log` when they would come; the whole start takes as long as it would,
/// divided by the speed.
///
/// # Errors
/// Where vLLM would exit, with its exit code, and when cancelled.
pub async fn boot(
    argv: &[String],
    options: &Options,
    log: LogSink,
    cancel: &CancellationToken,
) -> Result<Booted, BootFailure> {
    let script = boot::script(argv, options);
    let log = Log::new(log);
    let began = tokio::time::Instant::now();
    let factor = Noise::new(options.seed, options.launch).launch() / options.speed;
    let wait_until = |seconds: f64| async move {
        let at = began + Duration::from_secs_f64(seconds * factor);
        tokio::select! {
            () = cancel.cancelled() => Err(BootFailure::Cancelled),
            () = tokio::time::sleep_until(at) => Ok(()),
        }
    };
    for line in &script.lines {
        wait_until(line.at).await?;
        log.line(line.process, line.level, line.place, &line.text);
    }
    wait_until(script.seconds).await?;
    let (settings, division) = script.outcome.map_err(BootFailure::Exited)?;
    let machine_seconds = options.machine_seconds + began.elapsed().as_secs_f64() * options.speed;
    Ok(Booted { settings, division, options: options.clone(), log, machine_seconds })
}

impl Booted {
    /// What it runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How its memory is divided.
    pub fn division(&self) -> &Division {
        &self.division
    }

    /// The same engine, serving at another speed than it was started with.
    #[must_use]
    pub fn at_speed(mut self, speed: f64) -> Self {
        self.options.speed = speed;
        self
    }

    /// Serves on `listener` until `cancel` or the engine's death; requests under
    /// way end there. vLLM does not listen before it is ready: bind only now.
    ///
    /// # Errors
    /// Where the system gives no thread or the listener breaks.
    pub async fn serve(
        self,
        listener: TcpListener,
        cancel: CancellationToken,
    ) -> std::io::Result<Ending> {
        let caching = self.settings.prefix_caching;
        let cache = KvCache::new(self.division.blocks, self.settings.block_size, caching);
        let scheduler = Scheduler::new(Limits::of(&self.settings), cache);
        let noise = Noise::new(self.options.seed, self.options.launch);
        let machine = self.options.drift.as_ref().map(|drift| drift.machine(self.options.seed));
        let pace =
            Pace::new(CostModel::new(&self.settings), noise).on(machine, self.machine_seconds);
        let metrics = Metrics::new(&self.settings, &self.division);
        let engine = Engine::start(scheduler, pace, metrics, &self.options, self.log.clone())?;
        http::serve(self, engine, listener, cancel).await
    }
}
