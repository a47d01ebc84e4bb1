//! A run lives exactly while a process holds its session: a lock in the state folder, which
//! tells by whom, and a name that the whole machine sees. Of a run that cannot be seen so, as
//! in another network namespace, the process decides.

use std::path::{Path, PathBuf};

use super::holder::Presence;
use super::lock::{Attempt, Lock, Taken, taken};
use super::machine::{self, Bound};
use super::{Held, Holder, OwnershipError, StateFolder, is_run_id};

/// A run that this process works on; it ends when this is dropped.
#[derive(Debug)]
pub struct Session {
    _lock: Lock,
    _name: Vec<Bound>,
}

/// Whether a run lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It does; by whom, where that can be read.
    Lives(Option<Box<Holder>>),
    /// No process works on it.
    Dead,
}

impl Liveness {
    /// Whether it lives.
    pub fn lives(&self) -> bool {
        matches!(self, Self::Lives(_))
    }
}

impl Session {
    /// Takes the session's lock of the run that the holder names.
    ///
    /// # Errors
    /// Another process works on the run, or the state folder cannot be used.
    pub fn begin(
        state: &StateFolder,
        run_id: &str,
        folder: &Path,
        holder: &Holder,
    ) -> Result<Self, OwnershipError> {
        let path = path_of(state, run_id);
        let held = |holder| {
            let what = format!("the run {}", folder.display());
            OwnershipError::Held(Box::new(Held { what, holder }))
        };
        match Lock::exclusive(&path, holder).map_err(|error| OwnershipError::io(&path, error))? {
            Attempt::Got(lock) => {
                let lock = lock.temporary();
                let name = machine::hold_run(run_id)?.map_err(|holder| held(Some(*holder)))?;
                Ok(Self { _lock: lock, _name: name })
            }
            Attempt::Held(holder) => Err(held(holder)),
        }
    }
}

/// Whether the run of this id lives. `known` is who held it last, as a label or a note says.
pub fn liveness(state: &StateFolder, run_id: Option<&str>, known: Option<&Holder>) -> Liveness {
    if let Some(run_id) = run_id.filter(|id| is_run_id(id))
        && let Some(Taken(holder)) = taken(&path_of(state, run_id))
    {
        return Liveness::Lives(holder.map(Box::new));
    }
    let other = |run_id: &&str| known.is_none_or(|it| it.state != state.id()) && is_run_id(run_id);
    if let Some(holder) = run_id.filter(other).and_then(machine::run) {
        let holder = known.filter(|it| it.pid == holder.pid).cloned().unwrap_or(holder);
        return Liveness::Lives(Some(Box::new(holder)));
    }
    match known {
        Some(known) if known.state != state.id() && known.presence() != Presence::Gone => {
            Liveness::Lives(Some(Box::new(known.clone())))
        }
        _ => Liveness::Dead,
    }
}

fn path_of(state: &StateFolder, run_id: &str) -> PathBuf {
    state.sessions().join(format!("{run_id}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::new_run_id;

    #[test]
    fn a_run_lives_while_its_session_is_held() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let run = new_run_id();
        let holder = Holder::this().in_state(&state).of_run(&run, Path::new("/runs/a"));
        assert_eq!(liveness(&state, Some(&run), Some(&holder)), Liveness::Dead);
        let session = Session::begin(&state, &run, Path::new("/runs/a"), &holder).unwrap();
        assert_eq!(
            liveness(&state, Some(&run), None),
            Liveness::Lives(Some(Box::new(holder.clone())))
        );
        let refused = Session::begin(&state, &run, Path::new("/runs/b"), &holder).unwrap_err();
        assert!(refused.to_string().contains("the run /runs/b is in use"), "{refused}");
        drop(session);
        assert_eq!(
            liveness(&state, Some(&run), Some(&holder)),
            Liveness::Dead,
            "this process lives"
        );
        assert_eq!(std::fs::read_dir(state.sessions()).unwrap().count(), 0);
    }

    #[test]
    fn of_a_run_of_another_state_folder_the_process_decides() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        let other = Holder { state: "another".to_owned(), ..Holder::this() };
        assert!(liveness(&state, Some(&new_run_id()), Some(&other)).lives());
        let gone = Holder { started: other.started + 1, ..other.clone() };
        assert!(!liveness(&state, None, Some(&gone)).lives());
        let elsewhere = Holder { pid_namespace: "pid:[1]".to_owned(), ..other };
        assert!(liveness(&state, None, Some(&elsewhere)).lives(), "nobody can tell");
    }

    #[test]
    fn a_run_lives_for_every_state_folder_and_is_held_by_one() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let state = StateFolder::at(place.path()).unwrap();
        let other = StateFolder::at(elsewhere.path()).unwrap();
        let run = new_run_id();
        let holder = Holder::this().in_state(&state).of_run(&run, Path::new("/runs/a"));
        let session = Session::begin(&state, &run, Path::new("/runs/a"), &holder).unwrap();
        assert!(liveness(&other, Some(&run), None).lives());
        let refused = Session::begin(&other, &run, Path::new("/runs/a"), &holder).unwrap_err();
        assert!(refused.to_string().contains("the run /runs/a is in use: process"), "{refused}");
        drop(session);
        assert!(!liveness(&other, Some(&run), None).lives());
        Session::begin(&other, &run, Path::new("/runs/a"), &holder).unwrap();
    }

    #[test]
    fn a_label_from_outside_names_no_file() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        assert_eq!(liveness(&state, Some("../../x"), None), Liveness::Dead);
    }
}
