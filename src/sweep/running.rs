//! The launches that run at present. Their entries come to the loop, which alone
//! writes the journal. A launch keeps no worker thread from the requests that are
//! measured while it prepares something: where one runs at a time, it is part of
//! the loop's own task; where several do, each has a thread of its own, so that
//! neither another launch nor a write to the journal delays it.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::SweepError;
use super::context::SweepContext;
use super::hosts::{Made, Making, TakenUp};
use super::launch::{Refused, Sink, TrialOrder};
use super::production::caught;
use super::trial::Trial;
use crate::history::journal::Entry;

/// An entry of a running launch, which waits for `accepted`; dropped, it refuses.
pub(super) struct Put {
    pub(super) entry: Entry,
    /// When it happened, on another machine.
    pub(super) happened: Option<jiff::Timestamp>,
    accepted: oneshot::Sender<Entry>,
}

impl Put {
    /// The entry is durable, as `written`: its launch continues.
    pub(super) fn accept(self, written: Entry) {
        // A launch that was cancelled waits no longer.
        let _ = self.accepted.send(written);
    }
}

struct Sender(mpsc::Sender<Put>);

impl Sender {
    async fn send(
        &self,
        entry: Entry,
        happened: Option<jiff::Timestamp>,
    ) -> Result<Entry, Refused> {
        let (accepted, durable) = oneshot::channel();
        self.0.send(Put { entry, happened, accepted }).await.map_err(|_| Refused)?;
        durable.await.map_err(|_| Refused)
    }
}

#[async_trait]
impl Sink for Sender {
    async fn put(&self, entry: Entry) -> Result<Entry, Refused> {
        self.send(entry, None).await
    }

    async fn put_at(&self, entry: Entry, happened: jiff::Timestamp) -> Result<Entry, Refused> {
        self.send(entry, Some(happened)).await
    }
}

/// What comes from the running launches.
pub(super) enum Incoming {
    Put(Put),
    Ended {
        launch: u32,
        trial: Trial,
        outcome: Result<Made, SweepError>,
    },
    /// A bug: the panic is to continue once nothing runs any more.
    Panicked(Panic),
}

/// What a panic carries.
pub(super) type Panic = Box<dyn Any + Send>;
type Ended = Result<Result<Made, SweepError>, Panic>;
type Launch = Pin<Box<dyn Future<Output = (u32, Ended)> + Send>>;

/// The running launches.
pub(super) struct Running {
    futures: FuturesUnordered<Launch>,
    trials: BTreeMap<u32, Trial>,
    sender: mpsc::Sender<Put>,
    puts: mpsc::Receiver<Put>,
    stop: CancellationToken,
    /// Trials whose missing repeats another launch is to measure, before any other.
    pub(super) again: VecDeque<Trial>,
    /// Trials that earlier sessions did not finish, to be launched where the budget allows.
    pub(super) undone: VecDeque<Trial>,
}

impl Drop for Running {
    /// Whatever ends the loop, no launch outlives it unasked.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    /// None yet. They stop when `cancel` does.
    pub(super) fn none(cancel: &CancellationToken) -> Self {
        let (sender, puts) = mpsc::channel(1);
        Self {
            futures: FuturesUnordered::new(),
            trials: BTreeMap::new(),
            sender,
            puts,
            stop: cancel.child_token(),
            again: VecDeque::new(),
            undone: VecDeque::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.trials.len()
    }

    /// Starts a launch, or goes on with one that a job makes.
    pub(super) fn start(
        &mut self,
        trial: Trial,
        order: TrialOrder,
        taken_up: Option<TakenUp>,
        context: &SweepContext,
    ) {
        let launch = order.launch.launch;
        let hosts = context.hosts();
        let (sink, cancel) = (Sender(self.sender.clone()), self.stop.clone());
        let emit = context.events.emit();
        self.trials.insert(launch, trial);
        let several = hosts.measures_here() && hosts.places() > 1;
        let made = caught(async move {
            let (order, sink, emit, cancel) = (&order, &sink, &emit, &cancel);
            hosts.make(Making { order, taken_up, sink, emit, cancel }).await
        });
        self.futures.push(if several {
            let made = apart(made);
            Box::pin(
                async move { (launch, made.await.unwrap_or_else(|error| Err(panic_of(error)))) },
            )
        } else {
            Box::pin(async move { (launch, made.await) })
        });
    }

    /// The next thing that comes from them; to be asked only while some run.
    /// Safe to be dropped before it is done.
    pub(super) async fn next(&mut self) -> Incoming {
        tokio::select! {
            biased;
            Some(put) = self.puts.recv() => Incoming::Put(put),
            Some((launch, ended)) = self.futures.next() => {
                match (self.trials.remove(&launch), ended) {
                    (Some(trial), Ok(outcome)) => Incoming::Ended { launch, trial, outcome },
                    (Some(_), Err(panic)) => Incoming::Panicked(panic),
                    (None, _) => unreachable!("a launch that runs has its trial"),
                }
            }
        }
    }

    /// Asks all of them to stop; each then ends once its server is stopped.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Runs a future at once and beside the loop, on a thread of its own. A runtime
/// with one thread has none to keep free: there it is a task.
fn apart<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => tokio::spawn(future),
        _ => tokio::task::spawn_blocking(move || Handle::current().block_on(future)),
    }
}

/// What a task that ended without a result panicked with.
fn panic_of(error: tokio::task::JoinError) -> Panic {
    error.try_into_panic().unwrap_or_else(|error| Box::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_runs_apart_may_keep_its_thread_while_the_worker_serves_others() {
        let (served, waits) = std::sync::mpsc::channel();
        let blocked = apart(async move { waits.recv_timeout(std::time::Duration::from_secs(20)) });
        // On the only worker: it never runs if the launch keeps that one.
        tokio::spawn(async move { served.send(7) }).await.expect("a task").expect("a receiver");
        assert_eq!(blocked.await.expect("no panic"), Ok(7));
    }
}
