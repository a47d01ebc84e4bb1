//! The workload `tool-calling`: tasks with tools on offer, one at a time,
//! answered to their natural end. What a tool returns is fed back; a task ends
//! at its first wrong turn. What the tasks are is in [`crate::bench::workloads::tool_calling::tasks`].

pub mod tasks;

use serde_json::{Value, json};

use crate::bench::error::BenchError;
use crate::bench::metrics::all_of;
use crate::bench::outcome::RepeatResult;
use crate::bench::prompt::generate::salt;
use crate::bench::repeat::RepeatContext;
use crate::bench::sequence::{Reply, RequestSequence, Stop, answer_budget, mean};
use crate::bench::workloads::tool_calling::tasks::score::{Judged, judge};
use crate::bench::workloads::tool_calling::tasks::{Call, Step, Task, of_repeat};
use crate::client::Answer;
use crate::client::request::{Input, RequestSpec, is_blamed};
use crate::metric::MetricValues;
use crate::workload::metrics::TOOL_CALLING as METRICS;
use crate::workload::{Scenario, ToolCalling};

/// What the answers add up to.
#[derive(Debug, Default)]
struct Tally {
    correct: u32,
    asked: u32,
    truncated: u32,
    expected: u32,
    made: u32,
    valid: u32,
    right: u32,
    ttft_ms: Vec<f64>,
    e2e_ms: Vec<f64>,
    output_tokens: Vec<f64>,
}

/// Runs one repeat of the case `scenario`; a warm-up does one task.
pub(crate) async fn repeat(
    repeat: &mut RepeatContext<'_>,
    spec: &ToolCalling,
    scenario: Scenario,
) -> Result<RepeatResult, BenchError> {
    let instances = if repeat.is_warmup() { 1 } else { spec.instances };
    let tasks = of_repeat(scenario, repeat.session.seed(), repeat.name(), instances);
    let mut sequence = RequestSequence::start(repeat).await;
    let mut tally = Tally::default();
    let ended = all(&mut sequence, spec, scenario, &tasks, &mut tally).await;
    let values = tally.values(&sequence);
    sequence.end(ended, values)
}

async fn all(
    sequence: &mut RequestSequence<'_, '_>,
    spec: &ToolCalling,
    scenario: Scenario,
    tasks: &[Task],
    tally: &mut Tally,
) -> Result<(), Stop> {
    for (number, task) in tasks.iter().enumerate() {
        let place = number.to_string();
        let salt_number = sequence.repeat.salt_number(&["tool-calling", scenario.as_str(), &place]);
        let cache_salt = sequence.repeat.session.cache_salt().then_some(salt_number);
        let system = format!(
            "{} (a label without meaning). You help with the tools on offer. Call one where it \
             is needed, and answer directly where it is not.",
            salt(salt_number)
        );
        let mut conversation = vec![
            json!({"role": "system", "content": system}),
            json!({"role": "user", "content": task.prompt}),
        ];
        let mut right = true;
        for (turn, step) in task.steps.iter().enumerate() {
            let purpose = format!("{scenario} {}.{}", number + 1, turn + 1);
            let request = request(sequence, spec, task, &conversation, &purpose)?;
            let request = request.salted(cache_salt);
            let asked = match turn {
                0 => sequence.ask_new(&purpose, request).await,
                _ => sequence.ask(&purpose, request).await,
            };
            let reply = asked.map_err(|stop| not_offered(sequence, stop))?;
            let judged = judge(step, &task.tools, &reply.answer, reply.truncated);
            tally.note(&judged, &reply);
            right = judged.is_right;
            if !right {
                break;
            }
            feed_back(&mut conversation, &reply.answer, step);
        }
        tally.asked += 1;
        tally.correct += u32::from(right);
    }
    Ok(())
}

fn request(
    sequence: &RequestSequence<'_, '_>,
    spec: &ToolCalling,
    task: &Task,
    conversation: &[Value],
    purpose: &str,
) -> Result<RequestSpec, Stop> {
    let repeat = &sequence.repeat;
    let tools = Value::from(task.tools.clone());
    let said: usize = conversation.iter().map(|message| message.to_string().len()).sum();
    let bytes = said + tools.to_string().len();
    let seed = repeat.seed_number(&["tool-calling", purpose]);
    let mut request = RequestSpec {
        input: Input::Chat(conversation.to_vec()),
        max_tokens: answer_budget(repeat, bytes, spec.max_tokens)?,
        ignore_eos: false,
        temperature: spec.temperature,
        seed: Some(seed >> 33),
        extra: serde_json::Map::new(),
        keep_answer: true,
    };
    request.extra.insert("tools".to_owned(), tools);
    request.extra.insert("tool_choice".to_owned(), task.choice.clone());
    Ok(request.thinking(spec.thinking))
}

/// A first request that was refused because of its tools: the server has none.
fn not_offered(sequence: &RequestSequence<'_, '_>, stop: Stop) -> Stop {
    let Some(record) = sequence.only_record() else { return stop };
    match &record.error {
        Some(error)
            if matches!(record.http_status, Some(400 | 404 | 422 | 501))
                && error.message.to_lowercase().contains("tool")
                && !is_blamed(&error.message) =>
        {
            Stop::Skipped(format!("the server offers no such tool calls: {}", error.message))
        }
        _ => stop,
    }
}

/// Adds the model's calls and what the tools return to the conversation.
fn feed_back(conversation: &mut Vec<Value>, answer: &Answer, step: &Step) {
    let Step::Calls(expected) = step else { return };
    let id = |place: usize, id: &str| {
        if id.is_empty() { format!("call-{place}") } else { id.to_owned() }
    };
    let calls: Vec<Value> = answer
        .tool_calls
        .iter()
        .enumerate()
        .map(|(place, call)| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": id(place, &call.id), "type": "function", "function": function})
        })
        .collect();
    conversation.push(json!({"role": "assistant", "content": answer.content, "tool_calls": calls}));
    for (place, call) in answer.tool_calls.iter().enumerate() {
        let returned = |(wanted, result): &(Call, Value)| {
            (wanted.name == call.name).then(|| result.to_string())
        };
        let result = expected.iter().find_map(returned).unwrap_or_default();
        conversation.push(json!({
            "role": "tool", "tool_call_id": id(place, &call.id), "content": result,
        }));
    }
}

impl Tally {
    fn note(&mut self, judged: &Judged, reply: &Reply) {
        self.truncated += u32::from(judged.truncated);
        self.expected += judged.expected;
        self.made += judged.made;
        self.valid += judged.valid;
        self.right += judged.right;
        self.ttft_ms.extend(reply.record.ttft_ms());
        self.e2e_ms.extend(reply.record.e2e_ms());
        self.output_tokens.extend(reply.record.usage.map(|usage| usage.completion_tokens as f64));
    }

    fn values(&self, sequence: &RequestSequence<'_, '_>) -> MetricValues {
        let count = |count: u32| Some(f64::from(count));
        let share = f64::from(self.correct) / f64::from(self.asked);
        all_of!(METRICS;
            "accuracy": (self.asked > 0).then_some(share),
            "correct": count(self.correct),
            "asked": count(self.asked),
            "truncated": count(self.truncated),
            "calls_expected": count(self.expected),
            "calls_made": count(self.made),
            "calls_valid": count(self.valid),
            "calls_right": count(self.right),
            "mean_ttft_ms": mean(&self.ttft_ms),
            "mean_e2el_ms": mean(&self.e2e_ms),
            "mean_output_tokens": mean(&self.output_tokens),
            "requests": Some(sequence.requests() as f64),
            "failed": Some(sequence.failed() as f64),
        )
    }
}
