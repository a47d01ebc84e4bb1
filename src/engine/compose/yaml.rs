//! Texts as YAML that both versions of the compose tool, and this program, read as the same
//! texts: quoted always, so that `yes`, `1e3` and `0o7` stay texts; of several lines as a
//! block where that keeps every byte.

use std::fmt::Write as _;

/// A text in double quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            letter if is_shown(letter) => out.push(letter),
            letter if u32::from(letter) <= 0xffff => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => {
                let _ = write!(out, "\\U{:08x}", u32::from(letter));
            }
        }
    }
    out.push('"');
    out
}

/// What every reader of YAML takes as it stands.
fn is_shown(letter: char) -> bool {
    !letter.is_control()
        && !matches!(
            letter,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{85}'
        )
}

/// A text behind a key or a dash, its further lines indented by `indent` columns.
pub fn scalar(text: &str, indent: usize) -> String {
    if !is_block(text) {
        return quoted(text);
    }
    let chomped = if text.ends_with('\n') { "|" } else { "|-" };
    let mut out = chomped.to_owned();
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out
}

/// Whether a block keeps every byte: its first line shows the indentation, nothing that
/// readers take for an end of line is in it, and not more than one line ends it.
fn is_block(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let ends_well = !text.ends_with("\n\n") && !text.ends_with(' ');
    text.trim_end_matches('\n').contains('\n')
        && ends_well
        && !first.is_empty()
        && !first.starts_with([' ', '\t'])
        && !text.lines().any(|line| line.trim().is_empty() && !line.is_empty())
        && text.chars().all(|letter| letter == '\n' || letter == '\t' || is_shown(letter))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn back(text: &str) -> String {
        let document = format!("a:\n  - {}\n", scalar(text, 4));
        let mut read: BTreeMap<String, Vec<String>> =
            serde_saphyr::from_str(&document).unwrap_or_else(|error| panic!("{error}\n{document}"));
        read.remove("a").expect("it is there").remove(0)
    }

    #[test]
    fn what_yaml_takes_for_something_else_stays_a_text() {
        let texts = [
            "yes",
            "1e3",
            "0o7",
            "null",
            "~",
            "",
            " ",
            "- a",
            "a: b",
            "#c",
            "'",
            "\"",
            "\\",
            "a\nb",
            "\n",
            "a\n",
            "a\nb\n",
            "a\n\nb\n",
            "a\nb\n\n",
            " a\nb",
            "a\n b\n",
            "a\r\nb",
            "\u{2028}",
            "\u{7f}",
            "\u{1f600}",
            "set -e\nexec vllm serve m \\\n  --x '{\"a\": \"$B\"}'\n",
            "a\n\tb",
            "a\n  \nb",
            "a \nb ",
        ];
        for text in texts {
            assert_eq!(back(text), text, "{text:?}");
        }
        assert!(scalar("set -e\nexec x\n", 4).starts_with("|\n    set -e\n"));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "(\\PC|[\n\t \u{0}-\u{1f}\u{7f}\u{85}\u{2028}\u{feff}#:'\"-]){0,40}") {
            prop_assert_eq!(back(&text), text);
        }
    }
}
