//! The effect of a command line on the engine: vLLM's defaults by GPU, both
//! polarities of every switch; what vLLM refuses is in `checks`. Flags that do not
//! act in the simulation are accepted and ignored. Arguments are split into flags in the
//! room `flags`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::profile::{self, Gpu, Model};
use crate::configuration::Flags;

mod checks;

use checks::{
    apply_quantization, batch, check_parsers, check_utilization, context_length, known_model,
    parallel,
};

/// vLLM 0.32's `gpu_memory_utilization` where none is given.
const DEFAULT_UTILIZATION: f64 = 0.92;

/// Flags that change what the simulator does. All others are accepted, as a
/// production command has many, and named in the log as without effect.
const ACTING: [&str; 27] = [
    "api-key",
    "block-size",
    "enable-auto-tool-choice",
    "enable-chunked-prefill",
    "enable-prefix-caching",
    "enable-prompt-tokens-details",
    "enforce-eager",
    "gpu-memory-utilization",
    "hf-overrides",
    "host",
    "kv-cache-dtype",
    "kv-cache-memory-bytes",
    "long-prefill-token-threshold",
    "max-model-len",
    "max-num-batched-tokens",
    "max-num-seqs",
    "model",
    "num-gpu-blocks-override",
    "pipeline-parallel-size",
    "port",
    "quantization",
    "reasoning-parser",
    "scheduler-reserve-full-isl",
    "served-model-name",
    "tensor-parallel-size",
    "tool-call-parser",
    "watermark",
];

/// Whether a flag, by canonical name, changes anything in the simulation.
pub fn acts(flag: &str) -> bool {
    ACTING.contains(&flag)
}

/// A start that vLLM would refuse: its lines and its exit code.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("exit code {exit_code}: {}", lines.last().map_or("", String::as_str))]
pub struct Refusal {
    /// 1 for refused values, 2 for refused spelling.
    pub exit_code: i32,
    /// What goes to the log, in order.
    pub lines: Vec<String>,
}

impl Refusal {
    /// A refusal with exit code 1 after a Python traceback.
    pub fn raised(message: impl Into<String>) -> Self {
        Self {
            exit_code: 1,
            lines: vec!["Traceback (most recent call last):".into(), message.into()],
        }
    }

    fn validation(class: &str, field: &str, rule: &str) -> Self {
        let field = if field.is_empty() { String::new() } else { format!("{field}\n") };
        let text = format!(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for {class}\n{field}  {rule}"
        );
        let mut lines = vec!["Traceback (most recent call last):".to_owned()];
        lines.extend(text.lines().map(str::to_owned));
        Self { exit_code: 1, lines }
    }
}

/// Everything that a launch runs with, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // vLLM's switches are independent of each other.
pub struct Settings {
    /// The architecture that is simulated.
    pub model: Model,
    /// The model as given on the command line.
    pub model_argument: String,
    /// Names that requests may use; the first is the one shown.
    pub served_names: Vec<String>,
    /// The GPU.
    pub gpu: Gpu,
    /// `--tensor-parallel-size`.
    pub tensor_parallel: u64,
    /// `--pipeline-parallel-size`.
    pub pipeline_parallel: u64,
    /// `--gpu-memory-utilization`.
    pub utilization: f64,
    /// `--kv-cache-memory-bytes`, which overrides the utilisation.
    pub kv_cache_memory_bytes: Option<u64>,
    /// `--num-gpu-blocks-override`.
    pub blocks_override: Option<u64>,
    /// Context length in tokens.
    pub max_model_len: u64,
    /// Whether it was left to vLLM to shorten the context to what fits (`auto`, -1).
    pub fit_context: bool,
    /// Token budget of a step.
    pub max_num_batched_tokens: u64,
    /// Requests that may run at once.
    pub max_num_seqs: u64,
    /// Whether prefixes are kept.
    pub prefix_caching: bool,
    /// Whether long prompts are cut to the budget.
    pub chunked_prefill: bool,
    /// Cap on the tokens of one prompt in one step, 0 for none.
    pub long_prefill_token_threshold: u64,
    /// Whether a prompt is admitted only when all of it fits into the cache.
    pub reserve_full_prompt: bool,
    /// Share of the blocks that admission leaves free.
    pub watermark: f64,
    /// Tokens per cache block.
    pub block_size: u64,
    /// `--kv-cache-dtype` as given.
    pub kv_cache_dtype: String,
    /// `--quantization` as given.
    pub quantization: Option<String>,
    /// `--enforce-eager`: no graph capture, slower steps, faster boot.
    pub enforce_eager: bool,
    /// Whether usage reports cached tokens.
    pub prompt_tokens_details: bool,
    /// `--tool-call-parser`.
    pub tool_parser: Option<String>,
    /// `--enable-auto-tool-choice`.
    pub auto_tool_choice: bool,
    /// `--reasoning-parser`.
    pub reasoning_parser: Option<String>,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: u16,
    /// Accepted keys; empty means none is needed.
    pub api_keys: Vec<String>,
    /// Whether `VLLM_SERVER_DEV_MODE` is set.
    pub dev_mode: bool,
    /// The flags as given, for the start-up log.
    pub given: Flags,
}

impl Settings {
    /// Reads the flags of a launch on `gpus` GPUs of one kind. `profile` names
    /// the simulated architecture where the model's own name is not known.
    ///
    /// # Errors
    /// With vLLM's words where vLLM would refuse the start.
    pub fn from_flags(
        model_argument: &str,
        flags: &Flags,
        environment: &BTreeMap<String, String>,
        gpu: Gpu,
        gpus: u32,
        profile: Option<&str>,
    ) -> Result<Self, Refusal> {
        let read = Reader(flags);
        check_parsers(&read)?;
        let mut model = known_model(profile.unwrap_or(model_argument))?;
        let quantization = read.text("quantization");
        apply_quantization(&mut model, quantization.as_deref())?;
        let utilization = read.number("gpu-memory-utilization")?.unwrap_or(DEFAULT_UTILIZATION);
        check_utilization(utilization)?;
        let max_model_len = context_length(&read, &model, environment)?;
        let chunked_prefill = read.switch("enable-chunked-prefill").unwrap_or(true);
        let (batched, seqs) = batch(&read, &gpu, max_model_len, chunked_prefill)?;
        let (tensor_parallel, pipeline_parallel) = parallel(&read, &model, gpus)?;
        let kv_cache_dtype = read.text("kv-cache-dtype").unwrap_or_else(|| "auto".into());
        let served_names = match read.texts("served-model-name") {
            names if names.is_empty() => vec![model_argument.to_owned()],
            names => names,
        };
        let mut api_keys = read.texts("api-key");
        if api_keys.is_empty() {
            api_keys.extend(environment.get("VLLM_API_KEY").filter(|key| !key.is_empty()).cloned());
        }
        Ok(Self {
            model,
            model_argument: model_argument.to_owned(),
            served_names,
            gpu,
            tensor_parallel,
            pipeline_parallel,
            utilization,
            kv_cache_memory_bytes: read.integer("kv-cache-memory-bytes")?,
            blocks_override: read.integer("num-gpu-blocks-override")?,
            max_model_len,
            fit_context: matches!(read.text("max-model-len").as_deref(), Some("auto" | "-1")),
            max_num_batched_tokens: batched,
            max_num_seqs: seqs,
            prefix_caching: read.switch("enable-prefix-caching").unwrap_or(true),
            chunked_prefill,
            long_prefill_token_threshold: read
                .integer("long-prefill-token-threshold")?
                .unwrap_or(0),
            reserve_full_prompt: read.switch("scheduler-reserve-full-isl").unwrap_or(true),
            watermark: read.number("watermark")?.unwrap_or(0.0),
            block_size: read.integer("block-size")?.filter(|size| *size > 0).unwrap_or(16),
            kv_cache_dtype,
            quantization,
            enforce_eager: read.switch("enforce-eager").unwrap_or(false),
            prompt_tokens_details: read.switch("enable-prompt-tokens-details").unwrap_or(false),
            tool_parser: read.text("tool-call-parser").filter(|name| !name.is_empty()),
            auto_tool_choice: read.switch("enable-auto-tool-choice").unwrap_or(false),
            reasoning_parser: read.text("reasoning-parser").filter(|name| !name.is_empty()),
            host: read.text("host").unwrap_or_else(|| "0.0.0.0".into()),
            port: read.integer("port")?.and_then(|port| u16::try_from(port).ok()).unwrap_or(8000),
            api_keys,
            dev_mode: environment.get("VLLM_SERVER_DEV_MODE").is_some_and(|mode| mode == "1"),
            given: flags.clone(),
        })
    }

    /// Bytes that one token takes in the KV cache of one GPU.
    pub fn kv_bytes_per_token(&self) -> f64 {
        let eight_bit = ["fp8", "int8"].iter().any(|name| self.kv_cache_dtype.starts_with(name));
        let element = if eight_bit { 1.0 } else { 2.0 };
        // Fewer heads than GPUs are replicated.
        let shards = self.tensor_parallel.min(self.model.kv_heads);
        self.model.kv_elements_per_token() as f64 * element
            / (shards * self.pipeline_parallel) as f64
    }
}

/// Typed access to flags whose values may be JSON values or plain text.
struct Reader<'a>(&'a Flags);

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(plain)
    }

    fn texts(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().map(plain).collect(),
            Some(value) => vec![plain(value)],
        }
    }

    fn switch(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Bool(on) => Some(*on),
            value => match plain(value).to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true),
                "false" | "0" | "no" => Some(false),
                _ => None,
            },
        }
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = plain(value);
        text.parse().map(Some).map_err(|_| usage(name, "float", &text))
    }

    fn integer(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = plain(value);
        match human_integer(&text) {
            Some(number) => Ok(Some(number)),
            None if text == "auto" || text == "-1" => Ok(None),
            None => Err(usage(name, "int", &text)),
        }
    }
}

/// `16384`, `16k` (thousands), `16K` (1024s), as vLLM reads lengths.
fn human_integer(text: &str) -> Option<u64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let last = text.chars().last()?;
    let factor = match last {
        'k' => 1e3,
        'm' => 1e6,
        'g' => 1e9,
        'K' => 1024.0,
        'M' => 1_048_576.0,
        'G' => profile::GIB,
        _ => return None,
    };
    let number: f64 = text[..text.len() - 1].parse().ok()?;
    (number >= 0.0).then_some((number * factor) as u64)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn usage(name: &str, kind: &str, text: &str) -> Refusal {
    Refusal {
        exit_code: 2,
        lines: vec![
            "usage: vllm serve [model_tag] [options]".into(),
            format!("vllm serve: error: argument --{name}: invalid {kind} value: '{text}'"),
        ],
    }
}

#[cfg(test)]
mod tests;
