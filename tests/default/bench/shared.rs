//! What every workload reports besides its own metrics: speculative decoding, from the
//! server's counters around a repeat, and the characters of answers.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::bench::suite::{Bench, BenchSettings};
use vllm_grid::client::Limits;
use vllm_grid::event::Emit;
use vllm_grid::metric::{Measurement, MetricValue, Status};
use vllm_grid::server::Server;
use vllm_grid::telemetry::{Telemetry, TelemetrySettings};

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::simulated::{Kept, number, settings, workload};

/// One repeat of a workload on such a server.
async fn measured(behaviour: Behaviour, name: &str, options: Value) -> Measurement {
    let counting = Counting::start(behaviour).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let (kept, emit, cancel) = (Kept::default(), Emit::nowhere(), CancellationToken::new());
    let settings = BenchSettings { limits: Limits::default(), ..settings() };
    let bench = Bench::new(&server, &kept, &emit, &cancel, settings).await.expect("an address");
    let telemetry = Telemetry::start(&TelemetrySettings::default());
    let mut bench = bench.with_telemetry(telemetry).accepting_late_client();
    let workload = workload(name, &options);
    let case = workload.cases().remove(0);
    bench.repeat(&workload, &case, 1).await.expect("a living server")
}

fn kv_cache() -> Value {
    json!({"prefix_tokens": 400, "prompts": 2, "output_tokens": 4})
}

fn load() -> Value {
    json!({"concurrency": 2, "requests": 10, "prompt_tokens": 64, "output_tokens": 4})
}

const NAMES: [&str; 4] =
    ["draft_tokens", "accepted_tokens", "acceptance", "acceptance_by_position"];

#[tokio::test(flavor = "multi_thread")]
async fn drafts_are_counted_around_each_repeat_in_every_spelling() {
    for names in [("draft", "_total"), ("draft", ""), ("drafted", "_total"), ("drafted", "")] {
        let behaviour = || Behaviour { drafts: Some(names), ..Behaviour::default() };
        for (name, options) in [("kv-cache", kv_cache()), ("load", load())] {
            let row = measured(behaviour(), name, options).await;
            assert_eq!(row.status, Status::Ok, "{name}: {:?}", row.reason);
            assert_eq!(number(&row, "acceptance"), Some(0.5), "{name} {names:?}");
            let shares = MetricValue::List(vec![Some(0.75), Some(0.25)]);
            assert_eq!(row.metrics["acceptance_by_position"], Some(shares), "{name} {names:?}");
            let drafted = number(&row, "draft_tokens").expect("counted");
            assert_eq!(number(&row, "accepted_tokens"), Some(drafted / 2.0));
            // Of a load the ten requests alone, and none that prepared them.
            let off = (drafted - 80.0).abs();
            let expected = if name == "load" { off < 0.5 } else { drafted >= 48.0 };
            assert!(expected, "{name}: {drafted}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drafts_nothing_and_foreign_traffic_have_no_drafts() {
    let drafts = Some(("draft", "_total"));
    let quiet = Behaviour::default();
    let foreign = Behaviour { drafts, foreign_after: Some(8), ..Behaviour::default() };
    let unseen = Behaviour { metrics: false, drafts, ..Behaviour::default() };
    for (behaviour, status) in [(quiet, Status::Ok), (foreign, Status::Void), (unseen, Status::Ok)]
    {
        let row = measured(behaviour, "load", load()).await;
        assert_eq!(row.status, status, "{:?}", row.reason);
        for name in NAMES {
            assert_eq!(row.metrics[name], None, "{name} is named and absent: {status:?}");
        }
    }
}

/// Each answer is two letters in two chunks, for four tokens.
#[tokio::test(flavor = "multi_thread")]
async fn characters_of_answers_are_counted_where_answers_are_read() {
    let row = measured(Behaviour::default(), "kv-cache", kv_cache()).await;
    assert_eq!(number(&row, "mean_output_characters"), Some(2.0));
    // A millisecond lies between the two, and more on a busy machine.
    let speed = number(&row, "characters_per_second").expect("two pieces");
    assert!((1.0..=1100.0).contains(&speed), "{speed}");
    let row = measured(Behaviour::default(), "load", load()).await;
    let tokens = number(&row, "output_throughput").expect("a window");
    let characters = number(&row, "output_characters_throughput").expect("a window");
    assert!((characters - tokens / 2.0).abs() < 1e-6 * tokens, "{characters} {tokens}");
    assert!(!row.metrics.contains_key("mean_output_characters"), "that is throughput's");
}
