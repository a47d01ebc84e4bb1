//! One connection of our own: opened before the clock matters, read in the task
//! of the request that uses it, closed when dropped. Nothing here sends twice: no
//! pool, no retry, no redirect, no proxy.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::bench::clock::now_ns;

/// An idle connection older than this is replaced: vLLM closes idle ones after 5 s.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// Bytes that are read at once.
const READ: usize = 64 << 10;

thread_local! {
    /// What was read is used up at once, so that the connections of a thread can
    /// share the place that it is read to.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    idle_since_ns: u64,
}

impl Connection {
    /// Connects to the first address that answers.
    pub(crate) async fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        let stream = TcpStream::connect(addresses).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, idle_since_ns: now_ns() })
    }

    /// Writes what the socket takes of `bytes`.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// Gives what has arrived to `take`, with its time of [`now_ns`]; no bytes: the
    /// other side will send no more.
    pub(crate) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(u64, &[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            read.map_ok(|()| take(now_ns(), buffer.filled()))
        })
    }

    /// A response has ended: the connection waits for the next request.
    pub(crate) fn rests(&mut self) {
        self.idle_since_ns = now_ns();
    }

    /// Whether a request can still be sent on it after `ahead`.
    pub(crate) async fn is_usable(&self, ahead: Duration) -> bool {
        let idle = Duration::from_nanos(now_ns().saturating_sub(self.idle_since_ns));
        if idle + ahead > MAX_IDLE {
            return false;
        }
        if idle > Duration::from_millis(50) {
            // Lets the runtime learn of a close that has arrived meanwhile.
            tokio::task::yield_now().await;
        }
        // A close, or bytes that nobody asked for.
        let nothing = self.stream.try_read(&mut [0]);
        matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}
