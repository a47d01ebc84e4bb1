//! Sends the mix, block by block and one request at a time. Where the server is
//! down it waits until it serves again; what to make of that is `outages`'.

use std::ops::ControlFlow::{self, Break, Continue};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::outages::{Next, Outages, Sign};
use crate::bench::liveness::down_reason;
use crate::bench::prompt::generate::{derive, messages};
use crate::bench::repeat::RepeatContext;
use crate::bench::traffic::Sent;
use crate::client::Order;
use crate::client::record::{RequestErrorClass, RequestRecord};
use crate::client::request::{Input, Prepared, RequestSpec, Target};
use crate::server::health::health_by;
use crate::workload::{Route, Stability};

/// So many failures without a success end the repeat.
const FAILURES_IN_A_ROW: usize = 3;

/// A prompt of the mix: its size in bytes, its tokens and those to generate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    pub(super) bytes: usize,
    pub(super) prompt_tokens: u64,
    pub(super) output_tokens: u64,
}

/// What was sent, and as which length of the mix.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) records: Vec<RequestRecord>,
    pub(super) lengths: Vec<usize>,
    /// Requests that found the server still down: part of no figure.
    pub(super) while_down: Vec<RequestRecord>,
    pub(super) outages: Outages,
    /// It ended before its time.
    pub(super) gave_up: bool,
}

impl Sequence {
    /// Nothing so far.
    pub(super) fn new(outages: Outages) -> Self {
        let (records, lengths, while_down) = (Vec::new(), Vec::new(), Vec::new());
        Self { records, lengths, while_down, outages, gave_up: false }
    }

    /// Everything that the server's counters may show.
    pub(super) fn sent(&self) -> Sent {
        if self.while_down.is_empty() {
            return Sent::of(&self.records);
        }
        Sent::of(&[&self.records[..], &self.while_down].concat())
    }

    /// Requests so far.
    fn requests(&self) -> usize {
        self.records.len() + self.while_down.len()
    }
}

/// A request for so many tokens with these messages.
pub(super) fn prompt(
    route: Route,
    (salt, seed, bytes): (u64, u64, usize),
    output_tokens: u64,
    cache_salt: bool,
    target: &Target,
) -> Prepared {
    let messages: Vec<Value> = messages(salt, seed, bytes);
    let spec = RequestSpec::speed(Input::new(route, messages), output_tokens);
    spec.salted(cache_salt.then_some(salt)).prepare(target)
}

/// A repeat while it is sent.
pub(super) struct Sending<'r, 's> {
    pub(super) repeat: &'r mut RepeatContext<'s>,
    pub(super) spec: &'r Stability,
    pub(super) lengths: &'r [Length],
    pub(super) sequence: Sequence,
}

impl Sending<'_, '_> {
    /// Blocks of the whole mix. The blocks of a pair have the same order, and the
    /// number of blocks is even: the halves differ in time alone.
    pub(super) async fn all(mut self) -> Sequence {
        let clock = self.repeat.clock();
        let until_ns =
            self.spec.duration.map(|seconds| clock.elapsed_ns() + (seconds * 1e9) as u64);
        let blocks = 2 * self.spec.requests.div_ceil(2 * self.lengths.len() as u64);
        for block in 0.. {
            let over = match until_ns {
                Some(until) => block % 2 == 0 && clock.elapsed_ns() >= until,
                None => block >= blocks,
            };
            if over || (self.repeat.is_warmup() && block > 0) {
                break;
            }
            let mut order: Vec<usize> = (0..self.lengths.len()).collect();
            let pair = (block / 2).to_string();
            let seed = derive(&[&self.repeat.session.seed().to_string(), "stability", &pair]);
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            for place in order {
                if self.one(place).await.is_break() {
                    return self.sequence;
                }
            }
        }
        self.sequence
    }

    /// A request of one length; where the server is down, until it takes one.
    async fn one(&mut self, place: usize) -> ControlFlow<()> {
        loop {
            let Some(mut record) = self.send(place).await else { return Break(()) };
            if record.error.as_ref().is_some_and(|e| e.class == RequestErrorClass::Cancelled) {
                return Break(());
            }
            let (sign, was_down) = (Sign::of(&record), self.sequence.outages.is_down());
            let ended_ns = record.end_ns.unwrap_or(record.sent_ns);
            let next = self.note(|outages| outages.request(sign, record.sent_ns, ended_ns));
            let again = was_down && self.sequence.outages.is_down();
            if again {
                "outage".clone_into(&mut record.purpose);
                self.sequence.while_down.push(record);
            } else {
                self.sequence.records.push(record);
                self.sequence.lengths.push(place);
            }
            self.wait(next).await?;
            if !again {
                let down = self.sequence.outages.is_down();
                self.sequence.gave_up = !down && gave_up(&self.sequence.records);
                return if self.sequence.gave_up { Break(()) } else { Continue(()) };
            }
        }
    }

    /// Sends one; `None` when a stop was asked for.
    async fn send(&mut self, place: usize) -> Option<RequestRecord> {
        let Self { repeat, spec, lengths, sequence } = self;
        let salt = repeat.salt_number(&["stability", &sequence.requests().to_string()]);
        // The same for every configuration, whatever failed.
        let number = sequence.records.len().to_string();
        let seed = repeat.seed_number(&[&number]);
        let Length { bytes, output_tokens, .. } = lengths[place];
        let (route, target) = (spec.endpoint, repeat.target().clone());
        let cache_salt = repeat.session.cache_salt();
        let make = move || prompt(route, (salt, seed, bytes), output_tokens, cache_salt, &target);
        let prompt = repeat.session.make(make).await?;
        let purpose = format!("length {place}");
        let index = repeat.position(sequence.requests());
        let order = Order { index, purpose: &purpose, scheduled_ns: None };
        Some(repeat.send(&prompt, order).await.record)
    }

    /// Waits until a request is to be sent; a break when none is.
    async fn wait(&mut self, mut next: Next) -> ControlFlow<()> {
        let (cancel, clock) = (self.repeat.session.cancel().clone(), self.repeat.clock());
        while let Next::Look(pause) = next {
            let look = async {
                tokio::time::sleep(pause).await;
                health_by(self.repeat.session.http()).await
            };
            let Some(health) = cancel.run_until_cancelled(look).await else { return Break(()) };
            let is_down = down_reason(health).is_some();
            next = self.note(|outages| outages.looked(is_down, clock.elapsed_ns()));
        }
        self.sequence.gave_up = next == Next::GiveUp;
        if self.sequence.gave_up { Break(()) } else { Continue(()) }
    }

    /// Notes something of the server's outages; a new one is reported.
    fn note(&mut self, what: impl FnOnce(&mut Outages) -> Next) -> Next {
        let outages = &mut self.sequence.outages;
        let before = outages.count();
        let next = what(outages);
        if outages.count() > before && next != Next::GiveUp {
            let seconds = outages.patience().as_secs_f64();
            self.repeat
                .session
                .warn(format!("the server is down: it is waited for up to {seconds} s"));
        }
        next
    }
}

/// Whether nothing is to be expected any more: too many failures one after another,
/// or the very first request refused.
fn gave_up(records: &[RequestRecord]) -> bool {
    let failed = records.iter().rev().take_while(|record| record.failure().is_some()).count();
    let refused = |record: &RequestRecord| record.failure().is_some() && !may_pass(record);
    failed >= FAILURES_IN_A_ROW || (failed == records.len() && records.iter().any(refused))
}

/// Whether the failure may be one of the moment.
fn may_pass(record: &RequestRecord) -> bool {
    matches!(Sign::of(record), Sign::MayBeDown | Sign::Down)
}

/// The remark on those that failed.
pub(super) fn failures(records: &[RequestRecord]) -> String {
    let failed: Vec<_> = records.iter().filter_map(RequestRecord::failure).collect();
    let first = failed.first().map_or("", |error| error.message.as_str());
    format!("{} of {} requests failed; the first: {first}", failed.len(), records.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::record::RequestError;

    #[test]
    fn three_failures_in_a_row_are_enough_and_a_refusal_at_once_is() {
        let record = |class: Option<RequestErrorClass>| RequestRecord {
            error: class.map(|class| RequestError { class, message: "no".to_owned() }),
            ..RequestRecord::default()
        };
        let all = |classes: &[Option<RequestErrorClass>]| {
            gave_up(&classes.iter().map(|class| record(*class)).collect::<Vec<_>>())
        };
        let (good, refused) = (None, Some(RequestErrorClass::ClientError));
        let broken = Some(RequestErrorClass::ServerError);
        assert!(!all(&[]) && !all(&[good]) && !all(&[good, refused, refused]));
        assert!(all(&[refused]) && all(&[good, refused, broken, refused]));
        assert!(!all(&[broken, broken]) && all(&[broken, broken, broken]));
        assert!(!all(&[broken, broken, good, broken]));
        let text = failures(&[record(good), record(refused)]);
        assert_eq!(text, "1 of 2 requests failed; the first: no");
    }
}
