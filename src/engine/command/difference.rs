//! What a configuration changes in a command, as lines for a person: option by
//! option, with secrets and scripts masked.

use super::{flags_of, is_option, overlay, shell_script, spelling};
use crate::configuration::{Configuration, Flags};
use crate::flags;

/// What a configuration changes in a service's `command`, secrets hidden. `own`
/// are the flags of the grid's engine block.
pub fn changes(command: &[String], own: &Flags, configuration: &Configuration) -> Vec<Change> {
    let with_own = overlay(command, own);
    let changed = overlay(&with_own, &flags_of(&with_own, configuration));
    diff(&redacted(command), &redacted(&changed))
}

/// The command with the values of secret flags replaced, so that it may be shown.
/// Of a shell script nothing is shown: it may hold a key anywhere.
pub fn redacted(command: &[String]) -> Vec<String> {
    let Some(script) = shell_script(command.iter().map(String::as_str)) else {
        return redacted_options(command);
    };
    let mut shown = redacted_options(&command[..script.at]);
    shown.push("(shell script)".to_owned());
    if script.forwards {
        shown.extend(redacted_options(&command[script.at + 1..]));
    }
    shown
}

fn redacted_options(command: &[String]) -> Vec<String> {
    let mut hidden = false;
    let mut shown = Vec::with_capacity(command.len());
    for argument in command {
        let (name, inline) = spelling(argument);
        let secret = name.as_deref().is_some_and(flags::is_secret);
        if is_option(argument) {
            hidden = secret && inline.is_none();
        }
        shown.push(match inline {
            Some(_) if secret => {
                format!("{}=***", argument.split('=').next().unwrap_or_default())
            }
            _ if hidden && !is_option(argument) => "***".to_owned(),
            _ => argument.clone(),
        });
    }
    shown
}

/// One line of a difference between two commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the old command has it.
    Removed(String),
    /// Only the new command has it.
    Added(String),
}

/// What differs between two commands, option by option (an option with its
/// values is one line), in the order of the commands.
pub fn diff(old: &[String], new: &[String]) -> Vec<Change> {
    let old = options(old);
    let new = options(new);
    let removed = old.iter().filter(|line| !new.contains(line)).cloned().map(Change::Removed);
    let added = new.iter().filter(|line| !old.contains(line)).cloned().map(Change::Added);
    removed.chain(added).collect()
}

fn options(command: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for argument in command {
        match lines.last_mut() {
            Some(line) if !is_option(argument) && line.starts_with('-') => {
                line.push(' ');
                line.push_str(argument);
            }
            _ => lines.push(argument.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        shell_words::split(text).expect("the test quotes well")
    }

    #[test]
    fn secrets_are_not_shown() {
        let command = words("m --api-key k1 k2 --seed 1 --api_key=k3 --hf-token t");
        assert_eq!(
            redacted(&command),
            words("m --api-key *** *** --seed 1 --api_key=*** --hf-token ***")
        );
    }

    #[test]
    fn a_script_is_not_shown() {
        let command = words("/bin/bash -lc 'vllm serve m --api-key k1' --api-key k2");
        assert_eq!(redacted(&command), words("/bin/bash -lc '(shell script)'"));
        let command = words("sh -c 'K=k1 exec vllm serve \"$@\"' name m --seed 1 --api-key k2");
        assert_eq!(
            redacted(&command),
            words("sh -c '(shell script)' name m --seed 1 --api-key ***")
        );
    }

    #[test]
    fn differences_are_listed_option_by_option() {
        let old = words("m --a 1 --b");
        let new = words("m --a 2 --b --c");
        assert_eq!(
            diff(&old, &new),
            [
                Change::Removed("--a 1".to_owned()),
                Change::Added("--a 2".to_owned()),
                Change::Added("--c".to_owned())
            ]
        );
    }
}
