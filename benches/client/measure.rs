//! Our client's side: the command `bench` itself with the workload `load`, as a
//! user calls it, and what its process spends. Its records name each answer by
//! the server's identifier, so that both sides speak of the same request.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use vllm_grid::results::records;

use crate::scenario::{Scenario, Side, waited};

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

/// Runs the scenario's load against `url`.
pub(crate) fn ours(
    scenario: &Scenario,
    url: &str,
    authority: &Path,
) -> Result<Side, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("records.parquet");
    let mut command = Command::new(BINARY);
    command.args(["bench", url, "--model", "m", "--workload", "load", "--repeats", "1"]);
    for (name, value) in [
        ("concurrency", scenario.streams),
        ("requests", scenario.requests),
        ("prompt_tokens", 64),
        ("output_tokens", scenario.tokens),
        ("warmup", 0),
    ] {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    if scenario.tls.is_some() {
        command.arg("--ca-file").arg(authority);
    }
    command.args(["--format", "json", "--records"]).arg(&file);
    let output = folder.path().join("output.json");
    command.stdout(std::fs::File::create(&output)?).stderr(Stdio::null());
    let spent = waited(command)?;
    let output: Value = serde_json::from_str(&std::fs::read_to_string(output)?)?;
    let metric = |name: &str| output.pointer(&format!("/measurements/0/metrics/{name}"));
    let number = |name: &str| {
        metric(name).and_then(Value::as_f64).ok_or_else(|| format!("no {name} in {output}"))
    };
    let is_ok = output.pointer("/measurements/0/status").and_then(Value::as_str) == Some("ok");
    let reason = output.pointer("/measurements/0/reason").and_then(Value::as_str);
    let remark = (!is_ok).then(|| reason.unwrap_or("no reason").to_owned());
    let tokens = if is_ok { number("total_output_tokens")? } else { f64::NAN };
    if is_ok && tokens as usize != scenario.requests * scenario.tokens {
        return Err(format!("{tokens} tokens: some are lost").into());
    }
    let mut ttft_ms = BTreeMap::new();
    // Without what was sent to fit the prompts' length.
    for record in records::read(&file)?.into_iter().filter(|record| record.purpose == "load") {
        let Some(id) = record.response_id.as_deref() else { continue };
        let number = id.strip_prefix("bench-").ok_or("another server's answer")?.parse()?;
        match record.ttft_ms() {
            Some(ms) => ttft_ms.insert(number, ms),
            None if is_ok => return Err("an answer without a token".into()),
            None => None,
        };
    }
    let mut summary = spent.figures();
    if is_ok {
        summary.insert("tokens_per_second".to_owned(), tokens / number("duration")?);
    }
    Ok(Side { ttft_ms, summary, remark })
}
