//! The engine's loop: takes requests, paces steps against absolute deadlines, sends out
//! tokens. It has a thread of its own, because a step is often shorter than the
//! millisecond that tokio's timers resolve. What a step contains is decided in
//! `scheduler`, how long it takes in `pace`.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::faults::{ENGINE_DEAD_ERROR, Faults};
use super::log::{Log, Process};
use super::metrics::{Finish, Metrics};
use super::pace::Pace;
use super::scheduler::{Admission, Plan, Produced, Request, RequestId, Scheduler};

/// A schedule further behind than this is restarted: the machine was suspended.
const LARGEST_LAG: Duration = Duration::from_millis(250);
/// vLLM writes its throughput line this often while there is something to report.
const THROUGHPUT_INTERVAL: Duration = Duration::from_secs(10);

enum Command {
    Add { request: Request, finish: Finish, tokens: mpsc::UnboundedSender<Produced>, at: Instant },
    Abort(RequestId),
    ResetPrefixCache(oneshot::Sender<bool>),
    Stop,
}

/// A request to the engine.
#[derive(Debug)]
pub struct Ask {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Separates cache blocks.
    pub cache_salt: Option<String>,
    /// What the answer is drawn from.
    pub output_seed: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Why it will end there.
    pub finish: Finish,
}

/// The way to a running engine.
#[derive(Clone, Debug)]
pub struct Engine {
    commands: Sender<Command>,
    next: Arc<AtomicU64>,
    metrics: Arc<Mutex<Metrics>>,
    dead: CancellationToken,
    gone: CancellationToken,
}

impl Engine {
    /// Starts the engine's thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        scheduler: Scheduler,
        pace: Pace,
        metrics: Metrics,
        options: &Options,
        log: Log,
    ) -> std::io::Result<Self> {
        let (commands, receiver) = channel();
        let metrics = Arc::new(Mutex::new(metrics));
        let (dead, gone) = (CancellationToken::new(), CancellationToken::new());
        let engine = Self {
            commands,
            next: Arc::default(),
            metrics: Arc::clone(&metrics),
            dead: dead.clone(),
            gone: gone.clone(),
        };
        let now = Instant::now();
        let dies = options.faults.dies_on_second_chunk;
        let worker = Worker {
            second_chunk: dies.then(|| SecondChunk::of(&scheduler)),
            scheduler,
            pace,
            metrics,
            speed: options.speed,
            die_after: options.faults.die_after.unwrap_or(u64::MAX),
            freeze: Freeze::of(&options.faults, options.speed),
            exit_after: options.faults.exit_after.unwrap_or(u64::MAX),
            generated: 0,
            dead,
            gone,
            log,
            receiver,
            origin: now,
            schedule: now,
            clients: HashMap::new(),
            reported: (now, 0, 0),
        };
        std::thread::Builder::new().name("simulated-engine".into()).spawn(move || worker.run())?;
        Ok(engine)
    }

    /// SweepContext in a request; its tokens come through the answer, which aborts the
    /// request when it is dropped early.
    pub fn ask(&self, ask: Ask) -> Answer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, tokens) = mpsc::unbounded_channel();
        let request = Request {
            id,
            prompt: ask.prompt,
            cache_salt: ask.cache_salt,
            output_seed: ask.output_seed,
            output_tokens: ask.output_tokens,
        };
        let command =
            Command::Add { request, finish: ask.finish, tokens: sender, at: Instant::now() };
        // A dead engine drops the command and with it the sender: the answer ends empty.
        let _ = self.commands.send(command);
        Answer {
            id,
            tokens,
            commands: self.commands.clone(),
            dead: self.dead.clone(),
            finished: false,
        }
    }

    /// Empties the prefix cache; false while requests run or after the engine ended.
    pub async fn reset_prefix_cache(&self) -> bool {
        let (sender, done) = oneshot::channel();
        let _ = self.commands.send(Command::ResetPrefixCache(sender));
        done.await.unwrap_or(false)
    }

    /// Ends the engine; answers under way end where they are.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// Whether the engine died by itself.
    pub fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Waits for the engine's death; for ever where it does not die.
    pub async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// Whether the whole process ended by itself.
    pub fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Waits until the process ends by itself; for ever where it does not.
    pub async fn left(&self) {
        self.gone.cancelled().await;
    }

    /// The Prometheus text.
    pub fn metrics_text(&self) -> String {
        lock(&self.metrics).render()
    }

    /// Requests in the batch and in the queue.
    pub fn load(&self) -> usize {
        let metrics = lock(&self.metrics);
        metrics.running + metrics.waiting
    }
}

fn lock(metrics: &Mutex<Metrics>) -> MutexGuard<'_, Metrics> {
    // Counters stay usable after a panic elsewhere.
    metrics.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tokens of one request as they come.
#[derive(Debug)]
pub struct Answer {
    id: RequestId,
    tokens: mpsc::UnboundedReceiver<Produced>,
    commands: Sender<Command>,
    dead: CancellationToken,
    finished: bool,
}

impl Answer {
    /// The request's number.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Whether it ended because the engine died.
    pub fn engine_died(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// The tokens that are there, at least one; `None` after the last, and when
    /// the engine has ended.
    pub async fn next(&mut self) -> Option<Vec<Produced>> {
        let mut tokens = Vec::new();
        self.tokens.recv_many(&mut tokens, 4096).await;
        self.finished |= tokens.last().is_some_and(|token| token.finished);
        (!tokens.is_empty()).then_some(tokens)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.commands.send(Command::Abort(self.id));
        }
    }
}

struct Client {
    tokens: mpsc::UnboundedSender<Produced>,
    finish: Finish,
    max_tokens: u64,
    last: Option<Produced>,
}

/// An engine that stops stepping, for some time or for good.
struct Freeze {
    after: u64,
    lasts: Option<Duration>,
    since: Option<Instant>,
}

impl Freeze {
    fn of(faults: &Faults, speed: f64) -> Self {
        let lasts = faults.freeze_seconds.map(|s| Duration::from_secs_f64(s / speed));
        Self { after: faults.freeze_after.unwrap_or(u64::MAX), lasts, since: None }
    }

    /// Whether nothing steps after so many tokens.
    fn holds(&mut self, generated: u64, now: Instant) -> bool {
        if generated < self.after {
            return false;
        }
        self.since.get_or_insert(now);
        self.lasts.is_none() || self.left(now).is_some()
    }

    /// How long it still lasts; `None` where nothing is frozen, or for good.
    fn left(&self, now: Instant) -> Option<Duration> {
        let left = (self.since? + self.lasts?).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// Sees the second step of a prompt that is too long for one.
struct SecondChunk {
    longest: u64,
    begun: HashSet<RequestId>,
}

impl SecondChunk {
    fn of(scheduler: &Scheduler) -> Self {
        Self { longest: scheduler.longest_chunk(), begun: HashSet::new() }
    }

    /// Whether it is in this step.
    fn comes(&mut self, plan: &Plan) -> bool {
        let comes = plan.work.iter().any(|work| work.prefill && self.begun.contains(&work.id));
        let long = |it: &&Admission| it.prompt_tokens - it.cached_tokens > self.longest;
        self.begun.extend(plan.admitted.iter().filter(long).map(|admission| admission.id));
        comes
    }
}

struct Worker {
    scheduler: Scheduler,
    pace: Pace,
    metrics: Arc<Mutex<Metrics>>,
    speed: f64,
    die_after: u64,
    /// Where the engine dies of it.
    second_chunk: Option<SecondChunk>,
    freeze: Freeze,
    exit_after: u64,
    /// Tokens generated so far.
    generated: u64,
    dead: CancellationToken,
    gone: CancellationToken,
    log: Log,
    receiver: Receiver<Command>,
    origin: Instant,
    /// When the step under way ends: deadlines add up, errors of sleeping do not.
    schedule: Instant,
    clients: HashMap<RequestId, Client>,
    reported: (Instant, u64, u64),
}

impl Worker {
    fn run(mut self) {
        let mut arrived = Vec::new();
        loop {
            if !self.obey_all(&mut arrived) {
                return;
            }
            self.report_throughput();
            let now = self.seconds(self.schedule);
            let is_frozen = self.freeze.holds(self.generated, Instant::now());
            let plan = if is_frozen { None } else { self.scheduler.schedule(now) };
            self.set_gauges();
            let Some(plan) = plan else {
                if !self.idle(&mut arrived) {
                    return;
                }
                continue;
            };
            let seconds = self.pace.step_seconds(&plan, now * self.speed) / self.speed;
            self.schedule += Duration::from_secs_f64(seconds);
            if !self.sleep(&mut arrived) {
                return;
            }
            let produced = self.scheduler.complete(&plan, self.seconds(self.schedule));
            self.generated += produced.len() as u64;
            if self.generated > self.exit_after {
                self.gone.cancel();
                return;
            }
            let second_chunk = self.second_chunk.as_mut().is_some_and(|it| it.comes(&plan));
            if second_chunk || self.generated > self.die_after {
                // Before the clients' channels close, so that they can distinguish death from a stop.
                self.dead.cancel();
                self.log_death();
                return;
            }
            for token in &produced {
                if let Some(client) = self.clients.get_mut(&token.id) {
                    client.last = Some(token.clone());
                    // A client that went away has sent its abort.
                    let _ = client.tokens.send(token.clone());
                }
            }
            self.count(&plan, &produced);
        }
    }

    /// Carries out what was collected and what is there; false at the end.
    fn obey_all(&mut self, arrived: &mut Vec<Command>) -> bool {
        loop {
            match self.receiver.try_recv() {
                Ok(command) => arrived.push(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        arrived.drain(..).all(|command| self.obey(command))
    }

    /// Waits for something to do; false when all handles are dropped.
    fn idle(&mut self, arrived: &mut Vec<Command>) -> bool {
        let longest = self.freeze.left(Instant::now()).unwrap_or(THROUGHPUT_INTERVAL);
        match self.receiver.recv_timeout(longest.min(THROUGHPUT_INTERVAL)) {
            Ok(command) => arrived.push(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        self.schedule = Instant::now();
        true
    }

    fn log_death(&self) {
        let core = Process::EngineCore;
        for (process, place, message) in [
            (
                core,
                "multiproc_executor.py:315",
                "Worker proc VllmWorker-0 died unexpectedly (exit code: None), shutting down \
                 executor.",
            ),
            (core, "core.py:1512", "EngineCore encountered a fatal error."),
            (Process::ApiServer, "async_llm.py:906", ENGINE_DEAD_ERROR),
        ] {
            self.log.line(process, "ERROR", place, message);
        }
    }

    /// Sleeps until the step's end, collecting commands; false when all handles are dropped.
    fn sleep(&mut self, arrived: &mut Vec<Command>) -> bool {
        loop {
            let now = Instant::now();
            if now >= self.schedule {
                if now - self.schedule > LARGEST_LAG {
                    self.schedule = now;
                }
                return true;
            }
            match self.receiver.recv_timeout(self.schedule - now) {
                Ok(command) => arrived.push(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.origin).as_secs_f64()
    }

    /// Carries out a command; false where it was the last.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Stop => return false,
            Command::Add { request, finish, tokens, at } => {
                let client =
                    Client { tokens, finish, max_tokens: request.output_tokens, last: None };
                self.clients.insert(request.id, client);
                self.scheduler.add(&request, self.seconds(at));
            }
            Command::Abort(id) => {
                if self.scheduler.abort(id) {
                    self.end(id, Some(Finish::Abort));
                }
            }
            Command::ResetPrefixCache(done) => {
                let _ = done.send(self.scheduler.reset_prefix_cache());
            }
        }
        true
    }

    fn count(&mut self, plan: &Plan, produced: &[Produced]) {
        lock(&self.metrics).count_step(plan, produced);
        for token in produced.iter().filter(|token| token.finished) {
            self.end(token.id, None);
        }
    }

    fn end(&mut self, id: RequestId, finish: Option<Finish>) {
        if let Some(client) = self.clients.remove(&id) {
            let finish = finish.unwrap_or(client.finish);
            lock(&self.metrics).count_finish(finish, client.last.as_ref(), client.max_tokens);
        }
    }

    fn set_gauges(&self) {
        let mut metrics = lock(&self.metrics);
        metrics.running = self.scheduler.running();
        metrics.waiting = self.scheduler.waiting();
        metrics.cache_usage = self.scheduler.cache_usage();
    }

    fn report_throughput(&mut self) {
        let (last, prompt_before, generated_before) = self.reported;
        let elapsed = last.elapsed();
        if elapsed < THROUGHPUT_INTERVAL {
            return;
        }
        let metrics = lock(&self.metrics);
        let (prompt, generated) = metrics.throughput_tokens();
        let hit_rate = metrics.hit_rate().unwrap_or(0.0) * 100.0;
        drop(metrics);
        self.reported = (Instant::now(), prompt, generated);
        if (prompt, generated) == (prompt_before, generated_before) {
            return;
        }
        let rate = |now: u64, before: u64| (now - before) as f64 / elapsed.as_secs_f64();
        let message = format!(
            "Engine 000: Avg prompt throughput: {:.1} tokens/s, Avg generation throughput: {:.1} \
             tokens/s, Running: {} reqs, Waiting: {} reqs, GPU KV cache usage: {:.1}%, Prefix cache \
             hit rate: {hit_rate:.1}%",
            rate(prompt, prompt_before),
            rate(generated, generated_before),
            self.scheduler.running(),
            self.scheduler.waiting(),
            self.scheduler.cache_usage() * 100.0,
        );
        self.log.line(Process::ApiServer, "INFO", "loggers.py:335", &message);
    }
}
