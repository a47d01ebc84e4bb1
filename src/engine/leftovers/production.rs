//! Production that dead runs owe, of which the state folder, the label of a candidate or a
//! journal tells, and how it is now. What cannot be asked is owed as long as nobody shows
//! otherwise. Nothing is started here.

use std::path::Path;
use std::time::Duration;

use super::{Leftover, What};
use crate::engine::docker::cleanup::{self, Labelled};
use crate::engine::docker::owed::{self, Connection};
use crate::history::journal::{self, Entry};
use crate::history::production::{
    Companion, Down, Now, PendingRestore, ProductionStep, pending_restore,
};
use crate::ownership::debt::{self, Debt, Owed, ProductionOwed};
use crate::ownership::session::{Liveness, liveness};
use crate::ownership::{StateFolder, aside};

/// Productions that dead runs owe and that are not known to run, on the daemons where they
/// were.
pub async fn productions_down(state: &StateFolder) -> Vec<(Debt, ProductionOwed, Now)> {
    let own = state.clone();
    let owed_by_dead = move |debt: Debt| match debt.owed.clone() {
        Owed::Production(owed)
            if !liveness(&own, Some(&debt.run_id), Some(&debt.holder)).lives() =>
        {
            Some((debt, owed))
        }
        _ => None,
    };
    let own = state.clone();
    let owed: Vec<(Debt, ProductionOwed)> =
        aside(move || debt::all(&own).0.into_iter().filter_map(owed_by_dead).collect()).await;
    let mut down = Vec::new();
    for (debt, owed) in owed {
        let now = match owed::connect_to(&owed.docker).await {
            Ok(docker) => owed::now(&docker, &owed).await,
            Err(error) => Now::Unknown(error.to_string()),
        };
        // What cannot be asked is owed as long as nobody shows otherwise.
        if now != Now::Runs {
            down.push((debt, owed, now));
        }
    }
    down
}

/// How the production that a run stopped is now, asked for no longer than `limit`: on the
/// daemon where the run's debt was noted, else on this environment's.
pub async fn production_now(
    state: Option<&StateFolder>,
    run_id: Option<&str>,
    down: &Down,
    limit: Duration,
) -> Now {
    let debts = state.map(|state| debt::all(state).0).unwrap_or_default();
    let noted = debts.into_iter().find_map(|debt| match debt.owed {
        Owed::Production(owed) if run_id == Some(debt.run_id.as_str()) => Some(owed.docker),
        _ => None,
    });
    let docker = match noted.map_or_else(owed::socket, Ok) {
        Ok(docker) => docker,
        Err(error) => return Now::Unknown(error.to_string()),
    };
    let (id, name) = (down.id.clone(), down.name.clone());
    owed::now_within(&ProductionOwed { docker, id, name, ..ProductionOwed::default() }, limit).await
}

/// Who stopped the production of this name, which does not run, as a sentence, and what to do;
/// `None` where no run owes it. `docker` has the candidates whose labels may tell of it.
pub async fn stopped_by(
    state: &StateFolder,
    name: &str,
    docker: Option<&Connection>,
) -> Option<(String, String)> {
    let wanted = name.to_owned();
    let is_it = move |owed: &ProductionOwed| owed.name == wanted || owed.id == wanted;
    let debts = debt::all(state).0;
    let noted = debts.iter().find_map(|debt| match &debt.owed {
        Owed::Production(owed) if is_it(owed) => Some((debt, owed)),
        _ => None,
    });
    let Some((debt, owed)) = noted else {
        let (own, all) = (state.clone(), cleanup::ours(docker?).await.ok()?);
        let down = aside(move || {
            let (seen, owed) = by_label(&own, &all).into_iter().find(|(_, owed)| is_it(owed))?;
            Some(owed_by(&seen.folder, owed, Now::Stopped))
        });
        let down = down.await?;
        return Some((down.to_string(), down.advice()));
    };
    let folder = debt.folder.display();
    let (own, of) = (state.clone(), debt.clone());
    let life = aside(move || liveness(&own, Some(&of.run_id), Some(&of.holder))).await;
    Some(match life {
        Liveness::Lives(Some(holder)) if holder.recovers => (
            format!("{name} was stopped by the run {folder}: {holder} starts it again"),
            "wait until it ends".to_owned(),
        ),
        Liveness::Lives(holder) => {
            let place = holder.and_then(|it| it.place()).unwrap_or_else(|| folder.to_string());
            (
                format!("{name} is stopped by the run {place}, which starts it again at its end"),
                "wait until that run ends".to_owned(),
            )
        }
        Liveness::Dead => {
            let down = owed_by(&debt.folder, owed, Now::Stopped);
            (down.to_string(), down.advice())
        }
    })
}

/// What a dead run in this folder owes.
pub(super) fn owed_by(folder: &Path, owed: &ProductionOwed, now: Now) -> Leftover {
    let folder = (!folder.as_os_str().is_empty()).then(|| folder.to_owned());
    let what = What::Production(owed.name.clone(), owed.id.clone(), now);
    Leftover { what, folder, holder: None }
}

/// What a dead run in this folder owes of what it stopped with production, which runs.
pub(super) fn companion_owed_by(folder: &Path, owed: &ProductionOwed, it: Companion) -> Leftover {
    let folder = (!folder.as_os_str().is_empty()).then(|| folder.to_owned());
    Leftover { what: What::Companion(it, owed.name.clone()), folder, holder: None }
}

/// Production that dead runs owe of which no note tells: only the label of a candidate, while
/// its state folder is lost. Each once, however many candidates there are.
pub(super) fn by_label<'a>(
    state: &StateFolder,
    all: &'a [Labelled],
) -> Vec<(&'a Labelled, &'a ProductionOwed)> {
    let noted: Vec<Debt> = debt::all(state).0.into_iter().chain(debt::elsewhere(state)).collect();
    let mut found: Vec<(&Labelled, &ProductionOwed)> = Vec::new();
    for seen in all {
        let (Some(owed), Some(run)) = (&seen.production, &seen.run_id) else { continue };
        let is_known = noted.iter().any(|debt| debt.run_id == *run)
            || found.iter().any(|(_, known)| known.id == owed.id);
        if !is_known
            && !seen.liveness(state).lives()
            && is_pending(&seen.folder, owed) != Some(false)
        {
            found.push((seen, owed));
        }
    }
    found
}

/// Whether the journal in a folder says that this production is owed; `None` where it says
/// nothing of it, as where another run is at that place by now.
fn is_pending(folder: &Path, owed: &ProductionOwed) -> Option<bool> {
    let named = (!folder.as_os_str().is_empty()).then_some(folder)?;
    let lines = journal::read(&named.join("journal.jsonl")).ok()?;
    let steps: Vec<ProductionStep> = lines
        .into_iter()
        .filter_map(|line| match line.entry {
            Entry::Production { production } => Some(production),
            _ => None,
        })
        .collect();
    let of_it = |step: &ProductionStep| match step {
        ProductionStep::Stopping { facts } => facts.id == owed.id,
        _ => false,
    };
    let is_its = steps.iter().any(of_it);
    is_its.then(|| pending_restore(&steps) != PendingRestore::Nothing)
}
