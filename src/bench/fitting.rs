//! Fits the size of a text to a length in tokens as the server counts them, with
//! requests of one token, before a repeat's clock starts. How sizes follow from
//! counts is [`Calibration`]'s.

use crate::bench::client::Order;
use crate::bench::fault::is_too_long;
use crate::bench::prompts::Calibration;
use crate::bench::record::RequestErrorClass;
use crate::bench::request::Prepared;
use crate::bench::suite::Bench;
use crate::bench::traffic::{Sent, Settled, settle};
use crate::server::counters::Counters;

/// Requests that may be spent on one length.
const MAX_PROBES: u32 = 6;

/// Bytes from which on a text tells how many tokens a byte is.
const WORTH_KNOWING: usize = 1000;

/// Why a repeat cannot begin.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// A request failed; it is the last one kept aside.
    Failed(String),
    /// The server refused a request as too long; it is the last one kept aside.
    TooLong(String),
    /// A stop was asked for.
    Cancelled,
}

/// A length that prompts of one kind are to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'w> {
    /// What they are for: its size is found once per server and kept.
    pub(crate) purpose: &'w str,
    /// Tokens that are aimed at.
    pub(crate) tokens: u64,
    /// Tokens per byte, where the texts are not ours and it is known.
    pub(crate) tokens_per_byte: Option<f64>,
}

impl<'w> Wanted<'w> {
    /// Prompts with texts of ours.
    pub(crate) fn new(purpose: &'w str, tokens: u64) -> Self {
        Self { purpose, tokens, tokens_per_byte: None }
    }

    fn calibration(&self, bench: &Bench<'_>) -> Calibration {
        let known = self.tokens_per_byte.or(bench.tokens_per_byte());
        Calibration::new(self.tokens, known.unwrap_or(0.3))
    }

    /// Of these texts it is not known how many tokens a byte is.
    fn tells_tokens_per_byte(&self, bench: &Bench<'_>) -> bool {
        self.tokens_per_byte.is_none() && bench.tokens_per_byte().is_none()
    }
}

/// Makes a prompt of a size in bytes, with a name that no other one of the repeat
/// has. It is called on a thread of its own: prompts may be long.
pub(crate) trait Make: Fn(usize, &str) -> Prepared + Clone + Send + 'static {}

impl<M: Fn(usize, &str) -> Prepared + Clone + Send + 'static> Make for M {}

/// The size in bytes that brings a prompt of `make` nearest to what is wanted; a
/// guess where the server does not count.
pub(crate) async fn fit(
    bench: &mut Bench<'_>,
    wanted: Wanted<'_>,
    make: impl Make,
) -> Result<usize, Unfit> {
    if let Some(size) = bench.sizes().get(wanted.purpose) {
        return Ok(*size);
    }
    let mut probes = Probes::start(bench).await?;
    let calibration = wanted.calibration(bench);
    let (size, tokens) = probes.fit(bench, 0, wanted.tokens, calibration, make).await?;
    probes.settle(bench).await?;
    if let Some(tokens) = tokens
        && wanted.tells_tokens_per_byte(bench)
        && size >= WORTH_KNOWING
    {
        bench.set_tokens_per_byte(tokens as f64 / size as f64);
    }
    bench.sizes().insert(wanted.purpose.to_owned(), size);
    Ok(size)
}

/// The length of one prompt in tokens; `None` where the server does not tell.
pub(crate) async fn length(bench: &mut Bench<'_>, prompt: &Prepared) -> Result<Option<u64>, Unfit> {
    let mut probes = Probes::start(bench).await?;
    let tokens = probes.send(bench, prompt).await?;
    probes.settle(bench).await?;
    Ok(tokens)
}

/// As [`fit`], for a text of `make` that adds what is wanted to the prompt around
/// it, the chat template's included. `around` makes the same prompt with a text of
/// one token in its place.
pub(crate) async fn fit_added(
    bench: &mut Bench<'_>,
    wanted: Wanted<'_>,
    around: &Prepared,
    make: impl Make,
) -> Result<usize, Unfit> {
    if let Some(size) = bench.sizes().get(wanted.purpose) {
        return Ok(*size);
    }
    let mut probes = Probes::start(bench).await?;
    let around = probes.send(bench, around).await?.unwrap_or(1).saturating_sub(1);
    let target = wanted.tokens;
    let calibration = wanted.calibration(bench).within((target / 20).clamp(4, 8));
    let (size, tokens) = probes.fit(bench, around, target, calibration, make).await?;
    probes.settle(bench).await?;
    // What stands around it is not in this share: a shorter text tells it, too.
    if let Some(tokens) = tokens
        && wanted.tells_tokens_per_byte(bench)
        && size >= WORTH_KNOWING / 5
    {
        bench.set_tokens_per_byte(tokens as f64 / size as f64);
    }
    bench.sizes().insert(wanted.purpose.to_owned(), size);
    Ok(size)
}

/// Requests outside the measurement.
struct Probes {
    before: Option<Counters>,
    sent: Sent,
}

impl Probes {
    async fn start(bench: &Bench<'_>) -> Result<Self, Unfit> {
        let scrape = Counters::scrape(bench.http());
        let before = bench.cancel().run_until_cancelled(scrape).await.ok_or(Unfit::Cancelled)?;
        Ok(Self { before, sent: Sent::NOTHING })
    }

    /// The size nearest to the target, and its tokens without `around`, those that
    /// do not count.
    async fn fit(
        &mut self,
        bench: &mut Bench<'_>,
        around: u64,
        target: u64,
        mut calibration: Calibration,
        make: impl Make,
    ) -> Result<(usize, Option<u64>), Unfit> {
        let longest = bench.server().max_model_len.unwrap_or(u64::MAX);
        if (around + target).saturating_mul(10) > longest.saturating_mul(9) {
            calibration.be_careful();
        }
        let mut best = None;
        for number in 0..MAX_PROBES {
            let (size, make) = (calibration.size(), make.clone());
            let making = bench.make(move || make(size, &format!("fit {number}")));
            let prompt = making.await.ok_or(Unfit::Cancelled)?;
            let Some(tokens) = self.send(bench, &prompt).await? else { return Ok((size, None)) };
            let tokens = tokens.saturating_sub(around);
            // Too long would break what was promised more than too short.
            let distance = tokens.abs_diff(target) + u64::from(tokens < target);
            if best.is_none_or(|(least, _, _)| distance < least) {
                best = Some((distance, size, tokens));
            }
            calibration.observe(tokens);
            if calibration.is_over() {
                break;
            }
        }
        Ok(best.map_or((1, None), |(_, size, tokens)| (size, Some(tokens))))
    }

    /// Sends a prompt; its length in tokens, where the server tells it.
    async fn send(
        &mut self,
        bench: &mut Bench<'_>,
        prompt: &Prepared,
    ) -> Result<Option<u64>, Unfit> {
        let index = bench.position(0);
        let order = Order { index, purpose: "calibration", scheduled_ns: None };
        let record = bench.send(prompt, order).await.record;
        let (error, usage) = (record.failure().cloned(), record.usage);
        self.sent = self.sent.and(Sent::of(std::slice::from_ref(&record)));
        bench.keep_aside([record]);
        match error {
            Some(error) if error.class == RequestErrorClass::Cancelled => Err(Unfit::Cancelled),
            Some(error) => {
                let told = format!("request {index} (calibration): {}", error.message);
                Err(if is_too_long(&error) { Unfit::TooLong(told) } else { Unfit::Failed(told) })
            }
            None => Ok(usage.map(|usage| usage.prompt_tokens)),
        }
    }

    /// Waits, so that they do not show in the repeat's counters; foreign traffic is
    /// judged there. They were all new: what came from the cache stands in every
    /// prompt.
    async fn settle(self, bench: &mut Bench<'_>) -> Result<(), Unfit> {
        let before = self.before.as_ref();
        let settled = settle(before, bench.http(), self.sent, bench.cancel()).await;
        match (settled, before) {
            (Settled::Cancelled, _) => Err(Unfit::Cancelled),
            (Settled::Ours(now), Some(before)) => {
                let hits = |counters: &Counters| counters.prefix_hits;
                let found = hits(&now).zip(hits(before)).and_then(|(now, b)| now.checked_sub(b));
                if found.zip(now.block_size()).is_some_and(|(found, block)| found >= block) {
                    bench.use_cache_salt();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
