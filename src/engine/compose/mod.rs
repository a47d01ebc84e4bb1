//! One service of the user's compose file, as the compose tool itself reads it:
//! interpolation, `.env`, `extends`, overrides and profiles mean what they mean
//! elsewhere, because `docker compose config` (or `docker-compose config`)
//! resolves them. What comes out is a [`ServiceSpec`]; starting it is
//! [`super::docker`]'s.
//!
//! Three lists say what becomes of each key of a service.
//!
//! *Carried over*: `image`, `command`, `entrypoint`, `environment`, `volumes`,
//! `ipc`, `shm_size`, `ulimits`, `runtime`, `deploy.resources` (limits,
//! reserved memory and devices), `gpus`, `networks` (without aliases and fixed
//! addresses), `extra_hosts`, `user`, `working_dir`, `security_opt`, `cap_add`,
//! `cap_drop`, `devices` (CDI names too), `tmpfs`, all of [`Options`];
//! `network_mode` where it is `bridge` or `default`.
//!
//! *Replaced on purpose*: `container_name`, `ports`, `expose`, `restart`,
//! `deploy.restart_policy`, `healthcheck`, `logging`, `depends_on`, `labels`,
//! `hostname`, `domainname`, `stop_grace_period`, `profiles`, and `build` next
//! to an image. *Passed over*, as it means nothing for a candidate:
//! `pull_policy`, `attach`, `develop`, `scale: 1`, what `deploy` says to a swarm.
//!
//! *Refused by name*: `build` without `image`, `secrets`, `configs`,
//! `network_mode: host`, and whatever is in neither list.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::command_view::Unreadable;

mod files;
mod lines;
mod options;
pub mod parts;
mod relations;
mod resources;
mod scalars;
mod service;
mod spec;
pub mod template;
mod tool;
mod uninterpolated;
mod variables;
mod words;
pub mod yaml;

pub use files::{env_value, found, shown};
pub use lines::Place;
pub use options::Options;
pub use relations::Relations;
pub use service::parse;
pub use spec::{GpuRequest, Mount, MountKind, ServiceSpec, Ulimit};
pub use tool::{Printed, Tool, find_tool, printed, read, up};
pub(super) use tool::{project_is_exported, project_name};
pub use uninterpolated::{Written, written};
pub use variables::{Origin, VariableUse, forgotten, of_service as variables_of};

/// Where a service is described.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComposeSource {
    /// The compose file and its overrides, in the order of `-f`.
    pub files: Vec<PathBuf>,
    /// Files of variables in place of `.env` (`--env-file`); later ones count more.
    pub env_files: Vec<PathBuf>,
    /// What relative paths refer to, where that is not the first file's folder.
    pub project_directory: Option<PathBuf>,
    /// Variables that are set for the compose tool alone; they count more than all others.
    pub variables: BTreeMap<String, String>,
    /// Profiles that are active (`--profile`).
    pub profiles: Vec<String>,
    /// The project, where it is known: no variable names another one then.
    pub project: Option<String>,
    /// The service's name.
    pub service: String,
}

/// A variable without a value, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsetVariable {
    /// Its name.
    pub variable: String,
    /// The file.
    pub file: PathBuf,
    /// Line from 1, and column in characters from 1: of the `$`. `None` where the files'
    /// text does not show it.
    pub at: Option<(usize, usize)>,
    /// The file beside the compose files that sets it, and that nobody named.
    pub set_in: Option<PathBuf>,
}

/// Why a service cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// No compose tool.
    #[error(
        "neither `docker compose` (v2) nor `docker-compose` (v1) can be run: install one of them"
    )]
    NoTool,
    /// The tool could not be run to its end.
    #[error("{command} could not be run: {why}")]
    NotRun {
        /// What was to be run.
        command: String,
        /// Why not.
        why: String,
    },
    /// The tool refused the files; its own words.
    #[error("{command} failed: {message}")]
    Tool {
        /// What was run.
        command: String,
        /// What it printed.
        message: String,
    },
    /// No such service.
    #[error("no service `{service}` in the compose file{}", known(services))]
    NoService {
        /// The name asked for.
        service: String,
        /// The names there are.
        services: Vec<String>,
    },
    /// No such service, which is to be stopped with production.
    #[error(
        "`pause` names the service `{service}`, and the compose file has none{}",
        known(services)
    )]
    NoCompanion {
        /// The name.
        service: String,
        /// The names there are.
        services: Vec<String>,
    },
    /// Production is to be stopped with itself.
    #[error("`pause` names production itself ({name}): it is stopped anyhow, so take it out")]
    PausesProduction {
        /// The name, with what it is the name of.
        name: String,
    },
    /// Variables that the service uses have no value.
    #[error("{}", unset(.0))]
    Unset(Vec<UnsetVariable>),
    /// Keys that a candidate cannot keep and must not lose.
    #[error("service `{service}` uses what a candidate cannot carry over: {}", keys.join("; "))]
    Refused {
        /// The service.
        service: String,
        /// Key and reason, one entry each.
        keys: Vec<String>,
    },
    /// The grid sets flags where they cannot be changed.
    #[error(
        "{place}: {} cannot be set, because what starts vLLM cannot be seen through: {why}; write it \
         as one `vllm serve ...` (a script may hold it), or vary environment variables only",
        quoted(flags)
    )]
    Unreadable {
        /// Where it is written.
        place: String,
        /// What is in the way.
        why: Unreadable,
        /// The flags that the grid sets.
        flags: Vec<String>,
    },
    /// The grid takes away flags that a `--config` file has, or may have.
    #[error(
        "{place}: {} cannot be taken away by `null`: `--config {file}` {reason}; take it out of the \
         grid, or write the file's flags into the command",
        quoted(flags)
    )]
    InConfigFile {
        /// Where the command is written.
        place: String,
        /// The file, as the command names it.
        file: String,
        /// Whether the file has them, or is not readable here.
        reason: &'static str,
        /// The flags.
        flags: Vec<String>,
    },
    /// Something that the tool of this machine cannot do.
    #[error(
        "`docker-compose` (v1) takes one env-file, and the grid names several ({}): install `docker \
         compose` (v2), or write them into one file",
        shown(.0)
    )]
    EnvFiles(Vec<PathBuf>),
    /// The daemon was too slow with what flags depend on.
    #[error("{what} is not known: {why}; flags and ids depend on it, so try again")]
    NoAnswer {
        /// What it was asked for.
        what: String,
        /// Why there is no answer.
        why: String,
    },
    /// A compose file that nothing can be read from: which, and why.
    #[error("{0}")]
    File(String),
    /// Not of the form that the compose tool prints.
    #[error("the compose tool's output is not understood: {0}")]
    Form(String),
}

impl ComposeError {
    /// Whether somebody has to change the grid or the compose files. Else this machine lacks
    /// what reading them takes.
    pub fn is_mistake(&self) -> bool {
        !matches!(self, Self::NoTool | Self::NotRun { .. } | Self::NoAnswer { .. })
    }
}

fn known(services: &[String]) -> String {
    if services.is_empty() {
        return String::new();
    }
    format!(" (it has {}; one that belongs to a profile needs `profiles:`)", services.join(", "))
}

fn quoted(flags: &[String]) -> String {
    let quoted: Vec<String> = flags.iter().map(|flag| format!("`{flag}`")).collect();
    quoted.join(", ")
}

impl ComposeSource {
    /// Whether the files, or those that they include, have a service of this name, in a profile
    /// that is not active, too.
    pub(super) fn mentions(&self, service: &str) -> bool {
        !lines::of_service(&lines::with_included(&self.files), service).is_empty()
    }

    /// Where the service has its `key`.
    pub(super) fn place_of(&self, key: &str) -> Place {
        lines::place_of(&self.files, &self.service, key)
    }
}

fn unset(variables: &[UnsetVariable]) -> String {
    let lines: Vec<String> = variables
        .iter()
        .map(|unset| {
            let place = unset.at.map(|(line, column)| format!(":{line}:{column}"));
            let place = place.unwrap_or_default();
            let set_in = unset.set_in.as_ref().map(|file| {
                format!(
                    "; it is set by {}, which lies beside the compose file and is not named: write \
                     it into `env-file`, if the service is started with it",
                    file.display()
                )
            });
            format!(
                "{}{place}: variable {} is not set{}",
                unset.file.display(),
                unset.variable,
                set_in.unwrap_or_default()
            )
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
