//! Runs workloads against one server: repeat by repeat for a sweep, or all of
//! them for `bench URL`. Records go to the sink before a measurement is told.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::bench::liveness;
use crate::bench::prompt::dataset::Sources;
use crate::bench::prompt::generate::derive;
use crate::bench::repeat::{Repeat, RepeatOutcome};
use crate::bench::workloads::command;
use crate::bench::workloads::conversation;
use crate::bench::workloads::kv_cache;
use crate::bench::workloads::load;
use crate::bench::workloads::long_context;
use crate::bench::workloads::reasoning;
use crate::bench::workloads::stability;
use crate::bench::workloads::tool_calling;
use crate::bench::{RecordSink, RepeatKey};
use crate::client::clock::{Clock, now_ns};
use crate::client::record::RequestRecord;
use crate::client::request::Prepared;
use crate::client::{Client, ClientError, Limits, Order, Outcome, Slot};
use crate::event::{Emit, NoticeKind, Phase};
use crate::metric::Measurement;
use crate::server::Server;
use crate::server::counters::Counters;
use crate::server::http::Http;
use crate::telemetry::summary::{self, EngineTold};
use crate::telemetry::watch::Readings;
use crate::telemetry::{Reading, ServerReading, Telemetry};
use crate::workload::{Datasets, Spec, Workload};

/// What makes prompts unique and repeatable.
#[derive(Clone, Debug)]
pub struct BenchSettings {
    /// Unique to the sweep: no prompt of another sweep has its salt.
    pub salt: String,
    /// Seed of the prompts' texts, the same for every configuration.
    pub seed: u64,
    /// Number of the launch in the sweep, from 1; 0 outside a sweep.
    pub launch: u32,
    /// What the server may do to us at most.
    pub limits: Limits,
}

/// Why a repeat gave no measurement that a sweep can go on from.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A stop was asked for.
    #[error("a stop was asked for")]
    Cancelled,
    /// The server can no longer be measured.
    #[error("the engine is gone: {message}")]
    EngineGone {
        /// The failed repeat, as far as it came.
        measurement: Box<Measurement>,
        /// What shows that it is gone.
        message: String,
    },
    /// The records could not be stored.
    #[error("request records could not be stored: {0}")]
    Records(std::io::Error),
    /// The server's address cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A case that the workload does not have.
    #[error("the workload `{workload}` has no case `{case}`")]
    NoSuchCase {
        /// The workload's name.
        workload: String,
        /// The case that was asked for.
        case: String,
    },
}

impl From<std::io::Error> for BenchError {
    fn from(fault: std::io::Error) -> Self {
        Self::Records(fault)
    }
}

/// Measures one server during one launch.
pub struct Bench<'a> {
    server: &'a Server,
    sink: &'a dyn RecordSink,
    emit: &'a Emit,
    cancel: &'a CancellationToken,
    settings: BenchSettings,
    client: Client,
    http: Http,
    slot: Slot,
    clock: Clock,
    /// Repeats so far, warm-ups included: what makes a repeat's salts unique.
    serial: u32,
    repeat_name: String,
    is_warmup: bool,
    tokens_per_byte: Option<f64>,
    fits: BTreeMap<String, Result<usize, String>>,
    cache_salt: bool,
    load: load::State,
    sources: Sources,
    /// Requests of the present repeat that no metric is of.
    aside: Vec<RequestRecord>,
    telemetry: Option<Telemetry>,
    /// When what is measured began, in the present repeat.
    began_ns: u64,
    /// When it ended, where that was before the repeat did.
    ended_ns: Option<u64>,
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bench({}, {:?})", self.server.endpoint.base_url, self.settings)
    }
}

impl<'a> Bench<'a> {
    /// Prepares to measure `server`; sends nothing.
    ///
    /// # Errors
    /// An address that cannot be talked to.
    pub async fn new(
        server: &'a Server,
        sink: &'a dyn RecordSink,
        emit: &'a Emit,
        cancel: &'a CancellationToken,
        settings: BenchSettings,
    ) -> Result<Self, BenchError> {
        let client = Client::new(server, settings.limits).await?;
        let http = Http::new(&server.endpoint).map_err(|error| ClientError::Address {
            url: server.endpoint.base_url.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            server,
            sink,
            emit,
            cancel,
            settings,
            client,
            http,
            slot: Slot::default(),
            clock: Clock::start(),
            serial: 0,
            repeat_name: String::new(),
            is_warmup: false,
            tokens_per_byte: None,
            fits: BTreeMap::new(),
            cache_salt: false,
            load: load::State::default(),
            sources: Sources::default(),
            aside: Vec::new(),
            telemetry: None,
            began_ns: 0,
            ended_ns: None,
        })
    }

    /// Takes samples beside the measurements: repeats carry what they add up to,
    /// and the sink is given all of them after each repeat.
    #[must_use]
    pub fn with_telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// Takes prompts from files that were read before; others are read when a
    /// workload first asks for them.
    #[must_use]
    pub fn with_datasets(mut self, datasets: Datasets) -> Self {
        self.sources = Sources::of(datasets);
        self
    }

    /// Measures one repeat of one case; `repeat` 0 is a warm-up, however many
    /// there are (their records have one key, so a sink may keep the last). Stores
    /// its records, and leaves telling it to the caller.
    ///
    /// # Errors
    /// A stop, a server that is gone, or records that could not be stored. A
    /// repeat that is void or failed on a living server is a measurement.
    pub async fn repeat(
        &mut self,
        workload: &Workload,
        case: &str,
        repeat: u32,
    ) -> Result<Measurement, BenchError> {
        let key = RepeatKey {
            launch: self.settings.launch,
            workload: workload.kind().name.to_owned(),
            case: case.to_owned(),
            repeat,
        };
        self.emit.phase(Phase::Measuring {
            workload: key.workload.clone(),
            case: key.case.clone(),
            repeat,
        });
        self.serial += 1;
        self.is_warmup = repeat == 0;
        // Warm-ups are told apart by their serial number, kept repeats by their own.
        self.repeat_name =
            if repeat == 0 { format!("warm-up {}", self.serial) } else { repeat.to_string() };
        self.look().await;
        self.aside.clear();
        self.clock = Clock::start();
        self.began_ns = now_ns();
        self.ended_ns = None;
        let mut done = self.done(workload, case, repeat).await?;
        let ended_ns = self.ended_ns.unwrap_or_else(now_ns);
        self.look().await;
        done.remark_on_server();
        done.put_in_order(std::mem::take(&mut self.aside));
        if !done.records.is_empty() {
            self.sink.store(&key, &done.records)?;
        }
        self.resources(ended_ns, &mut done)?;
        let gone = match &done.verdict {
            RepeatOutcome::Failed(_) => {
                let patience = self.settings.limits.first_token;
                let shown = liveness::shown(self.server, &self.http, patience, &done.records);
                // Who stops meanwhile keeps what failed.
                self.cancel.run_until_cancelled(shown).await.flatten()
            }
            _ => None,
        };
        let mut measurement = done.measurement(key);
        workload.kind().complete(&mut measurement.metrics);
        match gone {
            Some(message) => {
                Err(BenchError::EngineGone { measurement: Box::new(measurement), message })
            }
            None => Ok(measurement),
        }
    }

    /// The repeat as its workload gives it.
    async fn done(
        &mut self,
        workload: &Workload,
        case: &str,
        repeat: u32,
    ) -> Result<Repeat, BenchError> {
        let no_such = || BenchError::NoSuchCase {
            workload: workload.kind().name.to_owned(),
            case: case.to_owned(),
        };
        match &workload.spec {
            Spec::KvCache(spec) => {
                let index = workload.cases().iter().position(|known| known == case);
                let target = index.and_then(|index| spec.prefix_tokens.get(index).copied());
                kv_cache::repeat(self, spec, target.ok_or_else(no_such)?).await
            }
            Spec::Load(spec) => {
                let kind = spec.case(case).ok_or_else(no_such)?;
                load::repeat(self, spec, kind, case, repeat).await
            }
            Spec::Conversation(spec) => conversation::repeat(self, spec).await,
            Spec::Stability(spec) => stability::repeat(self, spec, repeat).await,
            Spec::LongContext(spec) => {
                let context = spec.context_of(case).ok_or_else(no_such)?;
                long_context::repeat(self, spec, context, repeat).await
            }
            Spec::Command(spec) => {
                let metrics = workload.kind().metrics.iter();
                let names: Vec<&str> = metrics.map(|metric| metric.name).collect();
                command::repeat(self, spec, &names).await
            }
            Spec::Reasoning(spec) => {
                let kind = spec.kind_of(case).ok_or_else(no_such)?;
                reasoning::repeat(self, spec, kind, repeat).await
            }
            Spec::ToolCalling(spec) => {
                let scenario = spec.scenario_of(case).ok_or_else(no_such)?;
                tool_calling::repeat(self, spec, scenario, repeat).await
            }
        }
    }

    /// Reads the server's counters for the telemetry, outside of what is measured.
    async fn look(&self) {
        let Some(telemetry) = &self.telemetry else { return };
        let scraped = self.cancel.run_until_cancelled(Counters::scrape(&self.http)).await;
        if let Some(Some(counters)) = scraped {
            telemetry.tape().put(now_ns(), [Reading::Server(ServerReading::from(&counters))]);
        }
    }

    /// Tells what the repeat used of the machine, and hands the samples on.
    fn resources(&self, ended_ns: u64, done: &mut Repeat) -> std::io::Result<()> {
        let Some(telemetry) = &self.telemetry else { return Ok(()) };
        let samples = telemetry.samples();
        if !matches!(done.verdict, RepeatOutcome::Skipped(_)) {
            let window = (self.began_ns, ended_ns);
            let sent = (self.clock.since(window.0), self.clock.since(window.1));
            let tokens = summary::generated(&done.records, sent);
            done.metrics.extend(summary::metrics(&samples, window, tokens));
        }
        self.sink.store_telemetry(self.settings.launch, &samples)
    }

    /// What is measured begins now: what came before was to prepare it.
    pub(crate) fn begins(&mut self) {
        self.began_ns = now_ns();
    }

    /// What is measured ran between these times of [`now_ns`]; the rest of the repeat
    /// was to prepare it, or is told nowhere.
    pub(crate) fn measured(&mut self, from_ns: u64, to_ns: u64) {
        (self.began_ns, self.ended_ns) = (from_ns, Some(to_ns));
    }

    /// What the engine told of its server since [`Bench::begins`].
    pub(crate) fn engine(&self) -> EngineTold {
        let samples = self.telemetry.as_ref().map(Telemetry::samples).unwrap_or_default();
        summary::engine(&samples, (self.began_ns, now_ns()))
    }

    /// Counters that were read while a load ran.
    pub(crate) fn watched(&self, readings: &Readings) {
        let Some(telemetry) = &self.telemetry else { return };
        for (at_ns, counters) in readings {
            telemetry.tape().put(*at_ns, [Reading::Server(ServerReading::from(counters))]);
        }
    }

    /// Sends one request on the connection of a closed loop of one.
    pub(crate) async fn send(&mut self, prompt: &Prepared, order: Order<'_>) -> Outcome {
        self.client.send(&mut self.slot, prompt, order, self.clock, self.cancel).await
    }

    /// Keeps requests that were sent and that no metric is of: to learn a length
    /// or a pace, or at a rate that is not the one told.
    pub(crate) fn keep_aside(&mut self, records: impl IntoIterator<Item = RequestRecord>) {
        self.aside.extend(records);
    }

    /// Position of the next request, where `measured` ones were sent by the workload
    /// and none is in flight.
    pub(crate) fn position(&self, measured: usize) -> u32 {
        u32::try_from(self.aside.len() + measured).unwrap_or(u32::MAX)
    }

    /// The clock of the present repeat, from which its records count.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// A number unique to (sweep, launch, repeat, `parts`).
    pub(crate) fn salt_number(&self, parts: &[&str]) -> u64 {
        let launch = self.settings.launch.to_string();
        let serial = self.serial.to_string();
        let mut all = vec![self.settings.salt.as_str(), &launch, &serial];
        all.extend(parts);
        derive(&all)
    }

    pub(crate) fn server(&self) -> &Server {
        self.server
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    pub(crate) fn cancel(&self) -> &CancellationToken {
        self.cancel
    }

    pub(crate) fn seed(&self) -> u64 {
        self.settings.seed
    }

    pub(crate) fn repeat_name(&self) -> String {
        self.repeat_name.clone()
    }

    /// Whether the server was launched by a sweep, and for it alone.
    pub(crate) fn is_in_sweep(&self) -> bool {
        self.settings.launch > 0
    }

    /// Tells a person something, in one line.
    pub(crate) fn warn(&self, text: String) {
        self.emit.warn(text);
    }

    /// Whether the present repeat is discarded.
    pub(crate) fn is_warmup(&self) -> bool {
        self.is_warmup
    }

    pub(crate) fn tokens_per_byte(&self) -> Option<f64> {
        self.tokens_per_byte
    }

    pub(crate) fn set_tokens_per_byte(&mut self, value: f64) {
        self.tokens_per_byte = Some(value);
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sizes of texts in bytes that were fitted to a length, by what they are for,
    /// or why there is none.
    pub(crate) fn fits(&mut self) -> &mut BTreeMap<String, Result<usize, String>> {
        &mut self.fits
    }

    /// The files that prompts come from, as this server knows them.
    pub(crate) fn sources(&mut self) -> &mut Sources {
        &mut self.sources
    }

    pub(crate) fn load(&mut self) -> &mut load::State {
        &mut self.load
    }

    /// Whether prompts are to be told apart by the request field `cache_salt`, too:
    /// the chat template opens with more than a block of its own.
    pub(crate) fn cache_salt(&self) -> bool {
        self.cache_salt
    }

    /// From now on they are; whether they were.
    pub(crate) fn use_cache_salt(&mut self) -> bool {
        std::mem::replace(&mut self.cache_salt, true)
    }

    /// Makes something large, such as a long prompt, where it holds nobody up;
    /// `None` when a stop was asked for meanwhile.
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let made = self.cancel.run_until_cancelled(tokio::task::spawn_blocking(make)).await?;
        match made.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(made) => Some(made),
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime ends.
            Err(Err(_)) => None,
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
/// Each measurement is pushed and told as it comes, so that a stop keeps what
/// was measured.
///
/// # Errors
/// As [`Bench::repeat`]; the failed repeat of a server that is gone is pushed too.
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
                    Err(BenchError::EngineGone { measurement, message }) => {
                        let kept = measurement.clone();
                        (*kept, Some(BenchError::EngineGone { measurement, message }))
                    }
                    Err(error) => return Err(error),
                };
                bench.emit.emit(NoticeKind::RepeatFinished(measurement.clone()));
                measurements.push(measurement);
                if let Some(error) = ended {
                    return Err(error);
                }
                if bench.cancel.is_cancelled() {
                    return Err(BenchError::Cancelled);
                }
            }
        }
    }
    Ok(())
}
