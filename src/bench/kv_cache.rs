//! The workload `kv-cache`: prompts sent for the first time, sent again, and
//! unrelated ones; what the prefix cache did is certified by the server's
//! counters. One request at a time, closed loop.

use crate::bench::client::Order;
use crate::bench::dataset::{Filling, weighed};
use crate::bench::fault::is_too_long;
use crate::bench::prompts::{Calibration, derive, messages_about, text};
use crate::bench::record::RequestRecord;
use crate::bench::request::{Input, Prepared, RequestSpec};
use crate::bench::suite::{Bench, BenchError, Repeat, Verdict};
use crate::bench::traffic::{Lookup, Seen, Traffic};
use crate::metric::{MetricValue, MetricValues};
use crate::workload::KvCache;

/// A hit is certified to one block; below this many blocks that is too coarse.
const MIN_BLOCKS: u64 = 16;
/// Bytes of the first text that is sent to a server: its tokens per byte are not known yet.
const FIRST_SIZE: usize = 1500;
/// Requests that may be spent on fitting a prompt's length before a kept repeat.
const MAX_PROBES: u32 = 6;

/// What is known of a case between its repeats.
#[derive(Clone, Debug)]
pub(crate) struct CaseState {
    calibration: Calibration,
    /// Also separate blocks by the request field `cache_salt`: the chat template
    /// opens with more than a block of its own.
    cache_salt: bool,
}

/// One repeat while it runs.
struct Run<'b, 'a> {
    bench: &'b mut Bench<'a>,
    spec: &'b KvCache,
    target: u64,
    is_warmup: bool,
    state: CaseState,
    /// A dataset's texts, in place of ours.
    filling: Option<Filling>,
    traffic: Option<Traffic>,
    records: Vec<RequestRecord>,
    tally: Tally,
}

/// What the requests add up to.
#[derive(Debug, Default)]
struct Tally {
    miss_ms: Vec<f64>,
    resent_ms: Vec<f64>,
    independent_ms: Vec<f64>,
    tpot_ms: Vec<f64>,
    prompt_tokens: Vec<f64>,
    /// Of resent prompts: tokens found and tokens expected; `None`: not told.
    hits: Vec<Option<(u64, u64)>>,
    caching_off: bool,
    uncertified: Option<String>,
    requests: u32,
    failed: u32,
}

/// Why a repeat ends before its time.
enum Stop {
    Void(String),
    /// A request failed: the record is the last one.
    Failed(String),
    /// The server refused a request as too long.
    TooLong(String),
    Cancelled,
}

/// What prompts are fitted to: above the target by half a percent, where the
/// context leaves room. Prompts of one size differ by some tokens, and a target
/// of just [`MIN_BLOCKS`] blocks is not to be missed by one of them.
fn aim(target: u64, spec: &KvCache, longest: Option<u64>) -> u64 {
    let room = longest.unwrap_or(u64::MAX).saturating_sub(target + spec.output_tokens);
    target + (target / 200).min(room / 2)
}

/// Whether so many tokens leave less than a tenth of the context.
fn is_near(tokens: u64, longest: Option<u64>) -> bool {
    longest.is_some_and(|longest| tokens.saturating_mul(10) > longest.saturating_mul(9))
}

/// Runs one repeat of the case `target`.
pub(crate) async fn repeat(
    bench: &mut Bench<'_>,
    spec: &KvCache,
    target: u64,
    number: u32,
) -> Result<Repeat, BenchError> {
    if let Some(longest) = bench.server().max_model_len
        && target + spec.output_tokens > longest
    {
        let reason = format!(
            "{target} + {} tokens do not fit into the context of {longest}",
            spec.output_tokens
        );
        return Ok(Repeat::without_requests(Verdict::Skipped(reason), Tally::default().values()));
    }
    let source = match &spec.dataset {
        None => None,
        Some(path) => match weighed(bench, path, spec.endpoint).await {
            Ok(source) => Some(source),
            Err(unready) => return unready.ends(Tally::default().values()),
        },
    };
    let state = bench.kv_cache_case(target).unwrap_or_else(|| {
        let longest = bench.server().max_model_len;
        let known = match &source {
            None => bench.tokens_per_byte(),
            Some(source) => source.tokens_per_byte(),
        };
        let aim = aim(target, spec, longest);
        let mut calibration = Calibration::new(aim, known.unwrap_or(0.3));
        // Its texts differ in tokens per byte.
        if source.is_some() && is_near(target + spec.output_tokens, longest) {
            calibration.be_careful();
            calibration.be_careful();
        }
        CaseState { calibration, cache_salt: false }
    });
    let filling = source.map(|source| Filling::new(&source, bench.seed()));
    let mut run = Run {
        bench,
        spec,
        target,
        is_warmup: number == 0,
        state,
        filling,
        traffic: None,
        records: Vec::new(),
        tally: Tally::default(),
    };
    let ended = run.all().await;
    let verdict = match ended {
        Err(Stop::Cancelled) => return Err(BenchError::Cancelled),
        Err(Stop::Void(reason)) => Verdict::Void(reason),
        Err(Stop::Failed(reason)) => Verdict::Failed(reason),
        Err(Stop::TooLong(reason)) => {
            run.tally = Tally::default();
            Verdict::Skipped(reason)
        }
        Ok(()) => Verdict::Ok(run.tally.uncertified.clone()),
    };
    let Run { bench, state, records, tally, .. } = run;
    bench.keep_kv_cache_case(target, state);
    Ok(Repeat { verdict, metrics: tally.values(), records })
}

impl Run<'_, '_> {
    async fn all(&mut self) -> Result<(), Stop> {
        self.calibrate().await?;
        self.bench.begins();
        self.traffic = Traffic::start(self.bench.http()).await;
        let prompts = u32::try_from(self.spec.prompts).unwrap_or(u32::MAX);
        for number in 0..prompts {
            let prompt = self.prompt(&format!("pair {number}"), self.spec.output_tokens);
            let miss = self.send("miss", &prompt).await?;
            self.check_miss(miss)?;
            let resent = self.send("resent", &prompt).await?;
            self.judge_hit(resent);
        }
        for number in 0..prompts {
            let prompt = self.prompt(&format!("independent {number}"), self.spec.output_tokens);
            let miss = self.send("independent", &prompt).await?;
            self.check_miss(miss)?;
        }
        Ok(())
    }

    /// Fits the length of prompts, before the counters are read. A warm-up only
    /// needs the server's tokens per byte: its own requests do the rest.
    async fn calibrate(&mut self) -> Result<(), Stop> {
        if self.filling.is_none() && self.bench.tokens_per_byte().is_none() {
            let tokens = self.probe(FIRST_SIZE).await?;
            if tokens == 0 {
                // Nobody tells: the guess of tokens per byte stands.
                return Ok(());
            }
            let per_byte = tokens as f64 / FIRST_SIZE as f64;
            self.bench.set_tokens_per_byte(per_byte);
            let longest = self.bench.server().max_model_len;
            let aim = aim(self.target, self.spec, longest);
            self.state.calibration = Calibration::new(aim, per_byte);
            if is_near(self.target + self.spec.output_tokens, longest) {
                self.state.calibration.be_careful();
            }
        }
        for _ in 0..if self.is_warmup { 0 } else { MAX_PROBES } {
            if self.state.calibration.is_fitted() {
                break;
            }
            let tokens = self.probe(self.state.calibration.size()).await?;
            if tokens == 0 {
                break;
            }
            self.state.calibration.observe(tokens);
        }
        Ok(())
    }

    /// Sends one token's worth of a text of `size` bytes; its length in tokens.
    async fn probe(&mut self, size: usize) -> Result<u64, Stop> {
        let mut traffic = Traffic::start(self.bench.http()).await;
        let prompt = self.prompt_of(&format!("probe {}", self.bench.position(0)), 1, size);
        let record = self.exchange("calibration", &prompt).await;
        let failed = error(&record);
        let tokens = record.usage.map_or(0, |usage| usage.prompt_tokens);
        self.bench.keep_aside([record]);
        if let Some(stop) = failed {
            return Err(stop);
        }
        // So that it does not show up in the repeat's counters; foreign traffic is
        // not judged yet.
        let Some(traffic) = &mut traffic else { return Ok(tokens) };
        let cancel = self.bench.cancel().clone();
        match traffic.after(self.bench.http(), tokens, &cancel).await {
            Seen::Cancelled => return Err(Stop::Cancelled),
            Seen::Late(reason) => return Err(Stop::Void(reason)),
            Seen::Ours(Lookup::Found(found)) => {
                let block = traffic.before().block_size();
                self.state.cache_salt |= block.is_some_and(|block| found >= block);
            }
            Seen::Ours(_) | Seen::Foreign(_) => {}
        }
        Ok(tokens)
    }

    fn prompt(&self, name: &str, output_tokens: u64) -> Prepared {
        self.prompt_of(name, output_tokens, self.state.calibration.size())
    }

    fn prompt_of(&self, name: &str, output_tokens: u64, size: usize) -> Prepared {
        let case = self.target.to_string();
        let salt = self.bench.salt_number(&["kv-cache", &case, name]);
        let seed =
            derive(&[&self.bench.seed().to_string(), &self.bench.repeat_name(), &case, name]);
        let text = match &self.filling {
            None => text(seed, size),
            Some(filling) => filling.text(seed, size),
        };
        let input = Input::new(self.spec.endpoint, messages_about(salt, &text));
        let mut spec = RequestSpec::speed(input, output_tokens);
        if self.state.cache_salt {
            spec.extra.insert("cache_salt".to_owned(), format!("{salt:016x}").into());
        }
        spec.prepare(&self.bench.server().model)
    }

    async fn exchange(&mut self, purpose: &str, prompt: &Prepared) -> RequestRecord {
        let index = self.bench.position(self.records.len());
        let order = Order { index, purpose, scheduled_ns: None };
        self.bench.send(prompt, order).await.record
    }

    /// Sends a request, notes its figures and waits for the counters.
    async fn send(&mut self, purpose: &str, prompt: &Prepared) -> Result<(u64, Lookup), Stop> {
        let record = self.exchange(purpose, prompt).await;
        self.tally.requests += 1;
        let failed = failure(&record);
        let tokens = record.usage.map_or(0, |usage| usage.prompt_tokens);
        if failed.is_none() {
            self.tally.note(purpose, &record);
        }
        self.records.push(record);
        if let Some(stop) = failed {
            self.tally.failed += 1;
            return Err(stop);
        }
        if self.is_warmup && purpose != "resent" {
            self.state.calibration.observe(tokens);
        }
        if tokens == 0 {
            // From here on nobody can say what of the counters is ours.
            self.traffic = None;
        }
        let Some(traffic) = &mut self.traffic else { return Ok((tokens, Lookup::Unknown)) };
        let cancel = self.bench.cancel().clone();
        match traffic.after(self.bench.http(), tokens, &cancel).await {
            Seen::Ours(lookup) => Ok((tokens, lookup)),
            Seen::Foreign(reason) | Seen::Late(reason) => Err(Stop::Void(reason)),
            Seen::Cancelled => Err(Stop::Cancelled),
        }
    }

    fn block_size(&self) -> Option<u64> {
        self.traffic.as_ref()?.before().block_size()
    }

    /// A prompt never sent before must not come from the cache.
    fn check_miss(&mut self, (tokens, lookup): (u64, Lookup)) -> Result<(), Stop> {
        match (lookup, self.block_size()) {
            (Lookup::Found(found), Some(block)) if found >= block => {
                // The chat template's own opening is shared by every prompt.
                if !std::mem::replace(&mut self.state.cache_salt, true) && self.is_warmup {
                    return Ok(());
                }
                Err(Stop::Void(format!(
                    "{found} of {tokens} tokens of a prompt never sent before came from the cache"
                )))
            }
            _ => Ok(()),
        }
    }

    fn judge_hit(&mut self, (tokens, lookup): (u64, Lookup)) {
        let found = match lookup {
            Lookup::Off => {
                self.tally.caching_off = true;
                return;
            }
            Lookup::Unknown => None,
            Lookup::Found(found) => Some(found),
        };
        let (Some(found), Some(block)) = (found, self.block_size()) else {
            self.tally.hits.push(None);
            return;
        };
        let expected = block * (tokens.saturating_sub(1) / block);
        self.tally.hits.push(Some((found, expected)));
        if tokens < MIN_BLOCKS * block {
            self.tally.uncertified = Some(format!(
                "hits not certified: {tokens} tokens are fewer than {MIN_BLOCKS} blocks of {block}"
            ));
        } else if found + block < expected {
            self.tally.uncertified = Some(format!(
                "hits not certified: {found} of {expected} tokens came from the cache"
            ));
        }
    }
}

/// Why a request is no measurement.
fn failure(record: &RequestRecord) -> Option<Stop> {
    let silent = || {
        Stop::Failed(format!(
            "request {} ({}): the stream carried no token",
            record.index, record.purpose
        ))
    };
    error(record).or_else(|| record.first_token_ns.is_none().then(silent))
}

/// Why a request that is asked for its length alone fails. Its one token need not
/// show: it may be `<think>`, which a parser takes away, or half a character.
fn error(record: &RequestRecord) -> Option<Stop> {
    use crate::bench::record::RequestErrorClass::Cancelled;
    let error = record.failure()?;
    if error.class == Cancelled {
        return Some(Stop::Cancelled);
    }
    let told = format!("request {} ({}): {}", record.index, record.purpose, error.message);
    Some(if is_too_long(error) { Stop::TooLong(told) } else { Stop::Failed(told) })
}

impl Tally {
    fn note(&mut self, purpose: &str, record: &RequestRecord) {
        let ttft = match purpose {
            "miss" => &mut self.miss_ms,
            "resent" => &mut self.resent_ms,
            _ => &mut self.independent_ms,
        };
        ttft.extend(record.ttft_ms());
        self.tpot_ms.extend(record.tpot_ms());
        self.prompt_tokens.extend(record.usage.map(|usage| usage.prompt_tokens as f64));
    }

    /// `certified`, `void`, `not_applicable`, `unknown`; `None` before a prompt was resent.
    fn hit_state(&self) -> Option<&'static str> {
        if self.caching_off {
            Some("not_applicable")
        } else if self.uncertified.is_some() {
            Some("void")
        } else if self.resent_ms.is_empty() || self.hits.is_empty() {
            None
        } else if self.hits.iter().any(Option::is_none) {
            Some("unknown")
        } else {
            Some("certified")
        }
    }

    fn values(&self) -> MetricValues {
        let state = self.hit_state();
        let resent = median(&self.resent_ms);
        let share = self.hits.iter().copied().collect::<Option<Vec<_>>>().and_then(|hits| {
            let found: u64 = hits.iter().map(|(found, _)| found).sum();
            let expected: u64 = hits.iter().map(|(_, expected)| expected).sum();
            (expected > 0).then(|| found as f64 / expected as f64)
        });
        let numbers = [
            ("ttft_miss_ms", median(&self.miss_ms)),
            ("ttft_resent_ms", resent),
            ("ttft_hit_ms", resent.filter(|_| state == Some("certified"))),
            ("ttft_independent_ms", median(&self.independent_ms)),
            ("tpot_ms", median(&self.tpot_ms)),
            ("hit_tokens_share", share),
            ("prompt_tokens", median(&self.prompt_tokens)),
            ("requests", Some(f64::from(self.requests))),
            ("failed", Some(f64::from(self.failed))),
        ];
        let mut values: MetricValues = numbers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.map(MetricValue::Number)))
            .collect();
        let state = state.map(|state| MetricValue::Text(state.to_owned()));
        values.insert("hit_state".to_owned(), state);
        values
    }
}

/// The median; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}
