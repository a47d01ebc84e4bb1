//! What an answer is made of, token by token: thinking, text, tool calls. Random
//! words by default; a call with random arguments where one is demanded, as
//! constrained decoding makes a model without sense give one; or a script.

use serde_json::{Map, Value, json};

use super::script::{Call, Scripted};
use super::text;
use super::tokens::pieces;

/// Which part of an answer a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Thinking.
    Thinking,
    /// The answer.
    Content,
    /// The opening of a tool call: the token is the function's name.
    Call(usize),
    /// A piece of a tool call's arguments.
    Arguments(usize),
}

/// A token of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it is part of.
    pub part: Part,
    /// Its text.
    pub text: String,
}

/// One answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// What the words are drawn from.
    seed: u64,
    /// Tokens of thinking before the words.
    thinking: u64,
    /// What is said instead of words, for as long as it lasts.
    pieces: Vec<Piece>,
}

impl Reply {
    /// Random words, after random thinking where the model thinks.
    pub fn words(seed: u64, thinks: bool) -> Self {
        let thinking = if thinks { text::natural_length(text::mix(seed, 1)) } else { 0 };
        Self { seed, thinking, pieces: Vec::new() }
    }

    /// A call of `tool`, an entry of the request's `tools`, with random arguments.
    pub fn call(seed: u64, tool: &Value) -> Self {
        let function = tool.get("function").unwrap_or(&Value::Null);
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        let schema = function.get("parameters").unwrap_or(&Value::Null);
        let call = Call { name: name.to_owned(), arguments: nonsense(schema, seed) };
        let mut pieces = Vec::new();
        push_call(&mut pieces, 0, &call);
        Self { seed, thinking: 0, pieces }
    }

    /// A scripted answer; without a parser thinking is part of the text.
    pub fn scripted(seed: u64, script: &Scripted, thinks: bool, parsed: bool) -> Self {
        let mut all = Vec::new();
        let mut say = |part: Part, text: &str| {
            all.extend(
                pieces(text).map(|piece| Piece { part: part.clone(), text: piece.to_owned() }),
            );
        };
        if thinks && !script.reasoning.is_empty() {
            if parsed {
                say(Part::Thinking, &script.reasoning);
            } else {
                say(Part::Content, &format!("<think>{}</think>", script.reasoning));
            }
        }
        say(Part::Content, &script.content);
        for (index, call) in script.tool_calls.iter().enumerate() {
            push_call(&mut all, index, call);
        }
        if all.is_empty() {
            // Nothing at all is one token: the end.
            all.push(Piece { part: Part::Content, text: String::new() });
        }
        Self { seed, thinking: 0, pieces: all }
    }

    /// Tokens of the answer if nothing cuts it.
    pub fn length(&self) -> u64 {
        match self.pieces.len() {
            0 => self.thinking + text::natural_length(self.seed),
            length => length as u64,
        }
    }

    /// The token at this place.
    pub fn piece(&self, index: u64) -> Piece {
        if let Some(piece) = self.pieces.get(index as usize) {
            return piece.clone();
        }
        let part = if index < self.thinking { Part::Thinking } else { Part::Content };
        Piece { part, text: text::token(self.seed, index) }
    }

    /// Tokens of thinking among the first so many.
    pub fn thinking_among(&self, tokens: u64) -> u64 {
        if self.pieces.is_empty() {
            return tokens.min(self.thinking);
        }
        let first = self.pieces.iter().take(tokens as usize);
        first.filter(|piece| piece.part == Part::Thinking).count() as u64
    }

    /// Whether it calls tools.
    pub fn calls_tools(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece.part, Part::Call(_)))
    }
}

fn push_call(into: &mut Vec<Piece>, index: usize, call: &Call) {
    into.push(Piece { part: Part::Call(index), text: call.name.clone() });
    let arguments = call.text();
    into.extend(
        pieces(&arguments)
            .map(|piece| Piece { part: Part::Arguments(index), text: piece.to_owned() }),
    );
}

/// A value that a JSON schema allows, without any sense.
fn nonsense(schema: &Value, seed: u64) -> Value {
    if let Some(values) = schema.get("enum").and_then(Value::as_array).filter(|v| !v.is_empty()) {
        return values[(text::mix(seed, 0) % values.len() as u64) as usize].clone();
    }
    let least = |key: &str| schema.get(key).and_then(Value::as_u64);
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let members: Map<String, Value> = properties
                .into_iter()
                .flatten()
                .enumerate()
                .map(|(at, (name, schema))| {
                    (name.clone(), nonsense(schema, text::mix(seed, at as u64 + 1)))
                })
                .collect();
            Value::Object(members)
        }
        Some("array") => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let count = least("minItems").unwrap_or(1).clamp(1, 100);
            (0..count).map(|at| nonsense(items, text::mix(seed, at + 1))).collect()
        }
        Some("integer" | "number") => {
            json!(least("minimum").unwrap_or(0) + text::mix(seed, 0) % 1000)
        }
        Some("boolean") => json!(text::mix(seed, 0).is_multiple_of(2)),
        Some("null") => Value::Null,
        _ => json!(text::token(seed, 0)),
    }
}

/// The deltas of consecutive tokens: neighbours of one part are one delta. `id`
/// names a tool call by its index.
pub fn deltas(pieces: &[Piece], id: impl Fn(usize) -> String) -> Vec<Value> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match joined.last_mut().filter(|last| last.part == piece.part) {
            Some(last) => last.text.push_str(&piece.text),
            None => joined.push(piece.clone()),
        }
    }
    joined
        .into_iter()
        .map(|Piece { part, text }| match part {
            Part::Thinking => json!({ "reasoning": text }),
            Part::Content => json!({ "content": text }),
            Part::Call(index) => json!({"content": null, "tool_calls": [{
                "id": id(index), "type": "function", "index": index, "function": {"name": text},
            }]}),
            Part::Arguments(index) => json!({"content": null, "tool_calls": [{
                "index": index, "function": {"arguments": text},
            }]}),
        })
        .collect()
}

/// The message of an answer that is not streamed.
pub fn message(pieces: &[Piece], id: impl Fn(usize) -> String) -> Value {
    let (mut content, mut reasoning) = (String::new(), String::new());
    let mut calls: Vec<(String, String)> = Vec::new();
    for Piece { part, text } in pieces {
        match part {
            Part::Thinking => reasoning.push_str(text),
            Part::Content => content.push_str(text),
            Part::Call(_) => calls.push((text.clone(), String::new())),
            Part::Arguments(_) => {
                if let Some((_, arguments)) = calls.last_mut() {
                    arguments.push_str(text);
                }
            }
        }
    }
    let calls: Vec<Value> = calls
        .into_iter()
        .enumerate()
        .map(|(at, (name, arguments))| {
            let function = json!({"name": name, "arguments": arguments});
            json!({"id": id(at), "type": "function", "function": function})
        })
        .collect();
    let said = |text: String| if text.is_empty() { Value::Null } else { text.into() };
    let content =
        if calls.is_empty() && reasoning.is_empty() { content.into() } else { said(content) };
    json!({
        "role": "assistant", "content": content, "refusal": null, "annotations": null,
        "audio": null, "function_call": null, "tool_calls": calls, "reasoning": said(reasoning),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demanded_arguments_keep_the_schema_and_mean_nothing() {
        let schema = json!({"type": "object", "required": ["city", "days"], "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1},
            "unit": {"enum": ["c", "f"]},
            "stops": {"type": "array", "items": {"type": "object", "properties": {
                "open": {"type": "boolean"}}}},
        }});
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        for seed in 0..50 {
            let value = nonsense(&schema, seed);
            assert!(validator.is_valid(&value), "{value}");
        }
        assert_ne!(nonsense(&schema, 1), nonsense(&schema, 2));
    }

    #[test]
    fn neighbours_of_one_part_are_one_delta() {
        let script = Scripted {
            reasoning: "so it is".into(),
            content: "yes, sir".into(),
            tool_calls: vec![
                Call { name: "f".into(), arguments: json!({"a": 1}) },
                Call { name: "g".into(), arguments: json!("{broken") },
            ],
            ..Scripted::default()
        };
        let reply = Reply::scripted(1, &script, true, true);
        let pieces: Vec<Piece> = (0..reply.length()).map(|at| reply.piece(at)).collect();
        assert_eq!(reply.thinking_among(reply.length()), 3);
        let deltas = deltas(&pieces, |at| format!("call-{at}"));
        assert_eq!(deltas.len(), 6);
        assert_eq!(deltas[0], json!({"reasoning": "so it is"}));
        assert_eq!(deltas[1], json!({"content": "yes, sir"}));
        assert_eq!(deltas[4]["tool_calls"][0]["function"]["name"], "g");
        assert_eq!(deltas[5]["tool_calls"][0]["function"]["arguments"], "{broken");
        let message = message(&pieces, |at| format!("call-{at}"));
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!(
            (&message["reasoning"], &message["content"]),
            (&json!("so it is"), &json!("yes, sir"))
        );
    }
}
