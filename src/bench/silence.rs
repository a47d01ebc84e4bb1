//! Ends requests whose server has fallen silent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::bench::client::Limits;
use crate::bench::clock::now_ns;
use crate::bench::connection::Stamps;
use crate::bench::record::{RequestError, RequestErrorClass};
use crate::bench::stream::StreamReader;

/// Ends a request whose server says nothing. One timer per request, moved on
/// when it fires: a stream does not pay for it with every chunk.
pub(crate) struct Timer {
    sleep: Pin<Box<tokio::time::Sleep>>,
    started_ns: u64,
    limits: Limits,
    after_done: bool,
}

impl Timer {
    pub(crate) fn new(started_ns: u64, limits: Limits) -> Self {
        let first = limits.first_token.min(limits.silence);
        let sleep = Box::pin(tokio::time::sleep_until(Instant::now() + first));
        Self { sleep, started_ns, limits, after_done: false }
    }

    /// Ready with an error when the server has been silent for too long.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stamps: &Stamps,
        reader: &mut StreamReader,
    ) -> Poll<RequestError> {
        if reader.is_done() && !self.after_done {
            self.after_done = true;
            self.sleep.as_mut().reset(Instant::now() + self.limits.after_done);
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let started = reader.record_mut().first_token_ns.is_some();
            let (since_ns, limit, what) = if started || self.after_done {
                let since = stamps.read().unwrap_or(self.started_ns);
                let limit =
                    if self.after_done { self.limits.after_done } else { self.limits.silence };
                (since, limit, "nothing came")
            } else {
                (self.started_ns, self.limits.first_token, "no token came")
            };
            let passed = Duration::from_nanos(now_ns().saturating_sub(since_ns));
            if passed >= limit || self.after_done {
                return Poll::Ready(RequestError {
                    class: RequestErrorClass::Silent,
                    message: format!("{what} for {} s", limit.as_secs_f64()),
                });
            }
            self.sleep.as_mut().reset(Instant::now() + limit.saturating_sub(passed));
        }
    }
}
