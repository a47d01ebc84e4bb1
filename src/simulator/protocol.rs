//! Requests and answers in the form of vLLM's OpenAI-compatible API, key by key
//! as a real server sent them. Text alone: no sockets here.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Options;
use super::faults::ENGINE_DEAD;
use super::memory::Division;
use super::metrics::Finish;
use super::settings::Settings;
use super::tokens::Message;

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
    /// What a stream tells of usage.
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
    pub fn thinks(&self) -> bool {
        let kwargs = self.chat_template_kwargs.as_ref();
        kwargs.and_then(|kwargs| kwargs.get("enable_thinking")?.as_bool()).unwrap_or(true)
    }

    /// The text of the last message.
    pub fn last_text(&self) -> String {
        let Some(last) = self.messages.last() else { return String::new() };
        match &last.content {
            Value::Array(parts) => {
                parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()
            }
            content => content.as_str().unwrap_or_default().to_owned(),
        }
    }
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

    /// The engine is gone.
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
    let room = context - prompt;
    match request.max_completion_tokens.or(request.max_tokens) {
        None => Ok(room),
        Some(asked) if asked < 1 => Err(Refused::bad_request(
            Some("max_tokens"),
            &format!("max_tokens must be at least 1, got {asked}."),
        )),
        Some(asked) if asked.unsigned_abs() > room => Err(Refused::bad_request(
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

/// What a request wants of its tools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ToolChoice<'a> {
    /// No call: there are no tools, or `none`.
    Never,
    /// The model decides.
    Auto,
    /// A call of one of these tools.
    Required(&'a [Value]),
    /// A call of this tool.
    Named(&'a Value),
}

/// Reads `tool_choice`.
///
/// # Errors
/// With vLLM's words, where there is no parser for calls, or no such tool.
pub fn tool_choice<'a>(
    request: &'a ChatRequest,
    settings: &Settings,
) -> Result<ToolChoice<'a>, Refused> {
    let tools = request.tools.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if tools.is_empty() {
        return Ok(ToolChoice::Never);
    }
    let named = |choice: &'a Value| choice.get("function")?.get("name")?.as_str();
    let auto = Value::from("auto");
    let choice = request.tool_choice.as_ref().unwrap_or(&auto);
    match (choice.as_str(), request.tool_choice.as_ref().and_then(named)) {
        (Some("none"), _) => Ok(ToolChoice::Never),
        (Some("auto"), _) if settings.auto_tool_choice && settings.tool_parser.is_some() => {
            Ok(ToolChoice::Auto)
        }
        (Some("auto"), _) => Err(Refused::bad_request(
            None,
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
        )),
        (Some("required"), _) | (_, Some(_)) if settings.tool_parser.is_none() => {
            let shown = choice.as_str().map_or_else(|| choice.to_string(), str::to_owned);
            let message = format!("tool_choice=\"{shown}\" requires --tool-call-parser to be set");
            Err(Refused::bad_request(None, &message))
        }
        (Some("required"), _) => Ok(ToolChoice::Required(tools)),
        (_, Some(name)) => {
            let is_it = |tool: &&Value| {
                tool.get("function").and_then(|function| function.get("name"))
                    == Some(&Value::from(name))
            };
            tools.iter().find(is_it).map(ToolChoice::Named).ok_or_else(|| {
                Refused::bad_request(
                    Some("tool_choice"),
                    "The tool specified in `tool_choice` does not match any of the specified `tools`",
                )
            })
        }
        _ => Err(Refused::bad_request(
            Some("tool_choice"),
            "Invalid value for `tool_choice`: it must be \"none\", \"auto\", \"required\" or a named tool",
        )),
    }
}

/// Tokens of one request so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Prompt.
    pub prompt: u64,
    /// Answer.
    pub completion: u64,
    /// Tokens of thinking among the answer's.
    pub reasoning: u64,
    /// Prompt tokens from the prefix cache, where they are told.
    pub cached: Option<u64>,
}

impl Usage {
    fn json(self) -> String {
        let details = self.cached.map_or_else(String::new, |cached| {
            format!(",\"prompt_tokens_details\":{{\"cached_tokens\":{cached}}}")
        });
        format!(
            "{{\"prompt_tokens\":{},\"total_tokens\":{},\"completion_tokens\":{}{details},\
             \"completion_tokens_details\":{{\"reasoning_tokens\":{}}}}}",
            self.prompt,
            self.prompt + self.completion,
            self.completion,
            self.reasoning
        )
    }
}

/// Writes the chunks of one streamed chat.
#[derive(Debug)]
pub struct ChunkWriter {
    /// Everything up to `choices`, the same in every chunk.
    head: String,
    continuous: bool,
}

impl ChunkWriter {
    /// A writer for this request.
    pub fn new(id: &str, created: u64, model: &str, continuous: bool) -> Self {
        let model = Value::from(model);
        let head = format!(
            "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":{created},\
             \"model\":{model},\"choices\":"
        );
        Self { head, continuous }
    }

    fn usage(&self, usage: Usage) -> String {
        if self.continuous { format!(",\"usage\":{}", usage.json()) } else { String::new() }
    }

    /// The first chunk, which has the role alone.
    pub fn role(&self, out: &mut String, usage: Usage) {
        out.push_str(&self.head);
        out.push_str(
            "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\
             \"finish_reason\":null}]",
        );
        out.push_str(&self.usage(usage));
        out.push_str(",\"prompt_token_ids\":null,\"prompt_text\":null}\n\n");
    }

    /// A chunk with a delta, and the reason of the end where it is the last.
    pub fn delta(&self, out: &mut String, delta: &Value, finish: Option<&str>, usage: Usage) {
        out.push_str(&self.head);
        out.push_str("[{\"index\":0,\"delta\":");
        out.push_str(&delta.to_string());
        out.push_str(",\"logprobs\":null,");
        match finish {
            None => out.push_str("\"finish_reason\":null,"),
            Some(finish) => {
                out.push_str("\"finish_reason\":\"");
                out.push_str(finish);
                out.push_str("\",\"stop_reason\":null,");
            }
        }
        out.push_str("\"token_ids\":null}]");
        out.push_str(&self.usage(usage));
        out.push_str("}\n\n");
    }

    /// The chunk with usage and no choices.
    pub fn last_usage(&self, out: &mut String, usage: Usage) {
        out.push_str(&self.head);
        out.push_str("[],\"usage\":");
        out.push_str(&usage.json());
        out.push_str(",\"system_fingerprint\":\"");
        out.push_str(FINGERPRINT);
        out.push_str("\"}\n\n");
    }

    /// An error inside the stream.
    pub fn error(out: &mut String) {
        out.push_str("data: {\"error\": {\"message\": \"");
        out.push_str(ENGINE_DEAD);
        out.push_str("\", \"type\": \"InternalServerError\", \"param\": null, \"code\": 500}}\n\n");
    }

    /// The end of the stream.
    pub fn done(out: &mut String) {
        out.push_str("data: [DONE]\n\n");
    }
}

/// The word for an end.
pub fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Abort => "abort",
    }
}

/// A whole answer.
pub fn completion(
    id: &str,
    created: u64,
    model: &str,
    message: &Value,
    finish: &str,
    usage: Usage,
) -> Value {
    let usage: Value = serde_json::from_str(&usage.json()).expect("usage is written as JSON above");
    json!({
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish,
            "stop_reason": null,
            "token_ids": null,
        }],
        "service_tier": null,
        "system_fingerprint": FINGERPRINT,
        "usage": usage,
        "prompt_logprobs": null,
        "prompt_token_ids": null,
        "kv_transfer_params": null,
    })
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
mod tests {
    use super::*;

    fn request(body: Value) -> ChatRequest {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn limits_are_refused_in_vllms_words() {
        let plain = request(json!({"messages": []}));
        assert_eq!(output_limit(&plain, 100, 8192), Ok(8092));
        let refused = output_limit(&plain, 9000, 8192).unwrap_err();
        // As captured from vLLM 0.32.0.
        assert_eq!(
            refused.body.to_string(),
            "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, \
             your prompt contains at least 8193 input tokens, which exceeds this limit even without \
             any output tokens. Please reduce the length of the input prompt. \
             (parameter=input_tokens, value=8193)\",\"type\":\"BadRequestError\",\
             \"param\":\"input_tokens\",\"code\":400}}"
        );
        let long = request(json!({"messages": [], "max_tokens": 8100}));
        assert!(output_limit(&long, 100, 8192).is_err());
        let none = request(json!({"messages": [], "max_completion_tokens": 0}));
        assert!(output_limit(&none, 100, 8192).is_err());
    }

    #[test]
    fn bodies_that_are_no_requests_are_400() {
        let error = serde_json::from_str::<ChatRequest>("{nonsense").unwrap_err();
        let refused = Refused::malformed(&error);
        assert!(refused.body["error"]["message"].as_str().unwrap().contains("json_invalid"));
        let error = serde_json::from_str::<ChatRequest>("{}").unwrap_err();
        let refused = Refused::malformed(&error);
        let message = refused.body["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("'loc': ('body', 'messages')"), "{message}");
    }
}
