//! Processes as `/proc` shows them: who belongs to a group, whether it lives, and
//! what it uses. One alone is read in [`crate::ownership::process`].

pub(super) use crate::ownership::process::Process;

/// Resident memory in bytes.
fn resident_bytes(process: &Process) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// Every process that can be seen.
pub(super) fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(Process::read).collect()
}

/// Whether every member of the group has ended and merely waits for its parent
/// (in a container without an init nobody ever reaps it).
pub(super) fn only_zombies(group: i32) -> bool {
    let members: Vec<Process> = all().into_iter().filter(|p| p.group == group).collect();
    !members.is_empty() && members.iter().all(|process| process.ended)
}

/// Members of the group, and what descends from them in groups of its own.
pub(super) fn family(processes: &[Process], group: i32) -> Vec<Process> {
    let (mut family, mut others): (Vec<Process>, Vec<Process>) =
        processes.iter().partition(|process| process.group == group);
    loop {
        let is_child = |process: &Process| family.iter().any(|known| known.id == process.parent);
        let (children, rest): (Vec<Process>, Vec<Process>) = others.into_iter().partition(is_child);
        if children.is_empty() {
            return family;
        }
        family.extend(children);
        others = rest;
    }
}

/// Numbers of the living members of a group and of what descends from them.
pub(super) fn members(group: i32) -> Vec<i32> {
    let family = family(&all(), group);
    let mut ids: Vec<i32> = family.iter().filter(|it| !it.ended).map(|it| it.id).collect();
    ids.sort_unstable();
    ids
}

/// What a group and its descendants use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// CPU time in clock ticks, of ended processes too where a living one waited for them.
    pub(super) ticks: u64,
    /// Resident memory, summed: shared pages count once for each process.
    pub(super) resident_bytes: Option<u64>,
}

/// `None` when none of them lives any more.
pub(super) fn usage(group: i32) -> Option<Usage> {
    let family = family(&all(), group);
    family.iter().any(|process| !process.ended).then(|| Usage {
        ticks: family.iter().map(|process| process.ticks).sum(),
        resident_bytes: family.iter().filter_map(resident_bytes).reduce(|a, b| a + b),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: i32, parent: i32, group: i32) -> Process {
        Process::of(id, parent, group)
    }

    #[test]
    fn a_family_is_the_group_and_its_descendants_in_other_groups() {
        let processes = [
            process(1, 0, 1),
            process(50, 1, 50),
            process(9, 53, 9),
            // Its parent has exited; the group remains.
            process(52, 1, 50),
            process(53, 50, 53),
            process(54, 1, 54),
        ];
        let mut ids: Vec<i32> = family(&processes, 50).iter().map(|process| process.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, [9, 50, 52, 53]);
        assert!(family(&processes, 999).is_empty());
    }
}
