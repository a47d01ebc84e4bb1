//! What a command line means to the engine: vLLM's defaults by GPU, its checks
//! in its own words and exit codes, both polarities of every switch. Flags that
//! the physics does not know are accepted and ignored; how arguments are split
//! into flags is [`crate::flags`]'s.

use std::collections::BTreeMap;

use serde_json::Value;

use super::profile::{self, Gpu, Model, WeightFormat};
use crate::configuration::Flags;

/// Tokens of `original_max_position_embeddings` in Qwen3's YaRN recipe.
const YARN_ORIGINAL_LENGTH: f64 = 32_768.0;

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
    /// Whether usage tells cached tokens.
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

/// Tool-call parsers that are accepted: the list of vLLM 0.32.0.
const TOOL_PARSERS: &str = "apertus,cohere_command3,cohere_command4,deepseek_v3,deepseek_v31,\
deepseek_v32,deepseek_v4,deepseek_v41,dots,ernie45,functiongemma,gemma4,gigachat3,glm45,glm47,\
granite,granite-20b-fc,granite4,hermes,hf,hunyuan_a13b,hy_v3,hy_v4,inkling,internlm,jamba,\
k2_horizon,kimi_k2,kimi_k3,lfm2,ling3,llama3_json,llama4_json,llama4_pythonic,longcat,mimo,\
minicpm5,minimax_m2,minimax_m3,mistral,muse_glimmer,olmo3,openai,phi4_mini_json,plamo3,\
poolside_v1,pythonic,qwen3_coder,qwen3_json,qwen3_xml,seed_oss,step3,step3p5,xlam";

fn check_parsers(read: &Reader) -> Result<(), Refusal> {
    let auto = read.switch("enable-auto-tool-choice").unwrap_or(false);
    match read.text("tool-call-parser") {
        Some(parser) if auto && !TOOL_PARSERS.split(',').any(|known| known == parser) => {
            Err(Refusal::raised(format!(
                "KeyError: 'invalid tool call parser: {parser} (chose from {{ {TOOL_PARSERS} }})'"
            )))
        }
        None if auto => Err(Refusal::raised(
            "TypeError: Error: --enable-auto-tool-choice requires --tool-call-parser",
        )),
        _ => Ok(()),
    }
}

fn known_model(name: &str) -> Result<Model, Refusal> {
    profile::model(name).ok_or_else(|| {
        let names: Vec<_> = profile::model_names().collect();
        Refusal::raised(format!(
            "OSError: {name} is not a local folder and is not a valid model identifier \
             (the simulator knows {}; --sim-model NAME picks one for another name)",
            names.join(", ")
        ))
    })
}

fn apply_quantization(model: &mut Model, quantization: Option<&str>) -> Result<(), Refusal> {
    let checkpoint = match model.weights {
        WeightFormat::Awq => Some("awq"),
        _ => None,
    };
    match (quantization, checkpoint) {
        (None, _) | (Some("awq" | "awq_marlin"), Some("awq")) => Ok(()),
        (Some("fp8"), None) => {
            model.weights = WeightFormat::Fp8;
            Ok(())
        }
        (Some(asked), Some(found)) => Err(Refusal::validation(
            "ModelConfig",
            "",
            &format!(
                "Value error, Quantization method specified in the model config ({found}) does not \
                 match the quantization method specified in the `quantization` argument ({asked})."
            ),
        )),
        (Some(asked), None) => {
            Err(Refusal::raised(format!("ValueError: Cannot find the config file for {asked}")))
        }
    }
}

fn check_utilization(utilization: f64) -> Result<(), Refusal> {
    let rule = if utilization.is_nan() || utilization <= 0.0 {
        ("greater than 0", "greater_than")
    } else if utilization > 1.0 {
        ("less than or equal to 1", "less_than_equal")
    } else {
        return Ok(());
    };
    Err(Refusal::validation(
        "CacheConfig",
        "gpu_memory_utilization",
        &format!(
            "Input should be {} [type={}, input_value={utilization:?}, input_type=float]",
            rule.0, rule.1
        ),
    ))
}

/// The context length: as given, at most what the model's configuration allows
/// with its rope scaling.
fn context_length(
    read: &Reader,
    model: &Model,
    environment: &BTreeMap<String, String>,
) -> Result<u64, Refusal> {
    let derived = rope_factor(read)
        .map_or(model.max_position_embeddings, |(factor, original)| (factor * original) as u64);
    let Some(asked) = read.integer("max-model-len")? else { return Ok(derived) };
    let allowed = environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN").is_some_and(|set| set == "1");
    if asked == 0 {
        return Err(Refusal::validation(
            "ModelConfig",
            "max_model_len",
            "Input should be greater than 0 [type=greater_than, input_value=0, input_type=int]",
        ));
    }
    if asked > derived && !allowed {
        return Err(Refusal::validation(
            "ModelConfig",
            "",
            &format!(
                "Value error, User-specified max_model_len ({asked}) is greater than the derived \
                 max_model_len (max_position_embeddings={derived} or model_max_length=None in \
                 model's config.json). To allow overriding this maximum, set the env var \
                 VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. [type=value_error]"
            ),
        ));
    }
    Ok(asked)
}

/// Factor and original length of the rope scaling inside `--hf-overrides`.
fn rope_factor(read: &Reader) -> Option<(f64, f64)> {
    let overrides: Value = match read.get("hf-overrides")? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        value => value.clone(),
    };
    let scaling = ["rope_scaling", "rope_parameters"].iter().find_map(|key| overrides.get(*key))?;
    let factor = scaling.get("factor")?.as_f64()?;
    let original = scaling
        .get("original_max_position_embeddings")
        .and_then(Value::as_f64)
        .unwrap_or(YARN_ORIGINAL_LENGTH);
    Some((factor, original))
}

/// Token budget and sequences, as vLLM's `EngineArgs` fills them in.
fn batch(
    read: &Reader,
    gpu: &Gpu,
    max_model_len: u64,
    chunked: bool,
) -> Result<(u64, u64), Refusal> {
    let (default_tokens, default_seqs) = gpu.default_batch;
    let given_seqs = read.integer("max-num-seqs")?;
    let given_tokens = read.integer("max-num-batched-tokens")?;
    for (field, value) in [("max_num_seqs", given_seqs), ("max_num_batched_tokens", given_tokens)] {
        if value == Some(0) {
            return Err(Refusal::validation(
                "SchedulerConfig",
                field,
                "Input should be greater than or equal to 1 [type=greater_than_equal, \
                 input_value=0, input_type=int]",
            ));
        }
    }
    let tokens = given_tokens.unwrap_or(if chunked {
        default_tokens
    } else {
        default_tokens.max(max_model_len)
    });
    let seqs = given_seqs.unwrap_or(default_seqs.min(tokens));
    if !chunked && tokens < max_model_len {
        return Err(Refusal::validation(
            "SchedulerConfig",
            "",
            &format!(
                "Value error, max_num_batched_tokens ({tokens}) is smaller than max_model_len \
                 ({max_model_len}). This effectively limits the maximum sequence length to \
                 max_num_batched_tokens and makes vLLM reject longer sequences. Please increase \
                 max_num_batched_tokens or decrease max_model_len. [type=value_error]"
            ),
        ));
    }
    if tokens < seqs {
        return Err(Refusal::validation(
            "SchedulerConfig",
            "",
            &format!(
                "Value error, max_num_batched_tokens ({tokens}) must be greater than or equal to \
                 max_num_seqs ({seqs}). [type=value_error]"
            ),
        ));
    }
    Ok((tokens, seqs))
}

fn parallel(read: &Reader, model: &Model, gpus: u32) -> Result<(u64, u64), Refusal> {
    let tensor = read.integer("tensor-parallel-size")?.unwrap_or(1).max(1);
    let pipeline = read.integer("pipeline-parallel-size")?.unwrap_or(1).max(1);
    if !model.heads.is_multiple_of(tensor) {
        return Err(Refusal::validation(
            "VllmConfig",
            "",
            &format!(
                "Value error, Total number of attention heads ({}) must be divisible by tensor \
                 parallel size ({tensor}). [type=value_error]",
                model.heads
            ),
        ));
    }
    let world = tensor * pipeline;
    if world > u64::from(gpus) {
        return Err(Refusal::validation(
            "ParallelConfig",
            "",
            &format!(
                "Value error, World size ({world}) is larger than the number of available GPUs \
                 ({gpus}) in this node. If this is intentional and you are using: - ray, set \
                 '--distributed-executor-backend ray'. [type=value_error]"
            ),
        ));
    }
    Ok((tensor, pipeline))
}

#[cfg(test)]
mod tests;
