//! What a launch does on its node: it takes the order, tells where it runs, makes the launch
//! and writes its lines. It knows neither the journal nor a scheduler, and is the same program
//! as the controller, of the same version.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Began, End, FORMAT, Files, JobOrder, Line, Writer, spoken};
use crate::engine::Engine;
use crate::event::{Emit, NoticeKind};
use crate::history::folder::write_whole;
use crate::history::journal::Entry;
use crate::input;
use crate::sweep::SweepError;
use crate::sweep::clock::{Clock, Reading};
use crate::sweep::launch::{self, Measure, Refused, Sink, void};

/// How often a node says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Bytes of an order at most.
const MAX_ORDER: u64 = 64 << 20;

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
    /// The launch's files cannot be written.
    #[error("{path} cannot be written: {error}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Reads an order that the controller of the same version wrote.
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
    serde_json::from_value(loose).map_err(|error| unreadable(error.to_string()))
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
    let folder = &order.order.launch.folder;
    let files = Files::of(folder);
    let unwritable = |error| OrderError::Unwritable { path: files.lines(), error };
    if let Some(host) = begun(folder).map_err(unwritable)? {
        return Err(OrderError::Begun { launch: order.order.launch.launch, host });
    }
    let writer = Arc::new(Writer::open(folder).map_err(unwritable)?);
    writer.write(&Line::Began(node.began.clone())).map_err(unwritable)?;
    let clock = Steady::begin();
    let sink = Lines { writer: writer.clone(), clock: clock.clone(), last: Mutex::new(None) };
    let emit = emit(&writer);
    let (engine, measure) = (node.engine, node.measure);
    let launched = launch::run(&order.order, engine, measure, &sink, &emit, node.cancel);
    let ended = tokio::select! {
        biased;
        ended = launched => ended,
        never = beat(&files) => match never {},
    };
    let end = match ended {
        Ok(outcome) => End::Outcome(outcome),
        Err(SweepError::Unstopped { message, outcome }) => End::Unstopped { message, outcome },
        Err(SweepError::Stopped { message, log_lines, .. }) => End::Unable { message, log_lines },
        Err(other) => End::Unable { message: other.to_string(), log_lines: Vec::new() },
    };
    writer.write(&Line::Ended { at: clock.now(), end: end.clone() }).map_err(unwritable)?;
    Ok(end)
}

/// The host that began a launch before, where one did.
fn begun(folder: &Path) -> io::Result<Option<String>> {
    let lines = super::Reader::of(folder).more()?;
    Ok(lines.into_iter().find_map(|line| match line {
        Line::Began(began) => Some(began.host),
        _ => None,
    }))
}

/// Says every few seconds that the node is alive. What cannot be written is tried again: the
/// lines themselves are what counts.
async fn beat(files: &Files) -> std::convert::Infallible {
    let mut ticks = interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = jiff::Timestamp::now().to_string();
        let _ = write_whole(&files.heartbeat(), |file| {
            use std::io::Write as _;
            file.write_all(now.as_bytes())
        });
    }
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
        let _ = writer.write(&line);
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
    last: Mutex<Option<Reading>>,
}

impl Lines {
    /// Why the clocks say that the node did not run throughout what ends now.
    fn slept(&self) -> Option<String> {
        let now = Clock::system().read();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        now.disturbed_since(&last.replace(now)?)
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
        self.writer.write(&line).map_err(|_| Refused)?;
        Ok(entry)
    }
}
