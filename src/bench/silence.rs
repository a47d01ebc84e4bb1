//! Ends requests whose server has fallen silent, or that never end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::bench::client::Limits;
use crate::bench::clock::Clock;
use crate::bench::record::{RequestError, RequestErrorClass};
use crate::bench::stream::StreamReader;

/// Ends a request whose server says nothing. One timer per request, moved on
/// when it fires: a stream does not pay for it with every chunk.
pub(crate) struct Timer {
    sleep: Pin<Box<tokio::time::Sleep>>,
    clock: Clock,
    started_ns: u64,
    limits: Limits,
    after_done: bool,
}

impl Timer {
    /// Runs from now.
    pub(crate) fn new(clock: Clock, limits: Limits) -> Self {
        let first = limits.first_token.min(limits.silence).min(limits.total);
        let sleep = Box::pin(tokio::time::sleep_until(Instant::now() + first));
        Self { sleep, clock, started_ns: clock.elapsed_ns(), limits, after_done: false }
    }

    /// Ready with an error when the server has been silent for too long. `known`:
    /// this task was told to wake by an earlier call.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        known: bool,
        reader: &StreamReader,
    ) -> Poll<RequestError> {
        let ends = reader.is_done() && !self.after_done;
        if ends {
            self.after_done = true;
            self.sleep.as_mut().reset(Instant::now() + self.limits.after_done);
        } else if known && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.left(reader) {
                Ok(left) => self.sleep.as_mut().reset(Instant::now() + left),
                Err(message) => {
                    let class = RequestErrorClass::Silent;
                    return Poll::Ready(RequestError { class, message });
                }
            }
        }
    }

    /// The time that is left, or what took too long. Silence is broken by events
    /// with data: comments keep a connection alive, and say nothing.
    fn left(&self, reader: &StreamReader) -> Result<Duration, String> {
        let seconds = |limit: Duration| limit.as_secs_f64();
        let now_ns = self.clock.elapsed_ns();
        let since = |ns: u64| Duration::from_nanos(now_ns.saturating_sub(ns));
        let Limits { total, first_token, silence, after_done, .. } = self.limits;
        if self.after_done {
            return Err(format!("the answer did not end within {} s", seconds(after_done)));
        }
        let whole = total.saturating_sub(since(self.started_ns));
        if whole.is_zero() {
            return Err(format!("the answer was not over after {} s", seconds(total)));
        }
        let (passed, limit, what) = match reader.last_event_ns() {
            Some(last_ns) if reader.has_token() => (since(last_ns), silence, "nothing came"),
            _ => (since(self.started_ns), first_token, "no token came"),
        };
        let left = limit.saturating_sub(passed);
        if left.is_zero() {
            return Err(format!("{what} for {} s", seconds(limit)));
        }
        Ok(left.min(whole))
    }
}
