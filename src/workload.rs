//! Workloads: what is measured, as a specification. Options with their
//! defaults and bounds, the cases that they make, and the metrics that they
//! yield. How a workload is run is in [`crate::bench`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::metric::{Direction, Metric};

/// A kind of workload: its names, options and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The grid's spelling (`kv-cache`).
    pub name: &'static str,
    /// The column spelling (`kv_cache`).
    pub key: &'static str,
    /// What it measures, in one sentence.
    pub about: &'static str,
    /// Its options.
    pub options: &'static [OptionSpec],
    /// Its metrics.
    pub metrics: &'static [Metric],
    /// Requests in flight at once; 1 for a closed loop of one.
    pub concurrency: Concurrency,
}

/// How many requests a workload keeps in flight: what flags can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// One request at a time: scheduler, memory and sequence limits are inert.
    One,
    /// Several requests at once.
    Many,
}

/// One option of a workload, as the grid and `--set` spell it.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Kebab-case name; `_` is accepted for `-`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// What it does, with the unit and the default.
    pub help: &'static str,
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionKind {
    /// A whole number within bounds.
    Count {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// One or several whole numbers within bounds; each makes a case.
    Counts {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
}

/// A fault in a workload's options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OptionFault {
    /// The option, or the workload's name where the workload is unknown.
    pub key: String,
    /// What is wrong, with the nearest known name where there is one.
    pub message: String,
}

/// Every kind of workload.
pub const KINDS: &[Kind] = &[Kind {
    name: "kv-cache",
    key: "kv_cache",
    about: "Time to first token of a long prefix: sent for the first time, sent again, and unrelated.",
    options: KV_CACHE_OPTIONS,
    metrics: KV_CACHE_METRICS,
    concurrency: Concurrency::One,
}];

/// A workload with its options filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "workload", rename_all = "kebab-case")]
pub enum Workload {
    /// `kv-cache`.
    KvCache(KvCache),
}

/// Options of `kv-cache`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvCache {
    /// Prefix lengths in tokens as the server counts them; each is a case.
    pub prefix_tokens: Vec<u64>,
    /// Prompts per repeat; the repeat's value is their median.
    pub prompts: u64,
    /// Tokens generated per request.
    pub output_tokens: u64,
    /// Kept repeats per launch; `None`: the strategy's.
    pub repeats: Option<u64>,
    /// Discarded repeats per launch.
    pub warmup: u64,
}

impl Default for KvCache {
    fn default() -> Self {
        Self { prefix_tokens: vec![4096], prompts: 4, output_tokens: 16, repeats: None, warmup: 1 }
    }
}

const KV_CACHE_OPTIONS: &[OptionSpec] = &[
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
    REPEATS,
    WARMUP,
];

const REPEATS: OptionSpec = OptionSpec {
    name: "repeats",
    kind: OptionKind::Count { min: 1, max: 10_000 },
    help: "kept repeats per launch (default: the strategy's)",
};

const WARMUP: OptionSpec = OptionSpec {
    name: "warmup",
    kind: OptionKind::Count { min: 0, max: 100 },
    help: "discarded repeats per launch (default 1)",
};

const fn kv_cache(
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
    source: &'static str,
) -> Metric {
    Metric { workload: "kv_cache", name, unit, direction, definition, source }
}

const KV_CACHE_METRICS: &[Metric] = &[
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

impl Workload {
    /// Builds a workload from options as a grid or `--set` gives them.
    ///
    /// # Errors
    /// Every fault of the options, in one pass.
    pub fn from_options(
        name: &str,
        options: &Map<String, Value>,
    ) -> Result<Self, Vec<OptionFault>> {
        let name = name.replace('_', "-");
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let hint = nearest(&name, &known).map_or_else(
                || format!("known workloads: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("unknown workload `{name}`; {hint}");
            return Err(vec![OptionFault { key: name, message }]);
        };
        let mut faults = Vec::new();
        let mut given: Vec<(&'static str, Vec<u64>)> = Vec::new();
        for (key, value) in options {
            match read_option(kind, key, value) {
                Ok(pair) if given.iter().any(|(known, _)| *known == pair.0) => {
                    faults.push(OptionFault {
                        key: key.clone(),
                        message: format!("option `{}` is given twice", pair.0),
                    })
                }
                Ok(pair) => given.push(pair),
                Err(message) => faults.push(OptionFault { key: key.clone(), message }),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let list = |name: &str| given.iter().find(|(key, _)| *key == name).map(|(_, v)| v.clone());
        let one = |name: &str| list(name).and_then(|values| values.first().copied());
        let default = KvCache::default();
        Ok(Self::KvCache(KvCache {
            prefix_tokens: list("prefix-tokens").unwrap_or(default.prefix_tokens),
            prompts: one("prompts").unwrap_or(default.prompts),
            output_tokens: one("output-tokens").unwrap_or(default.output_tokens),
            repeats: one("repeats"),
            warmup: one("warmup").unwrap_or(default.warmup),
        }))
    }

    /// Its kind: names, options, metrics.
    pub fn kind(&self) -> &'static Kind {
        match self {
            Self::KvCache(_) => &KINDS[0],
        }
    }

    /// Its cases as text; one empty text where there is one only.
    pub fn cases(&self) -> Vec<String> {
        match self {
            Self::KvCache(spec) if spec.prefix_tokens.len() == 1 => vec![String::new()],
            Self::KvCache(spec) => {
                spec.prefix_tokens.iter().map(|tokens| format!("prefix={tokens}")).collect()
            }
        }
    }

    /// Kept repeats per launch, where the workload overrides the strategy.
    pub fn repeats(&self) -> Option<u64> {
        match self {
            Self::KvCache(spec) => spec.repeats,
        }
    }

    /// Discarded repeats per launch.
    pub fn warmup(&self) -> u64 {
        match self {
            Self::KvCache(spec) => spec.warmup,
        }
    }
}

fn read_option(kind: &Kind, key: &str, value: &Value) -> Result<(&'static str, Vec<u64>), String> {
    let name = key.replace('_', "-");
    let Some(spec) = kind.options.iter().find(|spec| spec.name == name) else {
        let known: Vec<&str> = kind.options.iter().map(|spec| spec.name).collect();
        let hint = nearest(&name, &known).map_or_else(
            || format!("known options: {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(format!("unknown option `{key}` of workload `{}`; {hint}", kind.name));
    };
    let (min, max, several) = match spec.kind {
        OptionKind::Count { min, max } => (min, max, false),
        OptionKind::Counts { min, max } => (min, max, true),
    };
    let items: Vec<&Value> = match value {
        Value::Array(items) if several && !items.is_empty() => items.iter().collect(),
        Value::Array(_) if several => {
            return Err(format!("option `{}` is an empty list", spec.name));
        }
        other => vec![other],
    };
    let mut numbers = Vec::new();
    for item in items {
        let number =
            item.as_u64().filter(|number| (min..=max).contains(number)).ok_or_else(|| {
                format!(
                    "option `{}` must be a whole number from {min} to {max}, not `{item}`",
                    spec.name
                )
            })?;
        if numbers.contains(&number) {
            return Err(format!("option `{}` lists {number} twice", spec.name));
        }
        numbers.push(number);
    }
    Ok((spec.name, numbers))
}

/// The nearest of `known` to `word`, when it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
