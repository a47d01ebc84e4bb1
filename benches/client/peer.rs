//! The same load from another client, one that takes the options of
//! `vllm bench serve` and writes its result file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::scenario::{Scenario, Side, waited};

/// Runs `path` against the scenario's server. Its prompts bear their numbers, and
/// its result file has a time for each.
pub(crate) fn theirs(
    scenario: &Scenario,
    path: &str,
    url: &str,
) -> Result<Side, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let prompts = folder.path().join("prompts.jsonl");
    std::fs::write(&prompts, lines(scenario.requests))?;
    let mut command = Command::new(path);
    command
        .args(["bench", "serve", "--backend", "openai-chat", "--model", "m"])
        .args(["--base-url", url, "--endpoint", "/v1/chat/completions"])
        .args(["--dataset-name", "custom", "--disable-shuffle", "--dataset-path"])
        .arg(&prompts)
        .args(["--custom-output-len", &scenario.tokens.to_string(), "--tokenizer"])
        .arg(tokenizer(folder.path())?)
        .args(["--num-prompts", &scenario.requests.to_string(), "--temperature", "0"])
        .args(["--max-concurrency", &scenario.streams.to_string()])
        .args(["--save-result", "--save-detailed", "--result-filename", "result.json"])
        .arg("--result-dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let spent = waited(command)?;
    let result = std::fs::read_to_string(folder.path().join("result.json"))?;
    let result: Value = serde_json::from_str(&result)?;
    let times = result.get("ttfts").and_then(Value::as_array).ok_or("no `ttfts` in the result")?;
    let mut ttft_ms = BTreeMap::new();
    for (number, seconds) in (0..).zip(times) {
        ttft_ms.insert(number, seconds.as_f64().ok_or("a time that is no number")? * 1e3);
    }
    let rate = result.get("output_throughput").and_then(Value::as_f64).ok_or("no throughput")?;
    let mut summary = spent.figures();
    summary.insert("tokens_per_second".to_owned(), rate);
    Ok(Side { ttft_ms, summary, remark: None })
}

fn lines(requests: usize) -> String {
    let mut lines = String::new();
    for number in 0..requests {
        let prompt = format!("bench-id-{number}: {}", "a prompt of a few words. ".repeat(8));
        let _ = writeln!(lines, "{}", json!({"prompt": prompt}));
    }
    lines
}

/// It wants a tokenizer for its own count of the prompts: any will do.
fn tokenizer(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    let place = folder.join("tokenizer");
    std::fs::create_dir(&place)?;
    let words = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
    });
    std::fs::write(place.join("tokenizer.json"), words.to_string())?;
    Ok(place)
}
