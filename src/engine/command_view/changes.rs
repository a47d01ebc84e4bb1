//! What a configuration changes in a command, for a person: a vector option by option,
//! a script line by line. Secrets are masked.

use super::CommandView;
use crate::configuration::{Configuration, Flags};
use crate::engine::command::{Change, diff, redacted, secret_words};
use crate::engine::shell::Script;
use crate::flags;

/// A changed line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptChange {
    /// Line of the script as it is, from 1.
    pub line: usize,
    /// The line, removed or added.
    pub change: Change,
}

/// What a configuration changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Options of a vector.
    Options(Vec<Change>),
    /// Lines of a script.
    Lines(Vec<ScriptChange>),
}

/// Columns of a script's line that are shown beside what changes in it.
const CONTEXT: usize = 40;
/// Columns of a line that is shown whole.
const LINE: usize = 120;

/// What a configuration changes in a command, secrets hidden: `described` is the service's
/// own, `started` has the model that the grid names. `own` are the flags of the grid's engine
/// block.
pub fn changes(
    described: &CommandView,
    started: &CommandView,
    own: &Flags,
    configuration: &Configuration,
) -> Shown {
    let changed = started.overlaid(own).configured(configuration);
    match (described.script_text(), changed.script_text()) {
        (Some(old), Some(new)) => Shown::Lines(lines(&masked(old), &masked(new))),
        _ => Shown::Options(diff(&redacted(&described.words()), &redacted(&changed.words()))),
    }
}

/// The script without the values of its secret flags and variables.
fn masked(script: &Script) -> String {
    let mut text = script.source().to_owned();
    let secret = secret_words(script.arguments());
    for (word, secret) in script.arguments().iter().zip(secret).rev() {
        let shown = secret.of(&word.raw);
        if shown == word.raw || word.positional.is_some() {
            continue;
        }
        if text.get(word.span.clone()) == Some(word.raw.as_str()) {
            text.replace_range(word.span.clone(), &shown);
        } else {
            // It is a word of a script inside the script.
            let hidden = word.known().split_once('=').map_or(word.known(), |(_, value)| value);
            if !hidden.is_empty() {
                text = text.replace(hidden, "***");
            }
        }
    }
    text.split_inclusive('\n').map(masked_line).collect()
}

/// A line without the values of variables and flags that are secret by their names.
fn masked_line(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    let mut after_secret = false;
    while !rest.is_empty() {
        let blank = rest.len() - rest.trim_start().len();
        shown.push_str(&rest[..blank]);
        rest = &rest[blank..];
        let word = &rest[..word_end(rest)];
        rest = &rest[word.len()..];
        let name = word.split('=').next().unwrap_or_default();
        let bare = name.trim_start_matches(['"', '\'', '-']);
        let secret = flags::is_secret(bare);
        match word.split_once('=') {
            Some(_) if secret => shown.extend([name, "=***"]),
            _ if after_secret && !word.starts_with('-') && word != "\\" => shown.push_str("***"),
            _ => shown.push_str(word),
        }
        after_secret = secret && name.starts_with('-') && !word.contains('=');
    }
    shown
}

/// The end of the word that a line begins with; blanks inside quotes belong to it.
fn word_end(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

/// The lines that differ, by the longest common subsequence of those between the first
/// and the last of them.
fn lines(old: &str, new: &str) -> Vec<ScriptChange> {
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let mut changes = changed_lines(&old[..old.len() - tail], &new[..new.len() - tail]);
    for change in &mut changes {
        change.line += head;
    }
    changes
}

fn changed_lines(old: &[&str], new: &[&str]) -> Vec<ScriptChange> {
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for at in (0..old.len()).rev() {
        for of in (0..new.len()).rev() {
            common[at][of] = if old[at] == new[of] {
                common[at + 1][of + 1] + 1
            } else {
                common[at + 1][of].max(common[at][of + 1])
            };
        }
    }
    let (mut at, mut of) = (0, 0);
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    let mut changes = Vec::new();
    loop {
        let same = at < old.len() && of < new.len() && old[at] == new[of];
        if same || (at == old.len() && of == new.len()) {
            hunk(&mut changes, at - removed.len(), &removed, &added);
            removed.clear();
            added.clear();
            if !same {
                return changes;
            }
            (at, of) = (at + 1, of + 1);
        } else if at < old.len() && (of == new.len() || common[at + 1][of] >= common[at][of + 1]) {
            removed.push(old[at]);
            at += 1;
        } else {
            added.push(new[of]);
            of += 1;
        }
    }
}

fn hunk(changes: &mut Vec<ScriptChange>, first: usize, removed: &[&str], added: &[&str]) {
    let around = |of: &[&str], index: usize, other: &[&str]| match other.get(index) {
        Some(other) => shortened(of[index], other),
        None => shortened(of[index], ""),
    };
    for index in 0..removed.len() {
        let change = Change::Removed(around(removed, index, added));
        changes.push(ScriptChange { line: first + index + 1, change });
    }
    for index in 0..added.len() {
        let change = Change::Added(around(added, index, removed));
        let line = first + index.min(removed.len().saturating_sub(1)) + 1;
        changes.push(ScriptChange { line, change });
    }
}

/// A long line around the part in which it differs from another.
fn shortened(line: &str, other: &str) -> String {
    let line = line.trim_end();
    let letters: Vec<char> = line.chars().collect();
    if letters.len() <= LINE {
        return line.to_owned();
    }
    let other: Vec<char> = other.trim_end().chars().collect();
    let same = letters.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let behind = letters.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let start = same.saturating_sub(CONTEXT);
    let end = (letters.len() - behind.min(letters.len() - same) + CONTEXT).min(letters.len());
    let mut text: String = letters[start..end].iter().collect();
    if start > 0 {
        text.insert_str(0, "... ");
    }
    if end < letters.len() {
        text.push_str(" ...");
    }
    text
}
