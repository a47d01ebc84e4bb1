//! Degenerate text: loops, runs, empty and broken answers. What is judged is how often an
//! answer says again what it said, never whether it is right, so any language, code, tables
//! and lists may come. Bounds stand above everything that 500 pieces of such texts do
//! (`tests/fixtures/gate`) and below every planted loop of period 1 token to 60 words.
//!
//! - **Repeated 4-grams**: `rep-n = 1 - |unique n-grams| / |n-grams|` over words (Welleck et
//!   al. 2020, "Neural Text Generation with Unlikelihood Training"), n = 4, of the whole text
//!   and of its last 128 words. It sees loops that are not exact.
//! - **Period**: white space made one space each, a stretch is a loop of period `p` where
//!   `s[i] == s[i - p]` throughout. A text that ends in one fails from 280 characters (200
//!   where p < 8) or 80 words, and 1.75 periods; a loop that ends before it, from 400 and 3.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::period::{Loop, find_loop};
use crate::clean;

/// Characters that are judged at most: the last ones, for a loop goes on to the end.
const MOST_CHARACTERS: usize = 32_000;
/// Characters of the evidence.
const EVIDENCE: usize = 120;
/// Fewer words have no share of 4-grams.
const LEAST_WORDS: usize = 64;
/// Words of the end that have a share of their own.
const LAST_WORDS: usize = 128;
/// Natural pieces reach 0.63 (a table's equal cells) and 0.61.
const MOST_REPEATED: f64 = 0.7;
const MOST_REPEATED_AT_END: f64 = 0.75;
/// Rules of comments and tables are 80 long.
const LONGEST_RUN: usize = 100;
/// Columns of wide tables are filled up with spaces.
const LONGEST_BLANK_RUN: usize = 200;
/// Of a run that is most of a short answer.
const LONGEST_RUN_OF_HALF: usize = 20;
/// Equal lines in a row; empty ones too.
const MOST_EQUAL_LINES: usize = 20;
/// Characters that could not be decoded, as a share; one broken emoji is not yet an end.
const MOST_BROKEN: f64 = 0.005;
const FEW_BROKEN: u64 = 4;
const MOST_BROKEN_OF_FEW: f64 = 0.1;

/// A check of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Check {
    /// Nothing but white space and invisible characters.
    #[serde(rename = "empty")]
    Empty,
    /// Bytes that are no UTF-8.
    #[serde(rename = "broken_text")]
    BrokenText,
    /// One character again and again.
    #[serde(rename = "run_of_characters")]
    RunOfCharacters,
    /// One line again and again, or empty ones.
    #[serde(rename = "run_of_lines")]
    RunOfLines,
    /// A stretch that repeats exactly.
    #[serde(rename = "period")]
    Period,
    /// Too few different sequences of four words.
    #[serde(rename = "repeated_4grams")]
    RepeatedFourGrams,
}

impl Check {
    /// Every check, in the order in which a text is judged.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::BrokenText,
        Self::RunOfCharacters,
        Self::RunOfLines,
        Self::Period,
        Self::RepeatedFourGrams,
    ];

    /// The name in files and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::BrokenText => "broken_text",
            Self::RunOfCharacters => "run_of_characters",
            Self::RunOfLines => "run_of_lines",
            Self::Period => "period",
            Self::RepeatedFourGrams => "repeated_4grams",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is degenerate. `Display` says it in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The first check that failed, in the order of [`Check::ALL`].
    pub check: Check,
    /// What was found: a share for 4-grams and broken text, else a count.
    pub found: f64,
    /// What it may be at most.
    pub bound: f64,
    /// Characters after which the text repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<usize>,
    /// The part that shows it, at most about 120 characters on one line, without what acts
    /// on a terminal.
    pub evidence: String,
}

impl Verdict {
    fn new(check: Check, found: f64, bound: f64, evidence: &str) -> Self {
        Self { check, found, bound, period: None, evidence: excerpt(evidence) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, bound, .. } = self;
        match self.check {
            Check::Empty if *found == 0.0 => f.write_str("the answer is empty"),
            Check::Empty => write!(f, "the answer is {found} characters of white space"),
            Check::BrokenText => write!(
                f,
                "{:.1}% of the characters are broken, more than {:.1}%",
                found * 100.0,
                bound * 100.0
            ),
            Check::RunOfCharacters => {
                write!(f, "one character {found} times in a row, more than {bound}")
            }
            Check::RunOfLines => write!(f, "one line {found} times in a row, more than {bound}"),
            Check::Period => write!(
                f,
                "{found} characters repeat themselves every {}, {bound} or more are a loop",
                self.period.unwrap_or_default()
            ),
            Check::RepeatedFourGrams => write!(
                f,
                "{:.0}% of the 4-grams are repeated, more than {:.0}%",
                found * 100.0,
                bound * 100.0
            ),
        }
    }
}

/// Judges a text that came whole. `None`: nothing is wrong with it.
pub fn judge(text: &str) -> Option<Verdict> {
    judge_answer("", text, 0)
}

/// Judges an answer with its thinking, which counts as answer: it is empty only where both
/// are. Each is judged alone, for an answer may well say again what was thought. `broken` is
/// the count of invalid bytes or replaced characters that the client saw.
pub fn judge_answer(thinking: &str, text: &str, broken: u64) -> Option<Verdict> {
    if is_blank(thinking) && is_blank(text) && broken == 0 {
        let blanks = (thinking.chars().count() + text.chars().count()) as f64;
        return Some(Verdict::new(Check::Empty, blanks, 0.0, ""));
    }
    // Thinking that an answer came after has ended, and a draft may be said twice in it.
    let parts = [(thinking, is_blank(text)), (text, true)];
    broken_text(thinking, text, broken).or_else(|| {
        let mut said = parts.into_iter().filter(|(part, _)| !is_blank(part));
        said.find_map(|(part, goes_on)| judge_part(part, goes_on))
    })
}

/// The larger of the shares of repeated 4-grams of a text and of its end; `None` for few
/// words.
pub fn repeated_4grams(text: &str) -> Option<f64> {
    let words = words(last_characters(text));
    let shares = [&words[..], last_words(&words)].map(share_of_repeated);
    shares.into_iter().flatten().reduce(f64::max)
}

/// Judged answers of a load, where a configuration may loop on some only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Answers judged.
    pub judged: u64,
    /// Of them, those that are degenerate.
    pub degenerate: u64,
    /// The first few verdicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Verdict>,
}

impl Sample {
    const EXAMPLES: usize = 3;

    /// Counts one more answer.
    pub fn add(&mut self, verdict: Option<Verdict>) {
        self.judged += 1;
        if let Some(verdict) = verdict {
            self.degenerate += 1;
            if self.examples.len() < Self::EXAMPLES {
                self.examples.push(verdict);
            }
        }
    }

    /// The share of degenerate answers; `None` where nothing was judged.
    pub fn share(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.degenerate as f64 / self.judged as f64)
    }
}

/// Judges a thinking or an answer with something in it.
fn judge_part(text: &str, goes_on: bool) -> Option<Verdict> {
    let text = last_characters(text);
    run_of_characters(text)
        .or_else(|| run_of_lines(text))
        .or_else(|| period(text, goes_on))
        .or_else(|| four_grams(text))
}

fn broken_text(thinking: &str, text: &str, told: u64) -> Option<Verdict> {
    let whole = || thinking.chars().chain(text.chars());
    let is_replaced = |letter: &char| *letter == char::REPLACEMENT_CHARACTER;
    let characters = whole().count() as u64;
    // A limit of tokens cuts a character of up to four bytes: that is nobody's fault.
    let ends_cut = text.chars().rev().take(3).take_while(is_replaced).count() as u64;
    let replaced = whole().filter(is_replaced).count() as u64;
    let inside = if replaced == characters { replaced } else { replaced - ends_cut };
    let broken = inside.max(told.saturating_sub(ends_cut));
    let share = broken as f64 / characters.max(broken).max(1) as f64;
    let bound = if broken > FEW_BROKEN { MOST_BROKEN } else { MOST_BROKEN_OF_FEW };
    (share > bound).then(|| {
        let part = if thinking.contains(char::REPLACEMENT_CHARACTER) { thinking } else { text };
        let first = part.find(char::REPLACEMENT_CHARACTER).unwrap_or_default();
        let before = part[..first].char_indices().rev().nth(40).map_or(0, |(at, _)| at);
        Verdict::new(Check::BrokenText, share, bound, &part[before..])
    })
}

fn run_of_characters(text: &str) -> Option<Verdict> {
    let characters = text.chars().count();
    let mut letters = text.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        let mut run = 1;
        while letters.next_if(|(_, next)| *next == letter).is_some() {
            run += 1;
        }
        // Empty lines are counted as lines.
        let bound = match letter {
            '\n' | '\r' => continue,
            _ if letter.is_whitespace() => LONGEST_BLANK_RUN,
            _ if run * 2 > characters => LONGEST_RUN_OF_HALF,
            _ => LONGEST_RUN,
        };
        if run > bound {
            let found = run as f64;
            return Some(Verdict::new(Check::RunOfCharacters, found, bound as f64, &text[start..]));
        }
    }
    None
}

fn run_of_lines(text: &str) -> Option<Verdict> {
    // Empty lines between equal ones are part of the loop; alone they are one.
    let (mut equal, mut empty) = (1, 0);
    let mut last: Option<&str> = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            empty += 1;
        } else {
            empty = 0;
            equal = if last == Some(line) { equal + 1 } else { 1 };
            last = Some(line);
        }
        let found = equal.max(empty);
        if found > MOST_EQUAL_LINES {
            let rest = text.lines().map(str::trim);
            let count = if empty > equal { longest_gap(rest) } else { longest_equal(rest) };
            let evidence = last.unwrap_or_default();
            let bound = MOST_EQUAL_LINES as f64;
            return Some(Verdict::new(Check::RunOfLines, count as f64, bound, evidence));
        }
    }
    None
}

fn longest_gap<'a>(lines: impl Iterator<Item = &'a str>) -> usize {
    let runs = lines.scan(0, |run, line| {
        *run = if line.is_empty() { *run + 1 } else { 0 };
        Some(*run)
    });
    runs.max().unwrap_or_default()
}

fn longest_equal<'a>(lines: impl Iterator<Item = &'a str>) -> usize {
    let runs = lines.filter(|line| !line.is_empty()).scan(("", 0), |(last, run), line| {
        *run = if *last == line { *run + 1 } else { 1 };
        *last = line;
        Some(*run)
    });
    runs.max().unwrap_or_default()
}

fn period(text: &str, goes_on: bool) -> Option<Verdict> {
    let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    let mut letters: Vec<char> = Vec::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !letters.is_empty() {
            letters.push(' ');
        }
        letters.extend(word.chars());
    }
    let Loop { period, start, end, bound } = find_loop(&letters, goes_on)?;
    let stretch: String = letters[start..end].iter().take(EVIDENCE + 1).collect();
    let found = (end - start) as f64;
    let verdict = Verdict::new(Check::Period, found, bound as f64, &stretch);
    Some(Verdict { period: Some(period), ..verdict })
}

fn four_grams(text: &str) -> Option<Verdict> {
    let words = words(text);
    let parts = [(&words[..], MOST_REPEATED), (last_words(&words), MOST_REPEATED_AT_END)];
    parts.into_iter().find_map(|(words, bound)| {
        let share = share_of_repeated(words).filter(|share| *share > bound)?;
        let evidence = most_frequent(words).join(" ");
        Some(Verdict::new(Check::RepeatedFourGrams, share, bound, &evidence))
    })
}

/// `rep-4` of the words; `None` for few.
fn share_of_repeated(words: &[String]) -> Option<f64> {
    if words.len() < LEAST_WORDS {
        return None;
    }
    let distinct: HashSet<&[String]> = words.windows(4).collect();
    Some(1.0 - distinct.len() as f64 / (words.len() - 3) as f64)
}

/// The 4-gram that comes most often; of equals the first.
fn most_frequent(words: &[String]) -> &[String] {
    let mut counts: HashMap<&[String], usize> = HashMap::new();
    for gram in words.windows(4) {
        *counts.entry(gram).or_default() += 1;
    }
    let frequent = words.windows(4).rev().max_by_key(|gram| counts[gram]);
    frequent.unwrap_or_default()
}

/// Words in lower case: runs of letters and digits, and each character of a script that
/// puts no spaces between words.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    for letter in text.chars() {
        if !letter.is_alphanumeric() {
            is_open = false;
            continue;
        }
        let stands_alone = has_no_spaces(letter);
        match words.last_mut() {
            Some(word) if is_open && !stands_alone => word.extend(letter.to_lowercase()),
            _ => words.push(letter.to_lowercase().collect()),
        }
        is_open = !stands_alone;
    }
    words
}

/// Chinese and Japanese, Thai, Lao, Burmese and Khmer.
fn has_no_spaces(letter: char) -> bool {
    matches!(
        letter,
        '\u{e00}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{3040}'..='\u{30ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

fn last_words(words: &[String]) -> &[String] {
    &words[words.len().saturating_sub(LAST_WORDS)..]
}

fn last_characters(text: &str) -> &str {
    let first = text.char_indices().rev().nth(MOST_CHARACTERS - 1);
    &text[first.map_or(0, |(at, _)| at)..]
}

/// Nothing to see: white space, control characters, characters without width.
fn is_blank(text: &str) -> bool {
    let is_invisible = |letter: char| {
        letter.is_whitespace()
            || letter.is_control()
            || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    text.chars().all(is_invisible)
}

/// What a person may read of it, on one line.
fn excerpt(text: &str) -> String {
    let end = text.char_indices().nth(EVIDENCE).map_or(text.len(), |(at, _)| at);
    let shown = clean::plain(&text[..end]);
    let shown = shown.trim();
    if end < text.len() { format!("{shown}…") } else { shown.to_owned() }
}

#[cfg(test)]
mod tests;
