//! The files that `apply` writes: private, whole or not at all, and nobody else's.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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

/// A file beside the one that it is to become; it is removed unless it becomes that.
pub(super) struct Draft {
    at: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Writes the text for `path`, readable by its user alone.
    pub(super) fn of(path: &Path, text: &str) -> Result<Self, ApplyError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let at = path.with_file_name(format!(".{}-{name}", std::process::id()));
        let draft = Self { at, path: path.to_owned() };
        let write = || {
            let _old = std::fs::remove_file(&draft.at);
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
}
