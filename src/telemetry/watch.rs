//! The server's counters each second, while a load runs. Rendering them costs the server
//! 60 KB of text: not more often, and not in latency workloads. Single readings are
//! `Counters::scrape`'s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::client::clock::now_ns;
use crate::server::counters::Counters;
use crate::server::http::Http;

const INTERVAL: Duration = Duration::from_secs(1);

/// Counters that were read, each with the time of [`now_ns`].
pub(crate) type Readings = Vec<(u64, Counters)>;

/// Reads until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    readings: Arc<Mutex<Readings>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to read. A server without counters is not asked again and again; one
    /// that `has` them, as an earlier reading showed, may be slow or come back.
    pub(crate) fn start(http: Http, has: bool) -> Self {
        Self::start_each(http, has, INTERVAL)
    }

    fn start_each(http: Http, has: bool, each: Duration) -> Self {
        let readings = Arc::new(Mutex::new(Readings::new()));
        let shared = Arc::clone(&readings);
        let task = tokio::spawn(async move {
            // The first reading is one interval after the start.
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + each, each);
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
                        counters.engines.clear();
                        read.push((at, counters));
                    }
                    None if read.is_empty() && !has => return,
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::server::Endpoint;

    /// A server whose first answer is no reading, and all later ones are.
    async fn late() -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            let mut status = "500 Not Yet";
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let body = "vllm:request_success_total 1.0\n";
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
                let length = format!("content-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{length}{body}").as_bytes()).await;
                status = "200 OK";
            }
        });
        Http::new(&Endpoint::new(base_url, None)).expect("an address")
    }

    #[tokio::test]
    async fn a_failed_reading_ends_nothing_where_there_are_counters() {
        let each = Duration::from_millis(10);
        let watch = Watch::start_each(late().await, true, each);
        while watch.readings.lock().expect("no panic").is_empty() {
            assert!(!watch.task.is_finished());
            tokio::time::sleep(each).await;
        }
        assert_eq!(watch.stop()[0].1.requests, Some(1));

        let watch = Watch::start_each(late().await, false, each);
        while !watch.task.is_finished() {
            tokio::time::sleep(each).await;
        }
        assert!(watch.stop().is_empty());
    }
}
