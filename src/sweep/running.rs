//! The launches that run at present: futures of the loop's own task, whose
//! entries come to the loop, which alone writes the journal. They are no tasks
//! of their own, so that preparing one keeps no worker thread from the requests
//! that are measured.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::context::SweepContext;
use super::launch::{self, Order, Refused, Sink};
use crate::history::HistoryError;
use crate::history::journal::Entry;
use crate::history::launch::LaunchOutcome;
use crate::strategy::Purpose;

/// What a strategy asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) number: u32,
    pub(super) configuration: usize,
    pub(super) purpose: Purpose,
    pub(super) repeats: u32,
}

/// An entry of a running launch, which waits for `accepted`; dropped, it refuses.
pub(super) struct Put {
    pub(super) entry: Entry,
    accepted: oneshot::Sender<()>,
}

impl Put {
    /// The entry is durable: its launch continues.
    pub(super) fn accept(self) {
        // A launch that was cancelled waits no longer.
        let _ = self.accepted.send(());
    }
}

struct Sender(mpsc::Sender<Put>);

#[async_trait]
impl Sink for Sender {
    async fn put(&self, entry: Entry) -> Result<(), Refused> {
        let (accepted, durable) = oneshot::channel();
        self.0.send(Put { entry, accepted }).await.map_err(|_| Refused)?;
        durable.await.map_err(|_| Refused)
    }
}

/// What comes from the running launches.
pub(super) enum Incoming {
    Put(Put),
    Ended { launch: u32, trial: Trial, outcome: Result<LaunchOutcome, HistoryError> },
}

type Launch = Pin<Box<dyn Future<Output = (u32, Result<LaunchOutcome, HistoryError>)> + Send>>;

/// The running launches.
pub(super) struct Running {
    futures: FuturesUnordered<Launch>,
    trials: BTreeMap<u32, Trial>,
    sender: mpsc::Sender<Put>,
    puts: mpsc::Receiver<Put>,
    stop: CancellationToken,
    /// Trials whose missing repeats another launch is to measure, before any other.
    pub(super) again: VecDeque<Trial>,
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
        }
    }

    pub(super) fn count(&self) -> usize {
        self.trials.len()
    }

    /// Starts a launch.
    pub(super) fn start(&mut self, trial: Trial, order: Order, context: &SweepContext) {
        let launch = order.launch.launch;
        let (engine, measure) = (context.engine.clone(), context.measure.clone());
        let (sink, stop) = (Sender(self.sender.clone()), self.stop.clone());
        let emit = context.events.emit();
        self.trials.insert(launch, trial);
        self.futures.push(Box::pin(async move {
            (launch, launch::run(&order, &*engine, &*measure, &sink, &emit, &stop).await)
        }));
    }

    /// The next thing that comes from them; to be asked only while some run.
    /// Safe to be dropped before it is done.
    pub(super) async fn next(&mut self) -> Incoming {
        tokio::select! {
            biased;
            Some(put) = self.puts.recv() => Incoming::Put(put),
            Some((launch, outcome)) = self.futures.next() => match self.trials.remove(&launch) {
                Some(trial) => Incoming::Ended { launch, trial, outcome },
                None => unreachable!("a launch that runs has its trial"),
            },
        }
    }

    /// Stops all of them and waits until each has stopped its server; what they
    /// still measure is refused. Gives how they ended.
    pub(super) async fn stop_all(&mut self) -> Vec<(u32, LaunchOutcome)> {
        self.stop.cancel();
        let mut ended = Vec::new();
        while self.count() > 0 {
            match self.next().await {
                Incoming::Put(refused) => drop(refused),
                Incoming::Ended { launch, outcome: Ok(outcome), .. } => {
                    ended.push((launch, outcome));
                }
                Incoming::Ended { .. } => {}
            }
        }
        ended
    }
}
