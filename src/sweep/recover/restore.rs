//! Production of one dead run: what is owed by its debt, else by its journal, however
//! damaged that is; then started and proven by the sweep's own guard.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::Ready;
use super::case::Case;
use super::stop::{self, Steps, Stop};
use crate::engine::docker::owed;
use crate::engine::docker::production::DockerProduction;
use crate::engine::docker::production_to_recover;
use crate::engine::leftovers::{quoted, short};
use crate::engine::production::Production;
use crate::event::Emit;
use crate::grid::{EngineBlock, GridFile, ReadOptions};
use crate::history::folder::Folder;
use crate::history::journal::{Entry, Journal, JournalError, Line, MAX_BYTES};
use crate::history::production::{PendingRestore, ProductionStep, pending_restore};
use crate::history::replay::production_steps;
use crate::ownership::claim::ProductionName;
use crate::ownership::debt::ProductionOwed;
use crate::ownership::{Claims, Holder, OwnershipError, StateFolder, Uses, aside};
use crate::sweep::SweepError;
use crate::sweep::production::{self, GuardError};
use crate::sweep::run::owner::steps_owed;

/// Longest that a daemon is asked for once a stop is asked for.
const MOMENT: Duration = Duration::from_secs(2);

/// What became of production.
pub(super) enum Restored {
    /// There was nothing to do.
    Nothing,
    /// It runs and is proven.
    Proven,
    /// It is owed still: the whole sentence.
    Not(String),
    /// The same, since a stop was asked for.
    Stopped(String),
}

impl From<String> for Restored {
    fn from(problem: String) -> Self {
        Self::Not(problem)
    }
}

/// Runs that owe the same production restore it one after another: only one can claim it.
#[derive(Default)]
pub(super) struct Turns(Mutex<Vec<(ProductionName, Turn)>>);

type Turn = Arc<tokio::sync::Mutex<()>>;

impl Turns {
    fn of(&self, production: &ProductionName) -> Turn {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |it: &&(ProductionName, Turn)| {
            it.0.name == production.name && owed::is_same_socket(&it.0.docker, &production.docker)
        };
        if let Some((_, turn)) = known.iter().find(is_same) {
            return Arc::clone(turn);
        }
        let turn = Turn::default();
        known.push((production.clone(), Arc::clone(&turn)));
        turn
    }
}

/// Restores what the run owes of production.
pub(super) async fn production(
    state: &StateFolder,
    ready: &Ready<'_>,
    turns: &Turns,
    stop: Stop<'_>,
    emit: &Emit,
) -> Restored {
    let Ready { case, claimant, .. } = ready;
    let (journal, journalled) = match case.existing().map(|folder| journal(folder)) {
        Some(Read::Open(journal, steps)) => {
            for note in journal.notes() {
                emit.warn(format!("{note}; what it says of production is followed all the same"));
            }
            (Some(*journal), steps)
        }
        Some(Read::Damaged(steps, why)) => {
            emit.warn(format!("{why}; what it says of production is followed all the same"));
            (None, steps)
        }
        Some(Read::Missing) | None => (None, Vec::new()),
    };
    let owed = Owing::of(case, journalled);
    let Some(owed) = owed else { return Restored::Nothing };
    match restore(state, case, &owed, journal, (claimant, turns, stop), emit).await {
        Ok(()) => match case.production().map(|(debt, _)| debt.paid(state)) {
            Some(Err(error)) => Restored::Not(format!("production runs, but {error}")),
            _ => Restored::Proven,
        },
        Err(not) => not,
    }
}

/// What is owed, and by which steps.
struct Owing {
    id: String,
    /// The container's name, where it is known.
    name: Option<String>,
    steps: Vec<ProductionStep>,
}

impl Owing {
    /// A debt counts more than the journal: it is there before each step, and outlives the
    /// folder.
    fn of(case: &Case, steps: Vec<ProductionStep>) -> Option<Self> {
        let pending = match pending_restore(&steps) {
            PendingRestore::Start(id) | PendingRestore::Proof(id) => Some(id),
            PendingRestore::Nothing => None,
        };
        let journalled = steps.iter().rev().find_map(|step| match step {
            ProductionStep::Stopping { facts } => Some(facts.name.clone()),
            _ => None,
        });
        let Some((_, owed)) = case.production() else {
            return pending.map(|id| Self { id, name: journalled, steps });
        };
        let steps = steps_owed(steps, Some(owed));
        Some(Self { id: owed.id.clone(), name: Some(owed.name.clone()), steps })
    }

    fn who(&self) -> String {
        let name = self.name.as_deref().unwrap_or("without a known name");
        format!("container {name} ({})", short(&self.id))
    }
}

async fn restore(
    state: &StateFolder,
    case: &Case,
    owing: &Owing,
    mut journal: Option<Journal>,
    (holder, turns, stop): (&Holder, &Turns, Stop<'_>),
    emit: &Emit,
) -> Result<(), Restored> {
    let folder = case.folder();
    let by_hand = format!(
        "start it by hand: `docker start {}`, then prove it: `vllm-grid recover {}`",
        owing.name.as_deref().unwrap_or(&owing.id),
        quoted(&folder)
    );
    let down = |why: &str| {
        format!(
            "PRODUCTION IS DOWN: {}, stopped by the run {}: {why}; {by_hand}",
            owing.who(),
            folder.display()
        )
    };
    let not_asked = |why: &str| down(&format!("whether it runs now is not known: {why}"));
    let unseen = || Restored::Stopped(not_asked(stop::WHY));
    let access = stop.or(access(case, owing)).await.ok_or_else(unseen)?;
    let access = access.map_err(|why| not_asked(&why))?;
    let name =
        owing.name.clone().map(|name| ProductionName { docker: access.docker.clone(), name });
    let turn = name.as_ref().map(|name| turns.of(name));
    let _turn = match &turn {
        Some(turn) => Some(stop.or(turn.lock()).await.ok_or_else(unseen)?),
        None => None,
    };
    let _claims = match name {
        None => Claims::default(),
        Some(name) => {
            let (state, holder) = (state.clone(), holder.clone());
            let take = move || Claims::take(&state, Some(&name), &Uses::Nothing, &holder);
            match aside(take).await {
                Ok(claims) => claims,
                // Who holds it starts it again.
                Err(OwnershipError::Held(held)) => {
                    let why = held.to_recover();
                    let runs = runs(&access.production, owing).await;
                    let path = folder.display();
                    return Err(Restored::Not(if runs == Some(true) {
                        format!("{path}: production runs again, and is not proven: {why}")
                    } else {
                        down(&why)
                    }));
                }
                // A full disk must not keep production down.
                Err(_) => Claims::default(),
            }
        }
    };
    let mut note = |step| {
        let Some(journal) = &mut journal else { return Ok(()) };
        let now = jiff::Timestamp::now();
        let appended = journal.append(now, Entry::Production { production: step });
        appended.map(|_| ()).map_err(SweepError::from)
    };
    let production = &access.production;
    let again = format!("`vllm-grid recover {}` proves it", quoted(&folder));
    let steps = Steps::of(production);
    let recovered = production::recover(&steps, &owing.steps, &mut note, emit);
    let Some(recovered) = steps.unless(stop, recovered).await else {
        let why = stop::WHY;
        let path = folder.display();
        return Err(Restored::Stopped(match now(production, owing).await {
            Some(true) => format!("{path}: production runs, and is not proven: {why}; {again}"),
            Some(false) => down(why),
            None => not_asked(why),
        }));
    };
    match recovered {
        Ok(_) => Ok(()),
        Err(GuardError::Journal(error)) => {
            // It is proven: what could not be written is nothing that it needs.
            emit.warn(format!("{}: {error}", folder.display()));
            Ok(())
        }
        Err(error) => {
            let started = matches!(error, GuardError::NotProven { .. })
                || runs(production, owing).await == Some(true);
            // How to start it is said once.
            let why = match error {
                GuardError::Down { why, .. } => format!("it is not started: {why}"),
                error => error.to_string(),
            };
            let started = started.then(|| format!("{}: {why}; {again}", folder.display()));
            Err(Restored::Not(started.unwrap_or_else(|| down(&why))))
        }
    }
}

/// Whether what is owed runs now; `None` where that is not known.
async fn runs(production: &DockerProduction, owing: &Owing) -> Option<bool> {
    Some(production.look(&owing.id).await.ok()?.is_some_and(|it| it.running))
}

/// The same for who waits for the end: asked for a short time.
async fn now(production: &DockerProduction, owing: &Owing) -> Option<bool> {
    timeout(MOMENT, runs(production, owing)).await.ok().flatten()
}

/// How production is reached.
struct Access {
    production: DockerProduction,
    docker: String,
}

/// By the debt, else by the grid, else by the name that the journal has.
async fn access(case: &Case, owing: &Owing) -> Result<Access, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    if let Some((_, owed)) = case.production() {
        let production = owed::production(owed).await.map_err(|error| text(&error))?;
        return Ok(Access { production, docker: owed.docker.clone() });
    }
    let docker = owed::socket().map_err(|error| text(&error))?;
    if let Some(block) = case.existing().and_then(|folder| block(folder)) {
        let production = production_to_recover(&block).await.map_err(|error| text(&error))?;
        if let Some(production) = production {
            return Ok(Access { production, docker });
        }
    }
    let name = owing.name.clone().unwrap_or_else(|| owing.id.clone());
    let owed = ProductionOwed {
        docker,
        id: owing.id.clone(),
        name,
        // Which one it is nobody knows any more: vLLM's own.
        key_variable: Some("VLLM_API_KEY".to_owned()),
        ..ProductionOwed::default()
    };
    let production = owed::production(&owed).await.map_err(|error| text(&error))?;
    Ok(Access { production, docker: owed.docker })
}

/// The engine block of the run's grid, where that can be read.
fn block(folder: &Path) -> Option<crate::grid::DockerBlock> {
    let folder = Folder::existing(folder).ok()?;
    let manifest = folder.manifest().ok()?;
    let options = ReadOptions {
        engine: Some(manifest.engine.clone()),
        base: folder.original_grid(&manifest).parent().map(Path::to_owned),
        max_configurations: usize::MAX,
        // Production is restored without them, too.
        datasets: false,
        ..ReadOptions::default()
    };
    match GridFile::read(&folder.grid_path(), &options).ok()?.engine() {
        EngineBlock::Docker(block) => Some(block.clone()),
        _ => None,
    }
}

/// What a journal gives.
enum Read {
    /// It is open for writing, whatever is damaged in it.
    Open(Box<Journal>, Vec<ProductionStep>),
    /// It cannot be written or read whole; the steps that are legible, and why.
    Damaged(Vec<ProductionStep>, String),
    /// There is none.
    Missing,
}

fn journal(folder: &Path) -> Read {
    let path = folder.join("journal.jsonl");
    if !path.is_file() {
        return Read::Missing;
    }
    match Journal::open_damaged(&path) {
        Ok((journal, lines)) => Read::Open(Box::new(journal), production_steps(&lines)),
        Err(JournalError::Newer { path, .. } | JournalError::UnknownEntry { path, .. }) => {
            let why = format!("{}: a newer version wrote it", path.display());
            Read::Damaged(legible_steps(&path), why)
        }
        Err(error) => Read::Damaged(legible_steps(&path), error.to_string()),
    }
}

/// The steps on the lines that can be read, whatever is between them.
fn legible_steps(path: &Path) -> Vec<ProductionStep> {
    let bytes = crate::input::read(path, MAX_BYTES).unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut line: serde_json::Value = serde_json::from_slice(line).ok()?;
        serde_json::from_value::<Line>(line.get_mut("line")?.take()).ok()
    });
    production_steps(&lines.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::run::owner::stopping;

    #[test]
    fn steps_are_read_before_and_behind_what_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (mut open, _) = Journal::open(&path).unwrap();
        let owed = ProductionOwed {
            id: "c1".to_owned(),
            name: "vllm".to_owned(),
            ..ProductionOwed::default()
        };
        let started = ProductionStep::StartedNotProven { id: "c1".to_owned() };
        for step in [stopping(&owed), ProductionStep::Stopped { id: "c1".to_owned() }, started] {
            let now = jiff::Timestamp::UNIX_EPOCH;
            open.append(now, Entry::Production { production: step }).unwrap();
        }
        drop(open);
        assert!(matches!(journal(folder.path()), Read::Open(_, steps) if steps.len() == 3));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let damaged = format!("{}\n{}\n{}\n", lines[0], &lines[1][..20], lines[2]);
        std::fs::write(&path, damaged).unwrap();
        let Read::Open(open, steps) = journal(folder.path()) else { panic!("it can be followed") };
        assert_eq!(
            (steps.len(), pending_restore(&steps)),
            (2, PendingRestore::Proof("c1".to_owned()))
        );
        assert!(open.notes()[0].contains("line 2"), "{:?}", open.notes());
        assert_eq!(legible_steps(&path).len(), 2);
    }
}
