//! Removes the notes of dead runs' processes that are gone by themselves. Only who is about to
//! launch does that: who looks, as `doctor`, changes nothing.

use std::path::Path;

use super::processes_owed;
use crate::ownership::debt::{self, Debt};
use crate::ownership::session::liveness;
use crate::ownership::{Holder, Session, StateFolder, aside};

/// Removes the notes of dead runs' processes that are gone: of a dead run nothing new comes.
/// Each run is held meanwhile: it may be continued at any moment, and then notes anew what it
/// owes. `own` is the run that asks, which holds itself.
pub async fn settle(state: &StateFolder, own: Option<&str>) {
    let (state, own) = (state.clone(), own.map(str::to_owned));
    aside(move || {
        let mut runs: Vec<Debt> = debt::all(&state).0;
        runs.retain(|it| {
            own.as_ref() != Some(&it.run_id) && processes_owed(it) == Some(Vec::new())
        });
        runs.dedup_by(|one, other| one.run_id == other.run_id);
        for Debt { run_id, folder, .. } in runs {
            settle_run(&state, &run_id, &folder);
        }
    })
    .await;
}

fn settle_run(state: &StateFolder, run_id: &str, folder: &Path) {
    let own = |debt: &Debt| debt.run_id == run_id;
    let lives = |debt: &Debt| liveness(state, Some(run_id), Some(&debt.holder)).lives();
    if debt::all(state).0.iter().any(|debt| own(debt) && lives(debt)) {
        return;
    }
    let holder = Holder::this().in_state(state).of_run(run_id, folder);
    let Ok(_held) = Session::begin(state, run_id, folder, &holder) else { return };
    // As they are now: it may have been continued meanwhile, and ended.
    for debt in debt::all(state).0.iter().filter(|debt| own(debt)) {
        if processes_owed(debt) == Some(Vec::new()) {
            // A note that stays is in nobody's way.
            let _ = debt.paid(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::leftovers::tests::dead;
    use crate::engine::leftovers::{Look, find};
    use crate::ownership::{Ledger, Owed, Uses, new_run_id};

    #[tokio::test]
    async fn a_note_of_another_machine_is_not_paid_here() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let here = Holder::this();
        let boot_id = "another".to_owned();
        for (host, left) in [("gpu1".to_owned(), 1), (here.host.clone(), 0)] {
            let holder = Holder { host, boot_id: boot_id.clone(), ..here.clone() };
            let holder = holder.of_run(&new_run_id(), Path::new("/runs/theirs"));
            Ledger::of_run(&state, "theirs", &holder, &Uses::Cpu).owe(Owed::Processes).unwrap();
            let look = Look { state: &state, own: None, uses: &Uses::Cpu, docker: None };
            assert_eq!(find(look).await, []);
            let notes = || std::fs::read_dir(place.path().join("debts")).unwrap().count();
            assert_eq!(notes(), 1, "who looks pays nothing");
            settle(&state, None).await;
            assert!(debt::all(&state).0.is_empty());
            assert_eq!(notes(), left);
            for note in std::fs::read_dir(place.path().join("debts")).unwrap().flatten() {
                std::fs::remove_file(note.path()).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_settled_of_a_run_that_lives_or_of_the_run_that_asks() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let (run, ledger) = dead(&state, "0");
        ledger.owe(Owed::Processes).unwrap();
        let session = Session::begin(&state, &run, Path::new("/runs/a"), ledger.holder()).unwrap();
        settle(&state, None).await;
        assert_eq!(debt::all(&state).0.len(), 1, "it is being continued");
        drop(session);
        settle(&state, Some(&run)).await;
        assert_eq!(debt::all(&state).0.len(), 1, "it is its own");
        ledger.owe(Owed::Containers { docker: "unix:///d".to_owned() }).unwrap();
        settle(&state, None).await;
        let (left, _) = debt::all(&state);
        assert!(matches!(left.as_slice(), [Debt { owed: Owed::Containers { .. }, .. }]));
    }

    /// Whether a run lives is known after a moment, in which the runtime's thread is free.
    #[tokio::test]
    async fn who_waits_for_a_name_keeps_nothing_else_waiting() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let state = StateFolder::at(place.path()).unwrap();
        let other = StateFolder::at(elsewhere.path()).unwrap();
        let run = new_run_id();
        let holder = Holder::this().in_state(&other).of_run(&run, Path::new("/runs/a"));
        let ledger = Ledger::of_run(&state, "a", &holder, &Uses::Cpu);
        ledger.owe(Owed::Processes).unwrap();
        let _held = Session::begin(&other, &run, Path::new("/runs/a"), &holder).unwrap();
        let mut ticks = 0;
        let ticking = async {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                ticks += 1;
            }
        };
        tokio::select! {
            () = settle(&state, None) => {}
            () = ticking => {}
        }
        assert!(ticks > 0, "the thread was kept");
        assert_eq!(debt::all(&state).0.len(), 1, "it lives");
    }
}
