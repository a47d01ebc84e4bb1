//! The workload `kv-cache`: prompts sent for the first time, sent again, and
//! unrelated ones; what the prefix cache did is certified by the server's
//! counters. One request at a time, closed loop.

use crate::bench::error::BenchError;
use crate::bench::lookups::Lookup;
use crate::bench::metrics::all_of;
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::prompt::dataset::Filling;
use crate::bench::prompt::density::{PromptError, with_density};
use crate::bench::prompt::fitting::{FitError, LengthTarget, fit};
use crate::bench::prompt::generate::{derive, messages_about, text};
use crate::bench::prompt::length::odd_answers;
use crate::bench::repeat::RepeatContext;
use crate::bench::sequence::{Reply, RequestSequence, Stop};
use crate::client::record::RequestRecord;
use crate::client::request::{Input, Prepared, RequestSpec, Target};
use crate::metric::MetricValues;
use crate::statistics::median;
use crate::workload::metrics::KV_CACHE as METRICS;
use crate::workload::{KvCache, Route};

/// A hit is certified to one block; below this many blocks that is too coarse.
const MIN_BLOCKS: u64 = 16;

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
    target: Target,
}

/// What the requests add up to.
#[derive(Debug, Default)]
struct Tally {
    miss_ms: Vec<f64>,
    resent_ms: Vec<f64>,
    independent_ms: Vec<f64>,
    tpot_ms: Vec<f64>,
    prompt_tokens: Vec<f64>,
    /// Of resent prompts: tokens found and tokens expected; `None`: not reported.
    hits: Vec<Option<(u64, u64)>>,
    caching_off: bool,
    uncertified: Option<String>,
    /// Why what was found is not known.
    unknown: Option<String>,
}

/// What prompts are fitted to: above the target by half a percent, where the
/// context leaves space. Prompts of one size differ by some tokens, and a target
/// of just [`MIN_BLOCKS`] blocks is not to be missed by one of them.
fn aim(target: u64, spec: &KvCache, longest: Option<u64>) -> u64 {
    let space = longest.unwrap_or(u64::MAX).saturating_sub(target + spec.output_tokens);
    target + (target / 200).min(space / 2)
}

/// Runs one repeat of the case `target`.
pub(crate) async fn repeat(
    repeat: &mut RepeatContext<'_>,
    spec: &KvCache,
    target: u64,
) -> Result<RepeatResult, BenchError> {
    let nothing = || Tally::default().values(0, 0);
    let longest = repeat.session.server().max_model_len;
    if let Some(longest) = longest
        && target + spec.output_tokens > longest
    {
        let reason = format!(
            "{target} + {} tokens do not fit into the context of {longest}",
            spec.output_tokens
        );
        return Ok(RepeatResult::without_requests(RepeatOutcome::Skipped(reason), nothing()));
    }
    let source = match &spec.dataset {
        None => None,
        Some(path) => match with_density(repeat, path, spec.endpoint).await {
            Ok(source) => Some(source),
            Err(error) => return error.into_result(nothing()),
        },
    };
    let case = target.to_string();
    let recipe = Recipe {
        salt: repeat.salt_number(&["kv-cache", &case]),
        seed: repeat.seed_number(&["kv-cache", &case]),
        filling: source.as_ref().map(|source| Filling::new(source, repeat.session.seed())),
        route: spec.endpoint,
        target: repeat.target().clone(),
    };
    let target_length = LengthTarget {
        purpose: &format!("kv-cache {case} {:?}", spec.dataset),
        tokens: target,
        aim: aim(target, spec, longest),
        most: None,
        tokens_per_byte: source.and_then(|source| source.tokens_per_byte()),
    };
    let target_length =
        target_length.at_most(longest.map_or(u64::MAX, |all| all - spec.output_tokens));
    let size = match fitted(repeat, target_length, &recipe).await {
        Ok(size) => size,
        Err(error) => return PromptError::from(error).into_result(nothing()),
    };
    let run = Run { spec, recipe, size, target };
    let (mut sequence, mut tally) = (RequestSequence::start(repeat).await, Tally::default());
    let ended = run.all(&mut sequence, &mut tally).await;
    let answers = sequence.records().iter().map(|record| (record, spec.output_tokens));
    let unknown = tally.unknown.as_ref().map(|reason| format!("hits unknown: {reason}"));
    let remarks = [tally.uncertified.clone(), unknown, odd_answers(answers)];
    for remark in remarks.into_iter().flatten() {
        sequence.remark(remark);
    }
    let values = tally.values(sequence.requests(), sequence.failed());
    sequence.end(ended, values)
}

async fn fitted(
    repeat: &mut RepeatContext<'_>,
    target_length: LengthTarget<'_>,
    recipe: &Recipe,
) -> Result<usize, FitError> {
    let (recipe, cache_salt) = (recipe.clone(), repeat.session.cache_salt());
    fit(repeat, target_length, move |size, name: &str| recipe.prepare(name, size, 1, cache_salt))
        .await
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
        let request = RequestSpec::speed(input, output_tokens).salted(cache_salt);
        // Its time to the first token is what is measured: a reply without one is an error.
        Prepared { must_have_tokens: true, ..request.prepare(&self.target) }
    }
}

/// What one repeat sends.
struct Run<'s> {
    spec: &'s KvCache,
    recipe: Recipe,
    /// Size of the prompts' texts in bytes.
    size: usize,
    /// Their length in tokens.
    target: u64,
}

impl Run<'_> {
    async fn all(
        &self,
        sequence: &mut RequestSequence<'_, '_>,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        for number in 0..self.spec.prompts {
            let prompt = self.prompt(sequence, format!("pair {number}")).await?;
            let miss = self.send(sequence, tally, "miss", &prompt).await?;
            sequence.check_cold(&miss)?;
            let resent = sequence.send_again("resent", &prompt, &miss).await?;
            tally.note("resent", &resent.record);
            resent.check_length(self.target)?;
            tally.judge_hit(&resent, sequence);
        }
        for number in 0..self.spec.prompts {
            let prompt = self.prompt(sequence, format!("independent {number}")).await?;
            let miss = self.send(sequence, tally, "independent", &prompt).await?;
            sequence.check_cold(&miss)?;
        }
        Ok(())
    }

    async fn prompt(
        &self,
        sequence: &RequestSequence<'_, '_>,
        name: String,
    ) -> Result<Prepared, Stop> {
        let (recipe, size, tokens) = (self.recipe.clone(), self.size, self.spec.output_tokens);
        let cache_salt = sequence.repeat.session.cache_salt();
        let make = move || recipe.prepare(&name, size, tokens, cache_salt);
        sequence.repeat.session.make(make).await.ok_or(Stop::Cancelled)
    }

    /// Sends a request and notes its figures.
    async fn send(
        &self,
        sequence: &mut RequestSequence<'_, '_>,
        tally: &mut Tally,
        purpose: &str,
        prompt: &Prepared,
    ) -> Result<Reply, Stop> {
        let reply = sequence.send(purpose, prompt).await?;
        tally.note(purpose, &reply.record);
        reply.check_length(self.target)?;
        Ok(reply)
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

    /// What the counters say of a prompt sent again.
    fn judge_hit(&mut self, reply: &Reply, sequence: &RequestSequence<'_, '_>) {
        let engines = sequence.engines();
        let (found, block) = match (reply.lookup, sequence.block_size()) {
            (Lookup::Off, _) => {
                self.caching_off = true;
                return;
            }
            (Lookup::Found(found), Some(block)) => (found, block),
            // Which is a reason of its own.
            (Lookup::Unmoved, Some(block)) if engines.len() > 1 => (0, block),
            (Lookup::Unmoved, _) => {
                let reason = "the counter of what is found in the cache has never moved";
                return self.not_known(reason.to_owned());
            }
            (Lookup::Found(_), None) => {
                let reason = "the server does not report the size of its blocks";
                return self.not_known(reason.to_owned());
            }
            (Lookup::Unknown, _) => {
                return self
                    .not_known(sequence.hits_unknown().unwrap_or("not reported").to_owned());
            }
        };
        let tokens = reply.prompt_tokens();
        let expected = block * (tokens.saturating_sub(1) / block);
        if engines.len() > 1 && found + block < expected {
            return self.not_known(format!(
                "{} engines ({}) have a cache each, and a prompt that is sent again may meet \
                 another one: {found} of {expected} tokens came from their caches",
                engines.len(),
                engines.join(", ")
            ));
        }
        self.hits.push(Some((found, expected)));
        if tokens < MIN_BLOCKS * block {
            self.uncertified = Some(format!(
                "hits not certified: {tokens} tokens are fewer than {MIN_BLOCKS} blocks of {block}"
            ));
        } else if found + block < expected {
            self.uncertified = Some(format!(
                "hits not certified: {found} of {expected} tokens came from the cache"
            ));
        }
    }

    fn not_known(&mut self, reason: String) {
        self.hits.push(None);
        self.unknown.get_or_insert(reason);
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

    fn values(&self, requests: usize, failed: usize) -> MetricValues {
        let state = self.hit_state();
        let resent = median(&self.resent_ms);
        let share = self.hits.iter().copied().collect::<Option<Vec<_>>>().and_then(|hits| {
            let found: u64 = hits.iter().map(|(found, _)| found).sum();
            let expected: u64 = hits.iter().map(|(_, expected)| expected).sum();
            (expected > 0).then(|| found as f64 / expected as f64)
        });
        all_of!(METRICS;
            "ttft_miss_ms": median(&self.miss_ms),
            "ttft_resent_ms": resent,
            "ttft_hit_ms": resent.filter(|_| state == Some("certified")),
            "ttft_independent_ms": median(&self.independent_ms),
            "tpot_ms": median(&self.tpot_ms),
            "hit_tokens_share": share,
            "prompt_tokens": median(&self.prompt_tokens),
            "requests": Some(requests as f64),
            "failed": Some(failed as f64),
            "hit_state": state,
        )
    }
}
