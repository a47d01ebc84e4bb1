//! One connection of a plain request, as TCP alone or with TLS in it: connected, written, read,
//! and looked at while it waits. What the bytes mean is in `reply`; connections that are measured
//! are in `client`.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::tls::{Session, Tls, cut};

/// Bytes that are read at once.
const READ: usize = 16 << 10;
/// Reads without content that a connection may bring while it waits.
const MAX_BARE: usize = 64;

/// An open connection.
#[derive(Debug)]
pub(super) struct Transport {
    stream: TcpStream,
    tls: Option<Box<Session>>,
}

impl Transport {
    /// Connects to whichever address answers first.
    ///
    /// # Errors
    /// No address answers; there is none.
    pub(super) async fn connect(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<Self> {
        // Side by side: a name may have several addresses, and some may lead nowhere.
        let tries: Vec<_> = addresses.map(|it| Box::pin(TcpStream::connect(it))).collect();
        if tries.is_empty() {
            return Err(io::Error::other("its host has no address"));
        }
        let (stream, _) = futures_util::future::select_ok(tries).await?;
        // Without it a small request may wait for an acknowledgement; it is sent all the same.
        let _ = stream.set_nodelay(true);
        Ok(Self { stream, tls: None })
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// As for [`Tls::begin`].
    pub(super) async fn secure(&mut self, tls: &Tls) -> io::Result<()> {
        self.tls = Some(Box::new(tls.begin(&self.stream).await?));
        Ok(())
    }

    /// Writes all of it.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Self { stream, tls } = self;
        let Some(tls) = tls else { return stream.write_all(bytes).await };
        while !bytes.is_empty() {
            let written = poll_fn(|cx| tls.poll_write(cx, stream, bytes)).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Reads what has come into `plain`, in place of what was there. Nothing: the other side
    /// sends no more.
    pub(super) async fn read(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        plain.clear();
        let Self { stream, tls } = self;
        let Some(tls) = tls else {
            plain.resize(READ, 0);
            let read = stream.read(plain).await?;
            plain.truncate(read);
            return Ok(());
        };
        let mut buffer = vec![0; READ];
        while plain.is_empty() {
            if let Some(end) = tls.end() {
                return end;
            }
            match stream.read(&mut buffer).await? {
                0 => return Err(cut()),
                read => tls.take(&buffer[..read], plain),
            }
            // What does not go out now goes with the next request.
            let _ = tls.send(stream);
        }
        Ok(())
    }

    /// Whether it waits for the next request: it was not closed, and nothing came that nobody
    /// asked for. What TLS itself sends, such as tickets of sessions, is neither.
    pub(super) fn waits(&mut self) -> bool {
        let Self { stream, tls } = self;
        let is_empty = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        let mut byte = [MaybeUninit::uninit()];
        let looked = SockRef::from(&*stream).peek(&mut byte);
        let Some(tls) = tls else { return looked.is_err_and(is_empty) };
        if tls.end().is_some() {
            return false;
        }
        let (mut buffer, mut plain) = (Vec::new(), Vec::new());
        match looked {
            Ok(0) => return false,
            Ok(_) => buffer.resize(READ, 0),
            Err(error) => return is_empty(error),
        }
        for _ in 0..MAX_BARE {
            // The runtime may not know yet that there is something: `try_read` would not look.
            match io::Read::read(&mut &*SockRef::from(&*stream), &mut buffer) {
                Ok(0) => return false,
                Ok(read) => tls.take(&buffer[..read], &mut plain),
                Err(error) => return is_empty(error),
            }
            if tls.end().is_some() || !plain.is_empty() {
                return false;
            }
        }
        false
    }
}
