//! When a load gives up: whether it makes sense to send more, by how the requests so far have
//! ended. Shared by all that send; what a load that was given up is worth is in `outcome`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::client::record::{RequestErrorClass, RequestRecord};

/// Whether it makes sense to continue.
#[derive(Debug)]
pub(crate) struct Health {
    failures_in_a_row: AtomicU32,
    limit: u32,
    /// When a request last came to its end, nanoseconds of the repeat's clock.
    succeeded_ns: AtomicU64,
    given_up: AtomicBool,
}

impl Health {
    /// Gives up after `limit` failures with no success between them, and after one that took
    /// all the patience there is, with no success meanwhile: each of the others would, too.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            failures_in_a_row: AtomicU32::new(0),
            limit,
            succeeded_ns: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
        }
    }

    /// Notes how a request ended.
    pub(crate) fn note(&self, record: &RequestRecord) {
        let Some(error) = record.failure() else {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
            self.succeeded_ns.fetch_max(record.end_ns.unwrap_or(0), Ordering::Relaxed);
            return;
        };
        let in_a_row = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let in_vain = error.class == RequestErrorClass::Silent
            && self.succeeded_ns.load(Ordering::Relaxed) <= record.sent_ns;
        if in_vain || in_a_row >= self.limit {
            self.given_up.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it ended for failures in a row.
    pub(crate) fn given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::record::RequestError;

    #[test]
    fn a_silence_in_which_nothing_else_succeeded_is_enough() {
        let record = |sent_ns, end_ns, class: Option<RequestErrorClass>| RequestRecord {
            sent_ns,
            end_ns: Some(end_ns),
            error: class.map(|class| RequestError { class, message: "no".to_owned() }),
            ..RequestRecord::default()
        };
        let gives_up = |records: &[RequestRecord]| {
            let health = Health::new(3);
            for record in records {
                health.note(record);
            }
            health.given_up()
        };
        let silent = Some(RequestErrorClass::Silent);
        assert!(gives_up(&[record(0, 9, None), record(10, 600, silent)]));
        assert!(
            !gives_up(&[record(0, 9, None), record(5, 600, silent)]),
            "one was served meanwhile"
        );
        let cut = Some(RequestErrorClass::Cut);
        assert!(!gives_up(&[record(0, 9, cut), record(10, 20, cut)]));
        assert!(gives_up(&[record(0, 9, cut), record(10, 20, cut), record(20, 30, cut)]));
    }
}
