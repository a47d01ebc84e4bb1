//! Where a report may be written: to standard output, to a new file, or over a report that this
//! program wrote before. Everything else that is there stays: a sweep's own files, notes,
//! devices, what a link leads to.

use std::io::Read as _;
use std::path::Path;

use crate::exit::{CommandError, Exit};

/// Bytes in which a report is recognized by its head.
const HEAD: u64 = 4096;

/// Whether `--output` names standard output.
pub(super) fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Refuses a place of a report in which it would replace or become something else. `run`: the
/// sweep's folder.
///
/// # Errors
/// When it may not be written there.
pub(super) fn check(path: &Path, run: &Path) -> Result<(), CommandError> {
    let refused = |why: &str| {
        let path = path.display();
        let what = format!("--output: {path} {why}; nothing was written: name another file");
        Err(CommandError::message(Exit::Usage, what))
    };
    match path.symlink_metadata() {
        Ok(it) if it.is_symlink() => return refused("is a link"),
        Ok(it) if it.is_dir() => return refused("is a folder"),
        Ok(it) if !it.is_file() => return refused("is no regular file"),
        Ok(it) if it.len() > 0 && !is_report(path) => {
            return refused("is there, and is no report of vllm-grid");
        }
        Ok(_) | Err(_) => {}
    }
    if is_below(path, run) && !has_name_of_report(path) {
        return refused("is the name of a file that the sweep may write itself");
    }
    Ok(())
}

/// A sweep's own files have other endings.
fn has_name_of_report(path: &Path) -> bool {
    path.extension()
        .is_some_and(|it| ["html", "htm", "md", "markdown"].iter().any(|own| it == *own))
}

fn is_below(path: &Path, run: &Path) -> bool {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    matches!((folder, run.canonicalize()), (Ok(folder), Ok(run)) if folder.starts_with(&run))
}

/// Whether the file begins as a page or a Markdown report of ours does.
fn is_report(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|it| it.take(HEAD).read_to_end(&mut head));
    let text = String::from_utf8_lossy(&head);
    let is_page = text.starts_with("<!DOCTYPE html>")
        && text.contains("<meta name=\"generator\" content=\"vllm-grid\">");
    let mut titles = text.lines().filter(|line| line.starts_with('#'));
    let is_markdown = text.starts_with("# Sweep ")
        && titles.nth(1).is_some_and(|it| it == "## Summary" || it.starts_with("## Summary ("));
    read.is_ok() && (is_page || is_markdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_or_empty_file_and_a_report_of_ours_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir_all(run.join("launches/1")).unwrap();
        let may = |name: &str, before: Option<&str>| {
            let path = folder.path().join(name);
            if let Some(text) = before {
                std::fs::write(&path, text).unwrap();
            }
            check(&path, &run).is_ok()
        };
        let page =
            "<!DOCTYPE html><html><head><meta name=\"generator\" content=\"vllm-grid\"></head>";
        assert!(may("new.txt", None) && may("empty.md", Some("")));
        assert!(may("page.html", Some(page)) && may("run/report.html", Some(page)));
        assert!(may("a.md", Some("# Sweep a (simulated)\n\n## Summary (simulated)\n")));
        assert!(may("run/report.md", None));
        assert!(!may("notes.md", Some("# Notes\n\n## Summary\n")));
        assert!(!may("other.html", Some("<!DOCTYPE html><html></html>")));
        assert!(!may("run/journal.jsonl", Some("{}\n")));
        assert!(!may("run/results.csv", None), "a sweep's own name");
        assert!(!may("run/launches/1/engine.log", None));
        assert!(!may("run", None), "a folder");
    }

    #[test]
    fn neither_a_link_nor_a_device_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("page.html");
        std::os::unix::fs::symlink(folder.path().join("elsewhere.html"), &link).unwrap();
        assert!(check(&link, folder.path()).is_err());
        assert!(check(Path::new("/dev/full"), folder.path()).is_err());
    }
}
