//! What real vLLM shows of its configuration, read from captures of 0.32.0.

use serde_json::{Value, json};
use vllm_grid::configuration::Flags;
use vllm_grid::server::Server;
use vllm_grid::server::counters::Counters;
use vllm_grid::server::effective::{self, FlagProof, Sources, read};

use crate::bench::counting::{Behaviour, Counting};

fn capture(name: &str) -> String {
    let path = format!("{}/tests/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a capture")
}

fn flags(value: &Value) -> Flags {
    value.as_object().expect("an object").clone().into_iter().collect()
}

/// One line per flag: name, shown value, proof, source.
fn table(sources: &Sources<'_>, requested: &Value) -> String {
    let rows = read(sources, &flags(requested));
    let line = |(name, effective): (&String, &vllm_grid::server::effective::Effective)| {
        let value = effective.value.as_ref().map_or("-".to_owned(), Value::to_string);
        let proof = effective.proof.map_or("-".to_owned(), |proof| {
            serde_json::to_value(proof).expect("a word").as_str().expect("a word").to_owned()
        });
        format!("{name}: {value} {proof} ({})", effective.source)
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn metrics_models_and_log_prove_what_they_can() {
    let (log, metrics) =
        (capture("b-prefix-on-chunk512.log"), capture("b-prefix-on-chunk512.metrics.txt"));
    let counters = Counters::parse(&metrics);
    let sources = Sources {
        counters: Some(&counters),
        max_model_len: Some(8192),
        log: Some(&log),
        server_info: None,
    };
    let requested = json!({
        "enable-prefix-caching": true, "enable-chunked-prefill": false, "max-num-seqs": 8,
        "gpu-memory-utilization": 0.20, "max-num-batched-tokens": 512, "max-model-len": "8k",
        "dtype": "auto", "swap-space": 4, "enforce-eager": true, "block-size": 16,
    });
    insta::assert_snapshot!(table(&sources, &requested));
}

#[test]
fn switched_off_is_honoured_too() {
    let (log, metrics) =
        (capture("b-prefix-off-nochunk.log"), capture("b-prefix-off-nochunk.metrics.txt"));
    let counters = Counters::parse(&metrics);
    let sources = Sources { counters: Some(&counters), log: Some(&log), ..Sources::default() };
    let requested = json!({
        "enable-prefix-caching": false, "enable-chunked-prefill": false,
        "max-num-batched-tokens": 8192, "max-num-seqs": 8,
    });
    insta::assert_snapshot!(table(&sources, &requested));
}

#[test]
fn the_log_alone_and_the_metrics_alone() {
    let requested =
        json!({"enable-prefix-caching": true, "max-num-seqs": 8, "gpu-memory-utilization": 0.2});
    let log = capture("startup-prefix-on.log");
    let from_log = table(&Sources { log: Some(&log), ..Sources::default() }, &requested);
    assert!(from_log.contains("enable-prefix-caching: true honoured (log)"), "{from_log}");
    assert!(from_log.contains("max-num-seqs: 8 echoed (log)"), "{from_log}");
    assert!(from_log.contains("gpu-memory-utilization: 0.2 echoed (log)"), "{from_log}");
    assert!(from_log.contains("kv-cache-size-tokens: 6872576 - (log)"), "{from_log}");
    assert!(from_log.contains("kv-cache-max-concurrency: 838.94 - (log)"), "{from_log}");
    let counters = Counters::parse(&capture("b-prefix-off-nochunk.metrics.txt"));
    let sources = Sources { counters: Some(&counters), ..Sources::default() };
    let from_metrics = table(&sources, &requested);
    assert!(from_metrics.contains("enable-prefix-caching: false overridden (metrics)"));
    assert!(from_metrics.contains("max-num-seqs: - unknown (none)"), "{from_metrics}");
}

#[test]
fn dev_mode_proves_what_only_the_command_line_shows_otherwise() {
    let info: Value = serde_json::from_str(&capture("server_info.json")).expect("JSON");
    let log = capture("startup-prefix-on.log");
    let sources = Sources { server_info: Some(&info), log: Some(&log), ..Sources::default() };
    let shown = table(&sources, &json!({"max-num-seqs": 8, "max-num-batched-tokens": 4096}));
    assert!(shown.contains("max-num-seqs: 8 honoured (server_info)"), "{shown}");
    assert!(shown.contains("max-num-batched-tokens: 2048 overridden (server_info)"), "{shown}");
}

#[test]
fn no_key_is_ever_shown() {
    let log = capture("startup-prefix-on.log");
    let sources = Sources { log: Some(&log), ..Sources::default() };
    let shown = table(&sources, &json!({"api-key": "sk-secret", "hf-token": "hf-secret"}));
    assert!(!shown.contains("secret") && !shown.contains("***"), "{shown}");
}

#[tokio::test]
async fn a_server_is_asked_for_what_it_shows() {
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), None).await.expect("it serves");
    let requested = flags(&json!({"enable-prefix-caching": false, "max-model-len": 8192}));
    let values = effective::of(&server, None, &requested).await;
    assert_eq!(values["enable-prefix-caching"].proof, Some(FlagProof::Overridden));
    assert_eq!(values["max-model-len"].proof, Some(FlagProof::Honoured));
    assert_eq!(values["block-size"].value, Some(json!(16)));
}
