//! What an answer is made of, token by token: thinking, text, tool calls. Random
//! words by default; a call with random arguments where one is demanded, as
//! constrained decoding produces one; a script; or degenerate text. The form on the wire is in `protocol`.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::degenerate::{Degenerate, Kind};
use super::script::{Call, Scripted};
use super::text;
use super::tokens::pieces;

/// Which part of an answer a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Thinking.
    Thinking,
    /// The token that ends the thinking; it is not shown.
    ThinkingEnd,
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

/// The content of one answer.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// What the words are drawn from.
    seed: u64,
    /// Tokens of thinking before the words and the one that ends it.
    thinking: u64,
    /// The script in place of random words, until it ends.
    pieces: Vec<Piece>,
    /// What comes in place of the words.
    degenerate: Option<Degenerate>,
}

impl Output {
    /// Random words, after random thinking where the model thinks.
    pub fn words(seed: u64, thinks: bool) -> Self {
        let thinking = if thinks { text::thinking_length(seed) } else { 0 };
        Self { seed, thinking, ..Self::default() }
    }

    /// Degenerate text: thinking that loops does not end, and one that is empty is none.
    pub fn degenerate(seed: u64, thinks: bool, text: Degenerate) -> Self {
        let words = Self::words(seed, thinks);
        let thinking = match text.kind {
            Kind::Empty => 0,
            Kind::Loop { .. } | Kind::Wall { .. } if text.after < words.thinking => u64::MAX,
            _ => words.thinking,
        };
        Self { thinking, degenerate: Some(text), ..words }
    }

    /// A call of `tool`, an entry of the request's `tools`, with random arguments.
    pub fn call(seed: u64, tool: &Value) -> Self {
        let function = tool.get("function").unwrap_or(&Value::Null);
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        let schema = function.get("parameters").unwrap_or(&Value::Null);
        let call = Call { name: name.to_owned(), arguments: nonsense(schema, seed) };
        let mut pieces = Vec::new();
        push_call(&mut pieces, 0, &call);
        Self { seed, pieces, ..Self::default() }
    }

    /// A scripted answer; without a parser thinking is part of the text.
    pub fn scripted(seed: u64, script: &Scripted, thinks: bool, parsed: bool) -> Self {
        let mut all = Vec::new();
        if thinks && !script.reasoning.is_empty() {
            if parsed {
                say(&mut all, Part::Thinking, &script.reasoning);
                all.push(Piece { part: Part::ThinkingEnd, text: String::new() });
            } else {
                say(&mut all, Part::Content, &format!("<think>{}</think>", script.reasoning));
            }
        }
        say(&mut all, Part::Content, &script.content);
        for (index, call) in script.tool_calls.iter().enumerate() {
            push_call(&mut all, index, call);
        }
        if all.is_empty() {
            // Nothing at all is one token: the end.
            all.push(Piece { part: Part::Content, text: String::new() });
        }
        Self { seed, pieces: all, ..Self::default() }
    }

    /// Tokens of the answer if nothing cuts it.
    pub fn length(&self) -> u64 {
        if let Some(length) = self.degenerate.and_then(|text| text.length()) {
            return length;
        }
        match self.pieces.len() {
            0 => {
                let end = u64::from(self.thinking > 0);
                self.thinking + end + text::natural_length(self.seed)
            }
            length => length as u64,
        }
    }

    /// The token at this place.
    pub fn piece(&self, index: u64) -> Piece {
        if let Some(piece) = self.pieces.get(index as usize) {
            return piece.clone();
        }
        let part = match index.cmp(&self.thinking) {
            Ordering::Less => Part::Thinking,
            Ordering::Equal if self.thinking > 0 => Part::ThinkingEnd,
            _ => Part::Content,
        };
        let degenerate = self.degenerate.and_then(|text| text.token(self.seed, index));
        Piece { part, text: degenerate.unwrap_or_else(|| text::token(self.seed, index)) }
    }

    /// Tokens of thinking among the first so many.
    pub fn thinking_among(&self, tokens: u64) -> u64 {
        if self.pieces.is_empty() {
            return tokens.min(self.thinking);
        }
        let first = self.pieces.iter().take(tokens as usize);
        first.filter(|piece| piece.part == Part::Thinking).count() as u64
    }

    /// A part of the answer as its bytes on the wire.
    pub fn on_wire(&self, text: String) -> Vec<u8> {
        match self.degenerate {
            Some(degenerate) => degenerate.on_wire(text),
            None => text.into_bytes(),
        }
    }

    /// Whether it calls tools.
    pub fn calls_tools(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece.part, Part::Call(_)))
    }
}

fn push_call(into: &mut Vec<Piece>, index: usize, call: &Call) {
    into.push(Piece { part: Part::Call(index), text: call.name.clone() });
    say(into, Part::Arguments(index), &call.text());
}

fn say(into: &mut Vec<Piece>, part: Part, text: &str) {
    into.extend(pieces(text).map(|piece| Piece { part, text: piece.to_owned() }));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demanded_arguments_are_random_within_the_schema() {
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
    fn thinking_that_loops_does_not_end_and_nothing_has_no_thinking() {
        let said = |kind: &str, after: u64, thinks: bool| {
            let text = Degenerate { after, ..Degenerate::named(kind).expect("known") };
            Output::degenerate(1, thinks, text)
        };
        let thinking = text::thinking_length(1);
        let looping = said("loop", 3, true);
        assert_eq!(looping.length(), u64::MAX);
        assert_eq!(looping.piece(thinking + 99).part, Part::Thinking);
        assert_eq!(looping.thinking_among(thinking + 99), thinking + 99);
        // It thinks as it should, and loops in the answer.
        let later = said("loop", thinking + 1, true);
        assert_eq!(later.piece(thinking).part, Part::ThinkingEnd);
        assert_eq!(later.piece(thinking + 9).part, Part::Content);
        assert_eq!(later.piece(thinking + 9).text, later.piece(thinking + 10).text);
        let nothing = said("empty", 0, true);
        assert_eq!((nothing.length(), nothing.thinking_among(9)), (1, 0));
        assert_eq!(said("nonsense", 0, true).length(), Output::words(1, true).length());
        assert_eq!(said("broken", 0, false).length(), Output::words(1, false).length());
    }

    #[test]
    fn a_script_is_sent_token_by_token() {
        let script = Scripted {
            reasoning: "so it is".into(),
            content: "yes, sir".into(),
            tool_calls: vec![
                Call { name: "f".into(), arguments: json!({"a": 1}) },
                Call { name: "g".into(), arguments: json!("{broken") },
            ],
            ..Scripted::default()
        };
        let text_of = |output: &Output, part: Part| -> String {
            let pieces = (0..output.length()).map(|at| output.piece(at));
            pieces.filter(|piece| piece.part == part).map(|piece| piece.text).collect()
        };
        let output = Output::scripted(1, &script, true, true);
        assert_eq!(output.thinking_among(output.length()), 3);
        assert_eq!(output.thinking_among(2), 2);
        assert_eq!(text_of(&output, Part::Thinking), "so it is");
        assert_eq!(text_of(&output, Part::Content), "yes, sir");
        assert_eq!(text_of(&output, Part::Call(1)), "g");
        assert_eq!(text_of(&output, Part::Arguments(0)), "{\"a\":1}");
        assert_eq!(text_of(&output, Part::Arguments(1)), "{broken");
        let unparsed = Output::scripted(1, &script, true, false);
        assert_eq!(text_of(&unparsed, Part::Content), "<think>so it is</think>yes, sir");
        let without = Output::scripted(1, &script, false, true);
        assert_eq!(without.thinking_among(without.length()), 0);
    }
}
