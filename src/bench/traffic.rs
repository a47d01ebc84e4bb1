//! Holds the server's counters against our own requests: certifies cache hits
//! and shows foreign traffic. Counters are updated after the tokens are sent,
//! so each request is waited for.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bench::record::RequestRecord;
use crate::server::counters::Counters;
use crate::server::http::Http;

/// How long counters may lag behind the tokens.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The counters since the start of a repeat.
#[derive(Debug)]
pub(crate) struct Traffic {
    before: Counters,
    hits_so_far: u64,
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
    /// A stop was asked for.
    Cancelled,
}

/// What came of looking a prompt up in the prefix cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It was looked up; so many tokens were found.
    Found(u64),
    /// It was not: prefix caching is off.
    Off,
    /// The server does not tell.
    Unknown,
}

impl Traffic {
    /// Reads the counters before a repeat; `None` where the server has none.
    pub(crate) async fn start(http: &Http) -> Option<Self> {
        let before = Counters::scrape(http).await.filter(Counters::can_certify)?;
        let hits_so_far = before.prefix_hits.unwrap_or(0);
        Some(Self { before, hits_so_far, requests: 0, prompt_tokens: 0 })
    }

    /// The counters before the repeat.
    pub(crate) fn before(&self) -> &Counters {
        &self.before
    }

    /// Waits until the counters show a finished request of `prompt_tokens` tokens.
    pub(crate) async fn after(
        &mut self,
        http: &Http,
        prompt_tokens: u64,
        cancel: &CancellationToken,
    ) -> Seen {
        self.requests += 1;
        self.prompt_tokens += prompt_tokens;
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(scraped) = cancel.run_until_cancelled(Counters::scrape(http)).await else {
                return Seen::Cancelled;
            };
            let missing = match scraped.as_ref().map(|now| self.compare(now)) {
                Some(Ok(None)) => {
                    let lookup = self.lookup(scraped.as_ref().unwrap_or(&self.before));
                    if let Lookup::Found(found) = lookup {
                        self.hits_so_far += found;
                    }
                    return Seen::Ours(lookup);
                }
                Some(Ok(Some(missing))) => missing,
                Some(Err(reason)) => return Seen::Foreign(reason),
                None => "`/metrics` no longer answers".to_owned(),
            };
            if Instant::now() >= deadline {
                let seconds = PATIENCE.as_secs();
                return Seen::Late(format!(
                    "the server's counters lag by over {seconds} s: {missing}"
                ));
            }
            if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Seen::Cancelled;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// `None` when the counters have grown by exactly our requests, else what is
    /// missing; an error when they show somebody else's.
    fn compare(&self, now: &Counters) -> Result<Option<String>, String> {
        let mut pairs = vec![
            ("requests", self.before.requests, now.requests, self.requests),
            ("prompt tokens", self.before.prompt_tokens, now.prompt_tokens, self.prompt_tokens),
        ];
        let looked_up = grown(self.before.prefix_queries, now.prefix_queries)?;
        // Unless the server tells that caching is off or on, a look-up shows that it is on.
        let caching = self.before.prefix_caching().unwrap_or(looked_up != Some(0));
        if caching && self.before.prefix_queries.is_some() {
            pairs.push((
                "tokens looked up in the prefix cache",
                self.before.prefix_queries,
                now.prefix_queries,
                self.prompt_tokens,
            ));
        }
        let mut missing = None;
        for (what, before, after, ours) in pairs {
            let Some(grown) = grown(before, after)? else {
                return Err(format!("the server no longer counts {what}"));
            };
            if grown > ours {
                return Err(format!("foreign traffic: {grown} {what} where ours were {ours}"));
            }
            if grown < ours {
                missing = Some(format!("{grown} {what} where ours were {ours}"));
            }
        }
        Ok(missing)
    }

    fn lookup(&self, now: &Counters) -> Lookup {
        let grown = |before: Option<u64>, after: Option<u64>| after?.checked_sub(before?);
        match (self.before.prefix_caching(), grown(self.before.prefix_queries, now.prefix_queries))
        {
            (Some(false), _) | (None, Some(0)) => Lookup::Off,
            (_, Some(1..)) => now
                .prefix_hits
                .and_then(|hits| hits.checked_sub(self.hits_so_far))
                .map_or(Lookup::Unknown, Lookup::Found),
            _ => Lookup::Unknown,
        }
    }
}

/// What the counters say after a load of our own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Settled {
    /// They grew by exactly our requests, where that can be told.
    Ours(Box<Counters>),
    /// They grew by more, went back, or stayed behind: the repeat is void.
    Not(String),
    /// The server has none.
    Unknown,
    /// A stop was asked for.
    Cancelled,
}

/// What we sent in a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Requests, failed ones included.
    pub(crate) requests: u64,
    /// Requests that failed: the server may have counted them or not.
    pub(crate) failed: u64,
    /// Prompt tokens of those that did not; `None` where the server does not tell.
    pub(crate) prompt_tokens: Option<u64>,
}

impl Sent {
    pub(crate) const NOTHING: Self = Self { requests: 0, failed: 0, prompt_tokens: Some(0) };

    /// What these records are of.
    pub(crate) fn of(records: &[RequestRecord]) -> Self {
        let good = || records.iter().filter(|record| record.failure().is_none());
        let tokens = good().map(|record| record.usage.map(|usage| usage.prompt_tokens));
        Self {
            requests: records.len() as u64,
            failed: (records.len() - good().count()) as u64,
            prompt_tokens: tokens.sum(),
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
            prompt_tokens: self.prompt_tokens.zip(other.prompt_tokens).map(|(a, b)| a + b),
        }
    }
}

/// Waits until the counters show what was sent since `before`, and nothing else.
pub(crate) async fn settle(
    before: Option<&Counters>,
    http: &Http,
    sent: Sent,
    cancel: &CancellationToken,
) -> Settled {
    let Some(before) = before.filter(|before| before.can_certify()) else {
        return Settled::Unknown;
    };
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(now) = cancel.run_until_cancelled(Counters::scrape(http)).await else {
            return Settled::Cancelled;
        };
        let missing = match now.as_ref().map(|now| differs(before, now, sent)) {
            None => "`/metrics` no longer answers".to_owned(),
            Some(Err(reason)) => return Settled::Not(reason),
            Some(Ok(Some(missing))) => missing,
            Some(Ok(None)) => return Settled::Ours(Box::new(now.unwrap_or_default())),
        };
        if Instant::now() >= deadline {
            let seconds = PATIENCE.as_secs();
            return Settled::Not(format!(
                "the server's counters lag by over {seconds} s: {missing}"
            ));
        }
        if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Settled::Cancelled;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// As [`Traffic::compare`], for many requests of which some may have failed.
fn differs(before: &Counters, now: &Counters, sent: Sent) -> Result<Option<String>, String> {
    let mut missing = None;
    for (what, before, after, least, most) in [
        ("requests", before.requests, now.requests, sent.requests - sent.failed, sent.requests),
        (
            "prompt tokens",
            before.prompt_tokens,
            now.prompt_tokens,
            sent.prompt_tokens.unwrap_or(0),
            // How long the failed ones were, nobody has told.
            sent.prompt_tokens.filter(|_| sent.failed == 0).unwrap_or(u64::MAX),
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

/// Growth of a counter; an error when it went back: the server was restarted.
fn grown(before: Option<u64>, after: Option<u64>) -> Result<Option<u64>, String> {
    match (before, after) {
        (Some(before), Some(after)) => after
            .checked_sub(before)
            .map(Some)
            .ok_or_else(|| "the server's counters went back: it was restarted".to_owned()),
        _ => Ok(None),
    }
}
