//! Reads a socket with the time at which the bytes arrived. The time is the kernel's own
//! stamp, so that a client that reads late does not measure its own delay. Where the
//! kernel sets no stamp, the clock is read instead. So it is for bytes of another machine:
//! those after a lost packet arrive long before they can be read.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::net::TcpStream;

use crate::client::clock::{now_ns, of_wall};

/// Asks the kernel for time stamps of what arrives at `stream` from this machine.
pub(crate) fn stamp(stream: &TcpStream) {
    let is_here = stream.peer_addr().is_ok_and(|peer| {
        peer.ip().is_loopback() || stream.local_addr().is_ok_and(|own| own.ip() == peer.ip())
    });
    if is_here {
        // Without support there are no stamps, and the clock is read.
        let _ = setsockopt(stream, sockopt::ReceiveTimestampns, &true);
    }
}

/// Checks whether anything can be read, without taking it.
///
/// # Errors
/// As reading a socket that does not block: nothing is there.
pub(crate) fn peek(stream: &TcpStream) -> io::Result<usize> {
    Ok(recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK)?)
}

/// Where bytes are read to.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

impl Buffer {
    /// For `size` bytes at once.
    pub(crate) fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], control: cmsg_space!(TimeSpec) }
    }

    /// How many bytes are read at once.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The first `length` bytes that were read last.
    pub(crate) fn filled(&self, length: usize) -> &[u8] {
        &self.bytes[..length]
    }

    /// Reads what there is: how many bytes, and when the last of them arrived, in
    /// time of [`now_ns`]. No bytes: the other side will send no more.
    ///
    /// # Errors
    /// As reading a socket that does not block.
    pub(crate) fn receive(&mut self, stream: &TcpStream) -> io::Result<(usize, u64)> {
        let mut pieces = [IoSliceMut::new(&mut self.bytes)];
        let control = Some(self.control.as_mut_slice());
        let fd = stream.as_raw_fd();
        let received = recvmsg::<()>(fd, &mut pieces, control, MsgFlags::empty())?;
        let stamp = received.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
                _ => None,
            })
        });
        let at_ns = stamp.map_or_else(now_ns, |stamp| of_wall(stamp.as_nanos() as u64));
        Ok((received.bytes, at_ns))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_time_of_bytes_is_their_arrival_and_not_their_reading() {
        const LATE: Duration = Duration::from_millis(20);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(address).await.expect("it listens");
        let (server, _) = listener.accept().await.expect("connected");
        let mut server = server.into_std().expect("it was registered");
        stamp(&stream);
        let mut buffer = Buffer::new(64);
        // When it was written, and when it is said to have arrived.
        let mut read_late = || {
            let before_ns = now_ns();
            server.write_all(b"abc").expect("connected");
            let after_ns = now_ns();
            std::thread::sleep(LATE);
            let (length, at_ns) = buffer.receive(&stream).expect("it is there");
            assert_eq!(buffer.filled(length), b"abc");
            // Two clocks are compared, which is right to some microseconds.
            let slack_ns = LATE.as_nanos() as u64 / 2;
            (before_ns.saturating_sub(slack_ns)..=after_ns + slack_ns, at_ns)
        };
        // A kernel that has stamped nothing so far begins to some time after it was asked
        // to; from then on it stamps everything.
        let begins = (0..1000).any(|_| {
            let (written, at_ns) = read_late();
            written.contains(&at_ns)
        });
        assert!(begins, "Linux stamps what TCP receives");
        for _ in 0..3 {
            let (written, at_ns) = read_late();
            assert!(written.contains(&at_ns), "{at_ns} is not in {written:?}");
        }
    }
}
