//! What differs between two commands, as lines for a person: option by option, with
//! secrets and scripts masked.

use super::{begins, literal, spelling};
use crate::engine::shell::{Obstacle, Start, Word, start_of};
use crate::flags;
use crate::secret::takes_several;

/// The command with the values of secret flags replaced, so that it may be shown.
/// Of a shell script or other program text nothing is shown: it may have a key anywhere.
pub fn redacted(command: &[String]) -> Vec<String> {
    let word = match start_of(&literal(command)) {
        Start::Script { word } => word,
        Start::Other(Obstacle::Code(name)) => return vec![format!("{name} (program text)")],
        _ => return redacted_options(command),
    };
    let mut shown = redacted_options(&command[..word]);
    shown.push("(shell script)".to_owned());
    if ["$@", "${@", "$*", "${*"].iter().any(|it| command[word].contains(it)) {
        shown.extend(redacted_options(&command[word + 1..]));
    }
    shown
}

fn redacted_options(command: &[String]) -> Vec<String> {
    let secret = secret_words(&literal(command));
    command.iter().zip(secret).map(|(word, secret)| secret.of(word)).collect()
}

/// How much of a word is the value of a secret flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Nothing.
    No,
    /// What follows `=`.
    Inline,
    /// All of it.
    Whole,
}

impl Secret {
    /// The word without its secret.
    pub fn of(self, word: &str) -> String {
        match self {
            Self::No => word.to_owned(),
            Self::Inline => format!("{}=***", word.split('=').next().unwrap_or_default()),
            Self::Whole => "***".to_owned(),
        }
    }
}

/// Which of some arguments are secret.
pub fn secret_words(arguments: &[Word]) -> Vec<Secret> {
    let (mut hidden, mut several) = (false, false);
    let secret_of = |word: &Word| {
        let argument = word.known();
        let (name, inline) = spelling(argument);
        let secret = name.as_deref().is_some_and(flags::is_secret);
        if begins(argument) {
            hidden = secret && inline.is_none();
            several = takes_several(argument);
            return if secret && inline.is_some() { Secret::Inline } else { Secret::No };
        }
        let is_value = hidden;
        hidden &= several;
        match inline {
            Some(_) if secret => Secret::Inline,
            _ if is_value => Secret::Whole,
            _ => Secret::No,
        }
    };
    arguments.iter().map(secret_of).collect()
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
            Some(line) if !begins(argument) && line.starts_with('-') => {
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
        let command = words("serve --hf-token hf_x Qwen/Qwen3-32B-AWQ --seed 1");
        assert_eq!(redacted(&command), words("serve --hf-token *** Qwen/Qwen3-32B-AWQ --seed 1"));
        let command = words(r#"m --api-key k1 '--hf-overrides={"a": 1}' x"#);
        assert_eq!(redacted(&command), words(r#"m --api-key *** '--hf-overrides={"a": 1}' x"#));
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
        let (old, new) = (words(r#"m --a 1 '--b={"c": 1}'"#), words(r#"m --a 1 '--b={"c": 2}'"#));
        assert_eq!(
            diff(&old, &new),
            [
                Change::Removed(r#"--b={"c": 1}"#.to_owned()),
                Change::Added(r#"--b={"c": 2}"#.to_owned())
            ]
        );
    }
}
