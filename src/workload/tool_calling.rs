//! `tool-calling`: tools on offer, calls scored by schema and by value.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cost::Work;
use super::options::{OptionKind, OptionSpec, Options};
use super::specification::Specification;
use super::{Concurrency, Dataset, Kind, Spec};
use crate::metric::{Counted, Direction, Metric, Scale};

/// The kind `tool-calling`.
pub(super) const KIND: Kind = Kind {
    name: "tool-calling",
    key: "tool_calling",
    about: "Tool calls: single, chained, nested, parallel, wanted or not, demanded; scored by schema and by value.",
    options: OPTIONS,
    metrics: METRICS,
    concurrency: Concurrency::One,
    read: |options| Spec::ToolCalling(ToolCalling::read(options)),
};

/// What a task asks of the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// One call.
    Single,
    /// Calls over several turns, each with what the last one returned.
    Chain,
    /// One call with objects and lists inside its arguments.
    Nested,
    /// Several calls in one answer.
    Parallel,
    /// Half of the tasks need a call, half must be answered without one.
    Balanced,
    /// `tool_choice: required`.
    Required,
    /// `tool_choice` names the function.
    Named,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 7] = [
        Self::Single,
        Self::Chain,
        Self::Nested,
        Self::Parallel,
        Self::Balanced,
        Self::Required,
        Self::Named,
    ];

    /// The word in options and cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Chain => "chain",
            Self::Nested => "nested",
            Self::Parallel => "parallel",
            Self::Balanced => "balanced",
            Self::Required => "required",
            Self::Named => "named",
        }
    }

    /// Requests of one task at most.
    pub fn turns(self) -> u64 {
        if self == Self::Chain { 4 } else { 1 }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Options of `tool-calling`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCalling {
    /// Scenarios; each is a case.
    pub scenarios: Vec<Scenario>,
    /// Tasks per repeat and scenario.
    pub instances: u64,
    /// Tokens of an answer at most, thinking included; what is cut there is wrong.
    pub max_tokens: u64,
    /// Whether the model is asked to think or not to; `None`: the server's default.
    pub thinking: Option<bool>,
    /// Sampling temperature; `None`: the server's default.
    pub temperature: Option<f64>,
}

impl Default for ToolCalling {
    fn default() -> Self {
        Self {
            scenarios: Scenario::ALL.to_vec(),
            instances: 4,
            max_tokens: 4096,
            thinking: None,
            temperature: None,
        }
    }
}

impl ToolCalling {
    fn read(options: &Options) -> Self {
        let default = Self::default();
        let scenarios = options.texts("scenarios").map(|words| {
            let known = Scenario::ALL.into_iter();
            known.filter(|one| words.iter().any(|word| word == one.as_str())).collect()
        });
        Self {
            scenarios: scenarios.unwrap_or(default.scenarios),
            instances: options.count("instances").unwrap_or(default.instances),
            max_tokens: options.count("max-tokens").unwrap_or(default.max_tokens),
            thinking: options.switch("thinking"),
            temperature: options.number("temperature"),
        }
    }

    /// The scenario of a case.
    pub(crate) fn scenario_of(&self, case: &str) -> Option<Scenario> {
        let index = self.cases().iter().position(|known| known == case)?;
        self.scenarios.get(index).copied()
    }
}

/// Tokens of a task with its tools, about.
const TASK: u64 = 700;

impl Specification for ToolCalling {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn cases(&self) -> Vec<String> {
        super::cases("scenario", &self.scenarios)
    }

    fn cost(&self, _dataset: Option<&Dataset>, is_warmup: bool) -> Vec<Work> {
        let tasks = if is_warmup { 1 } else { self.instances };
        let work =
            |scenario: &Scenario| Work::alone(scenario.turns() * tasks, TASK, self.max_tokens / 8);
        self.scenarios.iter().map(work).collect()
    }

    fn assumption(&self) -> Option<&'static str> {
        Some("an eighth")
    }
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "scenarios",
        kind: OptionKind::Words(&[
            "single", "chain", "nested", "parallel", "balanced", "required", "named",
        ]),
        help: "scenarios, a case each (default [single, chain, nested, parallel, balanced, required, named], which is all)",
    },
    OptionSpec {
        name: "instances",
        kind: OptionKind::Count { min: 1, max: 1000 },
        help: "tasks per repeat and scenario, an even number in `balanced` (default 4)",
    },
    OptionSpec {
        name: "max-tokens",
        kind: OptionKind::Count { min: 16, max: 1_000_000 },
        help: "tokens of an answer at most, thinking included, as far as the context allows; what is cut there is wrong (default 4096)",
    },
    OptionSpec {
        name: "thinking",
        kind: OptionKind::Switch,
        help: "ask the chat template to let the model think, or not to (default: the server's)",
    },
    OptionSpec {
        name: "temperature",
        kind: OptionKind::Number { min: 0.0, max: 2.0 },
        help: "sampling temperature (default: the server's)",
    },
];

const fn tool_calling(
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
    source: &'static str,
) -> Metric {
    Metric::new("tool_calling", name, unit, direction, definition, source)
}

const CLOCK: &str = "client clock";
const ANSWERS: &str = "answers";

/// Every launch asks the same.
const ASKED: Scale = Scale::Share(Counted { of: &["asked"], asked_again: true });

const METRICS: &[Metric] = &[
    tool_calling(
        "accuracy",
        "share",
        Direction::Higher,
        "Tasks done rightly from first to last turn, as a share of those asked: identifiers to the letter, the number that was asked for and no other, no call left unread in the text.",
        ANSWERS,
    )
    .on(ASKED),
    tool_calling("correct", "1", Direction::Higher, "Tasks done rightly.", ANSWERS),
    tool_calling("asked", "1", Direction::Neutral, "Tasks asked.", "client"),
    tool_calling(
        "truncated",
        "1",
        Direction::Lower,
        "Answers that did not end by themselves (finish_reason length or none, or as many tokens as were allowed); they count as wrong.",
        "finish_reason and usage",
    ),
    tool_calling(
        "calls_expected",
        "1",
        Direction::Neutral,
        "Calls that the turns asked for; turns behind a wrong one are not asked.",
        "client",
    ),
    tool_calling("calls_made", "1", Direction::Neutral, "Calls that the model made.", ANSWERS),
    tool_calling(
        "calls_valid",
        "1",
        Direction::Neutral,
        "Calls of a tool on offer whose arguments keep its JSON schema, also those that nobody expected: more of them is no merit.",
        ANSWERS,
    ),
    tool_calling(
        "calls_right",
        "1",
        Direction::Higher,
        "Calls that were expected, with the expected values.",
        ANSWERS,
    ),
    tool_calling(
        "mean_ttft_ms",
        "ms",
        Direction::Lower,
        "Mean time to the first token of any kind, thinking included.",
        CLOCK,
    ),
    tool_calling(
        "mean_e2el_ms",
        "ms",
        Direction::Lower,
        "Mean time from the send to the last token of an answer.",
        CLOCK,
    ),
    tool_calling(
        "mean_output_tokens",
        "tokens",
        Direction::Neutral,
        "Mean tokens generated per answer, thinking included.",
        "usage",
    ),
    tool_calling("requests", "1", Direction::Neutral, "Requests of the repeat.", "client"),
    tool_calling("failed", "1", Direction::Lower, "Requests of the repeat that failed.", "client"),
];
