//! The server's counters each second, while a load runs. Rendering them costs the
//! server 60 KB of text: not more often, and not in latency workloads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::bench::clock::now_ns;
use crate::server::counters::Counters;
use crate::server::http::Http;

const EACH: Duration = Duration::from_secs(1);

/// Counters that were read, each with the time of [`now_ns`].
pub(crate) type Readings = Vec<(u64, Counters)>;

/// Reads until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    readings: Arc<Mutex<Readings>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to read.
    pub(crate) fn start(http: Http) -> Self {
        let readings = Arc::new(Mutex::new(Readings::new()));
        let shared = Arc::clone(&readings);
        let task = tokio::spawn(async move {
            // What there is before the load is read by itself.
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EACH, EACH);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let at = now_ns();
                let scraped = Counters::scrape(&http).await;
                let mut read = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match scraped {
                    Some(mut counters) => {
                        // The same each time, and most of it.
                        counters.cache_config.clear();
                        read.push((at, counters));
                    }
                    // A server without counters is not asked again and again; one that
                    // had them may come back.
                    None if read.is_empty() => return,
                    None => {}
                }
            }
        });
        Self { readings, task }
    }

    /// What was read.
    pub(crate) fn stop(self) -> Readings {
        self.task.abort();
        std::mem::take(&mut *self.readings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
