//! The state folder, one per user: where it is, that it is private, and how a file in it
//! is written whole and durable. What the files mean is in the files beside this one.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::process::boot_id;
use super::space::Space;
use super::{OwnershipError, is_run_id, new_run_id};
use crate::input;

/// The variable that names it.
const VARIABLE: &str = "VLLM_GRID_STATE";

/// The state folder, open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFolder {
    path: PathBuf,
    id: String,
    claims: Space,
}

impl StateFolder {
    /// The one that the environment names: `VLLM_GRID_STATE`, else
    /// `XDG_STATE_HOME/vllm-grid`, else `HOME/.local/state/vllm-grid`.
    ///
    /// # Errors
    /// Where none is named, it is relative or empty, or it cannot be used.
    pub fn of_environment() -> Result<Self, OwnershipError> {
        let state = Self::of_variables(|name| std::env::var_os(name))?;
        Ok(Self { claims: Space::of_environment(), ..state })
    }

    fn of_variables(
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Self, OwnershipError> {
        let named = variable(VARIABLE);
        // A variable of a script that is not set: what is owed would be noted elsewhere.
        if named.as_ref().is_some_and(|it| it.is_empty()) {
            return Err(OwnershipError::Empty);
        }
        let place = place(variable).ok_or(OwnershipError::NoPlace)?;
        // Another working folder would be another state: nothing would be found again.
        if place.is_relative() {
            return Err(OwnershipError::Relative(place));
        }
        Self::at(&place).map_err(|error| match error {
            OwnershipError::Io { path, error } if named.is_some() => {
                let why = match std::fs::metadata(&place) {
                    Ok(seen) if !seen.is_dir() => "it is no folder".to_owned(),
                    _ if path == place => error.to_string(),
                    _ => format!("{}: {error}", path.display()),
                };
                OwnershipError::Named { place, why }
            }
            error => error,
        })
    }

    /// The one at `path`, made where it is missing. Its claims are set apart from the
    /// machine's, as if `VLLM_GRID_CLAIMS` were this path: for tests. What works on a real
    /// machine takes [`StateFolder::of_environment`] or [`Makeshift::new`].
    ///
    /// # Errors
    /// Where it cannot be made, or is another user's.
    pub fn at(path: &Path) -> Result<Self, OwnershipError> {
        let path = std::path::absolute(path).map_err(|error| OwnershipError::io(path, error))?;
        let io = |error| OwnershipError::io(&path, error);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io)?;
        let found = std::fs::metadata(&path).map_err(io)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(OwnershipError::NotOurs { path, owner: found.uid() });
        }
        private_folder(&path)?;
        for inner in ["locks", "sessions", "debts"] {
            private_folder(&path.join(inner))?;
        }
        let id = id_of(&path)?;
        let claims = Space::of(path.as_os_str().as_bytes());
        Ok(Self { path, id, claims })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What distinguishes it from every other state folder, whatever their paths.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whose claims are known to those of this folder's runs.
    pub fn claims(&self) -> &Space {
        &self.claims
    }

    /// The same with other claims.
    #[cfg(test)]
    pub(crate) fn with_claims(self, claims: &Space) -> Self {
        Self { claims: claims.clone(), ..self }
    }

    pub(super) fn sessions(&self) -> PathBuf {
        self.path.join("sessions")
    }

    pub(super) fn debts(&self) -> PathBuf {
        self.path.join("debts")
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.path.join("locks")
    }
}

/// A state folder for one command where that of the environment cannot be used: new, with a
/// name that nobody can foresee, and with the machine's claims. It goes with the command unless
/// something is noted in it that is still owed.
#[derive(Debug)]
pub struct Makeshift(StateFolder);

impl Makeshift {
    /// A new one, in a place that outlives a restart of the machine if there is one.
    ///
    /// # Errors
    /// Where none can be made.
    pub fn new() -> Result<Self, OwnershipError> {
        let asked = std::env::var_os("TMPDIR").map(PathBuf::from);
        let asked = asked.filter(|path| path.is_absolute());
        let usual = ["/var/tmp", "/tmp"].map(PathBuf::from);
        let mut places = asked.into_iter().chain(usual).map(|place| Self::within(&place));
        let first = places.next().unwrap_or(Err(OwnershipError::NoPlace));
        first.or_else(|error| places.find_map(Result::ok).ok_or(error))
    }

    fn within(place: &Path) -> Result<Self, OwnershipError> {
        let path = place.join(format!("vllm-grid-{}", new_run_id()));
        // Not recursive: what is there already, a link included, is another's.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| OwnershipError::io(&path, error))?;
        let state = StateFolder::at(&path)?;
        Ok(Self(StateFolder { claims: Space::of_environment(), ..state }))
    }

    /// The state folder.
    pub fn folder(&self) -> &StateFolder {
        &self.0
    }

    /// Removes it; `Err` where it has notes of what is still owed: it stays, with its path.
    ///
    /// # Errors
    /// Its path, where it stays.
    pub fn remove(self) -> Result<(), PathBuf> {
        let noted = |it: io::Result<std::fs::DirEntry>| {
            it.map_or(true, |it| it.path().extension().is_some_and(|it| it == "json"))
        };
        // What cannot be read may be owed.
        if std::fs::read_dir(self.0.debts()).map_or(true, |mut files| files.any(noted)) {
            return Err(self.0.path);
        }
        let _in_nobody_s_way = std::fs::remove_dir_all(&self.0.path);
        Ok(())
    }
}

/// Where the state folder is, by the variables of an environment; an empty or relative one
/// of the system's names no place, as its convention says.
fn place(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let absolute = |name: &str| set(name).filter(|path| path.is_absolute());
    set(VARIABLE)
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("vllm-grid")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/vllm-grid")))
}

/// The folder's id, made once; an empty or torn one is made anew.
fn id_of(folder: &Path) -> Result<String, OwnershipError> {
    let (path, lock) = (folder.join("id"), folder.join("id.lock"));
    let read = || input::text(&path).ok().map(|text| text.trim().to_owned());
    if let Some(id) = read().filter(|id| is_run_id(id)) {
        return Ok(id);
    }
    let lock_error = |error| OwnershipError::io(&lock, error);
    let locked = input::open_to_write(&lock).map_err(|error| lock_error(error.into()))?;
    locked.lock().map_err(lock_error)?;
    // Another process may have made it meanwhile.
    if let Some(id) = read().filter(|id| is_run_id(id)) {
        return Ok(id);
    }
    let id = new_run_id();
    write_bytes(&path, format!("{id}\n").as_bytes())
        .map_err(|error| OwnershipError::io(&path, error))?;
    Ok(id)
}

/// Makes a folder that only its owner may read; one that others may is closed to them.
pub(super) fn private_folder(path: &Path) -> Result<(), OwnershipError> {
    let io = |error| OwnershipError::io(path, error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
    // One that its owner may not list, either, would hide what is owed.
    if std::fs::metadata(path).map_err(io)?.mode() & 0o777 != 0o700 {
        std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io)?;
    }
    Ok(())
}

/// Writes a file whole and durable, or leaves what was there.
///
/// # Errors
/// Where the file system refuses.
pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<(), OwnershipError> {
    let text = serde_json::to_vec_pretty(value).map_err(io::Error::other);
    text.and_then(|text| write_bytes(path, &text)).map_err(|error| OwnershipError::io(path, error))
}

/// This boot of this machine, as it is in files' names.
pub(super) fn boot() -> String {
    boot_id().chars().filter(char::is_ascii_alphanumeric).take(12).collect()
}

fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.{}.tmp", boot(), std::process::id()));
    let written = (|| {
        let mut options = OpenOptions::new();
        // Reading as well: a pipe of that name is an error, and not waited for.
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        #[cfg(test)]
        crate::crash::before_write("state", &mut file, bytes)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        #[cfg(test)]
        crate::crash::point("state: before rename")?;
        std::fs::rename(&temporary, path)?;
        #[cfg(test)]
        crate::crash::point("state: after rename")?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _not_there = std::fs::remove_file(&temporary);
    }
    written
}

/// Removes a file durably; one that is not there is no error.
///
/// # Errors
/// Where the file system refuses.
pub(super) fn remove(path: &Path) -> Result<(), OwnershipError> {
    let io = |error| OwnershipError::io(path, error);
    // A full disk refuses no removal.
    #[cfg(test)]
    let _ = crate::crash::point("state: before removal");
    match std::fs::remove_file(path) {
        Ok(()) => {
            #[cfg(test)]
            let _ = crate::crash::point("state: after removal");
            let folder = path.parent().unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_variable_s_else_the_system_s() {
        let of = |pairs: &[(&str, &str)]| {
            place(|name| {
                pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).into())
            })
        };
        let home = ("HOME", "/home/u");
        assert_eq!(
            of(&[home, ("VLLM_GRID_STATE", "s"), ("XDG_STATE_HOME", "/x")]),
            Some("s".into())
        );
        assert_eq!(of(&[home, ("XDG_STATE_HOME", "/x")]), Some("/x/vllm-grid".into()));
        assert_eq!(
            of(&[home, ("XDG_STATE_HOME", "relative"), ("VLLM_GRID_STATE", "")]),
            Some("/home/u/.local/state/vllm-grid".into())
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn it_is_private_and_keeps_its_id() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/state");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let state = StateFolder::at(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(StateFolder::at(&path).unwrap(), state);
        assert_ne!(StateFolder::at(&place.path().join("b")).unwrap().id(), state.id());
        // As a power loss may leave it.
        std::fs::write(path.join("id"), "").unwrap();
        let again = StateFolder::at(&path).unwrap();
        assert!(is_run_id(again.id()) && again.id() != state.id());
    }

    #[test]
    fn a_makeshift_folder_is_nobody_else_s_and_stays_while_it_notes_what_is_owed() {
        use crate::ownership::{Holder, Ledger, Owed, Uses};

        let place = tempfile::tempdir().unwrap();
        let (one, other) = (Makeshift::within(place.path()), Makeshift::within(place.path()));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_ne!(one.folder().path(), other.folder().path());
        let known = std::process::id().to_string();
        let name = one.folder().path().file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.len() > 32 && !name.contains(&format!("-{known}")), "{name}");
        assert_eq!(std::fs::metadata(one.folder().path()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(one.folder().claims(), &Space::of_environment(), "they are the machine's");
        assert_ne!(StateFolder::at(place.path()).unwrap().claims(), &Space::of_environment());

        let run = new_run_id();
        let holder = Holder::this().in_state(one.folder()).of_run(&run, Path::new("/runs/a"));
        let ledger = Ledger::of_run(one.folder(), "a", &holder, &Uses::Cpu);
        ledger.owe(Owed::Processes).unwrap();
        let path = one.folder().path().to_owned();
        assert_eq!(one.remove(), Err(path.clone()));
        ledger.paid(&Owed::Processes).unwrap();
        assert!(path.exists());
        let path = other.folder().path().to_owned();
        assert_eq!(other.remove(), Ok(()));
        assert!(!path.exists());
    }

    #[test]
    fn a_variable_that_names_no_usable_folder_is_named_with_its_value_and_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        let said = |value: &str| {
            let variable = |name: &str| (name == VARIABLE).then(|| value.into());
            StateFolder::of_variables(variable).unwrap_err().to_string()
        };
        let below = file.join("state").display().to_string();
        let file = file.display().to_string();
        for (value, why) in [
            ("", "is set to an empty text"),
            ("here/state", "is relative (here/state)"),
            (&file, "it is no folder"),
            (&below, "Not a directory"),
            ("/proc/vllm-grid", "No such file"),
        ] {
            let text = said(value);
            assert!(text.contains("VLLM_GRID_STATE is ") && text.contains(why), "{value}: {text}");
            assert!(text.contains(value) && text.contains("set it to "), "{value}: {text}");
        }
        let usable = place.path().join("state").display().to_string();
        let variable = |name: &str| (name == VARIABLE).then(|| usable.clone().into());
        assert_eq!(StateFolder::of_variables(variable).unwrap().path(), Path::new(&usable));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = StateFolder::at(&file.join("state")).unwrap_err().to_string();
        assert!(error.contains("file") && error.contains("VLLM_GRID_STATE"), "{error}");
    }
}
