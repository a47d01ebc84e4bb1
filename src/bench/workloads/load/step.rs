//! One rate of a search: for how long it is kept up, and what its requests show. A
//! rate meets the SLO only after its pipe was full: what is judged before that are
//! the first requests, which have the server to themselves. Pure.

use std::time::Duration;

use super::figures::{self, Plan, is_complete, is_good};
use super::window::arrivals;
use crate::client::record::RequestRecord;
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
/// Growth of the requests in flight, from one half of what is judged to the other,
/// that is no sign of a queue.
const MIN_GROWTH: f64 = 0.25;
/// Standard deviations of the arrivals' number that chance may add to it.
const CHANCE: f64 = 3.0;

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
        let seconds = AIM * time.as_secs_f64() + 1.0 / rate;
        match self {
            Self::Requests(asked) => {
                let needed = (rate * seconds).ceil() as u64;
                Self::Requests(needed.clamp(asked, asked.saturating_mul(u64::from(MAX_STRETCH))))
            }
            Self::Seconds(asked) => {
                Self::Seconds(seconds.clamp(asked, asked * f64::from(MAX_STRETCH)))
            }
        }
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

impl StepFinding {
    /// What the requests of a step show, where a share of them is to meet the SLO.
    pub(crate) fn of(records: &[RequestRecord], plan: &Plan, share: f64) -> Self {
        let times = figures::times(records).zip(arrivals(records));
        let Some(((_, median), (first, last))) = times else { return Self::Broken };
        let median = u64::try_from(median.as_nanos()).unwrap_or(u64::MAX);
        if last - first < median.saturating_mul(MIN_SPANS) {
            let met = met_share(records, plan) >= share;
            return if met { Self::Short } else { Self::Broken };
        }
        let full = first + median;
        let place = records.partition_point(|record| record.scheduled_ns < full);
        let judged = &records[place..];
        if met_share(judged, plan) < share {
            Self::Broken
        } else if grows(records, (full, last), judged.len()) {
            Self::Growing
        } else {
            Self::Met
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
                "{rate:.3}/s is not counted as meeting the SLO: more and more requests were in flight"
            )),
        }
    }
}

/// Share of the requests that met the SLO, failed ones included; the lesser of
/// all requests and the later half of them, where a queue that grows shows.
pub(crate) fn met_share(records: &[RequestRecord], plan: &Plan) -> f64 {
    let share = |some: &[RequestRecord]| {
        let good = some.iter().filter(|r| is_complete(r) && is_good(r, plan)).count();
        good as f64 / some.len().max(1) as f64
    };
    share(records).min(share(&records[records.len() / 2..]))
}

/// Whether more requests were in flight in the later half of a window than in the
/// earlier one, beyond what chance makes of so many arrivals.
fn grows(records: &[RequestRecord], (from, to): (u64, u64), arrivals: usize) -> bool {
    let middle = from.midpoint(to);
    let in_flight = |from: u64, to: u64| {
        let within = |record: &RequestRecord| {
            let end = record.end_ns.unwrap_or(record.sent_ns).min(to);
            end.saturating_sub(record.sent_ns.max(from))
        };
        records.iter().map(within).sum::<u64>() as f64 / (to - from).max(1) as f64
    };
    let chance = CHANCE / (arrivals as f64 / 2.0).sqrt();
    in_flight(middle, to) > in_flight(from, middle) * (1.0 + MIN_GROWTH + chance)
}

#[cfg(test)]
mod tests {
    use super::super::ladder::Search;
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

    /// One request after the other takes a second; the SLO breaks when one has waited for
    /// half of that. Of requests at a rate r number n waits n (1 - 1/r) seconds, so that in
    /// the three and a half seconds of a step some wait too long from 1.2 a second on.
    #[test]
    fn the_highest_rate_of_a_queue_is_found() {
        let slo = Slo { ttft_ms: None, tpot_ms: None, e2el_ms: Some(1500.0) };
        let plan = Plan { slo, ..PLAN };
        let asked = Extent::Requests(3);
        let mut search = Search::from(1.0);
        while let Some(rate) = search.next() {
            let e2e = |due: f64| 1.0 + due * (rate - 1.0).max(0.0);
            let mut extent = asked.stretched(rate, Duration::from_secs(1));
            let mut shown = StepFinding::Short;
            for _ in 0..TRIES {
                let Extent::Requests(requests) = extent else { panic!("requests") };
                let records = arriving(rate, requests as u32, e2e, e2e);
                shown = StepFinding::of(&records, &plan, 0.95);
                let (_, median) = figures::times(&records).expect("timed");
                let longer = asked.stretched(rate, median);
                if shown != StepFinding::Short || !longer.is_longer(extent) {
                    break;
                }
                extent = longer;
            }
            search.tried(shown == StepFinding::Met);
        }
        let found = search.met().expect("found");
        assert!((1.0..1.3).contains(&found), "{found}");
        assert!(search.fails().is_some_and(|fails| fails > found && fails < 1.1 * found));
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
