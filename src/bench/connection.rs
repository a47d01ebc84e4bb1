//! One HTTP/1.1 connection of our own: opened before the clock matters, driven
//! in the task of the request that uses it, closed when dropped. Nothing here
//! sends twice: no pool, no retry, no redirect, no proxy.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::bench::clock::now_ns;

/// An idle connection older than this is replaced: vLLM closes idle ones after 5 s.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// When bytes went out and came in, in nanoseconds of [`now_ns`].
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    /// The first write since [`Stamps::arm`]; 0 before it.
    wrote: AtomicU64,
    /// The last read that gave something.
    read: AtomicU64,
}

impl Stamps {
    /// The next write is the start of a request.
    pub(crate) fn arm(&self) {
        self.wrote.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
    }

    /// When the request's first bytes were handed to the socket.
    pub(crate) fn wrote(&self) -> Option<u64> {
        Some(self.wrote.load(Ordering::Relaxed)).filter(|stamp| *stamp != 0)
    }

    /// When the last bytes arrived.
    pub(crate) fn read(&self) -> Option<u64> {
        Some(self.read.load(Ordering::Relaxed)).filter(|stamp| *stamp != 0)
    }
}

/// A socket that stamps the moment at which bytes pass.
struct Wire {
    io: TokioIo<TcpStream>,
    stamps: Arc<Stamps>,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.stamps.read.store(now_ns(), Ordering::Relaxed);
        }
        polled
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.stamps.wrote.load(Ordering::Relaxed) == 0 {
            self.stamps.wrote.store(now_ns(), Ordering::Relaxed);
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.stamps.wrote.load(Ordering::Relaxed) == 0 {
            self.stamps.wrote.store(now_ns(), Ordering::Relaxed);
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<Wire, Full<Bytes>>>>,
    pub(crate) stamps: Arc<Stamps>,
    closed: bool,
    idle_since_ns: u64,
}

impl Connection {
    /// Connects; `header_limit` bounds the head of a response, in bytes.
    pub(crate) async fn open(
        address: &[std::net::SocketAddr],
        header_limit: usize,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stamps = Arc::new(Stamps::default());
        let wire = Wire { io: TokioIo::new(stream), stamps: Arc::clone(&stamps) };
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(header_limit)
            .max_header_size(header_limit)
            .handshake(wire)
            .await
            .map_err(io::Error::other)?;
        let mut connection = Self {
            sender,
            driver: Box::pin(driver),
            stamps,
            closed: false,
            idle_since_ns: now_ns(),
        };
        connection.ready().await?;
        Ok(connection)
    }

    /// Moves bytes; the error that ended the connection, once.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> Option<hyper::Error> {
        if self.closed {
            return None;
        }
        match self.driver.as_mut().poll(cx) {
            Poll::Ready(ended) => {
                self.closed = true;
                ended.err()
            }
            Poll::Pending => None,
        }
    }

    /// Waits until a request can be sent.
    pub(crate) async fn ready(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            if let Some(error) = self.drive(cx) {
                return Poll::Ready(Err(io::Error::other(error)));
            }
            if self.closed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            self.sender.poll_ready(cx).map_err(io::Error::other)
        })
        .await?;
        self.idle_since_ns = now_ns();
        Ok(())
    }

    /// As [`Connection::ready`], for a response that has ended: the connection is
    /// ready at once, or it is not worth keeping.
    pub(crate) async fn ready_soon(&mut self) -> io::Result<()> {
        tokio::time::timeout(Duration::from_millis(100), self.ready())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether a request can still be sent on it.
    pub(crate) async fn is_usable(&mut self) -> bool {
        let idle = Duration::from_nanos(now_ns().saturating_sub(self.idle_since_ns));
        if idle > MAX_IDLE {
            return false;
        }
        if idle > Duration::from_millis(50) {
            // Lets the runtime learn of a close that has arrived meanwhile.
            tokio::task::yield_now().await;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let failed = self.drive(&mut cx).is_some();
        !failed && !self.closed && self.sender.is_ready()
    }
}
