//! `conversation`: long conversations whose history grows from turn to turn.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cost::Work;
use super::options::{OptionKind, OptionSpec, Options};
use super::specification::{Absence, Specification};
use super::{Concurrency, Dataset, Kind, OptionError, Spec};
use crate::metric::{Direction, Metric};

/// The kind `conversation`.
pub(super) const KIND: Kind = Kind {
    name: "conversation",
    key: "conversation",
    about: "Long conversations, one turn after another: how the time to first token grows with the history.",
    options: OPTIONS,
    metrics: METRICS,
    concurrency: Concurrency::One,
    read: |options| Spec::Conversation(Conversation::read(options)),
};

/// Options of `conversation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Conversations per repeat, one after another.
    pub conversations: u64,
    /// Turns of each.
    pub turns: u64,
    /// Tokens of each message of the user, as the server counts them.
    pub turn_tokens: u64,
    /// Tokens generated in each turn.
    pub output_tokens: u64,
    /// Let the model think. Thinking does not become history.
    pub thinking: bool,
    /// A file with what the users say, in place of texts of `turn_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
}

impl Default for Conversation {
    fn default() -> Self {
        Self {
            conversations: 2,
            turns: 15,
            turn_tokens: 120,
            output_tokens: 100,
            thinking: false,
            dataset: None,
        }
    }
}

impl Conversation {
    fn read(options: &Options) -> Self {
        let default = Self::default();
        Self {
            conversations: options.count("conversations").unwrap_or(default.conversations),
            turns: options.count("turns").unwrap_or(default.turns),
            turn_tokens: options.count("turn-tokens").unwrap_or(default.turn_tokens),
            output_tokens: options.count("output-tokens").unwrap_or(default.output_tokens),
            thinking: options.switch("thinking").unwrap_or(default.thinking),
            dataset: options.text("dataset").map(PathBuf::from),
        }
    }

    /// About the longest context, in tokens: the last prompt and its answer, with what
    /// the template puts around the messages.
    pub fn longest(&self) -> u64 {
        let texts = self.turns.saturating_mul(self.turn_tokens + self.output_tokens);
        texts.saturating_add(self.around())
    }

    /// Tokens of it that are no message's text: about.
    pub(crate) fn around(&self) -> u64 {
        super::around(self.turns.saturating_mul(2))
    }
}

impl Specification for Conversation {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn dataset(&self) -> Option<&Path> {
        self.dataset.as_deref()
    }

    fn contradictions(&self, options: &Options) -> Vec<OptionError> {
        options.idle_with_dataset(&["turn-tokens"])
    }

    /// On average half of the longest context is history.
    fn cost(&self, dataset: Option<&Dataset>, _is_warmup: bool) -> Vec<Work> {
        let longest = dataset.map_or(self.longest(), |dataset| {
            dataset.conversation_tokens(self.turns) + self.turns * self.output_tokens
        });
        vec![Work::alone(self.conversations * self.turns, longest / 2, self.output_tokens)]
    }

    fn unmeasurable(&self, _case: Option<&str>, metric: &str) -> Option<Absence> {
        // A line with an intercept for each conversation, and a value left for its error.
        let is_exact = self.conversations == 1 && self.turns == 2;
        (metric.starts_with("ttft_slope") && is_exact).then(|| {
            let why = "a line through the two turns of one conversation has no error";
            Absence::certain(why, "set `turns` to 3 or more")
        })
    }

    fn context_needed(&self, _case: &str) -> Option<u64> {
        self.dataset.is_none().then(|| self.longest())
    }

    fn is_of_cache(&self, metric: &str) -> bool {
        ["cache_share", "cache_share_last"].contains(&metric)
    }
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "conversations",
        kind: OptionKind::Count { min: 1, max: 1000 },
        help: "conversations per repeat, one after another (default 2)",
    },
    OptionSpec {
        name: "turns",
        kind: OptionKind::Count { min: 2, max: 1000 },
        help: "turns of each conversation (default 15)",
    },
    OptionSpec {
        name: "turn-tokens",
        kind: OptionKind::Count { min: 16, max: 100_000 },
        help: "tokens of each message of the user, as the server counts them (default 120)",
    },
    OptionSpec {
        name: "output-tokens",
        kind: OptionKind::Count { min: 2, max: 100_000 },
        help: "tokens generated in each turn (default 100)",
    },
    OptionSpec {
        name: "thinking",
        kind: OptionKind::Switch,
        help: "let the model think; thinking does not become history (default false)",
    },
    OptionSpec {
        name: "dataset",
        kind: OptionKind::Text,
        help: "file with what the users say, in place of texts of turn-tokens: ShareGPT-like JSON, or JSON lines with messages; conversations of at least `turns` turns count, the answers are the server's own; relative to the grid's file, or to the working directory of `bench` (default: none)",
    },
];

const fn conversation(
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
    source: &'static str,
) -> Metric {
    Metric::new("conversation", name, unit, direction, definition, source)
}

const CLOCK: &str = "client clock";

const METRICS: &[Metric] = &[
    conversation(
        "mean_ttft_ms",
        "ms",
        Direction::Lower,
        "Mean time to first token over all turns of all conversations.",
        CLOCK,
    ),
    conversation(
        "median_ttft_ms",
        "ms",
        Direction::Lower,
        "Median time to first token over all turns of all conversations.",
        CLOCK,
    ),
    conversation(
        "ttft_first_ms",
        "ms",
        Direction::Lower,
        "Mean time to first token of the first turn.",
        CLOCK,
    ),
    conversation(
        "ttft_last_ms",
        "ms",
        Direction::Lower,
        "Mean time to first token of the last turn.",
        CLOCK,
    ),
    conversation(
        "ttft_slope_ms_per_turn",
        "ms/turn",
        Direction::Neutral,
        "Growth of the time to first token per turn: least squares, an intercept per conversation. A slow first turn makes it small, which is no merit.",
        CLOCK,
    ),
    conversation(
        "ttft_slope_low",
        "ms/turn",
        Direction::Neutral,
        "Lower end of the 95% t interval of ttft_slope_ms_per_turn.",
        CLOCK,
    ),
    conversation(
        "ttft_slope_high",
        "ms/turn",
        Direction::Neutral,
        "Upper end of the 95% t interval of ttft_slope_ms_per_turn.",
        CLOCK,
    ),
    conversation(
        "mean_tpot_ms",
        "ms",
        Direction::Lower,
        "Mean time per output token after the first, over all turns.",
        "client clock and usage",
    ),
    conversation(
        "cache_share",
        "share",
        Direction::Higher,
        "Prompt tokens of the turns after the first that came from the prefix cache; absent unless the counters certify it.",
        "/metrics",
    ),
    conversation(
        "cache_share_last",
        "share",
        Direction::Higher,
        "The same for the last turn alone.",
        "/metrics",
    ),
    conversation(
        "cache_state",
        "text",
        Direction::Neutral,
        "certified, not_applicable (prefix caching off), or unknown (no counters).",
        "/metrics",
    ),
    conversation(
        "prompt_tokens_first",
        "tokens",
        Direction::Neutral,
        "Mean prompt length of the first turn as the server counts it.",
        "usage",
    ),
    conversation(
        "prompt_tokens_last",
        "tokens",
        Direction::Neutral,
        "Mean prompt length of the last turn as the server counts it.",
        "usage",
    ),
    conversation(
        "ttft_by_turn_ms",
        "ms[]",
        Direction::Lower,
        "Mean time to first token of each turn over the conversations: a list in the order of the turns.",
        CLOCK,
    ),
    conversation(
        "tpot_by_turn_ms",
        "ms[]",
        Direction::Lower,
        "The same of the time per output token after the first.",
        "client clock and usage",
    ),
    conversation(
        "cache_share_by_turn",
        "share[]",
        Direction::Higher,
        "Prompt tokens of each turn that came from the prefix cache, as a list of shares; null where the counters do not certify it.",
        "/metrics",
    ),
    conversation(
        "prompt_tokens_by_turn",
        "tokens[]",
        Direction::Neutral,
        "Mean prompt length of each turn as the server counts it: a list.",
        "usage",
    ),
    conversation("turns", "1", Direction::Neutral, "Turns that were answered.", "client"),
    conversation("requests", "1", Direction::Neutral, "Requests of the repeat.", "client"),
    conversation("failed", "1", Direction::Lower, "Requests of the repeat that failed.", "client"),
];
