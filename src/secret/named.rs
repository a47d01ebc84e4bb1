//! Where in a text a value stands under the name of a secret: `KEY=x`,
//! `--api-key x`, `"api_key": "x"`, `KEY: x` of YAML, and the password of a URL.

use std::ops::Range;

use super::{MASK, is_plain, is_secret, takes_several};

/// Names of secrets inside one value that are looked at.
const MAX_INSIDE: usize = 64;

/// Whether a text that stands under a secret name is a secret.
pub(super) fn is_value(text: &str) -> bool {
    let is_constant =
        || ["true", "false", "none", "null"].iter().any(|it| text.eq_ignore_ascii_case(it));
    !text.is_empty() && text != MASK && !text.starts_with('$') && !is_constant()
}

/// The places of the values. In `yaml` a name with a colon counts in any spelling;
/// elsewhere ("invalid token: eof") only that of a variable.
pub(super) fn places(text: &str, yaml: bool) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut at, mut until, mut inside) = (0, 0, 0);
    while let Some(start) = text[at..].find(is_letter).map(|start| at + start) {
        let end = text[start..].find(|it| !is_letter(it)).map_or(text.len(), |end| start + end);
        at = end;
        let name = &text[start..end];
        // Most words are no names of secrets: the cheap question first.
        if !name.is_empty() && is_secret(name) {
            // A value may have names in it, but `A_KEY=A_KEY=...` without end is a mistake or
            // an attack: what is behind many of them is a part of the value alone.
            inside = if start < until { inside + 1 } else { 0 };
            if inside > MAX_INSIDE {
                (at, inside) = (until, 0);
                continue;
            }
            let known = found.len();
            after_name(text, start, end, yaml, &mut found);
            until = found[known..].iter().map(|range| range.end).fold(until, usize::max);
        }
    }
    passwords(text, &mut found);
    bearer(text, &mut found);
    found
}

/// A letter of a name.
fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

/// The values of the name at `start..end`.
fn after_name(text: &str, start: usize, end: usize, yaml: bool, found: &mut Vec<Range<usize>>) {
    let name = &text[start..end];
    let rest = &text[end..];
    let mut add = |range: Option<Range<usize>>| {
        if let Some(range) = range.filter(|range| is_value(&text[range.clone()])) {
            found.push(range);
        }
    };
    if rest.starts_with('=') && !rest.starts_with("==") {
        let value = value(text, end + 1);
        // `key=5` is a setting; `--api-key=5` and `API_KEY=5` are keys.
        let bare = !name.contains(['_', '-']) && name.bytes().all(|it| it.is_ascii_lowercase());
        add(value.filter(|range| !(bare && is_plain(&text[range.clone()]))));
        return;
    }
    if yaml && name.starts_with("--") {
        items(text, end, takes_several(name), &mut add);
    }
    let quote = rest.trim_start_matches('\\').chars().next().filter(|it| matches!(it, '"' | '\''));
    if let Some(quote) = quote {
        let close = end + rest.find(quote).unwrap_or(0) + 1;
        let behind = text[close..].trim_start_matches([' ', '\t']);
        let separator = text.len() - behind.len();
        if behind.starts_with([':', '=']) {
            let first = skip_spaces(text, separator + 1);
            let begins = |it: char| it.is_alphabetic() || matches!(it, '"' | '\'');
            if text[first..].starts_with(['[', '(']) {
                list(text, first + 1, &mut add);
            } else if text[first..].trim_start_matches('\\').starts_with(begins) {
                add(value(text, first));
            }
        } else if behind.starts_with(',') && name.starts_with("--") {
            // An argument vector that was printed as a list.
            let first = skip_spaces(text, separator + 1);
            if text[first..].trim_start_matches('\\').starts_with(['"', '\'']) {
                add(value(text, first).filter(|range| !text[range.clone()].starts_with('-')));
            }
        }
        return;
    }
    if name.starts_with("--") && rest.starts_with([' ', '\t', '\n', '\\']) {
        let first = skip_blank(text, end);
        add(value(text, first).filter(|range| !text[range.clone()].starts_with('-')));
        return;
    }
    let is_variable = || {
        name.contains('_') && name.bytes().all(|it| !it.is_ascii_lowercase()) && !name.contains('-')
    };
    let begins_line = || {
        let line = text[..start].rsplit('\n').next().unwrap_or_default();
        line.trim_start_matches([' ', '-', '{']).is_empty()
    };
    if rest.starts_with(": ") && ((yaml && begins_line()) || is_variable()) {
        let first = skip_spaces(text, end + 1);
        add(value(text, first).filter(|range| !is_plain(&text[range.clone()])));
    }
}

fn skip_spaces(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches([' ', '\t']).len()
}

/// Behind blanks and a continued line.
fn skip_blank(text: &str, at: usize) -> usize {
    let rest = text[at..].trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix("\\\n").unwrap_or(rest);
    text.len() - rest.trim_start().len()
}

/// Each quoted text of a list that begins at `at`.
fn list(text: &str, mut at: usize, add: &mut impl FnMut(Option<Range<usize>>)) {
    loop {
        at = skip_spaces(text, at);
        if !text[at..].starts_with(['"', '\'']) {
            return;
        }
        let Some(range) = value(text, at) else { return };
        at = skip_spaces(text, (range.end + 1).min(text.len()));
        add(Some(range));
        if !text[at..].starts_with(',') {
            return;
        }
        at += 1;
    }
}

/// The value that begins at `at`: up to its closing quote, or to the end of its word.
/// Of `${NAME:-default}` it is the default: what a file has written down.
fn value(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let escapes = rest.len() - rest.trim_start_matches('\\').len();
    let opening = rest[escapes..].chars().next()?;
    let range = if matches!(opening, '"' | '\'') {
        let first = at + escapes + 1;
        let length = closing(&text[first..], opening, escapes > 0);
        first..first + length
    } else {
        let ends = |it: char| it.is_whitespace() || ",;)]}&'\"`|<>".contains(it);
        let length = if rest.starts_with("${") {
            rest.find('}').map(|end| end + 1)
        } else {
            rest.find(ends)
        };
        at..at + length.unwrap_or(rest.len())
    };
    let inner = &text[range.clone()];
    if inner.starts_with("${") && inner.ends_with('}') {
        let given = default_of(inner)?;
        return Some(range.end - 1 - given.len()..range.end - 1);
    }
    (!range.is_empty()).then_some(range)
}

/// What `${NAME:-default}` or `${NAME-default}` gives without the variable; of
/// `:?`, `?`, `:+` and `+` the text behind is a message or a switch.
pub(super) fn default_of(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${")?.strip_suffix('}')?;
    let behind = inner.trim_start_matches(|it: char| it.is_ascii_alphanumeric() || it == '_');
    let given = behind.strip_prefix(":-").or_else(|| behind.strip_prefix('-'))?;
    (!given.is_empty()).then_some(given)
}

/// Whether the byte `at` of a text is in a comment: behind a `#` that begins a word
/// outside quotes of the same line.
pub(super) fn is_comment(text: &str, at: usize) -> bool {
    let line = text[..at].rsplit('\n').next().unwrap_or_default();
    let (mut quote, mut before) = (None, ' ');
    for letter in line.chars() {
        match (quote, letter) {
            (None, '#') if before.is_whitespace() => return true,
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
        before = letter;
    }
    false
}

/// Length of a quoted text, up to the quote that closes it.
fn closing(text: &str, quote: char, escaped: bool) -> usize {
    let mut before = '\0';
    for (at, letter) in text.char_indices() {
        if letter == quote && (escaped || before != '\\') {
            // An escaped quote is two characters.
            return if escaped && before == '\\' { at - 1 } else { at };
        }
        before = if before == '\\' && letter == '\\' { '\0' } else { letter };
    }
    text.find('\n').unwrap_or(text.len())
}

/// The values of an option in a YAML list with one argument on each line; the first
/// one unless it takes `several`.
fn items(text: &str, at: usize, several: bool, add: &mut impl FnMut(Option<Range<usize>>)) {
    let mut at = text.len() - text[at..].trim_start_matches(['"', '\'']).len();
    while let Some(rest) = text[at..].trim_start_matches([' ', '\t', '\r']).strip_prefix('\n')
        && let Some(item) = rest.trim_start_matches(' ').strip_prefix("- ")
        && !item.trim_start_matches(['"', '\'']).starts_with('-')
        && let Some(range) = value(text, text.len() - item.trim_start_matches(' ').len())
    {
        at = text.len() - text[range.end..].trim_start_matches(['"', '\'']).len();
        add(Some(range));
        if !several {
            return;
        }
    }
}

/// The password of each `scheme://user:password@host`.
fn passwords(text: &str, found: &mut Vec<Range<usize>>) {
    for (at, _) in text.match_indices("://") {
        let first = at + 3;
        let ends = |it: char| it.is_whitespace() || "/?#\"'`<>".contains(it);
        let end = text[first..].find(ends).map_or(text.len(), |end| first + end);
        let authority = &text[first..end];
        let Some(host) = authority.rfind('@') else { continue };
        if let Some(colon) = authority[..host].find(':')
            && is_value(&authority[colon + 1..host])
        {
            found.push(first + colon + 1..first + host);
        }
    }
}

/// What follows `Bearer` in a header.
fn bearer(text: &str, found: &mut Vec<Range<usize>>) {
    const NAME: &str = "authorization";
    const SCHEME: &str = "bearer ";
    if !text.as_bytes().windows(SCHEME.len()).any(|it| it.eq_ignore_ascii_case(SCHEME.as_bytes())) {
        return;
    }
    let lower = text.to_ascii_lowercase();
    for (at, _) in lower.match_indices(NAME) {
        let line = lower[at..].find('\n').map_or(lower.len(), |end| at + end);
        if let Some(scheme) = lower[at..line].find(SCHEME)
            && let Some(range) = value(text, at + scheme + SCHEME.len())
        {
            found.push(range);
        }
    }
}
