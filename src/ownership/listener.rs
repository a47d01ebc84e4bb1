//! Who listens on a name of the machine, as the kernel tells it. Anybody can bind any name
//! and write any number into it: for a message, what the kernel says counts.

use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt,
};

/// A process that listens on a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// Its number, where this process can see it.
    pub(super) pid: Option<u32>,
    /// Number of its user when it began to listen.
    pub(super) user: u32,
}

/// Who listens on a name; `None` where nobody does, or its queue is full. Never waits.
pub(super) fn of(name: &str) -> Option<Listener> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    let address = UnixAddr::new_abstract(name.as_bytes()).ok()?;
    connect(socket.as_raw_fd(), &address).ok()?;
    let peer = getsockopt(&socket, sockopt::PeerCredentials).ok()?;
    // 0: it is counted in a namespace that is not seen from here.
    let pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid > 0);
    Some(Listener { pid, user: peer.uid() })
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};

    use super::*;

    #[test]
    fn who_listens_is_told_by_the_kernel_and_a_full_queue_is_not_waited_for() {
        let name = format!("vllm-grid-test/{}", crate::ownership::new_run_id());
        assert_eq!(of(&name), None);
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(of(&name), Some(Listener { pid: Some(std::process::id()), user }));
        takes_few(&listener);
        // More than any queue of this listener takes.
        let told = (0..8).map(|_| of(&name)).collect::<Vec<_>>();
        assert!(told.contains(&None), "{told:?}");
        drop(listener);
        assert_eq!(of(&name), None);
    }

    /// From now on it takes no more than two who are not accepted.
    fn takes_few(listener: &UnixListener) {
        let backlog = nix::sys::socket::Backlog::new(1).unwrap();
        nix::sys::socket::listen(listener, backlog).unwrap();
    }
}
