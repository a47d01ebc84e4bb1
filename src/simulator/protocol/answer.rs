//! The answers of chats and plain completions, whole and in chunks. Their content is made
//! in `output`.

use serde_json::{Value, json};

use super::FINGERPRINT;
use crate::simulator::faults::ENGINE_DEAD;
use crate::simulator::metrics::Finish;
use crate::simulator::output::{Part, Piece};
use crate::simulator::text;

/// What kind of answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
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
    /// Prompt tokens from the prefix cache, where they are reported.
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

/// What is the same all over an answer.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Chat or plain completion.
    pub form: Form,
    /// The answer's id.
    pub id: &'a str,
    /// Unix time.
    pub created: u64,
    /// The model as the request names it.
    pub model: &'a str,
    /// What the ids of its tool calls are drawn from.
    pub calls: u64,
}

/// Writes the chunks of one stream.
#[derive(Debug)]
pub struct ChunkWriter {
    form: Form,
    calls: u64,
    /// Everything up to `choices`, the same in every chunk.
    head: String,
    continuous: bool,
}

impl ChunkWriter {
    /// A writer for this answer; `continuous` puts usage into every chunk.
    pub fn new(envelope: Envelope<'_>, continuous: bool) -> Self {
        let Envelope { form, id, created, model, calls } = envelope;
        let model = Value::from(model);
        let object = match form {
            Form::Chat => "chat.completion.chunk",
            Form::Completion => "text_completion",
        };
        let head = format!(
            "data: {{\"id\":\"{id}\",\"object\":\"{object}\",\"created\":{created},\
             \"model\":{model},\"choices\":"
        );
        Self { form, calls, head, continuous }
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

    /// Chunks with these tokens, one for neighbours of the same part; the last one
    /// has the finish reason. Nothing without content and end.
    pub fn tokens(&self, out: &mut String, pieces: &[Piece], end: Option<&str>, usage: Usage) {
        let mut fields = self.fields(pieces);
        if fields.is_empty() && end.is_some() {
            fields.push(self.field("content", ""));
        }
        for (at, field) in fields.iter().enumerate() {
            let is_last = at + 1 == fields.len();
            self.chunk(out, field, end.filter(|_| is_last), usage);
        }
    }

    /// The fields of the chunks with these tokens.
    fn fields(&self, pieces: &[Piece]) -> Vec<String> {
        if self.form == Form::Completion {
            let text = text_of(pieces, Part::Content);
            return if text.is_empty() { Vec::new() } else { vec![self.field("text", &text)] };
        }
        let field = |Piece { part, text }: Piece| match part {
            Part::Thinking => Some(self.field("reasoning", &text)),
            Part::ThinkingEnd => None,
            Part::Content => Some(self.field("content", &text)),
            Part::Call(index) => Some(call_delta(&json!({
                "id": call_id(self.calls, index), "type": "function", "index": index,
                "function": {"name": text},
            }))),
            Part::Arguments(index) => {
                Some(call_delta(&json!({"index": index, "function": {"arguments": text}})))
            }
        };
        joined(pieces).into_iter().filter_map(field).collect()
    }

    /// A text in a choice; plain completions have one field alone.
    fn field(&self, name: &str, text: &str) -> String {
        let text = Value::from(text);
        match self.form {
            Form::Chat => format!("\"delta\":{{\"{name}\":{text}}}"),
            Form::Completion => format!("\"text\":{text}"),
        }
    }

    fn chunk(&self, out: &mut String, field: &str, end: Option<&str>, usage: Usage) {
        let reason = end.map_or("null".to_owned(), |end| format!("\"{end}\""));
        out.push_str(&self.head);
        out.push_str("[{\"index\":0,");
        out.push_str(field);
        out.push_str(",\"logprobs\":null,\"finish_reason\":");
        out.push_str(&reason);
        out.push(',');
        if self.form == Form::Completion || end.is_some() {
            out.push_str("\"stop_reason\":null,");
        }
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

/// Neighbours of one part as one piece.
fn joined(pieces: &[Piece]) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match joined.last_mut().filter(|last| last.part == piece.part) {
            Some(last) => last.text.push_str(&piece.text),
            None => joined.push(piece.clone()),
        }
    }
    joined
}

/// The text of one part.
fn text_of(pieces: &[Piece], part: Part) -> String {
    let of_part = pieces.iter().filter(|piece| piece.part == part);
    of_part.map(|piece| piece.text.as_str()).collect()
}

fn call_delta(call: &Value) -> String {
    format!("\"delta\":{{\"content\":null,\"tool_calls\":[{call}]}}")
}

fn call_id(calls: u64, index: usize) -> String {
    format!("chatcmpl-tool-{:016x}", text::mix(calls, index as u64))
}

impl Envelope<'_> {
    /// A whole answer.
    pub fn whole(self, pieces: &[Piece], end: &str, usage: Usage) -> Value {
        let usage: Value =
            serde_json::from_str(&usage.json()).expect("usage is written as JSON above");
        let (object, mut choice) = match self.form {
            Form::Chat => ("chat.completion", json!({"index": 0, "message": self.message(pieces)})),
            Form::Completion => {
                ("text_completion", json!({"index": 0, "text": text_of(pieces, Part::Content)}))
            }
        };
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = end.into();
        choice["stop_reason"] = Value::Null;
        choice["token_ids"] = Value::Null;
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "service_tier": null,
            "system_fingerprint": FINGERPRINT,
            "usage": usage,
            "prompt_logprobs": null,
            "prompt_token_ids": null,
            "kv_transfer_params": null,
        })
    }

    /// The message of a chat. It has no text where there is only thinking or calls.
    fn message(self, pieces: &[Piece]) -> Value {
        let calls: Vec<Value> = pieces
            .iter()
            .filter_map(|Piece { part, text }| {
                let Part::Call(index) = part else { return None };
                let arguments = text_of(pieces, Part::Arguments(*index));
                Some(json!({
                    "id": call_id(self.calls, *index), "type": "function",
                    "function": {"name": text, "arguments": arguments},
                }))
            })
            .collect();
        let reasoning =
            Some(text_of(pieces, Part::Thinking)).filter(|reasoning| !reasoning.is_empty());
        let alone = calls.is_empty() && reasoning.is_none();
        let content =
            Some(text_of(pieces, Part::Content)).filter(|content| alone || !content.is_empty());
        json!({
            "role": "assistant", "content": content, "refusal": null, "annotations": null,
            "audio": null, "function_call": null, "tool_calls": calls, "reasoning": reasoning,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::output::Output;
    use crate::simulator::script::{Call, Scripted};

    const ENVELOPE: Envelope<'_> =
        Envelope { form: Form::Chat, id: "chatcmpl-1", created: 1, model: "m", calls: 7 };

    fn pieces() -> Vec<Piece> {
        let script = Scripted {
            reasoning: "so it is".into(),
            content: "yes, sir".into(),
            tool_calls: vec![
                Call { name: "f".into(), arguments: json!({"a": 1}) },
                Call { name: "g".into(), arguments: json!("{broken") },
            ],
            ..Scripted::default()
        };
        let output = Output::scripted(1, &script, true, true);
        assert_eq!(output.thinking_among(output.length()), 3);
        (0..output.length()).map(|at| output.piece(at)).collect()
    }

    fn choices(pieces: &[Piece], end: Option<&str>) -> Vec<Value> {
        let mut out = String::new();
        ChunkWriter::new(ENVELOPE, false).tokens(&mut out, pieces, end, Usage::default());
        out.split_terminator("\n\n")
            .map(|chunk| {
                let chunk: Value = serde_json::from_str(&chunk["data: ".len()..]).unwrap();
                chunk["choices"][0].clone()
            })
            .collect()
    }

    #[test]
    fn adjacent_pieces_of_one_part_are_one_delta() {
        let choices = choices(&pieces(), Some("tool_calls"));
        let deltas: Vec<&Value> = choices.iter().map(|choice| &choice["delta"]).collect();
        assert_eq!(deltas.len(), 6);
        assert_eq!(deltas[0], &json!({"reasoning": "so it is"}));
        assert_eq!(deltas[1], &json!({"content": "yes, sir"}));
        assert_eq!(deltas[4]["tool_calls"][0]["function"]["name"], "g");
        assert_eq!(deltas[5]["tool_calls"][0]["function"]["arguments"], "{broken");
        let ends: Vec<&Value> = choices.iter().map(|choice| &choice["finish_reason"]).collect();
        assert_eq!(ends[5], "tool_calls");
        assert!(
            ends[..5].iter().all(|end| end.is_null()),
            "only the last chunk has the finish reason"
        );
    }

    #[test]
    fn a_whole_message_has_what_its_chunks_have() {
        let pieces = pieces();
        let whole = ENVELOPE.whole(&pieces, "tool_calls", Usage::default());
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!(
            (&message["reasoning"], &message["content"]),
            (&json!("so it is"), &json!("yes, sir"))
        );
        let streamed = choices(&pieces, None);
        let (first, second) = (&message["tool_calls"][0]["id"], &message["tool_calls"][1]["id"]);
        assert_eq!(&streamed[2]["delta"]["tool_calls"][0]["id"], first);
        assert_eq!(&streamed[4]["delta"]["tool_calls"][0]["id"], second);
        assert_ne!(first, second);
    }
}
