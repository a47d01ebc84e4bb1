//! `reasoning`: puzzles with one right answer each, solved with or without
//! thinking, scored by a machine.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cost::Work;
use super::options::{OptionKind, OptionSpec, Options};
use super::specification::Specification;
use super::{Concurrency, Dataset, Kind, Spec};
use crate::metric::{Counted, Direction, Metric, Scale};

/// The kind `reasoning`.
pub(super) const KIND: Kind = Kind {
    name: "reasoning",
    key: "reasoning",
    about: "Puzzles of planning, logic and code review with one right answer each: how many are solved, and how fast.",
    options: OPTIONS,
    metrics: METRICS,
    concurrency: Concurrency::One,
    read: |options| Spec::Reasoning(Reasoning::read(options)),
};

/// What a puzzle is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasoningKind {
    /// Jobs under rules that one order keeps.
    Planning,
    /// Knights and knaves.
    Logic,
    /// The line of a function that does not follow its rules.
    CodeReview,
}

impl ReasoningKind {
    /// Every kind, in the order of the user's plan.
    pub const ALL: [Self; 3] = [Self::Planning, Self::Logic, Self::CodeReview];

    /// The word in options and cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Logic => "logic",
            Self::CodeReview => "code-review",
        }
    }
}

impl fmt::Display for ReasoningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Options of `reasoning`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reasoning {
    /// Kinds of puzzles; each is a case.
    pub kinds: Vec<ReasoningKind>,
    /// Puzzles per repeat and kind.
    pub instances: u64,
    /// Tokens of an answer at most, thinking included; what is cut there is wrong.
    pub max_tokens: u64,
    /// Whether the model is asked to think or not to; `None`: the server's default.
    pub thinking: Option<bool>,
    /// Sampling temperature; `None`: the server's default.
    pub temperature: Option<f64>,
}

impl Default for Reasoning {
    fn default() -> Self {
        Self {
            kinds: ReasoningKind::ALL.to_vec(),
            instances: 4,
            max_tokens: 8192,
            thinking: None,
            temperature: None,
        }
    }
}

impl Reasoning {
    fn read(options: &Options) -> Self {
        let default = Self::default();
        let kinds = options.texts("kinds").map(|words| {
            let known = ReasoningKind::ALL.into_iter();
            known.filter(|kind| words.iter().any(|word| word == kind.as_str())).collect()
        });
        Self {
            kinds: kinds.unwrap_or(default.kinds),
            instances: options.count("instances").unwrap_or(default.instances),
            max_tokens: options.count("max-tokens").unwrap_or(default.max_tokens),
            thinking: options.switch("thinking"),
            temperature: options.number("temperature"),
        }
    }

    /// The kind of a case.
    pub(crate) fn kind_of(&self, case: &str) -> Option<ReasoningKind> {
        let index = self.cases().iter().position(|known| known == case)?;
        self.kinds.get(index).copied()
    }
}

/// Tokens of a puzzle with its rules, about.
const PUZZLE: u64 = 400;

impl Specification for Reasoning {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn cases(&self) -> Vec<String> {
        super::cases("kind", &self.kinds)
    }

    fn cost(&self, _dataset: Option<&Dataset>, is_warmup: bool) -> Vec<Work> {
        let puzzles = if is_warmup { 1 } else { self.instances };
        vec![Work::alone(puzzles, PUZZLE, self.max_tokens / 2); self.kinds.len()]
    }

    fn assumption(&self) -> Option<&'static str> {
        Some("half")
    }
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "kinds",
        kind: OptionKind::Words(&["planning", "logic", "code-review"]),
        help: "kinds of puzzles, a case each (default [planning, logic, code-review], which is all)",
    },
    OptionSpec {
        name: "instances",
        kind: OptionKind::Count { min: 1, max: 1000 },
        help: "puzzles per repeat and kind (default 4)",
    },
    OptionSpec {
        name: "max-tokens",
        kind: OptionKind::Count { min: 16, max: 1_000_000 },
        help: "tokens of an answer at most, thinking included, as far as the context allows; what is cut there is wrong (default 8192)",
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

const fn reasoning(
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
    source: &'static str,
) -> Metric {
    Metric::new("reasoning", name, unit, direction, definition, source)
}

const CLOCK: &str = "client clock";

/// Every launch asks the same.
const ASKED: Scale = Scale::Share(Counted { of: &["asked"], asked_again: true });

const METRICS: &[Metric] = &[
    reasoning(
        "accuracy",
        "share",
        Direction::Higher,
        "Puzzles answered rightly, as a share of those asked; an answer that was cut off is wrong.",
        "answers",
    )
    .on(ASKED),
    reasoning("correct", "1", Direction::Higher, "Puzzles answered rightly.", "answers"),
    reasoning("asked", "1", Direction::Neutral, "Puzzles asked.", "client"),
    reasoning(
        "truncated",
        "1",
        Direction::Lower,
        "Answers that did not end by themselves (finish_reason length or none, or as many tokens as were allowed); they count as wrong.",
        "finish_reason and usage",
    ),
    reasoning(
        "mean_ttft_ms",
        "ms",
        Direction::Lower,
        "Mean time to the first token of any kind, thinking included.",
        CLOCK,
    ),
    reasoning(
        "mean_answer_ttft_ms",
        "ms",
        Direction::Lower,
        "Mean time to the first token of the answer, after the thinking; absent where thinking is not distinguishable. An answer that was cut, and may be all thinking, is left out.",
        CLOCK,
    ),
    reasoning(
        "mean_e2el_ms",
        "ms",
        Direction::Lower,
        "Mean time from the send to the last token.",
        CLOCK,
    ),
    reasoning(
        "mean_tpot_ms",
        "ms",
        Direction::Lower,
        "Mean time per output token after the first.",
        "client clock and usage",
    ),
    reasoning(
        "mean_thinking_tokens",
        "tokens",
        Direction::Neutral,
        "Mean tokens of thinking; absent where the server does not report them.",
        "usage",
    ),
    reasoning(
        "mean_answer_tokens",
        "tokens",
        Direction::Neutral,
        "Mean tokens after the thinking; absent where the server does not report them.",
        "usage",
    ),
    reasoning(
        "mean_output_tokens",
        "tokens",
        Direction::Neutral,
        "Mean tokens generated, thinking included.",
        "usage",
    ),
    reasoning("requests", "1", Direction::Neutral, "Requests of the repeat.", "client"),
    reasoning("failed", "1", Direction::Lower, "Requests of the repeat that failed.", "client"),
];
