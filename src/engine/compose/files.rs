//! Which files a service is read from, as the compose tool finds them: `COMPOSE_FILE`,
//! its default names, an override beside them; and which files hold the variables of
//! these. What stands in the compose files is [`super::lines`]'s.

use std::path::{Path, PathBuf};

use super::{ComposeError, ComposeSource};
use crate::grid::ComposeFiles;
use crate::input;
use crate::secret::{self, Secrets};

/// Names by which the compose tool finds a file, the preferred one first.
const DEFAULT: &[&str] =
    &["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Names of the file that is laid over it without being named.
const OVERRIDE: &[&str] = &[
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];
const FILE: &str = "COMPOSE_FILE";
const SEPARATOR: &str = "COMPOSE_PATH_SEPARATOR";

/// The files that a grid's block means, and what a person should know of the choice.
///
/// # Errors
/// The grid names none, and the compose tool would find none; or two overrides.
pub fn found(named: &ComposeFiles) -> Result<(Vec<PathBuf>, Vec<String>), ComposeError> {
    if named.exact {
        return Ok((named.files.clone(), Vec::new()));
    }
    let folder = named.project_directory.as_ref().unwrap_or(&named.folder);
    let (file, mut notes) = if let [file] = named.files.as_slice() {
        (file.clone(), Vec::new())
    } else {
        if let Some((files, place)) = by_variable(named, folder) {
            let note = format!("the compose files are {}, by {FILE} ({place})", shown(&files));
            return Ok((files, vec![note]));
        }
        let file = DEFAULT.iter().map(|name| folder.join(name)).find(|file| file.is_file());
        let Some(file) = file else {
            let names = DEFAULT.join(", ");
            return Err(ComposeError::File(format!(
                "no compose file: the grid names none by `compose`, {FILE} is not set, and {} has none \
                 of {names}",
                folder.display()
            )));
        };
        let note = format!("the compose file is {}: the grid names none", file.display());
        (file, vec![note])
    };
    let beside = beside(&file)?;
    let mut files = vec![file];
    if let Some(beside) = beside {
        notes.push(format!(
            "{} is laid over {}, as the compose tool does where no file is named; to leave it out, \
             write `compose` as a list",
            beside.display(),
            files[0].file_name().unwrap_or_default().to_string_lossy()
        ));
        files.push(beside);
    }
    Ok((files, notes))
}

/// The override beside a file with a default name.
fn beside(file: &Path) -> Result<Option<PathBuf>, ComposeError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if !DEFAULT.contains(&&*name) {
        return Ok(None);
    }
    let mut found: Vec<PathBuf> =
        OVERRIDE.iter().map(|name| file.with_file_name(name)).filter(|it| it.is_file()).collect();
    if found.len() > 1 {
        return Err(ComposeError::File(format!(
            "{}: several overrides lie beside it ({}): keep one, or write `compose` as a list",
            file.display(),
            shown(&found)
        )));
    }
    Ok(found.pop())
}

/// The files of `COMPOSE_FILE`, and where that is set.
fn by_variable(named: &ComposeFiles, folder: &Path) -> Option<(Vec<PathBuf>, String)> {
    let value = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
    let (text, place, base) = if let Some(text) = value(FILE) {
        (text, "environment".to_owned(), PathBuf::new())
    } else {
        let files = of_variables(&named.env_files, folder);
        let (text, file, line) = env_value(&files, FILE)?;
        (text, format!("{}:{line}", file.display()), folder.to_owned())
    };
    let separator = value(SEPARATOR).unwrap_or_else(|| ":".to_owned());
    let files = text.split(&separator).filter(|it| !it.is_empty()).map(|it| base.join(it));
    Some((files.collect(), place))
}

/// The files that hold variables: those named, else `.env` in the project's folder.
fn of_variables(named: &[PathBuf], folder: &Path) -> Vec<PathBuf> {
    if named.is_empty() { vec![folder.join(".env")] } else { named.to_vec() }
}

impl ComposeSource {
    /// These files, with what else a grid's block names to read them; of no service yet.
    pub fn of(named: &ComposeFiles, files: Vec<PathBuf>) -> Self {
        Self {
            files,
            env_files: named.env_files.clone(),
            project_directory: named.project_directory.clone(),
            variables: named.variables.clone(),
            ..Self::default()
        }
    }

    /// The folder that relative paths and the project's default name refer to.
    pub fn folder(&self) -> PathBuf {
        let of_file = || self.files.first().and_then(|file| file.parent()).map(Path::to_owned);
        let folder = self.project_directory.clone().or_else(of_file);
        folder.filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("."))
    }

    /// The files that hold variables, whether they are there or not.
    pub fn variable_files(&self) -> Vec<PathBuf> {
        of_variables(&self.env_files, &self.folder())
    }

    /// Adds the secrets of its files, and of those that hold their variables.
    pub fn reveal_to(&self, secrets: &Secrets) {
        for text in self.files.iter().filter_map(|file| input::text(file).ok()) {
            secrets.add_text(&text);
        }
        for text in self.variable_files().iter().filter_map(|file| input::text(file).ok()) {
            secrets.add_dotenv(&text);
            secrets.add_text(&text);
        }
    }

    /// Paths that mean the same from any folder.
    #[must_use]
    pub fn absolute(self) -> Self {
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self {
            files: self.files.into_iter().map(whole).collect(),
            env_files: self.env_files.into_iter().map(whole).collect(),
            project_directory: self.project_directory.map(whole),
            ..self
        }
    }
}

/// The value that files give to a variable, the file, and the line, from 1. The last one counts.
pub fn env_value(files: &[PathBuf], name: &str) -> Option<(String, PathBuf, usize)> {
    files.iter().rev().find_map(|file| {
        let text = input::text(file).ok()?;
        let pairs = secret::env_file(&text);
        let (line, _, value) = pairs.into_iter().rev().find(|(_, known, _)| *known == name)?;
        Some((value, file.clone(), line))
    })
}

/// Paths in one line.
pub fn shown(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    fn named(folder: &Path, files: &[&str], exact: bool) -> ComposeFiles {
        ComposeFiles {
            files: files.iter().map(|name| folder.join(name)).collect(),
            exact,
            folder: folder.to_owned(),
            ..ComposeFiles::default()
        }
    }

    fn names(files: &[PathBuf]) -> Vec<String> {
        files
            .iter()
            .map(|it| it.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn an_override_is_laid_over_a_default_name_and_over_no_other() {
        let place = folder(&[
            ("docker-compose.yml", ""),
            ("docker-compose.override.yml", ""),
            ("vllm.yaml", ""),
        ]);
        let (files, notes) = found(&named(place.path(), &["docker-compose.yml"], false)).unwrap();
        assert_eq!(names(&files), ["docker-compose.yml", "docker-compose.override.yml"]);
        assert!(notes[0].contains("docker-compose.override.yml is laid over"), "{notes:?}");
        for (name, exact) in [("docker-compose.yml", true), ("vllm.yaml", false)] {
            let (files, notes) = found(&named(place.path(), &[name], exact)).unwrap();
            assert_eq!(names(&files), [name]);
            assert_eq!(notes, [""; 0]);
        }
        std::fs::write(place.path().join("compose.override.yaml"), "").unwrap();
        let error = found(&named(place.path(), &["docker-compose.yml"], false)).unwrap_err();
        assert!(error.to_string().contains("several overrides"), "{error}");
    }

    #[test]
    fn without_a_name_it_is_found_as_the_tool_finds_it() {
        let place = folder(&[("docker-compose.yaml", ""), ("compose.yml", "")]);
        let (files, notes) = found(&named(place.path(), &[], false)).unwrap();
        assert_eq!(names(&files), ["compose.yml"]);
        assert!(notes[0].contains("the grid names none"), "{notes:?}");
        std::fs::write(place.path().join(".env"), "A=1\nCOMPOSE_FILE=one.yaml:two.yaml\n").unwrap();
        let (files, notes) = found(&named(place.path(), &[], false)).unwrap();
        assert_eq!(files, [place.path().join("one.yaml"), place.path().join("two.yaml")]);
        assert!(notes[0].contains(".env:2"), "{notes:?}");
        let empty = folder(&[]);
        let error = found(&named(empty.path(), &[], false)).unwrap_err().to_string();
        assert!(error.contains("no compose file") && error.contains("compose.yaml"), "{error}");
    }

    #[test]
    fn the_last_file_of_variables_counts() {
        let place = folder(&[("one.env", "A=1\nB=1\n"), ("two.env", "\nA=2\n")]);
        let files = ["one.env", "two.env"].map(|name| place.path().join(name));
        let (value, file, line) = env_value(&files, "A").unwrap();
        assert_eq!((&*value, line), ("2", 2));
        assert!(file.ends_with("two.env"));
        assert_eq!(env_value(&files, "B").unwrap().0, "1");
        assert_eq!(env_value(&files, "C"), None);
    }
}
