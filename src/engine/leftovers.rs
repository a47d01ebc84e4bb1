//! What other runs have on this machine that is in the way of a new one: candidates that
//! dead runs left, production that they owe. Found through the daemon's labels, the state
//! folder and `/proc`; nothing is removed or started here.

use std::fmt;
use std::path::{Path, PathBuf};

use super::docker::cleanup::{self, Labelled};
use super::docker::owed;
use super::process::noted;
use crate::history::production::{Companion, Now};
use crate::ownership::debt::{self, Debt, Owed, ProductionOwed};
use crate::ownership::session::{Liveness, liveness};
use crate::ownership::space::Space;
use crate::ownership::{Holder, StateFolder, Uses, aside, machine};

mod alone;
mod production;
mod settle;

pub use alone::{none_beside, none_now};
use production::{by_label, companion_owed_by, owed_by};
pub use production::{production_now, productions_down, stopped_by};
pub use settle::settle;

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Where debts are noted.
    pub state: &'a StateFolder,
    /// The run that asks: what is its own is not in its way.
    pub own: Option<&'a str>,
    /// What it uses.
    pub uses: &'a Uses,
    /// The socket of the daemon that it launches on, where it does.
    pub docker: Option<&'a str>,
}

/// The same, to be looked for on another thread.
struct OwnLook {
    state: StateFolder,
    own: Option<String>,
    uses: Uses,
    docker: Option<String>,
}

impl OwnLook {
    fn of(look: Look<'_>) -> Self {
        Self {
            state: look.state.clone(),
            own: look.own.map(str::to_owned),
            uses: look.uses.clone(),
            docker: look.docker.map(str::to_owned),
        }
    }

    fn look(&self) -> Look<'_> {
        Look {
            state: &self.state,
            own: self.own.as_deref(),
            uses: &self.uses,
            docker: self.docker.as_deref(),
        }
    }
}

/// Something of another run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub what: What,
    /// The run's folder when it was noted, or its id where only that is known; `None` where it
    /// belongs to no run.
    pub folder: Option<PathBuf>,
    /// Who works on the run, where it lives.
    pub holder: Option<Holder>,
}

/// What another run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A container: its name and id.
    Container(String, String),
    /// Processes, by their numbers.
    Processes(Vec<i32>),
    /// Production that was stopped and is not known to run: name, id, and how it is now.
    Production(String, String, Now),
    /// What was stopped with a production that runs again, and does not: it, and production's
    /// name.
    Companion(Companion, String),
    /// Something that cannot be asked or read: the whole sentence.
    Unknown(String),
}

impl Leftover {
    /// What a person does about it.
    pub fn advice(&self) -> String {
        match (&self.what, &self.holder, &self.folder) {
            (What::Unknown(_), _, _) => String::new(),
            (_, Some(holder), _) => {
                let who = if holder.recovers { "it" } else { "that run" };
                format!("wait until {who} ends, or stop it: {}", holder.how_to_stop())
            }
            (What::Companion(it, _), None, folder) => {
                let folder =
                    folder.as_ref().map_or_else(String::new, |it| format!(" {}", quoted(it)));
                let name = shell_words::quote(&it.name);
                format!("vllm-grid recover{folder}, or by hand: docker start {name}")
            }
            (_, None, Some(folder)) => format!("vllm-grid recover {}", quoted(folder)),
            (_, None, None) => "vllm-grid recover".to_owned(),
        }
    }
}

impl Leftover {
    fn stopped_it(&self) -> String {
        match &self.folder {
            Some(folder) => format!("the run {} stopped it", folder.display()),
            None => "a run stopped it".to_owned(),
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where it is now, as far as its process shows it.
        let place = self.holder.as_ref().and_then(Holder::place);
        let place = place.or_else(|| Some(self.folder.as_ref()?.display().to_string()));
        let of = place.map(|place| format!(" of the run {place}")).unwrap_or_default();
        let state = match &self.holder {
            Some(holder) => format!("is in use: {holder}"),
            None => "is left: that run is dead".to_owned(),
        };
        match &self.what {
            What::Container(name, id) => write!(f, "container {name} ({}){of} {state}", short(id)),
            What::Processes(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                write!(f, "process {}{of} {state}", ids.join(", "))
            }
            What::Production(name, id, now) => {
                let by = self.stopped_it();
                let now = match now {
                    Now::Runs | Now::Stopped => "",
                    Now::Missing => "; there is no such container any more",
                    Now::Unknown(_) => "; whether it runs now is not known",
                };
                let who = format!("container {name} ({})", short(id));
                write!(f, "PRODUCTION IS DOWN: {who}: {by}, and is dead{now}")
            }
            What::Companion(Companion { id, name }, production) => {
                let (who, by) = (format!("container {name} ({})", short(id)), self.stopped_it());
                write!(
                    f,
                    "A COMPANION OF PRODUCTION IS DOWN: {who}: {by} with {production}, which runs again, \
                     and is dead"
                )
            }
            What::Unknown(sentence) => f.write_str(sentence),
        }
    }
}

/// The beginning of a container's id, as the `docker` command shows it.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    shell_words::quote(&path.to_string_lossy()).into_owned()
}

/// What dead runs left that is in the way of a run, and what runs of other state folders
/// have there. Nothing is changed: notes that are left of what is gone are [`settle`]'s.
pub async fn find(look: Look<'_>) -> Vec<Leftover> {
    if *look.uses == Uses::Nothing && look.docker.is_none() {
        return Vec::new();
    }
    let own = OwnLook::of(look);
    let (mut found, dead) = aside(move || on_machine(own.look())).await;
    for socket in sockets(look, &dead) {
        found.extend(on_daemon(look, &socket, &dead).await);
    }
    found
}

/// What needs no daemon, and what dead runs owe.
fn on_machine(look: Look<'_>) -> (Vec<Leftover>, Vec<Debt>) {
    let (debts, damaged) = debt::all(look.state);
    let mut found: Vec<Leftover> = damaged
        .iter()
        .filter(|note| note.production && look.docker.is_some())
        .map(|note| Leftover { what: What::Unknown(note.to_string()), folder: None, holder: None })
        .collect();
    let dead: Vec<Debt> = debts
        .into_iter()
        .filter(|debt| look.own != Some(&debt.run_id))
        .filter(|debt| !liveness(look.state, Some(&debt.run_id), Some(&debt.holder)).lives())
        .collect();
    for debt in &dead {
        if let Some(processes) = processes_of(debt, look.uses) {
            add_processes(&mut found, processes);
        }
    }
    found.extend(unnoted(look, &dead));
    (found, dead)
}

/// Why something of a run may be left, by the note of it; `None` where nothing is.
pub async fn of_run(run_id: &str, owed: &Owed) -> Option<String> {
    let listed = |what: &str, all: Vec<String>| {
        (!all.is_empty()).then(|| {
            format!(
                "{what} {} may be left; `vllm-grid recover {run_id}` removes it",
                all.join(", ")
            )
        })
    };
    match owed {
        // Whoever follows jobs follows them to their ends.
        Owed::Production(_) | Owed::Jobs => None,
        Owed::Group(group) => listed(
            "process",
            Some(group.group.to_string())
                .into_iter()
                .filter(|_| noted::group_lives(group))
                .collect(),
        ),
        Owed::Processes => {
            let ids = noted::of_run(run_id);
            listed("process", ids.iter().map(ToString::to_string).collect())
        }
        Owed::Containers { docker: socket } => {
            let docker = match owed::connect_to(socket).await {
                Ok(docker) => docker,
                Err(error) => return Some(error.to_string()),
            };
            match cleanup::ours(&docker).await {
                Err(error) => Some(error),
                Ok(all) => {
                    let own = all.into_iter().filter(|it| it.run_id.as_deref() == Some(run_id));
                    listed("container", own.map(|it| it.name).collect())
                }
            }
        }
    }
}

/// The processes that live of what a debt is about; `None` where it is about none.
fn processes_owed(debt: &Debt) -> Option<Vec<i32>> {
    match &debt.owed {
        Owed::Group(group) if noted::group_lives(group) => Some(vec![group.group]),
        Owed::Group(_) => Some(Vec::new()),
        Owed::Processes => Some(noted::of_run(&debt.run_id)),
        Owed::Production(_) | Owed::Containers { .. } | Owed::Jobs => None,
    }
}

fn processes_of(debt: &Debt, uses: &Uses) -> Option<Leftover> {
    let ids = processes_owed(debt).filter(|ids| !ids.is_empty())?;
    debt.uses.overlaps(uses).then(|| Leftover {
        what: What::Processes(ids),
        folder: Some(debt.folder.clone()),
        holder: None,
    })
}

/// Processes that their environment alone tells of: of runs of other state folders.
fn unnoted(look: Look<'_>, dead: &[Debt]) -> impl Iterator<Item = Leftover> {
    let is_noted = |run: &str| {
        let mut notes = dead.iter().filter(|debt| debt.run_id == run);
        notes.any(|it| matches!(it.owed, Owed::Group(_) | Owed::Processes))
    };
    let is_in_the_way = move |it: &noted::Marked| {
        look.own != Some(&it.run_id) && !is_noted(&it.run_id) && it.uses.overlaps(look.uses)
    };
    noted::of_dead_runs(look.state).into_iter().filter(is_in_the_way).map(|it| Leftover {
        what: What::Processes(it.ids),
        folder: Some(it.run_id.into()),
        holder: None,
    })
}

/// The daemons that are asked: the run's own, and those on which a dead run worked that is
/// in its way.
fn sockets(look: Look<'_>, dead: &[Debt]) -> Vec<String> {
    let mut all: Vec<String> = look.docker.map(str::to_owned).into_iter().collect();
    for debt in dead.iter().filter(|debt| debt.uses.overlaps(look.uses)) {
        if let Owed::Containers { docker } | Owed::Production(ProductionOwed { docker, .. }) =
            &debt.owed
            && !all.iter().any(|known| owed::is_same_socket(known, docker))
        {
            all.push(docker.clone());
        }
    }
    all
}

async fn on_daemon(look: Look<'_>, socket: &str, dead: &[Debt]) -> Vec<Leftover> {
    let unknown = |why: String| Leftover {
        what: What::Unknown(format!("{why}: whether dead runs left something on it is not known")),
        folder: None,
        holder: None,
    };
    let noted = dead.iter().filter_map(|debt| match &debt.owed {
        Owed::Production(owed) if owed::is_same_socket(&owed.docker, socket) => {
            Some((debt.folder.as_path(), owed))
        }
        _ => None,
    });
    let docker = match owed::connect_to(socket).await {
        Ok(docker) => docker,
        // What is noted is known without the daemon.
        Err(error) => {
            let why = error.to_string();
            let down = noted.map(|(at, owed)| owed_by(at, owed, Now::Unknown(why.clone())));
            return std::iter::once(unknown(why.clone())).chain(down).collect();
        }
    };
    let mut found = Vec::new();
    let all = match cleanup::ours(&docker).await {
        Ok(all) => all,
        Err(error) => {
            found.push(unknown(error));
            Vec::new()
        }
    };
    let labels = labelled(look, all.clone()).await;
    let labels = labels.iter().map(|(folder, owed)| (folder.as_path(), owed));
    let mut down = Vec::new();
    for (folder, owed) in noted.chain(labels) {
        match owed::now(&docker, owed).await {
            Now::Runs => {
                let companions = owed::companions_down(&docker, owed).await.into_iter();
                down.extend(companions.map(|it| companion_owed_by(folder, owed, it)));
            }
            now => down.push(owed_by(folder, owed, now)),
        }
    }
    found.extend(containers(look, all).await);
    found.extend(down);
    found
}

/// A run may have noted the same processes twice: by their group, and by their variable.
fn add_processes(found: &mut Vec<Leftover>, new: Leftover) {
    let What::Processes(ids) = &new.what else { return found.push(new) };
    let known = found.iter_mut().filter(|it| it.folder == new.folder);
    for leftover in known {
        if let What::Processes(known) = &mut leftover.what {
            known.extend(ids);
            known.sort_unstable();
            known.dedup();
            return;
        }
    }
    found.push(new);
}

/// Production of other runs of which only the label of a candidate tells.
async fn labelled(look: Look<'_>, all: Vec<Labelled>) -> Vec<(PathBuf, ProductionOwed)> {
    let own = OwnLook::of(look);
    aside(move || {
        let own_run = |seen: &Labelled| own.own.is_some() && seen.run_id == own.own;
        let labels = by_label(&own.state, &all).into_iter().filter(|(seen, _)| !own_run(seen));
        labels.map(|(seen, owed)| (seen.folder.clone(), owed.clone())).collect()
    })
    .await
}

/// Those of other runs that are in the way.
async fn containers(look: Look<'_>, all: Vec<Labelled>) -> Vec<Leftover> {
    let own = OwnLook::of(look);
    aside(move || all.into_iter().filter_map(|it| container(own.look(), it)).collect()).await
}

fn container(look: Look<'_>, seen: Labelled) -> Option<Leftover> {
    if seen.run_id.is_some() && seen.run_id.as_deref() == look.own {
        return None;
    }
    if seen.uses.as_ref().is_some_and(|uses| !uses.overlaps(look.uses)) {
        return None;
    }
    // A CPU can be shared by those who were set apart for that; a GPU cannot.
    let is_apart = |claims: &String| claims != Space::of_environment().name();
    if seen.uses == Some(Uses::Cpu) && seen.claims.as_ref().is_some_and(is_apart) {
        return None;
    }
    let holder = match seen.liveness(look.state) {
        Liveness::Dead => None,
        // It holds its own claims in this state folder.
        Liveness::Lives(Some(holder)) if holder.state == look.state.id() => return None,
        // Of the CPU claims tell, as far as names of its process are seen here.
        Liveness::Lives(Some(_)) if seen.uses == Some(Uses::Cpu) && has_name(&seen) => return None,
        Liveness::Lives(None) => return None,
        Liveness::Lives(Some(holder)) => Some(*holder),
    };
    // A look at the GPUs is of no run, and short.
    if seen.folder.as_os_str().is_empty() && holder.is_some() {
        return None;
    }
    let folder = Some(seen.folder).filter(|folder| !folder.as_os_str().is_empty());
    Some(Leftover { what: What::Container(seen.name, seen.id), folder, holder })
}

fn has_name(seen: &Labelled) -> bool {
    seen.run_id.as_deref().and_then(machine::run).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::debt::GroupOwed;
    use crate::ownership::process::Process;
    use crate::ownership::{Ledger, new_run_id};

    pub(super) fn dead(state: &StateFolder, uses: &str) -> (String, Ledger) {
        let run = new_run_id();
        let holder = Holder::this().in_state(state).of_run(&run, Path::new("/runs/dead one"));
        let ledger = Ledger::of_run(state, "dead", &holder, &Uses::from(uses.to_owned()));
        (run, ledger)
    }

    #[test]
    fn a_living_run_is_named_where_it_is_now() {
        let begun = PathBuf::from("/nowhere/begun");
        let holder = Holder { folder: Some(begun.clone()), ..Holder::this() };
        let what = What::Container("c".to_owned(), "id".to_owned());
        let leftover = Leftover { what, folder: Some(begun), holder: Some(holder) };
        let text = leftover.to_string();
        assert!(text.contains("of the run ") && text.contains("/nowhere/begun"), "{text}");
        assert!(!text.contains("of the run /nowhere/begun is in use"), "{text}");
    }

    #[tokio::test]
    async fn a_dead_run_s_process_is_in_the_way_of_who_uses_the_same() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let (run, ledger) = dead(&state, "0,1");
        ledger.owe(Owed::Processes).unwrap();
        let mut command = std::process::Command::new("sleep");
        command.arg("1000").env(noted::VARIABLE, &run);
        let mut child =
            std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
        // The same process is noted by its group, too.
        let id = child.id().cast_signed();
        let leader = Process::read(id).unwrap();
        let group = GroupOwed {
            launch: 1,
            group: id,
            started: Some(leader.started),
            session: Some(leader.session),
            boot_id: Holder::this().boot_id,
            members: Vec::new(),
            launcher: None,
        };
        ledger.owe(Owed::Group(group)).unwrap();
        let (same, other) = (Uses::from("1".to_owned()), Uses::from("2".to_owned()));
        let look = |uses| Look { state: &state, own: None, uses, docker: None };
        let found = find(look(&same)).await;
        let [leftover] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(leftover.what, What::Processes(vec![child.id().cast_signed()]));
        assert_eq!(leftover.advice(), "vllm-grid recover '/runs/dead one'");
        assert!(leftover.to_string().contains("/runs/dead one"), "{leftover}");
        assert_eq!(find(look(&other)).await, []);
        assert_eq!(find(Look { own: Some(&run), ..look(&same) }).await, [], "it is its own");
        assert_eq!(find(look(&Uses::Nothing)).await, []);
        let (killed, _) = tokio::join!(
            noted::kill_of_run(&run),
            tokio::task::spawn_blocking(move || child.wait())
        );
        assert_eq!(killed, noted::Killed::Ended);
        assert_eq!(find(look(&same)).await, []);
    }
}
