//! Whether a metric can exist in a suite, and if not, why: what a sweep would find
//! out after the night, told before it. A table for each workload, from its options
//! alone; what hangs on flags and the engine is in [`super::advice`]. Pure.

use super::error::Findings;
use super::node::Span;
use crate::metric::MetricRef;
use crate::workload::{
    Command, Conversation, FOR_P95, FOR_P99, KvCache, Load, LoadCase, Spec, Stability, Workload,
};

/// Why a metric will be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absence {
    /// Whether nothing else can come of it; otherwise chance or the server decides.
    pub(super) is_certain: bool,
    pub(super) why: String,
    pub(super) help: String,
}

/// The same, certain.
fn never(why: impl Into<String>, help: impl Into<String>) -> Absence {
    Absence { is_certain: true, why: why.into(), help: help.into() }
}

/// Tells a metric that cannot exist as a fault, one that may be absent as a warning.
pub(super) fn tell(
    reference: &MetricRef,
    span: &Span,
    workload: &Workload,
    findings: &mut Findings,
) {
    let Some(absence) = absence(workload, reference.case.as_deref(), &reference.name) else {
        return;
    };
    let Absence { is_certain, why, help } = absence;
    if is_certain {
        findings.fault(span, format!("{reference} is never measured: {why}")).help(help);
    } else {
        findings.warning(Some(span), format!("{reference} may be absent: {why}; {help}"));
    }
}

/// Why the metric `name` will be absent in a case of this workload; `None` where
/// it can be measured. `case` is `None` where there is one only.
pub(super) fn absence(workload: &Workload, case: Option<&str>, name: &str) -> Option<Absence> {
    match &workload.spec {
        Spec::Load(spec) => load(spec, spec.case(case.unwrap_or_default())?, name),
        Spec::KvCache(spec) => kv_cache(spec, name),
        Spec::Conversation(spec) => conversation(spec, name),
        Spec::Stability(spec) => stability(spec, name),
        Spec::Command(spec) => command(spec),
        // Their answers are the model's: all of their figures can exist.
        Spec::Reasoning(_) | Spec::ToolCalling(_) | Spec::LongContext(_) => None,
    }
}

const ONE_TOKEN: &str = "an answer of one token has no time per further token";
const MORE_TOKENS: &str = "set `output-tokens` to 2 or more";

fn load(spec: &Load, case: LoadCase, name: &str) -> Option<Absence> {
    let is_open = !matches!(case, LoadCase::Concurrency(_));
    match name {
        "request_goodput" | "good_share" if spec.slo.is_empty() => Some(never(
            "there is no SLO that makes a request good",
            "set `slo-ttft-ms`, `slo-tpot-ms` or `slo-e2el-ms`",
        )),
        "max_rate" if case != LoadCase::MaxRate => Some(never(
            "no rate is looked for here",
            if spec.find_max_rate {
                "write `load[max-rate].max_rate`"
            } else {
                "set `find-max-rate: true`, and an SLO"
            },
        )),
        "shared_prefix_tokens" if spec.shared_prefix_tokens.is_none() => {
            Some(never("its prompts share nothing", "set `shared-prefix-tokens`"))
        }
        "slot_idle_share" if is_open => Some(never(
            "an open loop has no slots",
            "name a case of `concurrency`, or take `max_send_lag_ms`",
        )),
        "p99_send_lag_ms" | "max_send_lag_ms" if !is_open => {
            Some(never("a closed loop has no schedule to be late for", "name a case of `rate`"))
        }
        name if name.contains("_scheduled_") && !is_open => Some(never(
            "a closed loop has no schedule to be measured from",
            format!("name a case of `rate`, or take `{}`", name.replace("scheduled_", "")),
        )),
        "request_throughput"
        | "output_throughput"
        | "total_token_throughput"
        | "request_goodput"
        | "window" => never_busy(spec, case),
        name if is_per_token(name) && spec.output_tokens == 1 => {
            Some(never(ONE_TOKEN, MORE_TOKENS))
        }
        name => too_few(spec, case, name),
    }
}

/// Whether a latency is one between tokens.
fn is_per_token(name: &str) -> bool {
    name.ends_with("_tpot_ms") || name.ends_with("_itl_ms")
}

/// Throughput is counted while all slots of a closed loop are busy.
fn never_busy(spec: &Load, case: LoadCase) -> Option<Absence> {
    let (LoadCase::Concurrency(slots), Some(requests)) = (case, spec.requests) else { return None };
    // Slots are filled one after another over one request's time, and so they end.
    (requests < 2 * slots && slots > 1).then(|| Absence {
        is_certain: requests < slots,
        why: format!(
            "throughput is counted while all slots are busy, and {requests} requests {} {slots} \
             slots",
            if requests < slots { "never fill" } else { "hardly fill" }
        ),
        help: format!("set `requests` to {} or more", 4 * slots),
    })
}

/// A percentile of fewer values than carry it.
fn too_few(spec: &Load, case: LoadCase, name: &str) -> Option<Absence> {
    let (percentile, latency) = name.split_once('_')?;
    let needed = match percentile {
        "p95" => FOR_P95,
        "p99" => FOR_P99,
        _ => return None,
    };
    // Gaps are as many as tokens at most, less the first one of each answer.
    let each = if latency == "itl_ms" { spec.output_tokens.saturating_sub(1) } else { 1 };
    let requests = needed.div_ceil(each.max(1));
    let help = if latency == "send_lag_ms" {
        format!("set `requests` to {requests} or more, or take `max_send_lag_ms`")
    } else {
        format!("set `requests` to {requests} or more, or take `median_{latency}`")
    };
    match (spec.requests_of(case), spec.duration, case) {
        (Some(sent), _, _) if sent * each < needed => Some(Absence {
            // A search sends more of them where they take long.
            is_certain: case != LoadCase::MaxRate,
            why: format!("it needs {needed} values, and a repeat has {}", sent * each),
            help,
        }),
        // Arrivals are drawn by chance: some more or less than these.
        (None, Some(seconds), LoadCase::Rate(rate)) => {
            let values = (rate * seconds).floor() * each as f64;
            (values < needed as f64).then(|| Absence {
                is_certain: false,
                why: format!(
                    "it needs {needed} values, and {seconds} s at {rate} requests/s give about \
                     {values}"
                ),
                help,
            })
        }
        _ => None,
    }
}

fn kv_cache(spec: &KvCache, name: &str) -> Option<Absence> {
    if name == "tpot_ms" && spec.output_tokens == 1 {
        return Some(never(ONE_TOKEN, MORE_TOKENS));
    }
    None
}

fn conversation(spec: &Conversation, name: &str) -> Option<Absence> {
    // A line with an intercept for each conversation, and a value left for its error.
    if name.starts_with("ttft_slope") && spec.conversations == 1 && spec.turns == 2 {
        return Some(never(
            "a line through the two turns of one conversation has no error",
            "set `turns` to 3 or more",
        ));
    }
    None
}

fn stability(spec: &Stability, name: &str) -> Option<Absence> {
    if name.contains("tpot_") && spec.output_tokens.iter().all(|tokens| *tokens == 1) {
        return Some(never(ONE_TOKEN, MORE_TOKENS));
    }
    None
}

fn command(spec: &Command) -> Option<Absence> {
    if spec.command.is_empty() {
        return Some(never("`command` has no program to run", "set its option `command`"));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is told of a metric: `!` before what is certain.
    fn told(kind: &str, options: Value, case: Option<&str>, name: &str) -> String {
        let Value::Object(options) = options else { panic!("an object") };
        let workload = Workload::from_options(kind, &options).expect("good options");
        assert!(workload.kind().all_metrics().any(|metric| metric.name == name), "{name}");
        match absence(&workload, case, name) {
            None => String::new(),
            Some(Absence { is_certain, why, help }) => {
                let mark = if is_certain { "!" } else { "?" };
                format!("{mark}{why}: {help}")
            }
        }
    }

    fn of_load(options: Value, name: &str) -> String {
        told("load", options, None, name)
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
        assert!(told("kv-cache", one.clone(), None, "tpot_ms").starts_with('!'));
        assert!(told("stability", one.clone(), None, "median_tpot_ms").starts_with('!'));
        assert!(told("stability", one, None, "tpot_drift_per_request").starts_with('!'));
        let two = json!({"output-tokens": [1, 2]});
        assert_eq!(told("stability", two, None, "median_tpot_ms"), "");
        for kind in ["load", "kv-cache"] {
            let name = if kind == "load" { "mean_tpot_ms" } else { "tpot_ms" };
            assert_eq!(told(kind, json!({}), None, name), "");
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
        let told = |case| told("load", both.clone(), Some(case), "max_rate");
        assert_eq!(told("max-rate"), "");
        assert!(told("concurrency=8").contains("write `load[max-rate].max_rate`"));
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
        assert!(of_load(few.clone(), "output_throughput").contains("40 requests never fill 64"));
        assert_eq!(of_load(few, "median_ttft_ms"), "");
        let once = json!({"concurrency": 64, "requests": 64});
        assert!(of_load(once, "output_throughput").starts_with("?throughput is counted"));
        let twice = json!({"concurrency": 64, "requests": 128});
        assert_eq!(of_load(twice, "output_throughput"), "");
        assert_eq!(of_load(json!({"concurrency": 1, "requests": 1}), "output_throughput"), "");
        assert_eq!(of_load(json!({"concurrency": 64}), "output_throughput"), "");
    }

    #[test]
    fn a_shared_prefix_is_told_where_there_is_one() {
        assert!(of_load(json!({}), "shared_prefix_tokens").starts_with("!its prompts share"));
        assert_eq!(of_load(json!({"shared-prefix-tokens": 64}), "shared_prefix_tokens"), "");
    }

    #[test]
    fn a_line_needs_more_than_two_turns() {
        let of = |conversations, turns, name| {
            let options = json!({"conversations": conversations, "turns": turns});
            told("conversation", options, None, name)
        };
        assert!(of(1, 2, "ttft_slope_ms_per_turn").starts_with('!'));
        assert!(of(1, 2, "ttft_slope_high").starts_with('!'));
        assert_eq!(of(1, 3, "ttft_slope_ms_per_turn"), "");
        assert_eq!(of(2, 2, "ttft_slope_ms_per_turn"), "");
        assert_eq!(of(1, 2, "mean_ttft_ms"), "");
    }

    #[test]
    fn a_command_needs_a_program() {
        assert!(told("command", json!({}), None, "mean_ttft_ms").starts_with('!'));
        assert_eq!(told("command", json!({"command": ["true"]}), None, "mean_ttft_ms"), "");
    }

    #[test]
    fn what_the_default_options_promise_is_measured() {
        for kind in crate::workload::KINDS.iter().filter(|kind| kind.name != "command") {
            let workload =
                Workload::from_options(kind.name, &serde_json::Map::new()).expect("good");
            let cases = workload.cases();
            let case = cases.first().map(String::as_str);
            let absent: Vec<&str> = kind
                .all_metrics()
                .filter(|metric| absence(&workload, case, metric.name).is_some())
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
