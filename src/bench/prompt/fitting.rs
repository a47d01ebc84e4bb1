//! Fits the size of a text to a length in tokens as the server counts them, with
//! requests of one token, before a repeat's clock starts. How sizes follow from
//! counts is [`Calibration`]'s, what is near enough `length`'s.

use crate::bench::prompt::generate::{Calibration, usual_tolerance};
use crate::bench::prompt::length::{missed, part_missed};
use crate::bench::repeat::RepeatContext;
use crate::bench::traffic::{Sent, Settled, settle};
use crate::client::Order;
use crate::client::error::is_too_long;
use crate::client::record::RequestErrorClass;
use crate::client::request::Prepared;
use crate::server::counters::Counters;

/// Requests that may be spent on one length.
const MAX_PROBES: u32 = 6;

/// Tokens by which prompts of one size differ at the most, and those above its aim by
/// which the nearest one may miss it where the context is tight.
const SPREAD: u64 = 8;
const MIN_TOLERANCE: u64 = 8;

/// Bytes from which on a text shows how many tokens a byte is.
const WORTH_KNOWING: usize = 1000;

/// Why a repeat cannot begin.
#[derive(Debug)]
pub(crate) enum FitError {
    /// No prompt has the length that was asked for, as the server counts it.
    Unmet(String),
    /// A request failed; it is the last one kept aside.
    Failed(String),
    /// A stop was asked for.
    Cancelled,
}

/// A length that prompts of one kind are to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LengthTarget<'w> {
    /// What they are for: its size is found once per server and kept.
    pub(crate) purpose: &'w str,
    /// Tokens that are asked for.
    pub(crate) tokens: u64,
    /// Tokens that are aimed at.
    pub(crate) aim: u64,
    /// Tokens that one may have at the most, where that is near.
    pub(crate) most: Option<u64>,
    /// Tokens per byte, where the texts are not ours and it is known.
    pub(crate) tokens_per_byte: Option<f64>,
}

impl<'w> LengthTarget<'w> {
    /// Prompts with texts of ours.
    pub(crate) fn new(purpose: &'w str, tokens: u64) -> Self {
        Self { purpose, tokens, aim: tokens, most: None, tokens_per_byte: None }
    }

    /// The same where no prompt of the size that is found may have more than `most`
    /// tokens: what a context leaves besides an answer. Near it, the aim is as much
    /// lower as prompts of one size may differ.
    pub(crate) fn at_most(self, most: u64) -> Self {
        let most = most.saturating_sub(SPREAD);
        if self.aim + usual_tolerance(self.aim) <= most {
            return self;
        }
        let aim = self.aim.min(most.saturating_sub(MIN_TOLERANCE)).max(1);
        Self { aim, most: Some(most), ..self }
    }

    /// What its size is kept under.
    fn key(&self) -> String {
        format!("{} {} {:?}", self.purpose, self.aim, self.most)
    }

    fn calibration(&self, repeat: &RepeatContext<'_>) -> Calibration {
        let known = self.tokens_per_byte.or(repeat.session.tokens_per_byte());
        let calibration = Calibration::new(self.aim, known.unwrap_or(0.3));
        match self.most {
            Some(most) => calibration.within(most.saturating_sub(self.aim)),
            None => calibration,
        }
    }

    /// Keeps what was found, and what it shows of texts from `worth` bytes on.
    fn keep(
        &self,
        repeat: &mut RepeatContext<'_>,
        found: &Nearest,
        worth: usize,
        missed: fn(u64, u64) -> Option<String>,
    ) -> Result<usize, FitError> {
        let reason = match (found.tokens, &found.refusal) {
            // Nobody counts: the size is a guess, and stays one.
            (None, None) => None,
            (None, Some(refusal)) => Some(format!("the server refuses the prompt: {refusal}")),
            (Some(tokens), refusal) => missed(tokens, self.tokens).map(|reason| match refusal {
                Some(refusal) => format!("{reason}; it refuses longer prompts: {refusal}"),
                None => reason,
            }),
        };
        let fit = reason.map_or(Ok(found.size), Err);
        if let (Ok(size), Some(tokens)) = (&fit, found.tokens)
            && *size >= worth
            && self.tokens_per_byte.is_none()
            && repeat.session.tokens_per_byte().is_none()
        {
            repeat.session.set_tokens_per_byte(tokens as f64 / *size as f64);
        }
        repeat.session.fits().insert(self.key(), fit.clone());
        fit.map_err(FitError::Unmet)
    }
}

/// The prompt that came nearest to the target.
#[derive(Debug)]
struct Nearest {
    /// Size of its text in bytes.
    size: usize,
    /// Its tokens; `None` where the server did not report them, or refused all.
    tokens: Option<u64>,
    /// The server's message when it refused one as too long.
    refusal: Option<String>,
}

/// The length of a prompt, as the server counts it.
enum Count {
    Tokens(u64),
    Unknown,
    /// It refused the prompt with this message.
    TooLong(String),
}

/// Makes a prompt of a size in bytes, with a name that no other one of the repeat
/// has. It is called on a thread of its own: prompts may be long.
pub(crate) trait Make: Fn(usize, &str) -> Prepared + Clone + Send + 'static {}

impl<M: Fn(usize, &str) -> Prepared + Clone + Send + 'static> Make for M {}

/// The size in bytes that brings a prompt of `make` nearest to the target; a
/// guess where the server does not count.
pub(crate) async fn fit(
    repeat: &mut RepeatContext<'_>,
    target: LengthTarget<'_>,
    make: impl Make,
) -> Result<usize, FitError> {
    if let Some(known) = repeat.session.fits().get(&target.key()) {
        return known.clone().map_err(FitError::Unmet);
    }
    let mut probes = Probes::start(repeat).await?;
    let calibration = target.calibration(repeat);
    let found = probes.fit(repeat, 0, &target, calibration, make).await?;
    probes.settle(repeat).await?;
    target.keep(repeat, &found, WORTH_KNOWING, missed)
}

/// The length of one prompt in tokens; `None` where the server does not report it.
pub(crate) async fn length(
    repeat: &mut RepeatContext<'_>,
    prompt: &Prepared,
) -> Result<Option<u64>, FitError> {
    let mut probes = Probes::start(repeat).await?;
    let count = probes.send(repeat, prompt).await?;
    probes.settle(repeat).await?;
    match count {
        Count::Tokens(tokens) => Ok(Some(tokens)),
        Count::Unknown => Ok(None),
        Count::TooLong(refusal) => Err(FitError::Unmet(refusal)),
    }
}

/// As [`fit`], for a text of `make` that adds what is target to the prompt around
/// it, the chat template's included. `around` makes the same prompt with a text of
/// one token in its place.
pub(crate) async fn fit_added(
    repeat: &mut RepeatContext<'_>,
    target: LengthTarget<'_>,
    around: &Prepared,
    make: impl Make,
) -> Result<usize, FitError> {
    if let Some(known) = repeat.session.fits().get(&target.key()) {
        return known.clone().map_err(FitError::Unmet);
    }
    let mut probes = Probes::start(repeat).await?;
    let around = match probes.send(repeat, around).await? {
        Count::Tokens(tokens) => tokens.saturating_sub(1),
        Count::Unknown => 0,
        Count::TooLong(refusal) => return Err(FitError::Unmet(refusal)),
    };
    let calibration = target.calibration(repeat).within((target.aim / 20).clamp(4, 8));
    let found = probes.fit(repeat, around, &target, calibration, make).await?;
    probes.settle(repeat).await?;
    // What stands around it is not in this share: a shorter text shows it, too.
    target.keep(repeat, &found, WORTH_KNOWING / 5, part_missed)
}

/// Requests outside the measurement.
struct Probes {
    before: Option<Counters>,
    sent: Sent,
}

impl Probes {
    async fn start(repeat: &RepeatContext<'_>) -> Result<Self, FitError> {
        let before = repeat.session.counters().await.ok_or(FitError::Cancelled)?;
        Ok(Self { before, sent: Sent::NOTHING })
    }

    /// The prompt nearest to the target. `around`: tokens of each that do not count.
    async fn fit(
        &mut self,
        repeat: &mut RepeatContext<'_>,
        around: u64,
        target: &LengthTarget<'_>,
        mut calibration: Calibration,
        make: impl Make,
    ) -> Result<Nearest, FitError> {
        let (aim, most) = (target.aim, target.most.unwrap_or(u64::MAX));
        let longest = repeat.session.server().max_model_len.unwrap_or(u64::MAX);
        if (around + aim).saturating_mul(10) > longest.saturating_mul(9) {
            calibration.be_careful();
        }
        let mut nearest = Nearest { size: calibration.size(), tokens: None, refusal: None };
        for number in 0..MAX_PROBES {
            let (size, make) = (calibration.size(), make.clone());
            let making = repeat.session.make(move || make(size, &format!("fit {number}")));
            let prompt = making.await.ok_or(FitError::Cancelled)?;
            match self.send(repeat, &prompt).await? {
                Count::Tokens(tokens) => {
                    let tokens = tokens.saturating_sub(around);
                    // One that leaves no space is no choice where another does, and too short
                    // would break what was promised more than too long.
                    let far = |tokens: u64| {
                        (tokens > most, tokens.abs_diff(aim) + u64::from(tokens < aim))
                    };
                    if nearest.tokens.is_none_or(|known| far(tokens) < far(known)) {
                        nearest = Nearest { size, tokens: Some(tokens), ..nearest };
                    }
                    calibration.observe(tokens);
                }
                Count::Unknown => break,
                Count::TooLong(refusal) => {
                    nearest.refusal = Some(refusal);
                    calibration.refused();
                }
            }
            if calibration.is_over() {
                break;
            }
        }
        Ok(nearest)
    }

    /// Sends a prompt; its length as the server counts it.
    async fn send(
        &mut self,
        repeat: &mut RepeatContext<'_>,
        prompt: &Prepared,
    ) -> Result<Count, FitError> {
        let index = repeat.position(0);
        let order = Order { index, purpose: "calibration", scheduled_ns: None };
        let record = repeat.send(prompt, order).await.record;
        let (error, usage) = (record.failure().cloned(), record.usage);
        self.sent = self.sent.and(Sent::of(std::slice::from_ref(&record)));
        repeat.keep_aside([record]);
        match error {
            Some(error) if error.class == RequestErrorClass::Cancelled => Err(FitError::Cancelled),
            Some(error) if is_too_long(&error) => Ok(Count::TooLong(error.message)),
            Some(error) => {
                Err(FitError::Failed(format!("request {index} (calibration): {}", error.message)))
            }
            None => Ok(usage.map_or(Count::Unknown, |usage| Count::Tokens(usage.prompt_tokens))),
        }
    }

    /// Waits, so that they do not show in the repeat's counters; foreign traffic is
    /// judged there. They were all new: what came from the cache stands in every
    /// prompt.
    async fn settle(self, repeat: &mut RepeatContext<'_>) -> Result<(), FitError> {
        let before = self.before.as_ref();
        let settled = settle(repeat.session, before, self.sent).await;
        match (settled, before) {
            (Settled::Cancelled, _) => Err(FitError::Cancelled),
            (Settled::Ours(now), Some(before)) => {
                let hits = |counters: &Counters| counters.prefix_hits;
                let found = hits(&now).zip(hits(before)).and_then(|(now, b)| now.checked_sub(b));
                if found.zip(now.block_size()).is_some_and(|(found, block)| found >= block) {
                    repeat.session.use_cache_salt();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_the_end_of_a_context_every_prompt_of_the_size_fits() {
        let target = |tokens| LengthTarget::new("a load", tokens);
        // 3968 of 4096 tokens, and an answer of 128: all that there is.
        let tight = target(3968).at_most(3968);
        assert_eq!((tight.aim, tight.most), (3952, Some(3960)));
        assert_eq!(missed(tight.aim, tight.tokens), None, "near enough to what is asked for");
        // 20 tokens are left: the aim stands, and less may be added to it.
        let narrow = target(3948).at_most(3968);
        assert_eq!((narrow.aim, narrow.most), (3948, Some(3960)));
        let roomy = target(3000).at_most(3968);
        assert_eq!((roomy.aim, roomy.most), (3000, None));
        assert_eq!(roomy.key(), target(3000).key(), "one size for all answers");
        assert_ne!(tight.key(), target(3968).key());
        assert_eq!(target(16).at_most(3).aim, 1, "whatever is asked for");
    }
}
