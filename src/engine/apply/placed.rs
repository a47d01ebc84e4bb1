//! Where an override and the file of its variables stand among the files of a service: what
//! the compose tool is called with, to check them and to deploy them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files::{self, Draft};
use super::{ApplyError, env_file};
use crate::engine::compose::{ComposeSource, Tool, project_is_exported, project_name};

/// The service's files with what is written beside them.
pub(super) struct Placed {
    source: ComposeSource,
    tool: Tool,
    /// The files of variables that the tool reads now.
    own: Vec<PathBuf>,
    /// Ours, where it takes one more.
    ours: Option<PathBuf>,
    /// The project, where the files alone do not say it: a later shell may not export it.
    project: Option<String>,
    /// Variables that stand before the command in its place.
    front: BTreeMap<String, String>,
}

impl Placed {
    pub(super) fn of(source: &ComposeSource, tool: Tool, at: &Path) -> Result<Self, ApplyError> {
        for (name, value) in &source.variables {
            if std::env::var(name).is_ok_and(|set| set != *value) {
                return Err(ApplyError::Exported(name.clone()));
            }
        }
        let own = source.variable_files().into_iter().filter(|file| file.is_file());
        let own: Vec<PathBuf> = own.collect();
        let has_none = source.variables.is_empty();
        let in_front = !has_none && tool == Tool::V1 && !own.is_empty();
        let exported = || project_is_exported().then(|| project_name(source));
        Ok(Self {
            project: source.project.clone().or_else(exported),
            source: source.clone(),
            tool,
            own,
            ours: (!has_none && !in_front).then(|| at.to_owned()),
            front: if in_front { source.variables.clone() } else { BTreeMap::new() },
        })
    }

    pub(super) fn is_in_front(&self) -> bool {
        !self.front.is_empty()
    }

    pub(super) fn draft(&self, of: &str) -> Result<Option<Draft>, ApplyError> {
        let Some(path) = &self.ours else { return Ok(None) };
        let head =
            format!("{}{}\n", files::MARK, crate::clean::plain(of).replace(['\n', '\r'], " "));
        let lines = env_file::lines(&self.source.variables).map_err(ApplyError::Variable)?;
        Draft::of(path, &(head + &lines)).map(Some)
    }

    /// What the tool is to read with these files.
    pub(super) fn source(&self, over: &Path, variables: Option<&Path>) -> ComposeSource {
        let mut source = ComposeSource { variables: self.front.clone(), ..self.source.clone() };
        source.files.push(over.to_owned());
        // A file that is named takes the place of `.env`.
        if let Some(variables) = variables {
            source.env_files.clone_from(&self.own);
            source.env_files.push(variables.to_owned());
        }
        source
    }

    /// The command that makes the container, with our files or as it was, and nothing that it
    /// depends on, as the sweep does.
    pub(super) fn line(&self, over: Option<&Path>) -> String {
        let quoted = |text: &str| shell_words::quote(text).into_owned();
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let front = self.front.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let mut words: Vec<String> = front.chain([self.tool.as_str().to_owned()]).collect();
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        for file in self.source.files.iter().map(PathBuf::as_path).chain(over) {
            option("-f", path(file));
        }
        let env_files = if self.ours.is_some() { &self.own } else { &self.source.env_files };
        for file in env_files.iter().chain(&self.ours) {
            option("--env-file", path(file));
        }
        if let Some(folder) = &self.source.project_directory {
            option("--project-directory", path(folder));
        }
        if let Some(project) = &self.project {
            option("--project-name", quoted(project));
        }
        for profile in &self.source.profiles {
            option("--profile", quoted(profile));
        }
        words.extend(["up", "-d", "--no-deps"].map(str::to_owned));
        words.push(quoted(&self.source.service));
        words.join(" ")
    }

    /// The service's files alone.
    pub(super) fn without_ours(self) -> Self {
        Self { ours: None, front: BTreeMap::new(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_makes_this_service_alone_in_the_project_that_was_read() {
        let source = ComposeSource {
            files: vec![PathBuf::from("/srv/c.yaml")],
            project: Some("prod".to_owned()),
            service: "llm".to_owned(),
            ..ComposeSource::default()
        };
        let placed = Placed::of(&source, Tool::V1, Path::new("/run/o.env")).expect("no variable");
        assert_eq!(
            placed.line(Some(Path::new("/run/o.yaml"))),
            "docker-compose -f /srv/c.yaml -f /run/o.yaml --project-name prod up -d --no-deps llm"
        );
        let back = placed.without_ours().line(None);
        assert_eq!(back, "docker-compose -f /srv/c.yaml --project-name prod up -d --no-deps llm");
    }
}
