//! `long-context`: a code hidden at several depths of a long text, to be repeated.

use serde::{Deserialize, Serialize};

use super::cost::Work;
use super::options::{OptionKind, OptionSpec, Options};
use super::specification::Specification;
use super::{Concurrency, Dataset, Kind, Spec};
use crate::metric::{Counted, Direction, Metric, Scale};

/// The kind `long-context`.
pub(super) const KIND: Kind = Kind {
    name: "long-context",
    key: "long_context",
    about: "Time to first token and correctness when a code is to be found in a long text.",
    options: OPTIONS,
    metrics: METRICS,
    concurrency: Concurrency::One,
    read: |options| Spec::LongContext(LongContext::read(options)),
};

/// Options of `long-context`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LongContext {
    /// Prompt lengths in tokens as the server counts them; each is a case.
    pub contexts: Vec<u64>,
    /// Where the needle lies, as a share of the text; one request each.
    pub depths: Vec<f64>,
    /// Tokens of an answer at most, thinking included; what is cut there is wrong.
    pub max_tokens: u64,
    /// Whether the model is asked to think or not to; `None`: the server's default.
    pub thinking: Option<bool>,
}

impl Default for LongContext {
    fn default() -> Self {
        Self {
            contexts: vec![10_000, 40_000, 100_000],
            depths: vec![0.1, 0.5, 0.9],
            max_tokens: 512,
            thinking: None,
        }
    }
}

impl LongContext {
    fn read(options: &Options) -> Self {
        let default = Self::default();
        Self {
            contexts: options.counts("contexts").unwrap_or(default.contexts),
            depths: options.numbers("depths").unwrap_or(default.depths),
            max_tokens: options.count("max-tokens").unwrap_or(default.max_tokens),
            thinking: options.switch("thinking"),
        }
    }

    /// The length of a case.
    pub(crate) fn context_of(&self, case: &str) -> Option<u64> {
        let index = self.cases().iter().position(|known| known == case)?;
        self.contexts.get(index).copied()
    }
}

impl Specification for LongContext {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn cases(&self) -> Vec<String> {
        super::cases("context", &self.contexts)
    }

    fn cost(&self, _dataset: Option<&Dataset>, is_warmup: bool) -> Vec<Work> {
        let depths = if is_warmup { 1 } else { self.depths.len() as u64 };
        let work = |tokens: &u64| Work::alone(depths, *tokens, self.max_tokens / 4);
        self.contexts.iter().map(work).collect()
    }

    /// An answer is a code: little of what it may be.
    fn assumption(&self) -> Option<&'static str> {
        Some("a quarter")
    }

    fn context_needed(&self, case: &str) -> Option<u64> {
        // Lengths are fitted: half a percent more than was asked for.
        let tokens = self.context_of(case)?;
        Some(tokens + (tokens / 200).max(8) + self.max_tokens)
    }

    fn shares_nothing(&self, _metric: &str) -> bool {
        true
    }
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "contexts",
        kind: OptionKind::Counts { min: 256, max: 10_000_000 },
        help: "prompt lengths in tokens, a case each; those that do not fit are skipped (default [10000, 40000, 100000])",
    },
    OptionSpec {
        name: "depths",
        kind: OptionKind::Numbers { min: 0.0, max: 1.0 },
        help: "where the needle lies, as shares of the text, one request each (default [0.1, 0.5, 0.9])",
    },
    OptionSpec {
        name: "max-tokens",
        kind: OptionKind::Count { min: 16, max: 1_000_000 },
        help: "tokens of an answer at most, thinking included; what is cut there is wrong (default 512)",
    },
    OptionSpec {
        name: "thinking",
        kind: OptionKind::Switch,
        help: "ask the chat template to let the model think, or not to (default: the server's)",
    },
];

const fn long_context(
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
    source: &'static str,
) -> Metric {
    Metric::new("long_context", name, unit, direction, definition, source)
}

const CLOCK: &str = "client clock";

/// Every launch asks the same.
const ASKED: Scale = Scale::Share(Counted { of: &["asked"], asked_again: true });

const METRICS: &[Metric] = &[
    long_context(
        "accuracy",
        "share",
        Direction::Higher,
        "Codes repeated rightly, as a share of those asked for; of several in an answer the last counts, and one that was cut off is wrong.",
        "answers",
    )
    .on(ASKED),
    long_context("correct", "1", Direction::Higher, "Codes repeated rightly.", "answers"),
    long_context("asked", "1", Direction::Neutral, "Codes asked for.", "client"),
    long_context(
        "truncated",
        "1",
        Direction::Lower,
        "Answers that did not end by themselves (finish_reason length or none, or as many tokens as were allowed); they count as wrong.",
        "finish_reason and usage",
    ),
    long_context(
        "median_ttft_ms",
        "ms",
        Direction::Lower,
        "Median time to the first token of any kind, of prompts never sent before.",
        CLOCK,
    ),
    long_context("max_ttft_ms", "ms", Direction::Lower, "Greatest of the same.", CLOCK),
    long_context(
        "median_e2el_ms",
        "ms",
        Direction::Lower,
        "Median time from the send to the last token.",
        CLOCK,
    ),
    long_context(
        "median_tpot_ms",
        "ms",
        Direction::Lower,
        "Median time per output token after the first.",
        "client clock and usage",
    ),
    long_context(
        "prefill_throughput",
        "tokens/s",
        Direction::Higher,
        "Median of prompt tokens over time to first token.",
        "client clock and usage",
    ),
    long_context(
        "prompt_tokens",
        "tokens",
        Direction::Neutral,
        "Median prompt length as the server counts it.",
        "usage",
    ),
    long_context("requests", "1", Direction::Neutral, "Requests of the repeat.", "client"),
    long_context("failed", "1", Direction::Lower, "Requests of the repeat that failed.", "client"),
];
