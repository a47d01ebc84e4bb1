//! Requests and answers in the form of vLLM's OpenAI-compatible API, key by key
//! as a real server sent them. Text alone: no sockets here.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Options;
use super::faults::ENGINE_DEAD;
use super::memory::Division;
use super::metrics::Finish;
use super::settings::Settings;
use super::tokens::{Message, tokenize};

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

    /// Whether the chat template leaves the model room to think.
    pub fn thinking(&self) -> bool {
        let kwargs = self.chat_template_kwargs.as_ref();
        kwargs.and_then(|kwargs| kwargs.get("enable_thinking")?.as_bool()).unwrap_or(true)
    }
}

/// Reads the body of `/v1/completions`: its options are a chat's, its prompt is
/// a text or a list of token ids. 16 tokens are generated where no limit is given.
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
    body["messages"] = json!([]);
    let mut request: ChatRequest =
        serde_json::from_value(body).map_err(|error| Refused::malformed(&error))?;
    request.max_tokens = request.max_tokens.or(Some(16));
    Ok((request, prompt))
}

/// What kind of answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/v1/chat/completions`.
    Chat {
        /// Whether thinking comes first, apart from the answer.
        thinks: bool,
    },
    /// `/v1/completions`.
    Completion,
}

/// Text of some tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Of thinking.
    pub reasoning: String,
    /// Of the answer.
    pub content: String,
    /// Tool calls, or pieces of them.
    pub calls: Vec<CallWords>,
}

/// A tool call, or a piece of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallWords {
    /// Place among the answer's calls, from 0.
    pub index: usize,
    /// Identifier and function, where the call opens.
    pub opening: Option<(String, String)>,
    /// Arguments, or a piece of them.
    pub arguments: String,
}

impl CallWords {
    /// The deltas of a stream: the opening, then the arguments.
    fn deltas(&self) -> impl Iterator<Item = Value> {
        let index = self.index;
        let opening = self.opening.as_ref().map(|(id, name)| {
            json!([{"id": id, "type": "function", "index": index, "function": {"name": name}}])
        });
        let arguments = Some(&self.arguments)
            .filter(|text| !text.is_empty())
            .map(|text| json!([{"index": index, "function": {"arguments": text}}]));
        opening.into_iter().chain(arguments)
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
    /// Those of the answer that were thinking.
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

/// Writes the chunks of one stream.
#[derive(Debug)]
pub struct ChunkWriter {
    form: Form,
    /// Everything up to `choices`, the same in every chunk.
    head: String,
    continuous: bool,
}

impl ChunkWriter {
    /// A writer for this request.
    pub fn new(form: Form, id: &str, created: u64, model: &str, continuous: bool) -> Self {
        let model = Value::from(model);
        let object = match form {
            Form::Chat { .. } => "chat.completion.chunk",
            Form::Completion => "text_completion",
        };
        let head = format!(
            "data: {{\"id\":\"{id}\",\"object\":\"{object}\",\"created\":{created},\
             \"model\":{model},\"choices\":"
        );
        Self { form, head, continuous }
    }

    fn usage(&self, usage: Usage) -> String {
        if self.continuous { format!(",\"usage\":{}", usage.json()) } else { String::new() }
    }

    /// The first chunk of a chat, which has the role alone.
    pub fn role(&self, out: &mut String, usage: Usage) {
        if self.form == Form::Completion {
            return;
        }
        out.push_str(&self.head);
        out.push_str(
            "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\
             \"finish_reason\":null}]",
        );
        out.push_str(&self.usage(usage));
        out.push_str(",\"prompt_token_ids\":null,\"prompt_text\":null}\n\n");
    }

    /// Chunks with these words, thinking before the answer, tool calls behind it;
    /// the last one tells why the answer ends. Nothing where there is nothing to say.
    pub fn tokens(&self, out: &mut String, words: &Words, finish: Option<&str>, usage: Usage) {
        let said = |field, text: &str| (!text.is_empty()).then(|| (field, Value::from(text)));
        let calls = words.calls.iter().flat_map(CallWords::deltas);
        let mut parts: Vec<(&str, Value)> = said("reasoning", &words.reasoning)
            .into_iter()
            .chain(said("content", &words.content))
            .chain(calls.map(|delta| ("tool_calls", delta)))
            .collect();
        if parts.is_empty() && finish.is_some() {
            parts.push(("content", Value::from("")));
        }
        for (at, (field, value)) in parts.iter().enumerate() {
            self.chunk(out, field, value, finish.filter(|_| at + 1 == parts.len()), usage);
        }
    }

    fn chunk(
        &self,
        out: &mut String,
        field: &str,
        value: &Value,
        finish: Option<&str>,
        usage: Usage,
    ) {
        let value = value.to_string();
        let reason = finish.map_or("null".to_owned(), |end| format!("\"{end}\""));
        let stop = match (self.form, finish) {
            (Form::Chat { .. }, None) => "",
            _ => "\"stop_reason\":null,",
        };
        out.push_str(&self.head);
        match self.form {
            Form::Chat { .. } => {
                out.push_str("[{\"index\":0,\"delta\":{");
                if field == "tool_calls" {
                    out.push_str("\"content\":null,");
                }
                out.push('"');
                out.push_str(field);
                out.push_str("\":");
                out.push_str(&value);
                out.push_str("},");
            }
            Form::Completion => {
                out.push_str("[{\"index\":0,\"text\":");
                out.push_str(&value);
                out.push(',');
            }
        }
        out.push_str("\"logprobs\":null,\"finish_reason\":");
        out.push_str(&reason);
        out.push(',');
        out.push_str(stop);
        if self.form == Form::Completion {
            out.push_str("\"prompt_token_ids\":null,");
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

/// A call of a message; nothing for a piece that opens none.
fn whole_call(call: &CallWords) -> Option<Value> {
    let (id, name) = call.opening.as_ref()?;
    let function = json!({"name": name, "arguments": call.arguments});
    Some(json!({"id": id, "type": "function", "function": function}))
}

impl Form {
    /// A whole answer.
    pub fn whole(
        self,
        id: &str,
        created: u64,
        model: &str,
        words: &Words,
        finish: &str,
        usage: Usage,
    ) -> Value {
        let usage: Value =
            serde_json::from_str(&usage.json()).expect("usage is written as JSON above");
        let (object, mut choice) = match self {
            Self::Chat { .. } => {
                let reasoning = Some(&words.reasoning).filter(|text| !text.is_empty());
                let alone = reasoning.is_none() && words.calls.is_empty();
                let content = Some(&words.content).filter(|_| alone || !words.content.is_empty());
                let calls: Vec<Value> = words.calls.iter().filter_map(whole_call).collect();
                let message = json!({
                    "role": "assistant", "content": content, "refusal": null,
                    "annotations": null, "audio": null, "function_call": null,
                    "tool_calls": calls, "reasoning": reasoning,
                });
                ("chat.completion", json!({"index": 0, "message": message}))
            }
            Self::Completion => ("text_completion", json!({"index": 0, "text": words.content})),
        };
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = finish.into();
        choice["stop_reason"] = Value::Null;
        choice["token_ids"] = Value::Null;
        json!({
            "id": id,
            "object": object,
            "created": created,
            "model": model,
            "choices": [choice],
            "service_tier": null,
            "system_fingerprint": FINGERPRINT,
            "usage": usage,
            "prompt_logprobs": null,
            "prompt_token_ids": null,
            "kv_transfer_params": null,
        })
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
