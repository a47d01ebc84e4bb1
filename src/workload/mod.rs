//! Workloads: what is measured, as a specification. Options with their
//! defaults and bounds, the cases that they make, and the metrics that they
//! yield, what they cost and what they cannot measure. How a workload is run is in
//! `bench`.

use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::metric::{Form, Metric, MetricValue, MetricValues};

mod answers;
mod catalogue;
mod command;
mod conversation;
mod cost;
mod dataset;
mod gate_metrics;
mod kv_cache;
mod launch_metrics;
mod load;
mod load_metrics;
mod load_specification;
mod long_context;
pub(crate) mod metrics;
mod options;
mod reasoning;
mod request;
mod resources;
mod route;
mod specification;
mod speculation;
mod stability;
mod tool_calling;

pub use crate::flags::nearest_word as nearest;
pub use crate::route::Route;
pub use catalogue::catalogue;
pub use command::Command;
pub use conversation::Conversation;
pub use cost::{PREFILL, Seconds, TOKEN, Work};
pub use dataset::{Dataset, DatasetError, DatasetFile, Datasets, LeftOut, Prompt};
pub use gate_metrics::GATE_METRICS;
pub use kv_cache::KvCache;
pub use launch_metrics::{LAUNCH, LAUNCH_METRICS};
pub use load::{Arrivals, Load, LoadCase, Slo};
pub(crate) use load_specification::steady_requests;
pub use long_context::LongContext;
pub use options::{OptionError, OptionKind, OptionSpec, Options};
pub use reasoning::{Reasoning, ReasoningKind};
pub use request::{REQUEST, RequestFields, refused_fields};
use specification::Specification;
pub use specification::{Absence, Decided};
pub use stability::{MIN_OF_AN_HOUR, Stability};
pub use tool_calling::{Scenario, ToolCalling};

/// Version of the suite: what is measured, and how. It is raised with every change after which
/// the same server would give other figures: prompts, their order and their salts, when a
/// request is sent, which times are taken, how metrics are computed, which repeats are void.
/// It is not raised for new workloads, new metrics and wording. Figures of two versions are
/// never pooled. `tests/default/suite_version.rs` asks for the decision.
pub const SUITE_VERSION: u32 = 1;

/// A kind of workload: its names, options and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The grid's spelling (`kv-cache`).
    pub name: &'static str,
    /// The column spelling (`kv_cache`).
    pub key: &'static str,
    /// What it measures, in one sentence.
    pub about: &'static str,
    /// Its own options, besides [`SHARED_OPTIONS`].
    pub options: &'static [OptionSpec],
    /// Its own metrics; [`Kind::all_metrics`] has those that all workloads share, too.
    pub metrics: &'static [Metric],
    /// Requests in flight at once, at most; [`Workload::concurrency`] knows a case's.
    pub concurrency: Concurrency,
    /// Its specification from checked options.
    pub read: fn(&Options) -> Spec,
}

impl Kind {
    /// The kind of this name; `_` is accepted for `-`.
    ///
    /// # Errors
    /// A name that no kind has, with the nearest one.
    pub fn named(name: &str) -> Result<&'static Self, OptionError> {
        let name = name.replace('_', "-");
        KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let hint = nearest(&name, &known).map_or_else(
                || format!("known workloads: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("unknown workload `{name}`; {hint}");
            OptionError::of(name, message)
        })
    }

    /// Whether it has an option of that name.
    pub fn takes(&self, option: &str) -> bool {
        self.options.iter().any(|known| known.name == option)
    }

    /// Its own metrics, and those of answers, speculative decoding and resources.
    pub fn all_metrics(&self) -> impl Iterator<Item = &'static Metric> {
        let key = self.key;
        catalogue().iter().filter(move |metric| metric.workload == key)
    }

    /// Names what a repeat did not measure, too. What it did measure is in the
    /// catalogue, which files, reports and checks of grids are made from.
    pub(crate) fn complete(&self, metrics: &mut MetricValues) {
        debug_assert_eq!(self.strange(metrics), None, "`{}` and the catalogue differ", self.name);
        for metric in self.all_metrics() {
            metrics.entry(metric.name.to_owned()).or_insert(None);
        }
    }

    /// A metric that the catalogue does not have, or has as something else.
    fn strange(&self, metrics: &MetricValues) -> Option<String> {
        metrics.iter().find_map(|(name, value)| {
            let Some(metric) = self.all_metrics().find(|metric| metric.name == name) else {
                return Some(format!("`{name}` is not in it"));
            };
            let fits = match (metric.form(), value) {
                (_, None) | (Form::Text, Some(MetricValue::Text(_))) => true,
                (Form::Number, Some(MetricValue::Number(number))) => number.is_finite(),
                (Form::List, Some(MetricValue::List(numbers))) => {
                    numbers.iter().flatten().all(|number| number.is_finite())
                }
                _ => false,
            };
            (!fits).then(|| format!("`{name}` is {value:?}, and its unit `{}`", metric.unit))
        })
    }
}

/// How many requests a workload keeps in flight: what flags can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// One request at a time: scheduler, memory and sequence limits are inert.
    One,
    /// Several requests at once.
    Many,
}

/// Every kind of workload, in the order of `bench`.
pub const KINDS: &[Kind] = &[
    kv_cache::KIND,
    conversation::KIND,
    reasoning::KIND,
    tool_calling::KIND,
    stability::KIND,
    load::KIND,
    long_context::KIND,
    command::KIND,
];

/// Options that every workload has.
pub const SHARED_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "repeats",
        kind: OptionKind::Count { min: 1, max: 10_000 },
        help: "kept repeats per launch (default: the strategy's, or `bench --repeats`)",
    },
    OptionSpec {
        name: "warmup",
        kind: OptionKind::Count { min: 0, max: 100 },
        help: "discarded repeats per launch (default 1)",
    },
    OptionSpec {
        name: REQUEST,
        kind: OptionKind::Fields,
        help: "fields that are merged into each request's body, such as {temperature: 0.7}: over those of the grid's `request`; null takes one out (default: none)",
    },
];

/// A workload with its options filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// What is particular to its kind.
    #[serde(flatten)]
    pub spec: Spec,
    /// Kept repeats per launch, where the workload overrides the strategy.
    pub repeats: Option<u64>,
    /// Discarded repeats per launch.
    pub warmup: u64,
    /// What is merged into each request's body. Older manifests have none.
    #[serde(default, skip_serializing_if = "RequestFields::is_empty")]
    pub request: RequestFields,
}

/// What is particular to a kind of workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "workload", rename_all = "kebab-case")]
pub enum Spec {
    /// `kv-cache`.
    KvCache(KvCache),
    /// `load`.
    Load(Load),
    /// `conversation`.
    Conversation(Conversation),
    /// `reasoning`.
    Reasoning(Reasoning),
    /// `tool-calling`.
    ToolCalling(ToolCalling),
    /// `stability`.
    Stability(Stability),
    /// `long-context`.
    LongContext(LongContext),
    /// `command`.
    Command(Command),
}

impl Spec {
    /// What it says of itself before anything runs.
    fn specification(&self) -> &dyn Specification {
        match self {
            Self::KvCache(spec) => spec,
            Self::Load(spec) => spec,
            Self::Conversation(spec) => spec,
            Self::Reasoning(spec) => spec,
            Self::ToolCalling(spec) => spec,
            Self::Stability(spec) => spec,
            Self::LongContext(spec) => spec,
            Self::Command(spec) => spec,
        }
    }
}

impl Workload {
    /// Builds a workload from options as a grid or `--set` gives them.
    ///
    /// # Errors
    /// Every error of the options, in one pass.
    pub fn from_options(
        name: &str,
        options: &Map<String, Value>,
    ) -> Result<Self, Vec<OptionError>> {
        let kind = Kind::named(name).map_err(|error| vec![error])?;
        let read = Options::read(kind, SHARED_OPTIONS, options);
        let (options, request) = match (read, RequestFields::of_options(options)) {
            (Ok(options), Ok(request)) => (options, request),
            (read, request) => {
                let errors = [read.err(), request.err()].into_iter().flatten().flatten();
                return Err(errors.collect());
            }
        };
        let spec = (kind.read)(&options);
        let mut contradictions = spec.specification().contradictions(&options);
        contradictions.extend(request.contradictions(&options));
        let workload = Self {
            spec,
            repeats: options.count("repeats"),
            warmup: options.count("warmup").unwrap_or(1),
            request,
        };
        contradictions.extend(workload.unsent().map(|why| OptionError::of(REQUEST, why)));
        if contradictions.is_empty() { Ok(workload) } else { Err(contradictions) }
    }

    /// The same with the grid's fields of requests under its own. `options`: what was given
    /// for it, which is its own, too.
    #[must_use]
    pub fn with_request(self, base: &RequestFields, options: &Map<String, Value>) -> Self {
        let request = self.request.over(&base.without_options(options));
        Self { request, ..self }
    }

    /// Why its fields reach no request, where that is so.
    pub fn unsent(&self) -> Option<String> {
        let Spec::Command(command) = &self.spec else { return None };
        (!self.request.is_empty() && !command.passes_request()).then(|| {
            "the program of `command` sends its requests itself, without the fields of `request`: \
             put {request}, which becomes their JSON, among its words (`vllm bench serve` takes it \
             behind --extra-body)"
                .to_owned()
        })
    }

    /// The file that its prompts come from, as the options spell it.
    pub fn dataset(&self) -> Option<&Path> {
        self.spec.specification().dataset()
    }

    /// Its kind: names, options, metrics.
    pub fn kind(&self) -> &'static Kind {
        self.spec.specification().kind()
    }

    /// Requests in flight at once in a case; without its name, in any of them.
    pub fn concurrency(&self, case: Option<&str>) -> Concurrency {
        self.spec.specification().concurrency(case)
    }

    /// Its cases as text; one empty text where there is one only.
    pub fn cases(&self) -> Vec<String> {
        self.spec.specification().cases()
    }

    /// What one repeat asks of a server, case by case.
    pub fn cost(&self, datasets: &Datasets, is_warmup: bool) -> Vec<Work> {
        let dataset = self.dataset().and_then(|path| datasets.known(path));
        self.spec.specification().cost(dataset, is_warmup)
    }

    /// Seconds of one repeat of all cases at most, by assumption; of a workload with a
    /// duration, that.
    pub fn longest(&self, datasets: &Datasets) -> f64 {
        self.spec.specification().duration().unwrap_or_else(|| {
            self.cost(datasets, false).iter().map(|work| work.seconds(1.0).high).sum()
        })
    }

    /// What its cost assumes of answers whose length the model decides: the part of
    /// `max-tokens` that they have.
    pub fn assumption(&self) -> Option<&'static str> {
        self.spec.specification().assumption()
    }

    /// Why a metric will be absent in a case; `None` where it can be measured. `case`
    /// is `None` where there is one only.
    pub fn unmeasurable(&self, case: Option<&str>, metric: &str) -> Option<Absence> {
        self.spec.specification().unmeasurable(case, metric)
    }

    /// Why a metric of a case is no merit of a configuration, however good.
    pub fn decided(&self, case: Option<&str>, metric: &str) -> Option<Decided> {
        self.spec.specification().decided(case, metric)
    }

    /// Tokens of context that a case needs at least; `None` where they are the
    /// dataset's or the model's.
    pub fn context_needed(&self, case: &str) -> Option<u64> {
        self.spec.specification().context_needed(case)
    }

    /// Whether a metric is absent where prefix caching is off.
    pub fn is_of_cache(&self, metric: &str) -> bool {
        self.spec.specification().is_of_cache(metric)
    }

    /// Whether the prompts of a metric have nothing that a prefix cache could keep.
    pub fn shares_nothing(&self, metric: &str) -> bool {
        self.spec.specification().shares_nothing(metric)
    }
}

/// Groups of metrics one after another; `N` is how many they are together.
const fn joined<const N: usize>(groups: &[&[Metric]]) -> [Metric; N] {
    let mut all = [groups[0][0]; N];
    let (mut place, mut group) = (0, 0);
    while group < groups.len() {
        let mut index = 0;
        while index < groups[group].len() {
            all[place] = groups[group][index];
            place += 1;
            index += 1;
        }
        group += 1;
    }
    assert!(place == N, "as many as they are");
    all
}

/// Cases named `key=value`; one empty text where there is one value only.
fn cases<T: Display>(key: &str, values: &[T]) -> Vec<String> {
    match values {
        [_] => vec![String::new()],
        several => several.iter().map(|value| format!("{key}={value}")).collect(),
    }
}

/// Tokens besides the texts of a chat of so many messages, at most and about: the salt,
/// a system message, what the template puts around all of them and around each.
pub(crate) fn around(messages: u64) -> u64 {
    64 + messages.saturating_mul(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Scale;

    /// What `(default VALUE` in a help says, as an option is given; `None` for
    /// `(default: in words`.
    fn literal_default(help: &str) -> Option<Value> {
        let (_, rest) = help.split_once("(default").expect("a default, or `(default: none)`");
        let rest = rest.strip_prefix(' ')?;
        let one = |text: &str| serde_json::from_str(text).unwrap_or(Value::from(text));
        Some(match rest.strip_prefix('[') {
            Some(list) => list.split_once(']').expect("closed").0.split(", ").map(one).collect(),
            None => one(rest.split([')', ',', ';']).next().unwrap_or(rest)),
        })
    }

    #[test]
    fn every_option_states_its_default_and_it_is_true() {
        let mut literal = 0;
        for kind in KINDS {
            let plain = Workload::from_options(kind.name, &Map::new()).expect("no options");
            for option in kind.options.iter().chain(SHARED_OPTIONS) {
                let Some(value) = literal_default(option.help) else { continue };
                literal += 1;
                let given = Map::from_iter([(option.name.to_owned(), value)]);
                let said = Workload::from_options(kind.name, &given).expect(option.help);
                assert_eq!(said, plain, "{}: {}", kind.name, option.help);
            }
        }
        assert!(literal > 30, "{literal}");
    }

    #[test]
    fn what_may_be_zero_or_negative_is_not_compared_by_logarithms() {
        let words = [
            "slope",
            "drift_per",
            "growth_bytes",
            "failed",
            "lag",
            "queue",
            "goodput",
            "outage_seconds",
            "draft_tokens",
            "accepted_tokens",
        ];
        let units = ["1", "share", "share/h", "share/request", "ms/turn", "bytes/h"];
        for metric in catalogue().iter().filter(|metric| metric.form() == Form::Number) {
            let name = metric.name;
            let zero = words.iter().any(|word| name.contains(word)) || units.contains(&metric.unit);
            // A bound of what may be zero is not.
            let is_ratios = metric.scale == Scale::Ratios;
            assert_eq!(is_ratios, !zero || name == "failure_rate_high", "{metric:?}");
        }
    }

    #[test]
    fn the_counts_behind_a_share_are_metrics_of_its_workload() {
        let mut shares = 0;
        for kind in KINDS {
            for metric in kind.metrics {
                let Scale::Share(counted) = metric.scale else { continue };
                shares += 1;
                for of in counted.of {
                    let count = kind.metrics.iter().find(|known| known.name == *of);
                    assert_eq!(count.map(|count| count.unit), Some("1"), "{of}");
                }
            }
        }
        assert_eq!(shares, 6);
    }

    #[test]
    fn what_was_not_measured_is_named_and_what_nobody_knows_is_found() {
        let kind = &kv_cache::KIND;
        let number = |number| Some(MetricValue::Number(number));
        let mut metrics = MetricValues::from([("ttft_miss_ms".to_owned(), number(5.0))]);
        kind.complete(&mut metrics);
        assert_eq!(metrics["ttft_miss_ms"], number(5.0));
        assert_eq!((&metrics["ttft_hit_ms"], &metrics["gpu_power_mean"]), (&None, &None));
        assert_eq!(metrics.len(), kind.all_metrics().count());
        assert_eq!(kind.strange(&metrics), None);
        let text = Some(MetricValue::Text("5".to_owned()));
        for (name, value, reason) in [
            ("turns", None, "`turns` is not in it"),
            ("ttft_hit_ms", number(f64::NAN), "its unit `ms`"),
            ("ttft_hit_ms", text, "its unit `ms`"),
            ("hit_state", number(1.0), "its unit `text`"),
            ("ttft_hit_ms", Some(MetricValue::List(Vec::new())), "its unit `ms`"),
        ] {
            let metrics = MetricValues::from([(name.to_owned(), value)]);
            let strange = kind.strange(&metrics).expect(name);
            assert!(strange.contains(reason), "{strange}");
        }
    }
}
