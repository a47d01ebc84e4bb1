//! What this process itself may have no more of: open files, connections, processes, memory. An
//! operation that fails for it says nothing of a server or a configuration. Recognised by the
//! system's error; what follows from it is decided by who failed.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// What is short, and how to have more, where an error says that something is.
pub fn of(error: &io::Error) -> Option<String> {
    let what = match Errno::from_io_error(error)? {
        Errno::MFILE => format!(
            "this process may open no more files and connections: its limit is {} (`ulimit -n`). \
             Raise it, for example by `ulimit -n 65536` or `LimitNOFILE=` of a unit, and try again",
            descriptors().map_or("not known".to_owned(), |limit| limit.to_string())
        ),
        Errno::NFILE => "this machine may open no more files and connections: raise \
             `sysctl fs.file-max`, or end what holds them, and try again"
            .to_owned(),
        Errno::NOMEM | Errno::NOBUFS => "the system has no memory for a file, a connection or a \
             process: free some, or raise the limit (`ulimit -v`, the container's), and try again"
            .to_owned(),
        _ => return None,
    };
    Some(what)
}

/// The same of a process or a thread that could not be started.
pub fn of_start(error: &io::Error) -> Option<String> {
    if Errno::from_io_error(error) == Some(Errno::AGAIN) {
        let what = "the system starts no further process or thread for this user: raise the limit \
                    (`ulimit -u`, `TasksMax=` of a unit, the container's), and try again";
        return Some(what.to_owned());
    }
    of(error)
}

/// Whether nothing more can be opened at the moment: for libraries that hide why they failed.
pub fn of_now() -> Option<String> {
    std::fs::File::open("/dev/null").err().and_then(|error| of(&error))
}

/// How many files and connections this process may have open; `None`: as many as it likes.
pub fn descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_named_with_what_raises_it() {
        let text = |errno: Errno| of(&errno.into()).unwrap_or_default();
        assert!(text(Errno::MFILE).contains("`ulimit -n 65536`"), "{}", text(Errno::MFILE));
        assert!(text(Errno::NFILE).contains("fs.file-max"));
        assert!(text(Errno::NOMEM).contains("ulimit -v") && !text(Errno::NOBUFS).is_empty());
        // A socket that has nothing at the moment, and a server that is not there.
        for other in [Errno::AGAIN, Errno::CONNREFUSED, Errno::NOENT] {
            assert_eq!(text(other), "", "{other:?}");
        }
        let started = |errno: Errno| of_start(&errno.into()).unwrap_or_default();
        assert!(started(Errno::AGAIN).contains("ulimit -u"));
        assert!(started(Errno::MFILE).contains("ulimit -n") && started(Errno::NOENT).is_empty());
    }
}
