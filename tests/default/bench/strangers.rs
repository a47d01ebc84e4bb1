//! Servers that are not vLLM: they leave out what it offers, and spell the rest
//! otherwise. What a server does not offer is unknown, and no error.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use vllm_grid::client::record::RequestErrorClass::MissingUsage;
use vllm_grid::metric::{Measurement, MetricValue, Status};
use vllm_grid::server::{Endpoint, Server};

use crate::bench::simulated::{Measured, measure, number, workload};

/// How a server speaks.
#[derive(Clone, Copy)]
struct Stranger {
    /// Before the JSON of an event.
    mark: &'static str,
    /// The event of a piece of text.
    piece: fn(&str) -> Value,
    /// The events behind the last piece, for so many tokens of prompt and answer.
    ending: fn(usize, usize) -> Vec<Value>,
    /// How a prompt of more than [`CONTEXT`] tokens is refused.
    refusal: Option<fn(usize) -> (StatusCode, Value)>,
    /// What `/metrics` says, where it is offered.
    metrics: Option<&'static str>,
}

/// `/v1/models` does not report it.
const CONTEXT: usize = 1500;

fn choice(delta: &Value, finish: Option<&str>) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn usage(prompt: usize, answer: usize) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer})
}

/// Nothing but the text, and an end.
const BARE: Stranger = Stranger {
    mark: "data: ",
    piece: |text| choice(&json!({"content": text}), None),
    ending: |_, _| vec![choice(&json!({}), Some("stop"))],
    refusal: None,
    metrics: None,
};

/// As llama.cpp's server: timings besides the usage, counters of other names.
const LLAMA_CPP: Stranger = Stranger {
    ending: |prompt, answer| {
        let mut last =
            json!({"choices": [], "timings": {"prompt_n": prompt, "predicted_n": answer}});
        last["usage"] = usage(prompt, answer);
        vec![choice(&json!({}), Some("length")), last]
    },
    refusal: Some(|prompt| {
        let message = "the request exceeds the available context size, try increasing it";
        let kind = "exceed_context_size_error";
        let error = json!({"code": 400, "message": message, "type": kind, "n_ctx": CONTEXT,
                           "n_prompt_tokens": prompt});
        (StatusCode::BAD_REQUEST, json!({"error": error}))
    }),
    metrics: Some("# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 7\n"),
    ..BARE
};

/// As SGLang: nulls for what is absent, an error that is the body itself.
const SGLANG: Stranger = Stranger {
    piece: |text| {
        let delta = json!({"role": null, "content": text, "reasoning_content": null,
                           "tool_calls": null});
        let mut piece = choice(&delta, None);
        piece["usage"] = Value::Null;
        piece["choices"][0]["matched_stop"] = Value::Null;
        piece
    },
    ending: |prompt, answer| {
        let mut usage = usage(prompt, answer);
        usage["prompt_tokens_details"] = Value::Null;
        let delta = json!({"role": null, "content": null, "reasoning_content": null});
        vec![choice(&delta, Some("length")), json!({"choices": [], "usage": usage})]
    },
    refusal: Some(|prompt| {
        let message = format!(
            "The input ({prompt} tokens) is longer than the model's context length ({CONTEXT} \
             tokens)."
        );
        let error = json!({"object": "error", "message": message, "type": "BadRequestError",
                           "param": null, "code": 400});
        (StatusCode::BAD_REQUEST, error)
    }),
    ..BARE
};

/// As TGI: no space behind `data:`, usage with the last text, 422 for a long prompt.
const TGI: Stranger = Stranger {
    mark: "data:",
    ending: |prompt, answer| {
        let mut last = choice(&json!({"role": "assistant", "content": ""}), Some("eos_token"));
        last["usage"] = usage(prompt, answer);
        vec![last]
    },
    refusal: Some(|prompt| {
        let error = format!(
            "Input validation error: `inputs` must have less than {CONTEXT} tokens. Given: {prompt}"
        );
        (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": error, "error_type": "validation"}))
    }),
    ..BARE
};

/// As Ollama: thinking under the short name, every text with a role, usage in a
/// last event with no choices.
const OLLAMA: Stranger = Stranger {
    piece: |text| choice(&json!({"role": "assistant", "content": "", "reasoning": text}), None),
    ending: |prompt, answer| {
        let last = json!({"choices": [], "system_fingerprint": "fp_ollama",
                          "usage": usage(prompt, answer)});
        vec![choice(&json!({"role": "assistant", "content": "So."}), Some("length")), last]
    },
    ..BARE
};

impl Stranger {
    /// Everything but `/v1/chat/completions` and its metrics, if it has any, is 404.
    async fn start(self) -> Server {
        let mut router = Router::new().route("/v1/chat/completions", post(chat)).with_state(self);
        if let Some(metrics) = self.metrics {
            router = router.route("/metrics", get(async move || metrics));
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let endpoint = Endpoint::new(base_url, None);
        Server::open(endpoint, Some("m")).await.expect("it is taken at its word")
    }
}

/// A token is four letters, and every answer is as long as it may be, to 40 tokens.
async fn chat(State(stranger): State<Stranger>, Json(body): Json<Value>) -> Response {
    let messages = body["messages"].as_array().into_iter().flatten();
    let text: usize =
        messages.filter_map(|message| message["content"].as_str()).map(str::len).sum();
    let prompt = text / 4 + 9;
    if let Some(refusal) = stranger.refusal
        && prompt > CONTEXT
    {
        let (status, error) = refusal(prompt);
        return (status, Json(error)).into_response();
    }
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

const USAGE_REMARK: &str = "the server reports no `usage`";

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
    let measured = |workload: &str, metrics: &[&str]| {
        for metric in metrics {
            assert!(number(row(&rows, workload), metric).is_some(), "{workload}.{metric}");
        }
    };
    measured("kv-cache", &["ttft_miss_ms", "ttft_resent_ms", "ttft_independent_ms"]);
    measured("load", &["median_ttft_ms", "median_itl_ms", "median_e2el_ms", "request_throughput"]);
    measured("load", &["completed", "good_share"]);
    measured("stability", &["median_ttft_ms", "median_e2el_ms", "requests"]);
    measured("conversation", &["mean_ttft_ms", "ttft_last_ms"]);
    measured("long-context", &["median_ttft_ms", "median_e2el_ms"]);
    measured("reasoning", &["mean_ttft_ms", "mean_e2el_ms"]);
    measured("tool-calling", &["mean_ttft_ms", "mean_e2el_ms"]);
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

/// What every server that counts its tokens can be measured by.
async fn is_measured(stranger: Stranger) -> Vec<Measurement> {
    let rows = suite(&stranger.start().await).await;
    for row in &rows {
        let name = row.workload.as_str();
        if name == "long-context" && stranger.refusal.is_some() {
            assert_eq!(row.status, Status::Skipped, "{:?}", row.reason);
            continue;
        }
        assert_eq!(row.status, Status::Ok, "{name}: {:?}", row.reason);
        assert_eq!(number(row, "failed"), Some(0.0), "{name}");
        let remark = row.reason.as_deref().unwrap_or_default();
        assert!(!remark.contains(USAGE_REMARK), "{name}: {remark}");
    }
    for (workload, metrics) in [
        ("kv-cache", &["ttft_miss_ms", "ttft_resent_ms", "prompt_tokens", "tpot_ms"][..]),
        ("load", &["median_ttft_ms", "median_tpot_ms", "total_output_tokens", "good_share"]),
        ("stability", &["median_ttft_ms", "median_tpot_ms"]),
        ("conversation", &["mean_ttft_ms", "prompt_tokens_last"]),
        ("reasoning", &["mean_ttft_ms", "mean_output_tokens"]),
        ("tool-calling", &["mean_ttft_ms", "mean_output_tokens"]),
    ] {
        for metric in metrics {
            assert!(number(row(&rows, workload), metric).is_some(), "{workload}.{metric}");
        }
    }
    // Nobody counts hits: they are neither certified nor excluded.
    let hits = row(&rows, "kv-cache").metrics["hit_state"].clone();
    assert_eq!(hits, Some(MetricValue::Text("unknown".to_owned())));
    assert_eq!(number(row(&rows, "load"), "preemptions"), None);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn as_llama_cpp_speaks() {
    is_measured(LLAMA_CPP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_sglang_speaks() {
    is_measured(SGLANG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_tgi_speaks() {
    is_measured(TGI).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_ollama_speaks() {
    let rows = is_measured(OLLAMA).await;
    let reasoning = row(&rows, "reasoning");
    let (first, answer) =
        (number(reasoning, "mean_ttft_ms"), number(reasoning, "mean_answer_ttft_ms"));
    assert!(first.expect("measured") <= answer.expect("separated"));
}

/// A context that is not reported shows in a refusal: that is no failure.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_as_too_long_is_skipped() {
    for stranger in [LLAMA_CPP, SGLANG, TGI] {
        let server = stranger.start().await;
        let long = [
            ("kv-cache", json!({"prefix-tokens": 2000, "prompts": 1})),
            ("load", json!({"concurrency": 2, "requests": 4, "prompt-tokens": 2000})),
            ("stability", json!({"requests": 4, "prompt-tokens": [2000, 3000]})),
            // It is the history that no longer fits.
            (
                "conversation",
                json!({"conversations": 1, "turns": 9, "turn-tokens": 300,
                                    "output-tokens": 8}),
            ),
            ("long-context", json!({"contexts": 2000, "depths": 0.5})),
        ];
        let workloads = long.map(|(name, mut options)| {
            options["warmup"] = json!(0);
            workload(name, &options)
        });
        let measured = measure(&server, &workloads, 1).await;
        measured.ended.expect("a living server");
        for row in &measured.measurements {
            let name = row.workload.as_str();
            assert_eq!(row.status, Status::Skipped, "{name}: {:?}", row.reason);
            let reason = row.reason.as_deref().expect("said");
            let own_words = ["context", "must have less than"];
            assert!(own_words.iter().any(|words| reason.contains(words)), "{name}: {reason}");
            assert!(row.metrics.values().all(Option::is_none) || name == "kv-cache", "{name}");
        }
        // A length that does not fit is left out of a mix.
        let mixed = workload(
            "stability",
            &json!({"requests": 4, "prompt-tokens": [100, 2000],
                                                  "output-tokens": 4, "warmup": 0}),
        );
        let measured = measure(&server, &[mixed], 1).await;
        let row = &measured.measurements[0];
        assert_eq!(row.status, Status::Ok, "{:?}", row.reason);
        let remark = row.reason.as_deref().expect("said");
        assert!(remark.starts_with("1 lengths of the mix are left out"));
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
    assert!(row.reason.as_deref().expect("said").contains("reports no tokens"));
}
