//! The workload `long-context`: against a server that reads and answers, one that
//! errs, one that talks too much, and the simulated one that talks nonsense.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use vllm_grid::metric::Status;
use vllm_grid::server::{Endpoint, Server};

use crate::bench::simulated::{Simulated, measure, number, workload};

/// What becomes of a code that was read: the answer, why it ended, its tokens if
/// they are not as many as may be.
type Answer = fn(&str) -> (String, Option<&'static str>, Option<u64>);

/// Reads the prompt as a model would; a token is four characters.
async fn reader(answer: Answer) -> Server {
    async fn chat(
        State((answer, count)): State<(Answer, Arc<AtomicUsize>)>,
        Json(body): Json<Value>,
    ) -> Response {
        count.fetch_add(1, Ordering::Relaxed);
        let content = |at: &str| body.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (system, user) = (content("/messages/0/content"), content("/messages/1/content"));
        let code = user.split_once("archive is ").map_or("", |(_, rest)| &rest[..9]);
        let (text, reason, answered) = answer(code);
        let answered = answered.map_or_else(|| body["max_tokens"].clone(), Value::from);
        let tokens = (system.len() + user.len()) / 4;
        let chunk = |body: Value| format!("data: {body}\n\n");
        let stream = [
            chunk(json!({"choices": [{"delta": {"content": text}, "finish_reason": null}]})),
            chunk(json!({"choices": [{"delta": {}, "finish_reason": reason}]})),
            chunk(json!({
                "choices": [], "usage": {"prompt_tokens": tokens, "completion_tokens": answered}
            })),
            "data: [DONE]\n\n".to_owned(),
        ];
        ([("content-type", "text/event-stream")], stream.concat()).into_response()
    }
    let models = json!({"object": "list", "data": [{"id": "m", "max_model_len": 8192}]});
    let app = Router::new()
        .route("/v1/models", get(async move || Json(models.clone())))
        .route("/v1/chat/completions", post(chat))
        .with_state((answer, Arc::default()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Server::open(Endpoint::new(base_url, None), None).await.expect("it serves")
}

async fn accuracy(server: &Server) -> (Option<f64>, Option<f64>) {
    let spec = workload("long-context", &json!({"contexts": 3000, "warmup": 0}));
    let measured = measure(server, &[spec], 1).await;
    let row = &measured.measurements[0];
    assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, None));
    assert_eq!(number(row, "asked"), Some(3.0));
    let tokens = number(row, "prompt_tokens").expect("counted");
    assert!((3000.0..3020.0).contains(&tokens), "{tokens}");
    (number(row, "accuracy"), number(row, "truncated"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_is_right_and_who_errs_is_not() {
    let perfect = reader(|code| (format!("The code is {code}."), Some("stop"), Some(6))).await;
    assert_eq!(accuracy(&perfect).await, (Some(1.0), Some(0.0)));
    let wrong = reader(|code| (code.chars().rev().collect(), Some("stop"), Some(6))).await;
    assert_eq!(accuracy(&wrong).await, (Some(0.0), Some(0.0)));
    let thinking: Answer =
        |code| (format!("<think>{code}?</think>I cannot say."), Some("stop"), Some(6));
    let thinking = reader(thinking).await;
    assert_eq!(accuracy(&thinking).await, (Some(0.0), Some(0.0)), "thinking is no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_wrong() {
    let cut: [Answer; 3] = [
        |code| (format!("{code} and so"), Some("length"), Some(6)),
        // As servers do that say `stop` whatever it was, or nothing.
        |code| (format!("{code} and so"), Some("stop"), None),
        |code| (format!("{code} and so"), None, Some(6)),
    ];
    for cut in cut {
        assert_eq!(accuracy(&reader(cut).await).await, (Some(0.0), Some(3.0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_skipped_and_nonsense_is_wrong() {
    let line = "Qwen/Qwen3-1.7B --max-model-len 16384 --sim-speed 50";
    let simulated = Simulated::start(line).await;
    let spec = workload("long-context", &json!({"warmup": 0, "depths": 0.5}));
    let measured = measure(&simulated.server, &[spec], 1).await;
    let rows: Vec<(&str, Status)> =
        measured.measurements.iter().map(|row| (row.case.as_str(), row.status)).collect();
    assert_eq!(
        rows,
        [
            ("context=10000", Status::Ok),
            ("context=40000", Status::Skipped),
            ("context=100000", Status::Skipped)
        ]
    );
    let reason = measured.measurements[1].reason.as_deref().expect("a reason");
    assert!(reason.contains("do not fit into the context of 16384"), "{reason}");
    assert_eq!(number(&measured.measurements[0], "accuracy"), Some(0.0));
    assert_eq!(measured.measurements[1].metrics["accuracy"], None, "named, and not measured");
}
