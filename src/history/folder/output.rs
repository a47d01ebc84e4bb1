//! Whether a folder that a person asks for can be a run's. What its path alone makes
//! impossible (a file, a path below a file, no permission) is the person's to change; a disk
//! that is full or read-only is the environment's.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::{HistoryError, io_error};

/// Checks a folder that exists or does not, and makes nothing.
pub(super) fn check(path: &Path) -> Result<(), HistoryError> {
    if path.as_os_str().is_empty() {
        return Err(error(path, Errno::NOENT.into()));
    }
    let may_write = |folder: &Path| {
        access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|why| error(path, why.into()))
    };
    match std::fs::symlink_metadata(path) {
        Ok(_) => {
            // A link that leads nowhere is no folder, either.
            let mut entries = std::fs::read_dir(path).map_err(|why| error(path, why))?;
            if entries.next().is_some() {
                return Err(HistoryError::NotEmpty(path.to_owned()));
            }
            may_write(path)
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let parents = path.ancestors().skip(1).map(|it| {
                // The parent of a name alone is where we are.
                if it.as_os_str().is_empty() { Path::new(".") } else { it }
            });
            let parent = parents.into_iter().find(|it| it.symlink_metadata().is_ok());
            let Some(parent) = parent else { return Ok(()) };
            if !parent.is_dir() {
                return Err(error(path, Errno::NOTDIR.into()));
            }
            may_write(parent)
        }
        Err(why) => Err(error(path, why)),
    }
}

/// Whose mistake it is that the folder cannot be used.
pub(super) fn error(path: &Path, why: io::Error) -> HistoryError {
    let words = match Errno::from_io_error(&why) {
        Some(Errno::EXIST | Errno::NOTDIR) => "it is a file, or below one, and no folder",
        Some(Errno::ACCESS | Errno::PERM) => "you may not write there",
        Some(Errno::NAMETOOLONG) => "the name is too long",
        Some(Errno::LOOP) => "its links lead in a circle",
        Some(Errno::NOENT | Errno::INVAL) => "there can be no such folder",
        _ => return io_error(path, why),
    };
    HistoryError::Output { path: path.to_owned(), why: words.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_path_makes_impossible_is_the_person_s_and_a_disk_is_the_environment_s() {
        let place = tempfile::tempdir().expect("a folder");
        let path = |name: &str| place.path().join(name);
        std::fs::write(path("file"), "").expect("written");
        std::os::unix::fs::symlink(path("nowhere"), path("link")).expect("linked");
        std::os::unix::fs::symlink(path("circle"), path("circle")).expect("linked");
        for wrong in ["file", "file/run", "file/a/b", "link", "circle", &"x".repeat(300)] {
            for found in [
                check(&path(wrong)).err(),
                super::super::Folder::create("g", jiff::Timestamp::UNIX_EPOCH, Some(&path(wrong)))
                    .err(),
            ] {
                let is_person_s = matches!(found, Some(HistoryError::Output { .. }));
                assert!(is_person_s, "{wrong}: {found:?}");
            }
        }
        assert!(matches!(check(Path::new("")), Err(HistoryError::Output { .. })));
        assert!(matches!(check(place.path()), Err(HistoryError::NotEmpty(_))));
        for right in ["new", "new/and/deeper"] {
            assert!(check(&path(right)).is_ok(), "{right}");
            assert!(!path("new").exists(), "nothing is made");
        }
        assert!(check(Path::new("a-name-alone")).is_ok());
        let kind = |errno: Errno| error(place.path(), errno.into());
        for of_disk in [Errno::ROFS, Errno::NOSPC, Errno::IO, Errno::DQUOT] {
            assert!(matches!(kind(of_disk), HistoryError::Io { .. }), "{of_disk:?}");
        }
        for of_person in [Errno::ACCESS, Errno::PERM] {
            assert!(matches!(kind(of_person), HistoryError::Output { .. }), "{of_person:?}");
        }
    }
}
