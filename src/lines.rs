//! Lines for a person: broken between words, at a terminal's width, or in a log at 80 columns. What
//! is printed, and where, is decided elsewhere.

use std::io::IsTerminal as _;

use unicode_width::UnicodeWidthStr as _;

/// Columns of a line where nothing says how wide it may be.
pub(crate) const WIDTH: usize = 80;

/// Columns of the terminal that standard error goes to; `None` where that is none.
pub(crate) fn of_errors() -> Option<usize> {
    let errors = std::io::stderr();
    let size = || terminal_size::terminal_size_of(&errors).map(|(width, _)| usize::from(width.0));
    errors.is_terminal().then(|| size().unwrap_or(WIDTH))
}

/// Lines of at most `width` columns, broken between words; `indent` opens what continues a line.
/// A word that is longer has a line of its own. What is quoted by backticks is one word, where a
/// line has room for it: a command is copied from one line.
pub(crate) fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut current = String::new();
        let mut words = 0;
        for word in words_of(line, width.saturating_sub(indent.width())) {
            if words > 0 && current.width() + 1 + word.width() > width {
                lines.push(std::mem::replace(&mut current, indent.to_owned()));
                words = 0;
            }
            if words > 0 {
                current.push(' ');
            }
            current.push_str(word);
            words += 1;
        }
        lines.push(current);
    }
    lines.join("\n")
}

/// The words of a line; quoted ones together, where `room` columns are enough for them.
fn words_of(line: &str, room: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let word = rest.split(' ').next().unwrap_or_default();
        let length = quoted(rest, word.len()).filter(|it| rest[..*it].width() <= room);
        let length = length.unwrap_or(word.len());
        words.push(&rest[..length]);
        match rest[length..].strip_prefix(' ') {
            Some(next) => rest = next,
            None => return words,
        }
    }
}

/// Bytes up to the end of the word in which a quotation ends, where it begins in the first word of
/// so many bytes.
fn quoted(text: &str, first: usize) -> Option<usize> {
    let is_open = text[..first].matches('`').count() % 2 == 1;
    let end = first + text[first..].find('`').filter(|_| is_open)?;
    Some(text[end..].find(' ').map_or(text.len(), |space| end + space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_too_long_has_a_line_of_its_own() {
        assert_eq!(wrapped("a bb ccc", 4, "  "), "a bb\n  ccc");
        assert_eq!(wrapped("a bbbbbbbbbb c", 4, "  "), "a\n  bbbbbbbbbb\n  c");
        // Two columns for each letter.
        assert_eq!(wrapped("模型 模型 x", 8, ""), "模型\n模型 x");
        assert_eq!(wrapped("one\ntwo", 80, "  "), "one\ntwo");
        assert_eq!(wrapped("a  b ", 80, ""), "a  b ");
    }

    #[test]
    fn a_command_is_broken_only_where_no_line_has_room_for_it() {
        let text = "it is not complete: `vllm-grid resume x`, then wait";
        assert_eq!(
            wrapped(text, 26, "  "),
            "it is not complete:\n  `vllm-grid resume x`,\n  then wait"
        );
        assert_eq!(wrapped("see `a b c d`", 6, ""), "see `a\nb c d`");
        // Nothing closes it.
        assert_eq!(wrapped("it`s so it is", 8, ""), "it`s so\nit is");
    }
}
