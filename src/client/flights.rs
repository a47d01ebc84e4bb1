//! The requests in flight of one client: how many there are, when any answer last made
//! progress, and how long a prompt of their size takes to its first token. Progress is the
//! head of an answer or a token of it, not any byte. Read by who watches whether a server
//! still makes progress; what silence means is not decided here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::clock::now_ns;

/// The time to the first token that a prompt is expected to need where none of its size was
/// answered yet: a millisecond a byte is some 250 tokens a second. A kernel that is compiled
/// inside the first long prefill takes minutes.
const ASSUMED_NS_PER_BYTE: f64 = 1e6;
/// Sizes of prompts by powers of two, in bytes.
const CLASSES: usize = 48;

/// The requests of a client that are in flight. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Flights(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    next: u64,
    in_flight: BTreeMap<u64, InFlight>,
    /// When something was last heard of requests that are over, or the first was sent.
    since_ns: u64,
    /// When something was last heard of requests that are over.
    heard_ns: u64,
    /// Slowest time to a first token, in nanoseconds a byte, by the prompt's size.
    slowest: [Option<f64>; CLASSES],
}

#[derive(Debug)]
struct InFlight {
    bytes: u64,
    progress: Arc<Progress>,
}

/// How far the answer of one request has come.
#[derive(Debug, Default)]
struct Progress {
    /// When its head or its last token came; 0 before.
    heard_ns: AtomicU64,
    /// Whether a token came: its prefill is over. A server may send the head long before.
    has_token: AtomicBool,
}

/// What is in flight at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Underway {
    /// Requests that were sent and are not over.
    pub(crate) requests: usize,
    /// Since when no answer began and no token came, in time of [`now_ns`]; no earlier than the
    /// first of these requests.
    pub(crate) silent_since_ns: u64,
    /// When an answer last began or a token last came, of these requests or earlier ones; 0 where
    /// none did.
    pub(crate) heard_ns: u64,
    /// Expected time to the first token of the longest prompt among those that no token came
    /// of.
    pub(crate) prefill: Duration,
}

impl Default for Flights {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            next: 0,
            in_flight: BTreeMap::new(),
            since_ns: now_ns(),
            heard_ns: 0,
            slowest: [None; CLASSES],
        })))
    }
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The counts stay usable after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of `bytes` is sent now. It is in flight until it is dropped.
    pub(crate) fn begin(&self, bytes: u64) -> Flight {
        let mut state = self.lock();
        if state.in_flight.is_empty() {
            state.since_ns = now_ns();
        }
        let progress = Arc::<Progress>::default();
        let ahead = state.in_flight.values().filter(|other| !other.has_token()).map(|it| it.bytes);
        let ahead = ahead.sum::<u64>() + bytes;
        let number = state.next;
        state.next += 1;
        state.in_flight.insert(number, InFlight { bytes, progress: Arc::clone(&progress) });
        Flight { flights: self.clone(), number, bytes, ahead, progress }
    }

    /// What is in flight now.
    pub(crate) fn underway(&self) -> Underway {
        let state = self.lock();
        let heard = state.in_flight.values().map(InFlight::heard).max().unwrap_or(0);
        let prefilled = state.in_flight.values().filter(|it| !it.has_token());
        let longest = prefilled.map(|it| it.bytes).max();
        Underway {
            requests: state.in_flight.len(),
            silent_since_ns: state.since_ns.max(heard),
            heard_ns: state.heard_ns.max(heard),
            prefill: longest.map_or(Duration::ZERO, |bytes| state.prefill(bytes)),
        }
    }

    /// Expected time to the first token of a prompt of `bytes`.
    pub(crate) fn prefill(&self, bytes: u64) -> Duration {
        self.lock().prefill(bytes)
    }
}

impl State {
    /// As slow as the slowest prompt of this size was so far, or of the next larger size.
    fn prefill(&self, bytes: u64) -> Duration {
        let measured = self.slowest[class(bytes)..].iter().find_map(|slowest| *slowest);
        let ns = measured.unwrap_or(ASSUMED_NS_PER_BYTE) * bytes as f64;
        Duration::from_nanos(ns.min(u64::MAX as f64) as u64)
    }
}

fn class(bytes: u64) -> usize {
    (bytes.max(1).ilog2() as usize).min(CLASSES - 1)
}

impl InFlight {
    fn heard(&self) -> u64 {
        self.progress.heard_ns.load(Ordering::Relaxed)
    }

    fn has_token(&self) -> bool {
        self.progress.has_token.load(Ordering::Relaxed)
    }
}

/// One request in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    flights: Flights,
    number: u64,
    bytes: u64,
    /// Bytes of all prompts that no token had come of when it was sent, its own included.
    ahead: u64,
    progress: Arc<Progress>,
}

impl Flight {
    /// The head of its answer arrived, at a time of [`now_ns`].
    pub(crate) fn begins(&self, at_ns: u64) {
        self.progress.heard_ns.store(at_ns.max(1), Ordering::Relaxed);
    }

    /// A token of its answer arrived, at a time of [`now_ns`].
    pub(crate) fn token(&self, at_ns: u64) {
        self.begins(at_ns);
        self.progress.has_token.store(true, Ordering::Relaxed);
    }

    /// Its first token came after `ttft_ns`. The server had the prompts before it to do, too:
    /// each byte has its share.
    pub(crate) fn first_token(&self, ttft_ns: u64) {
        let each = ttft_ns as f64 / self.ahead.max(1) as f64;
        let mut state = self.flights.lock();
        let slowest = &mut state.slowest[class(self.bytes)];
        *slowest = Some(slowest.map_or(each, |known| known.max(each)));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.flights.lock();
        let heard = state.in_flight.remove(&self.number).map_or(0, |it| it.heard());
        state.since_ns = state.since_ns.max(heard);
        state.heard_ns = state.heard_ns.max(heard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_last_progress_of_any_answer_or_from_the_first_request() {
        let flights = Flights::default();
        assert_eq!(flights.underway().requests, 0);
        let before_ns = now_ns();
        let (one, other) = (flights.begin(1000), flights.begin(64));
        let underway = flights.underway();
        assert!(underway.requests == 2 && underway.silent_since_ns >= before_ns);
        let later_ns = now_ns() + 5_000_000;
        other.token(later_ns);
        assert_eq!(flights.underway().silent_since_ns, later_ns);
        drop(other);
        assert_eq!(flights.underway().silent_since_ns, later_ns, "it was heard all the same");
        one.begins(later_ns + 9);
        assert_eq!(flights.underway().silent_since_ns, later_ns + 9);
        drop(one);
        assert_eq!(flights.underway().requests, 0);
        // A request that is sent is no progress, though silence counts from it.
        let next = flights.begin(64);
        assert_eq!(flights.underway().heard_ns, later_ns + 9);
        drop(next);
    }

    #[test]
    fn a_prefill_is_expected_to_be_as_slow_as_the_slowest_of_its_size() {
        let flights = Flights::default();
        let seconds = |bytes| flights.prefill(bytes).as_secs_f64();
        assert!((seconds(4000) - 4.0).abs() < 1e-9, "nothing is known");
        for (bytes, ns) in [(4000, 400_000_000), (4000, 800_000_000), (4000, 1_000_000)] {
            flights.begin(bytes).first_token(ns);
        }
        assert!((seconds(4000) - 0.8).abs() < 1e-9, "a prompt from the cache shows nothing");
        assert!((seconds(2500) - 0.5).abs() < 1e-9, "by its length");
        assert!((seconds(1_000_000) - 1000.0).abs() < 1e-6, "no prompt of this size came yet");
        // Sixteen at once: the last waits for all others.
        let flights = Flights::default();
        let all: Vec<Flight> = (0..16).map(|_| flights.begin(1000)).collect();
        for (nth, flight) in all.iter().enumerate() {
            flight.first_token((nth as u64 + 1) * 100_000_000);
        }
        assert!((flights.prefill(1000).as_secs_f64() - 0.1).abs() < 1e-9);
        let underway = flights.underway();
        assert_eq!((underway.requests, underway.prefill), (16, Duration::from_millis(100)));
        for flight in &all {
            flight.begins(now_ns());
        }
        let prefill = flights.underway().prefill;
        assert_eq!(prefill, Duration::from_millis(100), "a head comes before the prefill");
        for flight in &all {
            flight.token(now_ns());
        }
        assert_eq!(flights.underway().prefill, Duration::ZERO, "they decode");
    }
}
