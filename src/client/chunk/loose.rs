//! Reads a chunk of another form than OpenAI's: texts as parts or objects, tool calls as
//! an object, counts as texts. What no answer needs is absent where its form is unknown;
//! only an unknown form of the answer's own parts makes the chunk unreadable. Slower than
//! the usual way, and asked only where that fails.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    Choice, Chunk, CompletionDetails, Delta, FunctionDelta, PromptDetails, RawUsage, Text,
    ToolDelta,
};

/// An event; `None` where it is no chunk in any form.
pub(super) fn read(data: &[u8]) -> Option<Chunk<'static>> {
    let Value::Object(event) = serde_json::from_slice(data).ok()? else { return None };
    let choices = match event.get("choices") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(choice).collect::<Option<Vec<_>>>()?,
        Some(one) => vec![choice(one)?],
    };
    let field = |name: &str| event.get(name).filter(|value| !value.is_null()).cloned();
    Some(Chunk {
        id: word(event.get("id")).0,
        choices,
        usage: event.get("usage").and_then(Value::as_object).map(usage),
        error: field("error"),
        message: field("message"),
        detail: field("detail"),
    })
}

fn choice(value: &Value) -> Option<Choice<'static>> {
    let fields = value.as_object()?;
    let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let delta = match given("delta").or_else(|| given("message")) {
        None => Delta::default(),
        Some(Value::Object(fields)) => delta(fields)?,
        Some(text) => Delta { content: said(Some(text))?.content, ..Delta::default() },
    };
    Some(Choice {
        delta,
        text: said(fields.get("text"))?.content,
        finish_reason: word(fields.get("finish_reason")),
        error: given("error").cloned(),
    })
}

fn delta(fields: &Map<String, Value>) -> Option<Delta<'static>> {
    let content = said(fields.get("content"))?;
    // Of a form that is unknown it is no part of the answer.
    let thought = |name: &str| {
        let mut thought = said(fields.get(name)).unwrap_or_default();
        thought.content.0.to_mut().push_str(&thought.reasoning.0);
        thought.content
    };
    let mut reasoning = thought("reasoning");
    reasoning.0.to_mut().push_str(&content.reasoning.0);
    let tool_calls = match fields.get("tool_calls") {
        Some(Value::Array(list)) => list.iter().filter_map(tool).collect(),
        Some(one) => tool(one).into_iter().collect(),
        None => Vec::new(),
    };
    Some(Delta {
        content: content.content,
        reasoning,
        reasoning_content: thought("reasoning_content"),
        tool_calls,
    })
}

/// What a text says, its thinking apart.
#[derive(Default)]
struct Said {
    content: Text<'static>,
    reasoning: Text<'static>,
}

/// A text, one part, or a list of parts; `None` for anything else.
fn said(value: Option<&Value>) -> Option<Said> {
    let mut said = Said::default();
    value.is_none_or(|value| add(value, false, &mut said)).then_some(said)
}

/// Adds what a part says; false where its form is unknown.
fn add(value: &Value, thinks: bool, said: &mut Said) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => {
            let into = if thinks { &mut said.reasoning } else { &mut said.content };
            into.0.to_mut().push_str(text);
            true
        }
        Value::Array(parts) => parts.iter().all(|part| add(part, thinks, said)),
        Value::Object(part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
            let thinks = thinks || ["think", "reason"].iter().any(|word| kind.contains(word));
            let of = |name: &str| part.get(name).filter(|value| !value.is_null());
            if let Some(thought) = of("thinking").or_else(|| of("reasoning")) {
                return add(thought, true, said);
            }
            // A part without a text, such as a picture, says nothing.
            let text = ["text", "content", "value"].iter().find_map(|name| of(name));
            text.is_none_or(|text| add(text, thinks, said))
        }
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn tool(value: &Value) -> Option<ToolDelta<'static>> {
    let fields = value.as_object()?;
    let function = match fields.get("function") {
        Some(Value::Object(function)) => FunctionDelta {
            name: word(function.get("name")),
            arguments: match function.get("arguments") {
                None | Some(Value::Null) => Text::default(),
                Some(Value::String(text)) => owned(text.clone()),
                // As the model wrote it, but for spaces.
                Some(object) => owned(object.to_string()),
            },
        },
        _ => FunctionDelta::default(),
    };
    Some(ToolDelta {
        index: count(fields.get("index")).and_then(|index| u32::try_from(index).ok()),
        id: word(fields.get("id")),
        function,
    })
}

fn usage(fields: &Map<String, Value>) -> RawUsage {
    let detail = |object: &str, name: &str| count(fields.get(object)?.get(name));
    let reasoning_tokens = detail("completion_tokens_details", "reasoning_tokens");
    let cached_tokens = detail("prompt_tokens_details", "cached_tokens");
    RawUsage {
        prompt_tokens: count(fields.get("prompt_tokens")),
        completion_tokens: count(fields.get("completion_tokens")),
        completion_tokens_details: Some(CompletionDetails { reasoning_tokens }),
        prompt_tokens_details: Some(PromptDetails { cached_tokens }),
    }
}

/// A number of things, as a number or a text.
fn count(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64().filter(|it| it.fract() == 0.0 && (0.0..1e15).contains(it));
            float.map(|float| float as u64)
        }),
        _ => None,
    }
}

/// A word: a text, a number, or an object that has it as its type.
fn word(value: Option<&Value>) -> Text<'static> {
    owned(match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Object(fields)) => {
            fields.get("type").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    })
}

fn owned(text: String) -> Text<'static> {
    Text(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content and the thinking of a delta.
    fn texts(delta: &str) -> Option<(String, String)> {
        let data = format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
        let chunk = Chunk::read(data.as_bytes()).ok()?;
        Some((chunk.content().to_owned(), chunk.reasoning().to_owned()))
    }

    #[test]
    fn texts_may_be_parts_or_objects() {
        for (delta, content, reasoning) in [
            (r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, "ab", ""),
            (
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#,
                "",
                "hm",
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"a"}]}"#,
                "a",
                "hm",
            ),
            (r#"{"content":[{"type":"reasoning","text":"hm"}, "a"]}"#, "a", "hm"),
            (r#"{"content":{"type":"text","text":"a"}}"#, "a", ""),
            (r#"{"content":{"type":"output_text","value":"a"}}"#, "a", ""),
            (r#"{"content":[{"type":"image_url","image_url":{"url":"x"}}]}"#, "", ""),
            (r#"{"content":[]}"#, "", ""),
            (r#"{"content":"a","reasoning":{"text":"hm"}}"#, "a", "hm"),
            (r#"{"content":"a","reasoning":7}"#, "a", ""),
            (r#"{"content":"a","tool_calls":"none"}"#, "a", ""),
            (r#""a""#, "a", ""),
        ] {
            let expected = (content.to_owned(), reasoning.to_owned());
            assert_eq!(texts(delta), Some(expected), "{delta}");
        }
        // Nobody knows what these say.
        for delta in [r#"{"content":7}"#, r#"{"content":[true]}"#, "7"] {
            assert_eq!(texts(delta), None, "{delta}");
        }
    }

    #[test]
    fn tool_calls_and_arguments_may_be_objects() {
        let of = |delta: &str| {
            let data = format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
            let chunk = Chunk::read(data.as_bytes()).expect("a chunk");
            chunk
                .tools()
                .map(|it| (it.index, it.id.to_owned(), it.name.to_owned(), it.arguments.to_owned()))
                .collect::<Vec<_>>()
        };
        let call =
            |arguments: &str| vec![(Some(0), "x".to_owned(), "f".to_owned(), arguments.to_owned())];
        let object =
            r#"{"tool_calls":{"index":0,"id":"x","function":{"name":"f","arguments":"{}"}}}"#;
        assert_eq!(of(object), call("{}"));
        let inner = r#"{"tool_calls":[{"index":"0","id":"x","function":{"name":"f","arguments":{"a": 1}}}]}"#;
        assert_eq!(of(inner), call(r#"{"a":1}"#));
        let null = r#"{"content":[],"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":null}}, 3]}"#;
        assert_eq!(of(null), call(""));
    }

    #[test]
    fn what_no_answer_needs_may_have_any_form() {
        let data = r#"{"id":7,"choices":{"delta":{"content":"a"},"finish_reason":{"type":"length"}},
            "usage":{"prompt_tokens":"9","completion_tokens":4.0,"prompt_tokens_details":[]}}"#;
        let chunk = Chunk::read(data.as_bytes()).expect("a chunk");
        let usage = chunk.usage().expect("usage");
        assert_eq!(
            (chunk.id(), chunk.content(), chunk.finish_reason()),
            ("7", "a", Some("length"))
        );
        assert_eq!(
            (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens),
            (9, 4, None)
        );
        let odd = r#"{"choices":[{"delta":{"content":"a"}}],"usage":[1],"id":{}}"#;
        let chunk = Chunk::read(odd.as_bytes()).expect("a chunk");
        assert!(chunk.usage().is_none() && chunk.content() == "a");
        for none in ["7", "[]", r#"{"choices":"a"}"#, r#"{"choices":[7]}"#, "{"] {
            assert!(Chunk::read(none.as_bytes()).is_err(), "{none}");
        }
    }
}
