//! Sees through a shell script to the one simple command that starts vLLM: which
//! words its arguments are, where each stands in the text, and what it is once
//! the shell has removed its quoting. Changes those words and no other byte.
//! Pure; what the words mean as flags is in `engine/command.rs`.

use std::ops::Range;

mod nesting;
mod script;
mod start;
mod word;

pub use script::{Script, ScriptError};
pub use start::{Obstacle, Program, Start, server_arguments, start_of};
pub use word::{Word, quote};

/// A replacement of a run of words by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Indices of the replaced words among the arguments; at least one.
    pub words: Range<usize>,
    /// What stands there afterwards, unquoted.
    pub with: Vec<String>,
}

#[cfg(test)]
mod tests;
