//! One connection, of TCP alone or with TLS in it: opened before a request is due, read in the
//! task of the request that uses it, closed when dropped. Nothing here sends twice: no pool, no
//! retry, no redirect, no proxy. TLS is fed with what was read, so that what it decrypts has the
//! time at which the bytes arrived that completed it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;

use crate::client::arrival::{self, Buffer};
use crate::client::clock::now_ns;
use crate::server::tls::{Session, Tls, cut};

/// An idle connection older than this is replaced: vLLM closes idle ones after 5 s.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// Reads without content, one after the other, that keep a thread busy at most.
const MAX_BARE: usize = 64;

/// Bytes that are read at once.
const READ: usize = 64 << 10;

thread_local! {
    /// What was read is processed at once, so the connections of a thread share one buffer.
    static BUFFER: RefCell<Buffer> = RefCell::new(Buffer::new(READ));
    /// What TLS made of it: no more than a buffer and a record.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    tls: Option<Box<Session>>,
    idle_since_ns: u64,
    /// Arrival times never decrease, whatever the clocks do.
    latest_ns: u64,
}

impl Connection {
    /// Connects to the first address that answers, and shakes hands where there is TLS.
    pub(crate) async fn open(addresses: &[SocketAddr], tls: Option<&Tls>) -> io::Result<Self> {
        let stream = TcpStream::connect(addresses).await?;
        stream.set_nodelay(true)?;
        let tls = match tls {
            Some(tls) => Some(Box::new(Box::pin(tls.begin(&stream)).await?)),
            None => None,
        };
        arrival::stamp(&stream);
        let now_ns = now_ns();
        Ok(Self { stream, tls, idle_since_ns: now_ns, latest_ns: now_ns })
    }

    /// A request is about to be sent: nothing of its answer has arrived before. The time of
    /// [`now_ns`]; `None` where a part of it is out already, as a piece of a TLS record.
    pub(crate) fn begin(&mut self) -> Option<u64> {
        if self.tls.as_ref().is_some_and(|tls| tls.is_under_way()) {
            return None;
        }
        self.latest_ns = now_ns();
        Some(self.latest_ns)
    }

    /// Writes what the socket takes of `bytes`. Until it is ready, the same bytes are given again.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, tls, .. } = self;
        let written = ready!(match tls {
            None => Pin::new(stream).poll_write(cx, bytes),
            Some(tls) => tls.poll_write(cx, stream, bytes),
        })?;
        // After a reply the kernel delays acknowledgements by 40 ms, to send them with the
        // next data; a server without TCP_NODELAY waits for them with its tokens.
        // Where the kernel has no such option, any client sees the same delay.
        let _ = SockRef::from(&self.stream).set_tcp_quickack(true);
        Poll::Ready(Ok(written))
    }

    /// Passes what has arrived to `take`, with its time of [`now_ns`]. No bytes: the other
    /// side has closed its direction.
    pub(crate) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(u64, &[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        let mut bare = 0;
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                if let Some(end) = self.tls.as_ref().and_then(|tls| tls.end()) {
                    end?;
                    return Poll::Ready(Ok(take(self.latest_ns, &[])));
                }
                ready!(self.stream.poll_read_ready(cx))?;
                let (length, at_ns) = match receive(&self.stream, buffer) {
                    Ok(received) => received,
                    Err(error) if is_transient(&error) => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                self.latest_ns = self.latest_ns.max(at_ns);
                let bytes = buffer.filled(length);
                let Some(tls) = &mut self.tls else {
                    return Poll::Ready(Ok(take(self.latest_ns, bytes)));
                };
                if bytes.is_empty() {
                    return Poll::Ready(Err(cut()));
                }
                if decrypt(tls, &self.stream, bytes) {
                    let taken = PLAIN.with_borrow(|plain| take(self.latest_ns, plain));
                    return Poll::Ready(Ok(taken));
                }
                // A part of a record, or what TLS sends for itself: of that without end, the
                // caller's time limits are the end.
                bare += 1;
                if bare == MAX_BARE {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        })
    }

    /// A response has ended: the connection waits for the next request.
    pub(crate) fn mark_idle(&mut self) {
        self.idle_since_ns = now_ns();
    }

    /// Whether a request can still be sent on it after `ahead`.
    pub(crate) fn is_usable(&mut self, ahead: Duration) -> bool {
        let idle = Duration::from_nanos(now_ns().saturating_sub(self.idle_since_ns));
        if idle + ahead > MAX_IDLE {
            return false;
        }
        match (arrival::peek(&self.stream), &mut self.tls) {
            (Err(error), tls) => {
                is_empty(&error) && tls.as_ref().is_none_or(|it| it.end().is_none())
            }
            // A close, or unexpected bytes.
            (Ok(0), _) | (Ok(_), None) => false,
            (Ok(_), Some(tls)) => is_still_usable(&self.stream, tls),
        }
    }
}

/// Whether what came meanwhile is TLS's own: tickets of sessions, new keys.
fn is_still_usable(stream: &TcpStream, tls: &mut Session) -> bool {
    BUFFER.with_borrow_mut(|buffer| {
        for _ in 0..MAX_BARE {
            match buffer.receive(stream) {
                Ok((0, _)) => return false,
                Ok((length, _)) => {
                    let has_content = decrypt(tls, stream, buffer.filled(length));
                    if has_content || tls.end().is_some() {
                        return false;
                    }
                }
                Err(error) => return is_empty(&error),
            }
        }
        false
    })
}

/// Decrypts bytes into [`PLAIN`]; whether anything is there then.
fn decrypt(tls: &mut Session, stream: &TcpStream, bytes: &[u8]) -> bool {
    PLAIN.with_borrow_mut(|plain| {
        plain.clear();
        tls.take(bytes, plain);
        // What does not go out now goes with the next request; so does an error.
        let _ = tls.send(stream);
        !plain.is_empty()
    })
}

fn is_empty(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Reads what there is. A socket that was emptied is marked as not ready without another
/// read: the kernel reports what comes next.
fn receive(stream: &TcpStream, buffer: &mut Buffer) -> io::Result<(usize, u64)> {
    let mut received = None;
    let read = stream.try_io(Interest::READABLE, || {
        let (length, at_ns) = buffer.receive(stream)?;
        received = Some((length, at_ns));
        let is_emptied = 0 < length && length < buffer.size();
        if is_emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match received {
        Some(received) => Ok(received),
        None => read.and(Err(io::ErrorKind::WouldBlock.into())),
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
