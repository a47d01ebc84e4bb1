//! What the requests of a repeat add up to: drift by lines through latencies of one
//! length, failures with their bound, memory and outages. Pure.

use super::Seen;
use super::sending::Sequence;
use crate::bench::metrics::some_of;
use crate::client::record::RequestRecord;
use crate::metric::{AMONG_FAILURES, MetricReasons, MetricValue, MetricValues};
use crate::statistics::distribution::Distribution;
use crate::statistics::{Interval, mean_interval, slope, upper_bound};
use crate::telemetry::summary::EngineActivity;
use crate::telemetry::watch::Readings;
use crate::workload::MIN_OF_AN_HOUR;
use crate::workload::metrics::STABILITY as METRICS;

const NS_PER_HOUR: f64 = 3.6e12;

/// One latency of a request, in milliseconds.
type Latency = fn(&RequestRecord) -> Option<f64>;

const LATENCIES: [(&str, Latency); 3] = [
    ("ttft", RequestRecord::ttft_ms),
    ("tpot", RequestRecord::tpot_ms),
    ("e2el", RequestRecord::e2e_ms),
];

/// A latency of all requests: failed ones took for ever.
fn of_all(records: &[RequestRecord], read: Latency) -> Distribution {
    let (failed, good): (Vec<_>, Vec<_>) = records.iter().partition(|it| it.failure().is_some());
    Distribution::of(good.into_iter().filter_map(read)).with_lost(failed.len())
}

pub(super) fn metrics(sequence: &Sequence, seen: &Seen<'_>) -> MetricValues {
    let records = &sequence.records;
    let failed = records.iter().filter(|record| record.failure().is_some()).count() as u64;
    let tried = records.len() as u64;
    let first = records.iter().map(|record| record.sent_ns).min();
    let last = records.iter().filter_map(|record| record.end_ns).max();
    let duration = first.zip(last).map(|(first, last)| last.saturating_sub(first) as f64 / 1e9);
    let is_hourly = duration.is_some_and(|seconds| seconds >= MIN_OF_AN_HOUR);
    let outages = &sequence.outages;
    // What another process of the server takes is no growth.
    let is_one_life = seen.restarts.unwrap_or(0) == 0 && outages.count() == 0;
    let memory = memory(seen.readings, seen.engine).filter(|_| is_one_life);
    let usage = records.iter().filter_map(|record| record.usage);
    let prompts = Distribution::of(usage.map(|usage| usage.prompt_tokens as f64));
    let per_hour = memory.as_ref().and_then(|memory| memory.per_hour).filter(|_| is_hourly);
    // Where something was sent there is an answer: no outage is one of 0 s.
    let longest = outages.longest_ns(seen.ended_ns).or((tried > 0).then_some(0));
    let longest = longest.map(|ns| ns as f64 / 1e9);
    let mut metrics = some_of!(METRICS;
        "requests": tried as f64,
        "failed": failed as f64,
        "failure_rate": (tried > 0).then(|| failed as f64 / tried as f64),
        "failure_rate_high": upper_bound(failed, tried),
        "prompt_tokens": prompts.mean(),
        "duration": duration,
        "memory_growth_bytes": finite(memory.as_ref().map(|memory| memory.growth)),
        "memory_growth_bytes_per_hour": finite(per_hour),
        "memory_growth_of": memory.as_ref().map(|memory| memory.whose),
        "restarts": seen.restarts.map(|restarts| restarts as f64),
        "outages": outages.count() as f64,
        "outage_seconds_max": longest,
    );
    let mut insert = |name: String, value: Option<f64>| {
        metrics.insert(name, finite(value).map(MetricValue::Number));
    };
    for (name, read) in LATENCIES {
        let good = || {
            let pairs = records.iter().zip(&sequence.lengths);
            pairs.filter(|(record, _)| record.failure().is_none())
        };
        insert(format!("median_{name}_ms"), of_all(records, read).median());
        let along = |x: fn(&RequestRecord) -> f64| {
            let mut groups: Vec<Vec<(f64, f64)>> = Vec::new();
            for (record, length) in good() {
                let Some(value) = read(record).filter(|value| *value > 0.0) else { continue };
                groups.resize_with(groups.len().max(length + 1), Vec::new);
                groups[*length].push((x(record), value.ln()));
            }
            slope(&groups)
        };
        let hours = along(|record| record.sent_ns as f64 / NS_PER_HOUR);
        let requests = along(|record| f64::from(record.index));
        let halves = halves_ratio(sequence, read);
        for (what, found) in [
            ("drift_per_hour", hours.filter(|_| is_hourly).map(as_share)),
            ("drift_per_request", requests.map(as_share)),
            ("halves_ratio", halves),
        ] {
            insert(format!("{name}_{what}"), found.map(|(value, _)| value));
            insert(format!("{name}_{what}_low"), found.map(|(_, interval)| interval.low));
            insert(format!("{name}_{what}_high"), found.map(|(_, interval)| interval.high));
        }
    }
    metrics
}

/// Why medians of all requests are absent: more than half of them failed.
pub(super) fn reasons(sequence: &Sequence) -> MetricReasons {
    let records = &sequence.records;
    let failed = records.iter().filter(|record| record.failure().is_some()).count();
    let reason = format!("{failed} of {} {AMONG_FAILURES}", records.len());
    let absent = LATENCIES
        .into_iter()
        .filter(|(_, read)| of_all(records, *read).among_lost().contains(&"median"));
    absent.map(|(name, _)| (format!("median_{name}_ms"), reason.clone())).collect()
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// A slope of logarithms as a relative change.
fn as_share((slope, interval): (f64, Interval)) -> (f64, Interval) {
    let share = |slope: f64| slope.exp_m1();
    (share(slope), Interval { low: share(interval.low), high: share(interval.high) })
}

/// Second half over first half, by pairs of one length.
fn halves_ratio(sequence: &Sequence, read: Latency) -> Option<(f64, Interval)> {
    let kinds = sequence.lengths.iter().max()? + 1;
    let half = sequence.records.len() / 2;
    let mut differences = Vec::new();
    for kind in 0..kinds {
        let of = |range: std::ops::Range<usize>| -> Vec<Option<f64>> {
            range
                .filter(|at| sequence.lengths[*at] == kind)
                .map(|at| {
                    Some(&sequence.records[at]).filter(|r| r.failure().is_none()).and_then(read)
                })
                .collect()
        };
        let (early, late) = (of(0..half), of(half..sequence.records.len()));
        let pairs = early.into_iter().zip(late);
        differences.extend(pairs.filter_map(|(early, late)| {
            let (early, late) = (early.filter(|v| *v > 0.0)?, late.filter(|v| *v > 0.0)?);
            Some((late / early).ln())
        }));
    }
    let (mean, interval) = mean_interval(&differences)?;
    Some((mean.exp(), interval.exp()))
}

/// How memory grew.
#[derive(Debug, PartialEq)]
struct Memory {
    /// Whose memory it is.
    whose: &'static str,
    /// Last reading minus first, in bytes.
    growth: f64,
    /// Slope, in bytes per hour.
    per_hour: Option<f64>,
}

/// Growth of the whole server's memory, where its engine reports it, else of the API
/// process's, as it reports itself. Readings of the two are never mixed.
fn memory(readings: &Readings, engine: &EngineActivity) -> Option<Memory> {
    let api = readings.iter().filter_map(|(at, counters)| Some((*at, counters.resident_bytes?)));
    let growth = |whose, points: Vec<(u64, f64)>| {
        let [first, .., last] = points[..] else { return None };
        let hours = points.iter().map(|(at, bytes)| (*at as f64 / NS_PER_HOUR, *bytes)).collect();
        let per_hour = slope(&[hours]).map(|(slope, _)| slope);
        Some(Memory { whose, growth: last.1 - first.1, per_hour })
    };
    growth("engine", engine.memory.clone()).or_else(|| growth("api_process", api.collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::outages::{Outages, Sign};
    use super::*;
    use crate::client::record::{RequestError, RequestErrorClass, Usage};
    use crate::server::counters::Counters;

    /// A request each two minutes, `ms` to the last of 11 tokens, 100 ms to the first.
    fn record(index: u32, ms: f64) -> RequestRecord {
        sent_at(index, u64::from(index) * 120_000_000_000, ms)
    }

    fn sent_at(index: u32, sent_ns: u64, ms: f64) -> RequestRecord {
        RequestRecord {
            index,
            sent_ns,
            first_token_ns: Some(sent_ns + 100_000_000),
            last_token_ns: Some(sent_ns + (ms * 1e6) as u64),
            end_ns: Some(sent_ns + (ms * 1e6) as u64),
            usage: Some(Usage { prompt_tokens: 5, completion_tokens: 11, ..Usage::default() }),
            ..RequestRecord::default()
        }
    }

    /// Metrics of a sequence without readings.
    fn values(sequence: &Sequence) -> MetricValues {
        observed(sequence, &Readings::new(), &EngineActivity::default(), None)
    }

    fn observed(
        sequence: &Sequence,
        readings: &Readings,
        engine: &EngineActivity,
        restarts: Option<u64>,
    ) -> MetricValues {
        metrics(sequence, &Seen { readings, engine, restarts, ended_ns: 0 })
    }

    fn sequence(records: Vec<RequestRecord>, lengths: Vec<usize>) -> Sequence {
        Sequence { records, lengths, ..Sequence::new(Outages::new(Duration::from_mins(10))) }
    }

    fn number(metrics: &MetricValues, name: &str) -> Option<f64> {
        match metrics.get(name).unwrap_or_else(|| panic!("no {name}")) {
            Some(MetricValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The mistake of the first campaign: another mix in the second half.
    #[test]
    fn the_computed_names_are_those_of_the_catalogue() {
        let computed = values(&sequence(Vec::new(), Vec::new()));
        let names: Vec<&str> = computed.keys().map(String::as_str).collect();
        let mut known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn another_length_is_no_drift_and_a_drift_is_one() {
        let levels = [200.0, 2000.0];
        let order = [0, 1, 0, 1, 1, 0, 1, 0];
        let growing = |growth: f64| {
            let records = (0u32..).zip(order).map(|(n, kind)| {
                let noise = if n % 3 == 0 { 1.001 } else { 0.999 };
                record(n, levels[kind] * growth.powf(f64::from(n)) * noise)
            });
            sequence(records.collect(), order.to_vec())
        };
        let steady = values(&growing(1.0));
        let of = |name| number(&steady, name).expect("measured");
        assert!(of("e2el_drift_per_request_low") < 0.0 && of("e2el_drift_per_request_high") > 0.0);
        assert!((of("e2el_halves_ratio") - 1.0).abs() < 0.01);
        assert_eq!(number(&steady, "memory_growth_bytes"), None);
        let growing = values(&growing(1.01));
        let of = |name| number(&growing, name).expect("measured");
        assert!((of("e2el_drift_per_request") - 0.01).abs() < 0.001);
        assert!(of("e2el_drift_per_request_low") > 0.0);
        // 30 requests an hour.
        assert!((of("e2el_drift_per_hour") - (1.01f64.powi(30) - 1.0)).abs() < 0.02);
        assert!((of("e2el_halves_ratio") - 1.01f64.powi(4)).abs() < 0.005);
        assert!(of("e2el_halves_ratio_low") > 1.0);
    }

    #[test]
    fn seconds_say_nothing_of_an_hour() {
        let count = |seconds: u64| {
            let ns = seconds * 1_000_000_000;
            let records: Vec<_> =
                (0..5).map(|n| sent_at(n, ns / 4 * u64::from(n), 500.0 + f64::from(n))).collect();
            let readings = (0..5).map(|n| {
                let resident_bytes = Some(1e9 + n as f64);
                (ns / 4 * n, Counters { resident_bytes, ..Counters::default() })
            });
            let engine = EngineActivity::default();
            let sequence = sequence(records, vec![0; 5]);
            let metrics = observed(&sequence, &readings.collect(), &engine, None);
            let hourly = metrics.keys().filter(|name| name.contains("per_hour"));
            let hourly = hourly.filter(|name| number(&metrics, name).is_some()).count();
            assert!(number(&metrics, "e2el_drift_per_request_low").is_some());
            assert!(number(&metrics, "memory_growth_bytes").is_some());
            hourly
        };
        // Three drifts with their intervals, and the memory.
        assert_eq!((count(20), count(599), count(600)), (0, 0, 10));
    }

    #[test]
    fn failures_are_counted_with_their_bound() {
        let mut records: Vec<RequestRecord> = (0..20).map(|n| record(n, 500.0)).collect();
        let lengths = vec![0; 20];
        let clean = values(&sequence(records.clone(), lengths.clone()));
        assert!((number(&clean, "failure_rate_high").expect("measured") - 0.139).abs() < 1e-3);
        let class = RequestErrorClass::ServerError;
        records[4].error = Some(RequestError { class, message: "no".to_owned() });
        let one = values(&sequence(records, lengths));
        assert_eq!(number(&one, "failure_rate"), Some(0.05));
    }

    #[test]
    fn a_median_falls_among_failures_only_where_there_are_values() {
        // The server reports no tokens: there is no time per token at all.
        let mut records: Vec<RequestRecord> =
            (0..20).map(|n| RequestRecord { usage: None, ..record(n, 500.0) }).collect();
        let class = RequestErrorClass::ServerError;
        for failed in &mut records[..12] {
            failed.error = Some(RequestError { class, message: "no".to_owned() });
        }
        let sequence = sequence(records, vec![0; 20]);
        let reasons = reasons(&sequence);
        assert_eq!(reasons.keys().collect::<Vec<_>>(), ["median_e2el_ms", "median_ttft_ms"]);
        assert_eq!(reasons["median_ttft_ms"], "12 of 20 requests failed: it falls among them");
    }

    #[test]
    fn memory_is_the_engine_s_where_it_tells_and_grows_by_the_hour() {
        let seconds = |n: u64| n * 1_000_000_000;
        let reading = |n: u64, bytes: f64| {
            let counters = Counters { resident_bytes: Some(bytes), ..Counters::default() };
            (seconds(n), counters)
        };
        let readings: Readings = (0..10).map(|n| reading(n, 1e9 + 100.0 * n as f64)).collect();
        let mut engine = EngineActivity::default();
        let api = memory(&readings, &engine).expect("the process reports itself");
        assert_eq!((api.whose, api.growth), ("api_process", 900.0));
        assert!((api.per_hour.expect("a slope") - 360_000.0).abs() < 1.0);

        engine.memory = vec![(seconds(0), 5e9)];
        let one = memory(&readings, &engine).expect("the process reports itself");
        assert_eq!(one.whose, "api_process", "one reading shows no growth");
        engine.memory = (0..4).map(|n| (seconds(n), 5e9 - 1000.0 * n as f64)).collect();
        let whole = memory(&readings, &engine).expect("measured");
        assert_eq!((whole.whose, whole.growth), ("engine", -3000.0));
        assert!((whole.per_hour.expect("a slope") + 3_600_000.0).abs() < 1.0);
        assert_eq!(memory(&Readings::new(), &EngineActivity::default()), None);

        let mut nothing = sequence(Vec::new(), Vec::new());
        let metrics = observed(&nothing, &readings, &engine, Some(0));
        assert_eq!(number(&metrics, "restarts"), Some(0.0));
        assert_eq!(number(&metrics, "memory_growth_bytes"), Some(-3000.0));
        assert_eq!(metrics["memory_growth_of"], Some(MetricValue::Text("engine".to_owned())));

        // Of two processes it is no growth, counted or not.
        let restarted = observed(&nothing, &readings, &engine, Some(1));
        nothing.outages.request(Sign::Down, 0, seconds(1));
        let down = observed(&nothing, &readings, &engine, None);
        for metrics in [restarted, down] {
            assert_eq!(number(&metrics, "memory_growth_bytes"), None);
            assert_eq!(metrics["memory_growth_of"], None);
        }
    }

    #[test]
    fn outages_are_counted_with_the_longest() {
        let seconds = |n: u64| n * 1_000_000_000;
        let mut sequence = sequence(Vec::new(), Vec::new());
        let none = values(&sequence);
        assert_eq!(number(&none, "outages"), Some(0.0));
        assert_eq!(number(&none, "outage_seconds_max"), None, "nothing was sent");
        let served = values(&self::sequence(vec![record(0, 500.0)], vec![0]));
        assert_eq!(number(&served, "outage_seconds_max"), Some(0.0));
        sequence.outages.request(Sign::Down, 0, seconds(1));
        sequence.outages.request(Sign::Serves, seconds(181), seconds(182));
        sequence.outages.request(Sign::Down, seconds(300), seconds(300));
        let (readings, engine) = (Readings::new(), EngineActivity::default());
        let seen =
            Seen { readings: &readings, engine: &engine, restarts: None, ended_ns: seconds(310) };
        let two = metrics(&sequence, &seen);
        assert_eq!(number(&two, "outages"), Some(2.0));
        assert_eq!(number(&two, "outage_seconds_max"), Some(180.0));
    }
}
