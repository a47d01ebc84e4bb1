//! Opening a server: which of the things that can be wrong it was.

use std::time::Duration;

use crate::bench::counting::{Behaviour, Counting};
use crate::bench::scripted::{Scripted, Step, writes};
use crate::support::{PATIENCE, in_time};
use vllm_grid::server::{ApiKey, Endpoint, Health, Server, ServerError, completion_proof, health};

fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn open(steps: Vec<Step>, model: Option<&str>, key: bool) -> Result<Server, ServerError> {
    let scripted = Scripted::start(steps).await;
    let api_key = key.then(|| ApiKey::new("sk-secret"));
    let base_url = format!("http://{}/v1/", scripted.address);
    Server::open(Endpoint::new(base_url, api_key), model).await
}

/// As vLLM 0.32.0 answers; every path gets it, so the version is one that is not offered.
const MODELS: &str = r#"{"object":"list","data":[{"id":"qwen3-tiny","object":"model","max_model_len":8192},{"id":"lora"}]}"#;

#[tokio::test]
async fn a_server_reports_its_model_context_and_version() {
    let server = open(writes(&[json("200 OK", MODELS)]), None, true).await.expect("it serves");
    assert_eq!((server.model.as_str(), server.max_model_len), ("qwen3-tiny", Some(8192)));
    assert!(server.endpoint.base_url.ends_with(|c: char| c.is_ascii_digit()), "without /v1/");
    let server = open(writes(&[json("200 OK", MODELS)]), Some("lora"), true).await.expect("named");
    assert_eq!((server.model.as_str(), server.version, server.simulated), ("lora", None, false));
    let counting = Counting::start(Behaviour::default()).await;
    let server = Server::open(counting.endpoint(), Some("m")).await.expect("it serves");
    assert_eq!(server.version.as_deref(), Some("0.32.0"));
}

#[tokio::test]
async fn of_several_names_the_first_that_is_offered_is_used() {
    let open = async |names: &[&str]| {
        let scripted = Scripted::start(writes(&[json("200 OK", MODELS)])).await;
        let base_url = format!("http://{}", scripted.address);
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        Server::open_one_of(Endpoint::new(base_url, None), &names).await
    };
    let named = async |names: &[&str]| open(names).await.expect("offered").model;
    assert_eq!(named(&["gone", "lora", "qwen3-tiny"]).await, "lora");
    assert_eq!(named(&[]).await, "qwen3-tiny");
    let error = open(&["gone", "other"]).await.expect_err("not offered").to_string();
    let says = "does not serve the model `gone`; it serves `qwen3-tiny`, `lora`";
    assert!(error.ends_with(says), "{error}");
}

#[tokio::test]
async fn a_simulated_server_is_known_as_one() {
    for version in [
        r#"{"version":"0.32.0","simulated":{"gpu":"a100"},"data":[{"id":"m"}]}"#,
        r#"{"version":"0.1.0-simulated","data":[{"id":"m"}]}"#,
    ] {
        let server =
            open(writes(&[json("200 OK", version)]), None, false).await.expect("it serves");
        assert!(server.simulated, "{version}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let refused = || writes(&[json("401 Unauthorized", r#"{"error":"Unauthorized"}"#)]);
    let says =
        async |steps, model, key| open(steps, model, key).await.expect_err("wrong").to_string();
    let without = says(refused(), None, false).await;
    assert!(without.ends_with("refuses requests without an API key"), "{without}");
    let with = says(refused(), None, true).await;
    assert!(with.ends_with("refuses the API key that was given"), "{with}");
    assert!(!with.contains("sk-secret"));
    let model = says(writes(&[json("200 OK", MODELS)]), Some("llama"), true).await;
    assert!(model.contains("does not serve the model `llama`; it serves `qwen3-tiny`, `lora`"));
    for other in [json("404 Not Found", "{}"), json("200 OK", "<html>"), json("200 OK", "{}")] {
        let other = says(writes(&[other]), None, true).await;
        assert!(other.contains("is not a vLLM-like server"), "{other}");
    }
    let ssh = says(writes(&["SSH-2.0-OpenSSH_9.2\r\n\r\n"]), None, true).await;
    assert!(ssh.contains("is not a vLLM-like server"), "{ssh}");
}

#[tokio::test]
async fn nobody_there() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let endpoint = Endpoint::new(base_url, None);
    assert_eq!(health(&endpoint).await, Health::Unreachable);
    let error = Server::open(endpoint, None).await.expect_err("nobody");
    assert!(matches!(error, ServerError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn health_is_a_status_code() {
    let ask = async |answer: &str| {
        let scripted = Scripted::start(writes(&[json(answer, "")])).await;
        let base_url = format!("http://{}", scripted.address);
        health(&Endpoint::new(base_url, None)).await
    };
    assert_eq!(ask("200 OK").await, Health::Up);
    assert_eq!(ask("503 Service Unavailable").await, Health::NotYet(503));
}

#[tokio::test]
async fn a_completion_proves_that_the_engine_decodes() {
    let limit = PATIENCE;
    let prove = async |steps| {
        let scripted = Scripted::start(steps).await;
        (completion_proof(&scripted.server(), limit).await, scripted.seen())
    };
    let good = r#"{"choices":[{"finish_reason":"length","message":{"content":"Pa"}}],"usage":{"completion_tokens":1}}"#;
    let (proof, seen) = prove(writes(&[json("200 OK", good)])).await;
    assert!(proof.expect("a token") < limit);
    assert!(seen.requests[0].contains(r#""max_tokens":1"#), "{}", seen.requests[0]);
    let (empty, _) = prove(writes(&[json("200 OK", r#"{"choices":[]}"#)])).await;
    assert!(empty.expect_err("no token").to_string().contains("without a token"));
    let dead = r#"{"error":{"message":"EngineCore encountered an issue.","code":500}}"#;
    let (dead, _) = prove(writes(&[json("500 Internal Server Error", dead)])).await;
    assert!(dead.expect_err("dead").to_string().contains("HTTP 500: EngineCore encountered"));
    let frozen = Scripted::start(vec![Step::Hang]).await;
    let server = frozen.server();
    let proof = completion_proof(&server, Duration::from_millis(200));
    let proof = in_time("its time is over", proof).await;
    assert!(proof.expect_err("frozen").to_string().contains("no answer within 0.2 s"));
}

#[tokio::test]
async fn a_server_of_several_models_says_which_one_is_measured() {
    let two = r#"{"data":[{"id":"a","root":"/a"},{"id":"b","root":"/b"}]}"#;
    let server = open(writes(&[json("200 OK", two)]), None, true).await.expect("it serves");
    let note = server.choice.note(&server.model).expect("it is not clear which is meant");
    assert!(note.contains("`a` is measured") && note.ends_with("it also offers `b`"), "{note}");
    let named = open(writes(&[json("200 OK", two)]), Some("b"), true).await.expect("it serves");
    assert_eq!((named.model.as_str(), named.choice.note("b")), ("b", None));
}
