//! One rate of a search: for how long it is kept up, and what its requests show. A
//! rate meets the SLO only after its pipe was full: what is judged before that are
//! the first requests, which have the server to themselves. Pure.

use std::time::Duration;

use super::figures::{self, Plan, is_complete, is_good};
use super::window::arrivals;
use crate::client::record::RequestRecord;
use crate::statistics::distribution::Distribution;
use crate::workload::Load;

/// Median request times that a step's arrivals last at the least: one that fills the
/// pipe, and two that are judged.
const MIN_SPANS: u64 = 3;
/// Those that are aimed at: requests take longer at a higher rate.
const AIM: f64 = 3.5;
/// A step is at most so many times as long as was asked for.
pub(crate) const MAX_STRETCH: u32 = 10;
/// How often a step may be done to be long enough.
pub(crate) const TRIES: u32 = 3;
/// Arrivals that may be left over in a step, as a share: a stable queue begins empty.
const MIN_UNSERVED: f64 = 0.01;
/// What chance adds to it: by the square root of the arrivals' number, for arrivals that
/// crowd and for a pipe that is wide.
const CROWD: f64 = 0.5;
const PIPE: f64 = 5.0;
/// At most so much: requests that take long for waiting make no pipe wide.
const MAX_CHANCE: f64 = 0.1;
/// A share left over from which on a verdict is not near.
const FAR: f64 = 0.25;
/// Consecutive parts that a standard error is taken from, and the requests of one at the
/// least.
const PARTS: usize = 10;
const PART: usize = 5;
const MARGIN: f64 = 1.5;
/// How many times as long as asked for a step is that confirms a rate, and how many
/// median request times it lasts at the least.
const CONFIRMING: u32 = 6;
const CONFIRMING_SPANS: f64 = 10.5;

/// For how long requests are begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Extent {
    Requests(u64),
    Seconds(f64),
}

impl Extent {
    /// What is asked for at each rate.
    pub(crate) fn of(requests: Option<u64>, load: &Load) -> Self {
        requests.map_or_else(|| Self::Seconds(load.duration.unwrap_or(0.0)), Self::Requests)
    }

    /// As long as requests of this time need at a rate, as far as the bound allows.
    pub(crate) fn stretched(self, rate: f64, time: Duration) -> Self {
        self.lasting(rate, AIM * time.as_secs_f64())
    }

    /// As long as it takes to see whether a rate is served, as far as the bound allows.
    pub(crate) fn confirming(self, rate: f64, time: Duration) -> Self {
        let long = self.lasting(rate, CONFIRMING_SPANS * time.as_secs_f64());
        let more = self.times(CONFIRMING).at_most(self);
        if more.is_longer(long) { more } else { long }
    }

    fn lasting(self, rate: f64, seconds: f64) -> Self {
        let seconds = seconds + 1.0 / rate;
        let (needed, is_less) = match self {
            Self::Requests(asked) => {
                let needed = (rate * seconds).ceil() as u64;
                (Self::Requests(needed), needed < asked)
            }
            Self::Seconds(asked) => (Self::Seconds(seconds), seconds < asked),
        };
        if is_less { self } else { needed.at_most(self) }
    }

    /// So many times as long.
    pub(crate) fn times(self, factor: u32) -> Self {
        match self {
            Self::Requests(requests) => Self::Requests(requests.saturating_mul(factor.into())),
            Self::Seconds(seconds) => Self::Seconds(seconds * f64::from(factor)),
        }
    }

    /// Within the bound on what was asked for.
    pub(crate) fn at_most(self, asked: Self) -> Self {
        let most = asked.times(MAX_STRETCH);
        if self.is_longer(most) { most } else { self }
    }

    /// Whether it is longer than another of its kind.
    pub(crate) fn is_longer(self, than: Self) -> bool {
        match (self, than) {
            (Self::Requests(one), Self::Requests(other)) => one > other,
            (Self::Seconds(one), Self::Seconds(other)) => one > other,
            _ => false,
        }
    }
}

/// What a step shows of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepFinding {
    Met,
    Broken,
    /// The SLO was met so far: the pipe may not have been full.
    Short,
    /// The SLO was met so far: more and more requests were in flight.
    Growing,
}

/// What is judged of a step: what came after its pipe was full.
struct Judged<'r> {
    all: &'r [RequestRecord],
    requests: &'r [RequestRecord],
    /// From the full pipe to the last arrival.
    window: (u64, u64),
    /// A request's median time, as a share of the window.
    width: f64,
}

impl<'r> Judged<'r> {
    /// `Err`: all arrivals came within less than the pipe needs; the share that met the SLO.
    fn of(all: &'r [RequestRecord], plan: &Plan) -> Result<Self, f64> {
        let times = figures::times(all).zip(arrivals(all));
        let Some(((_, median), (first, last))) = times else { return Err(0.0) };
        let median = u64::try_from(median.as_nanos()).unwrap_or(u64::MAX);
        if last - first < median.saturating_mul(MIN_SPANS) {
            return Err(met_share(all, plan));
        }
        // Long requests fill the pipe for longer than the median one.
        let full = first + in_flight_time(all).max(median).min((last - first) / MIN_SPANS);
        let place = all.partition_point(|record| record.scheduled_ns < full);
        let width = median as f64 / (last - full).max(1) as f64;
        Ok(Self { all, requests: &all[place..], window: (full, last), width })
    }

    /// Share of the arrivals that were left over: what the requests in flight grew by
    /// from the first to the last third, drawn out over the whole window.
    fn left_over(&self) -> f64 {
        let (from, to) = self.window;
        let third = (to - from) / 3;
        let in_flight = |from: u64, to: u64| {
            let within = |record: &RequestRecord| {
                let end = record.end_ns.unwrap_or(record.sent_ns).min(to);
                end.saturating_sub(record.sent_ns.max(from))
            };
            self.all.iter().map(within).sum::<u64>() as f64 / (to - from).max(1) as f64
        };
        let grown = in_flight(to - third, to) - in_flight(from, from + third);
        1.5 * grown / self.requests.len().max(1) as f64
    }

    /// Whether completions did not keep up with arrivals, beyond what chance makes of so many.
    fn is_growing(&self) -> bool {
        let chance = (CROWD + PIPE * self.width) / (self.requests.len().max(1) as f64).sqrt();
        self.left_over() > MIN_UNSERVED + chance.min(MAX_CHANCE)
    }

    /// Whether the share that broke the SLO is within bounds by [`MARGIN`] standard errors.
    /// Requests that are in flight together depend on each other: the error is that of
    /// consecutive parts.
    fn is_surely_met(&self, plan: &Plan, share: f64) -> bool {
        let parts = (self.requests.len() / PART).min(PARTS);
        if parts < 2 {
            return true;
        }
        let broken = (0..parts).map(|part| {
            let at = |part: usize| self.requests.len() * part / parts;
            let part = &self.requests[at(part)..at(part + 1)];
            1.0 - good_share(part, plan)
        });
        let broken = Distribution::of(broken);
        let error = broken.std().unwrap_or_default() / (parts as f64 - 1.0).sqrt();
        broken.mean().is_none_or(|mean| mean + MARGIN * error <= 1.0 - share + f64::EPSILON)
    }
}

/// Time of the requests that are in flight at a moment, on average, in nanoseconds: the
/// longer one takes, the more often it is met.
pub(crate) fn in_flight_time(records: &[RequestRecord]) -> u64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for ms in records.iter().filter(|r| is_complete(r)).filter_map(RequestRecord::e2e_ms) {
        (sum, squares) = (sum + ms, squares + ms * ms);
    }
    if sum > 0.0 { (squares / sum * 1e6) as u64 } else { 0 }
}

/// Arrivals per second that were served, where so many came.
pub(crate) fn served(rate: f64, records: &[RequestRecord], plan: &Plan) -> f64 {
    let left = Judged::of(records, plan).map_or(0.0, |judged| judged.left_over());
    rate * (1.0 - left.clamp(0.0, 1.0))
}

impl StepFinding {
    /// What the requests of a step show, where a share of them is to meet the SLO.
    pub(crate) fn of(records: &[RequestRecord], plan: &Plan, share: f64) -> Self {
        match Judged::of(records, plan) {
            Err(met) if met >= share => Self::Short,
            Err(_) => Self::Broken,
            Ok(judged) if met_share(judged.requests, plan) < share => Self::Broken,
            Ok(judged) if judged.is_growing() => Self::Growing,
            Ok(_) => Self::Met,
        }
    }

    /// The same of a step that confirms: it is to show that the SLO is met.
    pub(crate) fn confirming(records: &[RequestRecord], plan: &Plan, share: f64) -> Self {
        match (Self::of(records, plan, share), Judged::of(records, plan)) {
            (Self::Met, Ok(judged)) if !judged.is_surely_met(plan, share) => Self::Broken,
            (finding, _) => finding,
        }
    }

    /// Whether the rate was refused, and not by far: it is tested again before it counts.
    pub(crate) fn is_near(self, records: &[RequestRecord], plan: &Plan, share: f64) -> bool {
        let Ok(judged) = Judged::of(records, plan) else { return false };
        match self {
            Self::Met | Self::Short => false,
            Self::Broken => met_share(judged.requests, plan) > share / 2.0,
            Self::Growing => judged.left_over() < FAR,
        }
    }

    /// Why a rate is not counted as meeting the SLO though its requests met it.
    pub(crate) fn reason(self, rate: f64, records: &[RequestRecord]) -> Option<String> {
        let seconds = arrivals(records).map_or(0.0, |(from, to)| (to - from) as f64 / 1e9);
        let median = figures::times(records).map_or(0.0, |(_, median)| median.as_secs_f64());
        match self {
            Self::Met | Self::Broken => None,
            Self::Short => Some(format!(
                "{rate:.3}/s is not counted as meeting the SLO: its arrivals lasted {seconds:.1} s, less than \
                 {MIN_SPANS} median request times of {median:.1} s (more `requests` or a longer \
                 `duration` would show)"
            )),
            Self::Growing => Some(format!(
                "{rate:.3}/s is not counted as meeting the SLO: completions did not keep up with \
                 arrivals, and more and more requests were in flight"
            )),
        }
    }
}

/// Share of the requests that met the SLO, failed ones included; the lesser of
/// all requests and the later half of them, where a queue that grows shows.
pub(crate) fn met_share(records: &[RequestRecord], plan: &Plan) -> f64 {
    good_share(records, plan).min(good_share(&records[records.len() / 2..], plan))
}

fn good_share(records: &[RequestRecord], plan: &Plan) -> f64 {
    let good = records.iter().filter(|r| is_complete(r) && is_good(r, plan)).count();
    good as f64 / records.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Slo;

    const PLAN: Plan = Plan {
        open: true,
        window: None,
        slo: Slo { ttft_ms: Some(2000.0), tpot_ms: None, e2el_ms: None },
    };

    /// `count` arrivals at `rate` a second; the first token comes after `ttft` seconds,
    /// the last one after `e2e` of its arrival.
    fn arriving(
        rate: f64,
        count: u32,
        ttft: impl Fn(f64) -> f64,
        e2e: impl Fn(f64) -> f64,
    ) -> Vec<RequestRecord> {
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let each = (0..count).map(|number| {
            let due = f64::from(number) / rate;
            RequestRecord {
                index: number,
                scheduled_ns: ns(due),
                sent_ns: ns(due),
                first_token_ns: Some(ns(due + ttft(due))),
                last_token_ns: Some(ns(due + e2e(due))),
                end_ns: Some(ns(due + e2e(due))),
                ..RequestRecord::default()
            }
        });
        each.collect()
    }

    fn shown(records: &[RequestRecord]) -> StepFinding {
        StepFinding::of(records, &PLAN, 0.95)
    }

    #[test]
    fn a_rate_is_held_only_when_its_pipe_was_full() {
        // 300 requests at 60 a second are all in flight at once, and first tokens come
        // at once: the server ends 10 a second.
        let crowd = arriving(60.0, 300, |_| 0.2, |due| 5.0 - due + due * 6.0);
        assert_eq!(shown(&crowd), StepFinding::Short);
        let reason = StepFinding::Short.reason(60.0, &crowd).expect("a reason");
        assert!(
            reason.starts_with(
                "60.000/s is not counted as meeting the SLO: its arrivals lasted 5.0 s"
            ),
            "{reason}"
        );
        // As long as three times what a request takes, it is.
        let steady = arriving(10.0, 300, |_| 0.2, |_| 9.0);
        assert_eq!(shown(&steady), StepFinding::Met);
        assert_eq!(StepFinding::Met.reason(10.0, &steady), None);
    }

    #[test]
    fn what_comes_after_the_pipe_is_full_is_judged() {
        // The first 10 s have the server to themselves, and are most of what is good.
        let late = arriving(10.0, 300, |due| if due < 22.0 { 0.2 } else { 3.0 }, |_| 9.5);
        assert_eq!(shown(&late), StepFinding::Broken);
        // A slow start is none of it.
        let cold = arriving(10.0, 300, |due| if due < 8.0 { 3.0 } else { 0.2 }, |_| 9.5);
        assert_eq!(shown(&cold), StepFinding::Met);
        // What breaks the SLO before the pipe is full breaks it then.
        let soon = arriving(60.0, 300, |due| due, |_| 30.0);
        assert_eq!(shown(&soon), StepFinding::Broken);
        assert_eq!(shown(&[]), StepFinding::Broken);
    }

    #[test]
    fn a_rate_that_is_not_served_is_not_held_however_quick_first_tokens_are() {
        // Shared by all that came, 10 a second are done where 14 come: who comes at t is
        // done after half of t.
        let shared = arriving(14.0, 2000, |_| 0.2, |due| 1.0 + 0.49 * due);
        assert_eq!(shown(&shared), StepFinding::Growing);
        let reason = StepFinding::Growing.reason(14.0, &shared).expect("a reason");
        assert!(reason.ends_with("more and more requests were in flight"), "{reason}");
    }

    #[test]
    fn a_step_that_confirms_is_longer() {
        let asked = Extent::Requests(300);
        let confirming = |rate, ms| asked.confirming(rate, Duration::from_millis(ms));
        assert_eq!(confirming(10.0, 100), Extent::Requests(1800), "six times what was asked for");
        assert_eq!(confirming(20.0, 10_000), Extent::Requests(2101), "ten request times");
        assert_eq!(confirming(60.0, 10_000), Extent::Requests(3000), "within the bound");
        let lasting = Extent::Seconds(5.0);
        assert_eq!(lasting.confirming(1.0, Duration::from_secs(1)), Extent::Seconds(30.0));
    }

    #[test]
    fn steps_are_as_long_as_requests_take_within_a_bound() {
        let stretched =
            |rate, seconds| Extent::Requests(300).stretched(rate, Duration::from_secs_f64(seconds));
        assert_eq!(stretched(1.0, 1.0), Extent::Requests(300), "no less than was asked for");
        assert_eq!(stretched(64.0, 5.0), Extent::Requests(1121));
        assert_eq!(stretched(64.0, 30.0), Extent::Requests(3000), "ten times that at most");
        let lasting = Extent::Seconds(5.0);
        assert_eq!(lasting.stretched(10.0, Duration::from_secs(2)), Extent::Seconds(7.1));
        assert_eq!(lasting.stretched(10.0, Duration::from_mins(2)), Extent::Seconds(50.0));
        assert!(stretched(64.0, 30.0).is_longer(stretched(64.0, 5.0)));
        assert!(!lasting.is_longer(lasting));
    }
}
