//! What a service starts as its files write it, before the tool fills in variables. The tool
//! prints it split into words before that, so the files are read here: the last one that has
//! the key counts, and what it extends. Whether that is what the tool read is for others to
//! check: what the text comes to must be what the tool printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::service::Words;
use super::{ComposeSource, lines};

/// How deep services extend others at most.
const DEEPEST: usize = 16;

/// A command or an entry point as a file writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// One text, which the tool splits.
    Text(String),
    /// A list of words.
    List(Vec<String>),
}

impl Written {
    /// Its texts, in their order.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::List(words) => words,
        }
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    services: BTreeMap<String, Option<Service>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    command: Option<Words>,
    entrypoint: Option<Words>,
    extends: Option<Extends>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Extends {
    Short(String),
    Long { file: Option<PathBuf>, service: String },
}

/// The service's `command` or `entrypoint` as its files write it; `None` where it is in none.
pub fn written(source: &ComposeSource, key: &str) -> Option<Written> {
    let included = lines::with_included(&source.files);
    let rest = included.iter().filter(|file| !source.files.contains(file));
    let mut files = source.files.iter().rev().chain(rest);
    files.find_map(|file| of_file(file, &source.service, key, DEEPEST))
}

fn of_file(file: &Path, service: &str, key: &str, deep: usize) -> Option<Written> {
    let text = crate::input::text(file).ok()?;
    let mut read: File = serde_saphyr::from_str(&text).ok()?;
    let own = read.services.remove(service)??;
    let words = if key == "command" { own.command } else { own.entrypoint };
    if let Some(words) = words {
        return Some(match words {
            Words::Text(text) => Written::Text(text),
            Words::List(words) => Written::List(words),
        });
    }
    let deep = deep.checked_sub(1)?;
    match own.extends? {
        Extends::Short(other) | Extends::Long { file: None, service: other } => {
            of_file(file, &other, key, deep)
        }
        Extends::Long { file: Some(other), service } => {
            of_file(&file.parent()?.join(other), &service, key, deep)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written_from_the_last_file_that_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
            folder.path().join(name)
        };
        write("base.yaml", "services:\n  b:\n    command: [--port, 8000, 1e3, yes, $A]\n");
        let first = write(
            "a.yaml",
            "x-own: &own\n  entrypoint: [sh, -c]\nservices:\n  s:\n    <<: *own\n    image: i\n    \
             extends: {file: base.yaml, service: b}\n  t:\n    command: >\n      a ${B:-c}\n      $$d\n  \
             u:\n    extends: t\n",
        );
        let second = write("b.yaml", "services:\n  t:\n    command: null\n  v: {image: i}\n");
        let of = |service: &str, key: &str| {
            let files = vec![first.clone(), second.clone()];
            let service = service.to_owned();
            written(&ComposeSource { files, service, ..ComposeSource::default() }, key)
        };
        let list =
            |words: &[&str]| Some(Written::List(words.iter().map(|it| (*it).to_owned()).collect()));
        assert_eq!(of("s", "command"), list(&["--port", "8000", "1e3", "yes", "$A"]));
        assert_eq!(of("s", "entrypoint"), list(&["sh", "-c"]));
        let text = Some(Written::Text("a ${B:-c} $$d\n".to_owned()));
        assert_eq!((of("t", "command"), of("u", "command")), (text.clone(), text));
        assert_eq!((of("v", "command"), of("none", "command")), (None, None));
    }
}
