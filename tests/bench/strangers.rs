//! Servers that are not vLLM: they leave out what it offers, and spell the rest
//! otherwise. What a server does not offer is unknown, and no error.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use vllm_grid::bench::record::RequestErrorClass::MissingUsage;
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::server::{Endpoint, Server};

use crate::simulated::{Measured, measure, number, workload};

/// How a server speaks.
#[derive(Clone, Copy)]
struct Stranger {
    /// Before the JSON of an event.
    mark: &'static str,
    /// The event of a piece of text.
    piece: fn(&str) -> Value,
    /// The events behind the last piece, for so many tokens of prompt and answer.
    ending: fn(usize, usize) -> Vec<Value>,
}

fn choice(delta: &Value, finish: Option<&str>) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// Nothing but the text, and an end.
const BARE: Stranger = Stranger {
    mark: "data: ",
    piece: |text| choice(&json!({"content": text}), None),
    ending: |_, _| vec![choice(&json!({}), Some("stop"))],
};

impl Stranger {
    /// Everything but its models and `/v1/chat/completions` is 404.
    async fn start(self) -> Server {
        let models = json!({"object": "list", "data": [{"id": "m", "object": "model"}]});
        let router = Router::new()
            .route("/v1/models", get(async move || Json(models)))
            .route("/v1/chat/completions", post(chat))
            .with_state(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server::open(Endpoint { base_url, api_key: None }, None).await.expect("it serves")
    }
}

/// A token is four letters, and every answer is as long as it may be, to 40 tokens.
async fn chat(State(stranger): State<Stranger>, Json(body): Json<Value>) -> Response {
    let messages = body["messages"].as_array().into_iter().flatten();
    let text: usize =
        messages.filter_map(|message| message["content"].as_str()).map(str::len).sum();
    let prompt = text / 4 + 9;
    let answer = body["max_tokens"].as_u64().expect("given").min(40) as usize;
    let mut events = vec![choice(&json!({"role": "assistant", "content": null}), None)];
    events.extend((0..answer).map(|_| (stranger.piece)("word ")));
    events.extend((stranger.ending)(prompt, answer));
    let mut texts: Vec<String> =
        events.iter().map(|event| format!("{}{event}\n\n", stranger.mark)).collect();
    texts.push(format!("{}[DONE]\n\n", stranger.mark));
    let paced = stream::unfold(texts.into_iter(), async |mut texts| {
        let text = texts.next()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((Ok::<_, Infallible>(Bytes::from(text)), texts))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(paced)).into_response()
}

/// The whole suite, small.
async fn suite(server: &Server) -> Vec<Measurement> {
    let small = [
        ("kv-cache", json!({"prefix-tokens": 300, "prompts": 1, "output-tokens": 8})),
        (
            "load",
            json!({"concurrency": 2, "requests": 12, "prompt-tokens": 200,
                        "output-tokens": 8, "slo-ttft-ms": 10_000}),
        ),
        ("stability", json!({"requests": 4, "prompt-tokens": [100, 300], "output-tokens": 8})),
        (
            "conversation",
            json!({"conversations": 1, "turns": 2, "turn-tokens": 60,
                                "output-tokens": 8}),
        ),
        ("long-context", json!({"contexts": 2000, "depths": 0.5})),
        ("reasoning", json!({"kinds": "logic", "instances": 1})),
        ("tool-calling", json!({"scenarios": "balanced", "instances": 2})),
    ];
    let workloads = small.map(|(name, mut options)| {
        options["warmup"] = json!(1);
        workload(name, &options)
    });
    let Measured { measurements, ended, .. } = measure(server, &workloads, 1).await;
    ended.expect("a living server");
    measurements.into_iter().filter(|row| row.repeat == 1).collect()
}

fn row<'a>(rows: &'a [Measurement], workload: &str) -> &'a Measurement {
    rows.iter().find(|row| row.workload == workload).expect("measured")
}

const USAGE_REMARK: &str = "the server tells no `usage`";

#[tokio::test(flavor = "multi_thread")]
async fn without_usage_times_are_measured_and_token_counts_are_unknown() {
    let server = BARE.start().await;
    let rows = suite(&server).await;
    for row in &rows {
        let name = row.workload.as_str();
        assert_eq!(row.status, Status::Ok, "{name}: {:?}", row.reason);
        let reason = row.reason.as_deref().expect("a remark");
        assert!(reason.contains(USAGE_REMARK), "{name}: {reason}");
        let failed = number(row, "failed");
        assert_eq!(failed, Some(0.0), "{name}");
        for (metric, value) in &row.metrics {
            let counts = metric.contains("_tokens") || metric.contains("tpot");
            assert!(!counts || value.is_none(), "{name}.{metric} is {value:?}");
        }
    }
    let told = |workload: &str, metrics: &[&str]| {
        for metric in metrics {
            assert!(number(row(&rows, workload), metric).is_some(), "{workload}.{metric}");
        }
    };
    told("kv-cache", &["ttft_miss_ms", "ttft_resent_ms", "ttft_independent_ms"]);
    told("load", &["median_ttft_ms", "median_itl_ms", "median_e2el_ms", "request_throughput"]);
    told("load", &["completed", "good_share"]);
    told("stability", &["median_ttft_ms", "median_e2el_ms", "requests"]);
    told("conversation", &["mean_ttft_ms", "ttft_last_ms"]);
    told("long-context", &["median_ttft_ms", "median_e2el_ms"]);
    told("reasoning", &["mean_ttft_ms", "mean_e2el_ms"]);
    told("tool-calling", &["mean_ttft_ms", "mean_e2el_ms"]);
    assert_eq!(number(row(&rows, "load"), "output_throughput"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_a_server_without_usage_say_so() {
    let server = BARE.start().await;
    let spec = workload(
        "load",
        &json!({"concurrency": 2, "requests": 8, "warmup": 0,
                                        "prompt-tokens": 100, "output-tokens": 4}),
    );
    let measured = measure(&server, &[spec], 1).await;
    let records = &measured.records[0].1;
    assert!(records.len() >= 8);
    for record in records {
        let class = record.error.as_ref().map(|error| error.class);
        assert_eq!((class, record.failure()), (Some(MissingUsage), None));
    }
}

/// No rate can be said to hold a bound on the time per token.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_unknown_tokens_is_not_searched_for() {
    let server = BARE.start().await;
    let spec = workload(
        "load",
        &json!({"find-max-rate": true, "slo-tpot-ms": 50, "warmup": 0,
                                        "prompt-tokens": 100, "output-tokens": 4}),
    );
    let measured = measure(&server, &[spec], 1).await;
    let row = &measured.measurements[0];
    assert_eq!(row.status, Status::Skipped, "{row:?}");
    assert!(row.reason.as_deref().expect("said").contains("tells no tokens"));
}
