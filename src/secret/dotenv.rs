//! A file of variables as compose reads it: `NAME=value`, quotes, comments. Only the
//! pairs come out; which of them are secrets is not known here.

/// Line (from 1), name and value of each variable of a file.
pub(super) fn pairs(text: &str) -> Vec<(usize, &str, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    let (mut number, mut counted) = (1, 0);
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        number += text[counted..at].matches('\n').count();
        counted = at;
        let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = behind;
        let line = line.trim_start();
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim_start);
        let value = value.trim();
        let quoted = value.chars().next().filter(|it| matches!(it, '"' | '\''));
        let value = match quoted {
            Some(quote) => {
                // A quoted value may have several lines.
                let first = text.len() - behind.len();
                let opened = text[..first].rfind(value).map_or(first, |at| at + 1);
                match closed(&text[opened..], quote) {
                    Some((value, length)) => {
                        let end = opened + length;
                        if end > first {
                            rest = text[end..].split_once('\n').map_or("", |(_, behind)| behind);
                        }
                        value
                    }
                    None => value.to_owned(),
                }
            }
            None => bare(value).to_owned(),
        };
        found.push((number, name, value));
    }
    found
}

/// A value without quotes: it ends where a comment begins.
fn bare(value: &str) -> &str {
    let mut before = ' ';
    for (at, letter) in value.char_indices() {
        if letter == '#' && before.is_whitespace() {
            return value[..at].trim_end();
        }
        before = letter;
    }
    value
}

/// A text up to the quote that closes it, and its length in the file; escapes count
/// only between double quotes.
fn closed(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            return Some((value, at));
        }
        if letter == '\\' && quote == '"' {
            match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            }
        } else {
            value.push(letter);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_compose_reads_them() {
        let text = "# A=1\nA=hf_1  # required for production\nexport B = 'x # y' # z\r\nC=\"a \\\"b\\\" \nc\"\n\
                    D=a#b\nE=\nF= # c\nnothing\nG=\"open\nH=1";
        let expected = [
            ("A", "hf_1"),
            ("B", "x # y"),
            ("C", "a \"b\" \nc"),
            ("D", "a#b"),
            ("E", ""),
            ("F", ""),
            ("G", "\"open"),
            ("H", "1"),
        ];
        let read = pairs(text);
        let read: Vec<(&str, &str)> =
            read.iter().map(|(_, name, value)| (*name, &**value)).collect();
        assert_eq!(read, expected);
        let lines: Vec<usize> = pairs(text).iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 6, 7, 8, 10, 11]);
    }
}
