//! The command `bench` at its edge: what it refuses, what it reports when it is stopped,
//! and what becomes of figures whose records cannot be written.

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;

use crate::bench::counting::{Behaviour, Counting};
use crate::support::until_async;

fn bench(folder: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
    command.args(["bench", url]).args(arguments).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether it was said; lines are folded to the terminal's width, within words, too.
fn holds(said: &str, what: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(|c| !c.is_whitespace() && *c != '\u{2502}').collect()
    };
    letters(said).contains(&letters(what))
}

fn measurements(output: &Output) -> Vec<Value> {
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    printed["measurements"].as_array().expect("a list").clone()
}

/// Nobody is there: whatever is wrong is found before.
const NOBODY: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn every_error_is_reported_in_one_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [
        "--workload",
        "load",
        "--set",
        "rate",
        "--set",
        "requests=many",
        "--set",
        "rat=3",
        "--set",
        "dataset=no.jsonl",
        "--set",
        "seed=1",
        "--set",
        "seed=2",
        "--api-key-env",
        "VLLM_GRID_NO_SUCH_VARIABLE",
        "--records",
        "no/records.parquet",
        "--local-gpus",
        "GPU-none",
    ];
    let output = bench(folder.path(), NOBODY, &arguments).output().await.expect("it runs");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for error in [
        "--set rate: write it as name=value",
        "--set seed is given twice",
        "option `requests` must be a whole number",
        "unknown option `rat`",
        "load: no.jsonl: No such file",
        "VLLM_GRID_NO_SUCH_VARIABLE (--api-key-env) is not set",
        "--records no/records.parquet: No such file",
        "no GPU GPU-none on this machine",
    ] {
        assert!(holds(&said, error), "{error}: {said}");
    }
}

#[tokio::test]
async fn the_place_of_the_records_is_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("records.parquet"), "old").expect("written");
    let arguments = ["--workload", "load", "--records", "records.parquet"];
    let output = bench(folder.path(), NOBODY, &arguments).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let kept = std::fs::read_to_string(folder.path().join("records.parquet"));
    assert_eq!(kept.expect("there"), "old");
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1);
}

/// Options of an external benchmark that runs this.
fn script(text: &str) -> [String; 4] {
    let command = format!("command=sh,-c,{text}; echo '{{\"completed\": 7}}' > \"$0\",{{result}}");
    ["--workload".to_owned(), "command".to_owned(), "--set".to_owned(), command]
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_reported_although_their_records_cannot_be_written() {
    let counting = Counting::start(Behaviour::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("kept")).expect("created");
    let script = script("rm -r kept");
    let mut arguments: Vec<&str> = script.iter().map(String::as_str).collect();
    arguments.extend(["--set", "warmup=0", "--repeats", "1", "--format", "json"]);
    arguments.extend(["--records", "kept/records.parquet"]);
    let url = counting.endpoint().base_url;
    let output = bench(folder.path(), &url, &arguments).output().await.expect("it runs");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(holds(&said, "kept/records.parquet: No such file"), "{said}");
    assert_eq!(measurements(&output)[0]["metrics"]["completed"], 7.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_reports_what_was_measured_so_far() {
    let counting = Counting::start(Behaviour::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let script = script("test -e once && touch twice && sleep 600; touch once");
    let mut arguments: Vec<&str> = script.iter().map(String::as_str).collect();
    arguments.extend(["--set", "warmup=0", "--repeats", "3", "--format", "json"]);
    arguments.extend(["--records", "records.parquet"]);
    let url = counting.endpoint().base_url;
    let running = bench(folder.path(), &url, &arguments).spawn().expect("it starts");
    let process = running.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    until_async("the second repeat", async || folder.path().join("twice").exists()).await;
    kill_process(process, Signal::INT).expect("it runs");
    let output = running.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let printed = measurements(&output);
    assert_eq!((printed.len(), &printed[0]["metrics"]["completed"]), (1, &Value::from(7.0)));
    assert!(folder.path().join("records.parquet").exists());
}

/// It may have run for hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_stability_that_is_stopped_reports_how_far_it_came() {
    let counting = Counting::start(Behaviour::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [
        "--workload",
        "stability",
        "--set",
        "requests=10000",
        "--set",
        "warmup=0",
        "--set",
        "prompt_tokens=64,128",
        "--set",
        "output_tokens=4",
        "--repeats",
        "2",
        "--format",
        "json",
        "--records",
        "records.parquet",
    ];
    let url = counting.endpoint().base_url;
    let running = bench(folder.path(), &url, &arguments).spawn().expect("it starts");
    let process = running.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    until_async("40 requests", async || counting.served() >= 40).await;
    kill_process(process, Signal::INT).expect("it runs");
    let output = running.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let printed = measurements(&output);
    let reason = printed[0]["reason"].as_str().expect("said");
    assert_eq!((printed.len(), &printed[0]["status"]), (1, &Value::from("void")));
    assert!(reason.starts_with("stopped after "), "{reason}");
    assert!(printed[0]["metrics"]["requests"].as_f64() > Some(10.0), "{:?}", printed[0]["metrics"]);
    assert!(printed[0]["metrics"]["median_ttft_ms"].is_number());
    assert!(folder.path().join("records.parquet").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_requests_are_checked_before_anything_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    for (given, error) in [
        (r#"{"api_key": "sk-abcdefgh", "stream": true}"#, "the field `stream` cannot be set"),
        (r#"{"api_key": "sk-abcdefgh""#, "--request is no JSON: EOF"),
        ("[1]", "--request must be a JSON object"),
        (r#"{"api_key": "sk-abcdefgh"}"#, "`api_key` is a secret"),
    ] {
        let arguments = ["--workload", "load", "--request", given];
        let output = bench(folder.path(), NOBODY, &arguments).output().await.expect("it runs");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(holds(&said, error), "{error}: {said}");
        assert!(!holds(&said, "abcdefgh"), "{said}");
    }
    let set = ["--workload", "load", "--set", r#"request={"api_key": "sk-abcdefgh""#];
    let output = bench(folder.path(), NOBODY, &set).output().await.expect("it runs");
    let said = said(&output);
    assert!(holds(&said, "option `request` must be a mapping of fields, not a text"), "{said}");
    assert!(!holds(&said, "abcdefgh"), "{said}");
    let counting = Counting::start(Behaviour::default()).await;
    let url = counting.endpoint().base_url;
    let good = [
        ["--workload", "kv-cache"],
        ["--set", "prefix_tokens=300"],
        ["--set", "prompts=1"],
        ["--set", "warmup=0"],
        ["--set", r#"request={"top_k": 3}"#],
        ["--request", r#"{"top_k": 2, "temperature": 0.7}"#],
        ["--repeats", "1"],
    ];
    let output = bench(folder.path(), &url, good.as_flattened()).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for body in counting.bodies() {
        assert_eq!((body["top_k"].as_u64(), body["temperature"].as_f64()), (Some(3), Some(0.7)));
    }
}
