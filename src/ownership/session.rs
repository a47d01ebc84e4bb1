//! A run lives exactly while a process holds its session's lock. A run of another state
//! folder, another user's for example, has its lock elsewhere: there the process decides.

use std::path::{Path, PathBuf};

use super::holder::Presence;
use super::lock::{Attempt, Lock, Taken, taken};
use super::{Held, Holder, OwnershipError, StateFolder, is_run_id};

/// A run that this process works on; it ends when this is dropped.
#[derive(Debug)]
pub struct Session {
    _lock: Lock,
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
        match Lock::exclusive(&path, holder).map_err(|error| OwnershipError::io(&path, error))? {
            Attempt::Got(lock) => Ok(Self { _lock: lock.temporary() }),
            Attempt::Held(holder) => {
                let what = format!("the run {}", folder.display());
                Err(OwnershipError::Held(Box::new(Held { what, holder })))
            }
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
    fn a_label_from_outside_names_no_file() {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::at(place.path()).unwrap();
        assert_eq!(liveness(&state, Some("../../x"), None), Liveness::Dead);
    }
}
