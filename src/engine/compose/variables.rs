//! The variables of the user's compose files: which a service uses, where each value
//! comes from, and which have none. The compose tool says the latter for all services
//! and without a position; [`super::lines`] finds the texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::lines::{self, indent};
use super::{ComposeSource, UnsetVariable, env_value};
use crate::secret;

/// Largest folder that is searched for files of variables nobody named.
const MAX_FILES: usize = 1000;

/// Where a variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The grid sets it.
    Grid,
    /// The environment of this process.
    Environment,
    /// A file of variables.
    File {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// The compose file's own default.
    Default,
    /// Nowhere: it is empty.
    Unset,
}

/// A variable that a service uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VariableUse {
    /// Its name.
    pub name: String,
    /// Its value, or the default; masked where the name is one of a secret.
    pub value: String,
    /// Where that comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A use of a variable in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Use<'a> {
    name: &'a str,
    /// What is behind the name within the braces: `:-default`, `?message`, or nothing.
    modifier: &'a str,
    /// Column in characters, from 1: of the `$`.
    column: usize,
}

impl Use<'_> {
    /// Whether nothing stands in for a variable without a value.
    fn is_bare(&self) -> bool {
        let modifier = self.modifier.trim_start_matches(':');
        modifier.is_empty() || modifier.starts_with('?')
    }

    fn default(&self) -> Option<&str> {
        self.modifier.trim_start_matches(':').strip_prefix('-')
    }
}

/// Names that the tool's stderr calls unset, v1's words and v2's.
pub(super) fn unset_names(stderr: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in stderr.lines().filter(|line| line.contains("variable is not set")) {
        let Some((before, _)) = line.split_once(" variable is not set") else { continue };
        let word = before.rsplit(' ').next().unwrap_or_default();
        let name: String = word.chars().filter(|c| is_of_name(*c)).collect();
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
    let named = |text: &str| -> String { text.chars().take_while(|c| is_of_name(*c)).collect() };
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

/// The bare uses of `names` in what concerns the service: its own text in all files, what
/// it extends, and everything that is of no service (volumes, networks, the project's
/// name). A name that stands nowhere in the files has no position; one that only other
/// services use does not concern it.
pub(super) fn positions(source: &ComposeSource, names: &BTreeSet<String>) -> Vec<UnsetVariable> {
    let files = lines::with_included(&source.files);
    let mut found: Vec<UnsetVariable> = Vec::new();
    for text in lines::of_service(&files, &source.service) {
        for (at, line) in text.all() {
            found.extend(bare(line, names).map(|it| at_line(&it, &text.file, at)));
        }
    }
    let mut elsewhere = BTreeSet::new();
    for file in &files {
        let Ok(text) = crate::input::text(file) else { continue };
        elsewhere.extend(names.iter().filter(|name| text.contains(name.as_str())));
        // What others extend may stand in a file that nobody names.
        for other in lines::services(&text) {
            for text in lines::of_service(&files, &other) {
                let lines: Vec<&str> = text.all().map(|(_, line)| line).collect();
                let used = |name: &&String| lines.iter().any(|line| line.contains(name.as_str()));
                elsewhere.extend(names.iter().filter(used));
            }
        }
        for (at, line, of_service) in lines::by_section(&text) {
            if !of_service {
                found.extend(bare(line, names).map(|it| at_line(&it, file, at)));
            }
        }
    }
    let known: BTreeSet<&String> = found.iter().map(|it| &it.variable).collect();
    let nowhere: Vec<UnsetVariable> = names
        .iter()
        .filter(|name| !known.contains(name) && !elsewhere.contains(name))
        .map(|name| UnsetVariable {
            variable: name.clone(),
            file: source.files.first().cloned().unwrap_or_default(),
            at: None,
            set_in: None,
        })
        .collect();
    found.extend(nowhere);
    found.sort_by(|a, b| (&a.file, a.at, &a.variable).cmp(&(&b.file, b.at, &b.variable)));
    found.dedup();
    let used_in: Vec<PathBuf> = found.iter().map(|it| it.file.clone()).collect();
    let not_named = not_named(source, &used_in);
    for it in &mut found {
        let sets = |file: &&PathBuf| sets(file, &it.variable);
        it.set_in = not_named.iter().find(sets).cloned();
    }
    found
}

fn bare<'a>(line: &'a str, names: &'a BTreeSet<String>) -> impl Iterator<Item = Use<'a>> {
    uses(line).into_iter().filter(|it| it.is_bare() && names.contains(it.name))
}

fn at_line(it: &Use<'_>, file: &std::path::Path, line: usize) -> UnsetVariable {
    UnsetVariable {
        variable: it.name.to_owned(),
        file: file.to_owned(),
        at: Some((line + 1, it.column)),
        set_in: None,
    }
}

/// The variables that the service uses, by name, and where each value comes from.
pub fn of_service(source: &ComposeSource) -> Vec<VariableUse> {
    let files = lines::with_included(&source.files);
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut see = |line: &str| {
        for it in uses(line) {
            let default = found.entry(it.name.to_owned()).or_default();
            if default.is_none() {
                *default = it.default().map(str::to_owned);
            }
        }
    };
    for text in lines::of_service(&files, &source.service) {
        text.all().for_each(|(_, line)| see(line));
    }
    for text in files.iter().filter_map(|file| crate::input::text(file).ok()) {
        let rest = lines::by_section(&text).filter(|(.., of_service)| !of_service);
        rest.for_each(|(_, line, _)| see(line));
    }
    let held_by = source.variable_files();
    let origin = |(name, default): (String, Option<String>)| {
        let (value, origin) = if let Some(value) = source.variables.get(&name) {
            (value.clone(), Origin::Grid)
        } else if let Ok(value) = std::env::var(&name) {
            (value, Origin::Environment)
        } else if let Some((value, file, line)) = env_value(&held_by, &name) {
            (value, Origin::File { file, line })
        } else {
            match default {
                Some(default) => (default, Origin::Default),
                None => (String::new(), Origin::Unset),
            }
        };
        let masked = secret::is_secret(&name) && !value.is_empty();
        VariableUse { name, value: if masked { secret::MASK.to_owned() } else { value }, origin }
    };
    found.into_iter().map(origin).collect()
}

/// A sentence for each variable that takes its default while a file beside the compose
/// file, which nobody named, sets it.
pub fn forgotten(source: &ComposeSource, variables: &[VariableUse]) -> Vec<String> {
    let lacks = |it: &&VariableUse| matches!(it.origin, Origin::Default | Origin::Unset);
    let defaults: Vec<&VariableUse> = variables.iter().filter(lacks).collect();
    if defaults.is_empty() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for file in not_named(source, &[]) {
        let has = |it: &&&VariableUse| sets(&file, &it.name);
        let set: Vec<&str> = defaults.iter().filter(has).map(|it| it.name.as_str()).collect();
        if !set.is_empty() {
            notes.push(format!(
                "{} {} by {}, which lies beside the compose file and is not named: write it into \
                 `env-file`, if the service is started with it",
                set.join(", "),
                if set.len() == 1 {
                    "has no other value, and is set"
                } else {
                    "have no other value, and are set"
                },
                file.display()
            ));
        }
    }
    notes
}

/// Files beside the compose files, `included` ones too, that hold variables and that nobody
/// named.
fn not_named(source: &ComposeSource, included: &[PathBuf]) -> Vec<PathBuf> {
    let named = source.variable_files();
    let of_files =
        source.files.iter().chain(included).filter_map(|file| Some(file.parent()?.to_owned()));
    let mut folders: Vec<PathBuf> = std::iter::once(source.folder()).chain(of_files).collect();
    folders.sort();
    folders.dedup();
    let files = folders.iter().flat_map(|folder| env_files_in(folder));
    files.filter(|file| !named.contains(file)).collect()
}

/// Whether a file gives the variable a value.
fn sets(file: &PathBuf, variable: &str) -> bool {
    env_value(std::slice::from_ref(file), variable).is_some()
}

/// Files of a folder whose name says that they hold variables: `prod.env`, `.env.prod`, `env`.
fn env_files_in(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_FILES);
    let is_named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let is_example =
            ["example", "sample", "template", "dist"].iter().any(|it| name.contains(it));
        !is_example && name.split('.').any(|part| part == "env")
    };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| is_named(path) && path.is_file()).collect();
    files.sort();
    files
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The variables that a line uses; none in a comment. Those within a default are uses, too.
fn uses(line: &str) -> Vec<Use<'_>> {
    let mut found = Vec::new();
    if indent(line).is_none() {
        return found;
    }
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
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
        let length = line[from..].chars().take_while(|c| is_of_name(*c)).count();
        let name = &line[from..from + length];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let modifier = if braced { within_braces(&line[from + length..]) } else { "" };
        found.push(Use { name, modifier, column: line[..start].chars().count() + 1 });
        at = from + length;
    }
    found
}

/// Up to the brace that closes the one before the text.
fn within_braces(text: &str) -> &str {
    let mut open = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => open += 1,
            '}' if open == 0 => return &text[..at],
            '}' => open -= 1,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_found_with_what_stands_in_for_them() {
        let line = r#"  - a $A ${B} $$C ${D:-x${E-y}z} ${F:?must} ${G+alt} $1 "${H}":"é${I}""#;
        let found = uses(line);
        let seen: Vec<(&str, &str, bool)> =
            found.iter().map(|it| (it.name, it.modifier, it.is_bare())).collect();
        assert_eq!(
            seen,
            [
                ("A", "", true),
                ("B", "", true),
                ("D", ":-x${E-y}z", false),
                ("E", "-y", false),
                ("F", ":?must", true),
                ("G", "+alt", false),
                ("H", "", true),
                ("I", "", true),
            ]
        );
        assert_eq!(found[0].column, 7);
        assert_eq!(found[2].default(), Some("x${E-y}z"));
        assert_eq!(uses("  # $A"), []);
    }

    fn written(files: &[(&str, &str)]) -> (tempfile::TempDir, ComposeSource) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("in the folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let source = ComposeSource {
            files: vec![folder.path().join(files[0].0)],
            service: "s".to_owned(),
            ..ComposeSource::default()
        };
        (folder, source)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn unset_variables_are_found_wherever_they_concern_the_service() {
        let (_folder, source) = written(&[
            (
                "compose.yaml",
                "include:\n  - path: [sub/llm.yaml]\nservices:\n  s:\n    image: i\n    command: $OWN\n  \
                 other: {image: $OTHER}\n  third:\n    extends: {file: base.yaml, service: b}\nvolumes:\n  hub:\n    name: ${VOLUME}\n",
            ),
            ("sub/llm.yaml", "services:\n  s:\n    environment: {A: $INCLUDED}\n"),
            ("base.yaml", "services:\n  b:\n    environment: {A: $EXTENDED}\n"),
        ]);
        let all = names(&["OWN", "OTHER", "VOLUME", "INCLUDED", "NOWHERE", "EXTENDED"]);
        let found = positions(&source, &all);
        let seen: Vec<(&str, Option<(usize, usize)>)> =
            found.iter().map(|it| (it.variable.as_str(), it.at)).collect();
        assert_eq!(
            seen,
            [
                ("NOWHERE", None),
                ("OWN", Some((6, 14))),
                ("VOLUME", Some((12, 11))),
                ("INCLUDED", Some((3, 22))),
            ]
        );
    }

    #[test]
    fn each_variable_says_where_its_value_comes_from() {
        let (folder, mut source) = written(&[
            (
                "compose.yaml",
                "services:\n  s:\n    image: ${IMAGE_X:-i:1}\n    command: [$KV_X, $MTP_X, $PATH, $NONE_X]\n    \
                 environment: {K: $API_KEY_X}\n  other: {image: $OTHER_X}\n",
            ),
            (".env", "A=1\nKV_X=fp8\nAPI_KEY_X=abcdefgh\n"),
            ("prod.env", "IMAGE_X=i:2\nNONE_X=1\n"),
            ("prod.env.example", "IMAGE_X=i:3\n"),
        ]);
        source.variables.insert("MTP_X".to_owned(), "3".to_owned());
        let found = of_service(&source);
        let of = |name: &str| found.iter().find(|it| it.name == name).expect("it is used").clone();
        assert_eq!((&*of("IMAGE_X").value, of("IMAGE_X").origin), ("i:1", Origin::Default));
        let file = folder.path().join(".env");
        assert_eq!(of("KV_X").origin, Origin::File { file, line: 2 });
        assert_eq!((&*of("MTP_X").value, of("MTP_X").origin), ("3", Origin::Grid));
        assert_eq!(of("PATH").origin, Origin::Environment);
        assert_eq!(of("NONE_X").origin, Origin::Unset);
        assert_eq!(of("API_KEY_X").value, secret::MASK);
        assert!(!found.iter().any(|it| it.name == "OTHER_X"), "another service's");
        let notes = forgotten(&source, &found);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].starts_with("IMAGE_X, NONE_X") && notes[0].contains("prod.env,"),
            "{notes:?}"
        );
        source.env_files = vec![folder.path().join("prod.env")];
        let notes = forgotten(&source, &of_service(&source));
        assert_eq!(notes.len(), 1, "`.env` is not read then: {notes:?}");
        assert!(notes[0].starts_with("API_KEY_X, KV_X"), "{notes:?}");
        source.env_files.push(folder.path().join(".env"));
        assert_eq!(forgotten(&source, &of_service(&source)), [""; 0]);
    }
}
