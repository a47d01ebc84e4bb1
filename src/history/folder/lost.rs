//! What is said of a run folder that lacks a file: what of it is left, and what can be done
//! without it. Journals that were put aside while the run was written are named, so that
//! nobody takes what is lost from the journal for lost.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::history::HistoryError;
use crate::history::journal::{self, JournalError};
use crate::input::user_of;

/// How a file begins that has lines of a journal which was removed, replaced or cut.
const SAVED: &str = "journal.saved-";
/// The same of one with a damaged last line.
const DAMAGED: &str = "journal.damaged-";

/// Why a folder has no manifest: it holds no run, or lost it.
pub(super) fn no_manifest(folder: &Path, manifest: &Path) -> HistoryError {
    let is_there = |name: &str| folder.join(name).exists();
    let is_run = ["journal.jsonl", "launches"].into_iter().any(is_there);
    if !is_run && saved(folder).is_empty() {
        return HistoryError::NoSweep(folder.to_owned());
    }
    let what = format!("it is missing: restore it from a copy. {}", without_manifest(folder));
    HistoryError::Manifest { path: manifest.to_owned(), what }
}

/// The error of a folder that this user may not look into.
pub(super) fn denied(folder: &Path) -> HistoryError {
    // Of a folder that cannot be seen at all, the one around it says whose it is.
    let owner = folder.ancestors().find_map(|it| it.metadata().ok()).map(|it| user_of(it.uid()));
    HistoryError::Denied {
        path: folder.to_owned(),
        owner: owner.unwrap_or_else(|| "another user".to_owned()),
    }
}

/// What cannot be done without a manifest, what is left, and what can be done.
pub(super) fn without_manifest(folder: &Path) -> String {
    let left = [("its grid", "grid.yaml"), ("its measurements", "journal.jsonl")];
    let left = left.into_iter().filter(|(_, name)| folder.join(name).exists());
    let left = left
        .map(|(what, name)| format!("; {what} {} in {}", verb(what), folder.join(name).display()));
    format!(
        "Without it the sweep cannot be displayed or resumed{}. `vllm-grid recover {}` needs none: it \
         starts production again and removes what the run left",
        left.collect::<String>(),
        shell_words::quote(&crate::clean::plain(&folder.display().to_string()))
    )
}

fn verb(what: &str) -> &'static str {
    if what.ends_with('s') { "are" } else { "is" }
}

/// The error of a journal that has no line, or is not there, with what was put aside of it.
pub(super) fn no_journal(path: &Path, empty: bool) -> JournalError {
    let all = saved(path.parent().unwrap_or(Path::new(".")));
    let saved = all.into_iter().rfind(|path| lines(path).is_some());
    JournalError::Lost { path: path.to_owned(), empty, saved }
}

/// The error of a journal that cannot be read, with what was put aside of it.
pub(super) fn damaged(folder: &Path, error: JournalError) -> JournalError {
    match (error, beside(folder)) {
        (JournalError::Damaged { path, line, what }, beside) if !beside.is_empty() => {
            let what = format!("{what} ({})", beside.join("; "));
            JournalError::Damaged { path, line, what }
        }
        (error, _) => error,
    }
}

/// The journals beside a run's own one, a sentence each.
pub(super) fn beside(folder: &Path) -> Vec<String> {
    let journal = folder.join("journal.jsonl");
    let of_saved = saved(folder).into_iter().map(|path| {
        let path_shown = path.display();
        match lines(&path) {
            Some(count) => format!(
                "{path_shown} is a whole journal of {count} lines, which was saved when {} was removed or \
                 replaced while the sweep ran: it is not counted; to go on from it, give it that name",
                journal.display()
            ),
            None => format!(
                "{path_shown} holds lines that were written after somebody cut {}: they are not counted, \
                 and count again only where that is restored whole from a copy",
                journal.display()
            ),
        }
    });
    let of_damaged = named(folder, DAMAGED).into_iter().map(|path| {
        format!(
            "{} holds a last line that was damaged and was taken out of {}: it is not counted",
            path.display(),
            journal.display()
        )
    });
    of_saved.chain(of_damaged).collect()
}

fn saved(folder: &Path) -> Vec<PathBuf> {
    named(folder, SAVED)
}

/// Files of a folder whose names begin so, the oldest first.
fn named(folder: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter(|it| it.file_name().to_string_lossy().starts_with(beginning));
    let mut paths: Vec<PathBuf> = names.map(|it| it.path()).collect();
    paths.sort();
    paths
}

/// Lines of a file that can be a run's journal; `None` where it cannot.
fn lines(path: &Path) -> Option<usize> {
    let lines = journal::read(path).ok()?;
    (!lines.is_empty()).then_some(lines.len())
}
