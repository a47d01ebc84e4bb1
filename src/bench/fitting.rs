//! Fits the size of a text to a length in tokens as the server counts them, with
//! requests of one token, before a repeat's clock starts.

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
/// Bytes per token that no text of ours has: a size beyond it means that the
/// server's count says nothing.
const MAX_BYTES_PER_TOKEN: usize = 32;

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

/// The size in bytes that brings a prompt of `make` nearest to `target` tokens; a
/// guess where the server does not count them. Found once per `purpose` and kept. `make` is given a size and a name that no
/// other prompt of the repeat has.
pub(crate) async fn fit(
    bench: &mut Bench<'_>,
    purpose: &str,
    target: u64,
    make: impl Fn(usize, &str) -> Prepared,
) -> Result<usize, Unfit> {
    if let Some(size) = bench.sizes().get(purpose) {
        return Ok(*size);
    }
    let mut probes = Probes::start(bench).await;
    let calibration = Calibration::new(target, bench.tokens_per_byte().unwrap_or(0.3));
    let size = probes.fit(bench, 0, target, calibration, make).await?;
    probes.settle(bench).await?;
    bench.sizes().insert(purpose.to_owned(), size);
    Ok(size)
}

/// The length of one prompt in tokens; `None` where the server does not tell.
pub(crate) async fn length(bench: &mut Bench<'_>, prompt: &Prepared) -> Result<Option<u64>, Unfit> {
    let mut probes = Probes::start(bench).await;
    let tokens = probes.send(bench, prompt).await?;
    probes.settle(bench).await?;
    Ok(tokens)
}

/// As [`fit`], for a text of `make` that adds `target` tokens to the prompt around
/// it, the chat template's included. `around` is given a name, and makes the same
/// prompt with a text of one token in its place.
pub(crate) async fn fit_added(
    bench: &mut Bench<'_>,
    purpose: &str,
    target: u64,
    around: impl Fn(&str) -> Prepared,
    make: impl Fn(usize, &str) -> Prepared,
) -> Result<usize, Unfit> {
    if let Some(size) = bench.sizes().get(purpose) {
        return Ok(*size);
    }
    let mut probes = Probes::start(bench).await;
    let around = probes.send(bench, &around("around")).await?.unwrap_or(1).saturating_sub(1);
    let calibration = Calibration::new(target, bench.tokens_per_byte().unwrap_or(0.3))
        .within((target / 20).clamp(4, 8));
    let size = probes.fit(bench, around, target, calibration, make).await?;
    let is_told = probes.sent.prompt_tokens.is_some();
    probes.settle(bench).await?;
    // What stands around it is not in this share: a shorter text tells it, too.
    if is_told && bench.tokens_per_byte().is_none() && size >= WORTH_KNOWING / 5 {
        bench.set_tokens_per_byte(target as f64 / size as f64);
    }
    bench.sizes().insert(purpose.to_owned(), size);
    Ok(size)
}

/// Requests outside the measurement.
struct Probes {
    before: Option<Counters>,
    sent: Sent,
}

impl Probes {
    async fn start(bench: &Bench<'_>) -> Self {
        let before = Counters::scrape(bench.http()).await;
        Self { before, sent: Sent::NOTHING }
    }

    /// `around`: tokens that do not count.
    async fn fit(
        &mut self,
        bench: &mut Bench<'_>,
        around: u64,
        target: u64,
        mut calibration: Calibration,
        make: impl Fn(usize, &str) -> Prepared,
    ) -> Result<usize, Unfit> {
        let longest = bench.server().max_model_len.unwrap_or(u64::MAX);
        if (around + target).saturating_mul(10) > longest.saturating_mul(9) {
            calibration.be_careful();
        }
        let mut best = None;
        for number in 0..MAX_PROBES {
            let size = calibration.size();
            let told = self.send(bench, &make(size, &format!("fit {number}"))).await?;
            let Some(tokens) = told else { return Ok(size) };
            let tokens = tokens.saturating_sub(around);
            // Too long would break what was promised more than too short.
            let distance = tokens.abs_diff(target) + u64::from(tokens < target);
            if best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, size));
            }
            if around == 0 && bench.tokens_per_byte().is_none() && size >= WORTH_KNOWING {
                bench.set_tokens_per_byte(tokens as f64 / size as f64);
            }
            calibration.observe(tokens);
            let hopeless = calibration.size() > (target as usize + 64) * MAX_BYTES_PER_TOKEN;
            if calibration.is_fitted() || hopeless || calibration.size() == size {
                break;
            }
        }
        Ok(best.map_or(1, |(_, size)| size))
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
    /// judged there.
    async fn settle(self, bench: &Bench<'_>) -> Result<(), Unfit> {
        match settle(self.before.as_ref(), bench.http(), self.sent, bench.cancel()).await {
            Settled::Cancelled => Err(Unfit::Cancelled),
            _ => Ok(()),
        }
    }
}
