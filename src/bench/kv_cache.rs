//! The workload `kv-cache`: prompts sent for the first time, sent again, and
//! unrelated ones; what the prefix cache did is certified by the server's
//! counters. One request at a time, closed loop.

use crate::bench::client::Order;
use crate::bench::dataset::{Filling, Unready, weighed};
use crate::bench::fault::is_too_long;
use crate::bench::fitting::{Unfit, Wanted, fit};
use crate::bench::length::{missed, odd_answers};
use crate::bench::prompts::{derive, messages_about, text};
use crate::bench::record::{RequestErrorClass, RequestRecord};
use crate::bench::repeat::{Repeat, Verdict};
use crate::bench::request::{Input, Prepared, RequestSpec};
use crate::bench::suite::{Bench, BenchError};
use crate::bench::traffic::{Lookup, Seen, Traffic, not_cold};
use crate::metric::{MetricValue, MetricValues};
use crate::statistics::median;
use crate::workload::{KvCache, Route};

/// A hit is certified to one block; below this many blocks that is too coarse.
const MIN_BLOCKS: u64 = 16;

/// One repeat while it runs.
struct Run<'b, 'a> {
    bench: &'b mut Bench<'a>,
    spec: &'b KvCache,
    recipe: Recipe,
    /// Size of the prompts' texts in bytes.
    size: usize,
    target: u64,
    traffic: Option<Traffic>,
    records: Vec<RequestRecord>,
    tally: Tally,
}

/// What the prompts of one repeat have in common.
#[derive(Clone, Debug)]
struct Recipe {
    /// Unique to the repeat and case.
    salt: u64,
    /// The same for every configuration.
    seed: u64,
    /// A dataset's texts, in place of ours.
    filling: Option<Filling>,
    route: Route,
    model: String,
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

/// Runs one repeat of the case `target`.
pub(crate) async fn repeat(
    bench: &mut Bench<'_>,
    spec: &KvCache,
    target: u64,
) -> Result<Repeat, BenchError> {
    let nothing = || Tally::default().values();
    let longest = bench.server().max_model_len;
    if let Some(longest) = longest
        && target + spec.output_tokens > longest
    {
        let reason = format!(
            "{target} + {} tokens do not fit into the context of {longest}",
            spec.output_tokens
        );
        return Ok(Repeat::without_requests(Verdict::Skipped(reason), nothing()));
    }
    let source = match &spec.dataset {
        None => None,
        Some(path) => match weighed(bench, path, spec.endpoint).await {
            Ok(source) => Some(source),
            Err(unready) => return unready.ends(nothing()),
        },
    };
    let case = target.to_string();
    let recipe = Recipe {
        salt: bench.salt_number(&["kv-cache", &case]),
        seed: derive(&[&bench.seed().to_string(), &bench.repeat_name(), "kv-cache", &case]),
        filling: source.as_ref().map(|source| Filling::new(source, bench.seed())),
        route: spec.endpoint,
        model: bench.server().model.clone(),
    };
    let wanted = Wanted {
        purpose: &format!("kv-cache {case} {:?}", spec.dataset),
        tokens: target,
        aim: aim(target, spec, longest),
        tokens_per_byte: source.and_then(|source| source.tokens_per_byte()),
    };
    let size = match fitted(bench, wanted, &recipe).await {
        Ok(size) => size,
        Err(unfit) => return Unready::from(unfit).ends(nothing()),
    };
    bench.begins();
    let traffic = Traffic::start(bench.http(), bench.cancel()).await;
    let (records, tally) = (Vec::new(), Tally::default());
    let mut run = Run { bench, spec, recipe, size, target, traffic, records, tally };
    let verdict = match run.all().await {
        Err(Stop::Cancelled) => return Err(BenchError::Cancelled),
        Err(Stop::Void(reason)) => Verdict::Void(reason),
        Err(Stop::Failed(reason)) => Verdict::Failed(reason),
        Err(Stop::TooLong(reason)) => {
            run.tally = Tally::default();
            Verdict::Skipped(reason)
        }
        Ok(()) => Verdict::Ok(run.remarks()),
    };
    Ok(Repeat { verdict, metrics: run.tally.values(), records: run.records })
}

async fn fitted(
    bench: &mut Bench<'_>,
    wanted: Wanted<'_>,
    recipe: &Recipe,
) -> Result<usize, Unfit> {
    let (recipe, cache_salt) = (recipe.clone(), bench.cache_salt());
    fit(bench, wanted, move |size, name: &str| recipe.prepare(name, size, 1, cache_salt)).await
}

impl Recipe {
    fn prepare(&self, name: &str, size: usize, output_tokens: u64, cache_salt: bool) -> Prepared {
        let salt = derive(&[&self.salt.to_string(), name]);
        let seed = derive(&[&self.seed.to_string(), name]);
        let text = match &self.filling {
            None => text(seed, size),
            Some(filling) => filling.text(seed, size),
        };
        let input = Input::new(self.route, messages_about(salt, &text));
        let cache_salt = cache_salt.then_some(salt);
        RequestSpec::speed(input, output_tokens).salted(cache_salt).prepare(&self.model)
    }
}

impl Run<'_, '_> {
    async fn all(&mut self) -> Result<(), Stop> {
        for number in 0..self.spec.prompts {
            let prompt = self.prompt(format!("pair {number}")).await?;
            let miss = self.send("miss", &prompt).await?;
            self.check_miss(miss)?;
            let resent = self.send("resent", &prompt).await?;
            self.judge_hit(resent);
        }
        for number in 0..self.spec.prompts {
            let prompt = self.prompt(format!("independent {number}")).await?;
            let miss = self.send("independent", &prompt).await?;
            self.check_miss(miss)?;
        }
        Ok(())
    }

    async fn prompt(&self, name: String) -> Result<Prepared, Stop> {
        let (recipe, size, tokens) = (self.recipe.clone(), self.size, self.spec.output_tokens);
        let cache_salt = self.bench.cache_salt();
        let make = move || recipe.prepare(&name, size, tokens, cache_salt);
        self.bench.make(make).await.ok_or(Stop::Cancelled)
    }

    /// Sends a request, notes its figures and waits for the counters.
    async fn send(&mut self, purpose: &str, prompt: &Prepared) -> Result<(u64, Lookup), Stop> {
        let index = self.bench.position(self.records.len());
        let order = Order { index, purpose, scheduled_ns: None };
        let record = self.bench.send(prompt, order).await.record;
        let (failed, usage) = (failure(&record), record.usage);
        self.tally.requests += 1;
        if failed.is_none() {
            self.tally.note(purpose, &record);
        }
        self.records.push(record);
        if let Some(stop) = failed {
            self.tally.failed += 1;
            return Err(stop);
        }
        let tokens = usage.map_or(0, |usage| usage.prompt_tokens);
        let lookup = self.looked_up(tokens).await?;
        match usage.and_then(|usage| missed(usage.prompt_tokens, self.target)) {
            Some(reason) => Err(Stop::Void(format!("request {index} ({purpose}): {reason}"))),
            None => Ok((tokens, lookup)),
        }
    }

    async fn looked_up(&mut self, tokens: u64) -> Result<Lookup, Stop> {
        if tokens == 0 {
            // From here on nobody can say what of the counters is ours.
            self.traffic = None;
        }
        let Some(traffic) = &mut self.traffic else { return Ok(Lookup::Unknown) };
        let cancel = self.bench.cancel().clone();
        match traffic.after(self.bench.http(), tokens, &cancel).await {
            Seen::Ours(lookup) => Ok(lookup),
            Seen::Foreign(reason) | Seen::Late(reason) => Err(Stop::Void(reason)),
            Seen::Cancelled => Err(Stop::Cancelled),
        }
    }

    /// What is said of a repeat that is valid all the same.
    fn remarks(&self) -> Option<String> {
        let answers = self.records.iter().map(|record| (record, self.spec.output_tokens));
        let remarks = [self.tally.uncertified.clone(), odd_answers(answers)];
        remarks.into_iter().flatten().reduce(|a, b| a + "; " + &b)
    }

    fn block_size(&self) -> Option<u64> {
        self.traffic.as_ref()?.before().block_size()
    }

    /// A prompt never sent before must not come from the cache.
    fn check_miss(&mut self, (tokens, lookup): (u64, Lookup)) -> Result<(), Stop> {
        let Some(found) = lookup.warm(self.block_size()) else { return Ok(()) };
        // The chat template's own opening is shared by every prompt.
        if !self.bench.use_cache_salt() && self.bench.is_warmup() {
            return Ok(());
        }
        Err(Stop::Void(not_cold(found, tokens)))
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
    let told = |what: &str| format!("request {} ({}): {what}", record.index, record.purpose);
    match record.failure() {
        Some(error) if error.class == RequestErrorClass::Cancelled => Some(Stop::Cancelled),
        Some(error) if is_too_long(error) => Some(Stop::TooLong(told(&error.message))),
        Some(error) => Some(Stop::Failed(told(&error.message))),
        None if record.first_token_ns.is_none() => {
            Some(Stop::Failed(told("the stream carried no token")))
        }
        None => None,
    }
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
