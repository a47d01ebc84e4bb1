//! The same load from another client, one that takes the options of
//! `vllm bench serve` and writes its result file.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::scenario::{Scenario, Serving, figures, waited};

/// Runs `path` against the scenario's server. Its error is the difference of
/// the means, as it names no single requests to us.
pub(crate) fn theirs(
    scenario: &Scenario,
    path: &str,
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let serving = Serving::start(scenario)?;
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(path);
    command
        .args(["bench", "serve", "--backend", "openai-chat", "--model", "m"])
        .args(["--base-url", &serving.url, "--endpoint", "/v1/chat/completions"])
        .args(["--dataset-name", "random", "--random-input-len", "64"])
        .args(["--random-output-len", &scenario.tokens.to_string()])
        .args(["--num-prompts", &scenario.requests.to_string()])
        .args(["--max-concurrency", &scenario.streams.to_string(), "--save-result"])
        .arg("--result-dir")
        .arg(folder.path())
        .args(["--result-filename", "result.json"])
        .stdout(Stdio::null());
    let spent = waited(command)?;
    let server = serving.stop()?;
    let result = std::fs::read_to_string(folder.path().join("result.json"));
    let result: serde_json::Value = serde_json::from_str(&result?)?;
    let number = |name: &str| result.get(name).and_then(serde_json::Value::as_f64);
    let served: f64 = server.ttft_ms.values().sum::<f64>() / server.ttft_ms.len() as f64;
    let error = number("mean_ttft_ms")
        .map_or("-".to_owned(), |mean| format!("{:.2} ms mean", (mean - served).abs()));
    let mut summary = BTreeMap::from([
        ("cpu_seconds".to_owned(), spent.cpu_seconds),
        ("peak_mb".to_owned(), spent.peak_mb),
    ]);
    if let Some(rate) = number("output_throughput") {
        summary.insert("tokens_per_second".to_owned(), rate);
    }
    Ok(figures(scenario, &error, &summary))
}
