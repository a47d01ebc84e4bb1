//! Why metrics of a load have no value: percentiles that lie among failed requests, and
//! what is counted in a window where there is none. Pure.

use super::figures::{Plan, completed, latencies};
use crate::client::record::RequestRecord;
use crate::metric::{AMONG_FAILURES, MetricReasons, MetricValues};

/// Metrics that are counted in the window.
pub(crate) const OF_WINDOW: [&str; 6] = [
    "window",
    "request_throughput",
    "output_throughput",
    "output_characters_throughput",
    "total_token_throughput",
    "request_goodput",
];

/// What is absent for want of a window, for this reason.
pub(crate) fn without_window(reason: &str, metrics: &MetricValues) -> MetricReasons {
    let absent = OF_WINDOW.iter().filter(|name| metrics.get(**name).is_none_or(Option::is_none));
    absent.map(|name| ((*name).to_owned(), reason.to_owned())).collect()
}

/// Takes out what is summed up of prompts' tokens that leave out what came from the cache.
pub(crate) fn without_prompt_tokens(metrics: &mut MetricValues) -> MetricReasons {
    let names = ["total_input_tokens", "total_token_throughput", "prompt_tokens"];
    let reason = "the server's `usage` leaves out what came from its cache";
    let taken =
        names.into_iter().filter(|name| metrics.get_mut(*name).and_then(Option::take).is_some());
    taken.map(|name| (name.to_owned(), reason.to_owned())).collect()
}

/// Why latencies have no value, by metric: percentiles and maxima of all requests lie
/// among those that failed.
pub(crate) fn among_failures(records: &[RequestRecord], plan: &Plan) -> MetricReasons {
    let failed = records.len() - completed(records);
    if failed == 0 {
        return MetricReasons::new();
    }
    let all = records.len();
    let reason = format!("{failed} of {all} {AMONG_FAILURES}");
    let absent = latencies(records, plan).into_iter().flat_map(|(latency, values)| {
        values.among_lost().into_iter().map(move |statistic| format!("{statistic}_{latency}_ms"))
    });
    absent.map(|name| (name, reason.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::figures::metrics;
    use super::*;
    use crate::client::record::{Chunk, RequestError, RequestErrorClass, Usage};
    use crate::metric::MetricValue;

    /// Four tokens, one each 10 ms.
    fn record(number: u64) -> RequestRecord {
        let at = |token: u64| 1_000_000 * (number + 20 + 10 * token);
        RequestRecord {
            sent_ns: 1_000_000 * number,
            first_token_ns: Some(at(0)),
            last_token_ns: Some(at(3)),
            end_ns: Some(at(3)),
            chunks: (0..4).map(|token| Chunk { at_ns: at(token), bytes: 4 }).collect(),
            usage: Some(Usage { prompt_tokens: 9, completion_tokens: 4, ..Usage::default() }),
            ..RequestRecord::default()
        }
    }

    fn failed(number: u64) -> RequestRecord {
        let error = RequestError { class: RequestErrorClass::ServerError, message: "x".to_owned() };
        RequestRecord { error: Some(error), first_token_ns: None, ..record(number) }
    }

    fn number(metrics: &MetricValues, name: &str) -> Option<f64> {
        match metrics.get(name).unwrap_or_else(|| panic!("no {name}")) {
            Some(MetricValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    #[test]
    fn percentiles_that_fall_among_failed_requests_are_absent_with_the_reason() {
        let plan = Plan { open: false, window: None, slo: crate::workload::Slo::default() };
        let mut records: Vec<RequestRecord> = (0..276).map(record).collect();
        records.extend((0..24).map(failed));
        let figures = metrics(&records, &plan);
        let reasons = among_failures(&records, &plan);
        for latency in ["ttft", "tpot", "itl", "e2el"] {
            for statistic in ["p95", "p99", "max"] {
                let name = format!("{statistic}_{latency}_ms");
                assert_eq!(number(&figures, &name), None, "{name}");
                assert_eq!(reasons[&name], "24 of 300 requests failed: it falls among them");
            }
            assert!(number(&figures, &format!("median_{latency}_ms")).is_some(), "{latency}");
        }
        assert_eq!(reasons.len(), 12, "closed loops have no schedule: {reasons:?}");
        assert!(among_failures(&records[..276], &plan).is_empty());
    }

    #[test]
    fn what_has_no_values_does_not_fall_among_failed_requests() {
        let plan = Plan { open: false, window: None, slo: crate::workload::Slo::default() };
        // One token and one chunk each: no gaps, and no time per further token.
        let single = |number| {
            let usage = Usage { prompt_tokens: 9, completion_tokens: 1, ..Usage::default() };
            let mut record = RequestRecord { usage: Some(usage), ..record(number) };
            record.chunks.truncate(1);
            record
        };
        let mut records: Vec<RequestRecord> = (0..289).map(single).collect();
        records.push(failed(289));
        let reasons = among_failures(&records, &plan);
        let names: Vec<&str> = reasons.keys().map(String::as_str).collect();
        assert_eq!(names, ["max_e2el_ms", "max_ttft_ms"], "290 are too few for p99");
    }

    #[test]
    fn partial_counts_of_prompts_are_summed_up_to_nothing() {
        let plan = Plan { open: false, window: None, slo: crate::workload::Slo::default() };
        let mut figures = metrics(&[record(0), record(1)], &plan);
        assert_eq!(number(&figures, "total_input_tokens"), Some(18.0));
        let reasons = without_prompt_tokens(&mut figures);
        assert_eq!(number(&figures, "total_input_tokens"), None);
        assert_eq!(number(&figures, "total_output_tokens"), Some(8.0));
        assert_eq!(reasons.len(), 2, "without a window there was no throughput: {reasons:?}");
    }

    #[test]
    fn throughput_without_a_window_says_why() {
        let mut metrics =
            crate::metric::numbers([("output_throughput", None), ("completed", Some(1.0))]);
        let reasons = without_window("too few", &metrics);
        assert!(reasons["output_throughput"] == "too few" && !reasons.contains_key("completed"));
        metrics.extend(crate::metric::numbers([("window", Some(2.0))]));
        assert!(!without_window("too few", &metrics).contains_key("window"));
    }
}
