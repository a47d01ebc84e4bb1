//! What speed does not show, from outside: degenerate answers and faults at the edge, on the
//! chats that fit a condition and on no other.

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use vllm_grid::simulator::Ending;

use super::FAST;
use super::served::{Running, chunks};
use crate::grid_errors::{read_text, shown};

fn chat(content: &str, max_tokens: u64) -> Value {
    json!({"messages": [{"role": "user", "content": content}], "max_tokens": max_tokens})
}

/// The text of an answer and the count of its tokens.
async fn said(server: &Running, body: Value) -> (String, u64) {
    let answer: Value = server.chat(body).await.json().await.unwrap();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    (text.to_owned(), answer["usage"]["completion_tokens"].as_u64().unwrap())
}

async fn streamed(server: &Running, mut body: Value) -> String {
    body["stream"] = json!(true);
    let chunks = chunks(server.chat(body).await).await;
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

/// The share of words that are those `period` before them, after the first so many.
fn share_repeated(text: &str, after: usize, period: usize) -> f64 {
    let words: Vec<&str> = text.split_whitespace().skip(after).collect();
    let equal = words.iter().zip(&words[period..]).filter(|(a, b)| a == b).count();
    equal as f64 / (words.len() - period) as f64
}

#[tokio::test]
async fn answers_loop_on_some_prompts_only_at_the_same_count_of_tokens() {
    let spoil = "--sim-spoil loop,period=3,after=10,word=tides --sim-spoil wall,longer-than=400";
    let server = Running::start(&format!("{FAST} {spoil}")).await;
    let (looping, tokens) = said(&server, chat("Why do the Tides rise?", 300)).await;
    assert_eq!(tokens, 300, "a loop does not end by itself");
    assert!(share_repeated(&looping, 10, 3) > 0.99, "{looping}");
    assert!(share_repeated(&looping, 0, 3) < 0.99, "{looping}");
    assert_eq!(streamed(&server, chat("Why do the Tides rise?", 300)).await, looping);
    let (good, _) = said(&server, chat("Why does the Moon rise?", 300)).await;
    assert!((1..9).all(|period| share_repeated(&good, 0, period) < 0.3), "{good}");
    let (wall, _) = said(&server, chat(&"a word ".repeat(200), 40)).await;
    assert_eq!(wall, "!".repeat(40));

    let completion = json!({"prompt": "tides", "max_tokens": 60});
    let url = format!("{}/v1/completions", server.url);
    let answer = server.client.post(url).bearer_auth("k").json(&completion).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert!(share_repeated(text, 10, 3) > 0.99, "{text}");
    server.stop().await;
}

#[tokio::test]
async fn answers_loop_only_under_load() {
    // At its own pace, so that the first one is under way when the second comes.
    let line = "serve Qwen/Qwen3-0.6B --sim-boot-seconds 0 --max-model-len 8192 --sim-spoil \
                loop,in-flight=2";
    let server = Running::start(line).await;
    let mut long = chat("Go on", 8000);
    long["stream"] = json!(true);
    long["ignore_eos"] = json!(true);
    let mut other = server.chat(long).await.bytes_stream();
    assert!(other.next().await.is_some());
    let (looping, _) = said(&server, chat("Hello", 40)).await;
    assert!(share_repeated(&looping, 1, 1) > 0.99, "{looping}");
    drop(other);
    let alone = async || share_repeated(&said(&server, chat("Hello", 40)).await.0, 1, 1) < 0.3;
    crate::support::until_async("it is alone", alone).await;
    // One after the other is no load.
    assert!(alone().await && alone().await);
    server.stop().await;
}

#[tokio::test]
async fn answers_are_empty_broken_or_nonsense() {
    for (kind, lone_bytes) in [("empty", 0), ("broken", 0), ("broken-bytes", 20), ("nonsense", 0)] {
        let server = Running::start(&format!("{FAST} --sim-spoil {kind}")).await;
        for stream in [false, true] {
            let mut body = chat("Hello", 40);
            body["ignore_eos"] = json!(true);
            body["stream"] = json!(stream);
            let response = server.chat(body).await;
            assert_eq!(response.status(), 200, "{kind}");
            let bytes = response.bytes().await.unwrap();
            let lone = bytes.split(|byte| *byte == 0xc3).count() - 1;
            assert_eq!(lone, lone_bytes, "{kind}, stream: {stream}");
            assert_eq!(std::str::from_utf8(&bytes).is_err(), lone > 0, "{kind}");
            let text = String::from_utf8_lossy(&bytes);
            let replaced = text.matches(char::REPLACEMENT_CHARACTER).count();
            assert_eq!(replaced, if kind.starts_with("broken") { 20 } else { 0 }, "{kind}");
        }
        let (text, tokens) = match kind {
            "broken-bytes" => (String::new(), 0),
            _ => said(&server, chat("Hello", 40)).await,
        };
        match kind {
            "empty" => assert_eq!((&*text, tokens), ("", 1)),
            "nonsense" => {
                assert!((1..9).all(|period| share_repeated(&text, 0, period) < 0.1), "{text}");
            }
            _ => {}
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn the_engine_survives_an_error_on_a_long_prompt_and_dies_of_a_second_chunk() {
    let line = format!("{FAST} --sim-spoil error,longer-than=100 --max-num-batched-tokens 1024");
    let server = Running::start(&line).await;
    let long = "some words of text ".repeat(200);
    assert_eq!(server.chat(chat(&long, 4)).await.status(), 500);
    assert_eq!(server.chat(chat("Hello", 4)).await.status(), 200);
    server.stop().await;

    let line = format!("{FAST} --sim-die-on-second-chunk --max-num-batched-tokens 1024");
    let server = Running::start(&line).await;
    assert_eq!(server.chat(chat(&long, 4)).await.status(), 200, "it fits into a step");
    let longer = "other words of text ".repeat(400);
    assert_eq!(server.chat(chat(&longer, 4)).await.status(), 500);
    assert_eq!(server.serving.await.unwrap().unwrap(), Ending::EngineDied);
    let log = server.log.lock().unwrap().join("\n");
    assert!(log.contains("EngineDeadError: EngineCore encountered an issue"));
}

#[test]
fn a_grid_names_what_is_wrong_with_a_spoiled_answer_with_its_place() {
    let grid = |spoil: &str| {
        let engine = format!("model: Qwen/Qwen3-0.6B, gpu: rtx-4090, faults: ['b spoil={spoil}']");
        read_text(&format!(
            "name: g\nengine: {{simulated: {{{engine}}}}}\ninclude: [{{name: b, max-num-seqs: 8}}]\n\
             workloads: {{kv-cache: }}\nobjective: {{minimize: kv_cache.ttft_resent_ms}}\n"
        ))
    };
    assert!(grid("loop,period=12,after=30,word=tides,in-flight=2").is_ok());
    for (spoil, named) in [
        ("lop", "'lop' is not known (known: loop, wall, empty,"),
        ("loop,period=0", "invalid value: 'period=0'"),
        ("loop,every=2", "`every` is not known of `loop`: from, count, longer-than, word,"),
        ("empty,after=2", "`after` is not known of `empty`"),
        ("nonsense,share=30%", "invalid value: 'share=30%'"),
    ] {
        let errors = shown(&grid(spoil).expect_err(spoil));
        assert!(errors.contains(named) && errors.contains("grid.yaml:2:"), "{errors}");
    }
}
