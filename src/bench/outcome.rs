//! One repeat as a workload returns it: its outcome, its metrics and what was sent.
//! How it is measured is the workloads', how repeats follow each other the suite's.

use crate::bench::RepeatKey;
use crate::bench::repeat::Counted;
use crate::bench::shared;
use crate::client::record::RequestRecord;
use crate::metric::{Measurement, MetricReasons, MetricValues, Status};
use crate::server::counters::Counters;
use crate::workload::Kind;

/// An answer of so many tokens that arrives at once was held back on its way: no server
/// makes them within one read.
const LONG_ANSWER: u64 = 16;

/// How a repeat ended, with the reason where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RepeatOutcome {
    /// Valid; the text says what could not be certified.
    Ok(Option<String>),
    Void(String),
    Failed(String),
    Skipped(String),
}

/// One repeat as a workload gives it.
#[derive(Debug)]
pub(crate) struct RepeatResult {
    pub(crate) outcome: RepeatOutcome,
    pub(crate) metrics: MetricValues,
    /// Why some metrics are absent.
    pub(crate) reasons: MetricReasons,
    /// The requests that the metrics are of.
    pub(crate) records: Vec<RequestRecord>,
}

impl RepeatResult {
    pub(crate) fn without_requests(outcome: RepeatOutcome, metrics: MetricValues) -> Self {
        Self { outcome, metrics, reasons: MetricReasons::new(), records: Vec::new() }
    }

    /// Adds the metrics that workloads share. `whole`: the server's counters before and after
    /// the repeat.
    pub(crate) fn add_shared_metrics(
        &mut self,
        kind: &Kind,
        counted: Counted,
        whole: Option<(Counters, Counters)>,
    ) {
        if matches!(self.outcome, RepeatOutcome::Skipped(_)) {
            return;
        }
        let mut shared = shared::answers(&self.records);
        let counters = match counted {
            Counted::WholeRepeat => whole,
            Counted::Between(counters) => counters.map(|counters| *counters),
        };
        if let Some((before, after)) = counters {
            shared.extend(shared::speculation(&before, &after));
        }
        let has = |name: &str| kind.all_metrics().any(|metric| metric.name == name);
        self.metrics.extend(shared.into_iter().filter(|(name, _)| has(name)));
    }

    /// Remarks on what the server, or a proxy before it, does not report: token counts, or
    /// when each token was made; and on the fields that it refuses.
    pub(crate) fn remark_on_server(&mut self, left_out: Option<String>) {
        let RepeatOutcome::Ok(remark) = &mut self.outcome else { return };
        let mut add = |text: String| {
            let before = remark.take().map_or(String::new(), |remark| format!("{remark}; "));
            *remark = Some(before + &text);
        };
        if let Some(left_out) = left_out.filter(|_| !self.records.is_empty()) {
            add(left_out);
        }
        if self.records.iter().any(|record| record.is_excused) {
            let usage =
                "the server reports no `usage`: token counts are unknown, lengths are guesses";
            add(usage.to_owned());
        }
        // One that ended by itself may have been parsed as a whole, as tool calls are.
        let is_long = |record: &&RequestRecord| {
            record.finish_reason.as_deref() == Some("length")
                && record.usage.is_some_and(|usage| usage.completion_tokens >= LONG_ANSWER)
        };
        let whole =
            self.records.iter().filter(is_long).filter(|record| record.is_in_one_piece()).count();
        if 2 * whole > self.records.len() {
            let all = self.records.len();
            add(format!(
                "{whole} of {all} answers came in one piece: TPOT is not reported of them, and TTFT is \
                 the time of the whole answer"
            ));
        }
    }

    /// Everything that was sent, with the requests that no metric is of: those before
    /// what is measured, what is measured in its own order, those after it.
    pub(crate) fn put_in_order(&mut self, mut aside: Vec<RequestRecord>) {
        aside.sort_by_key(|record| record.sent_ns);
        let first_ns = self.records.iter().map(|record| record.sent_ns).min().unwrap_or(u64::MAX);
        let before = aside.partition_point(|record| record.sent_ns < first_ns);
        let after = aside.split_off(before);
        self.records.splice(..0, aside);
        self.records.extend(after);
        for (index, record) in (0u32..).zip(&mut self.records) {
            record.index = index;
        }
    }

    /// The same as a measurement.
    pub(crate) fn measurement(self, key: RepeatKey) -> Measurement {
        let (status, reason) = match self.outcome {
            RepeatOutcome::Ok(reason) => (Status::Ok, reason),
            RepeatOutcome::Void(reason) => (Status::Void, Some(reason)),
            RepeatOutcome::Failed(reason) => (Status::Failed, Some(reason)),
            RepeatOutcome::Skipped(reason) => (Status::Skipped, Some(reason)),
        };
        Measurement {
            workload: key.workload,
            case: key.case,
            repeat: key.repeat,
            status,
            reason,
            metrics: self.metrics,
            metric_reasons: self.reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::record::Usage;

    #[test]
    fn answers_that_something_holds_back_are_said() {
        let remark = |reason: &str, tokens, last_ns| {
            let usage = Usage { completion_tokens: tokens, ..Usage::default() };
            let record = RequestRecord {
                first_token_ns: Some(5),
                last_token_ns: Some(last_ns),
                usage: Some(usage),
                finish_reason: Some(reason.to_owned()),
                ..RequestRecord::default()
            };
            let records = vec![record; 4];
            let outcome = RepeatOutcome::Ok(Some("so".to_owned()));
            let mut repeat = RepeatResult {
                records,
                ..RepeatResult::without_requests(outcome, MetricValues::new())
            };
            repeat.remark_on_server(None);
            let RepeatOutcome::Ok(Some(remark)) = repeat.outcome else { panic!("it was valid") };
            remark
        };
        let held_back = "so; 4 of 4 answers came in one piece: TPOT is not reported of them, and \
                         TTFT is the time of the whole answer";
        assert_eq!(remark("length", 16, 5), held_back);
        for (reason, tokens, last_ns) in [("length", 16, 6), ("length", 15, 5), ("stop", 16, 5)] {
            assert_eq!(remark(reason, tokens, last_ns), "so", "{reason} {tokens} {last_ns}");
        }
    }
}
