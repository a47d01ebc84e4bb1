//! A launch is a function of an order, an engine, something that measures and a
//! sink for entries: start, prove, measure repeat by repeat, stop. It knows
//! neither the strategy nor the journal's file, so it can be made anywhere.
//! Which launch is made, and what its outcome means, is decided elsewhere.

use std::io::ErrorKind::NotFound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::early::{EarlyStop, Next, Watch};
use super::gates;
use super::pass::Pass;
use super::{SweepError, relaunch};
use crate::bench::RecordSink;
use crate::bench::suite::BenchError;
use crate::engine::log::EngineLog;
use crate::engine::{Engine, LaunchOrder, Launched};
use crate::event::{Emit, Phase};
use crate::gate::{Gate, GateOrder, GateReport, GateVerdict};
use crate::history::HistoryError;
use crate::history::folder::Folder;
use crate::history::gates::is_own_death;
use crate::history::journal::Entry;
use crate::history::launch::{FailureClass, LaunchFailure, LaunchOutcome};
use crate::metric::{Measurement, MetricValue, Status};
use crate::server::effective::Effective;
use crate::server::proof::Proof;
use crate::server::{ResourceProbe, Server};
use crate::strategy::Purpose;

/// For how long an engine that answers nobody may still count as one that runs: the kernel
/// takes its memory back before its end is seen.
const ENDING: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// Where the log of a first attempt to boot is kept.
pub const FIRST_LOG: &str = "engine.first.log";

/// What one launch is to be: data alone, so that it can be written to a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialOrder {
    /// What is launched, where its files go, and its number in the sweep.
    pub launch: LaunchOrder,
    /// The strategy's trial that it serves.
    pub trial: u32,
    /// What the trial is for.
    pub purpose: Purpose,
    /// The round of trials that it is part of, from 0: its open loops' arrivals are those
    /// of the round.
    #[serde(default)]
    pub round: u32,
    /// Unique to the sweep: no prompt of another sweep has its salt.
    pub salt: String,
    /// Seed of the prompts' texts, the same for every configuration.
    pub seed: u64,
    /// What it goes through before it is measured.
    #[serde(default)]
    pub gates: GateOrder,
    /// What is measured, in this order.
    pub passes: Vec<Pass>,
    /// The host of the launch that it is compared with directly, where that ran already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// By which it finds out that it is clearly behind: then it leaves out passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early: Option<EarlyStop>,
}

/// Takes the entries of a launch.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes an entry and returns it once it is durable, as it was written: a repeat may have
    /// been made void.
    ///
    /// # Errors
    /// When the launch is to end: it stops its server and measures nothing more.
    async fn put(&self, entry: Entry) -> Result<Entry, Refused>;

    /// The same of an entry that another machine wrote, at this time by its clock.
    ///
    /// # Errors
    /// As for [`Self::put`].
    async fn put_at(&self, entry: Entry, _happened: jiff::Timestamp) -> Result<Entry, Refused> {
        self.put(entry).await
    }
}

/// The sink takes no more entries of this launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Measures servers.
#[async_trait]
pub trait Measure: Send + Sync {
    /// What the server shows that it runs with, compared with what was asked for.
    async fn prove(&self, order: &TrialOrder, launched: &mut dyn Launched) -> Proof;

    /// Where the request records of a launch go.
    fn records(&self, folder: &Path) -> Box<dyn RecordSink>;

    /// Prepares to measure one server during one launch.
    async fn begin<'a>(&'a self, job: Job<'a>) -> Result<Box<dyn MeasureSession + 'a>, BenchError>;
}

/// What a [`MeasureSession`] works with.
#[derive(Clone)]
pub struct Job<'a> {
    /// The order.
    pub order: &'a TrialOrder,
    /// The server.
    pub server: &'a Server,
    /// What it uses, as far as its engine sees it.
    pub probe: Option<Arc<dyn ResourceProbe>>,
    /// Where request records go.
    pub records: &'a dyn RecordSink,
    /// Where notices go.
    pub emit: &'a Emit,
    /// Asks for a stop.
    pub cancel: &'a CancellationToken,
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("order", self.order).finish_non_exhaustive()
    }
}

/// Measures one server during one launch.
#[async_trait]
pub trait MeasureSession: Send {
    /// One gate, judged.
    async fn gate(&mut self, gate: Gate, order: &GateOrder) -> Result<GateReport, BenchError>;

    /// One repeat of one case, its records stored.
    async fn repeat(&mut self, pass: &Pass) -> Result<Measurement, BenchError>;
}

/// Makes one launch, whose folder is there. A stop, or a sink that refuses, ends it as interrupted;
/// whatever ends it, the server is stopped before this returns, or the sweep ends.
///
/// # Errors
/// When its records cannot be written, or this process lacks something itself: no
/// conclusion about the configuration, and the next launch would fail in the same way. Or when
/// its server cannot be stopped.
pub async fn run(
    order: &TrialOrder,
    engine: &dyn Engine,
    measure: &dyn Measure,
    sink: &dyn Sink,
    emit: &Emit,
    cancel: &CancellationToken,
) -> Result<LaunchOutcome, SweepError> {
    Folder::create_launch(&order.launch.folder)?;
    run_in_folder(order, engine, measure, sink, emit, cancel).await
}

/// The same in a folder that was made for it.
///
/// # Errors
/// As [`run`].
pub async fn run_in_folder(
    order: &TrialOrder,
    engine: &dyn Engine,
    measure: &dyn Measure,
    sink: &dyn Sink,
    emit: &Emit,
    cancel: &CancellationToken,
) -> Result<LaunchOutcome, SweepError> {
    let emit = &emit.of_launch(order.launch.launch);
    let (outcome, left) = match boot(engine, &order.launch, emit, cancel).await {
        Err(failure) => {
            let left = failure.left.then(|| failure.clone());
            (not_booted(failure, cancel.is_cancelled()), left)
        }
        Ok(mut launched) => {
            let work = Work { order, measure, sink, emit, cancel };
            let outcome = work.measure(launched.as_mut()).await;
            emit.phase(Phase::Stopping);
            (outcome, launched.stop().await.err())
        }
    };
    let Some(left) = left else { return outcome };
    match (engine.end_left().await, outcome) {
        (Ok(()), outcome) => {
            if matches!(outcome, Ok(LaunchOutcome::Measured)) {
                emit.warn(format!("stopping: {}", left.message));
            }
            outcome
        }
        (Err(left), Ok(outcome)) => {
            let outcome = match outcome {
                // Its second attempt was not made.
                LaunchOutcome::Failed(failure) if relaunch::boots_again(&failure) => {
                    LaunchOutcome::Interrupted
                }
                outcome => outcome,
            };
            Err(SweepError::Unstopped { message: left.message, outcome: Box::new(outcome) })
        }
        (Err(left), Err(error)) => {
            emit.warn(format!("stopping: {}", left.message));
            Err(error)
        }
    }
}

/// What a launch came to that gave no server; `stops`: whether a stop was asked for meanwhile.
fn not_booted(failure: LaunchFailure, stops: bool) -> Result<LaunchOutcome, SweepError> {
    match failure {
        failure if failure.cancelled => Ok(LaunchOutcome::Interrupted),
        failure if failure.shortage => Err(SweepError::shortage(&failure.message)),
        // What is not the configuration's own may be the stop's, and has no second attempt.
        failure if stops && !failure.class.is_deterministic() => Ok(LaunchOutcome::Interrupted),
        failure => Ok(LaunchOutcome::Failed(failure)),
    }
}

/// Starts the engine, and once more where the first attempt failed for a reason
/// that is not the configuration's; what can be removed is removed before.
///
/// # Errors
/// The last attempt's failure.
pub async fn boot(
    engine: &dyn Engine,
    order: &LaunchOrder,
    emit: &Emit,
    cancel: &CancellationToken,
) -> Result<Box<dyn Launched>, LaunchFailure> {
    let failure = match engine.launch(order, emit, cancel).await {
        Err(failure) if relaunch::boots_again(&failure) && !cancel.is_cancelled() => failure,
        done => return done,
    };
    if failure.left && engine.end_left().await.is_err() {
        return Err(failure);
    }
    emit.warn(format!("{}: {}; trying once more", order.configuration.name, failure.message));
    // Where nothing was started there is no log.
    let _ = std::fs::rename(order.folder.join(EngineLog::NAME), order.folder.join(FIRST_LOG));
    engine.clean_up(&order.configuration, &failure, emit).await;
    engine.launch(order, emit, cancel).await.map_err(|again| LaunchFailure {
        message: format!("twice; the second time {}", again.message),
        ..again
    })
}

/// The part of a launch between ready and stopped.
struct Work<'a> {
    order: &'a TrialOrder,
    measure: &'a dyn Measure,
    sink: &'a dyn Sink,
    emit: &'a Emit,
    cancel: &'a CancellationToken,
}

impl Work<'_> {
    async fn measure(&self, launched: &mut dyn Launched) -> Result<LaunchOutcome, SweepError> {
        let launch = self.order.launch.launch;
        let server = launched.server().clone();
        let facts = launched.facts().clone();
        self.emit.phase(Phase::Ready { seconds: facts.boot_seconds });
        let proof = self.measure.prove(self.order, launched).await;
        for note in &proof.notes {
            self.emit.warn(note.clone());
        }
        let not_applied = proof.failure();
        let effective = proof.values;
        let batched = effective.get("max-num-batched-tokens").and_then(Effective::number);
        let batched_tokens = batched.map(|tokens| tokens as u64);
        if self.sink.put(Entry::LaunchReady { launch, facts, effective }).await.is_err() {
            return Ok(LaunchOutcome::Interrupted);
        }
        if let Some(message) = not_applied {
            // It would be the figures of something else.
            let failure = LaunchFailure::new(FailureClass::FlagNotApplied, message);
            return Ok(LaunchOutcome::Failed(failure));
        }
        let records = self.measure.records(&self.order.launch.folder);
        let job = Job {
            order: self.order,
            server: &server,
            probe: launched.probe(),
            records: &*records,
            emit: self.emit,
            cancel: self.cancel,
        };
        let mut session = match self.measure.begin(job).await {
            Ok(session) => session,
            Err(error) => return Ok(LaunchOutcome::Failed(lost(launched, &error).await)),
        };
        let gates = GateOrder { batched_tokens, ..self.order.gates.clone() };
        for gate in &gates.gates {
            let ended = match session.gate(*gate, &gates).await {
                Ok(report) => self.gate_finished(launched, report).await,
                Err(error) => Some(self.ended_by(launched, error).await?),
            };
            if let Some(outcome) = ended {
                return Ok(outcome);
            }
        }
        let mut watch = Watch::new(self.order.early.as_ref());
        for pass in &self.order.passes {
            let ended = match watch.next(pass) {
                Next::LeaveOut => continue,
                Next::Shorten(behind) => {
                    let entry = Entry::LaunchShortened { launch, behind };
                    if self.sink.put(entry).await.is_err() {
                        return Ok(LaunchOutcome::Interrupted);
                    }
                    watch.shortened(behind);
                    continue;
                }
                Next::Measure => match session.repeat(pass).await {
                    Ok(measurement) => {
                        self.repeat_finished(launched, measurement, &mut watch).await
                    }
                    Err(error) => Some(self.ended_by(launched, error).await?),
                },
            };
            if let Some(outcome) = ended {
                return Ok(outcome);
            }
        }
        Ok(LaunchOutcome::Measured)
    }

    /// The outcome of a launch whose gate or repeat could not be brought to its end.
    async fn ended_by(
        &self,
        launched: &mut dyn Launched,
        error: BenchError,
    ) -> Result<LaunchOutcome, SweepError> {
        match error {
            BenchError::Cancelled => Ok(LaunchOutcome::Interrupted),
            BenchError::Records(error) => Err(unstored(&self.order.launch.folder, error)),
            BenchError::Shortage(what) => Err(SweepError::shortage(&what)),
            error => Ok(self.server_lost(launched, error).await),
        }
    }

    /// Passes a gate's report on; the outcome, where the launch ends by it.
    async fn gate_finished(
        &self,
        launched: &mut dyn Launched,
        report: GateReport,
    ) -> Option<LaunchOutcome> {
        let launch = self.order.launch.launch;
        let death = launched.check().await.err();
        let is_own = |it: &LaunchFailure| is_own_death(report.gate, it);
        let failure = match (report.verdict, death) {
            (GateVerdict::Failed, death) if death.as_ref().is_none_or(is_own) => {
                Some(gates::failure(&report, death))
            }
            (_, death) => death,
        };
        match (self.sink.put(Entry::GateFinished { launch, report }).await, failure) {
            (_, Some(failure)) => Some(LaunchOutcome::Failed(failure)),
            (Err(Refused), None) => Some(LaunchOutcome::Interrupted),
            (Ok(_), None) => None,
        }
    }

    /// Passes a measurement on; the outcome, where the launch ends by it.
    async fn repeat_finished(
        &self,
        launched: &mut dyn Launched,
        measurement: Measurement,
        watch: &mut Watch<'_>,
    ) -> Option<LaunchOutcome> {
        let launch = self.order.launch.launch;
        let (measurement, failure) = match launched.check().await {
            Ok(()) => (measurement, None),
            Err(failure) => (disturbed(measurement, &failure.message), Some(failure)),
        };
        match (self.sink.put(Entry::RepeatFinished { launch, measurement }).await, failure) {
            (_, Some(failure)) => Some(LaunchOutcome::Failed(failure)),
            (Err(Refused), None) => Some(LaunchOutcome::Interrupted),
            (Ok(written), None) => {
                if let Entry::RepeatFinished { measurement, .. } = &written {
                    watch.saw(measurement);
                }
                None
            }
        }
    }

    /// A server that was lost in mid-measurement; its failed repeat is kept.
    async fn server_lost(&self, launched: &mut dyn Launched, error: BenchError) -> LaunchOutcome {
        let failure = lost(launched, &error).await;
        if let Some(measurement) = error.measurement().cloned() {
            let launch = self.order.launch.launch;
            // The launch ends in either case.
            let _ = self.sink.put(Entry::RepeatFinished { launch, measurement }).await;
        }
        LaunchOutcome::Failed(failure)
    }
}

/// Records that could not be stored in the launch's folder.
fn unstored(folder: &Path, error: std::io::Error) -> SweepError {
    let path = folder.to_owned();
    // What is written into was there when the launch began, and is made nowhere else.
    if error.kind() != NotFound {
        return HistoryError::Io { path, error }.into();
    }
    SweepError::Stopped {
        message: format!(
            "{}: somebody removed it or a part of it, and records of its requests are lost. The journal \
             has every finished repeat: `vllm-grid resume` measures what is missing",
            path.display()
        ),
        log_lines: Vec::new(),
        environment: true,
    }
}

/// A measurement whose server was not the same one throughout; one that counts
/// restarts is there to show them.
fn disturbed(measurement: Measurement, reason: &str) -> Measurement {
    match measurement.metrics.get("restarts") {
        Some(Some(MetricValue::Number(count))) if *count > 0.0 => measurement,
        _ => void(measurement, reason),
    }
}

/// A measurement that cannot be used.
pub(super) fn void(mut measurement: Measurement, reason: &str) -> Measurement {
    measurement.status = Status::Void;
    measurement.reason = Some(reason.to_owned());
    measurement
}

/// A failure in mid-measurement: the engine's own account where it has one.
async fn lost(launched: &mut dyn Launched, error: &BenchError) -> LaunchFailure {
    let is_dead = matches!(error, BenchError::EngineDied { .. } | BenchError::LostInGate(_));
    let until = Instant::now() + ENDING;
    let mut seen = launched.check().await;
    while is_dead && seen.is_ok() && Instant::now() < until {
        sleep(LOOK).await;
        seen = launched.check().await;
    }
    match seen {
        Err(failure) => failure,
        Ok(()) if matches!(error, BenchError::NoProgress { .. }) => {
            LaunchFailure::of_no_progress(&launched.log(), error.to_string())
        }
        Ok(()) => LaunchFailure::new(FailureClass::EngineDied, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_removed_is_named_and_any_other_cause_is_the_systems() {
        let folder = tempfile::tempdir().expect("a folder");
        let gone = unstored(&folder.path().join("launches/3-a"), NotFound.into()).to_string();
        assert!(gone.contains("launches/3-a: somebody removed it or a part of it"), "{gone}");
        assert!(gone.ends_with("`vllm-grid resume` measures what is missing"), "{gone}");
        let full = unstored(folder.path(), rustix::io::Errno::NOSPC.into()).to_string();
        assert!(full.contains("(os error 28): the disk has no space"), "{full}");
    }

    #[test]
    fn a_restart_voids_what_does_not_count_restarts() {
        let measured = |name: &str, count: f64| Measurement {
            workload: "stability".to_owned(),
            case: String::new(),
            repeat: 1,
            status: Status::Failed,
            reason: None,
            metrics: [(name.to_owned(), Some(MetricValue::Number(count)))].into(),
            metric_reasons: crate::metric::MetricReasons::new(),
        };
        let counted = measured("restarts", 1.0);
        assert_eq!(disturbed(counted.clone(), "restarted"), counted);
        for other in [measured("restarts", 0.0), measured("failed", 1.0)] {
            let void = disturbed(other, "restarted");
            assert_eq!((void.status, void.reason.as_deref()), (Status::Void, Some("restarted")));
        }
    }
}
