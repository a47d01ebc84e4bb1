//! What vLLM checks of its flags before it starts, and the values that come out:
//! refusals in its own words and with its exit codes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Reader, Refusal};
use crate::simulator::profile::{self, Gpu, Model, WeightFormat};

/// Tokens of `original_max_position_embeddings` in Qwen3's YaRN recipe.
const YARN_ORIGINAL_LENGTH: f64 = 32_768.0;

/// Tool-call parsers that are accepted: the list of vLLM 0.32.0.
const TOOL_PARSERS: &str = "apertus,cohere_command3,cohere_command4,deepseek_v3,deepseek_v31,\
deepseek_v32,deepseek_v4,deepseek_v41,dots,ernie45,functiongemma,gemma4,gigachat3,glm45,glm47,\
granite,granite-20b-fc,granite4,hermes,hf,hunyuan_a13b,hy_v3,hy_v4,inkling,internlm,jamba,\
k2_horizon,kimi_k2,kimi_k3,lfm2,ling3,llama3_json,llama4_json,llama4_pythonic,longcat,mimo,\
minicpm5,minimax_m2,minimax_m3,mistral,muse_glimmer,olmo3,openai,phi4_mini_json,plamo3,\
poolside_v1,pythonic,qwen3_coder,qwen3_json,qwen3_xml,seed_oss,step3,step3p5,xlam";

pub(super) fn check_parsers(read: &Reader) -> Result<(), Refusal> {
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

pub(super) fn known_model(name: &str) -> Result<Model, Refusal> {
    profile::model(name).ok_or_else(|| {
        let names: Vec<_> = profile::model_names().collect();
        Refusal::raised(format!(
            "OSError: {name} is not a local folder and is not a valid model identifier \
             (the simulator knows {}; --sim-model NAME picks one for another name)",
            names.join(", ")
        ))
    })
}

pub(super) fn apply_quantization(
    model: &mut Model,
    quantization: Option<&str>,
) -> Result<(), Refusal> {
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

pub(super) fn check_utilization(utilization: f64) -> Result<(), Refusal> {
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
pub(super) fn context_length(
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
pub(super) fn batch(
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

pub(super) fn parallel(read: &Reader, model: &Model, gpus: u32) -> Result<(u64, u64), Refusal> {
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
