//! Files that a process left in a run folder when it was killed: they have the
//! temporary name of a file that was not whole yet. Nothing else is touched.

use std::path::{Path, PathBuf};

/// How the names of files end that are written whole or not at all.
const ENDINGS: &[&str] = &[".json", ".yaml", ".csv", ".parquet", ".html", ".md"];

/// Removes them from the run folder, its launches and their records; gives how many. A launch of
/// `living` is made elsewhere now: its files are being written.
pub(super) fn remove(run: &Path, living: &[PathBuf]) -> usize {
    let mut removed = in_folder(run);
    for launch in folders(&run.join("launches")).iter().filter(|it| !living.contains(it)) {
        removed += remove_of_launch(launch);
    }
    removed
}

/// The same of one launch and its records.
pub(super) fn remove_of_launch(launch: &Path) -> usize {
    in_folder(launch) + in_folder(&launch.join("records"))
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    // A link may lead out of the run folder.
    let own = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()));
    own.map(|entry| entry.path()).collect()
}

fn in_folder(path: &Path) -> usize {
    // A link may lead out of the run folder.
    if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return 0;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let ours = entries.flatten().filter(|entry| {
        is_temporary(&entry.file_name().to_string_lossy())
            && entry.file_type().is_ok_and(|it| it.is_file())
    });
    ours.filter(|entry| std::fs::remove_file(entry.path()).is_ok()).count()
}

/// Whether a file of ours has this name until it is whole: `.NAME.RANDOM.tmp`, and `.NAME.tmp`
/// in folders of earlier versions.
fn is_temporary(name: &str) -> bool {
    let Some(whole) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")) else {
        return false;
    };
    let is_random = |word: &str| word.len() == 16 && word.bytes().all(|it| it.is_ascii_hexdigit());
    let whole = match whole.rsplit_once('.') {
        Some((name, word)) if is_random(word) => name,
        _ => whole,
    };
    ENDINGS.iter().any(|ending| whole.len() > ending.len() && whole.ends_with(ending))
}
