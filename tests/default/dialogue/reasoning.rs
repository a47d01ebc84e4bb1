//! `reasoning`: right answers score, nonsense, cut and nearly right ones do not.

use serde_json::{Value, json};
use vllm_grid::bench::workloads::reasoning::puzzles::{Puzzle, of_repeat};
use vllm_grid::metric::{Measurement, Status};
use vllm_grid::workload::ReasoningKind;

use crate::dialogue::harness::{SEED, Simulated, measure, number, scripted, workload};

const PARSER: &str = "--sim-speed 1000 --reasoning-parser qwen3";

/// Repeat 1 of every kind.
fn puzzles() -> Vec<Puzzle> {
    ReasoningKind::ALL.into_iter().flat_map(|kind| of_repeat(kind, SEED, "1", 3)).collect()
}

fn script(answer: impl Fn(&Puzzle) -> String) -> Value {
    let one = |puzzle: &Puzzle| {
        json!({"when": puzzle.prompt, "reasoning": "Let me see. It must be so.",
               "content": answer(puzzle)})
    };
    puzzles().iter().map(one).collect()
}

async fn solve(flags: &str, script: Option<Value>, options: Value) -> Vec<Measurement> {
    let simulated = match script {
        Some(script) => scripted(flags, &script).await,
        None => Simulated::start(flags).await,
    };
    let mut all = json!({"instances": 3, "warmup": 0});
    all.as_object_mut().expect("one").extend(options.as_object().expect("one").clone());
    let measured = measure(&simulated.server, &workload("reasoning", &all)).await;
    measured.ended.expect("a living server");
    measured.measurements
}

#[tokio::test]
async fn a_perfect_answerer_scores_one_in_every_case() {
    let answers = script(|puzzle| format!("Clearly.\n\n**ANSWER: {}**", puzzle.answer));
    let rows = solve(PARSER, Some(answers), json!({})).await;
    let cases: Vec<&str> = rows.iter().map(|row| row.case.as_str()).collect();
    assert_eq!(cases, ["kind=planning", "kind=logic", "kind=code-review"]);
    for row in &rows {
        assert_eq!((row.status, row.reason.as_deref()), (Status::Ok, None));
        assert_eq!(number(row, "accuracy"), Some(1.0), "{}", row.case);
        assert_eq!((number(row, "correct"), number(row, "asked")), (Some(3.0), Some(3.0)));
        // "Let me see. It must be so." is nine tokens of the simulator.
        assert_eq!(number(row, "mean_thinking_tokens"), Some(9.0));
        assert!(number(row, "mean_answer_tokens").expect("reported") > 4.0);
        let (first, answer) = (number(row, "mean_ttft_ms"), number(row, "mean_answer_ttft_ms"));
        assert!(first.expect("measured") <= answer.expect("separated"));
    }
}

/// The last two letters changed places, one knight too many, the next line.
fn nearly(puzzle: &Puzzle) -> String {
    let mut parts: Vec<String> = puzzle.answer.split(", ").map(str::to_owned).collect();
    if let Ok(line) = puzzle.answer.parse::<u64>() {
        parts = vec![(line + 1).to_string()];
    } else if parts[0].len() == 1 {
        let last = parts.len() - 1;
        parts.swap(last, last - 1);
    } else {
        parts.pop();
    }
    format!("ANSWER: {}", parts.join(", "))
}

#[tokio::test]
async fn a_subtly_wrong_answerer_scores_nothing() {
    for row in solve(PARSER, Some(script(nearly)), json!({})).await {
        assert_eq!((row.status, number(&row, "accuracy")), (Status::Ok, Some(0.0)), "{}", row.case);
        assert_eq!(number(&row, "truncated"), Some(0.0));
    }
}

#[tokio::test]
async fn an_answer_cut_at_its_limit_is_wrong_even_if_it_was_right() {
    let long = "and so on ".repeat(60);
    let answers = script(|puzzle| format!("ANSWER: {}\n{long}", puzzle.answer));
    for row in solve(PARSER, Some(answers), json!({"max-tokens": 64})).await {
        assert_eq!(number(&row, "accuracy"), Some(0.0), "{}", row.case);
        assert_eq!(number(&row, "truncated"), Some(3.0));
    }
}

/// Without a parser the thinking comes as text: the answer is still found behind
/// it, but nobody can say when it began.
#[tokio::test]
async fn thinking_inside_the_text_is_not_timed_as_an_answer() {
    let answers = script(|puzzle| format!("ANSWER: {}", puzzle.answer));
    for row in solve("--sim-speed 1000", Some(answers), json!({"kinds": "logic"})).await {
        assert_eq!((row.case.as_str(), number(&row, "accuracy")), ("", Some(1.0)));
        for name in ["mean_answer_ttft_ms", "mean_thinking_tokens", "mean_answer_tokens"] {
            assert_eq!(number(&row, name), None, "{name}");
        }
        assert!(number(&row, "mean_output_tokens").is_some());
    }
}

/// A template that opens the thinking itself, no parser, and no answer that comes
/// to the end of it: nothing shows that its first words are no answer.
#[tokio::test]
async fn thinking_that_was_cut_is_not_timed_as_an_answer() {
    let long = "and so on ".repeat(60);
    let some = |cut: fn(usize) -> bool| {
        let mut script = Vec::new();
        for (number, puzzle) in puzzles().iter().enumerate() {
            let content = if cut(number) { long.clone() } else { "ANSWER: none".to_owned() };
            script.push(json!({"when": puzzle.prompt, "content": content}));
        }
        Value::from(script)
    };
    let options = json!({"kinds": "logic", "max-tokens": 64});
    let rows = solve("--sim-speed 1000", Some(some(|_| true)), options.clone()).await;
    for name in ["mean_answer_ttft_ms", "mean_thinking_tokens", "mean_answer_tokens"] {
        assert_eq!(number(&rows[0], name), None, "{name}");
    }
    assert!(number(&rows[0], "mean_ttft_ms").is_some());
    // The others of a repeat are timed: a whole answer without a mark is all answer.
    let rows = solve("--sim-speed 1000", Some(some(|number| number == 3)), options).await;
    assert_eq!(number(&rows[0], "truncated"), Some(1.0));
    assert!(number(&rows[0], "mean_answer_ttft_ms").is_some());
}

#[tokio::test]
async fn random_words_solve_nothing() {
    for row in solve(PARSER, None, json!({"max-tokens": 4000})).await {
        assert_eq!((row.status, number(&row, "accuracy")), (Status::Ok, Some(0.0)));
        assert!(number(&row, "mean_thinking_tokens").expect("reported") > 0.0);
    }
}

#[tokio::test]
async fn a_warm_up_asks_once() {
    for (name, options) in [
        ("reasoning", json!({"kinds": "logic", "instances": 3, "max-tokens": 64})),
        ("tool-calling", json!({"scenarios": "single", "instances": 3, "max-tokens": 64})),
    ] {
        let parsers = "--enable-auto-tool-choice --tool-call-parser hermes --sim-speed 1000";
        let simulated = Simulated::start(parsers).await;
        let rows = measure(&simulated.server, &workload(name, &options)).await.measurements;
        let asked: Vec<_> = rows.iter().map(|row| number(row, "asked")).collect();
        assert_eq!(asked, [Some(1.0), Some(3.0)], "{name}");
    }
}

#[tokio::test]
async fn a_context_without_room_for_an_answer_is_skipped() {
    let simulated = Simulated::start("--sim-speed 1000 --max-model-len 600").await;
    let measured = measure(&simulated.server, &workload("reasoning", &json!({}))).await;
    measured.ended.expect("a living server");
    assert!(measured.measurements.iter().all(|row| row.status == Status::Skipped));
    assert!(measured.records.is_empty(), "nothing was sent");
}
