//! Where in the user's files a variable without a value is used. The compose
//! tool says which variables are unset, for all services and without a
//! position; here the files are searched as text, within the chosen service,
//! what it extends and the anchors that it merges.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::UnsetVariable;

/// Names that the tool's stderr calls unset, v1's words and v2's.
pub(super) fn unset_names(stderr: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in stderr.lines().filter(|line| line.contains("variable is not set")) {
        let Some((before, _)) = line.split_once(" variable is not set") else { continue };
        let word = before.rsplit(' ').next().unwrap_or_default();
        let name: String =
            word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if !name.is_empty() {
            names.insert(name);
        }
    }
    names.extend(required_names(stderr));
    names
}

/// Names that the tool misses where the file demands them (`${NAME:?message}`):
/// v2 names them, v1 prints the whole value and the message.
fn required_names(stderr: &str) -> Vec<String> {
    let named = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    if let Some((_, rest)) = stderr.split_once("required variable ") {
        return vec![named(rest)];
    }
    if !stderr.contains("Missing mandatory value for") {
        return Vec::new();
    }
    let demanded = stderr.split("${").skip(1).filter_map(|use_of| {
        let name = named(use_of);
        let rest = &use_of[name.len()..];
        let message = rest.strip_prefix(":?").or_else(|| rest.strip_prefix('?'))?;
        Some((name, message.split('}').next().unwrap_or_default()))
    });
    let told = stderr.trim_end();
    demanded.filter(|(_, message)| told.ends_with(message)).map(|(name, _)| name).collect()
}

/// The uses of `names` in `service` of `files` and in what it extends.
pub(super) fn positions(
    files: &[PathBuf],
    service: &str,
    names: &BTreeSet<String>,
) -> Vec<UnsetVariable> {
    let mut found: Vec<UnsetVariable> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<(PathBuf, String)> =
        files.iter().map(|file| (file.clone(), service.to_owned())).collect();
    while let Some((file, service)) = open.pop() {
        if !seen.insert((file.clone(), service.clone())) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        let Some(block) = service_block(&lines, &service) else { continue };
        for &at in &with_anchors(&lines, block.clone()) {
            found.extend(uses(lines[at], names).map(|(column, variable)| UnsetVariable {
                variable,
                file: file.clone(),
                line: at + 1,
                column,
            }));
        }
        if let Some((other, name)) = extended(&lines[block]) {
            let folder = file.parent().unwrap_or(Path::new(""));
            let other = other.map_or_else(|| file.clone(), |other| folder.join(other));
            open.push((other, name));
        }
    }
    found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    found.dedup();
    found
}

fn indent(line: &str) -> Option<usize> {
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

/// Column and name of each use of `names` in a line that gives no default:
/// `$NAME`, `${NAME}`, `${NAME?message}`, `${NAME:?message}`.
fn uses<'a>(
    line: &'a str,
    names: &'a BTreeSet<String>,
) -> impl Iterator<Item = (usize, String)> + 'a {
    let comment = indent(line).is_none();
    let bytes = line.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while !comment && at < bytes.len() {
            let start = at;
            at += 1;
            if bytes[start] != b'$' {
                continue;
            }
            if bytes.get(at) == Some(&b'$') {
                at += 1;
                continue;
            }
            let braced = bytes.get(at) == Some(&b'{');
            let from = if braced { at + 1 } else { at };
            let name: String = line[from..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let after = &line[from + name.len()..];
            let bare = !braced || ["}", "?", ":?"].iter().any(|end| after.starts_with(end));
            if bare && names.contains(&name) {
                return Some((line[..start].chars().count() + 1, name));
            }
        }
        None
    })
}
