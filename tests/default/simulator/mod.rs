//! The simulated server from outside: what it answers over HTTP, held against
//! what vLLM 0.32.0 answered.

// Helpers of tests are not recognised as such; counters are whole numbers.
#![allow(clippy::float_cmp)]

mod degenerate;
pub(crate) mod served;

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_grid::simulator::{self, BootFailure, Ending, faults};

use crate::support::until_async;
use served::{Running, chunks, memory_log, prompt, words};

const FAST: &str = "serve Qwen/Qwen3-0.6B --sim-speed 1000 --max-model-len 8192 --api-key k";

#[tokio::test]
async fn plain_endpoints_answer_as_vllm_does_and_say_that_they_are_simulated() {
    let server = Running::start(&format!("{FAST} --served-model-name tiny --sim-gpu h100")).await;
    let health = server.get("/health").await;
    assert_eq!((health.status().as_u16(), health.content_length()), (200, Some(0)));
    let version: Value = server.get("/version").await.json().await.unwrap();
    assert_eq!(version["version"], "0.32.0+simulated");
    assert_eq!(version["simulated"], json!({"gpu": "h100", "gpus": 1, "seed": 1, "speed": 1000.0}));

    let refused = server.get("/v1/models").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.text().await.unwrap(), r#"{"error":"Unauthorized"}"#);
    let url = format!("{}/v1/models", server.url);
    let models: Value =
        server.client.get(url).bearer_auth("k").send().await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "tiny");
    assert_eq!(models["data"][0]["root"], "Qwen/Qwen3-0.6B");
    assert_eq!(models["data"][0]["max_model_len"], 8192);
    assert_eq!(server.get("/nowhere").await.status(), 404);
    assert_eq!(server.get("/reset_prefix_cache").await.status(), 404, "only in dev mode");

    let log = server.stop().await;
    assert!(log[0].starts_with("SIMULATED"), "{}", log[0]);
    assert!(log.iter().any(|line| line.contains("non-default args: {'model_tag'")
        && line.contains("'api_key': '***'")
        && line.contains("'max_model_len': 8192")));
    assert!(log.iter().any(|line| line.contains("GPU KV cache size: ")));
    assert!(log.iter().any(|line| line.ends_with("\"GET /health HTTP/1.1\" 200 OK")));
}

#[tokio::test]
async fn a_stream_has_the_shape_that_vllm_sent() {
    let server = Running::start(FAST).await;
    let messages = json!([{"role": "user", "content": "Say hello"}]);
    let body = json!({
        "model": "Qwen/Qwen3-0.6B", "messages": messages, "stream": true, "max_tokens": 8,
        "ignore_eos": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true},
    });
    let chunks = chunks(server.chat(body).await).await;
    // The keys of the capture, in its order.
    let keys = |value: &Value| {
        value.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(",")
    };
    assert_eq!(
        keys(&chunks[0]),
        "id,object,created,model,choices,usage,prompt_token_ids,prompt_text"
    );
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(chunks[0]["usage"]["completion_tokens"], 0);
    let last = &chunks[chunks.len() - 1];
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["system_fingerprint"], "simulated");
    let end = &chunks[chunks.len() - 2];
    assert_eq!(
        keys(&end["choices"][0]),
        "index,delta,logprobs,finish_reason,stop_reason,token_ids"
    );
    assert_eq!(end["choices"][0]["finish_reason"], "length");
    assert_eq!(end["usage"]["completion_tokens"], 8);
    assert_eq!(last["usage"], end["usage"]);
    let prompt = last["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(last["usage"]["total_tokens"], prompt + 8);
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text.split(' ').count(), 8, "one word a token: {text}");
    server.stop().await;
}

/// Keys of a value and of everything in it, in their order.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{key}{}", shape(value))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(","))
        }
        _ => String::new(),
    }
}

/// The shapes of chunks in their order, without repetitions.
fn shapes(chunks: &[Value]) -> Vec<String> {
    let mut shapes: Vec<_> = chunks.iter().map(shape).collect();
    shapes.dedup();
    shapes
}

fn captured(name: &str) -> String {
    std::fs::read_to_string(format!("tests/captures/{name}")).unwrap()
}

fn captured_chunks(name: &str) -> Vec<Value> {
    captured(name)
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect()
}

#[tokio::test]
async fn streams_have_the_keys_of_captured_ones_chunk_by_chunk() {
    // At its own pace: each token is a chunk of its own, on a busy machine too.
    let line = "serve Qwen/Qwen3-0.6B --sim-speed 1 --sim-boot-seconds 0 --max-model-len 8192 \
                --reasoning-parser qwen3";
    let server = Running::start(line).await;
    let ask = |thinking: bool, continuous: bool| {
        json!({
            "messages": [{"role": "user", "content": "Say hello"}], "stream": true,
            "max_tokens": 40, "ignore_eos": true,
            "chat_template_kwargs": {"enable_thinking": thinking},
            "stream_options": {"include_usage": true, "continuous_usage_stats": continuous},
        })
    };
    for (name, thinking, continuous) in
        [("sse-chat-think.txt", true, true), ("sse-chat-nothink.txt", false, false)]
    {
        let ours = chunks(server.chat(ask(thinking, continuous)).await).await;
        let theirs = captured_chunks(name);
        assert!(theirs.len() > 3, "{name}");
        // The thinking may end within our 40 tokens: chunks of the answer are not in the capture.
        let ours: Vec<_> = ours
            .into_iter()
            .filter(|chunk| {
                !thinking
                    || chunk["choices"][0]["delta"]["content"].as_str().is_none_or(str::is_empty)
            })
            .collect();
        assert_eq!(shapes(&ours), shapes(&theirs), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn thinking_comes_first_and_is_counted_apart() {
    let server = Running::start(&format!("{FAST} --reasoning-parser qwen3")).await;
    let body = json!({"messages": [{"role": "user", "content": "Say hello"}]});
    let answer: Value = server.chat(body.clone()).await.json().await.unwrap();
    let message = &answer["choices"][0]["message"];
    let count = |field: &str| message[field].as_str().unwrap().split_whitespace().count() as u64;
    let usage = &answer["usage"];
    let thinking = usage["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    let all = usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    // A full stop is a token without a space before it: words are fewer than tokens.
    assert!(thinking > 0 && count("reasoning") <= thinking);
    assert!(count("content") > 0 && count("content") < all - thinking);

    let mut cut = body;
    cut["max_tokens"] = json!(3);
    let answer: Value = server.chat(cut).await.json().await.unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    server.stop().await;
}

/// A tool of one argument, and a request that names it or not.
fn with_tool(choice: &Value, stream: bool) -> Value {
    let schema = json!({"type": "object", "properties": {"days": {"type": "integer"}}});
    json!({
        "messages": [{"role": "user", "content": "Weather?"}], "stream": stream,
        "tools": [{"type": "function", "function": {"name": "forecast", "parameters": schema}}],
        "tool_choice": choice,
    })
}

#[tokio::test]
async fn demanded_calls_come_in_vllms_parts_with_its_ends() {
    let server = Running::start(&format!("{FAST} --tool-call-parser hermes")).await;
    let named = json!({"type": "function", "function": {"name": "forecast"}});
    for (choice, end) in [(json!("required"), "tool_calls"), (named, "stop")] {
        let ours = chunks(server.chat(with_tool(&choice, true)).await).await;
        let theirs = captured_chunks("sse-tool-required.txt");
        assert_eq!(shapes(&ours[..2]), shapes(&theirs[..2]), "the role, then the name");
        let call = |chunk: &Value| chunk["choices"][0]["delta"]["tool_calls"][0].clone();
        assert_eq!(call(&ours[1])["function"]["name"], "forecast");
        let arguments: String = ours[2..]
            .iter()
            .map(|chunk| call(chunk)["function"]["arguments"].as_str().unwrap().to_owned())
            .collect();
        let arguments: Value = serde_json::from_str(&arguments).unwrap();
        assert!(arguments["days"].is_u64(), "{arguments}");
        assert_eq!(ours.last().unwrap()["choices"][0]["finish_reason"], end);

        let whole = server.chat(with_tool(&choice, false)).await.json::<Value>().await.unwrap();
        assert_eq!(whole["choices"][0]["finish_reason"], end);
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], Value::Null);
        let said = message["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(said).unwrap(), arguments);
    }
    // Nobody demanded one, and `--enable-auto-tool-choice` is not set.
    assert_eq!(server.chat(with_tool(&json!("auto"), true)).await.status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn plain_completions_take_text_and_token_ids() {
    let server = Running::start(FAST).await;
    let url = format!("{}/v1/completions", server.url);
    let post = |body: Value| server.client.post(&url).bearer_auth("k").json(&body).send();
    let body = json!({"prompt": "Once upon a time", "stream": true, "max_tokens": 5,
        "ignore_eos": true, "stream_options": {"include_usage": true}});
    let streamed = chunks(post(body).await.unwrap()).await;
    assert_eq!(streamed[0]["object"], "text_completion");
    let text: String =
        streamed.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(text.split(' ').count(), 5);
    assert_eq!(streamed.last().unwrap()["usage"]["prompt_tokens"], 4);
    let whole: Value = post(json!({"prompt": [1, 2, 3]})).await.unwrap().json().await.unwrap();
    assert_eq!(whole["usage"]["prompt_tokens"], 3);
    assert_eq!(post(json!({"prompt": []})).await.unwrap().status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn metrics_have_vllms_names_and_labels() {
    let series = |text: &str| -> std::collections::BTreeSet<String> {
        text.lines()
            .filter(|line| line.starts_with("vllm:") && !line.contains("cache_config_info"))
            .map(|line| {
                let (name, labels) = line.split_once('{').unwrap();
                let names: Vec<_> =
                    labels.split("\",").map(|label| label.split('=').next().unwrap()).collect();
                format!("{name}{{{}}}", names.join(","))
            })
            .collect()
    };
    let theirs = series(&captured("metrics-initial.txt"));
    let server = Running::start(FAST).await;
    let ours = series(&server.get("/metrics").await.text().await.unwrap());
    let invented: Vec<_> = ours.difference(&theirs).collect();
    assert!(invented.is_empty(), "{invented:?}");
    assert!(ours.len() > 60, "{}", ours.len());
    server.stop().await;
}

#[tokio::test]
async fn whole_answers_repeat_with_their_prompt_and_stop_by_themselves() {
    let server = Running::start(FAST).await;
    let body = json!({"messages": [{"role": "user", "content": "Say hello"}]});
    let first: Value = server.chat(body.clone()).await.json().await.unwrap();
    let second: Value = server.chat(body).await.json().await.unwrap();
    assert_eq!(first["object"], "chat.completion");
    assert_eq!(first["choices"][0]["finish_reason"], "stop");
    assert_eq!(first["choices"][0]["message"], second["choices"][0]["message"]);
    assert_eq!(first["usage"], second["usage"]);
    let seeded = json!({"messages": [{"role": "user", "content": "Say hello"}], "seed": 5});
    let third: Value = server.chat(seeded).await.json().await.unwrap();
    assert_ne!(first["choices"][0]["message"], third["choices"][0]["message"]);
    server.stop().await;
}

#[tokio::test]
async fn bad_requests_get_vllms_errors() {
    let server = Running::start(FAST).await;
    let long = server.chat(json!({"messages": prompt("x", 9000)})).await;
    assert_eq!(long.status(), 400);
    let error: Value = long.json().await.unwrap();
    assert_eq!(error["error"]["param"], "input_tokens");
    assert_eq!(error["error"]["type"], "BadRequestError");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("This model's maximum context length is 8192 tokens."));

    let wrong = server.chat(json!({"model": "gpt", "messages": []})).await;
    assert_eq!(wrong.status(), 404);
    let error: Value = wrong.json().await.unwrap();
    assert_eq!(error["error"]["message"], "The model `gpt` does not exist.");

    let url = format!("{}/v1/chat/completions", server.url);
    let broken = server.client.post(url).bearer_auth("k").body("{no").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    assert_eq!(server.metric("vllm:request_success_total").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn counters_tell_prompts_hits_and_ends() {
    let server = Running::start(FAST).await;
    let body = json!({"messages": prompt("salt", 1000), "max_tokens": 4, "ignore_eos": true});
    let answer: Value = server.chat(body.clone()).await.json().await.unwrap();
    let prompt_tokens = answer["usage"]["prompt_tokens"].as_f64().unwrap();
    assert_eq!(server.metric("vllm:prefix_cache_hits_total").await, 0.0);
    server.chat(body.clone()).await.text().await.unwrap();
    let salted = {
        let mut body = body;
        body["cache_salt"] = json!("mine");
        body
    };
    server.chat(salted).await.text().await.unwrap();
    // Counters move after the tokens are sent, as in vLLM.
    let counted = async || server.metric("vllm:request_success_total").await >= 3.0;
    until_async("three requests are counted", counted).await;
    let hit = 16.0 * ((prompt_tokens - 1.0) / 16.0).floor();
    assert_eq!(server.metric("vllm:prefix_cache_queries_total").await, 3.0 * prompt_tokens);
    assert_eq!(server.metric("vllm:prefix_cache_hits_total").await, hit);
    assert_eq!(server.metric("vllm:prompt_tokens_total").await, 3.0 * prompt_tokens);
    assert_eq!(server.metric("vllm:generation_tokens_total").await, 12.0);
    assert_eq!(server.metric("vllm:time_to_first_token_seconds_count").await, 3.0);
    assert_eq!(server.metric("vllm:kv_cache_usage_perc").await, 0.0);
    let text = server.get("/metrics").await.text().await.unwrap();
    for wanted in [
        "vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"Qwen/Qwen3-0.6B\"} 3.0",
        "vllm:prefix_cache_hits_created{",
        "enable_prefix_caching=\"True\"",
        "gpu_memory_utilization=\"0.92\"",
        "block_size=\"16\"",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_blocks() {
    let line = "serve Qwen/Qwen3-0.6B --sim-speed 1 --enforce-eager --max-model-len 8192";
    let line = format!("{line} --sim-speed 100");
    let server = Running::start(&line).await;
    let body = json!({
        "messages": prompt("x", 100), "max_tokens": 7000, "ignore_eos": true, "stream": true,
    });
    let response = server.chat(body).await;
    let mut stream = response.bytes_stream();
    stream.next().await.unwrap().unwrap();
    assert!(server.metric("vllm:kv_cache_usage_perc").await > 0.0);
    drop(stream);
    let idle = async || server.metric("vllm:num_requests_running").await < 1.0;
    until_async("no request runs", idle).await;
    assert_eq!(server.metric("vllm:kv_cache_usage_perc").await, 0.0);
    let text = server.get("/metrics").await.text().await.unwrap();
    assert!(text.contains("finished_reason=\"abort\",model_name=\"Qwen/Qwen3-0.6B\"} 1.0"));
    server.stop().await;
}

#[tokio::test]
async fn starts_that_vllm_refuses_end_with_its_line_and_code() {
    for (line, code, wanted) in [
        ("serve m --no-such-flag 3", 2, "vllm: error: unrecognized arguments: --no-such-flag 3"),
        (
            "serve Qwen/Qwen3-0.6B --gpu-memory-utilization 1.7",
            1,
            "Input should be less than or equal to 1 [type=less_than_equal, input_value=1.7",
        ),
        (
            "serve Qwen/Qwen3-32B-AWQ --gpu-memory-utilization 0.5 --max-model-len 4096",
            1,
            "No available memory for the cache blocks",
        ),
        (
            "serve Qwen/Qwen3-8B --gpu-memory-utilization 0.85",
            1,
            "estimated maximum model length is ",
        ),
        ("serve Qwen/Qwen3-32B", 1, "torch.OutOfMemoryError: CUDA out of memory"),
        (
            "serve Qwen/Qwen3-8B --sim-other-memory 4",
            1,
            "on startup is less than desired GPU memory utilization",
        ),
        ("serve Qwen/Qwen3-0.6B --tool-call-parser nope --enable-auto-tool-choice", 1, "KeyError"),
    ] {
        let args = words(&format!("{line} --sim-speed 100000"));
        let (argv, options) = simulator::command_line(&args, []).unwrap();
        let (sink, log) = memory_log();
        let ended = simulator::boot(&argv, &options, sink, &CancellationToken::new()).await;
        assert_eq!(ended.unwrap_err(), BootFailure::Exited(code), "{line}");
        let log = log.lock().unwrap().join("\n");
        assert!(log.contains(wanted), "{line}\n{log}");
    }
}

#[tokio::test]
async fn every_failure_can_be_provoked_before_the_server_is_ready() {
    for class in
        faults::classes().filter(|class| !["timeout", "not_serving", "no_progress"].contains(class))
    {
        let args = words(&format!("serve Qwen/Qwen3-0.6B --sim-speed 1e6 --sim-fail {class}"));
        let (argv, options) = simulator::command_line(&args, []).unwrap();
        let (sink, log) = memory_log();
        let ended = simulator::boot(&argv, &options, sink, &CancellationToken::new()).await;
        let code = match class {
            "bad_flag" | "bad_value" => 2,
            "engine_died" => 0,
            "host_memory" | "killed" => 137,
            _ => 1,
        };
        assert_eq!(ended.unwrap_err(), BootFailure::Exited(code), "{class}");
        assert!(log.lock().unwrap().len() > 7, "{class}");
    }
}

#[tokio::test]
async fn a_start_can_be_silent_and_cancelled() {
    let args = words("serve Qwen/Qwen3-0.6B --sim-speed 100 --sim-fail timeout");
    let (argv, options) = simulator::command_line(&args, []).unwrap();
    let (sink, log) = memory_log();
    let cancel = CancellationToken::new();
    let waiting = cancel.clone();
    let booting =
        tokio::spawn(async move { simulator::boot(&argv, &options, sink, &waiting).await });
    until_async("it begins", async || !log.lock().unwrap().is_empty()).await;
    cancel.cancel();
    assert_eq!(booting.await.unwrap().unwrap_err(), BootFailure::Cancelled);
    assert_eq!(log.lock().unwrap().len(), 1, "only that it is simulated");
}

#[tokio::test]
async fn an_engine_that_dies_ends_its_streams_with_an_error_and_then_the_process() {
    let server = Running::start(&format!("{FAST} --sim-die-after 20")).await;
    let body = json!({
        "messages": [{"role": "user", "content": "x"}], "stream": true, "max_tokens": 200,
        "ignore_eos": true,
    });
    let text = server.chat(body.clone()).await.text().await.unwrap();
    // As captured when the engine was killed.
    let tail = "data: {\"error\": {\"message\": \"EngineCore encountered an issue. See stack trace \
                (above) for the root cause.\", \"type\": \"InternalServerError\", \"param\": null, \
                \"code\": 500}}\n\ndata: [DONE]\n\n";
    assert!(text.ends_with(tail), "{text}");
    assert_eq!(server.get("/health").await.status(), 503);
    assert_eq!(server.chat(body).await.status(), 500);
    let ending = server.serving.await.unwrap().unwrap();
    assert_eq!(ending, Ending::EngineDied);
    let stopped = server.client.get(format!("{}/health", server.url)).send().await;
    assert!(stopped.unwrap_err().is_connect());
    let log = server.log.lock().unwrap().join("\n");
    assert!(log.contains("EngineDeadError: EngineCore encountered an issue"));
}

/// Words in the chunks of a stream so far.
fn words_said(stream: &str) -> usize {
    let content = |event: &str| {
        let chunk: Value = serde_json::from_str(event.strip_prefix("data: ")?).ok()?;
        Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())
    };
    stream.split("\n\n").filter_map(content).collect::<String>().split_whitespace().count()
}

#[tokio::test]
async fn an_engine_can_freeze_behind_a_healthy_server_and_a_stream_fall_silent() {
    for switch in ["--sim-freeze-after 10", "--sim-silent-after 10"] {
        let server = Running::start(&format!("{FAST} {switch}")).await;
        let body = json!({
            "messages": [{"role": "user", "content": "x"}], "stream": true, "max_tokens": 50,
            "ignore_eos": true,
        });
        let response = server.chat(body).await;
        let mut stream = response.bytes_stream();
        let mut text = String::new();
        while words_said(&text) < 10 {
            text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
        let silence = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
        assert!(silence.is_err(), "{switch}");
        assert_eq!(server.get("/health").await.status(), 200);
        server.stop().await;
    }
}

#[tokio::test]
async fn an_overridden_flag_shows_in_what_the_server_runs_with() {
    let line = format!("{FAST} --enable-prefix-caching --sim-override enable-prefix-caching=false");
    let (argv, mut options) = simulator::command_line(&words(&line), []).unwrap();
    options.environment.insert("VLLM_SERVER_DEV_MODE".into(), "1".into());
    let server = Running::serve(&argv, &options).await;
    let metrics = server.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("enable_prefix_caching=\"False\""));
    let info: Value = server.get("/server_info?config_format=json").await.json().await.unwrap();
    let config = &info["vllm_config"];
    assert_eq!(config["cache_config"]["enable_prefix_caching"], false);
    assert_eq!(config["scheduler_config"]["max_num_seqs"], 256);
    let log = server.stop().await.join("\n");
    assert!(log.contains("'enable_prefix_caching': True"), "the command line is echoed");
    assert!(log.contains("enable_prefix_caching=False, enable_chunked_prefill=True"));
}

#[tokio::test]
async fn the_prefix_cache_is_reset_in_dev_mode() {
    let (argv, mut options) = simulator::command_line(&words(FAST), []).unwrap();
    options.environment.insert("VLLM_SERVER_DEV_MODE".into(), "1".into());
    let server = Running::serve(&argv, &options).await;
    let body = json!({"messages": prompt("salt", 500), "max_tokens": 1});
    server.chat(body.clone()).await.text().await.unwrap();
    let url = format!("{}/reset_prefix_cache", server.url);
    let reset = server.client.post(url).send().await.unwrap();
    assert_eq!(reset.json::<Value>().await.unwrap(), json!({"success": true}));
    server.chat(body).await.text().await.unwrap();
    assert_eq!(server.metric("vllm:prefix_cache_hits_total").await, 0.0);
    server.stop().await;
}
