//! Runs workloads against one server: repeat by repeat for a sweep, or all of
//! them for `bench URL`. Dispatches alone: what lives for a launch is the session's,
//! what is sent the workloads'. Records go to the sink before a measurement is returned.

use std::pin::pin;

use tokio_util::sync::CancellationToken;

pub use crate::bench::error::BenchError;
use crate::bench::gates;
use crate::bench::liveness::{self, Evidence};
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::repeat::{EndedRepeat, RepeatContext};
pub use crate::bench::session::BenchSettings;
use crate::bench::session::Session;
use crate::bench::standing::SEVERAL;
use crate::bench::watchdog::Stuck;
use crate::bench::workloads::{
    command, conversation, kv_cache, load, long_context, reasoning, stability, tool_calling,
};
use crate::event::{Emit, NoticeKind, Phase};
use crate::gate::{Gate, GateOrder, GateReport};
use crate::metric::{Measurement, MetricValues, Status};
use crate::server::Server;
use crate::server::counters::Counters;
use crate::telemetry::sink::{RecordSink, RepeatKey};
use crate::telemetry::{Telemetry, summary};
use crate::workload::{Datasets, Spec, Workload};

/// Measures one server during one launch.
pub struct Bench<'a> {
    session: Session,
    sink: &'a dyn RecordSink,
    /// What `load` keeps between its repeats.
    load: load::State,
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = self.session.server().endpoint.shown();
        write!(f, "Bench({url}, {:?})", self.session.settings())
    }
}

impl<'a> Bench<'a> {
    /// Prepares to measure `server`; sends nothing.
    ///
    /// # Errors
    /// An address to which no request can be sent.
    pub async fn new(
        server: &Server,
        sink: &'a dyn RecordSink,
        emit: &Emit,
        cancel: &CancellationToken,
        settings: BenchSettings,
    ) -> Result<Self, BenchError> {
        let session = Session::new(server, emit, cancel, settings).await?;
        Ok(Self { session, sink, load: load::State::default() })
    }

    /// Takes samples during the measurements: repeats carry what they add up to,
    /// and the sink is given all of them after each repeat.
    #[must_use]
    pub fn with_telemetry(mut self, telemetry: Telemetry) -> Self {
        self.session.set_telemetry(telemetry);
        self
    }

    /// Keeps what was measured by a client that was late itself, where such a repeat is
    /// void otherwise: for who asks what the server did, and not how long it took.
    #[must_use]
    pub fn accepting_late_client(mut self) -> Self {
        self.session.accept_late_client();
        self
    }

    /// Takes prompts from files that were read before; others are read when a
    /// workload first asks for them.
    #[must_use]
    pub fn with_datasets(mut self, datasets: Datasets) -> Self {
        self.session.set_datasets(datasets);
        self
    }

    /// Goes through one gate; stores no records.
    ///
    /// # Errors
    /// A stop, or a lack of something here.
    pub async fn gate(&mut self, gate: Gate, order: &GateOrder) -> Result<GateReport, BenchError> {
        gates::run(&self.session, gate, order).await
    }

    /// Measures one repeat of one case; `repeat` 0 is a warm-up, however many
    /// there are (their records have one key, so a sink may keep the last). Stores
    /// its records; who calls reports the measurement.
    ///
    /// # Errors
    /// A stop, a server that is unreachable, records that could not be stored, or a lack of
    /// something here. A repeat that is void or failed on a living server is a measurement.
    pub async fn repeat(
        &mut self,
        workload: &Workload,
        case: &str,
        repeat: u32,
    ) -> Result<Measurement, BenchError> {
        let measured = self.measured(workload, case, repeat).await;
        match self.session.shortage() {
            // Whatever it looked like from here: what failed was ours.
            Some(what) if !matches!(measured, Err(BenchError::Cancelled)) => {
                Err(BenchError::Shortage(what.to_owned()))
            }
            _ => measured,
        }
    }

    async fn measured(
        &mut self,
        workload: &Workload,
        case: &str,
        repeat: u32,
    ) -> Result<Measurement, BenchError> {
        let key = RepeatKey {
            launch: self.session.settings().launch,
            workload: workload.kind().name.to_owned(),
            case: case.to_owned(),
            repeat,
        };
        self.session.emit().phase(Phase::Measuring {
            workload: key.workload.clone(),
            case: key.case.clone(),
            repeat,
        });
        let last = self.session.sampled().cloned();
        let counted_before = self.session.sample_counters().await;
        if self.is_restarted_since(last.as_ref(), 0) {
            let message = "the server was restarted before the repeat, as its counters show";
            let outcome = RepeatOutcome::Failed(message.to_owned());
            let unsent = RepeatResult::without_requests(outcome, MetricValues::new());
            return Err(BenchError::EngineDied {
                measurement: Box::new(completed(unsent, workload, key)),
                message: message.to_owned(),
            });
        }
        let before = self.session.sampled().cloned();
        let (mut result, wedged, ended) = Box::pin(self.watched(workload, case, repeat)).await?;
        let EndedRepeat { clock, window, counted, aside } = ended;
        let counted_after = self.session.sample_counters().await;
        // Of several processes in turn, two readings have no difference.
        let is_usable = self.session.standing().unusable.is_none();
        let whole = counted_before.zip(counted_after).filter(|_| is_usable);
        result.add_shared_metrics(workload.kind(), counted, whole);
        result.remark_on_server(self.session.client().left_out().remark());
        result.put_in_order(aside);
        if !result.records.is_empty() {
            self.sink.store(&key, &result.records)?;
        }
        if let Some(telemetry) = self.session.telemetry() {
            let samples = telemetry.samples();
            if !matches!(result.outcome, RepeatOutcome::Skipped(_)) {
                let sent = (clock.since(window.0), clock.since(window.1));
                let tokens = summary::generated(&result.records, sent);
                result.metrics.extend(summary::metrics(&samples, window, tokens));
            }
            self.sink.store_telemetry(key.launch, &samples)?;
        }
        let evidence = match wedged {
            Some(what) => Some(Evidence::Wedged(what)),
            None => match self.death_evidence(&result).await {
                None => self.restart_evidence(&result, before.as_ref()).await,
                evidence => evidence,
            },
        };
        let measurement = completed(result, workload, key);
        match evidence {
            Some(Evidence::Died(message)) => {
                Err(BenchError::EngineDied { measurement: Box::new(measurement), message })
            }
            Some(Evidence::Wedged(message)) => Err(self.no_progress(measurement, message)),
            None => Ok(measurement),
        }
    }

    /// Runs the repeat until it is over or the watchdog stops it: what came of it, why it
    /// was stopped, and what is left of its context.
    async fn watched(
        &mut self,
        workload: &Workload,
        case: &str,
        repeat: u32,
    ) -> Result<(RepeatResult, Option<String>, EndedRepeat), BenchError> {
        let stop = self.session.renew_cancel();
        let is_external = matches!(workload.spec, Spec::Command(_));
        let watchdog = self.session.watchdog(is_external);
        let mut context = RepeatContext::start(&mut self.session, workload, repeat);
        let (result, stuck) = {
            let mut run = pin!(run_workload(&mut context, &mut self.load, workload, case));
            tokio::select! {
                biased;
                result = &mut run => (result, None),
                stuck = watchdog.stuck() => {
                    stop.cancel();
                    (run.await, Some(stuck))
                }
            }
        };
        let ended = context.end();
        self.session.renew_cancel();
        let stuck = stuck.filter(|_| !self.session.cancel().is_cancelled());
        let again = self.session.note_lost(matches!(stuck, Some(Stuck::Lost(_))));
        let (outcome, wedged) = match stuck {
            None => return Ok((result?, None, ended)),
            Some(Stuck::Lost(what)) if !again => {
                (RepeatOutcome::Failed(format!("requests are lost: {what}")), None)
            }
            // One repeat may have had bad luck. Of two, nothing else is to be expected.
            Some(Stuck::Lost(what) | Stuck::Wedged(what)) => {
                (RepeatOutcome::Void(format!("the engine makes no progress: {what}")), Some(what))
            }
        };
        let result = match result {
            Ok(result) => RepeatResult { outcome, ..result },
            Err(BenchError::Cancelled) => {
                RepeatResult::without_requests(outcome, MetricValues::new())
            }
            Err(error) => return Err(error),
        };
        Ok((result, wedged, ended))
    }

    /// The error for a server that is wedged, with what its GPUs did.
    fn no_progress(&self, measurement: Measurement, message: String) -> BenchError {
        let samples = self.session.telemetry().map(Telemetry::samples).unwrap_or_default();
        let message = match summary::gpus_now(&samples) {
            Some(gpus) => format!("{message}; {gpus}"),
            None => message,
        };
        let reason = measurement.reason.clone();
        let reason = Some(reason.unwrap_or_else(|| message.clone()));
        let measurement = Measurement { status: Status::Void, reason, ..measurement };
        BenchError::NoProgress { measurement: Box::new(measurement), message }
    }

    /// What shows that a repeat gave no figures because the launch's server was restarted:
    /// somebody else did that, and the server that is there now is not the one that was launched.
    async fn restart_evidence(
        &mut self,
        result: &RepeatResult,
        before: Option<&Counters>,
    ) -> Option<Evidence> {
        let is_lost = matches!(result.outcome, RepeatOutcome::Failed(_) | RepeatOutcome::Void(_));
        // Counters of several processes in turn look like restarts.
        let is_several = self.session.standing().unusable.as_deref() == Some(SEVERAL);
        if !is_lost || is_several || !self.session.is_in_sweep() {
            return None;
        }
        // Right after the failure it may have been down: what was read then is from before.
        self.session.sample_counters().await?;
        self.is_restarted_since(before, liveness::answered_beside_a_break(&result.records)).then(
            || {
                let error = result.records.iter().rev().find_map(|record| record.failure());
                let error = error.map_or("a repeat gave no figures", |error| &error.message);
                Evidence::Died(format!("{error}; the server was restarted, as its counters show"))
            },
        )
    }

    /// Whether the launch's server was restarted since its counters were these, by what was
    /// sampled last. It has answered so many requests since: of one that came back at once, the
    /// counters have perhaps grown beyond what they were before.
    fn is_restarted_since(&self, before: Option<&Counters>, answered: u64) -> bool {
        let sampled = self.session.sampled().filter(|_| self.session.is_in_sweep());
        sampled.zip(before).is_some_and(|(now, before)| {
            let counted = now.requests.zip(before.requests);
            now.is_restarted_since(before)
                || counted.is_some_and(|(now, before)| now < before.saturating_add(answered))
        })
    }

    /// What shows that the engine died, after a repeat that failed.
    async fn death_evidence(&self, result: &RepeatResult) -> Option<Evidence> {
        if !matches!(result.outcome, RepeatOutcome::Failed(_)) {
            return None;
        }
        let session = &self.session;
        let patience = session.settings().limits.first_token;
        let looking =
            liveness::death_evidence(session.server(), session.http(), patience, &result.records);
        // A stop meanwhile keeps what failed.
        session.cancel().run_until_cancelled(looking).await.flatten()
    }
}

/// The measurement of a repeat, with all metrics of its workload.
fn completed(result: RepeatResult, workload: &Workload, key: RepeatKey) -> Measurement {
    let mut measurement = result.measurement(key);
    workload.kind().complete(&mut measurement.metrics);
    measurement
}

/// One repeat, by its workload.
async fn run_workload(
    repeat: &mut RepeatContext<'_>,
    load: &mut load::State,
    workload: &Workload,
    case: &str,
) -> Result<RepeatResult, BenchError> {
    let no_such = || BenchError::NoSuchCase {
        workload: workload.kind().name.to_owned(),
        case: case.to_owned(),
    };
    match &workload.spec {
        Spec::KvCache(spec) => {
            let index = workload.cases().iter().position(|known| known == case);
            let target = index.and_then(|index| spec.prefix_tokens.get(index).copied());
            kv_cache::repeat(repeat, spec, target.ok_or_else(no_such)?).await
        }
        Spec::Load(spec) => {
            let kind = spec.case(case).ok_or_else(no_such)?;
            load::repeat(repeat, load, spec, kind, case).await
        }
        Spec::Conversation(spec) => conversation::repeat(repeat, spec).await,
        Spec::Stability(spec) => stability::repeat(repeat, spec).await,
        Spec::LongContext(spec) => {
            let context = spec.context_of(case).ok_or_else(no_such)?;
            long_context::repeat(repeat, spec, context).await
        }
        Spec::Command(spec) => {
            let metrics = workload.kind().metrics.iter();
            let names: Vec<&str> = metrics.map(|metric| metric.name).collect();
            command::repeat(repeat, spec, &names).await
        }
        Spec::Reasoning(spec) => {
            let kind = spec.kind_of(case).ok_or_else(no_such)?;
            reasoning::repeat(repeat, spec, kind).await
        }
        Spec::ToolCalling(spec) => {
            let scenario = spec.scenario_of(case).ok_or_else(no_such)?;
            tool_calling::repeat(repeat, spec, scenario).await
        }
    }
}

/// Kept repeats of a workload's case, where the run asks for `repeats`.
fn kept(workload: &Workload, repeats: u32) -> u32 {
    workload.repeats.map_or(repeats, |kept| u32::try_from(kept).unwrap_or(u32::MAX))
}

/// Repeats that [`run_suite`] measures, warm-ups included.
pub fn planned_repeats(workloads: &[Workload], repeats: u32) -> u32 {
    let of = |workload: &Workload| {
        let each = u64::from(kept(workload, repeats)).saturating_add(workload.warmup);
        each.saturating_mul(workload.cases().len() as u64)
    };
    u32::try_from(workloads.iter().map(of).fold(0, u64::saturating_add)).unwrap_or(u32::MAX)
}

/// Runs every case of `workloads`: warm-ups first (repeat 0, as many as the
/// workload asks for), then its kept repeats, `repeats` where it does not say.
/// Each measurement is pushed and reported as it comes, so that a stop keeps what
/// was measured.
///
/// # Errors
/// As [`Bench::repeat`]; the failed repeat of an unreachable server is pushed too.
pub async fn run_suite(
    bench: &mut Bench<'_>,
    workloads: &[Workload],
    repeats: u32,
    measurements: &mut Vec<Measurement>,
) -> Result<(), BenchError> {
    for workload in workloads {
        for case in workload.cases() {
            let warmups = (0..workload.warmup).map(|_| 0);
            for repeat in warmups.chain(1..=kept(workload, repeats)) {
                let (measurement, ended) = match bench.repeat(workload, &case, repeat).await {
                    Ok(measurement) => (measurement, None),
                    Err(
                        error @ (BenchError::EngineDied { .. } | BenchError::NoProgress { .. }),
                    ) => match error.measurement().cloned() {
                        Some(kept) => (kept, Some(error)),
                        None => return Err(error),
                    },
                    Err(error) => return Err(error),
                };
                bench.session.emit().emit(NoticeKind::RepeatFinished(measurement.clone()));
                measurements.push(measurement);
                if let Some(error) = ended {
                    return Err(error);
                }
                if bench.session.cancel().is_cancelled() {
                    return Err(BenchError::Cancelled);
                }
            }
        }
    }
    Ok(())
}
