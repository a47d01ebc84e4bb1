//! `command`: an external benchmark run against the server, whose result file has
//! the form of `vllm bench serve`.

use serde::{Deserialize, Serialize};

use super::cost::Work;
use super::options::{OptionKind, OptionSpec, Options};
use super::specification::{Absence, Specification};
use super::{Concurrency, Dataset, Kind, Spec};
use crate::metric::{Direction, Metric, Scale};

/// The kind `command`.
pub(super) const KIND: Kind = Kind {
    name: "command",
    key: "command",
    about: "An external benchmark whose result file has the form of `vllm bench serve`.",
    options: OPTIONS,
    metrics: METRICS,
    // What it sends is its own affair.
    concurrency: Concurrency::Many,
    read: |options| Spec::Command(Command::read(options)),
};

/// Options of `command`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments; `{url}`, `{model}`, `{request}` and `{result}` are replaced.
    pub command: Vec<String>,
    /// Seconds after which it is ended.
    pub timeout: f64,
}

impl Command {
    fn read(options: &Options) -> Self {
        Self {
            command: options.texts("command").unwrap_or_default(),
            timeout: options.number("timeout").unwrap_or(3600.0),
        }
    }

    /// Whether its program is told the fields that requests are to have, or there is none.
    pub(super) fn passes_request(&self) -> bool {
        self.command.is_empty() || self.command.iter().any(|word| word.contains("{request}"))
    }
}

impl Specification for Command {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    /// Nobody knows what its program needs; it is ended at its timeout.
    fn cost(&self, _dataset: Option<&Dataset>, _is_warmup: bool) -> Vec<Work> {
        if self.command.is_empty() {
            return Vec::new();
        }
        vec![Work { program: self.timeout, ..Work::default() }]
    }

    fn unmeasurable(&self, _case: Option<&str>, _metric: &str) -> Option<Absence> {
        self.command.is_empty().then(|| {
            Absence::certain("`command` has no program to run", "set its option `command`")
        })
    }
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "command",
        kind: OptionKind::Texts,
        help: "program and arguments; {url}, {model}, {request} (the JSON of the fields of `request`) and {result} (the JSON file to write) are replaced; the key is in OPENAI_API_KEY and VLLM_API_KEY (default: none, and the workload is skipped)",
    },
    OptionSpec {
        name: "timeout",
        kind: OptionKind::Number { min: 0.1, max: 1e6 },
        help: "seconds after which it is ended (default 3600)",
    },
];

const fn command(
    name: &'static str,
    unit: &'static str,
    direction: Direction,
    definition: &'static str,
) -> Metric {
    Metric {
        workload: "command",
        name,
        unit,
        direction,
        definition,
        source: "external benchmark",
        scale: Scale::of_unit(unit),
    }
}

/// The statistics of one latency, as `vllm bench serve` names them.
macro_rules! latency {
    ($name:literal) => {
        [
            command(
                concat!("mean_", $name, "_ms"),
                "ms",
                Direction::Lower,
                concat!("Its mean_", $name, "_ms."),
            ),
            command(
                concat!("median_", $name, "_ms"),
                "ms",
                Direction::Lower,
                concat!(
                    "Its median_",
                    $name,
                    "_ms; absent where it falls among failed requests, which it leaves out."
                ),
            ),
            command(
                concat!("std_", $name, "_ms"),
                "ms",
                Direction::Neutral,
                concat!("Its std_", $name, "_ms."),
            ),
            command(
                concat!("p95_", $name, "_ms"),
                "ms",
                Direction::Lower,
                concat!(
                    "Its p95_",
                    $name,
                    "_ms; absent where it falls among failed requests, which it leaves out."
                ),
            ),
            command(
                concat!("p99_", $name, "_ms"),
                "ms",
                Direction::Lower,
                concat!(
                    "Its p99_",
                    $name,
                    "_ms; absent where it falls among failed requests, which it leaves out."
                ),
            ),
        ]
    };
}

const FIGURES: [Metric; 11] = [
    command("duration", "s", Direction::Neutral, "Its duration."),
    command("completed", "1", Direction::Neutral, "Its completed requests."),
    command("failed", "1", Direction::Lower, "Its failed requests."),
    command("total_input_tokens", "tokens", Direction::Neutral, "Its total_input_tokens."),
    command("total_output_tokens", "tokens", Direction::Neutral, "Its total_output_tokens."),
    command("request_throughput", "1/s", Direction::Higher, "Its request_throughput."),
    command("request_goodput", "1/s", Direction::Higher, "Its request_goodput.")
        .on(Scale::Differences),
    command("output_throughput", "tokens/s", Direction::Higher, "Its output_throughput."),
    command("total_token_throughput", "tokens/s", Direction::Higher, "Its total_token_throughput."),
    command(
        "max_output_tokens_per_s",
        "tokens/s",
        Direction::Higher,
        "Its max_output_tokens_per_s.",
    ),
    command("max_concurrent_requests", "1", Direction::Neutral, "Its max_concurrent_requests.")
        .on(Scale::Differences),
];

const METRICS: &[Metric] = &super::joined::<31>(&[
    &FIGURES,
    &latency!("ttft"),
    &latency!("tpot"),
    &latency!("itl"),
    &latency!("e2el"),
]);
