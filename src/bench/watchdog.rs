//! The progress watchdog: finds a server that is alive and gets nothing done while requests
//! of a repeat are in flight, and requests that it has lost while it answers others. A long
//! prefill is no hang: it may last three times as long as is expected of it. The judgement
//! takes times as values; who dies is in [`super::liveness`], what follows is the suite's.

use std::time::Duration;

use tokio::time::timeout;

use crate::bench::liveness::decodes;
use crate::client::Limits;
use crate::client::clock::now_ns;
use crate::client::flights::{Flights, Underway};
use crate::server::Server;
use crate::server::counters::Counters;
use crate::server::health::{Health, health_by};
use crate::server::http::Http;

/// A prefill may last so many times what is expected of it.
const PREFILLS: u32 = 3;
/// The counters are read from this part of the limit on: they cost the server some work.
const FIRST_LOOK: u32 = 4;
/// So many looks fit into the limit.
const LOOKS: u32 = 12;
/// Without counters nobody says that requests are not at work: they are lost where others are
/// answered so many times meanwhile, a limit apart.
const ASKS: u32 = 3;
/// The counters may take so long where the limit is shorter.
const SHORTEST_READING: Duration = Duration::from_secs(1);

/// Why a repeat does not come to its end: the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// The server gets nothing done.
    Wedged(String),
    /// It answers others, and never what is in flight.
    Lost(String),
}

/// What the watchdog looks at during one repeat.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pub(crate) server: Server,
    pub(crate) http: Http,
    pub(crate) flights: Flights,
    pub(crate) limits: Limits,
    /// Requests are sent by another program: only the server's counters show them.
    pub(crate) is_external: bool,
}

impl Watchdog {
    /// Returns when nothing in flight comes to its end. It never does where all is well.
    pub(crate) async fn stuck(self) -> Stuck {
        let mut judge = Judge::new(self.limits.no_progress, self.is_external, now_ns());
        loop {
            let pause = judge.floor / LOOKS;
            let due_ns = now_ns() + ns(pause);
            tokio::time::sleep(pause).await;
            let at_ns = now_ns();
            if at_ns > due_ns + ns(pause.max(Duration::from_secs(1))) {
                // We were late ourselves, or the machine was paused: silence began with us.
                judge.restart(at_ns);
                continue;
            }
            let underway = self.underway();
            if !judge.is_due(at_ns, underway) {
                continue;
            }
            let patience = judge.floor.max(SHORTEST_READING);
            let counters = timeout(patience, Counters::scrape(&self.http)).await.ok().flatten();
            // Tokens may have come meanwhile.
            let at_ns = now_ns();
            match judge.judge(at_ns, self.underway(), counters.as_ref()) {
                Verdict::Wait => {}
                Verdict::Wedged(what) => return Stuck::Wedged(self.with_health(what).await),
                Verdict::Ask { what, is_last } => match self.asked().await {
                    Asked::Progress => judge.restart(now_ns()),
                    Asked::Silent(reason) => {
                        let what = format!("{what}; then {reason}");
                        return Stuck::Wedged(self.with_health(what).await);
                    }
                    Asked::Answered if is_last => {
                        return Stuck::Lost(format!("{what}; it answers other requests"));
                    }
                    Asked::Answered => {}
                },
            }
        }
    }

    /// Asks the engine for a token of another request.
    async fn asked(&self) -> Asked {
        let before = self.underway();
        let decodes = decodes(&self.server, self.limits.first_token).await;
        let after = self.underway();
        let is_same = after.requests > 0 && after.silent_since_ns == before.silent_since_ns;
        match decodes {
            Err(reason) if after.heard_ns == before.heard_ns => Asked::Silent(reason),
            Ok(()) if is_same => Asked::Answered,
            _ => Asked::Progress,
        }
    }

    fn underway(&self) -> Underway {
        if !self.is_external {
            return self.flights.underway();
        }
        // Its prompts are not known: they may be as long as the server takes them.
        let longest = self.server.max_model_len.unwrap_or(0).saturating_mul(BYTES_PER_TOKEN);
        let prefill = self.flights.prefill(longest);
        Underway { requests: 1, silent_since_ns: 0, heard_ns: 0, prefill }
    }

    async fn with_health(&self, what: String) -> String {
        let health = match health_by(&self.http).await {
            Health::Up => "200".to_owned(),
            Health::NotYet(status) => status.to_string(),
            Health::Unreachable => "not answered".to_owned(),
        };
        format!("{what}; /health is {health}")
    }
}

/// Of a prompt whose text is not known.
const BYTES_PER_TOKEN: u64 = 4;

/// What came of asking the engine.
enum Asked {
    /// What was in flight moved meanwhile, or is over.
    Progress,
    /// It answered, and what is in flight is as silent as before.
    Answered,
    /// Nothing came: why.
    Silent(String),
}

/// What a look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    /// Nothing advances: the evidence.
    Wedged(String),
    /// Nothing is heard, and no counter says that it is at work: ask whether it decodes.
    /// `is_last`: what is in flight is lost where it does.
    Ask {
        what: String,
        is_last: bool,
    },
}

/// Counters that stood still.
#[derive(Clone, Debug)]
struct Flat {
    since_ns: u64,
    tokens: (Option<u64>, Option<u64>),
}

/// Judges by what was seen so far. Times are those of [`now_ns`].
#[derive(Debug)]
struct Judge {
    floor: Duration,
    /// Its answers are not seen: the counters alone tell.
    is_external: bool,
    not_before_ns: u64,
    next_look_ns: u64,
    flat: Option<Flat>,
    /// How often it was to be asked since something was heard.
    asks: u32,
}

impl Judge {
    fn new(floor: Duration, is_external: bool, now_ns: u64) -> Self {
        Self { floor, is_external, not_before_ns: now_ns, next_look_ns: 0, flat: None, asks: 0 }
    }

    /// What was not seen before `now_ns` does not count.
    fn restart(&mut self, now_ns: u64) {
        *self = Self::new(self.floor, self.is_external, now_ns);
    }

    fn limit(&self, underway: Underway) -> Duration {
        self.floor.max(underway.prefill.saturating_mul(PREFILLS))
    }

    fn silence(&self, now_ns: u64, underway: Underway) -> Duration {
        let since_ns = underway.silent_since_ns.max(self.not_before_ns);
        Duration::from_nanos(now_ns.saturating_sub(since_ns))
    }

    /// Whether the server's counters are to be read now.
    fn is_due(&mut self, now_ns: u64, underway: Underway) -> bool {
        let limit = self.limit(underway);
        if underway.requests == 0 || self.silence(now_ns, underway) < limit / FIRST_LOOK {
            (self.flat, self.asks) = (None, 0);
            return false;
        }
        if now_ns < self.next_look_ns {
            return false;
        }
        self.next_look_ns = now_ns.saturating_add(ns(limit / LOOKS));
        true
    }

    fn judge(&mut self, now_ns: u64, underway: Underway, counters: Option<&Counters>) -> Verdict {
        let (limit, silence) = (self.limit(underway), self.silence(now_ns, underway));
        let shown = counters.filter(|it| it.running.is_some() && it.generation_tokens.is_some());
        let Some(counters) = shown else {
            self.flat = None;
            return self.without_counters(limit, silence, underway.requests);
        };
        let running = counters.running.unwrap_or(0.0);
        let waiting = counters.waiting.unwrap_or(0.0);
        let is_idle = running + waiting <= 0.0;
        if is_idle && self.is_external {
            // Its program may be busy with something else.
            self.flat = None;
            return Verdict::Wait;
        }
        let tokens = (counters.prompt_tokens, counters.generation_tokens);
        let flat = match &self.flat {
            Some(flat) if flat.tokens == tokens => flat,
            _ => self.flat.insert(Flat { since_ns: now_ns, tokens }),
        };
        let stood = Duration::from_nanos(now_ns.saturating_sub(flat.since_ns));
        let needed = if self.is_external { limit } else { limit / 2 };
        if silence < limit || stood < needed {
            return Verdict::Wait;
        }
        let stood = format!(
            "the server reports {running} running and {waiting} waiting requests, and its counters \
             have stood for {:.1} s at {} prompt and {} generated tokens",
            stood.as_secs_f64(),
            count(tokens.0),
            count(tokens.1)
        );
        if self.is_external {
            return Verdict::Wedged(stood);
        }
        let what = format!("no token of an answer for {:.1} s; {stood}", silence.as_secs_f64());
        if is_idle { Verdict::Ask { what, is_last: true } } else { Verdict::Wedged(what) }
    }

    fn without_counters(&mut self, limit: Duration, silence: Duration, requests: usize) -> Verdict {
        if self.is_external || requests == 0 || silence < limit.saturating_mul(self.asks + 1) {
            return Verdict::Wait;
        }
        self.asks += 1;
        let seconds = silence.as_secs_f64();
        let what = format!(
            "no token of an answer for {seconds:.1} s ({requests} in flight), and no counters"
        );
        Verdict::Ask { what, is_last: self.asks >= ASKS }
    }
}

fn count(count: Option<u64>) -> String {
    count.map_or("unknown".to_owned(), |it| it.to_string())
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn counters(running: f64, prompt: u64, generated: u64) -> Counters {
        Counters {
            running: Some(running),
            waiting: Some(0.0),
            prompt_tokens: Some(prompt),
            generation_tokens: Some(generated),
            ..Counters::default()
        }
    }

    /// Looks each second from 0 to `seconds` at a server whose counters are given by the
    /// second; when it was found to be wedged, or asked.
    fn watched(
        judge: &mut Judge,
        seconds: u64,
        underway: impl Fn(u64) -> Underway,
        counters: impl Fn(u64) -> Option<Counters>,
    ) -> Option<(u64, Verdict)> {
        (0..=seconds).find_map(|second| {
            let (at_ns, underway) = (second * SECOND, underway(second));
            if !judge.is_due(at_ns, underway) {
                return None;
            }
            let verdict = judge.judge(at_ns, underway, counters(second).as_ref());
            (verdict != Verdict::Wait).then_some((second, verdict))
        })
    }

    fn judge() -> Judge {
        Judge::new(Duration::from_mins(1), false, 0)
    }

    fn silent(prefill: u64) -> Underway {
        let prefill = Duration::from_secs(prefill);
        Underway { requests: 1, silent_since_ns: 0, heard_ns: 0, prefill }
    }

    #[test]
    fn a_server_that_runs_requests_and_makes_no_token_is_wedged_after_a_minute() {
        let found = watched(&mut judge(), 600, |_| silent(2), |_| Some(counters(1.0, 4096, 77)));
        let Some((60, Verdict::Wedged(what))) = found else { panic!("{found:?}") };
        assert_eq!(
            what,
            "no token of an answer for 60.0 s; the server reports 1 running and 0 waiting requests, \
             and its counters have stood for 45.0 s at 4096 prompt and 77 generated tokens"
        );
    }

    #[test]
    fn a_long_prefill_is_no_hang_until_three_times_what_is_expected_of_it() {
        let still = |_| Some(counters(1.0, 9, 9));
        assert_eq!(watched(&mut judge(), 374, |_| silent(125), still), None);
        let found = watched(&mut judge(), 600, |_| silent(125), still);
        assert!(matches!(found, Some((375..=407, Verdict::Wedged(_)))), "{found:?}");
    }

    #[test]
    fn progress_of_any_kind_is_progress() {
        let still = |_| Some(counters(1.0, 9, 9));
        // Tokens or prompts of others, or a token now and then.
        for moving in [|second| counters(1.0, 9, second), |second| counters(1.0, second, 9)] {
            let moving = |second: u64| Some(moving(second / 20));
            assert_eq!(watched(&mut judge(), 900, |_| silent(0), moving), None);
        }
        let tokens = |second| Underway { silent_since_ns: second / 50 * 50 * SECOND, ..silent(0) };
        assert_eq!(watched(&mut judge(), 900, tokens, still), None);
        let nothing = |_| Underway { requests: 0, ..silent(0) };
        assert_eq!(watched(&mut judge(), 900, nothing, still), None, "nothing is in flight");
    }

    #[test]
    fn where_the_server_reports_no_request_it_is_asked_once() {
        let idle = |_| Some(counters(0.0, 9, 9));
        let found = watched(&mut judge(), 600, |_| silent(2), idle);
        let Some((60, Verdict::Ask { what, is_last: true })) = found else { panic!("{found:?}") };
        assert_eq!(
            what,
            "no token of an answer for 60.0 s; the server reports 0 running and 0 waiting requests, \
             and its counters have stood for 45.0 s at 9 prompt and 9 generated tokens"
        );
        let long = watched(&mut judge(), 374, |_| silent(125), idle);
        assert_eq!(long, None, "gauges may be of the step before: a long prefill is none");
        let others = |second| Some(counters(0.0, 9, second / 20));
        assert_eq!(watched(&mut judge(), 900, |_| silent(0), others), None, "others have answers");
        let mut external = Judge::new(Duration::from_mins(1), true, 0);
        assert_eq!(watched(&mut external, 900, |_| silent(0), idle), None, "its program pauses");
    }

    #[test]
    fn a_server_without_counters_is_asked_each_time_the_limit_is_over() {
        // Some counters come, but none that tell: the same.
        for shown in [None, Some(Counters::default())] {
            let mut judge = judge();
            let mut seen = Vec::new();
            for second in 0..=200 {
                let (at_ns, underway) = (second * SECOND, silent(0));
                if judge.is_due(at_ns, underway)
                    && let Verdict::Ask { what, is_last } =
                        judge.judge(at_ns, underway, shown.as_ref())
                {
                    seen.push((second, is_last, what));
                }
            }
            let asked: Vec<(u64, bool)> = seen.iter().map(|it| (it.0, it.1)).collect();
            assert_eq!(asked, [(60, false), (120, false), (180, true)]);
            let what = "no token of an answer for 60.0 s (1 in flight), and no counters";
            assert_eq!(seen[0].2, what);
        }
        // With a token between, it begins anew.
        let tokens =
            |second| Underway { silent_since_ns: second / 100 * 100 * SECOND, ..silent(0) };
        let mut judge = judge();
        for second in 0..900 {
            let (at_ns, underway) = (second * SECOND, tokens(second));
            let verdict = judge.is_due(at_ns, underway).then(|| judge.judge(at_ns, underway, None));
            assert!(!matches!(verdict, Some(Verdict::Ask { is_last: true, .. })), "{second}");
        }
    }

    #[test]
    fn what_was_before_a_pause_of_our_own_does_not_count() {
        let mut judge = judge();
        let still = |_| Some(counters(1.0, 9, 9));
        assert_eq!(watched(&mut judge, 50, |_| silent(0), still), None);
        // The machine slept until here.
        judge.restart(50 * SECOND);
        let found = watched(&mut judge, 600, |_| silent(0), still);
        assert!(matches!(found, Some((110, Verdict::Wedged(_)))), "{found:?}");
    }

    #[test]
    fn of_another_programs_requests_the_counters_alone_tell() {
        let external = || Judge::new(Duration::from_mins(1), true, 0);
        let never_heard = |_| silent(0);
        let works = |second: u64| Some(counters(1.0, 9, second.min(100)));
        let found = watched(&mut external(), 600, never_heard, works);
        let Some((160..=165, Verdict::Wedged(what))) = found else { panic!("{found:?}") };
        assert!(what.starts_with("the server reports 1 running"), "{what}");
        assert_eq!(watched(&mut external(), 900, never_heard, |_| None), None);
    }
}
