//! Where a running server shows its configuration: labels of `/metrics`, the
//! models list, `/server_info` in dev mode, the start-up log. How what is shown
//! compares with what was asked for is in `effective`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::flags::Flags;
use crate::server::counters::Counters;
use crate::server::python;

/// What a running server shows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// `/metrics`.
    pub counters: Option<&'a Counters>,
    /// `max_model_len` of `/v1/models`.
    pub max_model_len: Option<u64>,
    /// `/server_info?config_format=json`, offered in dev mode.
    pub server_info: Option<&'a Value>,
    /// The start-up log.
    pub log: Option<&'a str>,
}

/// One flag as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) value: Value,
    pub(super) source: &'static str,
    /// Read from the engine's state; else the command line printed back.
    pub(super) is_state: bool,
}

pub(super) type Observed = BTreeMap<String, Shown>;

/// Flags that are shown even where they were not requested, and values that are not flags.
pub(super) const ALWAYS: &[&str] = &[
    "block-size",
    "dtype",
    "enable-chunked-prefill",
    "enable-prefix-caching",
    "enforce-eager",
    "gpu-memory-utilization",
    "kv-cache-dtype",
    "kv-cache-max-concurrency",
    "kv-cache-size-tokens",
    "max-model-len",
    "max-num-batched-tokens",
    "max-num-seqs",
    "num-gpu-blocks",
    "quantization",
    "tensor-parallel-size",
];

/// Labels of `vllm:cache_config_info`, and the flag that sets each.
const LABELS: &[(&str, &str)] = &[
    ("block_size", "block-size"),
    ("cache_dtype", "kv-cache-dtype"),
    ("enable_prefix_caching", "enable-prefix-caching"),
    ("gpu_memory_utilization", "gpu-memory-utilization"),
    ("kv_cache_max_concurrency", "kv-cache-max-concurrency"),
    ("kv_cache_memory_bytes", "kv-cache-memory-bytes"),
    ("kv_cache_size_tokens", "kv-cache-size-tokens"),
    ("kv_offloading_backend", "kv-offloading-backend"),
    ("kv_offloading_size", "kv-offloading-size"),
    ("kv_sharing_fast_prefill", "kv-sharing-fast-prefill"),
    ("mamba_block_size", "mamba-block-size"),
    ("mamba_cache_dtype", "mamba-cache-dtype"),
    ("mamba_ssm_cache_dtype", "mamba-ssm-cache-dtype"),
    ("num_gpu_blocks", "num-gpu-blocks"),
    ("num_gpu_blocks_override", "num-gpu-blocks-override"),
    ("prefix_caching_hash_algo", "prefix-caching-hash-algo"),
];

/// Keys of the engine's configuration whose flag is spelt differently.
const RENAMED: &[(&str, &str)] =
    &[("max_seq_len", "max-model-len"), ("cache_dtype", "kv-cache-dtype")];

/// Everything that the sources show; of several values the strongest source counts.
pub(super) fn observe(sources: &Sources<'_>) -> Observed {
    let mut observed = Observed::new();
    if let Some(counters) = sources.counters {
        labels(&mut observed, counters);
    }
    if let Some(length) = sources.max_model_len {
        show(&mut observed, "max-model-len", Value::from(length), "models", true);
    }
    if let Some(info) = sources.server_info {
        server_info(&mut observed, info);
    }
    if let Some(log) = sources.log {
        self::log(&mut observed, log);
    }
    observed
}

fn show(observed: &mut Observed, flag: &str, value: Value, source: &'static str, is_state: bool) {
    if !value.is_null() && !crate::flags::is_secret(flag) {
        observed.entry(flag.to_owned()).or_insert(Shown { value, source, is_state });
    }
}

fn labels(observed: &mut Observed, counters: &Counters) {
    for (label, flag) in LABELS {
        if let Some(text) = counters.cache_config.get(*label) {
            show(observed, flag, label_value(text), "metrics", true);
        }
    }
}

/// Labels are Python's `str`: `True`, `None`, `0.9`, `auto`.
fn label_value(text: &str) -> Value {
    python::assignments(&format!("x={text}")).remove("x").unwrap_or_default()
}

/// The nested configuration of `/server_info?config_format=json`.
fn server_info(observed: &mut Observed, info: &Value) {
    let Some(config) = info.get("vllm_config").and_then(Value::as_object) else { return };
    for part in
        ["cache_config", "scheduler_config", "parallel_config", "model_config", "load_config"]
    {
        if let Some(part) = config.get(part).and_then(Value::as_object) {
            scalars(observed, part, "server_info");
        }
    }
}

fn scalars(observed: &mut Observed, config: &Map<String, Value>, source: &'static str) {
    for (key, value) in config {
        if value.is_object() || value.is_array() {
            continue;
        }
        let renamed = RENAMED.iter().find(|(name, _)| name == key).map(|(_, flag)| *flag);
        let flag = renamed.map_or_else(|| crate::flags::canonical_name(key), str::to_owned);
        show(observed, &flag, value.clone(), source, true);
    }
}

/// What follows a mark in a log. The last one counts: a process that starts again prints again.
fn last<'a>(log: &'a str, mark: &str) -> Option<&'a str> {
    log.lines().rev().find_map(|line| Some(line.split_once(mark)?.1))
}

/// The arguments that vLLM printed back, those at their default left out; `None` where the
/// log has none. Secrets are left out.
pub(super) fn echoed(log: &str) -> Option<Flags> {
    let printed = last(log, "non-default args: ")?;
    // A line that was cut shows nothing.
    let arguments = python::dict(&printed[..=printed.rfind('}')?]);
    let named = arguments.into_iter().map(|(key, value)| (crate::flags::resolve(&key), value));
    Some(named.filter(|(name, _)| !crate::flags::is_secret(name)).collect())
}

/// Names of the variables that vLLM warns of: it does not know them.
pub(super) fn unknown_variables(log: &str) -> BTreeSet<&str> {
    let warned = log.lines().filter_map(|line| {
        Some(line.split_once("Unknown vLLM environment variable detected: ")?.1.trim())
    });
    let is_name = |name: &&str| {
        name.starts_with("VLLM_") && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    warned.filter(is_name).collect()
}

fn log(observed: &mut Observed, log: &str) {
    if let Some(limit) = last(log, "Chunked prefill is enabled with max_num_batched_tokens=") {
        let digits: String = limit.chars().take_while(char::is_ascii_digit).collect();
        if let Ok(limit) = digits.parse::<u64>() {
            show(observed, "max-num-batched-tokens", Value::from(limit), "log", true);
        }
    }
    let engine = log
        .lines()
        .rev()
        .find(|line| line.contains("LLM engine (") && line.contains("with config: "));
    if let Some((_, config)) = engine.and_then(|line| line.split_once("with config: ")) {
        scalars(observed, &python::assignments(config), "log");
    }
    if let Some(size) = last(log, "KV cache size: ") {
        let digits: String = size.chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
        if let Ok(tokens) = digits.replace(',', "").parse::<u64>() {
            show(observed, "kv-cache-size-tokens", Value::from(tokens), "log", true);
        }
    }
    if let Some(at_once) = last(log, "Maximum concurrency for ")
        && let Some((_, times)) = at_once.split_once("per request: ")
        && let Ok(times) = times.trim_end().trim_end_matches('x').replace(',', "").parse::<f64>()
    {
        show(observed, "kv-cache-max-concurrency", Value::from(times), "log", true);
    }
    for (name, value) in &echoed(log).unwrap_or_default() {
        show(observed, name, value.clone(), "log", false);
    }
}
