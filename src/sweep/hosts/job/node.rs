//! What a launch does on its node: it takes the order, which no other start of the job does from
//! then on, tells where it runs, makes the launch and writes its lines. It knows neither the journal
//! nor a scheduler, and is the same program as the controller, of the same version.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::beat::{Beat, EVERY, Still};
use super::{Began, End, FORMAT, Files, JobOrder, Line, Writer, spoken};
use crate::configuration::Configuration;
use crate::engine::Engine;
use crate::event::{Emit, NoticeKind};
use crate::history::journal::Entry;
use crate::input;
use crate::machine::Machine;
use crate::secret::Secrets;
use crate::shortage::advice;
use crate::sweep::SweepError;
use crate::sweep::clock::{Clock, Reading};
use crate::sweep::launch::{self, Measure, Refused, Sink, void};

/// Bytes of an order at most.
const MAX_ORDER: u64 = 64 << 20;
/// Bytes of a node's name at most.
const MAX_NAME: u64 = 1 << 10;

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The file cannot be read.
    #[error("the order {path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Another version of this tool wrote it.
    #[error(
        "the order {path} is of vllm-grid {theirs}, and this node has {ours}: install the same \
         version on all nodes"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The controller's version.
        theirs: String,
        /// This one's.
        ours: String,
    },
    /// The job was started before.
    #[error("launch {launch} was begun before on {host}: it is not measured twice")]
    Begun {
        /// Number of the launch.
        launch: u32,
        /// The node that began it.
        host: String,
    },
    /// The cluster started the job again.
    #[error(
        "launch {launch}: the cluster started its job again (restart {restarts}): it is not measured \
         twice; the controller submits a new one"
    )]
    Restarted {
        /// Number of the launch.
        launch: u32,
        /// How often the job was started before.
        restarts: u32,
    },
    /// The launch's files cannot be written.
    #[error("{path} cannot be written: {error}{}", advice(.error))]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Reads an order that the controller of the same version wrote. Its launch's folder is the
/// order's own.
///
/// # Errors
/// When it cannot be read, or is another version's.
pub fn order(path: &Path) -> Result<JobOrder, OrderError> {
    let unreadable = |error: String| OrderError::Unreadable { path: path.to_owned(), error };
    let bytes = input::read(path, MAX_ORDER).map_err(|error| unreadable(error.to_string()))?;
    // Other versions may have other fields: their version is read first.
    let loose: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let theirs = loose["tool_version"].as_str().unwrap_or("an unknown version").to_owned();
    let ours = env!("CARGO_PKG_VERSION").to_owned();
    if theirs != ours || loose["format"] != FORMAT {
        return Err(OrderError::Version { path: path.to_owned(), theirs, ours });
    }
    let mut order: JobOrder =
        serde_json::from_value(loose).map_err(|error| unreadable(error.to_string()))?;
    if let Some(folder) = std::path::absolute(path).ok().as_deref().and_then(Path::parent) {
        folder.clone_into(&mut order.order.launch.folder);
    }
    Ok(order)
}

/// Which start of which job it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The node's name.
    pub host: String,
    /// The job's id, where a scheduler gave one.
    pub job: Option<String>,
    /// How often the scheduler started the job before.
    pub restarts: u32,
}

/// What a launch is made with on its node.
pub struct Node<'a> {
    /// Starts its server.
    pub engine: &'a dyn Engine,
    /// Measures it.
    pub measure: &'a dyn Measure,
    /// Where it runs.
    pub began: Began,
    /// Ends it in good order.
    pub cancel: &'a CancellationToken,
}

/// Carries an order out: its lines are in the launch's folder when this returns, the end among
/// them.
///
/// # Errors
/// When it was begun before, or its files cannot be written.
pub async fn run(order: &JobOrder, node: Node<'_>) -> Result<End, OrderError> {
    let Began { host, machine, job, restarts, at: _ } = node.began;
    let taken = Taken::take(order.clone(), Start { host, job, restarts }, &Secrets::default())?;
    taken.begin(machine)?;
    taken.launch(node.engine, node.measure, node.cancel).await
}

/// An order that this start of its job took: no other one carries it out. Its end is in the
/// launch's lines once it was told.
#[derive(Debug)]
pub struct Taken {
    order: JobOrder,
    start: Start,
    writer: Arc<Writer>,
    clock: Steady,
    beat: Beat,
}

impl Taken {
    /// Takes an order. What is written is without `secrets`.
    ///
    /// # Errors
    /// When another start of the job took it, or its files cannot be written: then nothing of
    /// this start is in the lines.
    pub fn take(order: JobOrder, start: Start, secrets: &Secrets) -> Result<Self, OrderError> {
        let folder = &order.order.launch.folder;
        let files = Files::of(folder);
        if start.restarts > 0 {
            let launch = order.order.launch.launch;
            return Err(OrderError::Restarted { launch, restarts: start.restarts });
        }
        take(&files, &order, &start)?;
        let writer = Writer::open(folder)
            .map_err(|error| OrderError::Unwritable { path: files.lines(), error })?
            .without(secrets);
        writer.keep_reserve();
        let beat = Beat::begin(folder, EVERY);
        let writer = Arc::new(writer);
        Ok(Self { order, start, writer, clock: Steady::begin(), beat })
    }

    /// The order.
    pub fn order(&self) -> &JobOrder {
        &self.order
    }

    /// The order's configuration as this node reads it: the order may lack secrets of it.
    pub fn with(&mut self, configuration: Configuration) {
        self.order.order.launch.configuration = configuration;
    }

    /// Tells where it runs.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn begin(&self, machine: Machine) -> Result<(), OrderError> {
        let Start { host, job, restarts } = self.start.clone();
        let began = Began { at: self.clock.now(), host, machine, job, restarts };
        self.writer.write(&Line::Began(began)).map_err(|error| self.unwritable(error))
    }

    /// Tells how it ended: nothing follows.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn end(self, end: End) -> Result<End, OrderError> {
        let line = Line::Ended { at: self.clock.now(), end: end.clone() };
        self.writer.end(&line).map_err(|error| self.unwritable(error))?;
        Ok(end)
    }

    /// Tells that the launch cannot be made here.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn unable(self, message: String) -> Result<End, OrderError> {
        self.end(End::Unable { message, log_lines: Vec::new() })
    }

    /// Makes the launch: its lines are in its folder when this returns, the end among them.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub async fn launch(
        self,
        engine: &dyn Engine,
        measure: &dyn Measure,
        cancel: &CancellationToken,
    ) -> Result<End, OrderError> {
        let sink = Lines::new(&self.writer, &self.clock, self.beat.still());
        let (emit, order) = (emit(&self.writer), &self.order.order);
        let launched = launch::run_in_folder(order, engine, measure, &sink, &emit, cancel);
        let ended = AssertUnwindSafe(launched).catch_unwind().await;
        let end = match (ended, sink.refused()) {
            (Ok(Err(SweepError::Unstopped { message, outcome })), _) => {
                End::Unstopped { message, outcome }
            }
            (Ok(_), Some(message)) => End::Unable { message, log_lines: Vec::new() },
            (Ok(Ok(outcome)), None) => End::Outcome(outcome),
            (Ok(Err(SweepError::Stopped { message, log_lines, .. })), None) => {
                End::Unable { message, log_lines }
            }
            (Ok(Err(other)), None) => {
                End::Unable { message: other.to_string(), log_lines: Vec::new() }
            }
            // It was reported where it happened.
            (Err(_panic), _) => {
                let _is_found_by_the_next_launch = engine.end_left().await;
                let message = "vllm-grid has a bug: the job's log has the report".to_owned();
                End::Unable { message, log_lines: Vec::new() }
            }
        };
        self.end(end)
    }

    fn unwritable(&self, error: io::Error) -> OrderError {
        let path = Files::of(&self.order.order.launch.folder).lines();
        OrderError::Unwritable { path, error }
    }
}

/// Only one start of a job makes the file.
fn take(files: &Files, order: &JobOrder, start: &Start) -> Result<(), OrderError> {
    let path = files.taken();
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made.and_then(|mut file| file.write_all(start.host.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let host = input::read(&path, MAX_NAME).unwrap_or_default();
            let host = String::from_utf8_lossy(&host).into_owned();
            Err(OrderError::Begun { launch: order.order.launch.launch, host })
        }
        Err(error) => Err(OrderError::Unwritable { path, error }),
    }
}

/// The folders of a run's other launches that were begun on a node, by its name.
pub fn others_on(order: &JobOrder, host: &str) -> Vec<PathBuf> {
    let own = &order.order.launch.folder;
    let Some(launches) = own.parent().and_then(|it| std::fs::read_dir(it).ok()) else {
        return Vec::new();
    };
    let folders = launches.flatten().map(|it| it.path()).filter(|it| it != own);
    let was_here = |folder: &PathBuf| {
        input::read(&Files::of(folder).taken(), MAX_NAME).is_ok_and(|it| it == host.as_bytes())
    };
    folders.filter(was_here).collect()
}

/// Tells the controller that an order was not taken, where its file at least can be found.
///
/// # Errors
/// When that cannot be written either, or a start of the job took the order.
pub fn refuse(order: &Path, start: &Start, why: &OrderError) -> Result<(), OrderError> {
    let folder = order.parent().unwrap_or(Path::new("."));
    let files = Files::of(folder);
    let path = files.lines();
    let unwritable = |error| OrderError::Unwritable { path: path.clone(), error };
    if !files.order().exists() || files.taken().exists() {
        return Ok(());
    }
    let writer = Writer::open(folder).map_err(unwritable)?;
    let message = format!("{}: {why}", start.host);
    let end = End::Unable { message, log_lines: Vec::new() };
    writer.end(&Line::Ended { at: jiff::Timestamp::now(), end }).map_err(unwritable)
}

/// Phases and warnings as lines. A line that cannot be written is lost: the next entry says so.
fn emit(writer: &Arc<Writer>) -> Emit {
    let writer = Arc::clone(writer);
    Emit::to(move |notice| {
        let line = match notice.kind {
            NoticeKind::Phase(phase) => Line::Phase { phase: spoken(&phase) },
            NoticeKind::Warning(text) => Line::Warning { text },
            _ => return,
        };
        // It is for a person alone, and need not be waited for.
        let _ = writer.note(&line);
    })
}

/// The node's time: its wall clock at the beginning, and the monotonic one from there on.
#[derive(Clone, Debug)]
struct Steady {
    began: jiff::Timestamp,
    since: Instant,
}

impl Steady {
    fn begin() -> Self {
        Self { began: jiff::Timestamp::now(), since: Instant::now() }
    }

    fn now(&self) -> jiff::Timestamp {
        let passed = jiff::SignedDuration::try_from(self.since.elapsed());
        let now = passed.ok().and_then(|passed| self.began.checked_add(passed).ok());
        now.unwrap_or(self.began)
    }
}

/// Writes the entries of a launch. A repeat during which the node slept is void.
struct Lines {
    writer: Arc<Writer>,
    clock: Steady,
    last: Mutex<Reading>,
    /// What the clocks do not say: they go on while a process is stopped.
    still: Still,
    /// Why an entry could not be written.
    refused: Mutex<Option<String>>,
}

impl Lines {
    fn new(writer: &Arc<Writer>, clock: &Steady, still: Still) -> Self {
        let (writer, clock) = (Arc::clone(writer), clock.clone());
        let last = Mutex::new(Clock::system().read());
        Self { writer, clock, last, still, refused: Mutex::default() }
    }

    /// Why the node did not run throughout what ends now.
    fn slept(&self) -> Option<String> {
        let now = Clock::system().read();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = now.disturbed_since(&std::mem::replace(&mut *last, now));
        let still = self.still.take();
        slept.or(still)
    }

    fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Sink for Lines {
    async fn put(&self, entry: Entry) -> Result<Entry, Refused> {
        let slept = self.slept();
        let entry = match (entry, slept) {
            (Entry::RepeatFinished { launch, measurement }, Some(why)) => {
                Entry::RepeatFinished { launch, measurement: void(measurement, &why) }
            }
            (entry, _) => entry,
        };
        let line = Line::Entry { at: self.clock.now(), entry: Box::new(entry.clone()) };
        match self.writer.write(&line) {
            Ok(()) => Ok(entry),
            Err(error) => {
                let why =
                    format!("the launch's lines cannot be written: {error}{}", advice(&error));
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.get_or_insert(why);
                Err(Refused)
            }
        }
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
