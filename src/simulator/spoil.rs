//! Chats that are not answered as they should be: what comes in place of the answer, and
//! which chats are hit, by number, prompt and load. Degenerate text is made in `degenerate`,
//! errors in `http`.

use super::degenerate::Degenerate;
use super::text::{mix, uniform};
use super::tokens::Message;

/// Separates the draw of a share from that of the answer.
const SHARE: u64 = 0x0073_6861_7265;

/// The forms, for the help.
pub const HELP: &str = "\
Kinds of answers that are not good (--sim-spoil, and `spoil` of a grid's `faults`):
  loop        a phrase again and again: period=TOKENS (default 1)
  wall        one character again and again: character=X (default !; newline,
              space, comma)
  empty       no text
  broken      U+FFFD as one token of every=N (default 2)
  broken-bytes  the same as lone bytes, no UTF-8
  nonsense    words of no language, no loop
  error, unavailable, unauthorized, not-found   500, 503, 401, 404
  garbage, reset                                no JSON; a cut connection
Texts but `empty` begin after=TOKENS of the answer. A chat is hit that fits all of these:
  longer-than=TOKENS  the prompt has more tokens
  word=WORD           the prompt has this word
  share=0.3           this share of the prompts, by their hash
  in-flight=N         so many requests or more are under way with it
  from=N,count=N      of the chats that fit, so many from the Nth
Several --sim-spoil: the first that hits counts.";

/// Chats that are not answered as they should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoiled {
    /// What comes in place of the answer.
    pub by: Spoil,
    /// The first of the chats that fit that is hit, from 1; the proof of readiness is one.
    pub from: u64,
    /// How many are hit.
    pub count: u64,
    /// Only prompts of more tokens fit.
    pub longer_than: u64,
    /// Only prompts with this word fit; in lower case.
    pub word: Option<String>,
    /// This share of the prompts fits; always the same ones.
    pub share: f64,
    /// Only chats fit with which so many are under way.
    pub in_flight: u64,
}

/// What comes in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// No answer.
    Failure(Failure),
    /// An answer of degenerate text.
    Text(Degenerate),
}

/// How a chat fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 503, as while an engine starts again.
    Unavailable,
    /// 500, as of a request that the engine cannot process.
    Error,
    /// 401.
    Unauthorized,
    /// 404, as for a model of another name.
    NotFound,
    /// Events that are no JSON.
    Garbage,
    /// The connection is cut within the answer.
    Reset,
}

/// The words for [`Failure`].
const FAILURES: [(&str, Failure); 6] = [
    ("unavailable", Failure::Unavailable),
    ("error", Failure::Error),
    ("unauthorized", Failure::Unauthorized),
    ("not-found", Failure::NotFound),
    ("garbage", Failure::Garbage),
    ("reset", Failure::Reset),
];

/// The options of every kind.
const CONDITIONS: [&str; 6] = ["from", "count", "longer-than", "word", "share", "in-flight"];

/// What decides whether a chat is hit.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// Tokens of its prompt.
    pub prompt: &'a [u32],
    /// Requests under way, this one included.
    pub in_flight: u64,
    /// The server's seed.
    pub seed: u64,
}

impl Spoil {
    fn named(word: &str) -> Option<Self> {
        let failure = FAILURES.iter().find(|(known, _)| *known == word);
        let failure = failure.map(|(_, failure)| Self::Failure(*failure));
        failure.or_else(|| Degenerate::named(word).map(Self::Text))
    }

    fn options(&self) -> &'static [&'static str] {
        match self {
            Self::Text(text) => text.options(),
            Self::Failure(_) => &[],
        }
    }
}

impl Spoiled {
    /// Reads `KIND[,OPTION=VALUE]...`, as [`HELP`] has them.
    ///
    /// # Errors
    /// What is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let word = parts.next().unwrap_or_default();
        let by = Spoil::named(word).ok_or_else(|| {
            let failures = FAILURES.iter().map(|(word, _)| *word);
            let known: Vec<&str> = Degenerate::WORDS.into_iter().chain(failures).collect();
            format!("'{word}' is not known (known: {})", known.join(", "))
        })?;
        let mut spoiled = Self {
            by,
            from: 1,
            count: u64::MAX,
            longer_than: 0,
            word: None,
            share: 1.0,
            in_flight: 0,
        };
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let known: Vec<&str> = CONDITIONS.iter().chain(by.options()).copied().collect();
            if !known.contains(&name) {
                return Err(format!("`{name}` is not known of `{word}`: {}", known.join(", ")));
            }
            if !spoiled.set(name, value) {
                return Err(format!("invalid value: '{part}'"));
            }
        }
        Ok(spoiled)
    }

    /// Sets a known option; false where the value is none.
    fn set(&mut self, name: &str, value: &str) -> bool {
        let number = |to: &mut u64| {
            value.parse().is_ok_and(|number: u64| {
                *to = number;
                true
            })
        };
        match name {
            "from" => number(&mut self.from),
            "count" => number(&mut self.count),
            "longer-than" => number(&mut self.longer_than),
            "in-flight" => number(&mut self.in_flight) && self.in_flight > 0,
            "share" => {
                let share = value.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0);
                self.share = share.unwrap_or(self.share);
                share.is_some()
            }
            "word" => {
                self.word = Some(value.to_lowercase());
                !value.is_empty() && value.chars().all(char::is_alphanumeric)
            }
            _ => match &mut self.by {
                Spoil::Text(text) => text.set(name, value),
                Spoil::Failure(_) => false,
            },
        }
    }

    /// Whether a chat is one of those that are counted.
    pub fn fits(&self, asked: &Asked<'_>) -> bool {
        asked.prompt.len() as u64 > self.longer_than
            && asked.in_flight >= self.in_flight
            && (self.share >= 1.0 || asked.draw() < self.share)
            && self
                .word
                .as_ref()
                .is_none_or(|word| asked.messages.iter().any(|message| message.has_word(word)))
    }

    /// Whether the nth chat that fits is hit, from 1.
    pub fn hits(&self, nth: u64) -> bool {
        (self.from..self.from.saturating_add(self.count)).contains(&nth)
    }
}

impl Asked<'_> {
    /// From 0 to 1, the same for the same prompt.
    fn draw(&self) -> f64 {
        let tokens = self.prompt.iter().map(|token| u64::from(*token));
        uniform(tokens.fold(self.seed, mix), SHARE)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::simulator::degenerate::Kind;
    use crate::simulator::tokens::tokenize;

    fn spoiled(text: &str) -> Spoiled {
        Spoiled::parse(text).expect("known")
    }

    /// Whether a chat of these words fits.
    fn fits(spoiled: &Spoiled, words: &str, in_flight: u64) -> bool {
        let message = |content| Message { role: "user".into(), content, tool_calls: None };
        let parts = json!([{"type": "text", "text": words}]);
        let messages = [message(parts), message(json!("Go on."))];
        let prompt = tokenize(words);
        spoiled.fits(&Asked { messages: &messages, prompt: &prompt, in_flight, seed: 1 })
    }

    #[test]
    fn chats_are_hit_by_number() {
        let spoiled = spoiled("garbage,from=3,count=2,longer-than=100");
        assert_eq!((spoiled.by, spoiled.longer_than), (Spoil::Failure(Failure::Garbage), 100));
        let hit: Vec<u64> = (1..9).filter(|nth| spoiled.hits(*nth)).collect();
        assert_eq!(hit, [3, 4]);
        assert!(self::spoiled("error").hits(u64::MAX - 1));
    }

    #[test]
    fn chats_fit_by_their_words_length_and_load() {
        let word = spoiled("loop,word=Tides");
        assert!(fits(&word, "Why do the tides, twice a day, rise?", 1));
        assert!(!fits(&word, "Why is it tideless?", 1));
        assert!(fits(&spoiled("loop,word=go"), "in another message", 1));
        let long = spoiled("error,longer-than=3");
        assert!(fits(&long, "one two three four", 1) && !fits(&long, "one two three", 1));
        let load = spoiled("wall,in-flight=4");
        assert_eq!([3, 4, 5].map(|count| fits(&load, "hello", count)), [false, true, true]);
        let both = spoiled("loop,word=tides,in-flight=2");
        assert!(fits(&both, "tides", 2) && !fits(&both, "tides", 1) && !fits(&both, "moon", 2));
    }

    #[test]
    fn a_share_of_the_prompts_fits_always_the_same_ones() {
        let third = spoiled("loop,share=0.3");
        let fitting = || (0..1000).filter(|number| fits(&third, &format!("number {number}"), 1));
        let first: Vec<i32> = fitting().collect();
        assert!((250..350).contains(&first.len()), "{}", first.len());
        assert_eq!(first, fitting().collect::<Vec<i32>>());
        assert!(fits(&spoiled("loop,share=1"), "hello", 1));
    }

    #[test]
    fn degenerate_texts_have_their_options_and_faults_are_named() {
        let text = Degenerate { kind: Kind::Loop { period: 12 }, after: 30 };
        assert_eq!(spoiled("loop,period=12,after=30,share=0.5").by, Spoil::Text(text));
        for (bad, named) in [
            ("nonsence", "'nonsence' is not known (known: loop, wall"),
            ("", "'' is not known"),
            ("error,from=x", "invalid value: 'from=x'"),
            ("error,till=3", "`till` is not known of `error`: from, count"),
            ("error,period=3", "`period` is not known of `error`"),
            ("wall,period=3", "`period` is not known of `wall`"),
            ("loop,period=0", "invalid value: 'period=0'"),
            ("loop,share=0", "invalid value: 'share=0'"),
            ("loop,share=1.1", "invalid value: 'share=1.1'"),
            ("loop,share=nan", "invalid value: 'share=nan'"),
            ("loop,in-flight=0", "invalid value: 'in-flight=0'"),
            ("loop,word=two-words", "invalid value: 'word=two-words'"),
            ("loop,word", "invalid value: 'word'"),
            ("wall,character=", "invalid value: 'character='"),
        ] {
            let error = Spoiled::parse(bad).expect_err(bad);
            assert!(error.starts_with(named), "{error}");
        }
    }

    #[test]
    fn the_help_has_every_kind_and_option() {
        let options = ["after", "period", "character", "every"];
        let kinds = FAILURES.iter().map(|(word, _)| *word).chain(Degenerate::WORDS);
        for word in kinds.chain(CONDITIONS).chain(options) {
            assert!(HELP.contains(word), "{word}");
        }
    }
}
