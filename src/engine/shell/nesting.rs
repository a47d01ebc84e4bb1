//! What the parser of scripts cannot take, found before it is asked: it calls itself for each
//! level of nesting, so that a hostile script would exhaust the stack, and it panics at a
//! file descriptor's number that is none. An estimate from the letters, which knows no
//! quotes: no script that a person writes comes near the limits.

/// Levels that a script may have.
const MAX_LEVELS: usize = 64;
/// Parentheses that may be open at once: the parser's time doubles with each.
const MAX_PARENTHESES: usize = 8;
/// Bytes of a script at most.
const MAX_BYTES: usize = 1 << 20;

/// Digits before a redirection at most: a number of 32 bits.
const MAX_DIGITS: usize = 9;

/// The line, from 1, from which a script is too deep or too long to be parsed.
pub(super) fn too_deep(source: &str) -> Option<usize> {
    let line = |at: usize| source[..at].matches('\n').count() + 1;
    if source.len() > MAX_BYTES {
        return Some(line(source.floor_char_boundary(MAX_BYTES)));
    }
    let (mut parentheses, mut brackets, mut compounds, mut start) = (0_usize, 0_usize, 0_usize, 0);
    let (mut begins_command, mut in_comment, mut before) = (true, false, '\n');
    for (at, letter) in source.char_indices() {
        if in_comment && letter != '\n' {
            continue;
        }
        in_comment = letter == '#' && before.is_whitespace();
        match letter {
            '(' => parentheses += 1,
            ')' => parentheses = parentheses.saturating_sub(1),
            '{' | '[' => brackets += 1,
            '}' | ']' => brackets = brackets.saturating_sub(1),
            '<' | '>' => {
                let digits = source[..at].bytes().rev().take_while(u8::is_ascii_digit);
                if digits.take(MAX_DIGITS + 1).count() > MAX_DIGITS {
                    return Some(line(at));
                }
            }
            _ => {}
        }
        if !letter.is_ascii_alphanumeric() && letter != '_' {
            let word = &source[start..at];
            match word {
                "if" | "while" | "until" | "for" | "select" | "case" if begins_command => {
                    compounds += 1;
                }
                "fi" | "done" | "esac" => compounds = compounds.saturating_sub(1),
                _ => {}
            }
            let opens = ["if", "then", "else", "elif", "while", "until", "do"].contains(&word);
            begins_command = match letter {
                '\n' | ';' | '&' | '|' | '(' | '{' | '`' | '!' => true,
                _ if word.is_empty() => begins_command && letter.is_whitespace(),
                _ => begins_command && opens,
            };
            start = at + letter.len_utf8();
        }
        if brackets + compounds > MAX_LEVELS || parentheses > MAX_PARENTHESES {
            return Some(line(at));
        }
        before = letter;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_is_found_with_its_line() {
        for level in ["(", "{ ", "$(", "${a:-", "if true; then ", "while a; do ", "[["] {
            let deep = format!("echo\n{}", level.repeat(MAX_LEVELS + 1));
            assert_eq!(too_deep(&deep), Some(2), "{level}");
        }
        assert_eq!(too_deep("a\nb 5523378670>c"), Some(2));
        assert_eq!(too_deep(&"a\n".repeat(MAX_BYTES)), Some(MAX_BYTES / 2 + 1));
    }

    #[test]
    fn what_is_just_within_the_limits_is_parsed_in_time() {
        for (level, times) in [
            ("( ", MAX_PARENTHESES),
            ("$(", MAX_PARENTHESES),
            ("{ ", MAX_LEVELS),
            ("if a; then ", MAX_LEVELS),
            ("${a:-", MAX_LEVELS),
        ] {
            let started = std::time::Instant::now();
            let script = format!("{}vllm serve m", level.repeat(times));
            let _ = crate::engine::shell::Script::read(&script, &[]);
            // Milliseconds; one level more of what doubles the time would not end at all.
            assert!(started.elapsed().as_secs() < 20, "{level}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn what_is_long_and_not_deep_is_not() {
        for line in [
            "# if for while case: what this is for (or not\n",
            "a) b \"$(c $(d $((1 + (2 + (3))))))\" ;;\n",
            "echo if for (x) case\n",
            "if a; then b; elif c; then d; else e; fi\n",
            "for i in 1 2; do case $i in 1) a ;; esac; done\n",
            "while true; do until [ -n \"${A:-}\" ]; do :; done; done\n",
        ] {
            assert_eq!(too_deep(&line.repeat(500)), None, "{line}");
        }
    }
}
