//! What a person should know of the services that a grid starts: each sentence once, at the
//! entry of the grid that it is about, or in the compose file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::configuration::{Configuration, Stack};
use crate::engine::compose::{self, ComposeSource, ServiceSpec, VariableUse};
use crate::grid::{Entry, Grid, Warning};

/// Something that is not known, or not as it should be, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Whose it is.
    stack: Stack,
    /// The compose file that it is written in; `None` for the grid.
    file: Option<PathBuf>,
    /// Line and column; `None` for where the grid asks for the stack.
    at: Option<(usize, usize)>,
    message: String,
}

impl Unknown {
    /// Of a stack, at the place where the grid asks for it.
    pub(super) fn of(stack: &Stack, message: String) -> Self {
        Self { stack: stack.clone(), file: None, at: None, message }
    }

    /// The same at another place of the grid, where there is one.
    pub(super) fn at(self, at: Option<(usize, usize)>) -> Self {
        Self { at, ..self }
    }

    /// The same at a place in a compose file.
    pub(super) fn in_file(self, file: PathBuf, at: Option<(usize, usize)>) -> Self {
        Self { file: Some(file), at, ..self }
    }

    pub(super) fn in_compose_file(self, place: &compose::Place) -> Self {
        self.in_file(place.file.clone(), place.line.map(|line| (line, 1)))
    }

    /// Where it is said: once where it has a place of its own, else at each entry.
    fn entries(&self, grid: &Grid) -> Vec<Entry> {
        if self.file.is_some() || self.at.is_some() {
            vec![Entry { at: self.at, name: String::new() }]
        } else {
            grid.entries_of(&self.stack)
        }
    }
}

/// A sentence at its place, and the entries that it is said of.
struct Told {
    warning: Warning,
    names: Vec<String>,
}

/// All of it, each sentence once at each place. What is said of the engine block itself is not
/// said again of those that vary it.
pub(super) fn once(grid: &Grid, all: &[Unknown]) -> Vec<Warning> {
    let is_own = |it: &Unknown| {
        all.iter().any(|own| own.stack.is_own() && own.message == it.message && own.file == it.file)
    };
    let mut told: Vec<Told> = Vec::new();
    for it in all.iter().filter(|it| it.stack.is_own() || !is_own(it)) {
        for Entry { at, name } in it.entries(grid) {
            let warning = Warning {
                file: it.file.clone().unwrap_or_else(|| grid.path.clone()),
                line: at.map(|it| it.0),
                column: at.map(|it| it.1),
                message: it.message.clone(),
                of_budget: false,
            };
            match told.iter_mut().find(|told| told.warning == warning) {
                Some(told) => told.names.push(name),
                None => told.push(Told { warning, names: vec![name] }),
            }
        }
    }
    told.into_iter().map(Told::warning).collect()
}

impl Told {
    fn warning(mut self) -> Warning {
        self.names.dedup();
        let of = match self.names.as_slice() {
            [] => return self.warning,
            [name] if name.is_empty() => return self.warning,
            [name] => name.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        Warning { message: format!("{of}: {}", self.warning.message), ..self.warning }
    }
}

/// Variables of a stack that its compose files do not use.
pub(super) fn idle_variables(
    grid: &Grid,
    stack: &Stack,
    used: &[VariableUse],
    source: &ComposeSource,
) -> Vec<Unknown> {
    let is_idle = |name: &&String| !used.iter().any(|it| it.name == **name);
    let said = |name: &String| {
        let message = format!(
            "`variables`: {name} is not used by the service `{}` in {}: it has no effect there; what \
             the server itself reads belongs under `environment`",
            source.service,
            compose::shown(&source.files)
        );
        Unknown::of(stack, message).at(axis(grid, stack, "variables", name))
    };
    stack.variables.keys().filter(is_idle).map(said).collect()
}

/// Variables of the server's environment that the compose files use and the container does
/// not get: whoever varies such a one means the other kind.
pub(super) fn misplaced(
    grid: &Grid,
    stack: &Stack,
    configurations: &[Configuration],
    used: &[VariableUse],
    spec: &ServiceSpec,
) -> Vec<Unknown> {
    let names: BTreeSet<&String> =
        configurations.iter().flat_map(|it| it.environment.keys()).collect();
    let is_misplaced = |name: &&&String| {
        used.iter().any(|it| it.name == ***name) && !spec.environment.contains_key(**name)
    };
    let said = |name: &&String| {
        let message = format!(
            "`environment`: {name} is a variable of the compose file: as a variable of the container \
             it does not change what the file says; write it under `variables`"
        );
        Unknown::of(stack, message).at(axis(grid, stack, "environment", name))
    };
    names.iter().filter(is_misplaced).map(said).collect()
}

/// The axis of a variable, where a stack comes from axes.
fn axis(grid: &Grid, stack: &Stack, key: &str, name: &str) -> Option<(usize, usize)> {
    if grid.is_of_row(stack) { None } else { grid.place_of(&[key, name]) }
}
