//! A process as `/proc/PID/stat` shows it: so that it is told apart from a later one with its
//! number. Which processes belong together, and what they use, is not known here.

use std::path::{Path, PathBuf};

/// This boot of this machine.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// One line of `/proc/PID/stat`, as far as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: i32,
    /// Number of its parent.
    pub parent: i32,
    /// Number of its group.
    pub group: i32,
    /// Number of its session.
    pub session: i32,
    /// Ended, and merely not waited for yet.
    pub ended: bool,
    /// CPU time in clock ticks: its own, and that of the children it waited for.
    pub ticks: u64,
    /// When it was started, in clock ticks since the machine's boot: distinguishes it from
    /// a later process with its number.
    pub started: u64,
}

impl Process {
    /// The process of this number; `None` when there is none.
    pub fn read(id: i32) -> Option<Self> {
        // A program may have called itself anything, also what is no text.
        let stat = std::fs::read(format!("/proc/{id}/stat")).ok()?;
        Self::parse(id, &String::from_utf8_lossy(&stat))
    }

    /// `pid (comm) state ppid pgrp ...`; comm may hold anything, so fields count from its end.
    fn parse(id: i32, stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.trim().parse::<u64>().ok();
        let ticks: Option<Vec<u64>> = (11..15).map(number).collect();
        Some(Self {
            id,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            ended: matches!(fields[0], "Z" | "X"),
            ticks: ticks?.iter().sum(),
            started: number(19)?,
        })
    }

    /// One of these numbers, for tests.
    #[cfg(test)]
    pub(crate) fn of(id: i32, parent: i32, group: i32) -> Self {
        Self { id, parent, group, session: 0, ended: false, ticks: 0, started: 0 }
    }
}

/// The folder of the run whose journal a process has open, wherever that was moved to;
/// `None` where this user may not see it.
pub(super) fn folder_of(pid: u32) -> Option<PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let mut links = open.filter_map(|it| std::fs::read_link(it.path()).ok());
    let journal = links.find(|link| link.file_name().is_some_and(|it| it == "journal.jsonl"))?;
    journal.parent().map(Path::to_owned)
}

/// Whether a process is a `recover` of this program, by its arguments.
pub(super) fn recovers(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    is_recover(&line)
}

fn is_recover(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = words.next().unwrap_or_default();
    program.rsplit('/').next() == Some("vllm-grid") && words.next().as_deref() == Some("recover")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recover_is_known_by_its_arguments() {
        assert!(is_recover(b"/usr/bin/vllm-grid\0recover\0run\0"));
        for other in [&b""[..], b"vllm-grid\0sweep\0recover\0", b"vim\0recover\0"] {
            assert!(!is_recover(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_line_is_read_whatever_the_program_is_called() {
        let line = "77 (a) Z 1 (b) S 70 60 60 0 -1 4194560 2065 11 0 0 300 20 4 1 20 0 9 0 812345 \
                    1000 300 18446744073709551615 0 0\n";
        let process = Process::of(77, 70, 60);
        let read = Process { ticks: 325, started: 812_345, session: 60, ..process };
        assert_eq!(Process::parse(77, line), Some(read));
        let ended = line.replace(" S 70", " Z 70");
        assert!(Process::parse(77, &ended).expect("a line").ended);
        assert_eq!(Process::parse(77, "77 (a) S 70"), None);
    }
}
