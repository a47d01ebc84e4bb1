//! `/v1/completions`: the speed workloads on a plain prompt, as a model without a
//! chat template needs it.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::client::clock::Clock;
use vllm_grid::client::request::{Input, RequestSpec, Target};
use vllm_grid::client::{Client, Limits, Order, Slot};
use vllm_grid::metric::{MetricValue, Status};
use vllm_grid::server::{Endpoint, Server, completion_proof};

use crate::bench::scripted::{DONE, END, STREAM, Scripted, USAGE, chunk, writes};
use crate::bench::simulated::{Simulated, measure, number, workload};

#[tokio::test]
async fn the_client_reads_a_plain_completion() {
    let text = |text: &str, finish: Value| {
        let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish,
                            "stop_reason": null});
        let event = json!({"id": "cmpl-7", "object": "text_completion", "choices": [choice]});
        chunk(&format!("data: {event}\n\n"))
    };
    let scripted = Scripted::start(writes(&[
        STREAM.to_owned(),
        text(" upon", Value::Null),
        text(" a", Value::Null),
        text(" \"time\"", json!("length")),
        chunk(USAGE),
        chunk(DONE),
        END.to_owned(),
    ]))
    .await;
    let client = Client::new(&scripted.server(), Limits::default()).await.expect("an address");
    let mut spec = RequestSpec::speed(Input::Completion("Once".to_owned()), 3);
    spec.keep_answer = true;
    let order = Order { index: 0, purpose: "test", scheduled_ns: None };
    let (clock, never) = (Clock::start(), CancellationToken::new());
    let outcome = client
        .send(&mut Slot::default(), &spec.prepare(&Target::new("m")), order, clock, &never)
        .await;
    let record = outcome.record;
    assert_eq!(record.error, None);
    assert_eq!(outcome.answer.expect("kept").content, " upon a \"time\"");
    assert_eq!((record.chunks.len(), record.finish_reason.as_deref()), (3, Some("length")));
    assert_eq!(record.usage.map(|usage| usage.completion_tokens), Some(3));
    assert_eq!(record.response_id.as_deref(), Some("cmpl-7"));
    let seen = scripted.seen();
    let (head, body) = seen.requests[0].split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("POST /v1/completions HTTP/1.1"), "{head}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["prompt"], &body["max_tokens"]), (&json!("Once"), &json!(3)));
    assert_eq!(body["stream_options"]["include_usage"], true);
}

/// The three workloads, small.
fn speed(dataset: Option<&str>) -> Vec<vllm_grid::workload::Workload> {
    let mut all = vec![
        ("kv-cache", json!({"prefix-tokens": 600, "prompts": 2, "output-tokens": 4})),
        (
            "load",
            json!({"concurrency": 2, "requests": 8, "prompt-tokens": 200,
                        "output-tokens": 4}),
        ),
        ("stability", json!({"requests": 4, "prompt-tokens": [100, 300], "output-tokens": 4})),
    ];
    if let Some(dataset) = dataset {
        all.push((
            "load",
            json!({"concurrency": 2, "requests": 8, "dataset": dataset,
                                 "output-tokens": 4}),
        ));
    }
    all.into_iter()
        .map(|(name, mut options)| {
            options["endpoint"] = json!("completions");
            workload(name, &options)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_speed_workloads_are_valid_on_plain_prompts() {
    let line = "Qwen/Qwen3-1.7B --max-model-len 8192 --enable-prefix-caching --sim-speed 20";
    let simulated = Simulated::start(line).await;
    let measured = measure(&simulated.server, &speed(None), 1).await;
    measured.ended.expect("a living server");
    let kept: Vec<_> = measured.measurements.iter().filter(|row| row.repeat == 1).collect();
    for row in &kept {
        assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, None), "{}", row.workload);
        assert_eq!(number(row, "failed"), Some(0.0));
    }
    let certified = Some(MetricValue::Text("certified".to_owned()));
    assert_eq!(kept[0].metrics["hit_state"], certified, "as the counters have it");
    for (row, tokens) in [(kept[0], 600.0), (kept[1], 200.0)] {
        let counted = number(row, "prompt_tokens").expect("counted");
        assert!((tokens..tokens + 20.0).contains(&counted), "{}: {counted}", row.workload);
    }
}

/// What reached a base model.
type Prompts = Arc<Mutex<Vec<String>>>;

/// A model without a chat template, as vLLM serves it.
async fn base_model() -> (Server, Prompts) {
    async fn complete(State(prompts): State<Prompts>, Json(body): Json<Value>) -> Response {
        let prompt = body["prompt"].as_str().expect("a text").to_owned();
        let (tokens, answer) = (prompt.len() / 4 + 1, body["max_tokens"].as_u64().expect("given"));
        let usage = json!({"prompt_tokens": tokens, "completion_tokens": answer});
        prompts.lock().expect("no panic").push(prompt);
        if body["stream"] != true {
            let choices = json!([{"text": " Paris", "finish_reason": "length"}]);
            return Json(json!({"choices": choices, "usage": usage})).into_response();
        }
        let event = |event: Value| format!("data: {event}\n\n");
        let mut stream = event(json!({"choices": [{"text": " and"}]})).repeat(answer as usize);
        stream += &event(json!({"choices": [], "usage": usage}));
        stream += "data: [DONE]\n\n";
        ([("content-type", "text/event-stream")], stream).into_response()
    }
    async fn chat() -> Response {
        let message = "As of transformers v4.44, default chat template is no longer allowed, so you \
                       must provide a chat template if the tokenizer does not define one.";
        let error = json!({"error": {"message": message, "type": "BadRequestError", "code": 400}});
        (StatusCode::BAD_REQUEST, Json(error)).into_response()
    }
    let prompts = Prompts::default();
    let models = json!({"object": "list", "data": [{"id": "m", "max_model_len": 8192}]});
    let router = Router::new()
        .route("/v1/models", get(async move || Json(models)))
        .route("/v1/completions", post(complete))
        .route("/v1/chat/completions", post(chat))
        .with_state(Arc::clone(&prompts));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let server = Server::open(Endpoint::new(base_url, None), None).await;
    (server.expect("it serves"), prompts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_chat_template_is_measured_and_proven_alive() {
    let (server, prompts) = base_model().await;
    completion_proof(&server, std::time::Duration::from_secs(5)).await.expect("it decodes");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prompts.jsonl");
    std::fs::write(&file, "{\"prompt\": \"Once upon a time\"}\n").expect("written");
    let measured = measure(&server, &speed(file.to_str()), 1).await;
    measured.ended.expect("a living server");
    for row in measured.measurements.iter().filter(|row| row.repeat == 1) {
        assert_eq!(row.status, Status::Ok, "{}: {:?}", row.workload, row.reason);
        assert_eq!(number(row, "failed"), Some(0.0), "{}", row.workload);
    }
    let prompts = prompts.lock().expect("no panic").clone();
    assert!(prompts.iter().any(|prompt| prompt.ends_with("\n\nOnce upon a time")));
    let openings: Vec<&str> =
        prompts.iter().map(|prompt| &prompt[..20.min(prompt.len())]).collect();
    assert!(openings.iter().collect::<std::collections::BTreeSet<_>>().len() > 20, "salted");

    // The usual way says why it fails.
    let chat = workload("load", &json!({"concurrency": 1, "requests": 2, "warmup": 0}));
    let measured = measure(&server, &[chat], 1).await;
    let reason = measured.measurements[0].reason.as_deref().expect("said");
    assert!(reason.contains("must provide a chat template"), "{reason}");
}
