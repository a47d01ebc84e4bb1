//! Text as broken engines write it: loops, walls of one character, nothing, broken UTF-8,
//! words of no language. It stands in place of `text`'s words, token by token, so that
//! neither the pace nor the count of tokens changes. Which chats are answered so is in
//! `spoil`. As with scripts, the prefix cache keeps the words, not what was said.

use super::text::{mix, word};

/// Tokens of a loop's phrase that is a sentence with a full stop.
const SENTENCE: u64 = 6;

/// Syllables of words of no language; three are one token.
const SYLLABLES: [&str; 32] = [
    "ba", "ke", "lo", "mi", "nu", "po", "ra", "si", "tu", "va", "ze", "fo", "gi", "hu", "ja", "do",
    "be", "ku", "la", "me", "no", "pi", "re", "su", "ta", "vi", "zo", "fa", "ge", "ho", "ju", "da",
];

/// A degenerate text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Degenerate {
    /// What comes.
    pub kind: Kind,
    /// Tokens of the answer, thinking included, that come before it.
    pub after: u64,
}

/// What comes in place of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A phrase of so many tokens again and again, without an end.
    Loop {
        /// Tokens of the phrase.
        period: u64,
    },
    /// One character again and again, without an end.
    Wall {
        /// The character.
        character: char,
    },
    /// No text at all.
    Empty,
    /// Characters that cannot be decoded among the words.
    Broken {
        /// One token of so many is one.
        every: u64,
        /// A lone byte on the wire in place of U+FFFD.
        is_raw: bool,
    },
    /// Words of no language, never a loop.
    Nonsense,
}

impl Degenerate {
    /// A kind by its word, as it is without options.
    pub fn named(word: &str) -> Option<Self> {
        let kind = match word {
            "loop" => Kind::Loop { period: 1 },
            "wall" => Kind::Wall { character: '!' },
            "empty" => Kind::Empty,
            "broken" => Kind::Broken { every: 2, is_raw: false },
            "broken-bytes" => Kind::Broken { every: 2, is_raw: true },
            "nonsense" => Kind::Nonsense,
            _ => return None,
        };
        Some(Self { kind, after: 0 })
    }

    /// The words that [`Self::named`] takes.
    pub const WORDS: [&str; 6] = ["loop", "wall", "empty", "broken", "broken-bytes", "nonsense"];

    /// The options of this kind.
    pub fn options(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Loop { .. } => &["after", "period"],
            Kind::Wall { .. } => &["after", "character"],
            Kind::Empty => &[],
            Kind::Broken { .. } => &["after", "every"],
            Kind::Nonsense => &["after"],
        }
    }

    /// Sets one of [`Self::options`]; false where the value is none.
    pub fn set(&mut self, option: &str, value: &str) -> bool {
        if !self.options().contains(&option) {
            return false;
        }
        let number = |least: u64| value.parse().ok().filter(|number: &u64| *number >= least);
        let set =
            |to: &mut u64, number: Option<u64>| number.inspect(|number| *to = *number).is_some();
        match (option, &mut self.kind) {
            ("after", _) => set(&mut self.after, number(0)),
            ("period", Kind::Loop { period }) => set(period, number(1)),
            ("every", Kind::Broken { every, .. }) => set(every, number(1)),
            ("character", Kind::Wall { character }) => {
                character_of(value).inspect(|read| *character = *read).is_some()
            }
            _ => false,
        }
    }

    /// Tokens of the answer where the words alone do not decide: a loop has no end.
    pub fn length(&self) -> Option<u64> {
        match self.kind {
            Kind::Loop { .. } | Kind::Wall { .. } => Some(u64::MAX),
            // Nothing at all is one token: the end.
            Kind::Empty => Some(1),
            Kind::Broken { .. } | Kind::Nonsense => None,
        }
    }

    /// The text of an answer's token; `None` where it is that of the words.
    pub fn token(&self, seed: u64, index: u64) -> Option<String> {
        let at = index.checked_sub(self.after)?;
        let spaced = |word: &str| if index == 0 { word.to_owned() } else { format!(" {word}") };
        match self.kind {
            Kind::Loop { period } => {
                let place = at % period;
                let ends = period >= SENTENCE && place == period - 1;
                // Not the words before it: the phrase is one of its own.
                Some(if ends { ".".to_owned() } else { spaced(word(!seed, place)) })
            }
            Kind::Wall { character } => Some(character.to_string()),
            Kind::Empty => Some(String::new()),
            Kind::Broken { every, .. } => {
                at.is_multiple_of(every).then(|| char::REPLACEMENT_CHARACTER.to_string())
            }
            Kind::Nonsense => Some(spaced(&no_word(mix(!seed, index)))),
        }
    }

    /// A text as its bytes on the wire.
    pub fn on_wire(&self, text: String) -> Vec<u8> {
        if !matches!(self.kind, Kind::Broken { is_raw: true, .. }) {
            return text.into_bytes();
        }
        let parts: Vec<&[u8]> =
            text.split(char::REPLACEMENT_CHARACTER).map(str::as_bytes).collect();
        // The first byte of a character of two.
        parts.join(&0xc3)
    }
}

/// One character, or the name of one that separates options.
fn character_of(text: &str) -> Option<char> {
    match text {
        "space" => return Some(' '),
        "newline" => return Some('\n'),
        "comma" => return Some(','),
        _ => {}
    }
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn no_word(drawn: u64) -> String {
    let syllables = 2 + (drawn >> 60) % 2;
    let syllable = |at: u64| SYLLABLES[((drawn >> (8 * at)) % SYLLABLES.len() as u64) as usize];
    (0..syllables).map(syllable).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::simulator::text;
    use crate::simulator::tokens::tokenize;

    fn text_of(kind: &str, options: &[(&str, &str)], tokens: u64) -> String {
        let mut text = Degenerate::named(kind).expect("known");
        for (option, value) in options {
            assert!(text.set(option, value), "{option}={value}");
        }
        let word = |index| text.token(7, index).unwrap_or_else(|| text::token(7, index));
        (0..tokens).map(word).collect()
    }

    #[test]
    fn a_loop_has_its_period_after_its_beginning_and_a_token_is_a_token() {
        for (after, period) in [(0, 1), (30, 1), (10, 2), (50, 5), (20, 12), (0, 60)] {
            let options = [("after", &*format!("{after}")), ("period", &*format!("{period}"))];
            let text = text_of("loop", &options, 300);
            let tokens = tokenize(&text);
            assert_eq!(tokens.len(), 300);
            let plain = tokenize(&(0..300).map(|index| text::token(7, index)).collect::<String>());
            assert_eq!(tokens[..after], plain[..after], "{after}");
            // The first word of an answer has no space before it.
            let looped = &tokens[after.max(1)..];
            assert!(looped.iter().zip(&looped[period..]).all(|(a, b)| a == b), "{text}");
            let shorter = |p: &usize| looped.iter().zip(&looped[*p..]).all(|(a, b)| a == b);
            assert_eq!((1..period).find(shorter), None, "{text}");
        }
    }

    #[test]
    fn a_wall_is_one_character_and_nothing_is_nothing() {
        assert_eq!(text_of("wall", &[], 5), "!!!!!");
        assert_eq!(text_of("wall", &[("character", "newline")], 3), "\n\n\n");
        assert_eq!(text_of("wall", &[("character", "é")], 3), "ééé");
        assert!(text_of("wall", &[("after", "2")], 4).ends_with("!!"));
        assert_eq!(text_of("empty", &[], 9), "");
    }

    #[test]
    fn broken_characters_are_lone_bytes_on_the_wire_where_that_is_asked() {
        let text = text_of("broken", &[("every", "3"), ("after", "1")], 10);
        assert_eq!(text.matches(char::REPLACEMENT_CHARACTER).count(), 3, "{text}");
        let of = |word| Degenerate::named(word).expect("known");
        assert_eq!(of("broken").on_wire(text.clone()), text.clone().into_bytes());
        let raw = of("broken-bytes").on_wire(text.clone());
        assert!(std::str::from_utf8(&raw).is_err());
        assert_eq!(String::from_utf8_lossy(&raw), text);
    }

    #[test]
    fn nonsense_does_not_repeat_itself() {
        let text = text_of("nonsense", &[], 300);
        assert_eq!(tokenize(&text).len(), 300);
        let words: Vec<&str> = text.split(' ').collect();
        let pairs: HashSet<&[&str]> = words.windows(2).collect();
        assert!(pairs.len() > 295, "{text}");
    }

    #[test]
    fn a_kind_takes_its_own_options_alone() {
        for kind in Degenerate::WORDS {
            let text = Degenerate::named(kind).expect("known");
            for option in ["after", "period", "character", "every"] {
                let takes = { text }.set(option, "1");
                assert_eq!(takes, text.options().contains(&option), "{kind}: {option}");
            }
        }
        let set =
            |kind: &str, option, value| Degenerate::named(kind).expect("known").set(option, value);
        assert!(!set("loop", "period", "0") && !set("loop", "after", "x"));
        assert!(!set("wall", "character", "ab") && !set("wall", "character", ""));
        assert!(!set("broken", "every", "0"));
    }
}
