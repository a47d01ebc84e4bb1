//! What lies on the disk of each launch, for relative links: request records, telemetry, the
//! engine's log. Only files that are there are named. Of the log its last lines are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::history::folder::Folder;
use crate::history::launch::LaunchOutcome;
use crate::history::record::SweepRecord;
use crate::secret::Secrets;

/// The files of one launch, as paths in the sweep's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchFiles {
    /// Request records, a file for each workload and repeat.
    pub records: Vec<String>,
    /// Samples of the machine and the engine.
    pub telemetry: Option<String>,
    /// What the engine said.
    pub log: Option<String>,
    /// Its last lines, at most 30, secrets masked; empty of a launch that did not fail.
    pub tail: Vec<String>,
}

/// Lines of a log's end.
const LINES: usize = 30;
/// Bytes of a log's end that are read.
const BYTES: u64 = 24 << 10;

/// The files of every launch that has a folder, by its number. The log's end is read of those
/// that failed alone: no other is shown.
pub fn of(folder: &Folder, record: &SweepRecord) -> BTreeMap<u32, LaunchFiles> {
    let failed: BTreeSet<u32> = record
        .all_launches()
        .filter(|(_, it)| matches!(it.outcome, Some(LaunchOutcome::Failed(_))))
        .map(|(_, it)| it.launch)
        .collect();
    let files = |(number, name): (u32, String)| {
        (number, of_launch(folder, &name, failed.contains(&number)))
    };
    folder.launches().into_iter().map(files).collect()
}

fn of_launch(folder: &Folder, name: &str, has_failed: bool) -> LaunchFiles {
    let path = folder.launches_path().join(name);
    let own = |file: &str| path.join(file).is_file().then(|| format!("launches/{name}/{file}"));
    let records = names(&path.join("records"));
    LaunchFiles {
        records: records.into_iter().map(|it| format!("launches/{name}/records/{it}")).collect(),
        telemetry: own("telemetry.parquet"),
        log: own("engine.log"),
        tail: if has_failed { tail(&path.join("engine.log")) } else { None }.unwrap_or_default(),
    }
}

/// The last lines of a regular file; a link may lead out of the run.
fn tail(path: &Path) -> Option<Vec<String>> {
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    let from = size.saturating_sub(BYTES);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may be a part of one.
    let text = if from > 0 { text.split_once('\n').map_or("", |it| it.1) } else { &text };
    let text = Secrets::default().mask(text).into_owned();
    let lines: Vec<&str> = text.lines().filter(|it| !it.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    Some(last.iter().map(|it| (*it).to_owned()).collect())
}

/// Names of the record files of a folder, in order.
fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".parquet") && !name.starts_with('.')).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

/// A path as a relative link has it: everything but letters, digits and `-_.~/` as `%` and its
/// hexadecimal code.
pub fn link(path: &str) -> String {
    use std::fmt::Write as _;

    let mut link = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                link.push(char::from(byte));
            }
            // A text takes whatever is written.
            _ => drop(write!(link, "%{byte:02X}")),
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_its_last_whole_lines_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.log");
        let long = (0..3000).map(|at| format!("line {at}\n")).collect::<Vec<_>>().concat();
        std::fs::write(&path, long + "HF_TOKEN=hf_abcdefghijklmnop\n").unwrap();
        let lines = tail(&path).unwrap();
        assert_eq!((lines.len(), lines[0].as_str()), (30, "line 2971"));
        assert!(!lines[29].contains("hf_abc"), "{}", lines[29]);
        assert_eq!(tail(&folder.path().join("none")), None);
    }

    #[test]
    fn a_link_leads_to_the_file_of_that_name() {
        assert_eq!(link("launches/1-a%20b=c/engine.log"), "launches/1-a%2520b%3Dc/engine.log");
        assert_eq!(link("../über x\"><b>"), "../%C3%BCber%20x%22%3E%3Cb%3E");
    }
}
