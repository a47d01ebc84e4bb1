//! The workload `stability`: blocks of the same mix of lengths, one request at a
//! time. Both halves hold the same lengths, and every comparison is between
//! requests of one length.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::bench::client::Order;
use crate::bench::dataset::Unready;
use crate::bench::fitting::{Unfit, Wanted, fit};
use crate::bench::length::{odd_answers, some_missed};
use crate::bench::load::distribution::Distribution;
use crate::bench::prompts::{derive, messages};
use crate::bench::record::{RequestErrorClass, RequestRecord};
use crate::bench::repeat::{Repeat, Verdict};
use crate::bench::request::{Input, Prepared, RequestSpec};
use crate::bench::suite::{Bench, BenchError};
use crate::bench::telemetry::summary::EngineTold;
use crate::bench::telemetry::watch::{Readings, Watch};
use crate::bench::traffic::{Sent, Settled, restarts, settle};
use crate::metric::{MetricValue, MetricValues};
use crate::server::counters::Counters;
use crate::statistics::{Interval, mean_interval, slope, upper_bound};
use crate::workload::{LEAST_OF_AN_HOUR, Route, Stability};

/// So many failures without a success end the repeat.
const FAILURES_IN_A_ROW: usize = 3;

/// A prompt of the mix: its size in bytes, its tokens and those to generate.
#[derive(Clone, Copy, Debug)]
struct Length {
    bytes: usize,
    prompt_tokens: u64,
    output_tokens: u64,
}

/// What was sent, and as which length of the mix.
#[derive(Debug, Default)]
struct Sequence {
    records: Vec<RequestRecord>,
    lengths: Vec<usize>,
}

/// Runs one repeat; a warm-up is one block.
pub(crate) async fn repeat(
    bench: &mut Bench<'_>,
    spec: &Stability,
    number: u32,
) -> Result<Repeat, BenchError> {
    let longest = bench.server().max_model_len.unwrap_or(u64::MAX);
    // The fit may be half a percent above what was asked for.
    let fits = |(prompt, output): &(u64, u64)| prompt + prompt / 200 + 8 + output <= longest;
    let (mix, too_long): (Vec<_>, Vec<_>) = spec.mix().into_iter().partition(fits);
    if mix.is_empty() {
        let reason = format!("no length of the mix fits into the context of {longest}");
        return Ok(Repeat::without_requests(Verdict::Skipped(reason), MetricValues::new()));
    }
    let mut remarks = Vec::new();
    if !too_long.is_empty() {
        let count = too_long.len();
        remarks.push(format!(
            "{count} lengths of the mix do not fit into the context of {longest} and are left out"
        ));
    }
    let lengths = match fitted(bench, spec.endpoint, &mix, &mut remarks).await {
        Ok(lengths) => lengths,
        Err(unfit) => return Unready::from(unfit).ends(MetricValues::new()),
    };
    let before = Counters::scrape(bench.http()).await;
    let watch = Watch::start(bench.http().clone());
    bench.begins();
    let sequence = send_all(bench, spec, &lengths, number == 0).await;
    let readings = watch.stop();
    bench.watched(&readings);
    let engine = bench.engine();
    if bench.cancel().is_cancelled() {
        return Err(BenchError::Cancelled);
    }
    let restarts = restarts_over(bench, before.as_ref(), &readings, &engine).await;
    let settled = if let Some(count @ 1..) = restarts {
        remarks.push(format!(
            "restarts of the server: {count}; foreign traffic is not told across them"
        ));
        Settled::Unknown
    } else {
        settle(before.as_ref(), bench.http(), Sent::of(&sequence.records), bench.cancel()).await
    };
    let verdict = match settled {
        Settled::Cancelled => return Err(BenchError::Cancelled),
        _ if gave_up(&sequence.records) => {
            remarks.insert(0, failures(&sequence.records));
            Verdict::Failed(remarks.join("; "))
        }
        Settled::Not(reason) => Verdict::Void(reason),
        Settled::Ours(_) | Settled::Unknown => judge(&sequence, &lengths, remarks),
    };
    let metrics = metrics(&sequence, &readings, &engine, restarts);
    Ok(Repeat { verdict, metrics, records: sequence.records })
}

/// Restarts of the server over the repeat: of its container, as the engine counts
/// them, or those that its own counters show, whichever are more.
async fn restarts_over(
    bench: &Bench<'_>,
    before: Option<&Counters>,
    readings: &Readings,
    engine: &EngineTold,
) -> Option<u64> {
    let last = bench.cancel().run_until_cancelled(Counters::scrape(bench.http())).await.flatten();
    let read = readings.iter().map(|(_, counters)| counters);
    let counted = restarts(before.into_iter().chain(read).chain(last.as_ref()));
    engine.restarts.max(counted.filter(|_| last.is_some()))
}

/// The verdict on what came to its end.
fn judge(sequence: &Sequence, lengths: &[Length], mut remarks: Vec<String>) -> Verdict {
    let records = &sequence.records;
    let asked = |tokens: fn(&Length) -> u64| {
        records.iter().zip(sequence.lengths.iter().map(move |place| tokens(&lengths[*place])))
    };
    if let Some(reason) = some_missed(asked(|length| length.prompt_tokens)) {
        return Verdict::Void(reason);
    }
    remarks.extend(odd_answers(asked(|length| length.output_tokens)));
    if records.iter().any(|record| record.failure().is_some()) {
        remarks.insert(0, failures(records));
    }
    Verdict::Ok((!remarks.is_empty()).then(|| remarks.join("; ")))
}

/// The lengths of the mix that can be met; of the others `remarks` tells.
async fn fitted(
    bench: &mut Bench<'_>,
    route: Route,
    mix: &[(u64, u64)],
    remarks: &mut Vec<String>,
) -> Result<Vec<Length>, Unfit> {
    let (mut lengths, mut unmet) = (Vec::new(), None);
    for (prompt_tokens, output_tokens) in mix {
        let purpose = format!("stability {prompt_tokens}");
        let (salt, model) = (bench.salt_number(&[&purpose]), bench.server().model.clone());
        let make = move |bytes, name: &str| {
            let messages = messages(derive(&[&salt.to_string(), name]), 1, bytes);
            prompt(route, messages, 1, &model)
        };
        let (prompt_tokens, output_tokens) = (*prompt_tokens, *output_tokens);
        match fit(bench, Wanted::new(&purpose, prompt_tokens), make).await {
            Ok(bytes) => lengths.push(Length { bytes, prompt_tokens, output_tokens }),
            Err(Unfit::Unmet(reason)) => {
                unmet.get_or_insert(reason);
            }
            Err(unfit) => return Err(unfit),
        }
    }
    let Some(reason) = unmet else { return Ok(lengths) };
    if lengths.is_empty() {
        return Err(Unfit::Unmet(reason));
    }
    let count = mix.len() - lengths.len();
    remarks.push(format!("{count} lengths of the mix are left out: {reason}"));
    Ok(lengths)
}

fn prompt(route: Route, messages: Vec<Value>, output_tokens: u64, model: &str) -> Prepared {
    RequestSpec::speed(Input::new(route, messages), output_tokens).prepare(model)
}

/// Blocks of the whole mix. The blocks of a pair have the same order, and the
/// number of blocks is even: the halves differ in time alone.
async fn send_all(
    bench: &mut Bench<'_>,
    spec: &Stability,
    lengths: &[Length],
    is_warmup: bool,
) -> Sequence {
    let clock = bench.clock();
    let until_ns = spec.duration.map(|seconds| clock.elapsed_ns() + (seconds * 1e9) as u64);
    let blocks = 2 * spec.requests.div_ceil(2 * lengths.len() as u64);
    let mut sequence = Sequence::default();
    for block in 0.. {
        let over = match until_ns {
            Some(until) => block % 2 == 0 && clock.elapsed_ns() >= until,
            None => block >= blocks,
        };
        if over || (is_warmup && block > 0) {
            break;
        }
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        let seed = derive(&[&bench.seed().to_string(), "stability", &(block / 2).to_string()]);
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        for place in order {
            let index = u32::try_from(sequence.records.len()).unwrap_or(u32::MAX);
            let name = index.to_string();
            let salt = bench.salt_number(&["stability", &name]);
            let seed = derive(&[&bench.seed().to_string(), &bench.repeat_name(), &name]);
            let Length { bytes, output_tokens, .. } = lengths[place];
            let (route, model) = (spec.endpoint, bench.server().model.clone());
            let make = move || prompt(route, messages(salt, seed, bytes), output_tokens, &model);
            let Some(prompt) = bench.make(make).await else { return sequence };
            let purpose = format!("length {place}");
            let order = Order { index, purpose: &purpose, scheduled_ns: None };
            let record = bench.send(&prompt, order).await.record;
            let stopped =
                record.error.as_ref().is_some_and(|e| e.class == RequestErrorClass::Cancelled);
            sequence.records.push(record);
            sequence.lengths.push(place);
            if stopped || gave_up(&sequence.records) {
                return sequence;
            }
        }
    }
    sequence
}

fn gave_up(records: &[RequestRecord]) -> bool {
    let failed = records.iter().rev().take_while(|record| record.failure().is_some()).count();
    failed >= FAILURES_IN_A_ROW || (failed > 0 && failed == records.len())
}

fn failures(records: &[RequestRecord]) -> String {
    let failed: Vec<_> = records.iter().filter_map(RequestRecord::failure).collect();
    let first = failed.first().map_or("", |error| error.message.as_str());
    format!("{} of {} requests failed; the first: {first}", failed.len(), records.len())
}

const NS_PER_HOUR: f64 = 3.6e12;

/// One latency of a request, in milliseconds.
type Latency = fn(&RequestRecord) -> Option<f64>;

fn metrics(
    sequence: &Sequence,
    readings: &Readings,
    engine: &EngineTold,
    restarts: Option<u64>,
) -> MetricValues {
    let records = &sequence.records;
    let failed = records.iter().filter(|record| record.failure().is_some()).count() as u64;
    let tried = records.len() as u64;
    let first = records.iter().map(|record| record.sent_ns).min();
    let last = records.iter().filter_map(|record| record.end_ns).max();
    let duration = first.zip(last).map(|(first, last)| last.saturating_sub(first) as f64 / 1e9);
    let is_hourly = duration.is_some_and(|seconds| seconds >= LEAST_OF_AN_HOUR);
    let memory = memory(readings, engine);
    let mut metrics = MetricValues::new();
    let usage = records.iter().filter_map(|record| record.usage);
    let prompts = Distribution::of(usage.map(|usage| usage.prompt_tokens as f64));
    let mut tell = |name: String, value: Option<f64>| {
        metrics.insert(name, value.filter(|value| value.is_finite()).map(MetricValue::Number));
    };
    tell("requests".to_owned(), Some(tried as f64));
    tell("failed".to_owned(), Some(failed as f64));
    tell("failure_rate".to_owned(), (tried > 0).then(|| failed as f64 / tried as f64));
    tell("failure_rate_high".to_owned(), upper_bound(failed, tried));
    tell("prompt_tokens".to_owned(), prompts.mean());
    tell("duration".to_owned(), duration);
    tell("memory_growth_bytes".to_owned(), memory.as_ref().map(|memory| memory.growth));
    let per_hour = memory.as_ref().and_then(|memory| memory.per_hour).filter(|_| is_hourly);
    tell("memory_growth_bytes_per_hour".to_owned(), per_hour);
    tell("restarts".to_owned(), restarts.map(|restarts| restarts as f64));
    let kinds: [(&str, Latency); 3] = [
        ("ttft", RequestRecord::ttft_ms),
        ("tpot", RequestRecord::tpot_ms),
        ("e2el", RequestRecord::e2e_ms),
    ];
    for (name, read) in kinds {
        let good = || {
            let pairs = records.iter().zip(&sequence.lengths);
            pairs.filter(|(record, _)| record.failure().is_none())
        };
        let median = Distribution::of(good().filter_map(|(record, _)| read(record))).median();
        tell(format!("median_{name}_ms"), median);
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
            tell(format!("{name}_{what}"), found.map(|(value, _)| value));
            tell(format!("{name}_{what}_low"), found.map(|(_, interval)| interval.low));
            tell(format!("{name}_{what}_high"), found.map(|(_, interval)| interval.high));
        }
    }
    let whose = memory.map(|memory| MetricValue::Text(memory.whose.to_owned()));
    metrics.insert("memory_growth_of".to_owned(), whose);
    metrics
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

/// Growth of the whole server's memory, where its engine tells it, else of the API
/// process's, as it tells itself. Readings of the two are never mixed.
fn memory(readings: &Readings, engine: &EngineTold) -> Option<Memory> {
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
    use super::*;
    use crate::bench::record::{RequestError, Usage};

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

    /// Metrics of a sequence beside which nobody read anything.
    fn told(sequence: &Sequence) -> MetricValues {
        metrics(sequence, &Readings::new(), &EngineTold::default(), None)
    }

    fn number(metrics: &MetricValues, name: &str) -> Option<f64> {
        match metrics.get(name).unwrap_or_else(|| panic!("no {name}")) {
            Some(MetricValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The mistake of the first campaign: another mix in the second half.
    #[test]
    fn another_length_is_no_drift_and_a_drift_is_one() {
        let levels = [200.0, 2000.0];
        let order = [0, 1, 0, 1, 1, 0, 1, 0];
        let sequence = |growth: f64| Sequence {
            records: (0u32..)
                .zip(order)
                .map(|(n, kind)| {
                    let noise = if n % 3 == 0 { 1.001 } else { 0.999 };
                    record(n, levels[kind] * growth.powf(f64::from(n)) * noise)
                })
                .collect(),
            lengths: order.to_vec(),
        };
        let steady = told(&sequence(1.0));
        let of = |name| number(&steady, name).expect("told");
        assert!(of("e2el_drift_per_request_low") < 0.0 && of("e2el_drift_per_request_high") > 0.0);
        assert!((of("e2el_halves_ratio") - 1.0).abs() < 0.01);
        assert_eq!(number(&steady, "memory_growth_bytes"), None);
        let growing = told(&sequence(1.01));
        let of = |name| number(&growing, name).expect("told");
        assert!((of("e2el_drift_per_request") - 0.01).abs() < 0.001);
        assert!(of("e2el_drift_per_request_low") > 0.0);
        // 30 requests an hour.
        assert!((of("e2el_drift_per_hour") - (1.01f64.powi(30) - 1.0)).abs() < 0.02);
        assert!((of("e2el_halves_ratio") - 1.01f64.powi(4)).abs() < 0.005);
        assert!(of("e2el_halves_ratio_low") > 1.0);
    }

    #[test]
    fn seconds_say_nothing_of_an_hour() {
        let told = |seconds: u64| {
            let ns = seconds * 1_000_000_000;
            let records: Vec<_> =
                (0..5).map(|n| sent_at(n, ns / 4 * u64::from(n), 500.0 + f64::from(n))).collect();
            let readings = (0..5).map(|n| {
                let resident_bytes = Some(1e9 + n as f64);
                (ns / 4 * n, Counters { resident_bytes, ..Counters::default() })
            });
            let sequence = Sequence { records, lengths: vec![0; 5] };
            let engine = EngineTold::default();
            let metrics = metrics(&sequence, &readings.collect(), &engine, None);
            let hourly = metrics.keys().filter(|name| name.contains("per_hour"));
            let hourly = hourly.filter(|name| number(&metrics, name).is_some()).count();
            assert!(number(&metrics, "e2el_drift_per_request_low").is_some());
            assert!(number(&metrics, "memory_growth_bytes").is_some());
            hourly
        };
        // Three drifts with their intervals, and the memory.
        assert_eq!((told(20), told(599), told(600)), (0, 0, 10));
    }

    #[test]
    fn failures_are_counted_with_their_bound() {
        let mut records: Vec<RequestRecord> = (0..20).map(|n| record(n, 500.0)).collect();
        let lengths = vec![0; 20];
        let clean = told(&Sequence { records: records.clone(), lengths: lengths.clone() });
        assert!((number(&clean, "failure_rate_high").expect("told") - 0.139).abs() < 1e-3);
        let class = RequestErrorClass::ServerError;
        records[4].error = Some(RequestError { class, message: "no".to_owned() });
        assert!(!gave_up(&records));
        let one = told(&Sequence { records, lengths });
        assert_eq!(number(&one, "failure_rate"), Some(0.05));
    }

    #[test]
    fn memory_is_the_engine_s_where_it_tells_and_grows_by_the_hour() {
        let seconds = |n: u64| n * 1_000_000_000;
        let reading = |n: u64, bytes: f64| {
            let counters = Counters { resident_bytes: Some(bytes), ..Counters::default() };
            (seconds(n), counters)
        };
        let readings: Readings = (0..10).map(|n| reading(n, 1e9 + 100.0 * n as f64)).collect();
        let mut engine = EngineTold::default();
        let api = memory(&readings, &engine).expect("the process tells itself");
        assert_eq!((api.whose, api.growth), ("api_process", 900.0));
        assert!((api.per_hour.expect("a slope") - 360_000.0).abs() < 1.0);

        engine.memory = vec![(seconds(0), 5e9)];
        let one = memory(&readings, &engine).expect("the process tells itself");
        assert_eq!(one.whose, "api_process", "one reading shows no growth");
        engine.memory = (0..4).map(|n| (seconds(n), 5e9 - 1000.0 * n as f64)).collect();
        let whole = memory(&readings, &engine).expect("told");
        assert_eq!((whole.whose, whole.growth), ("engine", -3000.0));
        assert!((whole.per_hour.expect("a slope") + 3_600_000.0).abs() < 1.0);
        assert_eq!(memory(&Readings::new(), &EngineTold::default()), None);

        let told = metrics(&Sequence::default(), &readings, &engine, Some(1));
        assert_eq!(number(&told, "restarts"), Some(1.0));
        assert_eq!(number(&told, "memory_growth_bytes"), Some(-3000.0));
        assert_eq!(told["memory_growth_of"], Some(MetricValue::Text("engine".to_owned())));
    }
}
