//! From the records of a load, and what the server counted during it, to its
//! metrics. Pure: no clock, no requests.

use std::time::Duration;

use crate::bench::metrics::some_of;
use crate::client::record::{RequestRecord, Usage};
use crate::metric::MetricValues;
use crate::server::counters::Counters;
use crate::statistics::distribution::{Distribution, FOR_P99};
use crate::telemetry::watch::Readings;
use crate::workload::Slo;
use crate::workload::metrics::LOAD as METRICS;

/// What the client did, as far as the records do not show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    /// An open loop: requests were scheduled.
    pub(crate) open: bool,
    /// What throughput is counted in, nanoseconds since the repeat's start.
    pub(crate) window: Option<(u64, u64)>,
    /// What makes a request good.
    pub(crate) slo: Slo,
}

const MS: f64 = 1e6;

/// A request that came to its end.
pub(crate) fn is_complete(record: &RequestRecord) -> bool {
    record.failure().is_none() && record.first_token_ns.is_some()
}

/// Requests that came to their end.
pub(crate) fn completed(records: &[RequestRecord]) -> usize {
    records.iter().filter(|record| is_complete(record)).count()
}

/// Every metric that the records alone give; none where nothing was sent.
pub(crate) fn metrics(records: &[RequestRecord], plan: &Plan) -> MetricValues {
    if records.is_empty() {
        return MetricValues::new();
    }
    let done: Vec<&RequestRecord> = records.iter().filter(|record| is_complete(record)).collect();
    let usage = |read: fn(&Usage) -> u64| -> Option<f64> {
        let each = done.iter().map(|record| record.usage.as_ref().map(read));
        each.sum::<Option<u64>>().filter(|_| !done.is_empty()).map(|tokens| tokens as f64)
    };
    let prompts = Distribution::of(
        done.iter().filter_map(|record| record.usage).map(|usage| usage.prompt_tokens as f64),
    );
    let (input, output) = (usage(|u| u.prompt_tokens), usage(|u| u.completion_tokens));
    let rates = Rates::of(&done, plan);
    let good = is_judged(&done, plan).then(|| {
        let good = done.iter().filter(|record| is_good(record, plan)).count();
        good as f64 / records.len() as f64
    });
    let lag = plan.open.then(|| lag(records));
    let lag = lag.as_ref();
    let mut metrics = some_of!(METRICS;
        "duration": duration(records),
        "window": plan.window.map(|(from, to)| to.saturating_sub(from) as f64 / 1e9),
        "completed": Some(done.len() as f64),
        "failed": Some((records.len() - done.len()) as f64),
        "total_input_tokens": input,
        "total_output_tokens": output,
        "prompt_tokens": prompts.median(),
        "request_throughput": rates.map(|rates| rates.requests),
        "output_throughput": rates.and_then(|rates| rates.output),
        "output_characters_throughput": rates.and_then(|rates| rates.characters),
        "total_token_throughput": rates.and_then(|rates| Some(rates.output? + rates.input?)),
        "request_goodput": rates.and_then(|rates| rates.good),
        "good_share": good,
        "max_concurrent_requests": Some(concurrent(records) as f64),
        "p99_send_lag_ms": lag.and_then(Distribution::p99),
        "max_send_lag_ms": lag.and_then(Distribution::max),
        "slot_idle_share": idle(records).filter(|_| !plan.open).map(|idle| idle.share),
    );
    for (name, latency) in latencies(records, plan) {
        latency.insert_into(name, &mut metrics);
    }
    metrics
}

/// Latencies by name; scheduled ones are empty in closed loops.
pub(super) fn latencies(
    records: &[RequestRecord],
    plan: &Plan,
) -> [(&'static str, Distribution); 6] {
    let done: Vec<&RequestRecord> = records.iter().filter(|record| is_complete(record)).collect();
    let lost = records.len() - done.len();
    let each = |read: fn(&RequestRecord) -> Option<f64>| {
        Distribution::of(done.iter().filter_map(|record| read(record))).with_lost(lost)
    };
    let scheduled = |read: fn(&RequestRecord) -> Option<f64>| {
        if plan.open { each(read) } else { Distribution::default() }
    };
    [
        ("ttft", each(RequestRecord::ttft_ms)),
        ("tpot", each(RequestRecord::tpot_ms)),
        ("e2el", each(RequestRecord::e2e_ms)),
        ("itl", gaps(&done, lost)),
        ("scheduled_ttft", scheduled(|it| from_schedule(it, it.first_token_ns))),
        ("scheduled_e2el", scheduled(|it| from_schedule(it, it.last_token_ns))),
    ]
}

fn from_schedule(record: &RequestRecord, at: Option<u64>) -> Option<f64> {
    Some(at?.saturating_sub(record.scheduled_ns) as f64 / MS)
}

/// Gaps between the chunks of each stream; of one that failed as many are lost as others
/// have on average.
fn gaps(done: &[&RequestRecord], failed: usize) -> Distribution {
    let gaps = done.iter().flat_map(|record| {
        record.chunks.windows(2).map(|pair| (pair[1].at_ns - pair[0].at_ns) as f64 / MS)
    });
    let each = done.iter().map(|record| record.chunks.len().saturating_sub(1)).sum::<usize>();
    Distribution::of(gaps).with_lost((each * failed).div_ceil(done.len().max(1)))
}

fn lag(records: &[RequestRecord]) -> Distribution {
    let late = |r: &RequestRecord| r.sent_ns.saturating_sub(r.scheduled_ns) as f64 / MS;
    Distribution::of(records.iter().map(late))
}

/// What a repeat's send lag is judged by, and the bound that it broke, in
/// milliseconds; `None` where the client kept up.
pub(crate) fn lagged(records: &[RequestRecord]) -> Option<(f64, f64)> {
    let lag = lag(records);
    let judged = if records.len() >= FOR_P99 { lag.p99() } else { lag.max() }?;
    let ttft = Distribution::of(records.iter().filter_map(RequestRecord::ttft_ms));
    let bound = ttft.median().map_or(1.0, |ttft| (0.05 * ttft).max(1.0));
    (judged > bound).then_some((judged, bound))
}

/// Whether it is known which requests are good: there is an SLO, and where it
/// bounds the time per token, the tokens are reported.
fn is_judged(done: &[&RequestRecord], plan: &Plan) -> bool {
    let counted = plan.slo.tpot_ms.is_none() || done.iter().all(|record| record.usage.is_some());
    !plan.slo.is_empty() && counted
}

/// What the slots of a closed loop waited for their next requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Idle {
    /// Share of the slots' time, from when they were free to the ends of their requests.
    pub(crate) share: f64,
    /// For one request, in milliseconds.
    pub(crate) mean_ms: f64,
}

impl Idle {
    /// Share from which on throughput and concurrency are not what their names say.
    const MAX_SHARE: f64 = 0.01;
    /// As much before each request is no sign of a slow client: a busy machine does it.
    const MIN_MS: f64 = 5.0;

    /// Whether the client was the bottleneck.
    pub(crate) fn is_too_much(&self) -> bool {
        self.share > Self::MAX_SHARE && self.mean_ms > Self::MIN_MS
    }
}

/// `None` where no slot sent more than one request.
pub(crate) fn idle(records: &[RequestRecord]) -> Option<Idle> {
    let (mut idle, mut whole, mut waits) = (0.0, 0.0, 0u32);
    for record in records {
        let since = |at: u64| at.saturating_sub(record.scheduled_ns) as f64;
        idle += since(record.sent_ns);
        whole += record.end_ns.map_or(0.0, since);
        // Nothing waited for the first request of a slot.
        waits += u32::from(record.sent_ns > record.scheduled_ns);
    }
    (waits > 0).then(|| Idle { share: idle / whole, mean_ms: idle / f64::from(waits) / MS })
}

/// Tokens generated per second, from the first send to the last end.
pub(crate) fn token_rate(records: &[RequestRecord]) -> Option<f64> {
    let usage = records.iter().filter_map(|record| record.usage);
    let tokens: u64 = usage.map(|usage| usage.completion_tokens).sum();
    let first = records.iter().map(|record| record.sent_ns).min()?;
    let last = records.iter().filter_map(|record| record.end_ns).max()?;
    (last > first).then(|| tokens as f64 * 1e9 / (last - first) as f64)
}

pub(crate) fn is_good(record: &RequestRecord, plan: &Plan) -> bool {
    let (ttft, e2el) = if plan.open {
        let since = |at| from_schedule(record, at);
        (since(record.first_token_ns), since(record.last_token_ns))
    } else {
        (record.ttft_ms(), record.e2e_ms())
    };
    let within = |value: Option<f64>, bound: Option<f64>| match (value, bound) {
        (_, None) => true,
        (Some(value), Some(bound)) => value <= bound,
        (None, Some(_)) => false,
    };
    // One token alone has no time per further token to break a bound with.
    let single = record.usage.filter(|usage| usage.completion_tokens < 2);
    let tpot = record.tpot_ms().or(single.map(|_| 0.0));
    within(ttft, plan.slo.ttft_ms)
        && within(tpot, plan.slo.tpot_ms)
        && within(e2el, plan.slo.e2el_ms)
}

/// What happened in the window, per second.
#[derive(Clone, Copy, Debug)]
struct Rates {
    requests: f64,
    good: Option<f64>,
    /// `None` where tokens are not reported; the same of `input`.
    output: Option<f64>,
    characters: Option<f64>,
    input: Option<f64>,
}

impl Rates {
    fn of(done: &[&RequestRecord], plan: &Plan) -> Option<Self> {
        let (from, to) = plan.window.filter(|(from, to)| to > from)?;
        let within = |at: u64| (from..=to).contains(&at);
        let (mut requests, mut good, mut output, mut input) = (0.0, 0.0, 0.0, 0.0);
        let in_window = |record: &&RequestRecord| record.characters_of(|it| within(it.at_ns));
        let characters = done.iter().map(in_window).sum::<Option<f64>>();
        let counted = done.iter().all(|record| record.usage.is_some());
        for record in done {
            if record.last_token_ns.is_some_and(within) {
                requests += 1.0;
                good += f64::from(u8::from(is_good(record, plan)));
            }
            let Some(usage) = record.usage else { continue };
            if record.first_token_ns.is_some_and(within) {
                input += usage.prompt_tokens as f64;
            }
            // A chunk is not a token: the tokens are spread evenly over the chunks.
            let chunks = record.chunks.iter().filter(|chunk| within(chunk.at_ns)).count();
            let each = usage.completion_tokens as f64 / record.chunks.len().max(1) as f64;
            output += chunks as f64 * each;
        }
        let seconds = (to - from) as f64 / 1e9;
        Some(Self {
            requests: requests / seconds,
            good: is_judged(done, plan).then_some(good / seconds),
            output: counted.then_some(output / seconds),
            characters: characters.map(|characters| characters / seconds),
            input: counted.then_some(input / seconds),
        })
    }
}

fn duration(records: &[RequestRecord]) -> Option<f64> {
    let first = records.iter().map(|record| record.sent_ns).min()?;
    let last = records.iter().filter_map(|record| record.end_ns).max()?;
    Some(last.saturating_sub(first) as f64 / 1e9)
}

/// Most requests between their send and their end at once.
fn concurrent(records: &[RequestRecord]) -> usize {
    let mut changes: Vec<(u64, bool)> = records
        .iter()
        .flat_map(|r| [(r.sent_ns, true), (r.end_ns.unwrap_or(r.sent_ns), false)])
        .collect();
    // At one moment the ends come first: they freed the places.
    changes.sort_unstable();
    let (mut now, mut most) = (0usize, 0);
    for (_, begins) in changes {
        now = if begins { now + 1 } else { now.saturating_sub(1) };
        most = most.max(now);
    }
    most
}

/// Time of a request that came to its end: the least, and the median.
pub(crate) fn times(records: &[RequestRecord]) -> Option<(Duration, Duration)> {
    let done = records.iter().filter(|record| is_complete(record));
    let e2e = Distribution::of(done.filter_map(RequestRecord::e2e_ms));
    let time = |ms: f64| Duration::from_secs_f64(ms / 1e3);
    e2e.min().map(time).zip(e2e.median().map(time))
}

/// What the server's counters show of a repeat.
pub(crate) fn counted(
    counters: Option<(&Counters, &Counters)>,
    readings: &Readings,
    metrics: &mut MetricValues,
) {
    let grown = |read: fn(&Counters) -> Option<u64>| {
        let (before, after) = counters?;
        Some(read(after)?.checked_sub(read(before)?)? as f64)
    };
    let waited = counters.and_then(|(before, after)| {
        let seconds = after.queue_seconds? - before.queue_seconds?;
        let requests = after.queued?.checked_sub(before.queued?).filter(|n| *n > 0)?;
        Some(seconds * 1e3 / requests as f64)
    });
    let share = grown(|c| c.prefix_hits)
        .zip(grown(|c| c.prefix_queries).filter(|queries| *queries > 0.0))
        .map(|(hits, queries)| hits / queries);
    let seen = |read: fn(&Counters) -> Option<f64>| {
        Distribution::of(readings.iter().filter_map(|(_, counters)| read(counters)))
    };
    let (waiting, running) = (seen(|c| c.waiting), seen(|c| c.running));
    let usage = seen(|c| c.kv_usage);
    metrics.extend(some_of!(METRICS;
        "preemptions": grown(|c| c.preemptions),
        "mean_queue_ms": waited,
        "hit_tokens_share": share,
        "mean_waiting": waiting.mean(),
        "max_waiting": waiting.max(),
        "mean_running": running.mean(),
        "max_running": running.max(),
        "mean_kv_cache_usage": usage.mean(),
        "max_kv_cache_usage": usage.max(),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::record::{Chunk, RequestError, RequestErrorClass};
    use crate::metric::MetricValue;

    /// Sent at `sent` ms, four tokens, one each 10 ms, the first after 20 ms.
    fn record(scheduled: u64, sent: u64) -> RequestRecord {
        let ms = 1_000_000;
        let chunks: Vec<Chunk> =
            (0..4).map(|n| Chunk { at_ns: (sent + 20 + 10 * n) * ms, bytes: 4 }).collect();
        RequestRecord {
            scheduled_ns: scheduled * ms,
            sent_ns: sent * ms,
            first_token_ns: Some(chunks[0].at_ns),
            last_token_ns: Some(chunks[3].at_ns),
            end_ns: Some(chunks[3].at_ns),
            chunks,
            // Two bytes each.
            output_characters: Some(8),
            usage: Some(Usage { prompt_tokens: 100, completion_tokens: 4, ..Usage::default() }),
            ..RequestRecord::default()
        }
    }

    fn failed() -> RequestRecord {
        let error = RequestError { class: RequestErrorClass::ServerError, message: "x".to_owned() };
        RequestRecord { error: Some(error), first_token_ns: None, ..record(0, 0) }
    }

    fn number(metrics: &MetricValues, name: &str) -> Option<f64> {
        match metrics.get(name).unwrap_or_else(|| panic!("no {name}")) {
            Some(MetricValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    #[test]
    fn throughput_is_of_the_window_and_counts_are_of_all() {
        let records = [record(0, 0), record(0, 5), record(0, 60), failed()];
        // Of the first two the last token, of the third all but the last.
        let plan = Plan {
            open: false,
            window: Some((46_000_000, 106_000_000)),
            slo: Slo { e2el_ms: Some(50.0), ..Slo::default() },
        };
        let metrics = metrics(&records, &plan);
        let value = |name| number(&metrics, name).expect(name);
        let near = |name, expected: f64| {
            assert!((value(name) - expected).abs() < 1e-6, "{name} {}", value(name));
        };
        near("window", 0.06);
        near("request_throughput", 2.0 / 0.06);
        near("output_throughput", 5.0 / 0.06);
        near("output_characters_throughput", 10.0 / 0.06);
        near("total_token_throughput", 105.0 / 0.06);
        near("request_goodput", 2.0 / 0.06);
        near("good_share", 0.75);
        near("completed", 3.0);
        near("failed", 1.0);
        near("total_output_tokens", 12.0);
        near("mean_ttft_ms", 20.0);
        near("median_tpot_ms", 10.0);
        near("mean_itl_ms", 10.0);
        near("mean_e2el_ms", 50.0);
        near("duration", 0.11);
        assert_eq!(number(&metrics, "p99_ttft_ms"), None);
        assert_eq!(number(&metrics, "mean_scheduled_ttft_ms"), None);
        assert_eq!(number(&metrics, "max_send_lag_ms"), None);
    }

    #[test]
    fn without_usage_there_are_no_token_figures_and_the_rest_stands() {
        let uncounted = |sent| RequestRecord { usage: None, ..record(0, sent) };
        let window = Some((0, 106_000_000));
        let slo = Slo { tpot_ms: Some(50.0), ..Slo::default() };
        let values = metrics(&[uncounted(0), uncounted(5)], &Plan { open: false, window, slo });
        for name in [
            "total_input_tokens",
            "total_output_tokens",
            "prompt_tokens",
            "output_throughput",
            "total_token_throughput",
            "median_tpot_ms",
            "request_goodput",
            "good_share",
        ] {
            assert_eq!(number(&values, name), None, "{name}");
        }
        for (name, expected) in [
            ("completed", 2.0),
            ("median_ttft_ms", 20.0),
            ("median_itl_ms", 10.0),
            ("median_e2el_ms", 50.0),
        ] {
            assert_eq!(number(&values, name), Some(expected), "{name}");
        }
        assert!(number(&values, "request_throughput").is_some());
        assert!(number(&values, "output_characters_throughput").is_some());
        // What needs no tokens is still judged.
        let slo = Slo { e2el_ms: Some(50.0), ..Slo::default() };
        let values = metrics(&[uncounted(0), uncounted(5)], &Plan { open: false, window, slo });
        assert_eq!(number(&values, "good_share"), Some(1.0));
    }

    #[test]
    fn without_a_window_there_is_no_throughput() {
        let plan = Plan { open: false, window: None, slo: Slo::default() };
        let metrics = metrics(&[record(0, 0)], &plan);
        for name in [
            "window",
            "output_throughput",
            "output_characters_throughput",
            "request_goodput",
            "good_share",
        ] {
            assert_eq!(number(&metrics, name), None, "{name}");
        }
    }

    #[test]
    fn an_open_loop_is_timed_from_the_schedule_too() {
        let plan =
            Plan { open: true, window: None, slo: Slo { ttft_ms: Some(22.0), ..Slo::default() } };
        let records = [record(0, 0), record(10, 13)];
        let metrics = metrics(&records, &plan);
        assert_eq!(number(&metrics, "max_ttft_ms"), Some(20.0));
        assert_eq!(number(&metrics, "max_scheduled_ttft_ms"), Some(23.0));
        assert_eq!(number(&metrics, "max_send_lag_ms"), Some(3.0));
        assert_eq!(number(&metrics, "good_share"), Some(0.5));
        assert_eq!(lagged(&records), Some((3.0, 1.0)));
        assert_eq!(lagged(&[record(0, 1)]), None);
        assert!(super::super::step::met_share(&records, &plan) < 0.1, "the later half breaks it");
    }

    #[test]
    fn the_computed_names_are_those_of_the_catalogue() {
        let plan = Plan { open: true, window: None, slo: Slo::default() };
        let mut computed = metrics(&[record(0, 0)], &plan);
        counted(None, &Readings::new(), &mut computed);
        let mut names: Vec<&str> = computed.keys().map(String::as_str).collect();
        // What a repeat adds: the found rate, and the length of what prompts share.
        names.extend(["max_rate", "shared_prefix_tokens"]);
        let sample =
            super::super::sample::metrics(&super::super::sample::Sampler::default().judged());
        names.extend(sample.keys().map(String::as_str));
        names.sort_unstable();
        let mut known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn what_did_not_happen_is_absent() {
        let slo = Slo { ttft_ms: Some(22.0), ..Slo::default() };
        let plan = Plan { open: true, window: None, slo };
        assert_eq!(metrics(&[], &plan), MetricValues::new(), "nothing was sent");
        // Nothing came to its end: no tokens are known of.
        let none = metrics(&[failed()], &plan);
        for name in ["total_input_tokens", "total_output_tokens", "median_ttft_ms"] {
            assert_eq!(number(&none, name), None, "{name}");
        }
        let counted = ["completed", "failed", "good_share"].map(|name| number(&none, name));
        assert_eq!(counted, [Some(0.0), Some(1.0), Some(0.0)]);
    }

    #[test]
    fn slots_that_wait_for_the_client_are_noted() {
        // Two slots, 50 ms a request: nothing waits for their first ones.
        let first = [record(0, 0), record(10, 10)];
        assert_eq!(idle(&first), None);
        let of = |waits: [u64; 2]| {
            let next = [record(60, 60 + waits[0]), record(70, 70 + waits[1])];
            idle(&[&first[..], &next[..]].concat()).expect("they waited")
        };
        let idle = of([4, 12]);
        assert!((idle.share - 16.0 / 216.0).abs() < 1e-9 && (idle.mean_ms - 8.0).abs() < 1e-9);
        assert!(idle.is_too_much());
        assert!(!of([4, 4]).is_too_much(), "no more than a busy machine makes of any client");
        let long = Idle { share: 0.01, mean_ms: 8.0 };
        assert!(!long.is_too_much(), "1% of the time is no bottleneck");
    }

    #[test]
    fn an_end_makes_room() {
        assert_eq!(concurrent(&[record(0, 0), record(0, 50), record(0, 99)]), 2);
    }
}
