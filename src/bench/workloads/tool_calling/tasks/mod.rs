//! Tasks of the workload `tool-calling`: made from a seed, with the calls that
//! are right and what the tools return. Text and values alone; how they are
//! asked is in the workload, how answers are compared with them in `score`.

mod scenarios;
pub(crate) mod score;
mod tools;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::bench::prompt::generate::derive;
use crate::workload::Scenario;

/// A task of one or several turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What the user wants.
    pub prompt: String,
    /// The tools on offer, as in a request.
    pub tools: Vec<Value>,
    /// `tool_choice` of the requests.
    pub choice: Value,
    /// What is right, turn by turn.
    pub steps: Vec<Step>,
}

/// What is right in one turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// These calls and no other, in any order, and what each returns.
    Calls(Vec<(Call, Value)>),
    /// No call: a text, which contains this identifier and no other of its form; any
    /// text where it is empty.
    Text(String),
}

/// A call with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: Value,
}

impl Task {
    /// One turn with tools that the model may use.
    fn auto(prompt: String, tools: Vec<Value>, step: Step) -> Self {
        Self { prompt, tools, choice: json!("auto"), steps: vec![step] }
    }
}

/// The task that a seed makes; `needs_call` selects the half of `balanced`.
fn task(scenario: Scenario, seed: u64, needs_call: bool) -> Task {
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    match scenario {
        Scenario::Single => scenarios::single(random),
        Scenario::Chain => scenarios::chain(random),
        Scenario::Nested => scenarios::nested(random),
        Scenario::Parallel => scenarios::parallel(random),
        Scenario::Balanced if needs_call => scenarios::single(random),
        Scenario::Balanced => scenarios::unwanted(random),
        Scenario::Required => scenarios::required(random),
        Scenario::Named => scenarios::named(random),
    }
}

/// The tasks of one repeat: the same for every configuration and launch. In
/// `balanced` every other one needs a call, and their number is even.
pub fn of_repeat(scenario: Scenario, seed: u64, repeat: &str, count: u64) -> Vec<Task> {
    let count = if scenario == Scenario::Balanced { count.next_multiple_of(2) } else { count };
    let seed = seed.to_string();
    let one = |number: u64| {
        let place = number.to_string();
        let seed = derive(&[&seed, repeat, "tool-calling", scenario.as_str(), &place]);
        task(scenario, seed, number.is_multiple_of(2))
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::score::{Judged, judge};
    use super::*;
    use crate::client::Answer;
    use crate::client::ToolCall;

    fn answer(step: &Step) -> Answer {
        match step {
            Step::Text(text) => Answer { content: format!("Well: {text}."), ..Answer::default() },
            Step::Calls(calls) => {
                let made = |(call, _): &(Call, Value)| ToolCall {
                    id: "x".to_owned(),
                    name: call.name.to_owned(),
                    arguments: call.arguments.to_string(),
                };
                Answer { tool_calls: calls.iter().map(made).collect(), ..Answer::default() }
            }
        }
    }

    #[test]
    fn what_is_expected_keeps_the_schema_and_is_right() {
        for scenario in Scenario::ALL {
            for task in of_repeat(scenario, 7, "1", 20) {
                assert_eq!(task.steps.len() as u64, scenario.turns());
                for step in &task.steps {
                    let Judged { is_right, made, valid, right, .. } =
                        judge(step, &task.tools, &answer(step), false);
                    assert!(is_right, "{scenario}: {task:?}");
                    assert_eq!((made, made), (valid, right), "{scenario}: {task:?}");
                }
            }
        }
    }

    #[test]
    fn every_value_that_is_expected_can_be_read_in_the_task() {
        fn leaves(value: &Value) -> Vec<String> {
            match value {
                Value::Object(members) => members.values().flat_map(leaves).collect(),
                Value::Array(items) => items.iter().flat_map(leaves).collect(),
                Value::String(text) => vec![text.replace('T', " ")],
                other => vec![other.to_string()],
            }
        }
        for scenario in Scenario::ALL {
            for task in of_repeat(scenario, 7, "1", 20) {
                let mut shown = task.prompt.replace('T', " ");
                for step in &task.steps {
                    match step {
                        Step::Calls(calls) => {
                            for (call, result) in calls {
                                for leaf in leaves(&call.arguments) {
                                    assert!(shown.contains(&leaf), "{leaf} in {shown}");
                                }
                                shown += &result.to_string();
                            }
                        }
                        Step::Text(text) => {
                            assert!(text.is_empty() || shown.contains(text), "{text} in {shown}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn halves_of_balanced_are_as_many() {
        let tasks = of_repeat(Scenario::Balanced, 1, "1", 5);
        let wanted = tasks.iter().filter(|task| matches!(task.steps[0], Step::Calls(_))).count();
        assert_eq!((tasks.len(), wanted), (6, 3));
        assert_eq!(tasks, of_repeat(Scenario::Balanced, 1, "1", 5));
        assert_ne!(tasks, of_repeat(Scenario::Balanced, 1, "2", 5));
    }
}
