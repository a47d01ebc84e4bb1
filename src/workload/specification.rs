//! What the specification of a workload says of itself before anything runs: its
//! cases, what a repeat costs, which context it needs, and which of its metrics cannot
//! be measured. Each workload implements [`Specification`] in its own file; a grid adds
//! up what they say and puts it at places of its file.

use std::path::Path;

use super::cost::Work;
use super::{Concurrency, Dataset, Kind, OptionError, Options};

/// Why a metric will be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// Whether it is certain; otherwise chance or the server decides.
    pub is_certain: bool,
    /// The reason.
    pub why: String,
    /// What to set instead.
    pub help: String,
}

impl Absence {
    /// An absence that is certain.
    pub(super) fn certain(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { is_certain: true, why: why.into(), help: help.into() }
    }

    /// A time between tokens where answers have one token.
    pub(super) fn of_one_token() -> Self {
        let why = "an answer of one token has no time per further token";
        Self::certain(why, "set `output-tokens` to 2 or more")
    }
}

/// Why a metric says nothing of who serves: the workload itself decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The reason.
    pub why: String,
    /// What to take instead.
    pub help: String,
}

/// A workload with its options, as far as it can be judged without a server.
pub(super) trait Specification {
    /// Its names, options and metrics.
    fn kind(&self) -> &'static Kind;

    /// What one repeat asks of a server, case by case. `dataset`: where its prompts
    /// come from, if it was read.
    fn cost(&self, dataset: Option<&Dataset>, is_warmup: bool) -> Vec<Work>;

    /// Its cases as text; one empty text where there is one only.
    fn cases(&self) -> Vec<String> {
        vec![String::new()]
    }

    /// The file that its prompts come from, as the options spell it.
    fn dataset(&self) -> Option<&Path> {
        None
    }

    /// Requests in flight at once in a case; without its name, in any of them.
    fn concurrency(&self, _case: Option<&str>) -> Concurrency {
        self.kind().concurrency
    }

    /// Options that contradict each other.
    fn contradictions(&self, _options: &Options) -> Vec<OptionError> {
        Vec::new()
    }

    /// Seconds of a repeat, where an option decides them.
    fn duration(&self) -> Option<f64> {
        None
    }

    /// What its cost assumes of answers whose length the model decides.
    fn assumption(&self) -> Option<&'static str> {
        None
    }

    /// Why a metric will be absent in a case; `None` where it can be measured. `case`
    /// is `None` where there is one only.
    fn unmeasurable(&self, _case: Option<&str>, _metric: &str) -> Option<Absence> {
        None
    }

    /// Why a metric of a case is no merit of a configuration, however good: the workload
    /// decides it.
    fn decided(&self, _case: Option<&str>, _metric: &str) -> Option<Decided> {
        None
    }

    /// Tokens of context that a case needs at least; `None` where they are the
    /// dataset's or the model's.
    fn context_needed(&self, _case: &str) -> Option<u64> {
        None
    }

    /// Whether a metric is absent where prefix caching is off.
    fn is_of_cache(&self, _metric: &str) -> bool {
        false
    }

    /// Whether the prompts of a metric have nothing that a prefix cache could keep:
    /// each opens with a salt of its own.
    fn shares_nothing(&self, _metric: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::workload::{KINDS, Workload};

    /// What is reported of a metric: `!` before what is certain.
    fn reported(kind: &str, options: Value, case: Option<&str>, name: &str) -> String {
        let Value::Object(options) = options else { panic!("an object") };
        let workload = Workload::from_options(kind, &options).expect("good options");
        assert!(workload.kind().all_metrics().any(|metric| metric.name == name), "{name}");
        match workload.unmeasurable(case, name) {
            None => String::new(),
            Some(Absence { is_certain, why, help }) => {
                let mark = if is_certain { "!" } else { "?" };
                format!("{mark}{why}: {help}")
            }
        }
    }

    fn of_load(options: Value, name: &str) -> String {
        reported("load", options, None, name)
    }

    #[test]
    fn percentiles_need_their_values() {
        let p99 = |options| of_load(options, "p99_ttft_ms");
        assert_eq!(
            p99(json!({"concurrency": 8})),
            "!it needs 299 values, and a repeat has 64: \
             set `requests` to 299 or more, or take `median_ttft_ms`"
        );
        assert!(p99(json!({"concurrency": 37})).contains("a repeat has 296"));
        assert_eq!(p99(json!({"concurrency": 38})), "", "8 requests for each slot");
        assert_eq!(p99(json!({"requests": 299})), "");
        assert!(p99(json!({"requests": 298})).starts_with('!'));
        assert_eq!(p99(json!({"rate": 4})), "", "300 by default");
        assert_eq!(p99(json!({"duration": 10})), "", "the server decides how many");
        let p95 = |options| of_load(options, "p95_e2el_ms");
        assert_eq!(p95(json!({"concurrency": 1})), "");
        assert!(p95(json!({"requests": 58})).contains("needs 59 values"));
        let search = json!({"find-max-rate": true, "slo-ttft-ms": 500, "requests": 50});
        assert!(p95(search).starts_with('?'), "it may send more");
    }

    #[test]
    fn a_rate_for_a_time_gives_about_so_many_values() {
        let p99 = |seconds| of_load(json!({"rate": 4, "duration": seconds}), "p99_ttft_ms");
        assert!(
            p99(30).starts_with("?it needs 299 values, and 30 s at 4 requests/s give about 120")
        );
        assert_eq!(p99(75), "");
    }

    #[test]
    fn gaps_between_tokens_are_many() {
        let gaps = |options| of_load(options, "p99_itl_ms");
        assert_eq!(gaps(json!({"requests": 8, "output-tokens": 128})), "");
        assert!(gaps(json!({"requests": 8, "output-tokens": 3})).contains("a repeat has 16"));
        assert!(gaps(json!({"requests": 8, "output-tokens": 3})).contains("to 150 or more"));
        assert!(gaps(json!({"output-tokens": 1})).contains("one token"));
    }

    #[test]
    fn an_answer_of_one_token_has_no_time_for_a_further_one() {
        let one = json!({"output-tokens": 1});
        assert!(of_load(one.clone(), "mean_tpot_ms").starts_with("!an answer of one token"));
        assert!(reported("kv-cache", one.clone(), None, "tpot_ms").starts_with('!'));
        for kind in ["kv-cache", "stability"] {
            let why = reported(kind, one.clone(), None, "characters_per_second");
            assert!(why.starts_with("!an answer of one token"), "{kind}: {why}");
            assert_eq!(reported(kind, one.clone(), None, "mean_output_characters"), "");
        }
        assert!(reported("stability", one.clone(), None, "median_tpot_ms").starts_with('!'));
        assert!(reported("stability", one, None, "tpot_drift_per_request").starts_with('!'));
        let two = json!({"output-tokens": [1, 2]});
        assert_eq!(reported("stability", two, None, "median_tpot_ms"), "");
        for kind in ["load", "kv-cache"] {
            let name = if kind == "load" { "mean_tpot_ms" } else { "tpot_ms" };
            assert_eq!(reported(kind, json!({}), None, name), "");
        }
    }

    #[test]
    fn what_is_good_needs_an_slo() {
        for name in ["request_goodput", "good_share"] {
            assert!(of_load(json!({}), name).starts_with("!there is no SLO"), "{name}");
            assert_eq!(of_load(json!({"slo-ttft-ms": 500}), name), "");
        }
    }

    #[test]
    fn a_highest_rate_is_found_where_one_is_looked_for() {
        assert!(of_load(json!({}), "max_rate").contains("set `find-max-rate: true`"));
        let search = json!({"find-max-rate": true, "slo-ttft-ms": 500});
        assert_eq!(of_load(search, "max_rate"), "");
        let both = json!({"concurrency": 8, "find-max-rate": true, "slo-ttft-ms": 500});
        let of_case = |case| reported("load", both.clone(), Some(case), "max_rate");
        assert_eq!(of_case("max-rate"), "");
        assert!(of_case("concurrency=8").contains("write `load[max-rate].max_rate`"));
    }

    #[test]
    fn closed_and_open_loops_have_figures_of_their_own() {
        let (closed, open) = (json!({"concurrency": 8}), json!({"rate": 2}));
        for (name, is_open) in [
            ("mean_scheduled_ttft_ms", true),
            ("median_scheduled_e2el_ms", true),
            ("max_send_lag_ms", true),
            ("p99_send_lag_ms", true),
            ("slot_idle_share", false),
        ] {
            assert_eq!(of_load(closed.clone(), name).starts_with('!'), is_open, "{name}");
            assert_eq!(of_load(open.clone(), name).starts_with('!'), !is_open, "{name}");
        }
        let instead = of_load(closed, "mean_scheduled_ttft_ms");
        assert!(instead.ends_with("or take `mean_ttft_ms`"), "{instead}");
    }

    #[test]
    fn slots_that_are_never_all_busy_have_no_throughput() {
        let few = json!({"concurrency": 64, "requests": 40});
        assert!(of_load(few.clone(), "output_throughput").starts_with("!at concurrency 64, 40"));
        assert_eq!(of_load(few, "median_ttft_ms"), "");
        let of = |slots: u64, requests: u64| {
            of_load(json!({"concurrency": slots, "requests": requests}), "output_throughput")
        };
        assert_eq!(
            of(64, 128),
            "!at concurrency 64, 128 requests end before a steady state: raise `requests` (256 \
             would do)"
        );
        assert!(of(64, 159).starts_with("?at concurrency 64, 159 requests may end"));
        assert_eq!(of(64, 160), "");
        assert_eq!(of(64, 256), "");
        assert_eq!(of(1, 5), "");
        assert!(of(1, 4).ends_with("before a steady state: raise `requests` (10 would do)"));
        assert_eq!(of_load(json!({"concurrency": 64}), "output_throughput"), "");
    }

    #[test]
    fn what_a_load_decides_itself_is_known() {
        let decided = |options: Value, name: &str| {
            let Value::Object(options) = options else { panic!("an object") };
            let workload = Workload::from_options("load", &options).expect("good options");
            workload.decided(None, name).map(|decided| decided.why)
        };
        let of_rate = decided(json!({"rate": 0.5}), "output_throughput").expect("decided");
        assert!(of_rate.starts_with("at 0.5 requests/s it is what is offered"), "{of_rate}");
        assert_eq!(decided(json!({"rate": 0.5}), "p95_ttft_ms"), None);
        assert_eq!(decided(json!({"concurrency": 8}), "output_throughput"), None);
        assert_eq!(decided(json!({"concurrency": 8}), "duration"), None);
        assert!(decided(json!({"concurrency": 8, "duration": 60}), "duration").is_some());
    }

    #[test]
    fn a_shared_prefix_is_measured_where_there_is_one() {
        assert!(of_load(json!({}), "shared_prefix_tokens").starts_with("!its prompts share"));
        assert_eq!(of_load(json!({"shared-prefix-tokens": 64}), "shared_prefix_tokens"), "");
    }

    #[test]
    fn a_line_needs_more_than_two_turns() {
        let of = |conversations, turns, name| {
            let options = json!({"conversations": conversations, "turns": turns});
            reported("conversation", options, None, name)
        };
        assert!(of(1, 2, "ttft_slope_ms_per_turn").starts_with('!'));
        assert!(of(1, 2, "ttft_slope_high").starts_with('!'));
        assert_eq!(of(1, 3, "ttft_slope_ms_per_turn"), "");
        assert_eq!(of(2, 2, "ttft_slope_ms_per_turn"), "");
        assert_eq!(of(1, 2, "mean_ttft_ms"), "");
    }

    #[test]
    fn a_command_needs_a_program() {
        assert!(reported("command", json!({}), None, "mean_ttft_ms").starts_with('!'));
        assert_eq!(reported("command", json!({"command": ["true"]}), None, "mean_ttft_ms"), "");
    }

    #[test]
    fn what_the_default_options_promise_is_measured() {
        for kind in KINDS.iter().filter(|kind| kind.name != "command") {
            let workload =
                Workload::from_options(kind.name, &serde_json::Map::new()).expect("good");
            let cases = workload.cases();
            let case = cases.first().map(String::as_str);
            let absent: Vec<&str> = kind
                .all_metrics()
                .filter(|metric| workload.unmeasurable(case, metric.name).is_some())
                .map(|metric| metric.name)
                .filter(|name| {
                    let of_others = ["scheduled", "send_lag", "good", "max_rate", "shared", "p99"];
                    !of_others.iter().any(|part| name.contains(part))
                })
                .collect();
            assert!(absent.is_empty(), "{}: {absent:?}", kind.name);
        }
    }
}
