//! The files that `apply` writes: private, whole or not at all, and nobody else's.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ApplyError;

/// What each of them begins with.
pub(super) const MARK: &str = "# vllm-grid apply: ";

/// Whether `apply` wrote the file.
pub fn is_ours(path: &Path) -> bool {
    crate::input::text(path).is_ok_and(|text| text.starts_with(MARK))
}

/// Refuses to replace what somebody else wrote.
pub(super) fn check(path: &Path) -> Result<(), ApplyError> {
    match path.symlink_metadata() {
        Ok(_) if !is_ours(path) => Err(ApplyError::Foreign(path.to_owned())),
        _ => Ok(()),
    }
}

/// Makes the folder of a file; only its user may look into one that is new.
pub(super) fn folder_of(path: &Path) -> Result<(), ApplyError> {
    let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty()) else {
        return Ok(());
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| ApplyError::Io { path: folder.to_owned(), error })
}

/// What the name of a draft begins with.
const DRAFT: &str = ".vllm-grid-draft-";

/// What is older was left by an `apply` that was killed: none takes so long.
const STALE: Duration = Duration::from_hours(1);

/// Removes the drafts of `name` that nobody works on any more.
fn remove_stale(path: &Path, name: &str) {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let Ok(entries) = std::fs::read_dir(folder.unwrap_or(Path::new("."))) else { return };
    for entry in entries.flatten() {
        let own = entry.file_name();
        let own = own.to_string_lossy();
        // The random part has no `-`: a longer name is another file's.
        let is_draft = own
            .strip_prefix(DRAFT)
            .and_then(|it| it.split_once('-'))
            .is_some_and(|(_, of)| of == name);
        let modified = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_draft && modified().is_some_and(|age| age > STALE) {
            // One that cannot be removed is in nobody's way.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Puts the override and the file of its variables in their places, in this order of the
/// result. The variables come first: an override without its own means other values.
pub(super) fn keep(over: Draft, variables: Option<Draft>) -> Result<Vec<PathBuf>, ApplyError> {
    let variables = variables.map(Draft::keep).transpose()?;
    let over = over.keep().map_err(|error| match (error, &variables) {
        (ApplyError::Io { path, error }, Some(written)) => {
            ApplyError::HalfWritten { written: written.clone(), path, error }
        }
        (error, _) => error,
    })?;
    Ok(std::iter::once(over).chain(variables).collect())
}

/// A file beside the one that it is to become; it is removed unless it becomes that.
pub(super) struct Draft {
    at: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Writes the text for `path`, readable by its user alone.
    pub(super) fn of(path: &Path, text: &str) -> Result<Self, ApplyError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        remove_stale(path, &name);
        let at = path.with_file_name(format!("{DRAFT}{:016x}-{name}", rand::random::<u64>()));
        let draft = Self { at, path: path.to_owned() };
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&draft.at)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| ApplyError::Io { path: path.to_owned(), error })?;
        Ok(draft)
    }

    /// Where it is now.
    pub(super) fn place(&self) -> &Path {
        &self.at
    }

    /// Puts it in its place.
    pub(super) fn keep(self) -> Result<PathBuf, ApplyError> {
        let path = self.path.clone();
        std::fs::rename(&self.at, &path)
            .map_err(|error| ApplyError::Io { path: path.clone(), error })?;
        Ok(path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What was renamed is not there.
        let _ = std::fs::remove_file(&self.at);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_private_and_replaces_only_one_of_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/o.env");
        folder_of(&path).expect("made");
        let kept = Draft::of(&path, &format!("{MARK}x\nA=1\n")).expect("written").keep();
        assert_eq!(kept.expect("renamed"), path);
        let mode = path.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        check(&path).expect("ours is replaced");
        drop(Draft::of(&path, "B=2\n").expect("written"));
        assert_eq!(std::fs::read_dir(folder.path().join("new")).expect("a folder").count(), 1);
        std::fs::write(&path, "services: {}\n").expect("written");
        assert!(matches!(check(&path), Err(ApplyError::Foreign(_))));
    }

    #[test]
    fn where_the_second_file_cannot_be_written_the_first_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let [over, variables] = ["o.yaml", "o.env"].map(|name| folder.path().join(name));
        let draft = |path: &Path| Draft::of(path, "text").expect("written");
        let kept = keep(draft(&over), Some(draft(&variables))).expect("renamed");
        assert_eq!(kept, [over.clone(), variables.clone()]);
        // A file is not renamed to a folder.
        let blocked = |path: &Path| {
            std::fs::remove_file(path).expect("it is there");
            std::fs::create_dir(path).expect("made");
        };
        blocked(&over);
        let refused = keep(draft(&over), Some(draft(&variables)));
        let Err(ApplyError::HalfWritten { written, path, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((written, path), (variables.clone(), over.clone()));
        // The variables come first: with them nothing is written, neither.
        std::fs::remove_dir(&over).expect("it is there");
        blocked(&variables);
        let refused = keep(draft(&over), Some(draft(&variables)));
        assert!(matches!(refused, Err(ApplyError::Io { .. })), "{refused:?}");
        assert!(!over.exists(), "no override without its variables");
    }

    #[test]
    fn a_draft_of_a_killed_apply_is_removed_and_one_that_is_worked_on_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("o.yaml");
        let left = |of: &str, age: Duration| {
            let draft = Draft::of(&folder.path().join(of), "half").expect("written");
            let file = std::fs::File::options().write(true).open(draft.place()).expect("opened");
            file.set_modified(std::time::SystemTime::now() - age).expect("its time is set");
            let place = draft.place().to_owned();
            std::mem::forget(draft);
            place
        };
        let (killed, other) = (left("o.yaml", 2 * STALE), left("x-o.yaml", 2 * STALE));
        let living = left("o.yaml", Duration::ZERO);
        let [first, second] = [(); 2].map(|()| Draft::of(&path, "new").expect("written"));
        assert!(!killed.exists() && living.exists());
        assert!(other.exists(), "another file's");
        assert_ne!(first.place(), second.place(), "two at once do not share one");
    }
}
