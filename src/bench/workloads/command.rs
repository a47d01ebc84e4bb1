//! The workload `command`: an external benchmark. It is given the server's
//! address, writes a result file in the form of `vllm bench serve`, and its
//! figures become metrics. The key goes through the environment alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::bench::error::BenchError;
use crate::bench::outcome::{RepeatOutcome, RepeatResult};
use crate::bench::repeat::RepeatContext;
use crate::input::{self, InputError};
use crate::metric::{AMONG_FAILURES, MetricReasons, MetricValue, MetricValues};
use crate::workload::Command;

/// The end of its stderr, in bytes, that a reason may contain.
const MAX_STDERR: usize = 2000;
/// Time for it to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// A larger result file is refused.
const MAX_RESULT: u64 = 256 << 20;

/// How it ended.
enum Ended {
    Well,
    Badly(String),
    Cancelled,
}

/// Runs one repeat.
pub(crate) async fn repeat(
    repeat: &mut RepeatContext<'_>,
    spec: &Command,
    names: &[&str],
) -> Result<RepeatResult, BenchError> {
    if spec.command.is_empty() {
        let reason = "no command was given: set `command`".to_owned();
        return Ok(RepeatResult::without_requests(
            RepeatOutcome::Skipped(reason),
            MetricValues::new(),
        ));
    }
    let failed =
        |reason| RepeatResult::without_requests(RepeatOutcome::Failed(reason), MetricValues::new());
    let folder = match ResultFolder::new() {
        Ok(folder) => folder,
        Err(error) => return Ok(failed(format!("no folder for its result file: {error}"))),
    };
    match run(repeat, spec, &folder.result()).await {
        Ended::Cancelled => Err(BenchError::Cancelled),
        Ended::Badly(reason) => Ok(failed(reason)),
        Ended::Well => Ok(match figures(&folder.result(), names) {
            Err(reason) => failed(reason),
            Ok(Figures { mut metrics, asked }) => {
                let outcome = outcome(&metrics, asked);
                let reasons = take_among_failures(&mut metrics);
                RepeatResult { reasons, ..RepeatResult::without_requests(outcome, metrics) }
            }
        }),
    }
}

/// A folder for the result file, removed in the end.
struct ResultFolder(PathBuf);

impl ResultFolder {
    fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("vllm-grid-{}-{:016x}", std::process::id(), rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    fn result(&self) -> PathBuf {
        self.0.join("result.json")
    }
}

impl Drop for ResultFolder {
    fn drop(&mut self) {
        // What is left of it does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn run(repeat: &RepeatContext<'_>, spec: &Command, result: &Path) -> Ended {
    let endpoint = &repeat.session.server().endpoint;
    let fields = Value::Object(repeat.target().added()).to_string();
    let word = |word: &String| {
        word.replace("{url}", &endpoint.base_url)
            .replace("{model}", repeat.target().model())
            .replace("{request}", &fields)
            .replace("{result}", &result.to_string_lossy())
    };
    let words: Vec<String> = spec.command.iter().map(word).collect();
    let mut command = tokio::process::Command::new(&words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let key = endpoint.api_key.as_ref().map(crate::server::ApiKey::reveal);
    if let Some(key) = key {
        command.env("OPENAI_API_KEY", key).env("VLLM_API_KEY", key);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ended::Badly(format!("`{}` cannot be started: {error}", words[0])),
    };
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let stderr = child.stderr.take();
    let stderr_tail = tokio::spawn(async move {
        match stderr {
            Some(stderr) => tail(stderr).await,
            None => String::new(),
        }
    });
    let limit = Duration::from_secs_f64(spec.timeout);
    let waited =
        repeat.session.cancel().run_until_cancelled(tokio::time::timeout(limit, child.wait()));
    let ended = match waited.await {
        Some(Ok(Ok(status))) if status.success() => Ended::Well,
        Some(Ok(Ok(status))) => Ended::Badly(format!("`{}` failed ({status})", words[0])),
        Some(Ok(Err(error))) => Ended::Badly(format!("`{}`: {error}", words[0])),
        Some(Err(_)) => {
            Ended::Badly(format!("`{}` did not end within {} s", words[0], spec.timeout))
        }
        None => Ended::Cancelled,
    };
    if !matches!(child.try_wait(), Ok(Some(_))) {
        end(&mut child, group).await;
    }
    let Ended::Badly(reason) = ended else { return ended };
    // A child of its own may keep the pipe open.
    let stderr_tail = tokio::time::timeout(Duration::from_secs(1), stderr_tail).await;
    let stderr_tail = stderr_tail.ok().and_then(Result::ok).unwrap_or_default();
    let stderr_tail =
        key.map_or_else(|| stderr_tail.clone(), |key| stderr_tail.replace(key, "***"));
    let stderr_tail = stderr_tail.trim();
    Ended::Badly(if stderr_tail.is_empty() { reason } else { format!("{reason}: {stderr_tail}") })
}

/// Ends it and what it started.
async fn end(child: &mut tokio::process::Child, group: Option<Pid>) {
    let signal = |signal| {
        if let Some(group) = group {
            // It may have ended by itself meanwhile.
            let _ = kill_process_group(group, signal);
        }
    };
    signal(Signal::TERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        signal(Signal::KILL);
        let _ = child.wait().await;
    }
}

/// The end of a stream.
async fn tail(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        if kept.len() > 2 * MAX_STDERR {
            kept.drain(..kept.len() - MAX_STDERR);
        }
    }
    let text = String::from_utf8_lossy(&kept[kept.len().saturating_sub(MAX_STDERR)..]);
    crate::clean::lines(&text).into_owned()
}

/// Share of requests that may fail before a repeat is no measurement, as in `load`.
const MAX_FAILED: f64 = 0.01;

/// Takes out the percentiles that fall among failed requests, where the program has them of
/// the others; why they are absent.
fn take_among_failures(metrics: &mut MetricValues) -> MetricReasons {
    let (Some(completed), Some(failed)) = (number(metrics, "completed"), number(metrics, "failed"))
    else {
        return MetricReasons::new();
    };
    let falls_among = |name: &str| {
        let share = match name.split_once('_') {
            Some(("median", _)) => 0.5,
            Some(("p95", _)) => 0.95,
            Some(("p99", _)) => 0.99,
            _ => return false,
        };
        (share * (completed + failed - 1.0)).ceil() > completed - 1.0
    };
    let mut reasons = MetricReasons::new();
    for (name, value) in metrics.iter_mut().filter(|(name, _)| failed > 0.0 && falls_among(name)) {
        if value.take().is_some() {
            let all = completed + failed;
            let reason = format!("{failed} of {all} {AMONG_FAILURES}");
            reasons.insert(name.clone(), reason);
        }
    }
    reasons
}

/// Whether its requests are a measurement: programs end well, with zeros for the
/// latencies, when every request failed. Older releases do not report `failed`, and
/// `asked` may be more prompts than they had: that is a remark.
fn outcome(metrics: &MetricValues, asked: Option<f64>) -> RepeatOutcome {
    let Some(completed) = number(metrics, "completed") else { return RepeatOutcome::Ok(None) };
    if completed <= 0.0 {
        return RepeatOutcome::Failed("no request completed".to_owned());
    }
    match (number(metrics, "failed"), asked) {
        (Some(failed), _) if failed > 0.0 => {
            let all = completed + failed;
            let reason = format!("{failed} of {all} requests failed");
            let is_too_much = failed > MAX_FAILED * all;
            if is_too_much {
                RepeatOutcome::Failed(reason)
            } else {
                RepeatOutcome::Ok(Some(reason))
            }
        }
        (None, Some(asked)) if asked > completed => RepeatOutcome::Ok(Some(format!(
            "{completed} of {asked} requests completed; nothing is reported of the others"
        ))),
        _ => RepeatOutcome::Ok(None),
    }
}

fn number(metrics: &MetricValues, name: &str) -> Option<f64> {
    match metrics.get(name)? {
        Some(MetricValue::Number(number)) => Some(*number),
        _ => None,
    }
}

/// Latencies of nothing are reported as 0, by `vllm bench serve` too: all of them when no
/// request completed, those per further token when answers have one. They are absent.
fn without_zeros(metrics: &mut MetricValues) {
    for latency in ["ttft", "tpot", "itl", "e2el"] {
        let names =
            ["mean", "median", "std", "p95", "p99"].map(|what| format!("{what}_{latency}_ms"));
        // A deviation may be 0; a latency and its mean are not.
        let values = names.each_ref().map(|name| number(metrics, name).unwrap_or(0.0));
        if values.iter().all(|value| *value <= 0.0) {
            metrics.extend(names.map(|name| (name, None)));
        }
    }
}

/// What a result file contains.
struct Figures {
    /// The figures that the catalogue names.
    metrics: MetricValues,
    /// Requests that were asked for.
    asked: Option<f64>,
}

fn figures(path: &Path, names: &[&str]) -> Result<Figures, String> {
    let bytes = input::read(path, MAX_RESULT).map_err(|error| match error {
        InputError::Missing(_) => "it wrote no result file".to_owned(),
        error => format!("its result file cannot be used: {error}"),
    })?;
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let result: Value = serde_json::from_slice(text)
        .map_err(|error| format!("its result file is no JSON: {error}"))?;
    let Value::Object(result) = result else {
        return Err("its result file contains no JSON object".to_owned());
    };
    // Some releases write `request_goodput:`.
    let value_of = |name: &str| {
        let value = result.get(name).or_else(|| result.get(&format!("{name}:")))?;
        value.as_f64().filter(|value| value.is_finite()).map(MetricValue::Number)
    };
    let mut metrics: MetricValues =
        names.iter().map(|name| ((*name).to_owned(), value_of(name))).collect();
    if metrics.values().all(Option::is_none) {
        return Err("its result file has none of the figures of `vllm bench serve`".to_owned());
    }
    without_zeros(&mut metrics);
    let asked = result.get("num_prompts").and_then(Value::as_f64);
    Ok(Figures { metrics, asked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_program_that_fall_among_failed_requests_are_taken_out() {
        let of = |failed: f64| {
            let values = [("completed", 300.0 - failed), ("failed", failed), ("mean_ttft_ms", 1.0)];
            let latencies = [("median_ttft_ms", 1.0), ("p95_ttft_ms", 2.0), ("p99_ttft_ms", 3.0)];
            let all = values.into_iter().chain(latencies);
            let mut metrics = crate::metric::numbers(all.map(|(name, value)| (name, Some(value))));
            let reasons = take_among_failures(&mut metrics);
            let absent = metrics.values().filter(|value| value.is_none()).count();
            assert_eq!(absent, reasons.len());
            reasons.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(of(0.0), Vec::<String>::new());
        assert_eq!(of(2.0), Vec::<String>::new());
        assert_eq!(of(3.0), ["p99_ttft_ms"], "as of our own load");
        assert_eq!(of(24.0), ["p95_ttft_ms", "p99_ttft_ms"]);
    }
}
