//! What the command of `--on-finish` has started: also what left its group, its session and
//! its parents. Such a process is handed to us, not to the machine's first one, because this
//! process asks for that (as a subreaper); so all of them descend from us.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};
use vllm_grid::ownership::process::Process;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Looks at what was killed before it is given up: a process may hang in the kernel.
const LOOKS: u32 = 250;

/// Processes that descend from this one and were not there before.
pub(super) struct Family {
    before: BTreeSet<(i32, u64)>,
}

impl Family {
    /// From now on.
    pub(super) fn begin() -> Self {
        // Where the kernel has no such thing, what leaves both group and parents is not found.
        let _ = set_child_subreaper(Some(getpid()));
        Self { before: descendants().iter().map(|it| (it.id, it.started)).collect() }
    }

    /// Those that live.
    fn members(&self) -> Vec<Process> {
        let is_new = |it: &Process| !self.before.contains(&(it.id, it.started)) && !it.ended;
        descendants().into_iter().filter(is_new).collect()
    }

    /// Returns when none lives.
    pub(super) async fn is_gone(&self) {
        while !self.members().is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Kills all of them, again and again: one may start another meanwhile.
    pub(super) async fn kill(&self) {
        for _ in 0..LOOKS {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            for id in members.iter().filter_map(|it| Pid::from_raw(it.id)) {
                // It may have ended just now.
                let _ = kill_process(id, Signal::KILL);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Everything that descends from this process.
fn descendants() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut others: Vec<Process> = ids.filter_map(Process::read).collect();
    let mut known: BTreeSet<i32> = [getpid().as_raw_nonzero().get()].into();
    let mut family = Vec::new();
    loop {
        let (children, rest): (Vec<Process>, Vec<Process>) =
            others.into_iter().partition(|it| known.contains(&it.parent));
        if children.is_empty() {
            return family;
        }
        known.extend(children.iter().map(|it| it.id));
        family.extend(children);
        others = rest;
    }
}
