//! `kv-cache`: time to first token of a long prefix, sent for the first time,
//! sent again, and unrelated.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cost::Work;
use super::options::{OptionKind, OptionSpec, Options};
use super::specification::{Absence, Specification};
use super::{Concurrency, Dataset, Kind, Route, Spec, answers};
use crate::metric::{Direction, Metric};

/// The kind `kv-cache`.
pub(super) const KIND: Kind = Kind {
    name: "kv-cache",
    key: "kv_cache",
    about: "Time to first token of a long prefix: sent for the first time, sent again, and unrelated.",
    options: OPTIONS,
    metrics: METRICS,
    concurrency: Concurrency::One,
    read: |options| Spec::KvCache(KvCache::read(options)),
};

/// Options of `kv-cache`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvCache {
    /// Prefix lengths in tokens as the server counts them; each is a case.
    pub prefix_tokens: Vec<u64>,
    /// Prompts per repeat; the repeat's value is their median.
    pub prompts: u64,
    /// Tokens generated per request.
    pub output_tokens: u64,
    /// A file whose texts fill the prefixes, in place of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    /// Where its requests go.
    #[serde(default, skip_serializing_if = "Route::is_chat")]
    pub endpoint: Route,
}

impl Default for KvCache {
    fn default() -> Self {
        Self {
            prefix_tokens: vec![4096],
            prompts: 4,
            output_tokens: 16,
            dataset: None,
            endpoint: Route::Chat,
        }
    }
}

impl KvCache {
    fn read(options: &Options) -> Self {
        let default = Self::default();
        Self {
            prefix_tokens: options.counts("prefix-tokens").unwrap_or(default.prefix_tokens),
            prompts: options.count("prompts").unwrap_or(default.prompts),
            output_tokens: options.count("output-tokens").unwrap_or(default.output_tokens),
            dataset: options.text("dataset").map(PathBuf::from),
            endpoint: super::route::read(options),
        }
    }
}

impl Specification for KvCache {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn cases(&self) -> Vec<String> {
        super::cases("prefix", &self.prefix_tokens)
    }

    fn dataset(&self) -> Option<&Path> {
        self.dataset.as_deref()
    }

    /// A miss, the same again, and one unrelated, for each prompt.
    fn cost(&self, _dataset: Option<&Dataset>, _is_warmup: bool) -> Vec<Work> {
        let work = |tokens: &u64| Work::alone(self.prompts * 3, *tokens, self.output_tokens);
        self.prefix_tokens.iter().map(work).collect()
    }

    fn unmeasurable(&self, _case: Option<&str>, metric: &str) -> Option<Absence> {
        (metric == "tpot_ms" && self.output_tokens == 1)
            .then(Absence::of_one_token)
            .or_else(|| answers::unmeasurable(metric, self.output_tokens))
    }

    fn context_needed(&self, case: &str) -> Option<u64> {
        let index = self.cases().iter().position(|known| known == case)?;
        Some(self.prefix_tokens.get(index)? + self.output_tokens)
    }

    fn is_of_cache(&self, metric: &str) -> bool {
        ["ttft_hit_ms", "hit_tokens_share"].contains(&metric)
    }

    fn shares_nothing(&self, metric: &str) -> bool {
        ["ttft_miss_ms", "ttft_independent_ms"].contains(&metric)
    }
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "prefix-tokens",
        kind: OptionKind::Counts { min: 256, max: 1_000_000 },
        help: "prefix lengths in tokens, a case each (default [4096])",
    },
    OptionSpec {
        name: "prompts",
        kind: OptionKind::Count { min: 1, max: 1000 },
        help: "prompts per repeat; the repeat's value is their median (default 4)",
    },
    OptionSpec {
        name: "output-tokens",
        kind: OptionKind::Count { min: 1, max: 100_000 },
        help: "tokens generated per request (default 16)",
    },
    OptionSpec {
        name: "dataset",
        kind: OptionKind::Text,
        help: "file whose texts, put together, fill the prefixes: ShareGPT-like JSON, or JSON lines with prompt or messages; relative to the grid's file, or to the working directory of `bench` (default: none)",
    },
    super::route::OPTION,
];

const fn kv_cache(
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
    source: &'static str,
) -> Metric {
    Metric::new("kv_cache", name, unit, direction, definition, source)
}

const METRICS: &[Metric] = &[
    kv_cache(
        "ttft_miss_ms",
        "ms",
        Direction::Lower,
        "Median time to first token of prompts never sent before.",
        "client clock",
    ),
    kv_cache(
        "ttft_resent_ms",
        "ms",
        Direction::Lower,
        "Median time to first token of the same prompts sent again, cache or no cache: what caching is judged by.",
        "client clock",
    ),
    kv_cache(
        "ttft_hit_ms",
        "ms",
        Direction::Lower,
        "ttft_resent_ms where the server's counters certify the hits; absent otherwise.",
        "client clock and /metrics",
    ),
    kv_cache(
        "ttft_independent_ms",
        "ms",
        Direction::Lower,
        "Median time to first token of unrelated prompts of the same length, sent after the pairs.",
        "client clock",
    ),
    kv_cache(
        "tpot_ms",
        "ms",
        Direction::Lower,
        "Median time per output token after the first, over all requests of the repeat.",
        "client clock and usage",
    ),
    kv_cache(
        "hit_state",
        "text",
        Direction::Neutral,
        "certified, not_applicable (prefix caching off), void (on, but not certified), or unknown (no counters).",
        "/metrics",
    ),
    kv_cache(
        "hit_tokens_share",
        "share",
        Direction::Neutral,
        "Prompt tokens served from the prefix cache when resent, as a share of the expected ones.",
        "/metrics",
    ),
    kv_cache(
        "prompt_tokens",
        "tokens",
        Direction::Neutral,
        "Median prompt length as the server counts it.",
        "usage",
    ),
    kv_cache("requests", "1", Direction::Neutral, "Requests of the repeat.", "client"),
    kv_cache("failed", "1", Direction::Lower, "Requests of the repeat that failed.", "client"),
];
