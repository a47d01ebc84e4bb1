//! What a repeat of a load gave, and whether that is a measurement.

use super::figures::{self, Plan};
use super::observations::LoadObservations;
use super::sample::Sampler;
use super::window::Window;
use crate::bench::outcome::RepeatOutcome;
use crate::bench::prompt::length::odd_answers;
use crate::client::record::RequestRecord;
use crate::metric::CLIENT_LATE;

/// Share of requests that may fail before a repeat is no measurement.
const MAX_FAILED: f64 = 0.01;

/// What a repeat gave, before it is judged.
#[derive(Debug)]
pub(crate) struct LoopResult {
    pub(crate) records: Vec<RequestRecord>,
    /// Requests with prompts of a dataset that the server refused as too long.
    pub(crate) refused: Vec<RequestRecord>,
    /// Whether the loop ended because nothing succeeded any more.
    pub(crate) gave_up: bool,
    pub(crate) plan: Plan,
    pub(crate) note: Option<Note>,
    /// Remarks on the prompts, and why there is no window.
    pub(crate) remarks: Vec<String>,
    /// Why there is no window, where there is none.
    pub(crate) no_window: Option<String>,
    pub(crate) rate: f64,
    pub(crate) max_rate: Option<f64>,
    pub(crate) observations: LoadObservations,
    /// Has the answers that are looked at.
    pub(crate) sampler: Option<Sampler>,
}

impl Default for LoopResult {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            refused: Vec::new(),
            gave_up: false,
            plan: Plan { open: true, window: None, slo: crate::workload::Slo::default() },
            note: None,
            remarks: Vec::new(),
            no_window: None,
            rate: 0.0,
            max_rate: None,
            observations: LoadObservations::default(),
            sampler: None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Note {
    Void(String),
    Remark(String),
}

impl LoopResult {
    /// Requests that were sent.
    pub(crate) fn requests(&self) -> usize {
        self.records.len() + self.refused.len()
    }

    /// What throughput is counted in; why there is no window is a remark.
    pub(crate) fn window(
        &mut self,
        find: impl FnOnce(&[RequestRecord]) -> Result<Window, String>,
    ) -> Option<Window> {
        match find(&self.records) {
            Ok(window) => Some(window),
            Err(reason) => {
                self.remarks.push(format!("throughput is not reported: {reason}"));
                self.no_window = Some(reason);
                None
            }
        }
    }

    /// Numbers its requests in the order in which they were due, as the records of the
    /// repeat have them after `before` others: a remark on one is found there.
    pub(crate) fn number(&mut self, before: u32) {
        let mut all: Vec<&mut RequestRecord> =
            self.records.iter_mut().chain(&mut self.refused).collect();
        all.sort_by_key(|record| (record.scheduled_ns, record.index));
        for (index, record) in (before..).zip(all) {
            record.index = index;
        }
        self.records.sort_unstable_by_key(|record| record.index);
    }

    /// `void`: why it is none, as far as the failures do not show it: somebody else's
    /// requests, prompts of another length.
    pub(crate) fn outcome(&self, output_tokens: u64, void: Option<String>) -> RepeatOutcome {
        let (requests, failed) =
            (self.records.len(), self.records.len() - figures::completed(&self.records));
        let mut remarks = Vec::new();
        if failed > 0 {
            let text = format!(
                "{failed} of {requests} requests failed; the first: {}",
                first(&self.records)
            );
            // What was given up lacks the requests that would have followed.
            if self.gave_up || failed as f64 > MAX_FAILED * requests as f64 {
                return RepeatOutcome::Failed(text);
            }
            remarks.push(text);
        }
        // A few prompts that are too long are no failure; nothing but such prompts is.
        if !self.refused.is_empty() && (self.gave_up || requests == 0) {
            return RepeatOutcome::Failed(format!(
                "the server refused {} prompts as too long; the first: {}",
                self.refused.len(),
                first(&self.refused)
            ));
        }
        if let Some(reason) = void {
            return RepeatOutcome::Void(reason);
        }
        match &self.note {
            Some(Note::Void(reason)) => return RepeatOutcome::Void(reason.clone()),
            Some(Note::Remark(remark)) => remarks.push(remark.clone()),
            None => {}
        }
        remarks.extend(self.remarks.iter().cloned());
        remarks.extend(odd_answers(self.records.iter().map(|record| (record, output_tokens))));
        RepeatOutcome::Ok((!remarks.is_empty()).then(|| remarks.join("; ")))
    }

    /// Every record, in the order of the requests.
    pub(crate) fn into_records(self) -> Vec<RequestRecord> {
        let mut records = self.records;
        records.extend(self.refused);
        records.sort_by_key(|record| record.index);
        records
    }
}

fn first(records: &[RequestRecord]) -> &str {
    let error = records.iter().find_map(RequestRecord::failure);
    error.map_or("the stream carried no token", |error| &error.message)
}

/// Whether the client itself was late.
pub(crate) fn void_of_lag(records: &[RequestRecord]) -> Option<Note> {
    let (lag, bound) = figures::lagged(records)?;
    Some(Note::Void(format!(
        "{CLIENT_LATE}: send lag {lag:.1} ms, above the bound of {bound:.1} ms"
    )))
}

/// Tokens a second that no engine makes: a server that sends more tests its client.
const BEYOND_ENGINES: f64 = 1e6;

/// Whether the client kept the slots of a closed loop waiting.
pub(crate) fn note_of_idleness(records: &[RequestRecord]) -> Option<Note> {
    let idle = figures::idle(records).filter(figures::Idle::is_too_much)?;
    let late = format!(
        "{CLIENT_LATE}: slots were without a request {:.1}% of the time, {:.1} ms \
         before each",
        idle.share * 100.0,
        idle.mean_ms
    );
    let rate = figures::token_rate(records).filter(|rate| *rate > BEYOND_ENGINES);
    Some(match rate {
        Some(rate) => Note::Remark(format!(
            "{late}; its ceiling of {:.1} million tokens/s is what was measured, not the server",
            rate / 1e6
        )),
        None => Note::Void(late),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::record::{RequestError, RequestErrorClass, Usage};

    fn answered(index: u32) -> RequestRecord {
        let usage = Usage { completion_tokens: 4, ..Usage::default() };
        RequestRecord {
            index,
            first_token_ns: Some(1),
            usage: Some(usage),
            ..RequestRecord::default()
        }
    }

    fn failed(index: u32, class: RequestErrorClass, message: &str) -> RequestRecord {
        let error = RequestError { class, message: message.to_owned() };
        RequestRecord { index, error: Some(error), ..RequestRecord::default() }
    }

    #[test]
    fn a_prompt_that_is_too_long_fails_nothing_unless_all_are() {
        let too_long = |index| failed(index, RequestErrorClass::ClientError, "context length");
        let remarks = vec!["1 of 9 prompts".to_owned()];
        let done = LoopResult {
            records: vec![answered(0), answered(2)],
            refused: vec![too_long(1)],
            remarks: remarks.clone(),
            ..LoopResult::default()
        };
        assert_eq!(done.outcome(4, None), RepeatOutcome::Ok(Some("1 of 9 prompts".to_owned())));
        let indices: Vec<u32> = done.into_records().iter().map(|record| record.index).collect();
        assert_eq!(indices, [0, 1, 2]);
        let none = LoopResult { refused: vec![too_long(0)], ..LoopResult::default() };
        let reason = "the server refused 1 prompts as too long; the first: context length";
        assert_eq!(none.outcome(4, None), RepeatOutcome::Failed(reason.to_owned()));
        let records = vec![answered(0)];
        let gave_up = LoopResult {
            records,
            refused: vec![too_long(1)],
            gave_up: true,
            ..LoopResult::default()
        };
        assert_eq!(gave_up.outcome(4, None), RepeatOutcome::Failed(reason.to_owned()));
    }

    #[test]
    fn what_was_given_up_is_a_failure_however_few_failed() {
        let mut records: Vec<RequestRecord> = (0..500).map(answered).collect();
        records.push(failed(500, RequestErrorClass::Silent, "no token came for 600 s"));
        let done =
            |gave_up| LoopResult { records: records.clone(), gave_up, ..LoopResult::default() };
        assert!(matches!(done(false).outcome(4, None), RepeatOutcome::Ok(Some(_))));
        assert!(matches!(done(true).outcome(4, None), RepeatOutcome::Failed(_)));
    }

    #[test]
    fn requests_are_numbered_as_the_records_will_have_them() {
        let due = |index, scheduled_ns| RequestRecord { scheduled_ns, ..answered(index) };
        // The slot that was free first took its prompt later, and one was refused.
        let mut done = LoopResult {
            records: vec![due(0, 10), due(1, 40), due(2, 30)],
            refused: vec![due(3, 20)],
            ..LoopResult::default()
        };
        done.number(7);
        let numbers = |records: &[RequestRecord]| {
            records.iter().map(|r| (r.index, r.scheduled_ns)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&done.records), [(7, 10), (9, 30), (10, 40)]);
        assert_eq!(numbers(&done.into_records()), [(7, 10), (8, 20), (9, 30), (10, 40)]);
    }

    #[test]
    fn failures_come_before_what_the_counters_say() {
        let records = vec![answered(0), failed(1, RequestErrorClass::ServerError, "x")];
        let done = LoopResult { records, ..LoopResult::default() };
        let reason = "1 of 2 requests failed; the first: x".to_owned();
        assert_eq!(done.outcome(4, Some("foreign".to_owned())), RepeatOutcome::Failed(reason));
        let done = LoopResult { records: vec![answered(0)], ..LoopResult::default() };
        let foreign = RepeatOutcome::Void("foreign".to_owned());
        assert_eq!(done.outcome(4, Some("foreign".to_owned())), foreign);
        let lengths =
            "1 of 1 answers do not have the tokens that were asked for; the first: 4 of 5";
        assert_eq!(done.outcome(5, None), RepeatOutcome::Ok(Some(lengths.to_owned())));
    }
}
