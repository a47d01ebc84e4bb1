//! Process groups that outlive us: how they are noted, found again, and killed. Found by
//! the note in the launch's folder or in the state folder, and by the run's id in their
//! environment: a kill may fall between start and note, and vLLM writes over its own
//! environment. A number that belongs to another process by now is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};
use tokio::time::{Instant, sleep};

use super::table::{Process, all, family};
use crate::input;
use crate::ownership::debt::GroupOwed;
use crate::ownership::machine;
use crate::ownership::session::liveness;
use crate::ownership::space::{self, Space};
use crate::ownership::{Holder, Ledger, Owed, StateFolder, Uses, is_run_id};

/// The note in a launch's folder.
pub(super) const NOTE: &str = "process.json";
/// The variable that marks a run's processes with its id.
pub const VARIABLE: &str = "VLLM_GRID_RUN_ID";
/// The variable that tells what the run's candidates use.
const USES: &str = "VLLM_GRID_USES";
/// Longest that a killed group may take to end.
const END: Duration = Duration::from_secs(20);

/// A group of ours that is noted until it has ended.
#[derive(Clone)]
pub(super) struct Noted {
    folder: PathBuf,
    ledger: Option<Arc<Ledger>>,
    owed: GroupOwed,
}

impl Noted {
    /// Notes a group that was just started.
    pub(super) fn start(
        folder: &Path,
        ledger: Option<&Arc<Ledger>>,
        launch: u32,
        group: Pid,
    ) -> Self {
        let group = group.as_raw_nonzero().get();
        let leader = Process::read(group);
        let owed = GroupOwed {
            launch,
            group,
            started: leader.map(|it| it.started),
            session: leader.map(|it| it.session),
            boot_id: Holder::this().boot_id,
            launcher: Process::read(std::process::id().cast_signed()).map(|it| (it.id, it.started)),
            members: Vec::new(),
        };
        let noted = Self { folder: folder.to_owned(), ledger: ledger.cloned(), owed };
        noted.write();
        noted
    }

    /// Notes the members that there are now: they may outlive the group's first process.
    pub(super) fn refresh(&mut self) {
        let members = family(&all(), self.owed.group);
        self.owed.members = members.iter().map(|it| (it.id, it.started)).collect();
        self.write();
    }

    fn write(&self) {
        let warn = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "the process is not noted: after a kill -9 it is found by its environment alone");
        };
        let text = serde_json::to_string(&self.owed).unwrap_or_default();
        if let Err(error) = std::fs::write(self.folder.join(NOTE), text) {
            warn(&error);
        }
        if let Some(ledger) = &self.ledger
            && let Err(error) = ledger.owe(Owed::Group(self.owed.clone()))
        {
            warn(&error);
        }
    }

    /// Kills members that left the group before it ended.
    pub(super) async fn kill_rest(&self) -> Killed {
        kill_group(&self.owed).await
    }

    /// Nothing of it is left.
    pub(super) fn forget(&self) {
        let _not_there = std::fs::remove_file(self.folder.join(NOTE));
        if let Some(ledger) = &self.ledger
            && let Err(error) = ledger.paid(&Owed::Group(self.owed.clone()))
        {
            tracing::warn!(%error, "the note of a process that ended is left");
        }
    }
}

/// What became of processes that were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Killed {
    /// None of them lives.
    Nothing,
    /// They were killed, and have ended.
    Ended,
    /// They do not end.
    Stubborn(Vec<i32>),
}

/// Kills the group that a dead session noted in a launch's `folder`, and removes the note.
pub async fn kill_noted(folder: &Path) -> Killed {
    let path = folder.join(NOTE);
    let Ok(text) = input::text(&path) else { return Killed::Nothing };
    let killed = match serde_json::from_str::<GroupOwed>(&text) {
        Ok(owed) => kill_group(&owed).await,
        // A torn note: the environment finds what it was about.
        Err(_) => Killed::Nothing,
    };
    if !matches!(killed, Killed::Stubborn(_)) {
        let _not_there = std::fs::remove_file(path);
    }
    killed
}

/// The same where what started the group was killed alone, and the session may live: on a
/// cluster's node whose jobs leave processes behind. What another launch is at is not touched.
pub async fn kill_orphaned(folder: &Path) -> Killed {
    let path = folder.join(NOTE);
    let Some(owed) = input::text(&path).ok().and_then(|it| serde_json::from_str(&it).ok()) else {
        return Killed::Nothing;
    };
    if is_tended(&owed) {
        return Killed::Nothing;
    }
    let killed = kill_group(&owed).await;
    // What lives elsewhere under the same number is seen there.
    if killed == Killed::Ended {
        let _not_there = std::fs::remove_file(path);
    }
    killed
}

/// Whether the process that started a group lives, or nobody knows which one did.
fn is_tended(owed: &GroupOwed) -> bool {
    owed.launcher.is_none_or(|(id, started)| {
        Process::read(id).is_some_and(|it| it.started == started && !it.ended)
    })
}

/// Kills what lives of a group.
pub async fn kill_group(owed: &GroupOwed) -> Killed {
    kill(|| living(owed, &all())).await
}

/// Kills what has the run's id in its environment, with the whole group of each.
pub async fn kill_of_run(run_id: &str) -> Killed {
    kill(|| of_run(run_id)).await
}

/// Whether anything of a group lives.
pub fn group_lives(owed: &GroupOwed) -> bool {
    !living(owed, &all()).is_empty()
}

/// The living processes of a run, by their environment.
pub fn of_run(run_id: &str) -> Vec<i32> {
    let mark = format!("{VARIABLE}={run_id}");
    let has_mark = |process: &Process| {
        let environment =
            std::fs::read(format!("/proc/{}/environ", process.id)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes())
            // The number may have gone to another process while it was read.
            && Process::read(process.id).is_some_and(|now| now.started == process.started)
    };
    let processes = all();
    let marked: Vec<&Process> =
        processes.iter().filter(|it| !it.ended && !is_own(it) && has_mark(it)).collect();
    let groups: BTreeSet<i32> = marked.iter().map(|it| it.group).collect();
    // Workers that wrote over their environment are in the group of one that did not.
    let members = processes.iter().filter(|it| groups.contains(&it.group) && !is_own(it));
    ids(members.chain(marked))
}

/// What a run's processes have in their environment, so that they are known without a note.
pub(super) fn marks(owner: &Ledger) -> BTreeMap<String, String> {
    // A grid's own must not stand in its place.
    let claims = std::env::var(space::VARIABLE).unwrap_or_default();
    BTreeMap::from([
        (VARIABLE.to_owned(), owner.run_id().to_owned()),
        (USES.to_owned(), owner.uses().to_string()),
        (space::VARIABLE.to_owned(), claims),
    ])
}

/// Processes of a dead run that their environment alone tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The run.
    pub run_id: String,
    /// What its candidates use.
    pub uses: Uses,
    /// Their numbers.
    pub ids: Vec<i32>,
}

/// The processes of dead runs, whatever their state folders, whose claims would be known to
/// this one's: those of another network namespace may belong to a run that lives there.
pub fn of_dead_runs(state: &StateFolder) -> Vec<Marked> {
    let network = machine::network(None);
    let mut runs: BTreeMap<String, Uses> = BTreeMap::new();
    for process in all().iter().filter(|it| !it.ended && !is_own(it)) {
        let Ok(environment) = std::fs::read(format!("/proc/{}/environ", process.id)) else {
            continue;
        };
        let Some((run_id, uses)) = mark(&environment, state.claims()) else { continue };
        if machine::network(Some(process.id.unsigned_abs())) == network {
            let known = runs.remove(&run_id).unwrap_or_default();
            runs.insert(run_id, known.and(uses));
        }
    }
    let dead = runs.into_iter().filter(|(run, _)| !liveness(state, Some(run), None).lives());
    let marked = dead.map(|(run_id, uses)| Marked { ids: of_run(&run_id), run_id, uses });
    marked.filter(|it| !it.ids.is_empty()).collect()
}

/// The run that an environment tells of, and what it uses, where its claims are these.
fn mark(environment: &[u8], claims: &Space) -> Option<(String, Uses)> {
    let value = |name: &str| {
        environment
            .split(|byte| *byte == 0)
            .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let run_id = String::from_utf8(value(VARIABLE)?.to_vec()).ok().filter(|id| is_run_id(id))?;
    if Space::of(value(space::VARIABLE).unwrap_or_default()) != *claims {
        return None;
    }
    // An older version did not say it: then it may be any.
    let uses = String::from_utf8_lossy(value(USES).unwrap_or_default()).into_owned();
    Some((run_id, Uses::from(uses)))
}

/// The living processes of a noted group, its members that left the group included.
fn living(owed: &GroupOwed, processes: &[Process]) -> Vec<i32> {
    if !owed.boot_id.is_empty() && owed.boot_id != Holder::this().boot_id {
        return Vec::new();
    }
    let known = |process: &&Process| {
        (process.id == owed.group && Some(process.started) == owed.started)
            || owed.members.contains(&(process.id, process.started))
    };
    let seen: Vec<&Process> = processes.iter().filter(known).collect();
    let leader = processes.iter().find(|it| it.id == owed.group);
    // A number is not given again while a group has it: where no process has it, a group
    // of it in the same session is still the noted one.
    let orphaned = leader.is_none() && owed.session.is_some();
    let in_session = |it: &&Process| it.group == owed.group && Some(it.session) == owed.session;
    if seen.is_empty() && !(orphaned && processes.iter().any(|it| in_session(&it))) {
        return Vec::new();
    }
    let mut all: Vec<Process> = seen.into_iter().copied().collect();
    let groups: BTreeSet<i32> =
        all.iter().map(|it| it.group).chain(orphaned.then_some(owed.group)).collect();
    for group in groups {
        all.extend(family(processes, group));
    }
    ids(all.iter().filter(|it| !is_own(it)))
}

fn ids<'a>(processes: impl Iterator<Item = &'a Process>) -> Vec<i32> {
    let living = processes.filter(|it| !it.ended).map(|it| it.id);
    living.collect::<BTreeSet<i32>>().into_iter().collect()
}

/// Whether it is this process, or in its group: what was started in the foreground with us.
fn is_own(process: &Process) -> bool {
    process.id == std::process::id().cast_signed()
        || process.group == getpgrp().as_raw_nonzero().get()
        || process.id <= 1
}

/// Kills what `find` finds, again and again, until it finds nothing.
async fn kill(find: impl Fn() -> Vec<i32>) -> Killed {
    let mut found = find();
    if found.is_empty() {
        return Killed::Nothing;
    }
    let began = Instant::now();
    while began.elapsed() < END {
        for id in &found {
            let Some(pid) = Pid::from_raw(*id) else { continue };
            let leads = Process::read(*id).is_some_and(|it| it.group == *id);
            let _may_have_exited = if leads {
                kill_process_group(pid, Signal::KILL)
            } else {
                kill_process(pid, Signal::KILL)
            };
        }
        sleep(Duration::from_millis(20)).await;
        found = find();
        if found.is_empty() {
            return Killed::Ended;
        }
    }
    Killed::Stubborn(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: i32, parent: i32, group: i32, started: u64) -> Process {
        Process { started, session: 5, ..Process::of(id, parent, group) }
    }

    fn owed() -> GroupOwed {
        GroupOwed {
            group: 50,
            started: Some(100),
            session: Some(5),
            members: vec![(50, 100), (60, 120), (70, 130)],
            ..GroupOwed::default()
        }
    }

    #[test]
    fn a_group_is_known_by_its_leader_or_by_its_members() {
        let whole = [
            process(50, 2, 50, 100),
            process(60, 50, 50, 120),
            process(70, 60, 70, 130),
            process(9, 2, 9, 1),
        ];
        assert_eq!(living(&owed(), &whole), [50, 60, 70]);
        let orphans = [process(60, 2, 50, 120), process(61, 60, 50, 999), process(70, 2, 70, 130)];
        assert_eq!(living(&owed(), &orphans), [60, 61, 70]);
        let unseen = GroupOwed { members: Vec::new(), ..owed() };
        assert_eq!(living(&unseen, &orphans), [60, 61], "the group's session is the noted one");
    }

    #[test]
    fn an_environment_tells_of_a_run_with_the_same_claims() {
        let run = crate::ownership::new_run_id();
        let environment = format!("A=1\0{VARIABLE}={run}\0{USES}=0,1\0VLLM_GRID_CLAIMS=/x\0");
        let (here, machine) = (Space::of(b"/x"), Space::of(b""));
        let uses = |text: &str| Uses::from(text.to_owned());
        let found = |text: &str, claims| mark(text.as_bytes(), claims);
        assert_eq!(found(&environment, &here), Some((run.clone(), uses("0,1"))));
        assert_eq!(found(&environment, &machine), None);
        let older = format!("{VARIABLE}={run}\0");
        assert_eq!(found(&older, &machine), Some((run.clone(), Uses::AllGpus)));
        assert_eq!(found(&older, &here), None);
        assert_eq!(found(&format!("{VARIABLE}=../../{run}\0"), &machine), None);
    }

    #[test]
    fn a_number_that_went_to_another_process_is_not_touched() {
        let later = [process(50, 2, 50, 5000), process(60, 50, 50, 5001)];
        assert_eq!(living(&owed(), &later), Vec::<i32>::new());
        let boot = GroupOwed { boot_id: "another boot".to_owned(), ..owed() };
        assert_eq!(living(&boot, &[process(50, 2, 50, 100)]), Vec::<i32>::new());
        let other_session = [Process { session: 6, ..process(80, 2, 50, 5001) }];
        assert_eq!(
            living(&GroupOwed { members: Vec::new(), ..owed() }, &other_session),
            Vec::<i32>::new()
        );
    }

    #[tokio::test]
    async fn what_a_killed_launch_left_is_killed_and_what_a_living_one_is_at_is_not() {
        let start = || {
            let mut command = std::process::Command::new("sleep");
            command.arg("1000");
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            command.spawn().expect("a process")
        };
        let (mut tended, mut orphan) = (start(), start());
        let mut launcher = std::process::Command::new("true").spawn().expect("a process");
        let gone = (launcher.id().cast_signed(), 1);
        launcher.wait().expect("it ended");
        let place = tempfile::tempdir().expect("a folder");
        let note = |name: &str, child: &std::process::Child, launcher| {
            let folder = place.path().join(name);
            std::fs::create_dir(&folder).expect("a folder");
            let group = Pid::from_raw(child.id().cast_signed()).expect("a process");
            let mut noted = Noted::start(&folder, None, 1, group);
            if let Some(launcher) = launcher {
                noted.owed.launcher = Some(launcher);
                noted.write();
            }
            folder
        };
        let (ours, left) = (note("1", &tended, None), note("2", &orphan, Some(gone)));
        assert_eq!(kill_orphaned(&ours).await, Killed::Nothing);
        assert_eq!(kill_orphaned(&left).await, Killed::Ended);
        orphan.wait().expect("it was killed");
        assert!(tended.try_wait().expect("a child").is_none(), "it lives");
        assert!(ours.join(NOTE).exists() && !left.join(NOTE).exists());
        tended.kill().expect("a child");
        tended.wait().expect("it was killed");
    }
}
