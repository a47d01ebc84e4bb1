//! Text from outside, made safe to match, store and print: an engine's log, a
//! server's answers, the names of models, what a tool prints. Escape sequences,
//! control characters and the characters that turn the direction of writing are
//! removed; everything else stays as it is. What a text means is not known here.

use std::borrow::Cow;
use std::fmt;

/// One line: line breaks and tabs become spaces.
pub fn plain(text: &str) -> Cow<'_, str> {
    cleaned(text, Breaks::Spaces)
}

/// Several lines: line breaks and tabs stay. `\r\n` and a lone `\r`, by which
/// progress bars write over themselves, end a line as `\n` does.
pub fn lines(text: &str) -> Cow<'_, str> {
    cleaned(text, Breaks::Kept)
}

/// `1 launch`, `2 launches`: a number of things that are named in the singular.
pub fn counted<N: Copy + PartialEq + From<u8> + fmt::Display>(count: N, one: &str) -> String {
    format!("{count} {}", plural(count, one))
}

/// `launch` of one, `launches` of any other number: the name alone, where a range is before it.
pub fn plural<N: Copy + PartialEq + From<u8>>(count: N, one: &str) -> String {
    let ending = match one {
        _ if count == N::from(1) => "",
        _ if one.ends_with("ch") || one.ends_with('s') => "es",
        _ => "s",
    };
    format!("{one}{ending}")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Breaks {
    Kept,
    Spaces,
}

const ESCAPE: char = '\u{1b}';
/// Ends an operating system command, in the way of xterm.
const BELL: char = '\u{7}';
/// The string terminator as one character; as two it is `ESC \`.
const TERMINATOR: char = '\u{9c}';

fn cleaned(text: &str, breaks: Breaks) -> Cow<'_, str> {
    let stays = |letter: char| match letter {
        '\n' | '\t' => breaks == Breaks::Kept,
        _ => !is_removed(letter),
    };
    let Some(first) = text.find(|letter| !stays(letter)) else { return Cow::Borrowed(text) };
    let mut clean = String::with_capacity(text.len());
    clean.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        rest = match letter {
            ESCAPE => after_escape(after),
            '\u{9b}' => after_control_sequence(after),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => after_string(after),
            '\r' | '\n' => {
                clean.push(if breaks == Breaks::Kept { '\n' } else { ' ' });
                if letter == '\r' { after.strip_prefix('\n').unwrap_or(after) } else { after }
            }
            '\t' => {
                clean.push(if breaks == Breaks::Kept { '\t' } else { ' ' });
                after
            }
            _ => {
                if !is_removed(letter) {
                    clean.push(letter);
                }
                after
            }
        };
    }
    Cow::Owned(clean)
}

/// Control characters, and Unicode's `Bidi_Control`.
fn is_removed(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// What follows a sequence that begins with ESC.
fn after_escape(text: &str) -> &str {
    match text.chars().next() {
        Some('[') => after_control_sequence(&text[1..]),
        Some('P' | 'X' | ']' | '^' | '_') => after_string(&text[1..]),
        // A sequence of one character, or of intermediate ones and a final one.
        Some(' '..='~') => {
            let rest = text.trim_start_matches(|letter| matches!(letter, ' '..='/'));
            rest.strip_prefix(|letter| matches!(letter, '0'..='~')).unwrap_or(rest)
        }
        _ => text,
    }
}

/// What follows the parameters and the final character of a control sequence (CSI).
fn after_control_sequence(text: &str) -> &str {
    let rest = text.trim_start_matches(|letter| matches!(letter, '0'..='?'));
    let rest = rest.trim_start_matches(|letter| matches!(letter, ' '..='/'));
    rest.strip_prefix(|letter| matches!(letter, '@'..='~')).unwrap_or(rest)
}

/// What follows a string (OSC, DCS, SOS, PM, APC). One that nothing ends on its
/// line was cut: only its introducer goes, so that no text is lost.
fn after_string(text: &str) -> &str {
    let end = text.find(|letter| matches!(letter, BELL | TERMINATOR | ESCAPE | '\n' | '\r'));
    let Some(end) = end else { return text };
    let rest = &text[end..];
    match rest.chars().next() {
        Some(letter @ (BELL | TERMINATOR)) => &rest[letter.len_utf8()..],
        Some(ESCAPE) => rest[1..].strip_prefix('\\').unwrap_or(text),
        _ => text,
    }
}

/// A text from outside in one line of at most `characters`, without what acts on a terminal.
pub(crate) fn brief(text: &str, characters: usize) -> String {
    // Cleaning removes at most as much as it reads: a long text need not be read to its end.
    let read = text.len().min(characters.saturating_mul(16));
    let beginning = plain(&text[..text.floor_char_boundary(read)]);
    let mut line: String = beginning.chars().take(characters).collect();
    if read < text.len() || beginning.chars().nth(characters).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_of_every_form_are_removed() {
        let cases = [
            // CSI, with parameters, private ones and intermediate characters; as one character.
            ("\u{1b}[0;36m(APIServer pid=1)\u{1b}[0;0m Traceback", "(APIServer pid=1) Traceback"),
            ("a\u{1b}[?25lb\u{1b}[1 qc\u{9b}31md", "abcd"),
            // OSC with BEL, with ST, with ST as one character.
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://a\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{9d}0;title\u{9c}text", "text"),
            // A device control string; single characters; a choice of character set.
            ("\u{1b}P1$r0m\u{1b}\\text", "text"),
            ("\u{1b}ca\u{1b}7b\u{1b}=c\u{1b}(Bd\u{1b}#8", "abcd"),
            // Cut off, or interrupted: no text is lost.
            ("a\u{1b}", "a"),
            ("a\u{1b}[31", "a"),
            ("a\u{1b}[31é", "aé"),
            ("\u{1b}]0;title never ended", "0;title never ended"),
            ("\u{1b}]0;never ended\nERROR", "0;never ended\nERROR"),
            ("\u{1b}\u{1b}[31mred", "red"),
            // Control characters and the direction of writing.
            ("a\0b\u{8}c\u{7f}d\u{85}e", "abcde"),
            ("user\u{202e}txt.exe\u{2066}\u{2069}\u{200f}", "usertxt.exe"),
            // Lines.
            ("one\r\ntwo\r 10%\r 20%\n\tthree", "one\ntwo\n 10%\n 20%\n\tthree"),
        ];
        for (from, to) in cases {
            assert_eq!(lines(from), to, "{from:?}");
        }
        assert_eq!(plain("a\r\nb\tc\u{1b}[1md\n"), "a b cd ");
    }

    /// Text with a good share of what is to be removed.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\u{1b}[".to_owned()),
            Just("\u{1b}]".to_owned()),
            Just("\u{1b}".to_owned()),
            Just("\u{1b}\\".to_owned()),
            "[\u{0}-\u{9f}]{1,3}",
            "[0-9;?]{0,3}[a-zA-Z]",
            "[\u{200e}-\u{202e}\u{2066}-\u{2069}é数 ]{1,3}",
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left_and_cleaning_twice_is_cleaning_once(text in hostile()) {
            let clean = lines(&text).into_owned();
            let acts = |letter: char| is_removed(letter) && letter != '\n' && letter != '\t';
            prop_assert!(!clean.contains(acts), "{clean:?}");
            prop_assert_eq!(lines(&clean), clean.as_str());
            let line = plain(&text).into_owned();
            prop_assert!(!line.contains(is_removed), "{line:?}");
            prop_assert_eq!(plain(&line), line.as_str());
            // Both remove the same.
            prop_assert_eq!(clean.replace(['\n', '\t'], " "), line);
        }

        #[test]
        fn plain_text_is_untouched_and_not_even_copied(text in "[ -~é数ß→\n\t]{0,80}") {
            prop_assert!(matches!(lines(&text), Cow::Borrowed(same) if same == text));
            let line = text.replace(['\n', '\t'], " ");
            prop_assert!(matches!(plain(&line), Cow::Borrowed(same) if same == line));
        }

        #[test]
        fn coloured_text_is_the_same_text(words in prop::collection::vec("[a-zé0-9=]{1,8}", 1..8)) {
            let coloured: Vec<String> =
                words.iter().map(|word| format!("\u{1b}[1;3{}m{word}\u{1b}[0m", word.len() % 8)).collect();
            let (clean, coloured) = (words.join(" "), coloured.join(" "));
            prop_assert_eq!(plain(&coloured), clean);
        }
    }

    #[test]
    fn a_number_of_things_has_its_plural() {
        let all = [(0u32, "launch"), (1, "launch"), (2, "launch"), (2, "repeat")];
        let said = all.map(|(count, one)| counted(count, one));
        assert_eq!(said, ["0 launches", "1 launch", "2 launches", "2 repeats"]);
    }
}
