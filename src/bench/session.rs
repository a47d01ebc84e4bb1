//! What lives for one launch: the server, the connection to it, and what was learnt
//! about it on the way (lengths of texts, datasets, whether prompts need a cache
//! salt). Knows no workload; what lives for one repeat is in [`super::repeat`].

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::bench::error::BenchError;
use crate::bench::prompt::dataset::Sources;
use crate::bench::standing::Standing;
use crate::bench::watchdog::Watchdog;
use crate::client::{Client, ClientError, Limits, Slot};
use crate::event::Emit;
use crate::server::Server;
use crate::server::counters::Counters;
use crate::server::http::Http;
use crate::telemetry::watch::Readings;
use crate::telemetry::{Reading, ServerReading, Telemetry};
use crate::workload::Datasets;

/// What makes prompts unique and repeatable.
#[derive(Clone, Debug)]
pub struct BenchSettings {
    /// Unique to the sweep: no prompt of another sweep has its salt.
    pub salt: String,
    /// Seed of the prompts' texts, the same for every configuration.
    pub seed: u64,
    /// Number of the launch in the sweep, from 1; 0 outside a sweep.
    pub launch: u32,
    /// Number of the block of launches that it is part of, from 0: the arrivals of open
    /// loops are the same in a block, and others in the next.
    pub block: u32,
    /// Bounds on the time and the size of an answer.
    pub limits: Limits,
}

/// One launch's server, as it is measured.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each was learnt by itself")]
pub(crate) struct Session {
    server: Server,
    emit: Emit,
    /// A stop of the launch.
    launch_cancel: CancellationToken,
    /// A stop of the repeat: the launch's, or the watchdog's.
    cancel: CancellationToken,
    settings: BenchSettings,
    client: Client,
    http: Http,
    /// The connection of closed loops of one.
    slot: Slot,
    /// Repeats so far, warm-ups included.
    repeats: u32,
    tokens_per_byte: Option<f64>,
    fits: BTreeMap<String, Result<usize, String>>,
    cache_salt: bool,
    sources: Sources,
    telemetry: Option<Telemetry>,
    /// The server's counters when they were last sampled.
    sampled: Option<Counters>,
    standing: Standing,
    /// A prompt that was sent again was counted without what the cache had of it.
    counts_new_alone: bool,
    judges_client: bool,
    /// The last repeat ended since its requests were lost.
    has_lost: bool,
}

impl Session {
    /// Prepares to measure `server`; sends nothing.
    ///
    /// # Errors
    /// An address to which no request can be sent.
    pub(crate) async fn new(
        server: &Server,
        emit: &Emit,
        cancel: &CancellationToken,
        settings: BenchSettings,
    ) -> Result<Self, BenchError> {
        let client = Client::new(server, settings.limits).await?;
        let http = Http::new(&server.endpoint).map_err(|error| ClientError::Address {
            url: server.endpoint.shown(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            server: server.clone(),
            emit: emit.clone(),
            launch_cancel: cancel.clone(),
            cancel: cancel.child_token(),
            settings,
            client,
            http,
            slot: Slot::default(),
            repeats: 0,
            tokens_per_byte: None,
            fits: BTreeMap::new(),
            cache_salt: false,
            sources: Sources::default(),
            telemetry: None,
            sampled: None,
            standing: Standing::default(),
            counts_new_alone: false,
            judges_client: true,
            has_lost: false,
        })
    }

    /// Takes samples during the measurements.
    pub(crate) fn set_telemetry(&mut self, telemetry: Telemetry) {
        self.telemetry = Some(telemetry);
    }

    /// Keeps what a client that was late has measured.
    pub(crate) fn accept_late_client(&mut self) {
        self.judges_client = false;
    }

    /// Whether a repeat is void in which the client itself was the bottleneck.
    pub(crate) fn judges_client(&self) -> bool {
        self.judges_client
    }

    /// Takes prompts from files that were read before.
    pub(crate) fn set_datasets(&mut self, datasets: Datasets) {
        self.sources = Sources::of(datasets);
    }

    /// The server that is measured.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The server's connection for everything but measured requests.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// What this process itself lacked when it wanted to ask the server, if it ever did.
    pub(crate) fn shortage(&self) -> Option<&str> {
        self.client.shortage().or_else(|| self.http.shortage())
    }

    /// Whether a stop was asked for.
    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// From now on [`Session::cancel`] is a new stop, which the launch's sets too.
    pub(crate) fn renew_cancel(&mut self) -> CancellationToken {
        self.cancel = self.launch_cancel.child_token();
        self.cancel.clone()
    }

    /// What watches the progress of a repeat; `is_external`: another program sends its
    /// requests.
    pub(crate) fn watchdog(&self, is_external: bool) -> Watchdog {
        Watchdog {
            server: self.server.clone(),
            http: self.http.clone(),
            flights: self.client.flights().clone(),
            limits: self.settings.limits,
            is_external,
        }
    }

    /// Notes whether the repeat ended since its requests were lost; whether the one before did.
    pub(crate) fn note_lost(&mut self, is_lost: bool) -> bool {
        std::mem::replace(&mut self.has_lost, is_lost)
    }

    /// Where events go.
    pub(crate) fn emit(&self) -> &Emit {
        &self.emit
    }

    pub(crate) fn settings(&self) -> &BenchSettings {
        &self.settings
    }

    /// Seed of the prompts' texts.
    pub(crate) fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// Whether the server was launched by a sweep, and for it alone.
    pub(crate) fn is_in_sweep(&self) -> bool {
        self.settings.launch > 0
    }

    /// The streaming client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The streaming client, and the connection of a closed loop of one.
    pub(crate) fn connection(&mut self) -> (&Client, &mut Slot) {
        (&self.client, &mut self.slot)
    }

    /// A warning of one line, for the user.
    pub(crate) fn warn(&self, text: String) {
        self.emit.warn(text);
    }

    /// Number of the next repeat among all of the launch, warm-ups included.
    pub(crate) fn next_serial(&mut self) -> u32 {
        self.repeats += 1;
        self.repeats
    }

    /// Tokens per byte of our texts, where a request has shown it.
    pub(crate) fn tokens_per_byte(&self) -> Option<f64> {
        self.tokens_per_byte
    }

    pub(crate) fn set_tokens_per_byte(&mut self, value: f64) {
        self.tokens_per_byte = Some(value);
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

    /// Whether prompts are also made distinct by the request field `cache_salt`: the
    /// chat template opens with more than a block of its own.
    pub(crate) fn cache_salt(&self) -> bool {
        self.cache_salt
    }

    /// From now on they are; whether they were.
    pub(crate) fn use_cache_salt(&mut self) -> bool {
        std::mem::replace(&mut self.cache_salt, true)
    }

    /// The samples so far, where any are taken.
    pub(crate) fn telemetry(&self) -> Option<&Telemetry> {
        self.telemetry.as_ref()
    }

    /// Reads the server's counters for the telemetry, outside of what is measured; `None`
    /// where they cannot be read now.
    pub(crate) async fn sample_counters(&mut self) -> Option<Counters> {
        self.telemetry.as_ref()?;
        let scraped = self.cancel.run_until_cancelled(Counters::scrape(&self.http)).await;
        let counters = scraped.flatten()?;
        self.record_counters(&vec![(crate::client::clock::now_ns(), counters.clone())]);
        self.sampled = Some(counters.clone());
        Some(counters)
    }

    /// The server's counters, to be compared with our requests: absent where it has none, or
    /// none that can be compared. `None` when a stop is asked for.
    pub(crate) async fn counters(&self) -> Option<Option<Counters>> {
        if self.standing.unusable.is_some() {
            return Some(None);
        }
        self.cancel.run_until_cancelled(Counters::scrape(&self.http)).await
    }

    /// What was learnt of the server's counters.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The counters have grown by exactly our requests.
    pub(crate) fn counters_agree(&mut self) {
        self.standing.agreed = true;
    }

    /// From now on the counters are not compared with requests. Said once.
    pub(crate) fn distrust_counters(&mut self, reason: String) {
        if self.standing.unusable.is_none() {
            self.warn(reason.clone());
            self.standing.unusable = Some(reason);
        }
    }

    /// Whether `usage` leaves out what came from the cache, as far as is known.
    pub(crate) fn counts_new_alone(&self) -> bool {
        self.counts_new_alone
    }

    /// It does.
    pub(crate) fn found_to_count_new_alone(&mut self) {
        self.counts_new_alone = true;
    }

    /// What the sampled counters were last.
    pub(crate) fn sampled(&self) -> Option<&Counters> {
        self.sampled.as_ref()
    }

    /// Adds counters to the telemetry that were read during a load.
    pub(crate) fn record_counters(&self, readings: &Readings) {
        let Some(telemetry) = &self.telemetry else { return };
        for (at_ns, counters) in readings {
            telemetry.tape().put(*at_ns, [Reading::Server(ServerReading::from(counters))]);
        }
    }

    /// Makes something large, such as a long prompt, on a thread that may block;
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
