//! One repeat as a workload gives it: its verdict, its metrics and what was sent.
//! How it is measured is the workloads', how repeats follow each other the suite's.

use crate::bench::RepeatKey;
use crate::bench::record::RequestRecord;
use crate::metric::{Measurement, MetricValues, Status};

/// How a repeat ended, with the reason where there is one to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Valid; the text says what could not be certified.
    Ok(Option<String>),
    Void(String),
    Failed(String),
    Skipped(String),
}

/// One repeat as a workload gives it.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) verdict: Verdict,
    pub(crate) metrics: MetricValues,
    /// The requests that the metrics are of.
    pub(crate) records: Vec<RequestRecord>,
}

impl Repeat {
    pub(crate) fn without_requests(verdict: Verdict, metrics: MetricValues) -> Self {
        Self { verdict, metrics, records: Vec::new() }
    }

    /// Says that token counts are unknown, where the server never tells them.
    pub(crate) fn remark_on_usage(&mut self) {
        if let Verdict::Ok(remark) = &mut self.verdict
            && self.records.iter().any(|record| record.is_excused)
        {
            let usage =
                "the server tells no `usage`: token counts are unknown, lengths are guesses";
            let before = remark.take().map_or(String::new(), |remark| format!("{remark}; "));
            *remark = Some(format!("{before}{usage}"));
        }
    }

    /// Everything that was sent, in the order in which it was: with the requests that
    /// no metric is of.
    pub(crate) fn put_in_order(&mut self, aside: Vec<RequestRecord>) {
        self.records.splice(..0, aside);
        self.records.sort_by_key(|record| record.scheduled_ns);
        for (index, record) in (0u32..).zip(&mut self.records) {
            record.index = index;
        }
    }

    /// The same as a measurement.
    pub(crate) fn measurement(self, key: RepeatKey) -> Measurement {
        let (status, reason) = match self.verdict {
            Verdict::Ok(reason) => (Status::Ok, reason),
            Verdict::Void(reason) => (Status::Void, Some(reason)),
            Verdict::Failed(reason) => (Status::Failed, Some(reason)),
            Verdict::Skipped(reason) => (Status::Skipped, Some(reason)),
        };
        Measurement {
            workload: key.workload,
            case: key.case,
            repeat: key.repeat,
            status,
            reason,
            metrics: self.metrics,
        }
    }
}
