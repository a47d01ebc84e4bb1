//! What lies on the disk of each launch, for relative links: request records, telemetry, the
//! engine's log. Only files that are there are named. Nothing is read of them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::history::folder::Folder;

/// The files of one launch, as paths in the sweep's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchFiles {
    /// Request records, a file for each workload and repeat.
    pub records: Vec<String>,
    /// Samples of the machine and the engine.
    pub telemetry: Option<String>,
    /// What the engine said.
    pub log: Option<String>,
}

/// The files of every launch that has a folder, by its number.
pub fn of(folder: &Folder) -> BTreeMap<u32, LaunchFiles> {
    folder.launches().into_iter().map(|(number, name)| (number, of_launch(folder, &name))).collect()
}

fn of_launch(folder: &Folder, name: &str) -> LaunchFiles {
    let path = folder.launches_path().join(name);
    let own = |file: &str| path.join(file).is_file().then(|| format!("launches/{name}/{file}"));
    let records = names(&path.join("records"));
    LaunchFiles {
        records: records.into_iter().map(|it| format!("launches/{name}/records/{it}")).collect(),
        telemetry: own("telemetry.parquet"),
        log: own("engine.log"),
    }
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
    fn a_link_leads_to_the_file_of_that_name() {
        assert_eq!(link("launches/1-a%20b=c/engine.log"), "launches/1-a%2520b%3Dc/engine.log");
        assert_eq!(link("../über x\"><b>"), "../%C3%BCber%20x%22%3E%3Cb%3E");
    }
}
