//! Holds an answer against what is right: calls by the tool's JSON schema and by
//! value, so that constrained decoding alone earns nothing.

use serde_json::{Map, Value};

use super::{Call, Step};
use crate::bench::stream::{Answer, ToolCall};

/// What an answer is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// All that was expected and nothing else, to its natural end.
    pub(crate) is_right: bool,
    pub(crate) truncated: bool,
    /// Calls expected, made, that keep the schema, that are right.
    pub(crate) expected: u32,
    pub(crate) made: u32,
    pub(crate) valid: u32,
    pub(crate) right: u32,
}

/// Judges the answer to one turn.
pub(crate) fn judge(
    step: &Step,
    tools: &[Value],
    answer: &Answer,
    finish_reason: Option<&str>,
) -> Judged {
    let truncated = finish_reason == Some("length");
    let made: Vec<Option<(&str, Value)>> =
        answer.tool_calls.iter().map(|call| valid_call(call, tools)).collect();
    let mut judged = Judged {
        truncated,
        made: made.len() as u32,
        valid: made.iter().flatten().count() as u32,
        ..Judged::default()
    };
    match step {
        Step::Text(text) => {
            judged.is_right = !truncated && made.is_empty() && says(answer, text);
        }
        Step::Calls(calls) => {
            judged.expected = calls.len() as u32;
            let mut left: Vec<&Call> = calls.iter().map(|(call, _)| call).collect();
            for (name, arguments) in made.iter().flatten() {
                let is_it = |call: &&Call| call.name == *name && same(&call.arguments, arguments);
                if let Some(place) = left.iter().position(is_it) {
                    left.remove(place);
                    judged.right += 1;
                }
            }
            judged.is_right = !truncated && left.is_empty() && judged.right == judged.made;
        }
    }
    judged
}

/// The call, where it is one of a tool on offer that keeps the tool's schema.
fn valid_call<'a>(call: &'a ToolCall, tools: &[Value]) -> Option<(&'a str, Value)> {
    let function = tools
        .iter()
        .filter_map(|tool| tool.get("function"))
        .find(|function| function.get("name").and_then(Value::as_str) == Some(&call.name))?;
    let arguments: Value = serde_json::from_str(&call.arguments).ok()?;
    let validator = jsonschema::validator_for(function.get("parameters")?).ok()?;
    validator.is_valid(&arguments).then_some((call.name.as_str(), arguments))
}

/// Whether the answer is a text that holds `wanted`: not an empty one, and not a
/// call that the server's parser failed to read.
fn says(answer: &Answer, wanted: &str) -> bool {
    let (_, text) = answer.content.rsplit_once("</think>").unwrap_or(("", &answer.content));
    let unread = ["<tool_call", "<function=", "[TOOL_CALLS]", "<|python_tag|>"];
    !text.trim().is_empty()
        && !unread.iter().any(|mark| text.contains(mark))
        && text.to_lowercase().contains(&wanted.to_lowercase())
}

/// Equality after normalisation: texts without outer or doubled white space and
/// regardless of case, numbers by value, objects without null members.
fn same(expected: &Value, given: &Value) -> bool {
    match (expected, given) {
        (Value::String(expected), Value::String(given)) => plain(expected) == plain(given),
        (Value::Number(expected), Value::Number(given)) => expected.as_f64() == given.as_f64(),
        (Value::Array(expected), Value::Array(given)) => {
            expected.len() == given.len()
                && expected.iter().zip(given).all(|(expected, given)| same(expected, given))
        }
        (Value::Object(expected), Value::Object(given)) => {
            let count =
                |members: &Map<String, Value>| members.values().filter(|v| !v.is_null()).count();
            count(expected) == count(given)
                && expected.iter().all(|(name, expected)| {
                    given.get(name).map_or(expected.is_null(), |given| same(expected, given))
                })
        }
        _ => expected == given,
    }
}

fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tools;
    use super::*;

    fn call(name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: String::new(), name: name.into(), arguments: arguments.into() }
    }

    fn wanted() -> Step {
        let call = |city: &str| Call {
            name: "get_weather",
            arguments: json!({"city": city, "date": "2027-03-04"}),
        };
        Step::Calls(vec![(call("Lyon"), Value::Null), (call("Oslo"), Value::Null)])
    }

    fn of_calls(calls: &[ToolCall], finish: &str) -> Judged {
        let answer = Answer { tool_calls: calls.to_vec(), ..Answer::default() };
        judge(&wanted(), &[tools::weather(), tools::timer()], &answer, Some(finish))
    }

    #[test]
    fn order_case_and_white_space_do_not_count() {
        let lyon = call("get_weather", r#"{"date":"2027-03-04","city":" lyon"}"#);
        let oslo = call("get_weather", r#"{"city": "Oslo", "date": "2027-03-04"}"#);
        let judged = of_calls(&[oslo, lyon], "tool_calls");
        assert_eq!((judged.is_right, judged.valid, judged.right), (true, 2, 2));
    }

    #[test]
    fn a_call_that_is_missing_doubled_broken_cut_or_of_another_value_is_wrong() {
        let lyon = || call("get_weather", r#"{"city": "Lyon", "date": "2027-03-04"}"#);
        let oslo = || call("get_weather", r#"{"city": "Oslo", "date": "2027-03-04"}"#);
        let wrong = [
            vec![],
            vec![lyon()],
            vec![lyon(), lyon()],
            vec![lyon(), oslo(), oslo()],
            vec![lyon(), call("set_timer", r#"{"minutes": 3, "label": "tea"}"#)],
            vec![lyon(), call("get_weather", r#"{"city": "Oslo", "date": "2027-03-05"}"#)],
            vec![lyon(), call("get_weather", r#"{"city": "Oslo", "date": "2027-03-04""#)],
            vec![lyon(), call("get_weather", r#"{"city": "Oslo"}"#)],
            vec![lyon(), call("forecast", r#"{"city": "Oslo", "date": "2027-03-04"}"#)],
        ];
        for calls in wrong {
            assert!(!of_calls(&calls, "tool_calls").is_right, "{calls:?}");
        }
        let cut = of_calls(&[lyon(), oslo()], "length");
        assert_eq!((cut.is_right, cut.truncated, cut.right), (false, true, 2));
    }

    #[test]
    fn schema_and_value_are_told_apart() {
        let step = Step::Calls(vec![(
            Call { name: "set_timer", arguments: json!({"minutes": 5, "label": "tea"}) },
            Value::Null,
        )]);
        let judge = |arguments: &str| {
            let answer =
                Answer { tool_calls: vec![call("set_timer", arguments)], ..Answer::default() };
            let judged = judge(&step, &[tools::timer()], &answer, Some("stop"));
            (judged.valid, judged.right)
        };
        assert_eq!(judge(r#"{"minutes": 5.0, "label": "Tea"}"#), (1, 1));
        assert_eq!(judge(r#"{"minutes": 6, "label": "tea"}"#), (1, 0));
        assert_eq!(judge(r#"{"minutes": "5", "label": "tea"}"#), (0, 0));
        assert_eq!(judge(r#"{"minutes": 5, "label": "tea", "loud": true}"#), (0, 0));
        assert_eq!(judge("true"), (0, 0));
    }

    #[test]
    fn an_answer_without_a_call_is_a_text_that_says_something() {
        let says = |content: &str, finish: &str| {
            let answer = Answer { content: content.into(), ..Answer::default() };
            judge(&Step::Text("R-12".into()), &[], &answer, Some(finish)).is_right
        };
        assert!(says("The refund is r-12.", "stop"));
        assert!(!says("The refund is r-12.", "length"));
        assert!(!says("<think>R-12</think> It is done.", "stop"));
        assert!(!says("<tool_call>{\"name\": \"R-12\"}", "stop"));
        assert!(!says("", "stop"));
    }
}
