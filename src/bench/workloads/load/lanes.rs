//! Threads that do nothing but keep requests in flight. Each has a runtime of its
//! own, so that a chunk is read by the thread that its arrival wakes: no other
//! thread is called for it, and nothing else that the program does is in its way.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::client::record::RequestError;
use crate::client::{Client, Slot};

/// Streams that one lane carries easily: 128 of them at 100 tokens a second are
/// a tenth of a core.
const STREAMS: usize = 128;

/// The lanes of one load. They end when dropped, and what runs on them with them.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Lane {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Lanes {
    /// As many as so many streams want, and half the machine's cores at most:
    /// the server may run on the others.
    ///
    /// # Errors
    /// A thread or a runtime that could not be started.
    pub(crate) fn start(streams: usize) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = streams.div_ceil(STREAMS).clamp(1, (cores / 2).max(1));
        let mut lanes = Self { lanes: Vec::new(), stop: CancellationToken::new() };
        for _ in 0..count {
            let lane = Lane::start(lanes.stop.clone())?;
            lanes.lanes.push(lane);
        }
        Ok(lanes)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Where the tasks of the stream of this number run.
    pub(crate) fn of(&self, number: usize) -> &Handle {
        // There is one at least.
        &self.lanes[number % self.lanes.len()].handle
    }

    /// `count` slots, all open, each on the lane of its number.
    ///
    /// # Errors
    /// The first connection that could not be opened.
    pub(crate) async fn open(
        &self,
        client: &Client,
        count: usize,
    ) -> Result<Vec<Slot>, RequestError> {
        let lanes = self.lanes.len();
        let mut opened = Vec::new();
        for (number, lane) in self.lanes.iter().enumerate() {
            let share = (count + lanes - 1 - number) / lanes;
            let client = client.clone();
            let slots = lane.handle.spawn(async move { client.open(share).await });
            // A lane ends after its tasks: only a panic, which is reported elsewhere, loses one.
            opened.push(slots.await.unwrap_or_else(|_| Ok(Vec::new()))?.into_iter());
        }
        let mut slots = Vec::with_capacity(count);
        while let Some(slot) = opened[slots.len() % lanes].next() {
            slots.push(slot);
        }
        Ok(slots)
    }
}

impl Lane {
    fn start(stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || runtime.block_on(stop.cancelled()))?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.stop.cancel();
        for lane in &mut self.lanes {
            if let Some(thread) = lane.thread.take() {
                // Its connections are closed when it has ended; a panic was reported already.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_runs_on_lanes_ends_with_them() {
        let lanes = Lanes::start(1000).expect("threads");
        assert!(lanes.count() >= 1);
        let names = (0..4).map(|number| {
            lanes.of(number).spawn(async { std::thread::current().name().map(str::to_owned) })
        });
        for name in futures_util::future::join_all(names).await {
            assert_eq!(name.expect("no panic").as_deref(), Some("load"));
        }
        let endless = lanes.of(0).spawn(std::future::pending::<()>());
        drop(lanes);
        assert!(endless.await.expect_err("it never ends by itself").is_cancelled());
    }
}
