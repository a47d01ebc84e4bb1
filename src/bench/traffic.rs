//! Compares the server's counters with our own requests: certifies cache hits
//! and detects foreign traffic. Counters are updated after the tokens are sent,
//! so each request is waited for.

use std::time::{Duration, Instant};

use crate::bench::lookups::{Lookup, Lookups, grown};
use crate::bench::session::Session;
use crate::bench::standing::{SEVERAL, several_processes};
use crate::client::record::{RequestErrorClass, RequestRecord};
use crate::server::counters::Counters;

/// How long counters may lag behind the tokens.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The counters since the start of a repeat.
#[derive(Debug)]
pub(crate) struct Traffic {
    before: Counters,
    lookups: Lookups,
    requests: u64,
    prompt_tokens: u64,
}

/// What the counters say of a request of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// They grew by exactly this request.
    Ours(Lookup),
    /// They grew by more, or went back: the repeat is void.
    Foreign(String),
    /// They did not grow enough in time: the repeat is void.
    Late(String),
    /// They cannot be compared with requests: nothing is known, and times stand.
    Unusable,
    /// A stop was asked for.
    Cancelled,
}

/// What is missing in the counters.
#[derive(Debug)]
enum Missing {
    Requests(String),
    /// Only look-ups in the prefix cache.
    Lookups(String),
}

/// The remark on a prompt that was sent for the first time, and of which `found`
/// tokens were cached.
pub(crate) fn not_cold(found: u64, tokens: u64) -> String {
    format!("{found} of {tokens} tokens of a prompt never sent before came from the cache")
}

impl Traffic {
    /// Reads the counters before a repeat; `None` where the server has none that can be
    /// compared with requests, or when a stop is asked for.
    pub(crate) async fn start(session: &Session) -> Option<Self> {
        let before = session.counters().await?.filter(Counters::can_certify)?;
        let lookups = Lookups::start(&before);
        Some(Self { before, lookups, requests: 0, prompt_tokens: 0 })
    }

    /// The counters before the repeat.
    pub(crate) fn before(&self) -> &Counters {
        &self.before
    }

    /// Why what was found in the cache is not known, where it is so.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.lookups.unknown()
    }

    /// Waits until the counters show a finished request of `prompt_tokens` tokens.
    pub(crate) async fn after(&mut self, session: &mut Session, prompt_tokens: u64) -> Seen {
        self.requests += 1;
        self.prompt_tokens += prompt_tokens;
        self.lookups.sent(prompt_tokens);
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(scraped) = session.counters().await else { return Seen::Cancelled };
            let missing = match scraped.as_ref().map(|now| self.compare(now)) {
                Some(Ok(None)) => {
                    session.counters_agree();
                    let now = scraped.unwrap_or_default();
                    return Seen::Ours(self.lookups.found(&now));
                }
                Some(Ok(Some(missing))) => missing,
                Some(Err(reason)) => {
                    let now = scraped.unwrap_or_default();
                    return if is_several(session, &self.before, now).await {
                        Seen::Unusable
                    } else {
                        Seen::Foreign(reason)
                    };
                }
                None => Missing::Requests("`/metrics` no longer answers".to_owned()),
            };
            if Instant::now() >= deadline {
                let missing = match missing {
                    Missing::Requests(missing) => missing,
                    Missing::Lookups(missing) => {
                        self.lookups.give_up(&missing);
                        return Seen::Ours(Lookup::Unknown);
                    }
                };
                return match judge_lag(session, &self.before, scraped, &missing).await {
                    Some(late) => Seen::Late(late),
                    None => Seen::Unusable,
                };
            }
            let pausing = tokio::time::sleep(pause);
            if session.cancel().run_until_cancelled(pausing).await.is_none() {
                return Seen::Cancelled;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// `None` when the counters have grown by exactly our requests, else what is
    /// missing; an error when they show somebody else's.
    fn compare(&self, now: &Counters) -> Result<Option<Missing>, String> {
        unless_restarted(&self.before, now)?;
        let mut missing = None;
        for (what, before, after, ours) in [
            ("requests", self.before.requests, now.requests, self.requests),
            ("prompt tokens", self.before.prompt_tokens, now.prompt_tokens, self.prompt_tokens),
        ] {
            let Some(grown) = grown(before, after)? else {
                return Err(format!("the server no longer counts {what}"));
            };
            if grown > ours {
                return Err(format!("foreign traffic: {grown} {what} where ours were {ours}"));
            }
            if grown < ours {
                missing = Some(Missing::Requests(format!("{grown} {what} where ours were {ours}")));
            }
        }
        let lookups = self.lookups.compare(now)?;
        Ok(missing.or(lookups.map(Missing::Lookups)))
    }
}

/// Whether counters that do not fit are of several processes; then they are not looked at
/// any more.
async fn is_several(session: &mut Session, before: &Counters, now: Counters) -> bool {
    let several = several_processes(session.http(), session.cancel(), before, now).await;
    if several {
        session.distrust_counters(SEVERAL.to_owned());
    }
    several
}

/// Why counters that stay behind our requests void a repeat. `None` where they are worth
/// nothing: they are of several processes, or never grew as our requests did.
async fn judge_lag(
    session: &mut Session,
    before: &Counters,
    now: Option<Counters>,
    missing: &str,
) -> Option<String> {
    if let Some(now) = now {
        if is_several(session, before, now).await {
            return None;
        }
        if !session.standing().agreed {
            let reason = format!(
                "the server's counters do not follow our requests ({missing}): neither cache \
                 hits nor foreign traffic can be known"
            );
            session.distrust_counters(reason);
            return None;
        }
    }
    let seconds = PATIENCE.as_secs();
    Some(format!("the server's counters lag by over {seconds} s: {missing}"))
}

/// Times that the server was restarted between two of these readings, one after
/// another, as its counters show. `None` where they do not show it.
pub(crate) fn restarts<'c>(readings: impl IntoIterator<Item = &'c Counters>) -> Option<u64> {
    let mut readings = readings.into_iter().filter(|counters| counters.can_certify());
    let mut before = readings.next()?;
    let (mut count, mut several) = (0, false);
    for now in readings {
        count += u64::from(now.is_restarted_since(before));
        (before, several) = (now, true);
    }
    several.then_some(count)
}

/// What the counters say after a load of our own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Settled {
    /// They grew by exactly our requests, where that can be known.
    Ours(Box<Counters>),
    /// They grew by more, went back, or stayed behind: the repeat is void.
    Not(String),
    /// The server has none, or none that can be compared with requests.
    Unknown,
    /// A stop was asked for.
    Cancelled,
}

/// What we sent in a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Requests, failed ones included.
    pub(crate) requests: u64,
    /// Requests that failed so that the server may have counted them or not.
    failed: u64,
    /// Requests that it cannot have counted: refused, or never received.
    refused: u64,
    /// Prompt tokens of those that did not fail; `None` where the server does not report them.
    pub(crate) prompt_tokens: Option<u64>,
    /// Prompt tokens of those that failed, at most.
    failed_tokens: u64,
}

/// A prompt may have so many times the tokens that another one has of as many bytes.
const DENSER: f64 = 1.25;

impl Sent {
    pub(crate) const NOTHING: Self =
        Self { requests: 0, failed: 0, refused: 0, prompt_tokens: Some(0), failed_tokens: 0 };

    /// What these records are of.
    pub(crate) fn of(records: &[RequestRecord]) -> Self {
        let good = || records.iter().filter(|record| record.failure().is_none());
        let tokens = good().map(|record| record.usage.map(|usage| usage.prompt_tokens));
        let densest = good()
            .filter_map(|record| {
                let tokens = record.usage?.prompt_tokens as f64;
                (record.request_bytes > 0).then(|| tokens / record.request_bytes as f64)
            })
            .reduce(f64::max);
        let failed: Vec<&RequestRecord> = records
            .iter()
            .filter(|record| record.failure().is_some() && !is_uncounted(record))
            .collect();
        // A token is a byte at least; other prompts show how many it is.
        let per_byte = densest.map_or(1.0, |densest| (DENSER * densest).min(1.0));
        let most = |record: &&RequestRecord| (record.request_bytes as f64 * per_byte).ceil() as u64;
        Self {
            requests: records.len() as u64,
            failed: failed.len() as u64,
            refused: records.iter().filter(|record| is_uncounted(record)).count() as u64,
            prompt_tokens: tokens.sum(),
            failed_tokens: failed.iter().map(most).sum(),
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
            refused: self.refused + other.refused,
            prompt_tokens: self.prompt_tokens.zip(other.prompt_tokens).map(|(a, b)| a + b),
            failed_tokens: self.failed_tokens + other.failed_tokens,
        }
    }
}

/// Whether a request cannot have been counted: nobody received it, or it was refused
/// before it was queued.
fn is_uncounted(record: &RequestRecord) -> bool {
    use RequestErrorClass::{ClientError, Connect};
    record.failure().is_some_and(|error| matches!(error.class, ClientError | Connect))
}

/// Waits until the counters show what was sent since `before`, and nothing else.
pub(crate) async fn settle(
    session: &mut Session,
    before: Option<&Counters>,
    sent: Sent,
) -> Settled {
    let Some(before) = before.filter(|before| before.can_certify()) else {
        return Settled::Unknown;
    };
    if session.standing().unusable.is_some() {
        return Settled::Unknown;
    }
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(now) = session.counters().await else { return Settled::Cancelled };
        let missing = match now.as_ref().map(|now| differs(before, now, sent)) {
            None => "`/metrics` no longer answers".to_owned(),
            Some(Err(reason)) => {
                return if is_several(session, before, now.unwrap_or_default()).await {
                    Settled::Unknown
                } else {
                    Settled::Not(reason)
                };
            }
            Some(Ok(Some(missing))) => missing,
            Some(Ok(None)) => {
                // What may not have been counted shows nothing.
                if sent.requests > sent.failed + sent.refused {
                    session.counters_agree();
                }
                return Settled::Ours(Box::new(now.unwrap_or_default()));
            }
        };
        if Instant::now() >= deadline {
            return match judge_lag(session, before, now, &missing).await {
                Some(late) => Settled::Not(late),
                None => Settled::Unknown,
            };
        }
        let pausing = tokio::time::sleep(pause);
        if session.cancel().run_until_cancelled(pausing).await.is_none() {
            return Settled::Cancelled;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// As [`Traffic::compare`], for many requests of which some may have failed.
fn differs(before: &Counters, now: &Counters, sent: Sent) -> Result<Option<String>, String> {
    unless_restarted(before, now)?;
    let mut missing = None;
    let requests = sent.requests - sent.refused;
    for (what, before, after, least, most) in [
        ("requests", before.requests, now.requests, requests - sent.failed, requests),
        (
            "prompt tokens",
            before.prompt_tokens,
            now.prompt_tokens,
            sent.prompt_tokens.unwrap_or(0),
            sent.prompt_tokens.map_or(u64::MAX, |tokens| tokens + sent.failed_tokens),
        ),
    ] {
        let Some(grown) = grown(before, after)? else {
            return Err(format!("the server no longer counts {what}"));
        };
        if grown > most {
            return Err(format!("foreign traffic: {grown} {what} where ours were {most}"));
        }
        if grown < least {
            missing = Some(format!("{grown} {what} where ours were {least}"));
        }
    }
    Ok(missing)
}

fn unless_restarted(before: &Counters, now: &Counters) -> Result<(), String> {
    if now.is_restarted_since(before) {
        return Err("the server was restarted, as its counters show".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::record::{RequestError, Usage};

    /// 1000 bytes that the server counted as 250 tokens.
    fn good() -> RequestRecord {
        let usage = Usage { prompt_tokens: 250, ..Usage::default() };
        RequestRecord { request_bytes: 1000, usage: Some(usage), ..RequestRecord::default() }
    }

    fn failed(class: RequestErrorClass) -> RequestRecord {
        let error = Some(RequestError { class, message: String::new() });
        RequestRecord { request_bytes: 2000, error, ..RequestRecord::default() }
    }

    /// The judgement when the counters grew so after these.
    fn judged(records: &[RequestRecord], requests: u64, prompt_tokens: u64) -> String {
        let counted = |requests, prompt_tokens| Counters {
            requests: Some(requests),
            prompt_tokens: Some(prompt_tokens),
            ..Counters::default()
        };
        let now = counted(7 + requests, 900 + prompt_tokens);
        match differs(&counted(7, 900), &now, Sent::of(records)) {
            Ok(None) => "ours".to_owned(),
            Ok(Some(missing)) => format!("missing: {missing}"),
            Err(reason) => reason,
        }
    }

    #[test]
    fn what_failed_may_have_been_counted_and_hides_no_more_than_it_was() {
        let cut = [good(), good(), failed(RequestErrorClass::Cut)];
        assert_eq!(judged(&cut, 2, 500), "ours", "it was not counted");
        assert_eq!(judged(&cut, 3, 1000), "ours", "it was: 2000 bytes like the others");
        // 1.25 times the tokens of as many bytes of the others, which is 625.
        assert_eq!(judged(&cut, 3, 1125), "ours");
        let foreign = "foreign traffic: 1126 prompt tokens where ours were 1125";
        assert_eq!(judged(&cut, 3, 1126), foreign);
        assert_eq!(judged(&cut, 4, 1000), "foreign traffic: 4 requests where ours were 3");
        assert_eq!(judged(&cut, 1, 250), "missing: 250 prompt tokens where ours were 500");
        // Alone it has a token in each byte at most.
        let alone = [failed(RequestErrorClass::Silent)];
        assert_eq!(judged(&alone, 1, 2000), "ours");
        assert!(judged(&alone, 1, 2001).starts_with("foreign traffic"));
    }

    #[test]
    fn what_was_refused_or_never_received_hides_nothing() {
        for class in [RequestErrorClass::ClientError, RequestErrorClass::Connect] {
            let records = [good(), failed(class)];
            assert_eq!(judged(&records, 1, 250), "ours");
            assert_eq!(judged(&records, 2, 250), "foreign traffic: 2 requests where ours were 1");
            let foreign = "foreign traffic: 260 prompt tokens where ours were 250";
            assert_eq!(judged(&records, 1, 260), foreign);
        }
    }

    #[test]
    fn sums_are_of_everything_that_was_sent() {
        let (one, other) =
            ([good(), failed(RequestErrorClass::Cut)], [failed(RequestErrorClass::ClientError)]);
        let both = Sent::of(&one).and(Sent::of(&other));
        assert_eq!(both, Sent::of(&[&one[..], &other].concat()));
        assert_eq!(Sent::NOTHING.and(both), both);
        let unknown = RequestRecord { usage: None, ..good() };
        assert_eq!(judged(&[unknown, good()], 2, 99_999), "ours", "nobody reports their tokens");
    }

    #[test]
    fn a_counter_that_goes_back_is_a_restart() {
        let of = |pairs: &[(u64, u64)]| {
            let read = |(requests, tokens): &(u64, u64)| Counters {
                requests: Some(*requests),
                prompt_tokens: Some(*tokens),
                ..Counters::default()
            };
            let readings: Vec<Counters> = pairs.iter().map(read).collect();
            restarts(&readings)
        };
        assert_eq!(of(&[(5, 500), (5, 500), (9, 800)]), Some(0));
        assert_eq!(of(&[(5, 500), (0, 0), (9, 800), (9, 700)]), Some(2));
        assert_eq!((of(&[(5, 500)]), of(&[])), (None, None), "one reading shows nothing");
        assert_eq!(restarts(&[Counters::default(), Counters::default()]), None);
    }
}
