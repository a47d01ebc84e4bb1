//! The workload `reasoning`: puzzles, one at a time, answered to their natural
//! end and scored. Every configuration is asked the same puzzles. What they are
//! is in [`crate::bench::workloads::reasoning::puzzles`].

pub mod puzzles;

use serde_json::{Map, json};

use crate::bench::error::BenchError;
use crate::bench::metrics::all_of;
use crate::bench::outcome::RepeatResult;
use crate::bench::prompt::generate::salt;
use crate::bench::repeat::RepeatContext;
use crate::bench::sequence::{Reply, RequestSequence, Stop, answer_budget, mean};
use crate::bench::workloads::reasoning::puzzles::{Puzzle, of_repeat};
use crate::client::request::{Input, RequestSpec};
use crate::metric::MetricValues;
use crate::workload::metrics::REASONING as METRICS;
use crate::workload::{Reasoning, ReasoningKind};

/// What the answers add up to.
#[derive(Debug, Default)]
struct Tally {
    correct: u32,
    asked: u32,
    truncated: u32,
    ttft_ms: Vec<f64>,
    /// `None`: thinking was there, and not separated from the answer.
    answer_ttft_ms: Vec<Option<f64>>,
    e2e_ms: Vec<f64>,
    tpot_ms: Vec<f64>,
    output_tokens: Vec<f64>,
    thinking_tokens: Vec<Option<f64>>,
}

/// Runs one repeat of the case `kind`; a warm-up asks once.
pub(crate) async fn repeat(
    repeat: &mut RepeatContext<'_>,
    spec: &Reasoning,
    kind: ReasoningKind,
) -> Result<RepeatResult, BenchError> {
    let instances = if repeat.is_warmup() { 1 } else { spec.instances };
    let puzzles = of_repeat(kind, repeat.session.seed(), repeat.name(), instances);
    let mut sequence = RequestSequence::start(repeat).await;
    let mut tally = Tally::default();
    let ended = all(&mut sequence, spec, kind, &puzzles, &mut tally).await;
    let values = tally.values(&sequence);
    sequence.end(ended, values)
}

async fn all(
    sequence: &mut RequestSequence<'_, '_>,
    spec: &Reasoning,
    kind: ReasoningKind,
    puzzles: &[Puzzle],
    tally: &mut Tally,
) -> Result<(), Stop> {
    for (number, puzzle) in puzzles.iter().enumerate() {
        let request = request(sequence, spec, kind, number, puzzle)?;
        let reply = sequence.ask_new(&format!("{kind} {}", number + 1), request).await?;
        tally.note(puzzle, &reply);
    }
    Ok(())
}

fn request(
    sequence: &RequestSequence<'_, '_>,
    spec: &Reasoning,
    kind: ReasoningKind,
    number: usize,
    puzzle: &Puzzle,
) -> Result<RequestSpec, Stop> {
    let repeat = &sequence.repeat;
    let number = number.to_string();
    let salt_number = repeat.salt_number(&["reasoning", kind.as_str(), &number]);
    // The salt opens the message, and is said to mean nothing.
    let system =
        format!("{} (a label without meaning). You solve puzzles with care.", salt(salt_number));
    let seed = repeat.seed_number(&[kind.as_str(), &number]);
    let request = RequestSpec {
        max_tokens: answer_budget(repeat, system.len() + puzzle.prompt.len(), spec.max_tokens)?,
        input: Input::Chat(vec![
            json!({"role": "system", "content": system}),
            json!({"role": "user", "content": puzzle.prompt}),
        ]),
        ignore_eos: false,
        temperature: spec.temperature,
        seed: Some(seed >> 33),
        extra: Map::new(),
        keep_answer: true,
    };
    let cache_salt = repeat.session.cache_salt().then_some(salt_number);
    Ok(request.thinking(spec.thinking).salted(cache_salt))
}

/// Whether the server separated the thinking from the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thinking {
    /// It did, or there was none.
    Separate,
    /// It is part of the text.
    InText,
    /// Cut, and without a mark: it may be all thinking, which the chat template opened.
    Unknown,
}

/// The answer behind the thinking, and how the server separated the two.
fn answer_of(reply: &Reply) -> (&str, Thinking) {
    let content = reply.answer.content.as_str();
    match content.rsplit_once("</think>") {
        Some((_, answer)) => (answer, Thinking::InText),
        None if content.trim_start().starts_with("<think>") => (content, Thinking::InText),
        None if reply.truncated && reply.answer.reasoning.is_empty() => {
            (content, Thinking::Unknown)
        }
        None => (content, Thinking::Separate),
    }
}

impl Tally {
    fn note(&mut self, puzzle: &Puzzle, reply: &Reply) {
        let record = &reply.record;
        let (answer, thinking) = answer_of(reply);
        self.asked += 1;
        self.truncated += u32::from(reply.truncated);
        self.correct += u32::from(!reply.truncated && puzzle.is_solved_by(answer));
        self.ttft_ms.extend(record.ttft_ms());
        self.e2e_ms.extend(record.e2e_ms());
        self.tpot_ms.extend(record.tpot_ms());
        match (thinking, record.first_answer_ns) {
            (Thinking::InText, _) => self.answer_ttft_ms.push(None),
            (Thinking::Separate, Some(first)) => {
                self.answer_ttft_ms.push(Some(first.saturating_sub(record.sent_ns) as f64 / 1e6));
            }
            (Thinking::Separate, None) | (Thinking::Unknown, _) => {}
        }
        if let Some(usage) = record.usage {
            self.output_tokens.push(usage.completion_tokens as f64);
            let is_separate = thinking == Thinking::Separate;
            let tokens = usage.reasoning_tokens.filter(|_| is_separate).map(|tokens| tokens as f64);
            self.thinking_tokens.push(tokens);
        }
    }

    fn values(&self, sequence: &RequestSequence<'_, '_>) -> MetricValues {
        let asked = f64::from(self.asked);
        let all = |values: &[Option<f64>]| values.iter().copied().collect::<Option<Vec<f64>>>();
        let thinking = all(&self.thinking_tokens).unwrap_or_default();
        let answers: Vec<f64> =
            self.output_tokens.iter().zip(&thinking).map(|(all, thought)| all - thought).collect();
        let answer_ttft = all(&self.answer_ttft_ms).unwrap_or_default();
        all_of!(METRICS;
            "accuracy": (self.asked > 0).then(|| f64::from(self.correct) / asked),
            "correct": Some(f64::from(self.correct)),
            "asked": Some(asked),
            "truncated": Some(f64::from(self.truncated)),
            "mean_ttft_ms": mean(&self.ttft_ms),
            "mean_answer_ttft_ms": mean(&answer_ttft),
            "mean_e2el_ms": mean(&self.e2e_ms),
            "mean_tpot_ms": mean(&self.tpot_ms),
            "mean_thinking_tokens": mean(&thinking),
            "mean_answer_tokens": mean(&answers),
            "mean_output_tokens": mean(&self.output_tokens),
            "requests": Some(sequence.requests() as f64),
            "failed": Some(sequence.failed() as f64),
        )
    }
}
