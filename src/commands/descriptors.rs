//! Files and connections that this process may have open. Many systems begin with a soft limit
//! of 1,024, which a load of several hundred requests reaches: it is raised as far as it may be,
//! and what does not fit then is said before anything is launched.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vllm_grid::shortage;
use vllm_grid::workload::{Spec, Workload};

use crate::exit::{CommandError, Exit};

/// More than any load needs; programs that we start may look at each one up to their limit.
const ENOUGH: u64 = 65_536;
/// For the journal, records, logs, the daemon, the engine and plain requests.
const OWN: u64 = 48;

/// Raises the soft limit, for this process and what it starts.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_some_and(|current| current < most) {
        // Where it may not be raised, the check below says what does not fit.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit });
    }
}

/// Refuses workloads that need more than there may be. `in_process`: the server's ends of the
/// connections are ours, too.
pub(crate) fn check(workloads: &[Workload], in_process: bool) -> Result<(), CommandError> {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    match lacking(workloads, in_process, open, shortage::descriptors()) {
        None => Ok(()),
        Some(what) => Err(CommandError::message(Exit::Environment, what)),
    }
}

/// Connections that are open at once, where the workloads say how many.
fn connections(workloads: &[Workload]) -> u64 {
    let of = |workload: &Workload| match &workload.spec {
        Spec::Load(load) => load.concurrency.iter().copied().max().unwrap_or(1),
        _ => 1,
    };
    workloads.iter().map(of).max().unwrap_or(0)
}

fn lacking(
    workloads: &[Workload],
    in_process: bool,
    open: u64,
    limit: Option<u64>,
) -> Option<String> {
    let limit = limit?;
    let connections = connections(workloads);
    let ends = if in_process { 2 } else { 1 };
    let needed = connections.saturating_mul(ends).saturating_add(open + OWN);
    (needed > limit).then(|| {
        format!(
            "the workloads keep {connections} connections open at once, which takes {needed} file \
             descriptors, and this process may have {limit} (`ulimit -n`): raise the hard limit \
             (`ulimit -Hn` as root, `LimitNOFILE=` of a unit, `nofile` in \
             /etc/security/limits.conf), or lower `concurrency`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_needs_a_descriptor_and_the_rest_some() {
        let lacks = |in_process, limit| lacking(&[], in_process, 10, limit);
        assert_eq!(lacks(false, None), None, "as many as it likes");
        assert_eq!(lacks(true, Some(10 + OWN)), None);
        assert!(lacks(false, Some(9 + OWN)).is_some_and(|it| it.contains("`ulimit -n`")));
    }
}
