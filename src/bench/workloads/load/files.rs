//! How many connections the limit on open files allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open besides the connections.
const OTHER_FILES: u64 = 64;

/// Raises the limit for so many connections; why that is not possible.
pub(super) fn too_many_files(connections: u64) -> Option<String> {
    let needed = connections + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let allows = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    // An open loop may need any number: what is allowed is taken.
    if allows(limit.current) && connections > 0 {
        return None;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok();
    let limit = if raised { limit.maximum } else { limit.current };
    (!allows(limit)).then(|| {
        format!(
            "{connections} connections need {needed} open files, and the limit is {}: raise it with `ulimit -n {needed}`",
            limit.unwrap_or_default()
        )
    })
}
