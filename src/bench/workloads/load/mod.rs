//! The workload `load`: closed loops of many slots, open loops on a schedule,
//! ladders of them, and the highest rate that meets an SLO. Here is what a repeat
//! of each does; the loops are in `closed`, `open` and `max_rate`, what is seen during
//! one in `observations`, what the records add up to in `figures` and `window`, when a ladder ends
//! in `ladder`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::bench::error::BenchError;
use crate::bench::metrics::{name_in_catalogue, some_of};
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::prompt::density::PromptError;
use crate::bench::prompt::fitting::{FitError, LengthTarget, fit, fit_added, length};
use crate::bench::prompt::length::some_missed;
use crate::bench::repeat::RepeatContext;
use crate::bench::traffic::{Sent, settle};
use crate::client::error::is_too_long;
use crate::client::record::{RequestErrorClass, RequestRecord};
use crate::client::{Order, Slot};

use crate::metric::{MetricValue, MetricValues};
use crate::server::counters::Counters;
use crate::workload::metrics::LOAD as METRICS;
use crate::workload::{Load, LoadCase};

use self::figures::Plan;
use self::files::too_many_files;
use self::generate::{Generated, Generator, Watch};
use self::health::Health;
use self::ladder::{Rung, Rungs};
use self::lanes::Lanes;
use self::observations::LoadObservations;
use self::open::OpenLoop;
use self::outcome::{LoopResult, void_of_lag};
use self::prompts::{Prompts, Recipe, Shared, Texts};
use self::sample::{Judged, Sampler};
use self::selection::Selection;
use self::step::Extent;

mod absent;
mod closed;
mod figures;
mod files;
mod generate;
mod health;
mod hunt;
#[cfg(test)]
mod hunt_tests;
mod ladder;
mod lanes;
mod max_rate;
mod observations;
mod open;
mod outcome;
mod prompts;
mod sample;
mod selection;
mod step;
mod window;

/// Prompts that may be tried until one is not too long.
const MAX_PILOTS: usize = 16;

/// What is known between the repeats of a launch.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    rungs: Rungs,
    /// What prompts share, by what was asked for.
    shared: BTreeMap<String, Shared>,
    /// Median time of a request by case; of a search at its slowest.
    expected: BTreeMap<String, Duration>,
}

/// One repeat while it runs.
struct Run<'r, 's> {
    repeat: &'r mut RepeatContext<'s>,
    state: &'r mut State,
    spec: &'r Load,
    kind: LoadCase,
    case: &'r str,
    /// What the server had counted when nothing was in flight.
    counters: Option<Counters>,
}

/// Why a repeat ends before its time.
enum Stop {
    Cancelled,
    /// Nothing was measured.
    Skipped(String),
    Ended(RepeatOutcome),
}

impl From<FitError> for Stop {
    fn from(error: FitError) -> Self {
        match error {
            FitError::Cancelled => Self::Cancelled,
            FitError::Unmet(reason) => Self::Skipped(reason),
            FitError::Failed(reason) => Self::Ended(RepeatOutcome::Failed(reason)),
        }
    }
}

impl From<PromptError> for Stop {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::Dataset(error) => Self::Skipped(error.to_string()),
            PromptError::Fit(error) => error.into(),
        }
    }
}

/// Runs one repeat of a case.
pub(crate) async fn repeat(
    repeat: &mut RepeatContext<'_>,
    state: &mut State,
    spec: &Load,
    kind: LoadCase,
    case: &str,
) -> Result<RepeatResult, BenchError> {
    let mut run = Run { repeat, state, spec, kind, case, counters: None };
    if let Some(reason) = run.not_possible() {
        let metrics = BTreeMap::new();
        return Ok(RepeatResult::without_requests(RepeatOutcome::Skipped(reason), metrics));
    }
    let outcome = match run.all().await {
        Ok(repeat) => return Ok(repeat),
        Err(Stop::Cancelled) => return Err(BenchError::Cancelled),
        Err(Stop::Skipped(reason)) => RepeatOutcome::Skipped(reason),
        Err(Stop::Ended(outcome)) => outcome,
    };
    // None of its own was sent: there are no figures, not even zeros.
    Ok(RepeatResult::without_requests(outcome, MetricValues::new()))
}

impl Run<'_, '_> {
    /// Why this case is not tried.
    fn not_possible(&mut self) -> Option<String> {
        let needed = self.spec.prompt_tokens + self.spec.output_tokens;
        if let Some(longest) = self.repeat.session.server().max_model_len
            && self.spec.dataset.is_none()
            && needed > longest
        {
            let (prompt, output) = (self.spec.prompt_tokens, self.spec.output_tokens);
            return Some(format!(
                "{prompt} + {output} tokens do not fit into the context of {longest}"
            ));
        }
        let connections = match self.kind {
            LoadCase::Concurrency(count) => count,
            LoadCase::Rate(_) | LoadCase::MaxRate => 0,
        };
        if self.spec.is_judged_by(self.case) {
            return too_many_files(connections);
        }
        too_many_files(connections).or_else(|| self.state.rungs.beyond(self.spec, self.kind))
    }

    async fn all(&mut self) -> Result<RepeatResult, Stop> {
        let recipe = self.recipe().await?;
        let expected = self.expected(&recipe).await?;
        let shared = recipe.shared_tokens();
        self.counters = self.scrape().await?;
        let result = match self.kind {
            LoadCase::Concurrency(count) if self.repeat.is_warmup() => {
                self.burst(recipe, 0, count, "load").await?
            }
            LoadCase::Concurrency(count) => self.closed(recipe, count, expected).await?,
            LoadCase::Rate(rate) => {
                let extent = if self.repeat.is_warmup() {
                    Extent::Requests(self.warmup_requests(rate, expected))
                } else {
                    Extent::of(self.spec.requests_of(self.kind), self.spec)
                };
                let open = OpenLoop { rate, extent, pattern: 0 };
                let mut result = self.open(recipe, 0, open, expected).await?;
                let late = void_of_lag(&result.records).filter(|_| self.judges_client());
                result.note = late.or(result.note);
                result
            }
            LoadCase::MaxRate if self.repeat.is_warmup() => self.warm_search(recipe).await?,
            LoadCase::MaxRate => self.search(recipe, expected).await?,
        };
        let sample = Sampler::judged_apart(result.sampler.as_ref()).await;
        Ok(self.judge(result, shared, sample.as_ref()))
    }

    /// Whether a repeat is void in which the client itself was the bottleneck.
    fn judges_client(&self) -> bool {
        self.repeat.session.judges_client()
    }

    async fn scrape(&self) -> Result<Option<Counters>, Stop> {
        self.repeat.session.counters().await.ok_or(Stop::Cancelled)
    }

    /// What the prompts are made of.
    async fn recipe(&mut self) -> Result<Recipe, Stop> {
        let recipe = Recipe {
            salt: self.repeat.salt_number(&["load", self.case]),
            seed: format!("{} {} {}", self.repeat.session.seed(), self.repeat.name(), self.case),
            texts: Texts::Seeded { shared: None, own_bytes: 1 },
            route: self.spec.endpoint,
            output_tokens: self.spec.output_tokens,
            target: self.repeat.target().clone(),
        };
        let texts = match &self.spec.dataset {
            Some(path) => self.selected(path).await?,
            None => self.fitted(&recipe).await?,
        };
        Ok(Recipe { texts, ..recipe })
    }

    /// The prompts of a dataset.
    async fn selected(&mut self, path: &Path) -> Result<Texts, Stop> {
        let selection = Selection::of(self.repeat, path, self.spec).await?;
        Ok(Texts::Dataset(Arc::new(selection.map_err(Stop::Skipped)?)))
    }

    /// Fits the prompts' length, and before it that of the part that they share.
    async fn fitted(&mut self, recipe: &Recipe) -> Result<Texts, Stop> {
        let spec = self.spec;
        let probe = Recipe { output_tokens: 1, ..recipe.aside() };
        let shared = match spec.shared_prefix_tokens {
            Some(tokens) => Some(self.fitted_shared(&probe, tokens).await?),
            None => None,
        };
        // A size is that of both parts, so that tokens grow as bytes do.
        let own = move |bytes: usize| bytes.saturating_sub(shared.map_or(0, |s| s.bytes)).max(1);
        let Load { prompt_tokens, shared_prefix_tokens, endpoint, .. } = spec;
        let purpose = format!("load {prompt_tokens} {shared_prefix_tokens:?} {endpoint:?}");
        let make = move |bytes, name: &str| {
            let texts = Texts::Seeded { shared, own_bytes: own(bytes) };
            Recipe { texts, ..probe.clone() }.prepare(name, 0)
        };
        let mut target = LengthTarget::new(&purpose, spec.prompt_tokens);
        if let Some(longest) = self.repeat.session.server().max_model_len {
            target = target.at_most(longest.saturating_sub(spec.output_tokens));
        }
        let bytes = fit(self.repeat, target, make).await?;
        Ok(Texts::Seeded { shared, own_bytes: own(bytes) })
    }

    /// The shared part of so many tokens: found once in a launch, so that all repeats
    /// have the same.
    async fn fitted_shared(&mut self, probe: &Recipe, tokens: u64) -> Result<Shared, Stop> {
        let purpose = format!("load shared {tokens} {:?}", self.spec.endpoint);
        if let Some(shared) = self.state.shared.get(&purpose) {
            return Ok(*shared);
        }
        let around = |name: &str| probe.prepare_shared(name, None);
        let probe = probe.clone();
        let make = move |bytes, name: &str| probe.prepare_shared(name, Some(bytes));
        let target = LengthTarget::new(&purpose, tokens);
        let bytes = fit_added(self.repeat, target, &around("around"), make.clone()).await?;
        // The word in its place is a token.
        let without = length(self.repeat, &around("without")).await?;
        let with = length(self.repeat, &make(bytes, "with")).await?;
        let tokens = with.zip(without).map(|(with, without)| (with + 1).saturating_sub(without));
        let shared = Shared { bytes, tokens };
        self.state.shared.insert(purpose, shared);
        Ok(shared)
    }

    /// How long a request takes: as the case's last repeat showed, or one by itself.
    async fn expected(&mut self, recipe: &Recipe) -> Result<Duration, Stop> {
        if let Some(time) = self.state.expected.get(self.case) {
            return Ok(*time);
        }
        let before = self.scrape().await?;
        let record = self.pilot(recipe).await;
        let (seconds, error) = (record.e2e_ms().unwrap_or(0.0) / 1e3, record.failure().cloned());
        let is_counted = record.usage.is_some();
        let sent = Sent::of(std::slice::from_ref(&record));
        self.repeat.keep_aside([record]);
        match error {
            Some(error) if error.class == RequestErrorClass::Cancelled => Err(Stop::Cancelled),
            Some(error) => {
                let reason = format!("the first request alone: {}", error.message);
                if is_too_long(&error) {
                    return Err(Stop::Skipped(reason));
                }
                Err(Stop::Ended(RepeatOutcome::Failed(reason)))
            }
            None => {
                settle(self.repeat.session, before.as_ref(), sent).await;
                if self.kind == LoadCase::MaxRate && self.spec.slo.tpot_ms.is_some() && !is_counted
                {
                    let reason =
                        "the SLO bounds the time per token, and the server reports no tokens";
                    return Err(Stop::Skipped(reason.to_owned()));
                }
                Ok(Duration::from_secs_f64(seconds))
            }
        }
    }

    /// One request by itself: the first that the server does not refuse as too long.
    async fn pilot(&mut self, recipe: &Recipe) -> RequestRecord {
        let mut place = 0;
        loop {
            let index = self.repeat.position(0);
            let order = Order { index, purpose: "calibration", scheduled_ns: None };
            let prompt = recipe.aside().prepare(&format!("pilot {place}"), place);
            let record = self.repeat.send(&prompt, order).await.record;
            match &recipe.texts {
                Texts::Dataset(selection)
                    if place < MAX_PILOTS && record.error.as_ref().is_some_and(is_too_long) =>
                {
                    selection.refuse(self.repeat, place);
                    self.repeat.keep_aside([record]);
                    place += 1;
                }
                _ => return record,
            }
        }
    }

    /// `requests`: that it will send, about.
    fn generator(&self, prompts: Prompts, slots: u64, requests: u64, purpose: &str) -> Generator {
        let seed = self.repeat.seed_number(&["sample", self.case]);
        Generator {
            // A warm-up is not judged.
            sampler: (!self.repeat.is_warmup()).then(|| Sampler::new(seed, requests)),
            client: Arc::new(self.repeat.session.client().clone()),
            prompts,
            clock: self.repeat.clock(),
            cancel: self.repeat.session.cancel().clone(),
            purpose: purpose.into(),
            until_ns: None,
            health: Arc::new(Health::new(u32::try_from(2 * slots + 16).unwrap_or(u32::MAX))),
        }
    }

    /// What takes its time to build, unless a stop is asked for meanwhile.
    async fn built<T>(&self, building: impl Future<Output = T>) -> Result<T, Stop> {
        self.repeat.session.cancel().run_until_cancelled(building).await.ok_or(Stop::Cancelled)
    }

    /// Threads and their connections, opened before the clock matters.
    async fn slots(&mut self, count: usize) -> Result<(Lanes, Vec<Slot>), Stop> {
        let lanes = Lanes::start(count).map_err(|error| {
            Stop::Ended(RepeatOutcome::Failed(format!("no thread for the load: {error}")))
        })?;
        let opened = self.built(lanes.open(self.repeat.session.client(), count)).await?;
        let slots = opened.map_err(|error| {
            let now = self.repeat.clock().elapsed_ns();
            let message = error.message.clone();
            // Nothing was sent; the record says why.
            self.repeat.keep_aside([RequestRecord {
                purpose: "connection".to_owned(),
                scheduled_ns: now,
                sent_ns: now,
                error: Some(error),
                ..RequestRecord::default()
            }]);
            Stop::Ended(RepeatOutcome::Failed(message))
        })?;
        Ok((lanes, slots))
    }

    /// What a loop gave whose prompts were numbered from `first`. Its requests are
    /// numbered anew: by then those that prepared the repeat are known.
    fn loop_result(
        &mut self,
        recipe: &Recipe,
        (generated, observations): (Generated, LoadObservations),
        first: u32,
        watch: Watch,
    ) -> LoopResult {
        let mut records = generated.records;
        let (mut refused, mut remarks) = (Vec::new(), Vec::new());
        if let Texts::Dataset(selection) = &recipe.texts {
            let requests = records.len();
            refused = selection.take_refused(self.repeat, &mut records, first);
            remarks = selection.remarks(requests, &refused, first);
        }
        let plan = Plan { open: false, window: generated.busy, slo: self.spec.slo };
        let gave_up = watch.health.given_up();
        let mut result = LoopResult {
            records,
            refused,
            gave_up,
            plan,
            remarks,
            observations,
            sampler: watch.sampler,
            ..LoopResult::default()
        };
        result.number(self.repeat.position(first as usize));
        result
    }

    fn judge(
        &mut self,
        mut result: LoopResult,
        shared: Option<u64>,
        sample: Option<&Judged>,
    ) -> RepeatResult {
        let LoadObservations { counters, readings, ran, foreign } =
            std::mem::take(&mut result.observations);
        if let Some((from_ns, to_ns)) = ran {
            self.repeat.measured(from_ns, to_ns);
        }
        let mut metrics = figures::metrics(&result.records, &result.plan);
        if !result.records.is_empty() {
            let shared = shared.map(|tokens| tokens as f64);
            metrics.extend(some_of!(METRICS;
                "max_rate": result.max_rate,
                "shared_prefix_tokens": shared,
            ));
            let counters = counters.as_ref().map(|(before, after)| (before, after));
            figures::counted(counters, &readings, &mut metrics);
        }
        metrics.extend(sample.into_iter().flat_map(sample::metrics));
        self.repeat.counted(counters);
        let void = foreign.or_else(|| self.missed(&result.records));
        let outcome = result.outcome(self.spec.output_tokens, void);
        if let RepeatOutcome::Ok(_) = outcome {
            self.keep(&result.records, &metrics);
        }
        let mut reasons = absent::among_failures(&result.records, &result.plan);
        if result.records.iter().any(|record| self.is_partial(record)) {
            reasons.extend(absent::without_prompt_tokens(&mut metrics));
        }
        if let Some(reason) = &result.no_window {
            reasons.extend(absent::without_window(reason, &metrics));
        }
        reasons.extend(sample.into_iter().flat_map(sample::reasons));
        RepeatResult { outcome, metrics, reasons, records: result.into_records() }
    }

    /// Why these prompts are not as long as was asked for; those of a dataset have
    /// lengths of their own.
    fn missed(&self, records: &[RequestRecord]) -> Option<String> {
        let asked = self.spec.dataset.is_none().then_some(self.spec.prompt_tokens)?;
        let whole = records.iter().filter(|record| !self.is_partial(record));
        some_missed(whole.map(|record| (record, asked)))
    }

    /// Whether the tokens of its prompt are counted without those from the cache.
    fn is_partial(&self, record: &RequestRecord) -> bool {
        let known = self.repeat.session.counts_new_alone();
        record.usage.is_some_and(|usage| usage.leaves_out_cached(known))
    }

    /// What the next repeats need to know.
    fn keep(&mut self, records: &[RequestRecord], metrics: &MetricValues) {
        let number = |name: &str| match metrics.get(name) {
            Some(Some(MetricValue::Number(number))) => Some(*number),
            _ => None,
        };
        let load = match self.kind {
            LoadCase::Concurrency(count) => Some(count as f64),
            LoadCase::Rate(_) => window::arrival_rate(records),
            // A search has kept the time of one request at a time.
            LoadCase::MaxRate => return,
        };
        let Some(median_e2el_ms) = number(const { name_in_catalogue(METRICS, "median_e2el_ms") })
        else {
            return;
        };
        self.expect(Duration::from_secs_f64(median_e2el_ms / 1e3));
        let whole = number(const { name_in_catalogue(METRICS, "total_output_tokens") })
            .zip(number(const { name_in_catalogue(METRICS, "duration") }));
        let whole = whole.map(|(tokens, seconds)| tokens / seconds);
        if let Some((load, whole)) = load.zip(whole).filter(|_| !self.repeat.is_warmup()) {
            let output_throughput =
                number(const { name_in_catalogue(METRICS, "output_throughput") });
            let requests = records.len() as f64;
            let rung = Rung { output_throughput, whole, load, requests, median_e2el_ms };
            self.state.rungs.note(self.case, rung);
        }
    }

    /// Keeps how long a request of this case takes.
    fn expect(&mut self, time: Duration) {
        self.state.expected.insert(self.case.to_owned(), time);
    }
}
