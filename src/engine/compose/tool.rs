//! Runs the compose tool: v2 (`docker compose`) where it is there, else v1
//! (`docker-compose`). It only ever reads, but for [`up`], by which production
//! is made again when somebody removed it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::relations::{self, Relations};
use super::spec::ServiceSpec;
use super::{ComposeError, ComposeSource, UnsetVariable, env_value, service, variables, words};
use crate::input::{self, InputError};

/// Longest that the tool may take to read files.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest that the tool may take to start a service.
const START_TIMEOUT: Duration = Duration::from_mins(15);

/// A compose tool of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `docker compose`.
    V2,
    /// `docker-compose`.
    V1,
}

impl Tool {
    /// As a person types it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "docker compose",
            Self::V1 => "docker-compose",
        }
    }

    fn command(self) -> Command {
        let mut command = match self {
            Self::V2 => {
                let mut command = Command::new("docker");
                command.arg("compose");
                command
            }
            Self::V1 => Command::new("docker-compose"),
        };
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn for_source(self, source: &ComposeSource) -> Command {
        let mut command = self.command();
        for file in &source.files {
            command.arg("-f").arg(file);
        }
        // Relative to the project's folder they would be others.
        let whole = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        for file in &source.env_files {
            command.arg("--env-file").arg(whole(file));
        }
        if let Some(folder) = &source.project_directory {
            command.arg("--project-directory").arg(whole(folder));
        }
        command.envs(&source.variables);
        for profile in &source.profiles {
            command.arg("--profile").arg(profile);
        }
        command
    }
}

/// The tool of this machine and its version. It is asked once in the life of a process, and
/// again where there was none.
pub async fn find_tool() -> Option<(Tool, String)> {
    static FOUND: OnceCell<(Tool, String)> = OnceCell::const_new();
    FOUND.get_or_try_init(async || ask_for_tool().await.ok_or(())).await.ok().cloned()
}

async fn ask_for_tool() -> Option<(Tool, String)> {
    for tool in [Tool::V2, Tool::V1] {
        let mut command = tool.command();
        command.args(["version", "--short"]);
        if let Ok(output) = run(&mut command, READ_TIMEOUT).await
            && output.status.success()
        {
            return Some((tool, String::from_utf8_lossy(&output.stdout).trim().to_owned()));
        }
    }
    None
}

/// The tool of this machine, where it can do what the source asks for.
async fn tool_for(source: &ComposeSource) -> Result<Tool, ComposeError> {
    let (tool, _) = find_tool().await.ok_or(ComposeError::NoTool)?;
    if tool == Tool::V1 && source.env_files.len() > 1 {
        return Err(ComposeError::EnvFiles(source.env_files.clone()));
    }
    Ok(tool)
}

async fn run(command: &mut Command, limit: Duration) -> std::io::Result<Output> {
    timeout(limit, command.output())
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)))
}

/// What the tool prints of compose files, and what it says beside that: all services, so that
/// several can be read of one run.
#[derive(Clone, Debug)]
pub struct Printed {
    yaml: String,
    stderr: String,
    failed: Option<ComposeError>,
}

/// Reads the service as the compose tool resolves it.
pub async fn read(source: &ComposeSource) -> Result<ServiceSpec, ComposeError> {
    printed(source).await?.service(source)
}

/// Runs the tool on the files of `source`; which service it names means nothing here.
///
/// # Errors
/// The files cannot be read, or there is no tool for them.
pub async fn printed(source: &ComposeSource) -> Result<Printed, ComposeError> {
    // The tool would wait for a pipe that nobody writes to.
    for file in &source.files {
        if let Err(error @ (InputError::NoFile(_) | InputError::TooLarge { .. })) =
            input::open(file, input::MAX_TEXT)
        {
            return Err(ComposeError::File(format!("{}: {error}", file.display())));
        }
    }
    let tool = tool_for(source).await?;
    // Each tool, and each version, has other words for a file that is not there.
    for file in &source.files {
        std::fs::metadata(file)
            .map_err(|error| ComposeError::File(format!("{}: {error}", file.display())))?;
    }
    let mut command = tool.for_source(source);
    command.arg("config");
    let what = format!("`{} config`", tool.as_str());
    let output = run(&mut command, READ_TIMEOUT)
        .await
        .map_err(|error| ComposeError::NotRun { command: what.clone(), why: error.to_string() })?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stderr = crate::clean::lines(&stderr).into_owned();
    let failed = (!output.status.success()).then(|| ComposeError::Tool {
        command: what,
        message: words::sentence(&without_values(stderr.trim())),
    });
    let yaml = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Printed { yaml, stderr, failed })
}

impl Printed {
    /// The service that `source` names, which is of the files that this was printed of.
    ///
    /// # Errors
    /// The tool refused the files, or the service cannot be read.
    pub fn service(&self, source: &ComposeSource) -> Result<ServiceSpec, ComposeError> {
        let unset = unset(source, &self.stderr);
        if !unset.is_empty() {
            return Err(ComposeError::Unset(unset));
        }
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let mut spec = service::parse(&self.yaml, &source.service, &project_name(source))?;
        // Of other services, but a person may have meant this one.
        let is_said = |line: &&str| line.contains("variable is not set");
        spec.said =
            self.stderr.lines().filter(is_said).map(|line| line.trim().to_owned()).collect();
        Ok(spec)
    }

    /// The services that it has, as far as they hang on each other.
    ///
    /// # Errors
    /// It is not of the form that the tool prints.
    pub fn relations(&self) -> Result<BTreeMap<String, Relations>, ComposeError> {
        relations::of(&self.yaml)
    }
}

/// The tool's message without the value that it could not interpolate: that may
/// be a whole script with a key in it.
pub(super) fn without_values(message: &str) -> String {
    // `Invalid interpolation format for "command" option in service "s": "VALUE"` and
    // `invalid interpolation format for services.s.command: "VALUE". You may need ...`;
    // `Missing mandatory value for "command" option interpolating VALUE in service "s": ...`.
    let between = |text: &str, before: &str, after: &str| {
        let from = text.find(before)? + before.len();
        let until = from + text[from..].rfind(after)?;
        Some(format!("{}...{}", &text[..from], &text[until..]))
    };
    let lower = message.to_ascii_lowercase();
    let shown = if lower.contains("invalid interpolation format") {
        between(message, ": \"", "\"")
    } else if lower.contains("missing mandatory value") {
        between(message, " interpolating ", " in service ")
    } else {
        None
    };
    shown.unwrap_or_else(|| message.to_owned())
}

fn unset(source: &ComposeSource, stderr: &str) -> Vec<UnsetVariable> {
    let names = variables::unset_names(stderr);
    if names.is_empty() {
        return Vec::new();
    }
    variables::positions(source, &names)
}

/// Makes and starts the service as its file says, and nothing that it depends on.
pub async fn up(source: &ComposeSource) -> Result<(), ComposeError> {
    let tool = tool_for(source).await?;
    let mut command = tool.for_source(source);
    command.args(["up", "-d", "--no-deps", &source.service]);
    let output = run(&mut command, START_TIMEOUT).await;
    let message = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            words::sentence(&without_values(crate::clean::lines(&stderr).trim()))
        }
        Err(error) => error.to_string(),
    };
    let command = format!("`{} up -d --no-deps {}`", tool.as_str(), source.service);
    Err(ComposeError::Tool { command, message })
}

/// Names the project, whatever the files say.
const VARIABLE: &str = "COMPOSE_PROJECT_NAME";

/// Whether the project's name is taken from our own environment.
pub(in crate::engine) fn project_is_exported() -> bool {
    std::env::var(VARIABLE).is_ok_and(|name| !name.is_empty())
}

/// The project's name: exported, in `.env`, at the top of the compose file, or the folder's.
pub(in crate::engine) fn project_name(source: &ComposeSource) -> String {
    let folder = source.folder();
    let folder = folder.canonicalize().unwrap_or(folder);
    let exported = std::env::var(VARIABLE).ok();
    let in_env_file = || env_value(&source.variable_files(), VARIABLE).map(|(name, ..)| name);
    let given = |name: &String| !name.is_empty();
    let named = exported.filter(given).or_else(in_env_file).filter(given);
    let in_file = || {
        source.files.iter().rev().find_map(|file| {
            let text = crate::input::text(file).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("name:"))?;
            let name = line.split(" #").next()?.trim().trim_matches(['"', '\'']);
            (!name.is_empty() && !name.contains('$')).then(|| name.to_owned())
        })
    };
    let name = named.or_else(in_file).unwrap_or_else(|| {
        folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    });
    name.to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c))
        .collect()
}
