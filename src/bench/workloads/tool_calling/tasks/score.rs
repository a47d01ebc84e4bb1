//! Holds an answer against what is right: calls by the tool's JSON schema and by
//! value, so that constrained decoding alone earns nothing.

use serde_json::{Map, Value};

use super::{Call, Step};
use crate::client::Answer;
use crate::client::ToolCall;

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
pub(crate) fn judge(step: &Step, tools: &[Value], answer: &Answer, truncated: bool) -> Judged {
    let text = text_of(answer);
    let whole = !truncated && !has_unread_call(text, tools);
    let made: Vec<Option<(&str, Value)>> =
        answer.tool_calls.iter().map(|call| valid_call(call, tools)).collect();
    let mut judged = Judged {
        truncated,
        made: made.len() as u32,
        valid: made.iter().flatten().count() as u32,
        ..Judged::default()
    };
    match step {
        Step::Text(wanted) => {
            judged.is_right = whole && made.is_empty() && names_only(text, wanted);
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
            judged.is_right = whole && left.is_empty() && judged.right == judged.made;
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

/// The answer behind the thinking, where the server does not separate the two.
fn text_of(answer: &Answer) -> &str {
    answer.content.rsplit_once("</think>").map_or(&answer.content, |(_, text)| text)
}

/// What calls begin with before a parser takes them away.
const MARKS: &[&str] = &[
    "<tool_call",
    "<function",
    "<invoke",
    "<|tool",
    "<｜tool",
    "<|python_tag|>",
    "[TOOL_CALL",
    "functools[",
];
/// Braces at which a call may begin; an answer has fewer.
const MAX_BRACES: usize = 256;

/// Whether the text has a call that the server's parser failed to read, of a tool
/// on offer or not.
fn has_unread_call(text: &str, tools: &[Value]) -> bool {
    let is_call = |at: usize| {
        let values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>().next();
        let Some(Ok(Value::Object(call))) = values else { return false };
        call.get("name").is_some_and(Value::is_string)
            && ["arguments", "parameters"].iter().any(|key| call.contains_key(*key))
    };
    let names: Vec<&str> =
        tools.iter().filter_map(|tool| tool.pointer("/function/name")?.as_str()).collect();
    // As Python has it: `[get_weather(city="Lyon")]`.
    let listed = text.trim_start().strip_prefix('[').unwrap_or("");
    MARKS.iter().any(|mark| text.contains(mark))
        || names.iter().any(|name| listed.strip_prefix(name).is_some_and(|r| r.starts_with('(')))
        || text.match_indices('{').take(MAX_BRACES).any(|(at, _)| is_call(at))
}

/// Whether a text names, of identifiers of the form of `wanted` (`R-123456`), this one
/// alone; any text where `wanted` is empty.
fn names_only(text: &str, wanted: &str) -> bool {
    if wanted.is_empty() {
        return !text.trim().is_empty();
    }
    // Some models write other hyphens.
    let plain = text.replace(['\u{2010}', '\u{2011}', '\u{2013}', '\u{2212}'], "-");
    let form = wanted.split_inclusive('-').next().unwrap_or(wanted).to_lowercase();
    let mut same_form = plain
        .split(|c: char| !c.is_alphanumeric() && c != '-')
        .filter(|word| word.to_lowercase().starts_with(&form))
        .peekable();
    same_form.peek().is_some() && same_form.all(|word| word == wanted)
}

/// Equality after normalisation: words without outer or doubled white space and
/// regardless of case and accents, identifiers and dates to the letter, numbers by value,
/// objects without null members.
fn same(expected: &Value, given: &Value) -> bool {
    match (expected, given) {
        (Value::String(expected), Value::String(given)) => {
            expected == given || (!is_identifier(expected) && plain(expected) == plain(given))
        }
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

/// `C-10234`, `2027-03-04`, `anna@example.org`: another letter is another thing.
fn is_identifier(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit() || c == '@')
}

fn plain(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    words.chars().filter_map(without_accent).collect()
}

/// `Québec` is Quebec: a Latin letter, in lower case, without its accent. One that
/// stands next to its letter is none.
fn without_accent(letter: char) -> Option<char> {
    Some(match letter {
        '\u{300}'..='\u{36f}' => return None,
        'à'..='å' | 'ā' | 'ă' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => 'e',
        'ì'..='ï' | 'ī' | 'į' => 'i',
        'ñ' | 'ń' | 'ň' => 'n',
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => 'o',
        'ś' | 'š' => 's',
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        other => other,
    })
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

    fn of_calls(calls: &[ToolCall], truncated: bool) -> Judged {
        let answer = Answer { tool_calls: calls.to_vec(), ..Answer::default() };
        judge(&wanted(), &[tools::weather(), tools::timer()], &answer, truncated)
    }

    #[test]
    fn order_case_and_white_space_do_not_count() {
        let lyon = call("get_weather", r#"{"date":"2027-03-04","city":" lyon"}"#);
        let oslo = call("get_weather", r#"{"city": "Oslo", "date": "2027-03-04"}"#);
        let judged = of_calls(&[oslo, lyon], false);
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
            assert!(!of_calls(&calls, false).is_right, "{calls:?}");
        }
        let cut = of_calls(&[lyon(), oslo()], true);
        assert_eq!((cut.is_right, cut.truncated, cut.right), (false, true, 2));
    }

    #[test]
    fn schema_and_value_are_judged_separately() {
        let step = Step::Calls(vec![(
            Call { name: "set_timer", arguments: json!({"minutes": 5, "label": "tea"}) },
            Value::Null,
        )]);
        let judge = |arguments: &str| {
            let answer =
                Answer { tool_calls: vec![call("set_timer", arguments)], ..Answer::default() };
            let judged = judge(&step, &[tools::timer()], &answer, false);
            (judged.valid, judged.right)
        };
        assert_eq!(judge(r#"{"minutes": 5.0, "label": "Tea"}"#), (1, 1));
        assert_eq!(judge(r#"{"minutes": 6, "label": "tea"}"#), (1, 0));
        assert_eq!(judge(r#"{"minutes": "5", "label": "tea"}"#), (0, 0));
        assert_eq!(judge(r#"{"minutes": 5, "label": "tea", "loud": true}"#), (0, 0));
        assert_eq!(judge("true"), (0, 0));
    }

    #[test]
    fn identifiers_are_compared_to_the_letter() {
        let step =
            |arguments| Step::Calls(vec![(Call { name: "list_orders", arguments }, Value::Null)]);
        let right = |step: &Step, id: &str| {
            let made = call("list_orders", &json!({"customer_id": id}).to_string());
            let answer = Answer { tool_calls: vec![made], ..Answer::default() };
            judge(step, &[tools::list_orders()], &answer, false).is_right
        };
        let step = step(json!({"customer_id": "C-12345"}));
        assert!(right(&step, "C-12345"));
        for wrong in ["c-12345", "C-12345 ", "C-123456", "12345", "C 12345"] {
            assert!(!right(&step, wrong), "{wrong}");
        }
        assert!(!same(&json!("anna@example.org"), &json!("Anna@example.org")));
        assert!(same(&json!("Budget review"), &json!(" budget  Review")));
    }

    #[test]
    fn accents_do_not_count_but_in_identifiers() {
        for (expected, given) in [
            ("Quebec", "Québec"),
            ("Quebec", "QUÉBEC"),
            ("Quebec", "Que\u{301}bec"),
            ("Chloe", "Chloé"),
            ("Ampere", "Ampère"),
        ] {
            assert!(same(&json!(expected), &json!(given)), "{given}");
        }
        for (expected, given) in
            [("Quebec", "Quebac"), ("C-1e", "C-1é"), ("anna@example.org", "ánna@example.org")]
        {
            assert!(!same(&json!(expected), &json!(given)), "{given}");
        }
    }

    #[test]
    fn a_call_that_no_parser_read_spoils_the_calls_beside_it() {
        let calls = ["Lyon", "Oslo"].map(|city| {
            call("get_weather", &json!({"city": city, "date": "2027-03-04"}).to_string())
        });
        let right = |content: &str| {
            let answer =
                Answer { content: content.into(), tool_calls: calls.to_vec(), ..Answer::default() };
            judge(&wanted(), &[tools::weather()], &answer, false).is_right
        };
        assert!(right("I will look at both."));
        assert!(right("<think>First a <tool_call>, then another one.</think>\n\n"));
        assert!(!right("<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": "));
        assert!(!right(r#"Also: {"name": "get_weather", "arguments": {"city": "Bergen"}}"#));
    }

    #[test]
    fn an_answer_without_a_call_is_a_text_that_says_something() {
        let judged = |content: &str, truncated| {
            let answer = Answer { content: content.into(), ..Answer::default() };
            judge(&Step::Text(String::new()), &[tools::timer()], &answer, truncated).is_right
        };
        assert!(judged("Good morning.", false));
        assert!(judged(
            r#"An object has braces: {"name": "tea", "minutes": 3}, [set_timer]"#,
            false
        ));
        assert!(!judged("Good morning.", true));
        for wrong in [
            "",
            "<think>Good morning.</think> ",
            "<tool_call>{\"name\": \"R-12\"}",
            r#"{"name": "set_timer", "arguments": {"minutes": 3, "label": "tea"}}"#,
            "```json\n[{\"name\": \"set_timer\", \"parameters\": {\"minutes\": 3}}]\n```",
            r#"{"type": "function", "function": {"name": "set_timer", "arguments": "{}"}}"#,
            r#"[set_timer(minutes=3, label="tea")]"#,
        ] {
            assert!(!judged(wrong, false), "{wrong}");
        }
    }

    #[test]
    fn a_number_that_is_asked_for_stands_alone_and_whole() {
        let right = |content: &str| {
            let answer = Answer { content: content.into(), ..Answer::default() };
            judge(&Step::Text("R-123456".into()), &[], &answer, false).is_right
        };
        for text in [
            "The refund is R-123456.",
            "**R-123456**",
            "R\u{2011}123456",
            "Order O-200100: refund `R-123456`, R-123456!",
            "<think>R-1 or R-2?</think>R-123456",
        ] {
            assert!(right(text), "{text}");
        }
        for text in [
            "The refund is R-1234567.",
            "The refund is R-12345.",
            "R-123456, R-123457 or R-123458",
            "r-123456",
            "XR-123456",
            "R-123456-7",
            "123456",
            "<think>R-123456</think> It is done.",
            "",
        ] {
            assert!(!right(text), "{text}");
        }
    }
}
