//! Finishes what dead runs left: candidates of theirs are removed, then production that is
//! still stopped is started and proven. What they left is known from the daemon's labels,
//! from the state folder and from the runs' folders: each of these may be missing. Any
//! number of times; a run that lives is not touched, wherever its folder is.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::engine::docker::cleanup;
use crate::engine::docker::owed;
use crate::engine::leftovers::{productions_down, quoted, short};
use crate::engine::process::noted::{self, Killed};
use crate::event::Emit;
use crate::history::HistoryError;
use crate::history::folder::Folder;
use crate::history::journal::is_written_in;
use crate::history::production::Now;
use crate::ownership::debt::{self, Debt, ProductionOwed};
use crate::ownership::session::{Liveness, liveness};
use crate::ownership::{Holder, Owed, OwnershipError, Session, StateFolder, aside, settled};
use crate::sweep::hosts::slurm::tool::Commands;

mod case;
mod daemons;
mod jobs;
mod restore;
mod stop;

use case::{Case, Cases};
use restore::{Restored, Turns};
use stop::Stop;

/// What was done, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Names of the containers that were removed.
    pub removed: Vec<String>,
    /// Whose processes were killed.
    pub killed: Vec<String>,
    /// Jobs of clusters that were cancelled.
    pub cancelled: Vec<String>,
    /// Sweeps whose production was started, or proven, or both.
    pub production: Vec<PathBuf>,
    /// What runs of other machines owe there: not touched. One sentence each.
    pub elsewhere: Vec<String>,
    /// Sweeps that still run: not touched. With who works on them, where that is known.
    pub living: Vec<String>,
    /// Runs that another `recover` works on, with who that is: not touched.
    pub recovering: Vec<String>,
    /// What was named and owes nothing any more: it was recovered, or ended well.
    pub settled: Vec<PathBuf>,
    /// Whether a stop was asked for before all was done.
    pub stopped: bool,
    /// That no daemon could be asked, where none is to be expected: a sentence.
    pub no_daemon: Option<String>,
    /// What could not be done, in one line each.
    pub problems: Vec<String>,
    /// Sockets of the daemons that listed their containers: only there nothing can be left.
    listed: Vec<String>,
}

/// How much is looked for.
#[derive(Clone, Copy, Debug)]
struct Scope {
    /// Whether labels alone may tell of what is asked for.
    asks_labels: bool,
}

/// Whether a process works on the run in `folder`.
pub fn lives(folder: &Path) -> bool {
    let run = Folder::existing(folder).and_then(|it| it.manifest()).map(|it| it.run_id());
    let by_session = |run: String| {
        let state = StateFolder::of_environment().ok()?;
        Some(liveness(&state, Some(&run), None).lives())
    };
    is_written_in(folder) || run.ok().and_then(by_session) == Some(true)
}

/// Recovers the runs in `folders`; where `all_others` is asked for, also those that the
/// state folder or containers on the local daemon tell of. Where `cancel` asks for a stop, the
/// step that is being done is the last one, and what is still owed is said.
pub async fn run(
    state: &StateFolder,
    folders: &[PathBuf],
    all_others: bool,
    emit: &Emit,
    cancel: &CancellationToken,
) -> Recovery {
    let (mut recovery, stop) = (Recovery::default(), Stop(cancel));
    debt::remove_torn(state);
    let (debts, damaged) = debt::all(state);
    let mut cases = Cases::of(folders, all_others);
    cases.debts(state, debts);
    // Of other state folders: their environment alone tells of them.
    let own = state.clone();
    for marked in aside(move || noted::of_dead_runs(&own)).await {
        cases.processes(&marked.run_id);
    }
    let is_lost = cases.unknown().any(|name| !settled::knows(state, name));
    let scope = Scope { asks_labels: all_others || is_lost };
    let asked = stop.or(daemons::ask(state, &mut cases, scope, &mut recovery)).await;
    if asked.is_none() {
        recovery.stopped = true;
        recovery.problems.push(unlooked("what dead runs left on daemons is not known"));
    }
    // What holds the GPUs, or a production's port, comes first, of all runs.
    let mut ready = Vec::new();
    for case in cases.asked() {
        if stop.is_asked() {
            recovery.stopped = true;
            recovery.problems.extend(stop::left(case));
            continue;
        }
        if case.is_elsewhere() && !living(state, case).await.lives() {
            let sentences = case.elsewhere.iter().map(|debt| another_machine(state, debt));
            // Who names it is told that it was not done.
            let to = if all_others { &mut recovery.elsewhere } else { &mut recovery.problems };
            to.extend(sentences);
            continue;
        }
        ready.extend(clean_up(state, case, &mut recovery).await);
    }
    // A production that does not answer, for all its time, must not keep another one down.
    let turns = Turns::default();
    let restoring = ready.iter().map(|it| restore::production(state, it, &turns, stop, emit));
    let restored = join_all(restoring).await;
    for (ready, restored) in ready.iter().zip(restored) {
        settle(state, ready, restored, &mut recovery);
    }
    recovery.problems.extend(damaged.iter().map(ToString::to_string));
    if !all_others {
        let (settled, unknown): (Vec<&Path>, _) =
            cases.unknown().partition(|name| settled::knows(state, name));
        recovery.settled.extend(settled.into_iter().map(Path::to_owned));
        // A label might have told of it.
        let unknown = unknown.into_iter().filter(|_| asked.is_some());
        recovery.problems.extend(unknown.map(nobody_knows));
    }
    if stop.or(still_owed(state, &cases, &mut recovery)).await.is_none() && !recovery.stopped {
        recovery.stopped = true;
        let what = "whether production of other runs is down is not known";
        recovery.problems.push(unlooked(what));
    }
    recovery
}

/// What was not looked at any more, and what to do.
fn unlooked(what: &str) -> String {
    format!("{what}: {}; run `vllm-grid recover` again", stop::WHY)
}

/// Removes what dead sessions of the run in `folder` left, before it is continued by who
/// holds its session: candidates only. Gives also its production, where that is owed and
/// does not run. `docker`: whether it launches containers.
pub async fn own(
    state: &StateFolder,
    folder: &Path,
    docker: bool,
) -> (Recovery, Option<ProductionOwed>) {
    let mut recovery = Recovery::default();
    let mut cases = Cases::of(&[folder.to_owned()], false);
    cases.debts(state, debt::all(state).0);
    // A note of this machine would be written over the other's.
    let elsewhere = cases.asked().flat_map(|case| &case.elsewhere);
    recovery.problems.extend(elsewhere.map(|debt| another_machine(state, debt)));
    if !recovery.problems.is_empty() {
        return (recovery, None);
    }
    let mut down = None;
    if docker || !cases.sockets().is_empty() {
        let scope = Scope { asks_labels: false };
        for (docker, socket) in daemons::ask(state, &mut cases, scope, &mut recovery).await {
            for (_, owed) in cases.asked().filter_map(Case::production) {
                let here = owed::is_same_socket(&owed.docker, &socket);
                if here && owed::runs(&docker, owed).await != Ok(Some(true)) {
                    down = Some(owed.clone());
                }
            }
        }
    }
    for case in cases.asked() {
        remove_containers(case, &mut recovery).await;
        kill_processes(case, &mut recovery).await;
        let groups = case.debts.iter().filter(|debt| matches!(debt.owed, Owed::Group(_)));
        if recovery.problems.is_empty() {
            recovery
                .problems
                .extend(groups.filter_map(|it| Some(it.paid(state).err()?.to_string())));
        }
    }
    (recovery, down)
}

/// A dead run whose candidates were removed.
struct Ready<'a> {
    case: &'a Case,
    /// Who restores its production.
    claimant: Holder,
    /// Whether nothing of it is left.
    removed: bool,
    _session: Option<Session>,
}

/// Removes what a dead run left, and holds its session from then on.
async fn clean_up<'a>(
    state: &StateFolder,
    case: &'a Case,
    recovery: &mut Recovery,
) -> Option<Ready<'a>> {
    let folder = case.folder();
    if let Liveness::Lives(living) = living(state, case).await {
        // A look at the GPUs is of no run.
        if !folder.as_os_str().is_empty() {
            at_work(recovery, &folder, living.as_deref());
        }
        return None;
    }
    let left = jobs::Left::of(case);
    if let Some(problem) = left.as_ref().and_then(jobs::Left::of_another) {
        recovery.problems.push(problem);
        return None;
    }
    let holder = Holder::this().in_state(state).recovering();
    let session = match &case.run_id {
        None => None,
        Some(run) => {
            let holder = holder.clone().of_run(run, &folder);
            let (state, run, folder_of) = (state.clone(), run.clone(), folder.clone());
            match aside(move || Session::begin(&state, &run, &folder_of, &holder)).await {
                Ok(session) => Some(session),
                Err(OwnershipError::Held(held)) => {
                    at_work(recovery, &folder, held.holder.as_ref());
                    return None;
                }
                Err(error) => {
                    recovery.problems.push(error.to_string());
                    None
                }
            }
        }
    };
    let before = recovery.problems.len();
    if case.by_label {
        // With the candidate its label is gone. Where it cannot be noted, production is started
        // all the same, and only a kill before that would lose it.
        let noted = case.debts.iter().map(|debt| debt.note_again(state));
        recovery.problems.extend(noted.filter_map(|it| Some(it.err()?.to_string())));
    }
    let is_on_cluster = left.is_some();
    if let Some(left) = left {
        // Its processes are of nodes, and end with their jobs. Containers do not: those of this
        // machine's daemon are removed once no job is left.
        let before = recovery.problems.len();
        jobs::cancel(&left, &Commands, recovery).await;
        if recovery.problems.len() == before {
            remove_containers(case, recovery).await;
        }
    } else {
        remove_containers(case, recovery).await;
        kill_processes(case, recovery).await;
    }
    let removed = recovery.problems.len() == before;
    // What a job that goes on is writing is not to be removed.
    let is_quiet = removed || !is_on_cluster;
    if let Some(folder) = case.existing().and_then(|it| Folder::existing(it).ok())
        && is_quiet
    {
        folder.remove_leftovers(&[]);
    }
    let claimant = case
        .run_id
        .as_ref()
        .map_or_else(|| holder.clone(), |run| holder.clone().of_run(run, &folder));
    Some(Ready { case, claimant, removed, _session: session })
}

/// Reports what became of production, and pays what is owed no longer.
fn settle(state: &StateFolder, ready: &Ready<'_>, restored: Restored, recovery: &mut Recovery) {
    let Ready { case, removed, .. } = *ready;
    let is_restored = matches!(restored, Restored::Nothing | Restored::Proven);
    match restored {
        Restored::Nothing => {}
        Restored::Proven => recovery.production.push(case.folder()),
        Restored::Not(problem) => recovery.problems.push(problem),
        Restored::Stopped(problem) => {
            recovery.stopped = true;
            recovery.problems.push(problem);
        }
    }
    for debt in &case.debts {
        let paid = match &debt.owed {
            Owed::Production(_) => false,
            Owed::Containers { docker } => removed && was_listed(recovery, docker),
            Owed::Processes | Owed::Group(_) | Owed::Jobs => removed,
        };
        if paid && let Err(error) = debt.paid(state) {
            recovery.problems.push(error.to_string());
        }
    }
    let all_listed = case.debts.iter().all(|debt| match &debt.owed {
        Owed::Containers { docker } => was_listed(recovery, docker),
        _ => true,
    });
    if let Some(run) = case.run_id.as_ref().filter(|_| removed && is_restored && all_listed) {
        settled::note(state, run, &case.folder());
    }
}

/// Notes where a run is that lives, and who works on it.
fn at_work(recovery: &mut Recovery, folder: &Path, holder: Option<&Holder>) {
    let Some(holder) = holder else {
        return recovery.living.push(folder.display().to_string());
    };
    let place = holder.place().unwrap_or_else(|| folder.display().to_string());
    if holder.recovers {
        recovery.recovering.push(format!("{place}: another {}", holder.as_recover()));
    } else {
        recovery.living.push(format!("{place} (process {} of {})", holder.pid, holder.user));
    }
}

/// Who works on the run, where somebody does.
async fn living(state: &StateFolder, case: &Case) -> Liveness {
    let (state, run) = (state.clone(), case.run_id.clone());
    let known: Vec<Holder> = case.debts.iter().map(|debt| debt.holder.clone()).collect();
    let mut containers = Vec::new();
    for (_, seen) in &case.containers {
        if !jobs::is_orphan(seen, &Commands).await {
            containers.push(seen.clone());
        }
    }
    let folder = case.existing().cloned();
    aside(move || {
        let run = run.as_deref();
        let by_note = known.iter().map(|it| liveness(&state, run, Some(it)));
        let by_label = containers.iter().map(|seen| seen.liveness(&state));
        let by_name = std::iter::once_with(|| liveness(&state, run, None));
        let by_journal = folder.iter().filter(|it| is_written_in(it));
        let by_journal = by_journal.map(|_| Liveness::Lives(None));
        let mut found = by_note.chain(by_label).chain(by_name).chain(by_journal);
        found.find(Liveness::lives).unwrap_or(Liveness::Dead)
    })
    .await
}

/// Whether a daemon said what containers it has.
fn was_listed(recovery: &Recovery, socket: &str) -> bool {
    recovery.listed.iter().any(|known| owed::is_same_socket(known, socket))
}

async fn remove_containers(case: &Case, recovery: &mut Recovery) {
    for (docker, seen) in &case.containers {
        match cleanup::remove(docker, seen).await {
            Ok(()) => recovery.removed.push(seen.name.clone()),
            Err(error) => recovery.problems.push(format!(
                "container {} ({}) cannot be removed: {error}; remove it by `docker rm -f {}`",
                seen.name,
                short(&seen.id),
                short(&seen.id)
            )),
        }
    }
}

/// Kills what the launches' folders, the debts and `/proc` tell of.
async fn kill_processes(case: &Case, recovery: &mut Recovery) {
    let mut note = |what: String, killed: Killed| match killed {
        Killed::Nothing => {}
        Killed::Ended => recovery.killed.push(what),
        Killed::Stubborn(ids) => {
            recovery.problems.push(format!("processes {ids:?} of {what} cannot be killed"));
        }
    };
    let launches = case.existing().map(|folder| std::fs::read_dir(folder.join("launches")));
    for launch in launches.into_iter().flatten().flatten().flatten() {
        note(launch.path().display().to_string(), noted::kill_noted(&launch.path()).await);
    }
    let folder = case.folder();
    for debt in &case.debts {
        if let Owed::Group(group) = &debt.owed {
            let what = format!("launch {} of {}", group.launch, folder.display());
            note(what, noted::kill_group(group).await);
        }
    }
    if let Some(run) = &case.run_id {
        let is_known = !folder.as_os_str().is_empty();
        let what = if is_known { folder.display().to_string() } else { format!("the run {run}") };
        note(what, noted::kill_of_run(run).await);
    }
}

/// What is owed on another machine, and what to do there.
fn another_machine(state: &StateFolder, debt: &Debt) -> String {
    let what = match &debt.owed {
        Owed::Production(owed) => format!("production (container {})", owed.name),
        Owed::Containers { .. } => "containers".to_owned(),
        Owed::Processes => "processes".to_owned(),
        Owed::Jobs => "jobs of a cluster".to_owned(),
        Owed::Group(group) => format!("processes of launch {}", group.launch),
    };
    format!(
        "the run {} worked on the machine {}, which is not this one, and may owe {what} there: run \
         `vllm-grid recover {}` there; where that machine has another name now, or is gone, remove {}",
        debt.folder.display(),
        debt.holder.host,
        debt.run_id,
        debt.note(state).display()
    )
}

/// What was named and nobody knows.
fn nobody_knows(path: &Path) -> String {
    if let Err(error @ HistoryError::Denied { .. }) = Folder::existing(path) {
        return error.to_string();
    }
    format!(
        "{} holds no run, and no run is known that was there: name the folder of one, or run \
         `vllm-grid recover` without a name",
        path.display()
    )
}

/// Production that is down though nobody asked for its run, or that could not be started.
async fn still_owed(state: &StateFolder, cases: &Cases, recovery: &mut Recovery) {
    for (debt, owed, now) in productions_down(state).await {
        if cases.asked().any(|case| case.run_id.as_ref() == Some(&debt.run_id)) {
            continue;
        }
        let why = match now {
            Now::Runs | Now::Stopped => "nobody started it again".to_owned(),
            Now::Missing => "there is no such container any more".to_owned(),
            Now::Unknown(why) => format!("whether it runs now is not known: {why}"),
        };
        recovery.problems.push(down(&owed.name, &owed.id, &debt, &why));
    }
}

fn down(name: &str, id: &str, debt: &Debt, why: &str) -> String {
    format!(
        "PRODUCTION IS DOWN: container {name} ({}), stopped by the run {}: {why}. Start it: `vllm-grid \
         recover {}`, or by hand `docker start {name}`",
        short(id),
        debt.folder.display(),
        quoted(&debt.folder)
    )
}
