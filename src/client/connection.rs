//! One TCP connection: opened before a request is due, read in the task of the request
//! that uses it, closed when dropped. Nothing here sends twice: no pool, no retry, no
//! redirect, no proxy.

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

/// An idle connection older than this is replaced: vLLM closes idle ones after 5 s.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// Bytes that are read at once.
const READ: usize = 64 << 10;

thread_local! {
    /// What was read is processed at once, so the connections of a thread share one buffer.
    static BUFFER: RefCell<Buffer> = RefCell::new(Buffer::new(READ));
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    idle_since_ns: u64,
    /// Arrival times never decrease, whatever the clocks do.
    latest_ns: u64,
}

impl Connection {
    /// Connects to the first address that answers.
    pub(crate) async fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        let stream = TcpStream::connect(addresses).await?;
        stream.set_nodelay(true)?;
        arrival::stamp(&stream);
        let now_ns = now_ns();
        Ok(Self { stream, idle_since_ns: now_ns, latest_ns: now_ns })
    }

    /// Writes what the socket takes of `bytes`.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.latest_ns = now_ns();
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
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
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                ready!(self.stream.poll_read_ready(cx))?;
                match receive(&self.stream, buffer) {
                    Ok((length, at_ns)) => {
                        self.latest_ns = self.latest_ns.max(at_ns);
                        return Poll::Ready(Ok(take(self.latest_ns, buffer.filled(length))));
                    }
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        })
    }

    /// A response has ended: the connection waits for the next request.
    pub(crate) fn mark_idle(&mut self) {
        self.idle_since_ns = now_ns();
    }

    /// Whether a request can still be sent on it after `ahead`.
    pub(crate) fn is_usable(&self, ahead: Duration) -> bool {
        let idle = Duration::from_nanos(now_ns().saturating_sub(self.idle_since_ns));
        if idle + ahead > MAX_IDLE {
            return false;
        }
        // A close, or unexpected bytes.
        let nothing = arrival::peek(&self.stream);
        matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
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
