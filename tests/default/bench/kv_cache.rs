//! The workload `kv-cache` against a server with counters of its own: what is
//! certified, what is void, and why.

use std::sync::Mutex;
use std::time::Duration;

use crate::bench::counting::{Behaviour, Counting};
use crate::support::{in_time, until_async};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchError, BenchSettings, run_suite};
use vllm_grid::bench::{RecordSink, RepeatKey};
use vllm_grid::client::Limits;
use vllm_grid::client::record::RequestRecord;
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, MetricValue, Status};
use vllm_grid::server::{Health, Server, health};
use vllm_grid::workload::{KvCache, RequestFields, Spec, Workload};

#[derive(Default)]
struct Kept(Mutex<Vec<(RepeatKey, Vec<RequestRecord>)>>);

impl RecordSink for Kept {
    fn store(&self, key: &RepeatKey, records: &[RequestRecord]) -> std::io::Result<()> {
        self.0.lock().expect("no panic").push((key.clone(), records.to_vec()));
        Ok(())
    }
}

fn settings() -> BenchSettings {
    let limits = Limits { first_token: Duration::from_secs(5), ..Limits::default() };
    BenchSettings { salt: "a sweep".to_owned(), seed: 1, launch: 3, block: 0, limits }
}

fn spec() -> KvCache {
    KvCache { prefix_tokens: vec![600], prompts: 2, output_tokens: 4, ..KvCache::default() }
}

fn warmed(spec: KvCache) -> Workload {
    let request = RequestFields::default();
    Workload { spec: Spec::KvCache(spec), repeats: None, warmup: 1, request }
}

fn cold(spec: KvCache) -> Workload {
    Workload { warmup: 0, ..warmed(spec) }
}

struct Measured {
    measurements: Vec<Measurement>,
    records: Vec<(RepeatKey, Vec<RequestRecord>)>,
    ended: Result<(), BenchError>,
}

async fn measure(server: &Server, workload: Workload, repeats: u32) -> Measured {
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let mut bench =
        Bench::new(server, &kept, &emit, &cancel, settings()).await.expect("an address");
    let mut measurements = Vec::new();
    let workloads = [workload];
    let ended = run_suite(&mut bench, &workloads, repeats, &mut measurements).await;
    drop(bench);
    Measured { measurements, records: kept.0.into_inner().expect("no panic"), ended }
}

/// The kept repeat of a warm-up and one repeat.
async fn one(behaviour: Behaviour) -> Measurement {
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let mut measured = measure(&server, warmed(spec()), 1).await;
    measured.ended.expect("a living server");
    assert_eq!(measured.measurements.len(), 2);
    let last = measured.measurements.pop().expect("two");
    assert_eq!(last.repeat, 1);
    last
}

fn number(measurement: &Measurement, name: &str) -> Option<f64> {
    match measurement.metrics.get(name).unwrap_or_else(|| panic!("no metric {name}")) {
        Some(MetricValue::Number(value)) => Some(*value),
        Some(other) => panic!("{name} is {other:?}"),
        None => None,
    }
}

fn hit_state(measurement: &Measurement) -> Option<&str> {
    match measurement.metrics.get("hit_state").expect("always named") {
        Some(MetricValue::Text(text)) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn a_hit_is_certified_by_the_servers_counters() {
    let kept = one(Behaviour {
        miss: Duration::from_millis(150),
        counters_late: Duration::from_millis(40),
        ..Behaviour::default()
    })
    .await;
    assert_eq!((kept.status, kept.reason.as_deref()), (Status::Ok, None));
    assert_eq!(hit_state(&kept), Some("certified"));
    let ttft = |name| number(&kept, name).expect("measured");
    assert!(ttft("ttft_miss_ms") > 3.0 * ttft("ttft_resent_ms"));
    assert!(ttft("ttft_independent_ms") > 3.0 * ttft("ttft_resent_ms"));
    assert_eq!(number(&kept, "ttft_hit_ms"), number(&kept, "ttft_resent_ms"));
    assert_eq!(number(&kept, "hit_tokens_share"), Some(1.0));
    assert_eq!((number(&kept, "requests"), number(&kept, "failed")), (Some(6.0), Some(0.0)));
    let tokens = number(&kept, "prompt_tokens").expect("counted");
    assert!((600.0..=612.0).contains(&tokens), "as long as the server counts: {tokens}");
    let named = vllm_grid::workload::catalogue();
    assert!(kept.metrics.keys().all(|key| named.iter().any(|metric| metric.name == key)));
}

#[tokio::test]
async fn records_are_kept_under_their_repeat_and_no_prompt_is_sent_twice_by_chance() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let spec = KvCache { prefix_tokens: vec![300, 600], ..spec() };
    let measured = measure(&server, warmed(spec), 2).await;
    measured.ended.expect("a living server");
    let rows: Vec<(&str, u32)> =
        measured.measurements.iter().map(|row| (row.case.as_str(), row.repeat)).collect();
    let cases = ["prefix=300", "prefix=600"];
    let expected: Vec<(&str, u32)> =
        cases.iter().flat_map(|case| (0..3).map(move |repeat| (*case, repeat))).collect();
    assert_eq!(rows, expected);
    let keys: Vec<(String, u32, u32)> = measured
        .records
        .iter()
        .map(|(key, _)| (key.case.clone(), key.repeat, key.launch))
        .collect();
    let expected: Vec<(String, u32, u32)> =
        expected.iter().map(|(case, repeat)| ((*case).to_owned(), *repeat, 3)).collect();
    assert_eq!(keys, expected);
    let mut purposes: Vec<&str> =
        measured.records[1].1.iter().map(|record| record.purpose.as_str()).collect();
    purposes.retain(|purpose| *purpose != "calibration");
    assert_eq!(purposes, ["miss", "resent", "miss", "resent", "independent", "independent"]);
    // Every prompt but the resent ones is new, from its first words on.
    let sent = counting.openings();
    let resent = measured
        .records
        .iter()
        .flat_map(|(_, records)| records)
        .filter(|record| record.purpose == "resent")
        .count();
    let mut unique = sent.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), sent.len() - resent);
}

#[tokio::test]
async fn without_caching_a_hit_is_not_applicable_and_the_resent_prompt_counts() {
    // Unless it says that caching is off, a counter that never moves shows nothing.
    for (reports_caching, state) in [(true, "not_applicable"), (false, "unknown")] {
        let kept = one(Behaviour { caching: false, reports_caching, ..Behaviour::default() }).await;
        assert_eq!((kept.status, hit_state(&kept)), (Status::Ok, Some(state)));
        assert!(number(&kept, "ttft_resent_ms").is_some());
        assert_eq!(number(&kept, "ttft_hit_ms"), None);
        assert_eq!(number(&kept, "hit_tokens_share"), None);
    }
}

#[tokio::test]
async fn foreign_traffic_voids_a_repeat_with_caching_on_or_off() {
    for caching in [true, false] {
        let kept = one(Behaviour { caching, foreign_after: Some(8), ..Behaviour::default() }).await;
        assert_eq!(kept.status, Status::Void);
        let reason = kept.reason.as_deref().expect("void has a reason");
        assert!(reason.starts_with("foreign traffic"), "{reason}");
        assert_ne!(hit_state(&kept), Some("certified"));
    }
}

#[tokio::test]
async fn a_cache_that_keeps_nothing_is_no_certified_hit_but_a_measurement() {
    let kept = one(Behaviour { forgets: true, hits_before: 64, ..Behaviour::default() }).await;
    assert_eq!((kept.status, hit_state(&kept)), (Status::Ok, Some("void")));
    assert_eq!(
        kept.reason.as_deref(),
        Some("hits not certified: 0 of 592 tokens came from the cache")
    );
    assert!(number(&kept, "ttft_resent_ms").is_some());
    assert_eq!(number(&kept, "ttft_hit_ms"), None);
    assert_eq!(number(&kept, "hit_tokens_share"), Some(0.0));
}

#[tokio::test]
async fn a_template_that_opens_with_more_than_a_block_is_kept_distinct_by_cache_salt() {
    let preamble = Behaviour { preamble: 48, ..Behaviour::default() };
    let kept = one(preamble.clone()).await;
    assert_eq!((kept.status, hit_state(&kept)), (Status::Ok, Some("certified")));
    // Also where no warm-up can find it out.
    let counting = Counting::start(preamble).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let measured = measure(&server, cold(spec()), 1).await;
    assert_eq!(hit_state(&measured.measurements[0]), Some("certified"));
}

#[tokio::test]
async fn prompts_of_few_blocks_certify_nothing() {
    let kept = one(Behaviour { block: 128, ..Behaviour::default() }).await;
    assert_eq!((kept.status, hit_state(&kept)), (Status::Ok, Some("void")));
    assert!(kept.reason.expect("said").contains("fewer than 16 blocks of 128"));
}

#[tokio::test]
async fn a_server_without_counters_is_measured_and_its_hits_are_unknown() {
    let kept = one(Behaviour { metrics: false, ..Behaviour::default() }).await;
    assert_eq!((kept.status, hit_state(&kept)), (Status::Ok, Some("unknown")));
    assert!(number(&kept, "ttft_resent_ms").is_some());
    assert_eq!(number(&kept, "ttft_hit_ms"), None);
}

#[tokio::test]
async fn counters_that_cease_to_come_void_the_repeat() {
    // The sixth request is the first that is measured, or one of the first.
    let late =
        Behaviour { counters_late: Duration::from_mins(1), late_from: 6, ..Behaviour::default() };
    let counting = Counting::start(late).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let spec = KvCache { prompts: 3, ..spec() };
    let measured = measure(&server, cold(spec), 1).await;
    let kept = &measured.measurements[0];
    assert_eq!(kept.status, Status::Void);
    assert!(kept.reason.as_deref().expect("said").contains("lag by over 2 s"), "{kept:?}");
}

#[tokio::test]
async fn counters_that_never_come_are_none() {
    let late = Behaviour { counters_late: Duration::from_mins(1), ..Behaviour::default() };
    let counting = Counting::start(late).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let measured = measure(&server, cold(spec()), 1).await;
    let kept = &measured.measurements[0];
    assert_eq!((kept.status, hit_state(kept)), (Status::Ok, Some("unknown")));
    assert!(kept.reason.as_deref().expect("said").contains("do not follow"), "{kept:?}");
}

#[tokio::test]
async fn without_a_warm_up_the_length_is_fitted_first() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let measured = measure(&server, cold(spec()), 1).await;
    let kept = &measured.measurements[0];
    let tokens = number(kept, "prompt_tokens").expect("counted");
    assert!((600.0..=612.0).contains(&tokens), "{tokens}");
    assert_eq!((kept.repeat, hit_state(kept)), (1, Some("certified")));
}

#[tokio::test]
async fn a_failed_request_fails_the_repeat_and_not_the_bench() {
    let kept = one(Behaviour { refuse_after: Some(12), ..Behaviour::default() }).await;
    assert_eq!(kept.status, Status::Failed);
    let reason = kept.reason.as_deref().expect("said");
    assert!(reason.contains("HTTP 400: no more"), "{reason}");
    assert_eq!(number(&kept, "failed"), Some(1.0));
}

#[tokio::test]
async fn a_dead_engine_ends_the_bench_with_what_was_measured() {
    let counting = Counting::start(Behaviour { die_after: Some(12), ..Behaviour::default() }).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let measured = measure(&server, warmed(spec()), 3).await;
    let error = measured.ended.expect_err("dead");
    assert!(error.to_string().contains("EngineCore encountered an issue"), "{error}");
    assert!(error.to_string().contains("/health is 503"), "{error}");
    let rows: Vec<(u32, Status)> =
        measured.measurements.iter().map(|row| (row.repeat, row.status)).collect();
    assert_eq!(rows, [(0, Status::Ok), (1, Status::Failed)]);
    assert_eq!(measured.records.len(), 2, "the records of the failed repeat are kept");
}

#[tokio::test]
async fn a_frozen_engine_is_gone_although_its_health_is_good() {
    let frozen = Behaviour { freeze_after: Some(3), ..Behaviour::default() };
    let counting = Counting::start(frozen).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let mut settings = settings();
    settings.limits.first_token = Duration::from_millis(500);
    let mut bench = Bench::new(&server, &kept, &emit, &cancel, settings).await.expect("an address");
    let stopped = bench.repeat(&warmed(spec()), "", 0).await;
    let Err(BenchError::NoProgress { measurement, message }) = stopped else {
        panic!("{stopped:?}");
    };
    assert_eq!(measurement.status, Status::Void);
    assert!(message.contains("no token came for 0.5 s; then"), "{message}");
    assert_eq!(health(&server.endpoint).await, Health::Up);
}

#[tokio::test]
async fn a_prompt_that_cannot_fit_is_skipped() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let spec = KvCache { prefix_tokens: vec![8190], ..spec() };
    let measured = measure(&server, cold(spec), 1).await;
    assert_eq!(measured.measurements[0].status, Status::Skipped);
    assert_eq!(counting.openings().len(), 0);
    // A prompt that just fits must not overshoot while its length is fitted.
    let spec = KvCache { prefix_tokens: vec![8150], prompts: 1, ..spec_of_one() };
    let measured = measure(&server, warmed(spec), 1).await;
    measured.ended.expect("a living server");
    assert_eq!(measured.measurements[1].status, Status::Ok, "{:?}", measured.measurements);
}

fn spec_of_one() -> KvCache {
    KvCache { prompts: 1, ..spec() }
}

#[tokio::test]
async fn a_stop_ends_a_repeat_at_once() {
    let slow = Behaviour { miss: Duration::from_hours(1), ..Behaviour::default() };
    let counting = Counting::start(slow).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let mut bench =
        Bench::new(&server, &kept, &emit, &cancel, settings()).await.expect("an address");
    let workload = warmed(spec());
    let repeat = bench.repeat(&workload, "", 1);
    assert_send(&repeat);
    let stop = async {
        until_async("a request", async || counting.served() > 0).await;
        cancel.cancel();
    };
    let (ended, ()) = in_time("a stop", async { tokio::join!(repeat, stop) }).await;
    assert!(matches!(ended, Err(BenchError::Cancelled)), "{ended:?}");
}

/// A sweep may run on any thread.
fn assert_send<T: Send>(_: &T) {}
