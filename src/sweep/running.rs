//! The launches that run at present: tasks of their own, whose entries come to
//! the loop, which alone writes the journal.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::SweepContext;
use super::launch::{self, Order, Refused, Sink};
use crate::event::Emit;
use crate::history::HistoryError;
use crate::history::journal::Entry;
use crate::history::launch::LaunchOutcome;
use crate::strategy::Purpose;

/// What a strategy asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) trial: u32,
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
    Ended {
        launch: u32,
        trial: Trial,
        outcome: Result<LaunchOutcome, HistoryError>,
    },
    /// A launch panicked: the sweep is put in order before the panic continues.
    Panicked,
}

/// The running launches.
pub(super) struct Running {
    tasks: JoinSet<(u32, Result<LaunchOutcome, HistoryError>)>,
    trials: BTreeMap<u32, Trial>,
    sender: mpsc::Sender<Put>,
    puts: mpsc::Receiver<Put>,
    stop: CancellationToken,
    panic: Option<Box<dyn Any + Send>>,
    /// Trials whose missing repeats another launch is to measure, before any other.
    pub(super) again: VecDeque<Trial>,
}

impl Running {
    /// None yet. They stop when `cancel` does.
    pub(super) fn none(cancel: &CancellationToken) -> Self {
        let (sender, puts) = mpsc::channel(1);
        Self {
            tasks: JoinSet::new(),
            trials: BTreeMap::new(),
            sender,
            puts,
            stop: cancel.child_token(),
            panic: None,
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
        let emit: Emit = context.events.emit();
        self.trials.insert(launch, trial);
        self.tasks.spawn(async move {
            (launch, launch::run(&order, &*engine, &*measure, &sink, &emit, &stop).await)
        });
    }

    /// The next thing that comes from them; to be asked only while some run.
    /// Safe to be dropped before it is done.
    pub(super) async fn next(&mut self) -> Incoming {
        tokio::select! {
            biased;
            Some(put) = self.puts.recv() => Incoming::Put(put),
            Some(ended) = self.tasks.join_next() => match ended {
                Ok((launch, outcome)) => match self.trials.remove(&launch) {
                    Some(trial) => Incoming::Ended { launch, trial, outcome },
                    None => unreachable!("a launch that runs has its trial"),
                },
                Err(error) => {
                    self.panic = error.try_into_panic().ok();
                    Incoming::Panicked
                }
            },
        }
    }

    /// Stops all of them and waits until each has stopped its server; what they
    /// still measure is refused. Gives how they ended.
    pub(super) async fn stop_all(&mut self) -> Vec<(u32, LaunchOutcome)> {
        self.stop.cancel();
        let mut ended = Vec::new();
        while !self.tasks.is_empty() {
            match self.next().await {
                Incoming::Put(refused) => drop(refused),
                Incoming::Ended { launch, outcome: Ok(outcome), .. } => {
                    ended.push((launch, outcome));
                }
                Incoming::Ended { .. } | Incoming::Panicked => {}
            }
        }
        ended
    }

    /// Continues the panic of a launch, where one panicked.
    pub(super) fn resume_panic(&mut self) {
        if let Some(panic) = self.panic.take() {
            std::panic::resume_unwind(panic);
        }
    }
}
