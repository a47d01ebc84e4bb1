//! What this process itself may have no more of: open files, connections, processes, memory,
//! space on a disk. An operation that fails for it says nothing of a server or a configuration. Recognised by the
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
        Errno::NOSPC => {
            "the disk has no space or no files left (`df -h`, `df -i`): free some, and \
             try again"
                .to_owned()
        }
        Errno::DQUOT => {
            "this user's share of the disk is used up (`quota -s`): free some space, or \
             raise the quota, and try again"
                .to_owned()
        }
        Errno::FBIG => format!(
            "this process may write no larger file: its limit is {} bytes (`ulimit -f`). Raise it, \
             for example by `ulimit -f unlimited` or `LimitFSIZE=infinity` of a unit, and try again",
            file_size().map_or("not known".to_owned(), |limit| limit.to_string())
        ),
        Errno::ROFS => "the disk can be read only; the system does that after errors of a disk \
             (`dmesg`): make it writable, or name a folder on another, and try again"
            .to_owned(),
        _ => return None,
    };
    Some(what)
}

/// What is to follow an error in its message, where it comes of something that is short;
/// empty otherwise.
pub fn advice(error: &io::Error) -> String {
    of(error).map_or_else(String::new, |what| format!(": {what}"))
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

/// How many bytes a file of this process may have; `None`: as many as it likes.
fn file_size() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_named_with_what_raises_it() {
        let text = |errno: Errno| of(&errno.into()).unwrap_or_default();
        assert!(text(Errno::MFILE).contains("`ulimit -n 65536`"), "{}", text(Errno::MFILE));
        assert!(text(Errno::NFILE).contains("fs.file-max"));
        assert!(text(Errno::NOSPC).contains("`df -h`") && text(Errno::DQUOT).contains("quota"));
        assert!(text(Errno::FBIG).contains("`ulimit -f unlimited`"));
        assert!(text(Errno::ROFS).contains("read only"));
        assert!(text(Errno::NOMEM).contains("ulimit -v") && !text(Errno::NOBUFS).is_empty());
        // A socket that has nothing at the moment, and a server that is not there.
        for other in [Errno::AGAIN, Errno::CONNREFUSED, Errno::NOENT] {
            assert_eq!(text(other), "", "{other:?}");
        }
        assert!(advice(&Errno::NOSPC.into()).starts_with(": the disk has no space"));
        assert_eq!(advice(&Errno::NOENT.into()), "");
        let started = |errno: Errno| of_start(&errno.into()).unwrap_or_default();
        assert!(started(Errno::AGAIN).contains("ulimit -u"));
        assert!(started(Errno::MFILE).contains("ulimit -n") && started(Errno::NOENT).is_empty());
    }
}
