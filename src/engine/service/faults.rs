//! Services that cannot be read, and grids that ask for what they cannot do: all of one grid
//! together, each with the line that asks for it and that line's name.

use std::fmt;

use super::said::{self, Unknown};
use crate::configuration::Stack;
use crate::engine::compose::ComposeError;
use crate::grid::{GridFile, Warning};

/// Why something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    stack: Stack,
    /// Line and column in the grid, where that is not where it asks for the stack.
    at: Option<(usize, usize)>,
    /// What it is.
    pub error: ComposeError,
}

impl Fault {
    pub(super) fn of(stack: &Stack, error: ComposeError) -> Self {
        Self { stack: stack.clone(), at: None, error }
    }

    /// The same at another place of the grid, where there is one.
    pub(super) fn at(self, at: Option<(usize, usize)>) -> Self {
        Self { at, ..self }
    }

    /// Whether it is of the service that the engine block itself names.
    pub fn is_of_block(&self) -> bool {
        self.is_of(&Stack::default())
    }

    /// Whether it is of the service that a stack names.
    pub(super) fn is_of(&self, stack: &Stack) -> bool {
        self.stack == *stack && self.at.is_none()
    }

    /// Whether nothing else can be read, either, or not in a time that a person waits for.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.error, ComposeError::NotRun { .. } | ComposeError::NoAnswer { .. })
    }

    /// Whether a plan shows what the grid itself sets, with a warning: on a machine without the
    /// compose tool, or without the service's variables.
    pub fn is_excused(&self) -> bool {
        !self.error.is_mistake() || matches!(self.error, ComposeError::Unset(_))
    }

    /// The same as a warning of a plan, which is without it.
    fn excused(&self) -> Unknown {
        let message = format!(
            "the command of the service is not read, so flags, ids and what is equal are the grid's \
             own alone; a sweep will not start like this: {}",
            self.error
        );
        let unknown = Unknown::of(&self.stack, message).at(self.at);
        match &self.error {
            ComposeError::Unset(variables) if !variables.is_empty() => {
                unknown.in_file(variables[0].file.clone(), variables[0].at)
            }
            _ => unknown,
        }
    }
}

/// All that is at fault, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    lines: Vec<Warning>,
    is_mistake: bool,
}

impl Faults {
    /// Those that are `meant`, where there are any.
    pub fn of(file: &GridFile, faults: &[Fault], meant: impl Fn(&Fault) -> bool) -> Option<Self> {
        let meant: Vec<&Fault> = faults.iter().filter(|it| meant(it)).collect();
        let of = |it: &&Fault| Unknown::of(&it.stack, it.error.to_string()).at(it.at);
        let all: Vec<Unknown> = meant.iter().map(of).collect();
        let lines = said::once(file.grid(), &all);
        let is_mistake = meant.iter().any(|it| it.error.is_mistake());
        (!lines.is_empty()).then_some(Self { lines, is_mistake })
    }

    /// What a plan says of those that it does without.
    pub fn excused(file: &GridFile, faults: &[Fault]) -> Vec<Warning> {
        let excused = faults.iter().filter(|it| it.is_excused()).map(Fault::excused);
        said::once(file.grid(), &excused.collect::<Vec<_>>())
    }

    /// Whether somebody has to change the grid or a compose file; else it is the machine.
    pub fn is_mistake(&self) -> bool {
        self.is_mistake
    }

    /// Each as a text, with its place.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(|it| {
            let line = it.line.map(|line| format!(":{line}")).unwrap_or_default();
            format!("{}{line}: {}", it.file.display(), it.message)
        })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for Faults {}
