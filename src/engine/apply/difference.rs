//! What an override changes in a service, for a person: changed lines only, options with their
//! values in one line. Pure; secrets are masked by who prints.

use crate::engine::compose::template::Template;

/// A key of the service, as it is and as it will be.
pub(super) struct Change {
    pub(super) key: String,
    pub(super) before: Vec<String>,
    pub(super) after: Vec<String>,
}

/// The lines of a command: of a script its own, else each option with its values.
pub(super) fn lines(words: &[Template]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let text = word.shown();
        if text.trim_end().contains('\n') {
            lines.extend(text.lines().map(str::to_owned));
            continue;
        }
        let quoted =
            if is_plain(&text) { text.clone() } else { shell_words::quote(&text).into_owned() };
        match lines.last_mut() {
            Some(line) if line.starts_with('-') && !is_option(&text) => {
                line.push(' ');
                line.push_str(&quoted);
            }
            _ => lines.push(quoted),
        }
    }
    lines
}

/// What needs no quotes to be understood: `--x=1`, `${VAR:-x}`.
fn is_plain(text: &str) -> bool {
    let is_word = |it: char| it.is_alphanumeric() || "_-./:=,@%+".contains(it);
    let is_expression = text.starts_with("${") && !text.contains(char::is_whitespace);
    is_expression || (!text.is_empty() && text.chars().all(is_word))
}

fn is_option(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next() == Some('-') && letters.next().is_some_and(|it| it == '-' || it.is_alphabetic())
}

/// The changed lines of each key, in the unified form: `-` as it is, `+` as it will be.
pub(super) fn unified(changes: &[Change]) -> Vec<String> {
    let mut out = Vec::new();
    for change in changes {
        let found = differing(&change.before, &change.after);
        if !found.is_empty() {
            out.push(format!("@@ {} @@", change.key));
            out.extend(found);
        }
    }
    out
}

fn differing(before: &[String], after: &[String]) -> Vec<String> {
    let head = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let (before, after) = (&before[head..], &after[head..]);
    let ends = before.iter().rev().zip(after.iter().rev());
    let tail = ends.take_while(|(old, new)| old == new).count();
    let (before, after) = (&before[..before.len() - tail], &after[..after.len() - tail]);
    let width = after.len() + 1;
    let mut best = vec![0_u32; (before.len() + 1) * width];
    for at in (0..before.len()).rev() {
        for of in (0..after.len()).rev() {
            best[at * width + of] = if before[at] == after[of] {
                best[(at + 1) * width + of + 1] + 1
            } else {
                best[(at + 1) * width + of].max(best[at * width + of + 1])
            };
        }
    }
    let (mut at, mut of, mut out) = (0, 0, Vec::new());
    while at < before.len() || of < after.len() {
        if at < before.len() && of < after.len() && before[at] == after[of] {
            (at, of) = (at + 1, of + 1);
        } else if at < before.len()
            && (of == after.len() || best[(at + 1) * width + of] >= best[at * width + of + 1])
        {
            out.push(format!("-{}", before[at]));
            at += 1;
        } else {
            out.push(format!("+{}", after[of]));
            of += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Vec<String> {
        let templates: Vec<Template> =
            words.iter().map(|it| Template::of(it, |_| "v".to_owned())).collect();
        lines(&templates)
    }

    #[test]
    fn options_stand_with_their_values_and_scripts_line_by_line() {
        let before = of(&["serve", "m", "--seqs", "${A:-8}", "--seed", "-1", "--x=1", "a b"]);
        assert_eq!(before, ["serve", "m", "--seqs ${A:-8}", "--seed -1", "--x=1 'a b'"]);
        let after = of(&["serve", "m", "--seqs", "16", "--x=1", "a b", "--new"]);
        let change = Change { key: "command".to_owned(), before, after };
        let same = Change {
            key: "image".to_owned(),
            before: vec!["i".to_owned()],
            after: vec!["i".to_owned()],
        };
        assert_eq!(
            unified(&[same, change]),
            ["@@ command @@", "---seqs ${A:-8}", "---seed -1", "+--seqs 16", "+--new"]
        );
        let script = of(&["sh", "-c", "set -e\nexec vllm serve m \\\n  --x 1\n"]);
        assert_eq!(script, ["sh", "-c", "set -e", "exec vllm serve m \\", "  --x 1"]);
    }
}
