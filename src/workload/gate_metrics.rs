//! The figures of the gates, which are no workloads: one value for each launch that went
//! through the gate, in columns of the results. No objective and no bound is made of them. How
//! they come about is in `gate`.

use crate::metric::{Direction, Metric};

const ANSWERS: &str = "the gate's answers";

const fn function(name: &'static str, definition: &'static str) -> Metric {
    Metric::new("function", name, "share", Direction::Higher, definition, ANSWERS)
}

/// The figures of gates.
pub const GATE_METRICS: &[Metric] = &[
    Metric::new(
        "canary",
        "right",
        "share",
        Direction::Higher,
        "Share of the canary's answers that are right, of those where that can be told (language, number, order, keys). Reported: nobody fails for it.",
        ANSWERS,
    ),
    Metric::new(
        "canary",
        "repeated_4grams",
        "share",
        Direction::Lower,
        "The largest share of repeated sequences of four words of an answer of the canary, of the whole text or of its last 128 words.",
        ANSWERS,
    ),
    Metric::new(
        "canary",
        "answers",
        "1",
        Direction::Neutral,
        "Answers of the canary that were judged.",
        ANSWERS,
    ),
    Metric::new(
        "survival",
        "prefill_throughput",
        "tokens/s",
        Direction::Higher,
        "Tokens of a long prompt over the time to its first token, of the second pass; one column for each length: `survival.prefill_throughput[prompt-tokens=30000]`.",
        "client clock and usage",
    ),
    function("streaming_usage", "Share of the tries whose stream ended with counts of tokens."),
    function("json_schema", "Share of the tries whose answer is JSON by the schema."),
    function("tool_call", "Share of the tries that called the tool with arguments that are JSON."),
    function("thinking_off", "Share of the tries without thinking where it was switched off."),
    function(
        "thinking_kept",
        "Share of the tries with thinking apart from the answer in a second turn, too.",
    ),
    function("picture", "Share of the tries that named the colours of a picture."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::canary::{ANSWERS, REPEATED_4GRAMS, RIGHT};
    use crate::gate::function::Check;

    #[test]
    fn the_figures_that_gates_report_are_listed() {
        let names: Vec<String> =
            GATE_METRICS.iter().map(|it| format!("{}.{}", it.workload, it.name)).collect();
        for name in [RIGHT, REPEATED_4GRAMS, ANSWERS, "survival.prefill_throughput"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        for check in Check::ALL {
            let name = format!("function.{}", check.as_str().replace('-', "_"));
            assert!(names.contains(&name), "{name}");
        }
        assert_eq!(names.len(), 4 + Check::ALL.len());
    }
}
