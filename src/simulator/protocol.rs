//! Requests and answers in the form of vLLM's OpenAI-compatible API, key by key
//! as a real server sent them. Answers and their chunks are in `answer`, the
//! choice of tools in `tool_choice`. Text only: no sockets here.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Options;
use super::faults::ENGINE_DEAD;
use super::memory::Division;
use super::settings::Settings;
use super::tokens::{Message, tokenize};

pub mod answer;
pub mod tool_choice;

pub use answer::{ChunkWriter, Envelope, Form, Usage, finish_reason};
pub use tool_choice::{ToolChoice, tool_choice};

/// What marks every answer.
pub const FINGERPRINT: &str = "simulated";

/// The fields of a chat request that the simulator acts on; others are ignored.
#[derive(Debug, Deserialize)]
pub struct ChatRequest {
    /// Model; may be missing.
    #[serde(default)]
    pub model: Option<String>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Stream the answer.
    #[serde(default)]
    pub stream: Option<bool>,
    /// What a stream reports of usage.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// Deprecated name of the next.
    #[serde(default)]
    pub max_tokens: Option<i64>,
    /// Tokens to generate at most.
    #[serde(default)]
    pub max_completion_tokens: Option<i64>,
    /// Tokens to generate at least.
    #[serde(default)]
    pub min_tokens: Option<u64>,
    /// Generate on past the natural end.
    #[serde(default)]
    pub ignore_eos: Option<bool>,
    /// Seed of this answer.
    #[serde(default)]
    pub seed: Option<i64>,
    /// Separates cache blocks.
    #[serde(default)]
    pub cache_salt: Option<String>,
    /// Tools on offer; they lengthen the prompt.
    #[serde(default)]
    pub tools: Option<Value>,
    /// `none`, `auto`, `required`, or a named function.
    #[serde(default)]
    pub tool_choice: Option<Value>,
    /// `enable_thinking` counts.
    #[serde(default)]
    pub chat_template_kwargs: Option<Value>,
    /// Number of answers; one is supported.
    #[serde(default)]
    pub n: Option<u64>,
}

impl ChatRequest {
    /// Whether the chat template lets the model think.
    pub fn thinking(&self) -> bool {
        let kwargs = self.chat_template_kwargs.as_ref();
        kwargs.and_then(|kwargs| kwargs.get("enable_thinking")?.as_bool()).unwrap_or(true)
    }

    /// The text of the last message.
    pub fn last_text(&self) -> String {
        self.messages.last().map(Message::text).unwrap_or_default()
    }
}

/// Reads the body of `/v1/completions`: its options are a chat's, its prompt is
/// a text, which is its one message, or a list of token ids. 16 tokens are generated where there is no limit.
///
/// # Errors
/// A body that is no valid request.
pub fn completion_request(body: &[u8]) -> Result<(ChatRequest, Vec<u32>), Refused> {
    let mut body: Value =
        serde_json::from_slice(body).map_err(|error| Refused::malformed(&error))?;
    let prompt = match body.get("prompt") {
        Some(Value::String(prompt)) => tokenize(prompt),
        Some(Value::Array(ids)) if !ids.is_empty() && ids.iter().all(Value::is_u64) => {
            ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect()
        }
        _ => {
            let message = "prompt: the simulator takes a text or a list of token ids";
            return Err(Refused::bad_request(Some("prompt"), message));
        }
    };
    if prompt.is_empty() {
        return Err(Refused::bad_request(Some("prompt"), "The decoder prompt cannot be empty"));
    }
    // A prompt that is there makes the body an object.
    body["messages"] = match body["prompt"].take() {
        Value::String(prompt) => json!([{"role": "user", "content": prompt}]),
        _ => json!([]),
    };
    let mut request: ChatRequest =
        serde_json::from_value(body).map_err(|error| Refused::malformed(&error))?;
    request.max_tokens = request.max_tokens.or(Some(16));
    Ok((request, prompt))
}

/// `stream_options`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct StreamOptions {
    /// A last chunk with usage.
    #[serde(default)]
    pub include_usage: Option<bool>,
    /// Usage in every chunk.
    #[serde(default)]
    pub continuous_usage_stats: Option<bool>,
}

/// An answer other than 200.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: Value,
}

impl Refused {
    /// An error object.
    pub fn new(status: u16, kind: &str, param: Option<&str>, message: &str) -> Self {
        let error = json!({"message": message, "type": kind, "param": param, "code": status});
        Self { status, body: json!({ "error": error }) }
    }

    fn bad_request(param: Option<&str>, message: &str) -> Self {
        Self::new(400, "BadRequestError", param, message)
    }

    /// A body that is no valid request.
    pub fn malformed(error: &serde_json::Error) -> Self {
        let text = if error.is_data() {
            let detail = error.to_string();
            match detail.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
                Some(field) => format!(
                    "[{{'type': 'missing', 'loc': ('body', '{field}'), 'msg': 'Field required'}}]"
                ),
                None => format!("[{{'type': 'value_error', 'loc': ('body',), 'msg': '{detail}'}}]"),
            }
        } else {
            format!(
                "[{{'type': 'json_invalid', 'loc': ('body', {}), 'msg': 'JSON decode error', \
                 'input': {{}}, 'ctx': {{'error': '{error}'}}}}]",
                error.column()
            )
        };
        Self::new(400, "Bad Request", None, &text)
    }

    /// A model that is not served.
    pub fn unknown_model(name: &str) -> Self {
        let message = format!("The model `{name}` does not exist.");
        Self::new(404, "NotFoundError", Some("model"), &message)
    }

    /// The engine has ended.
    pub fn engine_dead() -> Self {
        Self::new(500, "InternalServerError", None, ENGINE_DEAD)
    }
}

/// How many tokens may be generated after `prompt` tokens within `context`.
///
/// # Errors
/// With vLLM's words where the request does not fit.
pub fn output_limit(request: &ChatRequest, prompt: u64, context: u64) -> Result<u64, Refused> {
    if request.n.is_some_and(|n| n != 1) {
        return Err(Refused::bad_request(Some("n"), "n: the simulator gives one answer"));
    }
    if prompt >= context {
        // Counting stops one token past the limit.
        let least = context + 1;
        return Err(Refused::bad_request(
            Some("input_tokens"),
            &format!(
                "This model's maximum context length is {context} tokens. However, your prompt \
                 contains at least {least} input tokens, which exceeds this limit even without any \
                 output tokens. Please reduce the length of the input prompt. \
                 (parameter=input_tokens, value={least})"
            ),
        ));
    }
    let remaining = context - prompt;
    match request.max_completion_tokens.or(request.max_tokens) {
        None => Ok(remaining),
        Some(asked) if asked < 1 => Err(Refused::bad_request(
            Some("max_tokens"),
            &format!("max_tokens must be at least 1, got {asked}."),
        )),
        Some(asked) if asked.unsigned_abs() > remaining => Err(Refused::bad_request(
            Some("input_tokens"),
            &format!(
                "This model's maximum context length is {context} tokens. However, you requested \
                 {asked} output tokens and your prompt contains at least {prompt} input tokens, for \
                 a total of at least {} tokens. Please reduce the length of the input prompt or the \
                 number of requested output tokens. (parameter=input_tokens, value={prompt})",
                prompt + asked.unsigned_abs()
            ),
        )),
        Some(asked) => Ok(asked.unsigned_abs()),
    }
}

/// `/v1/models`.
pub fn models(names: &[String], root: &str, created: u64, max_model_len: u64) -> Value {
    let data: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({
                "id": name, "object": "model", "created": created, "owned_by": "vllm",
                "root": root, "parent": null, "max_model_len": max_model_len,
                "permission": [{
                    "id": "modelperm-simulated", "object": "model_permission", "created": created,
                    "allow_create_engine": false, "allow_sampling": true, "allow_logprobs": true,
                    "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
                    "organization": "*", "group": null, "is_blocking": false,
                }],
            })
        })
        .collect();
    json!({"object": "list", "data": data})
}

/// `/server_info?config_format=json` of dev mode: the parts that show flags.
pub fn server_info(settings: &Settings, division: &Division, options: &Options) -> Value {
    let model = &settings.model_argument;
    let concurrency = division.tokens as f64 / settings.max_model_len as f64;
    json!({
        "vllm_config": {
            "model_config": {
                "model": model, "tokenizer": model, "dtype": "torch.bfloat16", "seed": 0,
                "max_model_len": settings.max_model_len,
                "quantization": settings.quantization,
                "enforce_eager": settings.enforce_eager,
                "served_model_name": settings.served_names[0],
            },
            "cache_config": {
                "block_size": settings.block_size,
                "gpu_memory_utilization": settings.utilization,
                "cache_dtype": settings.kv_cache_dtype,
                "num_gpu_blocks_override": settings.blocks_override,
                "enable_prefix_caching": settings.prefix_caching,
                "prefix_caching_hash_algo": "sha256",
                "num_gpu_blocks": division.blocks,
                "kv_cache_size_tokens": division.tokens,
                "kv_cache_max_concurrency": concurrency,
                "kv_cache_memory_bytes": settings.kv_cache_memory_bytes,
            },
            "parallel_config": {
                "pipeline_parallel_size": settings.pipeline_parallel,
                "tensor_parallel_size": settings.tensor_parallel,
                "world_size": settings.pipeline_parallel * settings.tensor_parallel,
            },
            "scheduler_config": {
                "runner_type": "generate",
                "max_num_batched_tokens": settings.max_num_batched_tokens,
                "max_num_seqs": settings.max_num_seqs,
                "long_prefill_token_threshold": settings.long_prefill_token_threshold,
                "enable_chunked_prefill": settings.chunked_prefill,
                "policy": "fcfs",
                "scheduler_reserve_full_isl": settings.reserve_full_prompt,
            },
        },
        "vllm_env": {"VLLM_SERVER_DEV_MODE": true},
        "system_env": {"gpu": options.gpu.name, "gpus": options.gpus},
        "simulated": true,
    })
}

#[cfg(test)]
mod tests;
