//! `load`: many requests at once, as a ladder of concurrencies (closed loop) or
//! of rates (open loop), and the highest rate within an SLO.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::options::{OptionKind, OptionSpec, Options};
use super::specification::Specification as _;
use super::{Concurrency, Kind, Route, Spec};
use crate::statistics::distribution;

/// The kind `load`.
pub(super) const KIND: Kind = Kind {
    name: "load",
    key: "load",
    about: "Throughput and latency under load: a ladder of concurrencies or rates, and the highest rate within an SLO.",
    options: OPTIONS,
    metrics: super::load_metrics::METRICS,
    concurrency: Concurrency::Many,
    read: |options| Spec::Load(Load::read(options)),
};

/// Options of `load`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Closed loops: requests kept in flight; each is a case.
    pub concurrency: Vec<u64>,
    /// Open loops: requests per second; each is a case.
    pub rate: Vec<f64>,
    /// How open loops space their requests.
    pub arrivals: Arrivals,
    /// Requests per repeat; `None`: the default of the case, or as many as `duration` allows.
    /// In a search at each rate, at the least.
    pub requests: Option<u64>,
    /// Seconds in which requests are begun, in place of a number of requests; in a
    /// search at each rate, at the least.
    pub duration: Option<f64>,
    /// Prompt length in tokens as the server counts them; with a dataset prompts have their own.
    pub prompt_tokens: u64,
    /// Tokens generated per request.
    pub output_tokens: u64,
    /// Tokens that every prompt of a repeat opens with; without it no two prompts share any.
    pub shared_prefix_tokens: Option<u64>,
    /// A file with the prompts, in place of texts of `prompt_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    /// Where its requests go.
    #[serde(default, skip_serializing_if = "Route::is_chat")]
    pub endpoint: Route,
    /// What a request must keep to count as good.
    pub slo: Slo,
    /// Share of requests that must be good for a rate to be within the SLO.
    pub slo_share: f64,
    /// Whether the highest rate within the SLO is looked for; one more case.
    pub find_max_rate: bool,
    /// Whether a ladder ends at saturation.
    pub stop_at_saturation: bool,
    /// Cases that a grid's objective or a constraint names: no end of a ladder skips
    /// them, or the configuration that saturates would not be ranked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<String>,
}

/// Bounds on the latencies of one request, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Time to first token.
    pub ttft_ms: Option<f64>,
    /// Time per output token after the first.
    pub tpot_ms: Option<f64>,
    /// Time to the last token.
    pub e2el_ms: Option<f64>,
}

impl Slo {
    /// Whether nothing is bounded.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// How an open loop spaces its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Exponential gaps: arrivals that know nothing of each other.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

/// One case of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadCase {
    /// A closed loop of so many requests in flight.
    Concurrency(u64),
    /// An open loop of so many requests per second.
    Rate(f64),
    /// The search for the highest rate within the SLO.
    MaxRate,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            concurrency: vec![8],
            rate: Vec::new(),
            arrivals: Arrivals::Poisson,
            requests: None,
            duration: None,
            prompt_tokens: 512,
            output_tokens: 128,
            shared_prefix_tokens: None,
            dataset: None,
            endpoint: Route::Chat,
            slo: Slo::default(),
            slo_share: 0.95,
            find_max_rate: false,
            stop_at_saturation: true,
            judged: Vec::new(),
        }
    }
}

/// Requests that a 95th percentile needs.
pub(crate) const FOR_P95: u64 = distribution::FOR_P95 as u64;
/// The same for a 99th percentile.
pub(crate) const FOR_P99: u64 = distribution::FOR_P99 as u64;

/// Requests of an open loop: enough for a 99th percentile.
const OPEN_REQUESTS: u64 = 300;

impl Load {
    fn read(options: &Options) -> Self {
        let default = Self::default();
        let rate = options.numbers("rate").unwrap_or_default();
        let find_max_rate = options.switch("find-max-rate").unwrap_or(false);
        let concurrency = options.counts("concurrency").unwrap_or_else(|| {
            if rate.is_empty() && !find_max_rate { default.concurrency } else { Vec::new() }
        });
        let arrivals = match options.text("arrivals").as_deref() {
            Some("constant") => Arrivals::Constant,
            _ => Arrivals::Poisson,
        };
        Self {
            concurrency,
            rate,
            arrivals,
            requests: options.count("requests"),
            duration: options.number("duration"),
            prompt_tokens: options.count("prompt-tokens").unwrap_or(default.prompt_tokens),
            output_tokens: options.count("output-tokens").unwrap_or(default.output_tokens),
            shared_prefix_tokens: options.count("shared-prefix-tokens"),
            dataset: options.text("dataset").map(PathBuf::from),
            endpoint: super::route::read(options),
            slo: Slo {
                ttft_ms: options.number("slo-ttft-ms"),
                tpot_ms: options.number("slo-tpot-ms"),
                e2el_ms: options.number("slo-e2el-ms"),
            },
            slo_share: options.number("slo-share").unwrap_or(default.slo_share),
            find_max_rate,
            stop_at_saturation: options
                .switch("stop-at-saturation")
                .unwrap_or(default.stop_at_saturation),
            judged: Vec::new(),
        }
    }

    /// Its cases, each with its name as if there were several.
    pub fn named_cases(&self) -> Vec<(LoadCase, String)> {
        let concurrencies = self
            .concurrency
            .iter()
            .map(|count| (LoadCase::Concurrency(*count), format!("concurrency={count}")));
        let rates = self.rate.iter().map(|rate| (LoadCase::Rate(*rate), format!("rate={rate}")));
        let search = self.find_max_rate.then(|| (LoadCase::MaxRate, "max-rate".to_owned()));
        concurrencies.chain(rates).chain(search).collect()
    }

    /// Whether configurations are judged by this case.
    pub(crate) fn is_judged_by(&self, case: &str) -> bool {
        self.judged.iter().any(|judged| judged == case)
    }

    /// The case of this name.
    pub fn case(&self, name: &str) -> Option<LoadCase> {
        let place = self.cases().iter().position(|known| known == name)?;
        Some(self.named_cases()[place].0)
    }

    /// Requests of one repeat of a case, of a search at each rate; `None` where its duration decides.
    pub fn requests_of(&self, case: LoadCase) -> Option<u64> {
        match (self.requests, self.duration, case) {
            (Some(requests), _, _) => Some(requests),
            (None, Some(_), _) => None,
            (None, None, LoadCase::Concurrency(count)) => Some((8 * count).max(64)),
            (None, None, LoadCase::Rate(_) | LoadCase::MaxRate) => Some(OPEN_REQUESTS),
        }
    }
}

const MILLISECONDS: OptionKind = OptionKind::Number { min: 0.001, max: 1e9 };

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "concurrency",
        kind: OptionKind::Counts { min: 1, max: 20_000 },
        help: "requests kept in flight in a closed loop, a case each (default [8], unless `rate` is given)",
    },
    OptionSpec {
        name: "rate",
        kind: OptionKind::Numbers { min: 0.001, max: 100_000.0 },
        help: "requests begun per second in an open loop, a case each (default: none)",
    },
    OptionSpec {
        name: "arrivals",
        kind: OptionKind::Word(&["poisson", "constant"]),
        help: "gaps of an open loop (default poisson)",
    },
    OptionSpec {
        name: "requests",
        kind: OptionKind::Count { min: 1, max: 10_000_000 },
        help: "requests per repeat, of `find-max-rate` at each rate that is tried, and up to ten times as many where requests take long (default: 8 per slot and at least 64 in a closed loop, 300 in an open one)",
    },
    OptionSpec {
        name: "duration",
        kind: OptionKind::Number { min: 0.1, max: 1e6 },
        help: "seconds in which requests are begun, in place of `requests`; of `find-max-rate` at each rate that is tried, and up to ten times as long where requests take long (default: none)",
    },
    OptionSpec {
        name: "prompt-tokens",
        kind: OptionKind::Count { min: 1, max: 1_000_000 },
        help: "prompt length in tokens as the server counts them (default 512)",
    },
    OptionSpec {
        name: "output-tokens",
        kind: OptionKind::Count { min: 1, max: 100_000 },
        help: "tokens generated per request (default 128)",
    },
    OptionSpec {
        name: "shared-prefix-tokens",
        kind: OptionKind::Count { min: 1, max: 1_000_000 },
        help: "tokens that every prompt of a repeat opens with, as the server counts them, for prefix caching under load (default: none)",
    },
    OptionSpec {
        name: "dataset",
        kind: OptionKind::Text,
        help: "file with the prompts, in their own lengths: ShareGPT-like JSON (what a user says first is sent), or JSON lines with prompt or messages (sent up to the last one of a user); relative to the grid's file, or to the working directory of `bench` (default: none)",
    },
    super::route::OPTION,
    OptionSpec {
        name: "slo-ttft-ms",
        kind: MILLISECONDS,
        help: "a request is good when its time to first token is at most this (default: no bound)",
    },
    OptionSpec {
        name: "slo-tpot-ms",
        kind: MILLISECONDS,
        help: "a request is good when its time per output token is at most this (default: no bound)",
    },
    OptionSpec {
        name: "slo-e2el-ms",
        kind: MILLISECONDS,
        help: "a request is good when its time to the last token is at most this (default: no bound)",
    },
    OptionSpec {
        name: "slo-share",
        kind: OptionKind::Number { min: 0.01, max: 1.0 },
        help: "share of requests that must be good for a rate to be within the SLO (default 0.95)",
    },
    OptionSpec {
        name: "find-max-rate",
        kind: OptionKind::Switch,
        help: "look for the highest rate within the SLO, by bisection; one more case, `max-rate`. A rate counts only when its arrivals lasted three median request times, and those after the first of these, when the pipe was full, were within the SLO (default false)",
    },
    OptionSpec {
        name: "stop-at-saturation",
        kind: OptionKind::Switch,
        help: "skip the cases above one that gained less than 5% output throughput, or less than a quarter of what the load grew by where that is less, while the median E2E grew; those that a grid's objective or a constraint names are measured all the same (default true)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(options: serde_json::Value) -> Result<Load, String> {
        let serde_json::Value::Object(options) = options else { panic!("an object") };
        match super::super::Workload::from_options("load", &options) {
            Ok(workload) => match workload.spec {
                Spec::Load(load) => Ok(load),
                other => panic!("{other:?}"),
            },
            Err(errors) => Err(errors.into_iter().map(|error| error.message).collect()),
        }
    }

    #[test]
    fn cases_are_concurrencies_then_rates_then_the_search() {
        let load = read(json!({
            "concurrency": [1, 8], "rate": [0.5, 4], "find_max_rate": true, "slo_ttft_ms": 500
        }));
        let load = load.expect("good options");
        let names = ["concurrency=1", "concurrency=8", "rate=0.5", "rate=4", "max-rate"];
        assert_eq!(load.cases(), names);
        assert_eq!(load.case("rate=4"), Some(LoadCase::Rate(4.0)));
        assert_eq!(load.case("rate=5"), None);
        let one = read(json!({"rate": 4})).expect("good options");
        assert_eq!(one.cases(), [""]);
        assert_eq!(one.case(""), Some(LoadCase::Rate(4.0)));
    }

    #[test]
    fn a_concurrency_of_one_is_no_load() {
        let in_flight = |options, case| read(options).expect("good options").concurrency(case);
        assert_eq!(in_flight(json!({"concurrency": 1}), None), Concurrency::One);
        let ladder = json!({"concurrency": [1, 8]});
        assert_eq!(in_flight(ladder.clone(), Some("concurrency=1")), Concurrency::One);
        assert_eq!(in_flight(ladder.clone(), Some("concurrency=8")), Concurrency::Many);
        assert_eq!(in_flight(ladder, None), Concurrency::Many);
        assert_eq!(in_flight(json!({"rate": 1}), None), Concurrency::Many);
    }

    #[test]
    fn a_duration_holds_for_every_case() {
        let cases = [LoadCase::Concurrency(16), LoadCase::Rate(4.0), LoadCase::MaxRate];
        let requests = |options| {
            let load = read(options).expect("good options");
            cases.map(|case| load.requests_of(case))
        };
        assert_eq!(requests(json!({})), [Some(128), Some(300), Some(300)]);
        assert_eq!(requests(json!({"requests": 7})), [Some(7); 3]);
        assert_eq!(requests(json!({"duration": 2.5})), [None; 3]);
    }

    #[test]
    fn contradictions_are_reported() {
        let refused = |options, word: &str| {
            let message = read(options).expect_err("a contradiction");
            assert!(message.contains(word), "{message}");
        };
        refused(json!({"find-max-rate": true}), "needs an SLO");
        refused(json!({"requests": 10, "duration": 2.0}), "not both");
        refused(json!({"shared-prefix-tokens": 512, "prompt-tokens": 512}), "less than");
    }

    #[test]
    fn a_dataset_has_its_own_lengths() {
        let load = read(json!({"dataset": "share.json"})).expect("good options");
        assert_eq!(load.dataset, Some("share.json".into()));
        for idle in ["prompt-tokens", "shared_prefix_tokens"] {
            let error = read(json!({"dataset": "share.json", idle: 64})).expect_err("idle");
            assert!(error.contains("does not apply with `dataset`"), "{error}");
        }
    }

    #[test]
    fn every_metric_has_a_name_of_its_own() {
        let mut names: Vec<&str> = KIND.metrics.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KIND.metrics.len());
    }
}
