//! Where in the user's files a variable without a value is used. The compose
//! tool says which variables are unset, for all services and without a
//! position; [`super::lines`] finds the service's text.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::UnsetVariable;
use super::lines::{self, indent};

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
    let printed = stderr.trim_end();
    demanded.filter(|(_, message)| printed.ends_with(message)).map(|(name, _)| name).collect()
}

/// The uses of `names` in `service` of `files` and in what it extends.
pub(super) fn positions(
    files: &[PathBuf],
    service: &str,
    names: &BTreeSet<String>,
) -> Vec<UnsetVariable> {
    let mut found: Vec<UnsetVariable> = Vec::new();
    for text in lines::of_service(files, service) {
        for (at, line) in text.all() {
            found.extend(uses(line, names).map(|(column, variable)| UnsetVariable {
                variable,
                file: text.file.clone(),
                line: at + 1,
                column,
            }));
        }
    }
    found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    found.dedup();
    found
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
