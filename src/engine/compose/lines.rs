//! Where in the user's compose files something is written. The compose tool
//! prints no positions, so the files are searched as text: within a service,
//! what it extends and the anchors that it merges.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A place in a compose file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1; `None` where the text does not show it.
    pub line: Option<usize>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// The text of a service in one file.
pub(super) struct ServiceLines {
    pub(super) file: PathBuf,
    lines: Vec<String>,
    own: std::ops::Range<usize>,
}

impl ServiceLines {
    /// Number (from 0) and text of each line of the service, and of every anchor
    /// that it refers to.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        let all = with_anchors(&lines, self.own.clone());
        all.into_iter().map(|at| (at, self.lines[at].as_str()))
    }

    /// The line that holds `key`, from 0: of a block as a rule, else of a flow mapping.
    fn line_of(&self, wanted: &str) -> Option<usize> {
        let named = self.all().filter(|(_, line)| key(line) == Some(wanted));
        let block = named.min_by_key(|(_, line)| indent(line)).map(|(at, _)| at);
        let in_flow = || {
            let pattern = format!("{wanted}:");
            self.all().find(|(_, line)| line.contains(&pattern)).map(|(at, _)| at)
        };
        block.or_else(in_flow)
    }
}

/// The files and those that they include, in this order; of each once.
pub(super) fn with_included(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    let mut open: Vec<PathBuf> = files.iter().rev().cloned().collect();
    while let Some(file) = open.pop() {
        if all.contains(&file) {
            continue;
        }
        let text = crate::input::text(&file).unwrap_or_default();
        let folder = file.parent().unwrap_or(Path::new(""));
        open.extend(included(&text).into_iter().rev().map(|path| folder.join(path)));
        all.push(file);
    }
    all
}

/// The paths under the key `include` of a compose file.
fn included(text: &str) -> Vec<PathBuf> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Paths {
        One(PathBuf),
        Several(Vec<PathBuf>),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Include {
        Short(PathBuf),
        Long { path: Paths },
    }
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        include: Vec<Include>,
    }
    // A file that the compose tool refuses is its own to report.
    let Ok(file) = serde_saphyr::from_str::<File>(text) else { return Vec::new() };
    let paths = |it| match it {
        Include::Short(path) | Include::Long { path: Paths::One(path) } => vec![path],
        Include::Long { path: Paths::Several(paths) } => paths,
    };
    file.include.into_iter().flat_map(paths).collect()
}

/// Number (from 0) and text of each line, and whether it belongs to a service, or to an
/// extension that services may merge.
pub(super) fn by_section(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut of_service = false;
    text.lines().enumerate().map(move |(at, line)| {
        if indent(line) == Some(0) {
            of_service = key(line).is_some_and(|key| key == "services" || key.starts_with("x-"));
        }
        (at, line, of_service)
    })
}

/// The service in each of `files`, and what it extends; the last file first,
/// because that one overrides the others.
pub(super) fn of_service(files: &[PathBuf], service: &str) -> Vec<ServiceLines> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<(PathBuf, String)> =
        files.iter().map(|file| (file.clone(), service.to_owned())).collect();
    while let Some((file, service)) = open.pop() {
        if !seen.insert((file.clone(), service.clone())) {
            continue;
        }
        let Ok(text) = crate::input::text(&file) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        let Some(own) = service_block(&lines, &service) else { continue };
        if let Some((other, name)) = extended(&lines[own.clone()]) {
            let folder = file.parent().unwrap_or(Path::new(""));
            let other = other.map_or_else(|| file.clone(), |other| folder.join(other));
            open.push((other, name));
        }
        let lines = lines.into_iter().map(str::to_owned).collect();
        found.push(ServiceLines { file, lines, own });
    }
    found
}

/// Where `service` has its `key`; where it is not found, the first file's name alone.
pub(super) fn place_of(files: &[PathBuf], service: &str, key: &str) -> Place {
    let found = of_service(files, service).into_iter().find_map(|lines| {
        let line = lines.line_of(key)?;
        Some(Place { file: lines.file, line: Some(line + 1) })
    });
    let file = || files.first().cloned().unwrap_or_default();
    found.unwrap_or_else(|| Place { file: file(), line: None })
}

/// The names of the services of a text.
pub(super) fn services(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let is_head = |at: &usize| indent(lines[*at]) == Some(0) && key(lines[*at]) == Some("services");
    let Some(services) = (0..lines.len()).find(is_head) else { return Vec::new() };
    let all = block(&lines, services).skip(1);
    let depth = all.clone().find_map(|at| indent(lines[at]));
    let names = all.filter(|at| indent(lines[*at]) == depth && depth.is_some());
    names.filter_map(|at| key(lines[at])).map(str::to_owned).collect()
}

pub(super) fn indent(line: &str) -> Option<usize> {
    let trimmed = line.trim_start();
    (!trimmed.is_empty() && !trimmed.starts_with('#')).then(|| line.len() - trimmed.len())
}

/// The key of a `key:` line, unquoted.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.trim_start().split_once(':')?;
    Some(key.trim().trim_matches(['"', '\'']))
}

/// The lines from `start` on that are indented deeper than it, it included.
fn block(lines: &[&str], start: usize) -> std::ops::Range<usize> {
    let own = indent(lines[start]).unwrap_or(0);
    let end = (start + 1..lines.len())
        .find(|&at| indent(lines[at]).is_some_and(|indent| indent <= own))
        .unwrap_or(lines.len());
    start..end
}

fn service_block(lines: &[&str], service: &str) -> Option<std::ops::Range<usize>> {
    let services = (0..lines.len())
        .find(|&at| indent(lines[at]) == Some(0) && key(lines[at]) == Some("services"))?;
    let all = block(lines, services);
    let depth = all.clone().skip(1).find_map(|at| indent(lines[at]))?;
    let start = all
        .skip(1)
        .find(|&at| indent(lines[at]) == Some(depth) && key(lines[at]) == Some(service))?;
    Some(block(lines, start))
}

/// The lines of a block and of every anchor that it refers to.
fn with_anchors(lines: &[&str], own: std::ops::Range<usize>) -> BTreeSet<usize> {
    let mut all: BTreeSet<usize> = own.clone().collect();
    let mut open: Vec<usize> = own.collect();
    while let Some(at) = open.pop() {
        for alias in aliases(lines[at]) {
            let anchor = format!("&{alias}");
            let defined = (0..lines.len()).find(|&line| {
                lines[line].split([' ', '\t', ',', '{', '[', ']', '}']).any(|word| word == anchor)
            });
            for line in defined.into_iter().flat_map(|start| block(lines, start)) {
                if all.insert(line) {
                    open.push(line);
                }
            }
        }
    }
    all
}

fn aliases(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t', ',', '[', ']', '{', '}'])
        .filter_map(|word| word.strip_prefix('*'))
        .filter(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c))
        })
}

/// `extends: name`, or `extends:` with `file` and `service`, in flow or block form.
fn extended(lines: &[&str]) -> Option<(Option<String>, String)> {
    let start = (0..lines.len()).find(|&at| key(lines[at]) == Some("extends"))?;
    let text = lines[block(lines, start)].join("\n");
    let (_, rest) = text.split_once(':')?;
    let value = |name: &str| -> Option<String> {
        let (_, after) = rest.split_once(&format!("{name}:"))?;
        let end = after.find([',', '}', '\n']).unwrap_or(after.len());
        let value = after[..end].trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    if let Some(service) = value("service") {
        return Some((value("file"), service));
    }
    let name = rest.trim().trim_matches(['"', '\'']);
    (!name.is_empty() && !name.contains(['\n', ' ', '{'])).then(|| (None, name.to_owned()))
}
