//! Text in columns: widths as a terminal shows them, cutting, wrapping.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// One line without what acts on a terminal, runs of spaces as one: records of
/// any age are shown, and what servers log may contain escapes.
pub(super) fn plain(text: &str) -> String {
    let clean = crate::clean::plain(text);
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts the middle out of a text that is wider than `columns`: generated names
/// differ at their end as often as at their start.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let space = columns.saturating_sub(1);
    let head = take(text.chars(), space.div_ceil(2));
    let tail = take(text.chars().rev(), space / 2);
    let head: String = head.into_iter().collect();
    let tail: String = tail.into_iter().rev().collect();
    if columns == 0 { String::new() } else { format!("{head}…{tail}") }
}

fn take(characters: impl Iterator<Item = char>, columns: usize) -> Vec<char> {
    let mut used = 0;
    characters
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// Breaks a text at spaces into lines of at most `columns`; further lines are
/// indented. A word that is wider than a line is broken,
/// behind a hyphen where it has one.
pub(super) fn wrap(text: &str, columns: usize, indent: &str) -> String {
    let columns = columns.max(width(indent) + 8);
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest = word;
        loop {
            let line = lines.last_mut().expect("starts with a line, only grows");
            let start = line.is_empty() || line == indent;
            let space = usize::from(!start);
            if width(line) + space + width(rest) <= columns {
                if !start {
                    line.push(' ');
                }
                line.push_str(rest);
                break;
            }
            if start {
                let part = take(rest.chars(), columns - width(line));
                let fits: usize = part.iter().map(|c| c.len_utf8()).sum();
                let bytes = rest[..fits].rfind(['-', '_', ',', '/']).map_or(fits, |at| at + 1);
                line.push_str(&rest[..bytes]);
                rest = &rest[bytes..];
            }
            lines.push(indent.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_middle_is_cut() {
        assert_eq!(cut("util0.85-prefix-nochunk-seqs32", 15), "util0.8…-seqs32");
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("数値測定設定", 6), "数…定");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[31m\n\tb\u{202e}"), "a b");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_column(text in "\\PC{0,60}", columns in 1usize..40) {
            prop_assert!(width(&cut(&text, columns)) <= columns);
        }

        #[test]
        fn wrapping_loses_no_word(text in "[a-zé数 ]{0,80}", columns in 12usize..40) {
            let wrapped = wrap(&text, columns, "  ");
            let letters = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&wrapped), letters(&text));
            for line in wrapped.lines() {
                prop_assert!(width(line) <= columns);
            }
        }
    }
}
