//! Metrics that workloads share: of the answers' texts, from the records of a repeat, and of
//! speculative decoding, from the server's counters before and after it. Pure: what is sent
//! is the workloads', when counters are read the suite's. Resources are in `telemetry`.

use crate::bench::metrics::all_of;
use crate::client::record::RequestRecord;
use crate::metric::MetricValues;
use crate::server::counters::Counters;
use crate::server::speculation::Speculation;
use crate::statistics::median;
use crate::workload::metrics::{ANSWERS, SPECULATION};

/// What the answers that ended add up to in characters.
pub(crate) fn answers(records: &[RequestRecord]) -> MetricValues {
    let ended = || records.iter().filter(|record| record.failure().is_none());
    let speeds: Vec<f64> = ended().filter_map(RequestRecord::characters_per_second).collect();
    let lengths: Vec<f64> =
        ended().filter_map(|record| record.output_characters).map(|count| count as f64).collect();
    let mean = (!lengths.is_empty()).then(|| lengths.iter().sum::<f64>() / lengths.len() as f64);
    all_of!(ANSWERS;
        "characters_per_second": median(&speeds),
        "mean_output_characters": mean,
    )
}

/// What speculative decoding did between two readings of the counters.
pub(crate) fn speculation(before: &Counters, after: &Counters) -> MetricValues {
    let done = if after.is_restarted_since(before) {
        Speculation::default()
    } else {
        after.speculation.since(&before.speculation)
    };
    let by_position = done.acceptance_by_position();
    let by_position = by_position.map(|shares| shares.into_iter().map(Some).collect::<Vec<_>>());
    all_of!(SPECULATION;
        "draft_tokens": done.draft_tokens.map(|tokens| tokens as f64),
        "accepted_tokens": done.accepted_tokens.map(|tokens| tokens as f64),
        "acceptance": done.acceptance(),
        "acceptance_by_position": by_position,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::record::{Chunk, RequestError, RequestErrorClass};
    use crate::metric::MetricValue;

    fn number(metrics: &MetricValues, name: &str) -> Option<f64> {
        match metrics.get(name).unwrap_or_else(|| panic!("no {name}")) {
            Some(MetricValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// An answer of so many characters, half of them in its second chunk, after `seconds`.
    fn answer(characters: u64, seconds: u64) -> RequestRecord {
        let last = 1 + seconds * 1_000_000_000;
        RequestRecord {
            first_token_ns: Some(1),
            last_token_ns: Some(last),
            chunks: vec![Chunk { at_ns: 1, bytes: 5 }, Chunk { at_ns: last, bytes: 5 }],
            output_characters: Some(characters),
            ..RequestRecord::default()
        }
    }

    #[test]
    fn failed_answers_are_in_no_figure_of_characters() {
        let class = RequestErrorClass::Cut;
        let cut = RequestRecord {
            error: Some(RequestError { class, message: "x".to_owned() }),
            ..answer(4_000, 1)
        };
        let silent = RequestRecord::default();
        let values = answers(&[answer(40, 2), answer(60, 1), answer(20, 1), cut.clone(), silent]);
        assert_eq!(number(&values, "characters_per_second"), Some(10.0));
        assert_eq!(number(&values, "mean_output_characters"), Some(40.0));
        let none = answers(&[cut]);
        assert_eq!(none.values().filter(|value| value.is_some()).count(), 0, "and not zero");
    }

    #[test]
    fn a_restart_and_a_server_without_counters_have_no_speculation() {
        let read = |requests: u64, drafts: u64| {
            Counters::parse(&format!(
                "vllm:request_success_total {requests}.0\nvllm:spec_decode_num_drafts {drafts}.0\n\
                 vllm:spec_decode_num_draft_tokens {}.0\nvllm:spec_decode_num_accepted_tokens 0.0\n\
                 vllm:spec_decode_num_accepted_tokens_per_pos{{position=\"0\"}} 0.0\n",
                3 * drafts
            ))
        };
        let values = speculation(&read(5, 10), &read(9, 30));
        assert_eq!(number(&values, "draft_tokens"), Some(60.0));
        assert_eq!(number(&values, "acceptance"), Some(0.0), "the draft model did not load");
        let shares = MetricValue::List(vec![Some(0.0)]);
        assert_eq!(values["acceptance_by_position"], Some(shares));
        for (before, after) in [
            (read(9, 10), read(5, 30)),
            (Counters::default(), Counters::default()),
            (Counters::default(), read(9, 30)),
        ] {
            let values = speculation(&before, &after);
            let known: Vec<_> = values.iter().filter(|(_, value)| value.is_some()).collect();
            assert!(known.is_empty(), "{known:?}");
        }
    }
}
