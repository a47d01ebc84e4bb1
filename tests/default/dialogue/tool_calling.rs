//! `tool-calling`: right calls score; random, cut and nearly right ones do not.

use serde_json::{Value, json};
use vllm_grid::bench::workloads::tool_calling::tasks::{Call, Step, Task, of_repeat};
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::workload::Scenario;

use crate::dialogue::harness::{SEED, Simulated, measure, number, scripted, workload};

const PARSERS: &str = "--sim-speed 1000 --enable-auto-tool-choice --tool-call-parser hermes \
                       --reasoning-parser qwen3";

const CASES: [&str; 7] = [
    "scenario=single",
    "scenario=chain",
    "scenario=nested",
    "scenario=parallel",
    "scenario=balanced",
    "scenario=required",
    "scenario=named",
];

/// Repeat 1 of every scenario.
fn tasks() -> Vec<Task> {
    Scenario::ALL.into_iter().flat_map(|scenario| of_repeat(scenario, SEED, "1", 4)).collect()
}

/// What is said to each turn: `calls` and `text` make it of what is right.
fn script(calls: impl Fn(&[(Call, Value)]) -> Value, text: impl Fn(&str) -> Value) -> Value {
    let mut script = Vec::new();
    for task in tasks() {
        let mut when = task.prompt.clone();
        for step in &task.steps {
            let mut answer = match step {
                Step::Calls(expected) => json!({"tool_calls": calls(expected)}),
                Step::Text(wanted) => text(wanted),
            };
            answer["when"] = json!(when);
            answer["reasoning"] = json!("Which tool is it?");
            script.push(answer);
            if let Step::Calls(expected) = step {
                when = expected[expected.len() - 1].1.to_string();
            }
        }
    }
    Value::from(script)
}

fn made(calls: &[(Call, Value)]) -> Value {
    let one = |(call, _): &(Call, Value)| json!({"name": call.name, "arguments": call.arguments});
    calls.iter().map(one).collect()
}

fn said(wanted: &str) -> Value {
    json!({"content": format!("Here you are: {wanted}.")})
}

async fn call(flags: &str, script: Option<Value>, options: Value) -> Vec<Measurement> {
    let simulated = match script {
        Some(script) => scripted(flags, &script).await,
        None => Simulated::start(flags).await,
    };
    let mut all = json!({"warmup": 0});
    all.as_object_mut().expect("one").extend(options.as_object().expect("one").clone());
    let measured = measure(&simulated.server, &workload("tool-calling", &all)).await;
    measured.ended.expect("a living server");
    let cases: Vec<&str> = measured.measurements.iter().map(|row| row.case.as_str()).collect();
    assert_eq!(cases, CASES);
    measured.measurements
}

#[tokio::test]
async fn a_perfect_answerer_scores_one_in_every_scenario() {
    let rows = call(PARSERS, Some(script(made, said)), json!({})).await;
    for row in &rows {
        assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, None), "{}", row.case);
        assert_eq!(number(row, "accuracy"), Some(1.0), "{}: {:?}", row.case, row.metrics);
        let count = |name| Some(number(row, name).expect("counted"));
        assert_eq!(count("asked"), Some(4.0));
        assert_eq!(count("calls_made"), count("calls_right"));
        assert_eq!(count("calls_valid"), count("calls_expected"));
        assert!(number(row, "mean_ttft_ms").is_some());
    }
    let chain = &rows[1];
    assert_eq!((number(chain, "requests"), number(chain, "calls_made")), (Some(16.0), Some(12.0)));
    assert_eq!(number(&rows[4], "calls_expected"), Some(2.0), "half of the pair needs none");
}

/// Every number one more, every text with one letter more: as valid as before.
fn off_by_one(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), off_by_one(value))).collect()
        }
        Value::Array(items) => items.iter().map(off_by_one).collect(),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => json!(whole + 1),
            None => json!(number.as_f64().expect("a number") + 1.0),
        },
        // Dates, codes and identifiers have forms of their own.
        Value::String(text) if text.chars().all(char::is_alphabetic) && text.len() > 3 => {
            json!(format!("{text}s"))
        }
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_subtly_wrong_answerer_scores_nothing_where_values_count() {
    let wrong = |calls: &[(Call, Value)]| {
        let mut calls = calls.to_vec();
        let last = calls.len() - 1;
        let changed = off_by_one(&calls[last].0.arguments);
        if changed == calls[last].0.arguments {
            // Nothing to change by one: the same call twice.
            calls.push(calls[last].clone());
        } else {
            calls[last].0.arguments = changed;
        }
        made(&calls)
    };
    for row in call(PARSERS, Some(script(wrong, said)), json!({})).await {
        let half = if row.case == "scenario=balanced" { 0.5 } else { 0.0 };
        assert_eq!(number(&row, "accuracy"), Some(half), "{}", row.case);
        let count = |name| number(&row, name).expect("counted");
        assert!(count("calls_valid") > count("calls_right"), "{}: {:?}", row.case, row.metrics);
    }
}

/// All calls right, and then another number than the one that the tool gave.
#[tokio::test]
async fn right_calls_with_a_wrong_number_at_the_end_are_a_wrong_task() {
    let another = |wanted: &str| match wanted {
        "" => said(wanted),
        longer => json!({"content": format!("The refund has the number {longer}0.")}),
    };
    let rows = call(PARSERS, Some(script(made, another)), json!({})).await;
    let chain = &rows[1];
    assert_eq!((number(chain, "accuracy"), number(chain, "correct")), (Some(0.0), Some(0.0)));
    assert_eq!((number(chain, "calls_right"), number(chain, "requests")), (Some(12.0), Some(16.0)));
    assert_eq!(number(chain, "truncated"), Some(0.0));
    assert_eq!(number(&rows[4], "accuracy"), Some(1.0), "there was no number to report");
}

/// A second call that the parser left in the text.
#[tokio::test]
async fn a_call_in_the_text_besides_the_right_ones_fails_the_task() {
    let mut answers = script(made, said);
    for answer in answers.as_array_mut().expect("a list") {
        if answer.get("tool_calls").is_some() {
            answer["content"] = json!(r#"{"name": "set_timer", "arguments": {"minutes": 1}}"#);
        }
    }
    for row in call(PARSERS, Some(answers), json!({})).await {
        let half = if row.case == "scenario=balanced" { 0.5 } else { 0.0 };
        assert_eq!(number(&row, "accuracy"), Some(half), "{}", row.case);
        assert!(number(&row, "calls_right").expect("counted") > 0.0, "{}", row.case);
    }
}

#[tokio::test]
async fn calling_always_is_no_better_than_calling_never() {
    let text = |wanted: &str| {
        let call = json!([{"name": "set_timer", "arguments": {"minutes": 3, "label": "tea"}}]);
        if wanted.is_empty() { json!({"tool_calls": call}) } else { said(wanted) }
    };
    let rows = call(PARSERS, Some(script(made, text)), json!({})).await;
    assert_eq!(number(&rows[4], "accuracy"), Some(0.5));
}

/// Constrained decoding makes valid calls of nothing: they earn no point.
#[tokio::test]
async fn a_model_without_sense_scores_nothing_but_half_of_the_pair() {
    for row in call(PARSERS, None, json!({"max-tokens": 4000})).await {
        let expected = if row.case == "scenario=balanced" { 0.5 } else { 0.0 };
        assert_eq!(number(&row, "accuracy"), Some(expected), "{}", row.case);
        let demanded = ["scenario=required", "scenario=named"].contains(&row.case.as_str());
        assert_eq!(number(&row, "calls_made"), Some(if demanded { 4.0 } else { 0.0 }));
        assert_eq!(number(&row, "calls_right"), Some(0.0));
        if row.case == "scenario=named" {
            assert_eq!(number(&row, "requests"), Some(4.0));
        }
    }
}

#[tokio::test]
async fn calls_cut_at_the_limit_are_wrong() {
    let long = |_: &str| json!({"content": "and so on ".repeat(40)});
    let cut = |calls: &[(Call, Value)]| {
        let mut calls = calls.to_vec();
        calls.resize(30, calls[0].clone());
        made(&calls)
    };
    for row in call(PARSERS, Some(script(cut, long)), json!({"max-tokens": 50})).await {
        assert_eq!((number(&row, "accuracy"), number(&row, "truncated")), (Some(0.0), Some(4.0)));
    }
}

#[tokio::test]
async fn a_server_without_a_parser_is_skipped_with_its_own_words() {
    let rows = call("--sim-speed 1000", None, json!({})).await;
    for row in &rows {
        assert_eq!(row.status, Status::Skipped, "{}", row.case);
        let reason = row.reason.as_deref().expect("said");
        assert!(reason.contains("--tool-call-parser to be set"), "{reason}");
        assert_eq!(number(row, "accuracy"), None);
    }
}
