//! The time limits of a response: the first token, silence between tokens, the end after
//! `[DONE]`, and the whole. Applied by `exchange` with every poll; the limits themselves
//! are in `limits`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::clock::Clock;
use crate::client::limits::Limits;
use crate::client::record::{RequestError, RequestErrorClass};
use crate::client::stream::StreamReader;

/// Ends a request whose server is silent for too long. One timer per request, moved on
/// when it fires: a chunk costs nothing.
pub(crate) struct ResponseTimer {
    sleep: Pin<Box<tokio::time::Sleep>>,
    /// When `sleep` ends, in time of the clock: cheap to read with every chunk.
    ends_ns: u64,
    clock: Clock,
    started_ns: u64,
    limits: Limits,
    after_done: bool,
}

impl ResponseTimer {
    /// Runs from now.
    pub(crate) fn new(clock: Clock, limits: Limits) -> Self {
        let first = limits.first_token.min(limits.silence).min(limits.total);
        let started_ns = clock.elapsed_ns();
        let ends_ns = started_ns + first.as_nanos() as u64;
        let sleep = Box::pin(tokio::time::sleep_until(Instant::now() + first));
        Self { sleep, ends_ns, clock, started_ns, limits, after_done: false }
    }

    fn reset(&mut self, left: Duration) {
        self.ends_ns = self.clock.elapsed_ns() + left.as_nanos() as u64;
        self.sleep.as_mut().reset(Instant::now() + left);
    }

    /// Ready with an error when the server has been silent for too long.
    ///
    /// `has_read`: something was read since this task was woken, and an earlier call has
    /// registered this task's waker. Before its end, then, the timer need not be polled.
    /// `is_known`: what the answer is is known, and only its end is missing.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        has_read: bool,
        is_known: bool,
        reader: &StreamReader,
    ) -> Poll<RequestError> {
        if is_known && !self.after_done {
            self.after_done = true;
            self.reset(self.limits.after_done);
        } else if has_read && self.clock.elapsed_ns() < self.ends_ns {
            return Poll::Pending;
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.left(reader) {
                Ok(left) => self.reset(left),
                Err(message) => {
                    let class = RequestErrorClass::Silent;
                    return Poll::Ready(RequestError { class, message });
                }
            }
        }
    }

    /// The time that is left, or what took too long. Only tokens end a silence: comments and
    /// chunks without text merely keep a connection alive.
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
        let (passed, limit, what) = match reader.last_token_ns() {
            Some(last_ns) => (since(last_ns), silence, "no further token came"),
            None => (since(self.started_ns), first_token, "no token came"),
        };
        let left = limit.saturating_sub(passed);
        if left.is_zero() {
            return Err(format!("{what} for {} s", seconds(limit)));
        }
        Ok(left.min(whole))
    }
}
