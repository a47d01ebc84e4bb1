//! Requests of one repeat, one after another on one connection: sent, recorded,
//! compared with the server's counters. What is asked and what the answers are
//! worth is the workloads'.

use crate::bench::error::BenchError;
use crate::bench::lookups::Lookup;
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::prompt::length::missed;
use crate::bench::repeat::RepeatContext;
use crate::bench::traffic::{Seen, Traffic, not_cold};
use crate::client::Answer;
use crate::client::Order;
use crate::client::error::is_too_long;
use crate::client::record::{RequestErrorClass, RequestRecord};
use crate::client::request::{Prepared, RequestSpec};
use crate::metric::MetricValues;

/// An answer with a smaller budget than this, in tokens, is not asked for.
const SHORTEST_ANSWER: u64 = 512;

/// How the remark begins on a server that counts only what was not in its cache.
const NEW_ALONE: &str = "the server's `usage` leaves out what came from its cache";

/// Why a repeat ends before its time.
#[derive(Debug)]
pub(crate) enum Stop {
    Void(String),
    /// A request failed: the record is the last one.
    Failed(String),
    /// The server refused a request as too long: the record is the last one.
    TooLong(String),
    /// The server does not offer what is asked for.
    Skipped(String),
    Cancelled,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) record: RequestRecord,
    pub(crate) answer: Answer,
    /// It did not end by itself.
    pub(crate) truncated: bool,
    pub(crate) lookup: Lookup,
}

impl Reply {
    /// Tokens of its prompt; 0 where they are not reported.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.record.usage.map_or(0, |usage| usage.prompt_tokens)
    }

    /// A remark that names its request.
    pub(crate) fn located(&self, what: &str) -> String {
        format!("request {} ({}): {what}", self.record.index, self.record.purpose)
    }

    /// The repeat is void where a prompt is not as long as asked for.
    pub(crate) fn check_length(&self, target: u64) -> Result<(), Stop> {
        let reason = self.record.usage.and_then(|usage| missed(usage.prompt_tokens, target));
        reason.map_or(Ok(()), |reason| Err(Stop::Void(self.located(&reason))))
    }
}

/// The requests of one repeat.
pub(crate) struct RequestSequence<'r, 's> {
    pub(crate) repeat: &'r mut RepeatContext<'s>,
    traffic: Option<Traffic>,
    /// Why there is nothing to compare requests with any more.
    untold: Option<&'static str>,
    records: Vec<RequestRecord>,
    /// Requests that failed because they were answered without a token.
    silent: usize,
    remarks: Vec<String>,
}

impl<'r, 's> RequestSequence<'r, 's> {
    /// Reads the server's counters, where it has any: what is measured begins.
    pub(crate) async fn start(repeat: &'r mut RepeatContext<'s>) -> Self {
        repeat.begins();
        let traffic = Traffic::start(repeat.session).await;
        let (records, remarks) = (Vec::new(), Vec::new());
        Self { repeat, traffic, untold: None, records, silent: 0, remarks }
    }

    /// The first request's record, where there was one request only.
    pub(crate) fn only_record(&self) -> Option<&RequestRecord> {
        match &self.records[..] {
            [record] => Some(record),
            _ => None,
        }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.records.len()
    }

    /// Requests so far that failed.
    pub(crate) fn failed(&self) -> usize {
        self.silent + self.records.iter().filter(|record| record.failure().is_some()).count()
    }

    /// Sends a request, reads its answer, waits for the counters.
    pub(crate) async fn ask(&mut self, purpose: &str, spec: RequestSpec) -> Result<Reply, Stop> {
        let target = self.repeat.target().clone();
        let prompt =
            self.repeat.session.make(move || spec.prepare(&target)).await.ok_or(Stop::Cancelled)?;
        self.send(purpose, &prompt).await
    }

    /// The same with a request that was prepared before, and may be sent again.
    pub(crate) async fn send(&mut self, purpose: &str, prompt: &Prepared) -> Result<Reply, Stop> {
        self.send_of(purpose, prompt, None).await
    }

    /// The same with a prompt that was sent before, and had so many tokens then.
    pub(crate) async fn send_again(
        &mut self,
        purpose: &str,
        prompt: &Prepared,
        first: &Reply,
    ) -> Result<Reply, Stop> {
        let tokens = first.record.usage.map(|usage| usage.prompt_tokens);
        self.send_of(purpose, prompt, tokens).await
    }

    async fn send_of(
        &mut self,
        purpose: &str,
        prompt: &Prepared,
        known: Option<u64>,
    ) -> Result<Reply, Stop> {
        let index = self.repeat.position(self.records.len());
        let outcome = self.repeat.send(prompt, Order { index, purpose, scheduled_ns: None }).await;
        let mut record = outcome.record;
        if let Some(error) = record.failure().cloned() {
            self.records.push(record);
            let reason = format!("request {index} ({purpose}): {}", error.message);
            return Err(match error.class {
                RequestErrorClass::Cancelled => Stop::Cancelled,
                _ if is_too_long(&error) => Stop::TooLong(reason),
                _ => Stop::Failed(reason),
            });
        }
        if prompt.must_have_tokens && record.first_token_ns.is_none() {
            self.records.push(record);
            self.silent += 1;
            let reason = format!("request {index} ({purpose}): the stream carried no token");
            return Err(Stop::Failed(reason));
        }
        self.correct(&mut record, known);
        let tokens = record.usage.map(|usage| usage.prompt_tokens).filter(|tokens| *tokens > 0);
        let seen = self.counted(tokens).await;
        if let (Ok(Lookup::Found(found)), Some(usage)) = (&seen, &mut record.usage) {
            usage.cached_tokens.get_or_insert(*found);
        }
        self.records.push(record.clone());
        let lookup = seen?;
        let answer = outcome.answer.unwrap_or_default();
        let truncated = record.is_truncated(prompt.max_tokens);
        Ok(Reply { record, answer, truncated, lookup })
    }

    /// A server that counts only what was not in its cache counts a prompt that is sent
    /// again as shorter than the first time: it has the tokens that it had. Counters show
    /// whether it was cut instead.
    fn correct(&mut self, record: &mut RequestRecord, known: Option<u64>) {
        let (Some(known), Some(usage)) = (known, &mut record.usage) else { return };
        let is_told = usage.leaves_out_cached(false) || self.traffic.is_none();
        if usage.prompt_tokens < known && is_told {
            self.repeat.session.found_to_count_new_alone();
            if !self.remarks.iter().any(|remark| remark.starts_with(NEW_ALONE)) {
                let counted = usage.prompt_tokens;
                self.remark(format!(
                    "{NEW_ALONE}: of {known} tokens sent again it counts {counted}"
                ));
            }
            usage.prompt_tokens = known;
        }
    }

    /// Asks with a prompt that was never sent before: a miss, which the counters certify.
    pub(crate) async fn ask_cold(
        &mut self,
        purpose: &str,
        spec: RequestSpec,
    ) -> Result<Reply, Stop> {
        let reply = self.ask(purpose, spec).await?;
        self.check_cold(&reply)?;
        Ok(reply)
    }

    /// The same where another figure than the time to the first token is judged: what
    /// was cached is a remark.
    pub(crate) async fn ask_new(
        &mut self,
        purpose: &str,
        spec: RequestSpec,
    ) -> Result<Reply, Stop> {
        let reply = self.ask(purpose, spec).await?;
        if let Some(reason) = self.unexpected_hit(&reply) {
            self.remark(reason);
        }
        Ok(reply)
    }

    /// The repeat is void where the counters show that some of a prompt that was
    /// never sent before was cached.
    pub(crate) fn check_cold(&mut self, reply: &Reply) -> Result<(), Stop> {
        self.unexpected_hit(reply).map_or(Ok(()), |reason| Err(Stop::Void(reason)))
    }

    /// Why a prompt that was never sent before was no miss. A warm-up may find out
    /// that the chat template itself opens with a block.
    fn unexpected_hit(&mut self, reply: &Reply) -> Option<String> {
        let found = reply.lookup.unexpected_hit(self.block_size())?;
        if !self.repeat.session.use_cache_salt() && self.repeat.is_warmup() {
            return None;
        }
        Some(reply.located(&not_cold(found, reply.prompt_tokens())))
    }

    /// Tokens of a block of the server's cache, where it reports them.
    pub(crate) fn block_size(&self) -> Option<u64> {
        self.traffic.as_ref()?.before().block_size()
    }

    /// Engines behind the server, each with a cache of its own, where it reports them.
    pub(crate) fn engines(&self) -> Vec<&str> {
        let engines = self.traffic.as_ref().map(|traffic| &traffic.before().engines);
        engines.into_iter().flatten().map(String::as_str).collect()
    }

    /// Why it is not known what was found in the cache, where it is not.
    pub(crate) fn hits_unknown(&self) -> Option<&str> {
        let standing = self.repeat.session.standing().unusable.as_deref();
        let traffic = self.traffic.as_ref().and_then(Traffic::unknown);
        standing.or(traffic).or(self.untold)
    }

    /// The requests so far.
    pub(crate) fn records(&self) -> &[RequestRecord] {
        &self.records
    }

    /// Says something of a repeat that is valid all the same.
    pub(crate) fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    async fn counted(&mut self, prompt_tokens: Option<u64>) -> Result<Lookup, Stop> {
        let (Some(traffic), Some(prompt_tokens)) = (&mut self.traffic, prompt_tokens) else {
            // From here on it is unknown which part of the counters is ours.
            let had = self.traffic.take().is_some();
            self.untold.get_or_insert(if had {
                "the server does not report the tokens of a prompt"
            } else {
                "the server has no counters of its cache"
            });
            return Ok(Lookup::Unknown);
        };
        match traffic.after(self.repeat.session, prompt_tokens).await {
            Seen::Ours(lookup) => Ok(lookup),
            Seen::Foreign(reason) | Seen::Late(reason) => Err(Stop::Void(reason)),
            Seen::Unusable => {
                self.traffic = None;
                Ok(Lookup::Unknown)
            }
            Seen::Cancelled => Err(Stop::Cancelled),
        }
    }

    /// The repeat, as it ended.
    pub(crate) fn end(
        self,
        ended: Result<(), Stop>,
        metrics: MetricValues,
    ) -> Result<RepeatResult, BenchError> {
        let outcome = match ended {
            Ok(()) => {
                RepeatOutcome::Ok((!self.remarks.is_empty()).then(|| self.remarks.join("; ")))
            }
            Err(Stop::Void(reason)) => RepeatOutcome::Void(reason),
            Err(Stop::Failed(reason)) => RepeatOutcome::Failed(reason),
            // What does not fit into the context is not measured, known before or not.
            Err(Stop::TooLong(reason)) => {
                let (outcome, metrics) = (RepeatOutcome::Skipped(reason), MetricValues::new());
                return Ok(RepeatResult {
                    records: self.records,
                    ..RepeatResult::without_requests(outcome, metrics)
                });
            }
            Err(Stop::Skipped(reason)) => RepeatOutcome::Skipped(reason),
            Err(Stop::Cancelled) => {
                // For who finds out why the watchdog has stopped it.
                self.repeat.keep_aside(self.records);
                return Err(BenchError::Cancelled);
            }
        };
        Ok(RepeatResult {
            records: self.records,
            ..RepeatResult::without_requests(outcome, metrics)
        })
    }
}

/// Tokens that an answer may have after a prompt of `bytes`: `asked`, or what the
/// context leaves.
pub(crate) fn answer_budget(
    repeat: &RepeatContext<'_>,
    bytes: usize,
    asked: u64,
) -> Result<u64, Stop> {
    let Some(longest) = repeat.session.server().max_model_len else { return Ok(asked) };
    // The template's own tokens, and a byte a token where nothing better is known.
    let prompt = 256 + (bytes as f64 * repeat.session.tokens_per_byte().unwrap_or(1.0)) as u64;
    let left = longest.saturating_sub(prompt);
    if left < asked.min(SHORTEST_ANSWER) {
        return Err(Stop::Skipped(format!(
            "a prompt of about {prompt} tokens leaves no space for an answer in the context of {longest}"
        )));
    }
    Ok(asked.min(left))
}

/// The mean; `None` of nothing.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
