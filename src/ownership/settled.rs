//! Runs that owe nothing any more, so that whoever asks for one by the place where it was, or
//! by its id, is told so, and not that nobody knows it. Nothing depends on it: what is owed is
//! said by the debts, and the oldest notes are dropped.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StateFolder, is_run_id, real_path, state};
use crate::input;

/// Notes that are kept.
const KEPT: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
struct Settled {
    /// Where it is and was.
    folders: Vec<PathBuf>,
}

/// Notes that a run owes nothing, unless something of it is still noted as owed.
pub fn note(state: &StateFolder, run_id: &str, folder: &Path) {
    if !is_run_id(run_id) || owes(state, run_id) {
        return;
    }
    let place = place(state);
    let path = place.join(file(run_id));
    let mut folders = read(&path).map(|it| it.folders).unwrap_or_default();
    let folder = real_path(folder);
    if !folders.contains(&folder) {
        folders.push(folder);
    }
    // Without the note the answer is another one, and as true.
    let _ = std::fs::create_dir_all(&place)
        .is_ok_and(|()| state::write(&path, &Settled { folders }).is_ok());
    drop_oldest(&place);
}

/// Whether a run owes nothing any more that was in this folder, or has this id.
pub fn knows(state: &StateFolder, name: &Path) -> bool {
    let text = name.to_string_lossy();
    if is_run_id(&text) {
        return input::plain(&place(state).join(file(&text))).is_ok();
    }
    let name = real_path(name);
    let was_there = |path: PathBuf| read(&path).is_some_and(|it| it.folders.contains(&name));
    notes(&place(state)).into_iter().any(was_there)
}

fn read(path: &Path) -> Option<Settled> {
    serde_json::from_str(&input::text(path).ok()?).ok()
}

fn owes(state: &StateFolder, run_id: &str) -> bool {
    let debts = std::fs::read_dir(state.debts()).into_iter().flatten().flatten();
    debts.into_iter().any(|it| it.file_name().to_string_lossy().starts_with(run_id))
}

fn place(state: &StateFolder) -> PathBuf {
    state.path().join("settled")
}

fn file(run_id: &str) -> String {
    format!("{run_id}.json")
}

fn notes(place: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(place).into_iter().flatten().flatten();
    files.map(|it| it.path()).filter(|it| it.extension().is_some_and(|it| it == "json")).collect()
}

fn drop_oldest(place: &Path) {
    let mut notes = notes(place);
    if notes.len() <= KEPT {
        return;
    }
    notes.sort_by_key(|path| path.metadata().and_then(|it| it.modified()).ok());
    for path in &notes[..notes.len() - KEPT] {
        let _another_was_faster = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::{Holder, Ledger, Owed, Uses, new_run_id};

    #[test]
    fn a_run_is_settled_when_its_last_debt_is_paid_and_is_known_by_place_and_id() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let (run, folder) = (new_run_id(), Path::new("/runs/a"));
        let holder = Holder::this().in_state(&state).of_run(&run, folder);
        let ledger = Ledger::of_run(&state, "a", &holder, &Uses::Cpu);
        let containers = Owed::Containers { docker: "unix:///d".to_owned() };
        ledger.owe(containers.clone()).unwrap();
        ledger.owe(Owed::Processes).unwrap();
        ledger.paid(&Owed::Processes).unwrap();
        assert!(!knows(&state, folder) && !knows(&state, Path::new(&run)), "it owes");
        ledger.paid(&containers).unwrap();
        assert!(knows(&state, folder) && knows(&state, Path::new(&run)));
        note(&state, &run, Path::new("/runs/moved"));
        assert!(knows(&state, folder) && knows(&state, Path::new("/runs/moved")));
        assert!(!knows(&state, Path::new("/runs/b")));
        assert!(!knows(&state, Path::new(&new_run_id())));
    }

    #[test]
    fn the_oldest_notes_are_dropped() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let folder = super::place(&state);
        std::fs::create_dir_all(&folder).unwrap();
        for _ in 0..KEPT + 20 {
            std::fs::write(folder.join(file(&new_run_id())), "{}").unwrap();
        }
        let last = new_run_id();
        note(&state, &last, Path::new("/runs/last"));
        assert_eq!(notes(&folder).len(), KEPT);
        assert!(knows(&state, Path::new("/runs/last")));
    }
}
