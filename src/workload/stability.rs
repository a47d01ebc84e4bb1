//! `stability`: requests of mixed lengths for a number or for hours, in blocks of
//! the same mix, so that early and late compare like with like.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cost::Work;
use super::options::{OptionKind, OptionSpec, Options};
use super::specification::{Absence, Decided, Specification};
use super::{Concurrency, Dataset, Kind, Route, Spec, answers};
use crate::metric::{Counted, Direction, Metric, Scale};

/// The kind `stability`.
pub(super) const KIND: Kind = Kind {
    name: "stability",
    key: "stability",
    about: "Drift, failures and memory growth over requests of mixed lengths, one at a time.",
    options: OPTIONS,
    metrics: METRICS,
    concurrency: Concurrency::One,
    read: |options| Spec::Stability(Stability::read(options)),
};

/// Seconds that a repeat must have lasted before its figures per hour are given:
/// a line through less says nothing of an hour. The catalogue says ten minutes.
pub const MIN_OF_AN_HOUR: f64 = 600.0;

/// Seconds of an outage that are waited for: vLLM boots for minutes.
const MAX_OUTAGE: f64 = 600.0;

/// Options of `stability`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    /// Requests per repeat, rounded up to pairs of blocks of the whole mix.
    pub requests: u64,
    /// Seconds in which blocks are begun, in place of a number of requests.
    pub duration: Option<f64>,
    /// Seconds that the server may be down before the repeat ends, where somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_outage: Option<f64>,
    /// Prompt lengths of the mix, in tokens as the server counts them.
    pub prompt_tokens: Vec<u64>,
    /// Answer lengths of the mix: each goes with each prompt length.
    pub output_tokens: Vec<u64>,
    /// Where its requests go.
    #[serde(default, skip_serializing_if = "Route::is_chat")]
    pub endpoint: Route,
}

impl Default for Stability {
    fn default() -> Self {
        Self {
            requests: 20,
            duration: None,
            max_outage: None,
            prompt_tokens: vec![128, 512, 1024, 2048, 4096],
            output_tokens: vec![64, 256],
            endpoint: Route::Chat,
        }
    }
}

impl Stability {
    fn read(options: &Options) -> Self {
        let default = Self::default();
        Self {
            requests: options.count("requests").unwrap_or(default.requests),
            duration: options.number("duration"),
            max_outage: options.number("max-outage"),
            prompt_tokens: options.counts("prompt-tokens").unwrap_or(default.prompt_tokens),
            output_tokens: options.counts("output-tokens").unwrap_or(default.output_tokens),
            endpoint: super::route::read(options),
        }
    }

    /// How long the server may be down. What a sweep launched nobody starts again.
    pub fn patience(&self, in_sweep: bool) -> Duration {
        let seconds = self.max_outage.unwrap_or(if in_sweep { 0.0 } else { MAX_OUTAGE });
        Duration::from_secs_f64(seconds)
    }

    /// Requests of a repeat, where a number of them is asked for: pairs of blocks of the
    /// whole mix.
    pub fn sent(&self) -> Option<u64> {
        let pair = 2 * self.mix().len() as u64;
        self.duration.is_none().then(|| self.requests.div_ceil(pair) * pair)
    }

    /// Every length of a prompt with every length of an answer.
    pub fn mix(&self) -> Vec<(u64, u64)> {
        let with = |prompt: &u64| {
            let prompt = *prompt;
            self.output_tokens.iter().map(move |output| (prompt, *output))
        };
        self.prompt_tokens.iter().flat_map(with).collect()
    }
}

impl Specification for Stability {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn duration(&self) -> Option<f64> {
        self.duration
    }

    fn cost(&self, _dataset: Option<&Dataset>, is_warmup: bool) -> Vec<Work> {
        let mix = self.mix();
        let blocks = match self.duration {
            _ if is_warmup => 1,
            Some(_) => 2,
            None => 2 * self.requests.div_ceil(2 * mix.len() as u64),
        };
        let sum = |length: fn(&(u64, u64)) -> u64| mix.iter().map(length).sum::<u64>();
        vec![Work {
            prompts: blocks as f64 * sum(|(prompt, _)| *prompt) as f64,
            tokens: blocks as f64 * sum(|(_, output)| *output) as f64,
            scheduled: self.duration.filter(|_| !is_warmup).unwrap_or(0.0),
            readings: 1.0,
            ..Work::default()
        }]
    }

    fn unmeasurable(&self, _case: Option<&str>, metric: &str) -> Option<Absence> {
        let most = self.output_tokens.iter().max().copied().unwrap_or_default();
        (metric.contains("tpot_") && most == 1)
            .then(Absence::of_one_token)
            .or_else(|| answers::unmeasurable(metric, most))
    }

    fn decided(&self, _case: Option<&str>, metric: &str) -> Option<Decided> {
        (metric == "duration" && self.duration.is_some()).then(|| Decided {
            why: "`duration` is what the grid itself asks for".to_owned(),
            help: "take `median_e2el_ms`".to_owned(),
        })
    }

    /// What is too long of a mix is left out, unless all of it is.
    fn context_needed(&self, _case: &str) -> Option<u64> {
        self.mix().iter().map(|(prompt, output)| prompt + output).min()
    }
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "requests",
        kind: OptionKind::Count { min: 1, max: 10_000_000 },
        help: "requests per repeat, rounded up so that both halves have the same mix (default 20)",
    },
    OptionSpec {
        name: "duration",
        kind: OptionKind::Number { min: 1.0, max: 1e7 },
        help: "seconds in which blocks of the mix are begun, in place of `requests`: 7200 is two hours (default: none)",
    },
    OptionSpec {
        name: "max-outage",
        kind: OptionKind::Number { min: 0.0, max: 1e7 },
        help: "seconds that the server may be down, as while it restarts, before the repeat ends (default: 600; 0 in a sweep, whose servers nobody starts again)",
    },
    OptionSpec {
        name: "prompt-tokens",
        kind: OptionKind::Counts { min: 64, max: 1_000_000 },
        help: "prompt lengths of the mix, in tokens (default [128, 512, 1024, 2048, 4096])",
    },
    OptionSpec {
        name: "output-tokens",
        kind: OptionKind::Counts { min: 1, max: 100_000 },
        help: "answer lengths of the mix, each with each prompt length (default [64, 256])",
    },
    super::route::OPTION,
];

const CLOCK: &str = "client clock";
const USAGE: &str = "client clock and usage";
const ENGINE_OR_SERVER: &str = "engine, or /metrics";

const fn stability(
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
    source: &'static str,
) -> Metric {
    Metric::new("stability", name, unit, direction, definition, source)
}

/// Drifts of one latency; `$what` opens each definition.
macro_rules! drift {
    ($name:literal, $what:literal, $source:expr) => {
        [
            stability(
                concat!("median_", $name, "_ms"),
                "ms",
                Direction::Lower,
                concat!($what, ": median over the mix."),
                $source,
            ),
            stability(
                concat!($name, "_drift_per_hour"),
                "share/h",
                Direction::Neutral,
                concat!($what, ": relative change per hour, by a line through the logarithms with an intercept for each length of the mix; absent below 10 minutes of `duration`. 0 is steady; a slow start is below it."),
                $source,
            ),
            stability(
                concat!($name, "_drift_per_hour_low"),
                "share/h",
                Direction::Neutral,
                "Lower end of its 95% t interval.",
                $source,
            ),
            stability(
                concat!($name, "_drift_per_hour_high"),
                "share/h",
                Direction::Neutral,
                "Upper end of its 95% t interval.",
                $source,
            ),
            stability(
                concat!($name, "_drift_per_request"),
                "share/request",
                Direction::Neutral,
                concat!($what, ": relative change per request, by the same line; for any duration. 0 is steady; a slow start is below it."),
                $source,
            ),
            stability(
                concat!($name, "_drift_per_request_low"),
                "share/request",
                Direction::Neutral,
                "Lower end of its 95% t interval.",
                $source,
            ),
            stability(
                concat!($name, "_drift_per_request_high"),
                "share/request",
                Direction::Neutral,
                "Upper end of its 95% t interval.",
                $source,
            ),
            stability(
                concat!($name, "_halves_ratio"),
                "ratio",
                Direction::Neutral,
                concat!($what, ": second half over first half, geometric mean of pairs of the same lengths. 1 is steady; below it the first half was the slower one."),
                $source,
            ),
            stability(
                concat!($name, "_halves_ratio_low"),
                "ratio",
                Direction::Neutral,
                "Lower end of its 95% t interval.",
                $source,
            ),
            stability(
                concat!($name, "_halves_ratio_high"),
                "ratio",
                Direction::Neutral,
                "Upper end of its 95% t interval.",
                $source,
            ),
        ]
    };
}

const TTFT: [Metric; 10] = drift!("ttft", "Time to first token", CLOCK);
const TPOT: [Metric; 10] = drift!("tpot", "Time per output token after the first", USAGE);
const E2EL: [Metric; 10] = drift!("e2el", "Time from the send to the last token", CLOCK);

const FIGURES: [Metric; 12] = [
    stability(
        "requests",
        "1",
        Direction::Neutral,
        "Requests of the repeat, without those that found the server still down.",
        "client",
    ),
    stability(
        "failed",
        "1",
        Direction::Lower,
        "Requests of the repeat that failed; one for each outage among them.",
        "client",
    ),
    stability(
        "failure_rate",
        "share",
        Direction::Lower,
        "Requests that failed, as a share.",
        "client",
    )
    .on(Scale::Share(Counted { of: &["requests"], asked_again: false })),
    stability(
        "failure_rate_high",
        "share",
        Direction::Lower,
        "Upper 95% bound of the failure rate (Clopper-Pearson): 13.9% after 0 of 20.",
        "client",
    )
    .on(Scale::Ratios),
    stability(
        "prompt_tokens",
        "tokens",
        Direction::Neutral,
        "Mean prompt length over the mix as the server counts it.",
        "usage",
    ),
    stability(
        "duration",
        "s",
        Direction::Neutral,
        "Seconds from the first send to the last end.",
        CLOCK,
    ),
    stability(
        "memory_growth_bytes",
        "bytes",
        Direction::Lower,
        "Last reading of the server's memory over the repeat minus the first; whose memory it is, is in memory_growth_of. Absent where the server restarted or was down: the last reading is another process's.",
        ENGINE_OR_SERVER,
    )
    .on(Scale::Differences),
    stability(
        "memory_growth_bytes_per_hour",
        "bytes/h",
        Direction::Lower,
        "Slope of the same by least squares, from readings each second; absent below 10 minutes of `duration`, and where the growth is.",
        ENGINE_OR_SERVER,
    ),
    stability(
        "memory_growth_of",
        "text",
        Direction::Neutral,
        "`engine`: of the whole container or all processes (engine_memory); `api_process`: resident memory of the API process alone, where no engine reports more.",
        ENGINE_OR_SERVER,
    ),
    stability(
        "restarts",
        "1",
        Direction::Lower,
        "Restarts of the server over the repeat: of its container as Docker counts them, or those that its own counters show, whichever are more; absent where nobody reports them, and where the repeat ended while the server was down after none.",
        "Docker's inspection, /metrics",
    ),
    stability(
        "outages",
        "1",
        Direction::Lower,
        "Times that the server was down: a request failed, and /health showed it or a gateway said so (502 to 504).",
        "client",
    ),
    stability(
        "outage_seconds_max",
        "s",
        Direction::Lower,
        "The longest outage: from the end of the request that failed to the send of the next one that was answered, or to the end of the repeat; found within 5 s. 0 without an outage, absent where nothing was sent.",
        CLOCK,
    )
    .on(Scale::Differences),
];

const METRICS: &[Metric] = &super::joined::<42>(&[&FIGURES, &TTFT, &TPOT, &E2EL]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_for_servers_that_somebody_starts_again() {
        let seconds = |max_outage, in_sweep| {
            Stability { max_outage, ..Stability::default() }.patience(in_sweep).as_secs()
        };
        assert_eq!((seconds(None, false), seconds(None, true)), (600, 0));
        assert_eq!((seconds(Some(60.0), false), seconds(Some(60.0), true)), (60, 60));
    }

    #[test]
    fn a_mix_is_every_prompt_with_every_answer() {
        let spec = Stability {
            prompt_tokens: vec![100, 200],
            output_tokens: vec![1, 2],
            ..Stability::default()
        };
        assert_eq!(spec.mix(), [(100, 1), (100, 2), (200, 1), (200, 2)]);
        assert_eq!(Stability::default().mix().len() * 2, 20, "two blocks of the default");
    }
}
