//! Keeps requests in flight: closed loops on slots of their own, open loops on a
//! schedule. A request is sent once, whatever becomes of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health::Health;
use super::lanes::Lanes;
use super::prompts::Prompts;
use super::sample::{KEPT, Sampler};
use crate::client::clock::Clock;
use crate::client::record::RequestRecord;
use crate::client::request::Prepared;
use crate::client::{Client, Order, Slot};
use crate::workload::Arrivals;

/// So long before its request a connection is looked after, where there is time.
const AHEAD: Duration = Duration::from_millis(500);

/// What every task of a load shares.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    pub(crate) client: Arc<Client>,
    pub(crate) prompts: Prompts,
    pub(crate) clock: Clock,
    pub(crate) cancel: CancellationToken,
    pub(crate) purpose: Arc<str>,
    /// No request is begun after it, nanoseconds of `clock`.
    pub(crate) until_ns: Option<u64>,
    pub(crate) health: Arc<Health>,
    /// Takes the answers that are looked at.
    pub(crate) sampler: Option<Sampler>,
}

/// What a load leaves besides its records.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) health: Arc<Health>,
    pub(crate) sampler: Option<Sampler>,
}

/// Slots of one lane that wait for a request.
struct Free {
    slots: Arc<Mutex<Vec<Slot>>>,
    lane: tokio::runtime::Handle,
}

/// What a loop gave.
#[derive(Debug, Default)]
pub(crate) struct Generated {
    /// In the order of their numbers.
    pub(crate) records: Vec<RequestRecord>,
    /// Closed loop: from the last slot's first send to the first slot's last end.
    pub(crate) busy: Option<(u64, u64)>,
}

impl Generator {
    /// What is known of the load when it is over.
    pub(crate) fn watch(&self) -> Watch {
        Watch { health: Arc::clone(&self.health), sampler: self.sampler.clone() }
    }

    fn is_over(&self) -> bool {
        self.cancel.is_cancelled()
            || self.health.given_up()
            || self.until_ns.is_some_and(|until| self.clock.elapsed_ns() >= until)
    }

    async fn send(
        &self,
        slot: &mut Slot,
        (index, mut prompt): (u32, Prepared),
        scheduled_ns: Option<u64>,
    ) -> RequestRecord {
        let order = Order { index, purpose: &self.purpose, scheduled_ns };
        let sampler = self.sampler.as_ref().filter(|it| it.takes(index));
        if sampler.is_some() {
            prompt.keep_last = Some(KEPT);
        }
        let sent = self.client.send(slot, &prompt, order, self.clock, &self.cancel).await;
        self.health.note(&sent.record);
        if let (Some(sampler), Some(answer), None) = (sampler, sent.answer, sent.record.failure()) {
            sampler.keep(index, answer);
        }
        sent.record
    }

    /// A closed loop on open slots, whose starts are spread over `ramp`. A request is
    /// due when its slot is free.
    pub(crate) async fn closed(self, lanes: &Lanes, slots: Vec<Slot>, ramp: Duration) -> Generated {
        self.on_slots(lanes, slots, ramp, usize::MAX).await
    }

    /// One request on each open slot, all at once.
    pub(crate) async fn burst(self, lanes: &Lanes, slots: Vec<Slot>) -> Generated {
        self.on_slots(lanes, slots, Duration::ZERO, 1).await
    }

    /// `each`: requests that a slot sends at most.
    async fn on_slots(
        self,
        lanes: &Lanes,
        slots: Vec<Slot>,
        ramp: Duration,
        each: usize,
    ) -> Generated {
        let count = slots.len().max(1) as u32;
        let begin = tokio::time::Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for (number, slot) in (0u32..).zip(slots) {
            let start = begin + ramp * number / count;
            tasks.spawn_on(self.clone().loop_on(slot, start, each), lanes.of(number as usize));
        }
        let streams = tasks.join_all().await;
        let busy = busy(&streams);
        let mut records: Vec<RequestRecord> = streams.into_iter().flatten().collect();
        records.sort_unstable_by_key(|record| record.index);
        Generated { records, busy }
    }

    async fn loop_on(
        self,
        mut slot: Slot,
        start: tokio::time::Instant,
        each: usize,
    ) -> Vec<RequestRecord> {
        let mut records = Vec::new();
        let started = self.cancel.run_until_cancelled(async {
            if let Some(before) = start.checked_sub(AHEAD)
                && before > tokio::time::Instant::now()
            {
                tokio::time::sleep_until(before).await;
                self.refresh(&mut slot, 2 * AHEAD).await;
            }
            tokio::time::sleep_until(start).await;
        });
        if started.await.is_none() {
            return records;
        }
        let mut free_ns = None;
        while records.len() < each
            && !self.is_over()
            && let Some(prompt) = self.prompts.next().await
        {
            let record = self.send(&mut slot, prompt, free_ns).await;
            let ended_ns = record.end_ns.filter(|_| record.failure().is_none());
            records.push(record);
            free_ns = match ended_ns {
                Some(ended_ns) if records.len() < each => {
                    Some(ended_ns + self.reopened(&mut slot).await)
                }
                _ => Some(self.clock.elapsed_ns()),
            };
        }
        records
    }

    /// How long it took to open a connection that the server had closed, in
    /// nanoseconds: no lag of the client.
    async fn reopened(&self, slot: &mut Slot) -> u64 {
        let before_ns = self.clock.elapsed_ns();
        let refreshed = self.refresh(slot, Duration::ZERO);
        match self.cancel.run_until_cancelled(refreshed).await {
            Some(false) => 0,
            Some(true) | None => self.clock.elapsed_ns() - before_ns,
        }
    }

    /// Looks after the connection of a request that is sent after `ahead`: a connect
    /// would count as the client's lag. Whether there was need to.
    async fn refresh(&self, slot: &mut Slot, ahead: Duration) -> bool {
        // The request itself shows what is wrong.
        self.client.ready_for(slot, ahead).await.unwrap_or(true)
    }

    /// Keeps the slots of a lane that `next` arrivals will take open and fresh, until it
    /// is dropped.
    async fn keep_fresh(self, slots: Arc<Mutex<Vec<Slot>>>, next: usize) {
        loop {
            tokio::time::sleep(AHEAD / 2).await;
            let mut stale = {
                let mut slots = lock(&slots);
                let first = slots.len().saturating_sub(next);
                let mut stale = Vec::new();
                for mut slot in slots.split_off(first) {
                    let is_fresh = self.client.is_ready_for(&mut slot, 2 * AHEAD);
                    if is_fresh { &mut *slots } else { &mut stale }.push(slot);
                }
                stale
            };
            for few in stale.chunks_mut(16) {
                let refreshed = few.iter_mut().map(|slot| self.refresh(slot, 2 * AHEAD));
                futures_util::future::join_all(refreshed).await;
            }
            lock(&slots).append(&mut stale);
        }
    }

    /// An open loop: each request at its time, on a slot that is free or new.
    /// A thread keeps the schedule: the runtime's timers tick in milliseconds.
    pub(crate) async fn open(
        self,
        lanes: &Lanes,
        slots: Vec<Slot>,
        schedule: Schedule,
    ) -> Generated {
        let tasks = TaskTracker::new();
        let records = Arc::new(Mutex::new(Vec::new()));
        let mut free: Vec<Free> = (0..lanes.count())
            .map(|lane| Free { slots: Arc::default(), lane: lanes.of(lane).clone() })
            .collect();
        for (number, slot) in slots.into_iter().enumerate() {
            lock(&free[number % lanes.count()].slots).push(slot);
        }
        let next = (schedule.rate * AHEAD.as_secs_f64() / lanes.count() as f64).ceil() as usize + 1;
        let mut keepers = tokio::task::JoinSet::new();
        for Free { slots, lane } in &free {
            keepers.spawn_on(self.clone().keep_fresh(Arc::clone(slots), next), lane);
        }
        let (tracker, kept) = (tasks.clone(), Arc::clone(&records));
        let keeper = tokio::task::spawn_blocking(move || {
            let origin_ns = self.clock.elapsed_ns();
            for offset_ns in schedule {
                let due_ns = origin_ns + offset_ns;
                let Some(prompt) = self.prompts.blocking_next() else { break };
                free.rotate_left(1);
                let Free { slots, lane } = &free[0];
                if !self.wait_until(due_ns) {
                    break;
                }
                let (this, kept, slots) = (self.clone(), Arc::clone(&kept), Arc::clone(slots));
                let sent = async move {
                    let mut slot = lock(&slots).pop().unwrap_or_default();
                    let record = this.send(&mut slot, prompt, Some(due_ns)).await;
                    lock(&kept).push(record);
                    // The last one used is the freshest: it is taken first.
                    lock(&slots).push(slot);
                };
                tracker.spawn_on(sent, lane);
            }
        });
        // A panic there is a bug; what was sent is still reported.
        let _ = keeper.await;
        keepers.abort_all();
        tasks.close();
        tasks.wait().await;
        let mut records = std::mem::take(&mut *lock(&records));
        records.sort_unstable_by_key(|record: &RequestRecord| record.index);
        Generated { records, busy: None }
    }

    /// Sleeps until a time of the clock; false when the load is over before.
    fn wait_until(&self, due_ns: u64) -> bool {
        loop {
            if self.is_over() {
                return false;
            }
            let left = due_ns.saturating_sub(self.clock.elapsed_ns());
            if left == 0 {
                return true;
            }
            // Short, so that a stop is heard.
            std::thread::sleep(Duration::from_nanos(left).min(Duration::from_millis(50)));
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When all slots were busy: `None` where one sent nothing, or they never all were.
fn busy(streams: &[Vec<RequestRecord>]) -> Option<(u64, u64)> {
    let mut window = (0, u64::MAX);
    for stream in streams {
        let (first, last) = (stream.first()?, stream.last()?);
        window.0 = window.0.max(first.sent_ns);
        window.1 = window.1.min(last.end_ns?);
    }
    (window.0 < window.1).then_some(window)
}

/// Times at which an open loop sends, in nanoseconds since its start.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    rate: f64,
    random: ChaCha8Rng,
    number: u64,
    /// Sum of the gaps so far, in units of the mean gap.
    passed: f64,
    /// What gaps are multiplied by.
    scale: f64,
}

impl Schedule {
    /// The same seed gives the same arrivals, scaled by the rate.
    pub(crate) fn new(arrivals: Arrivals, rate: f64, seed: u64) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { arrivals, rate, random, number: 0, passed: 0.0, scale: 1.0 }
    }

    /// The same for so many requests, whose gaps have the rate's mean: a handful drawn
    /// at random is offered at another rate, by tenths.
    pub(crate) fn of(arrivals: Arrivals, rate: f64, seed: u64, requests: u64) -> Self {
        let mut drawn = Self::new(arrivals, rate, seed);
        let gaps = requests.saturating_sub(1);
        for _ in 0..requests {
            drawn.next();
        }
        let scale = if drawn.passed > 0.0 { gaps as f64 / drawn.passed } else { 1.0 };
        Self { scale, ..Self::new(arrivals, rate, seed) }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.number > 0 {
            self.passed += match self.arrivals {
                Arrivals::Constant => 1.0,
                // In (0, 1]: the logarithm is finite.
                Arrivals::Poisson => -(1.0 - self.random.random::<f64>()).ln(),
            };
        }
        self.number += 1;
        Some((self.passed * self.scale / self.rate * 1e9) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::bench::workloads::load::outcome::{Note, note_of_idleness};
    use crate::client::Limits;
    use crate::client::request::{Input, RequestSpec, Target};
    use crate::server::{Endpoint, Server};

    #[test]
    fn schedules_have_the_rate_and_their_own_spread() {
        let constant: Vec<u64> = Schedule::new(Arrivals::Constant, 4.0, 1).take(3).collect();
        assert_eq!(constant, [0, 250_000_000, 500_000_000]);
        let poisson: Vec<u64> = Schedule::new(Arrivals::Poisson, 4.0, 1).take(10_001).collect();
        let seconds = poisson[10_000] as f64 / 1e9;
        assert!((seconds - 2500.0).abs() < 100.0, "{seconds}");
        let gaps: Vec<f64> =
            poisson.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential's standard deviation is its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance} {mean}");
        let faster: Vec<u64> = Schedule::new(Arrivals::Poisson, 8.0, 1).take(100).collect();
        assert!(faster.iter().zip(&poisson).all(|(fast, slow)| fast.abs_diff(slow / 2) <= 1));
        for (seed, requests) in [(1, 60), (2, 60), (3, 2), (4, 300)] {
            let offered = Schedule::of(Arrivals::Poisson, 5.0, seed, requests);
            let last = offered.take(requests as usize).last().expect("some");
            let exact = (requests - 1) as f64 / 5.0;
            assert!((last as f64 / 1e9 - exact).abs() < 1e-6, "{seed} {requests}: {last}");
        }
        assert_eq!(Schedule::of(Arrivals::Poisson, 5.0, 1, 1).next(), Some(0));
    }

    #[test]
    fn all_slots_are_busy_from_the_last_start_to_the_first_end() {
        let request = |sent_ns: u64, end: u64| RequestRecord {
            sent_ns,
            end_ns: Some(end),
            ..RequestRecord::default()
        };
        let streams = [vec![request(0, 10), request(10, 30)], vec![request(5, 25)]];
        assert_eq!(busy(&streams), Some((5, 25)));
        assert_eq!(busy(&[vec![request(0, 10)], vec![request(20, 30)]]), None);
        assert_eq!(busy(&[vec![request(0, 10)], vec![]]), None);
    }

    /// A server that answers at once.
    async fn quick() -> Client {
        let answer = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n\
                      data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n\
                      data: [DONE]\n\n";
        let answering = async move || ([("content-type", "text/event-stream")], answer);
        let router =
            axum::Router::new().route("/v1/chat/completions", axum::routing::post(answering));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        client(base_url).await
    }

    async fn client(base_url: String) -> Client {
        let server = Server {
            endpoint: Endpoint::new(base_url, None),
            model: "m".to_owned(),
            choice: crate::server::ModelChoice::Clear,
            max_model_len: None,
            version: None,
            simulated: false,
        };
        Client::new(&server, Limits::default()).await.expect("an address")
    }

    fn generator(client: Client, prompts: Prompts) -> Generator {
        Generator {
            client: Arc::new(client),
            prompts,
            clock: Clock::start(),
            cancel: CancellationToken::new(),
            purpose: "load".into(),
            until_ns: None,
            health: Arc::new(Health::new(9)),
            sampler: None,
        }
    }

    #[tokio::test]
    async fn slots_that_will_be_due_are_opened_anew_before_they_are_stale() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("bound"));
        let accepted = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.push(stream);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let generator = generator(
            client(base_url).await,
            Prompts::from_builder(tokio::sync::mpsc::channel(1).1),
        );
        let slots = Arc::new(Mutex::new(generator.client.open(3).await.expect("it listens")));
        let keeper = tokio::spawn(generator.keep_fresh(Arc::clone(&slots), 2));
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(accepted.load(Ordering::Relaxed), 3, "they are fresh");
        tokio::time::sleep(Duration::from_millis(1300)).await;
        keeper.abort();
        assert_eq!(accepted.load(Ordering::Relaxed), 5, "two will be due, one will not");
        assert_eq!(lock(&slots).len(), 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn slots_that_wait_for_a_slow_builder_are_seen_to() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            for index in 0..8 {
                std::thread::sleep(Duration::from_millis(50));
                let input = Input::Chat(vec![serde_json::json!({"role": "user", "content": "a"})]);
                let _ = sender.blocking_send((
                    index,
                    RequestSpec::speed(input, 1).prepare(&Target::new("m")),
                ));
            }
        });
        let generator = generator(quick().await, Prompts::from_builder(receiver));
        let lanes = Lanes::start(2).expect("a thread");
        let slots = lanes.open(&generator.client, 2).await.expect("it listens");
        let Generated { records, .. } = generator.closed(&lanes, slots, Duration::ZERO).await;
        assert!(records.iter().all(|record| record.error.is_none()), "{records:?}");
        assert!(records.iter().any(|record| record.scheduled_ns == record.sent_ns));
        let Some(Note::Void(reason)) = note_of_idleness(&records) else { panic!("{records:?}") };
        assert!(reason.contains("slots were without a request"), "{reason}");
    }
}
