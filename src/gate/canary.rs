//! The canary: short prompts in prose, code, arithmetic, lists and JSON, and what is made of
//! their answers. A loop, an empty or a broken answer fails; whether an answer is right can
//! be told roughly and is only reported, for models of random weights answer nonsense and
//! are baselines in CI. Prompts ask for nothing that repeats itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::repetition::{self, words};
use super::{Against, Finding, Gate, GateReport};
use crate::clean;

/// Tokens of an answer at most.
pub const MAX_TOKENS: u32 = 300;

/// Share of the answers that are right, of those where it can be told.
pub const RIGHT: &str = "canary.right";
/// The largest share of repeated 4-grams of an answer.
pub const REPEATED_4GRAMS: &str = "canary.repeated_4grams";
/// Answers that were judged.
pub const ANSWERS: &str = "canary.answers";

/// Characters of a wrong answer that a finding shows.
const EVIDENCE: usize = 120;

/// One prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its name in findings, e.g. `french`.
    pub name: &'static str,
    /// What the user asks.
    pub text: &'static str,
    answer: Right,
}

/// What a right answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    English,
    French,
    /// A definition in Python of this name.
    Function(&'static str),
    Number(&'static str),
    /// All of them, in this order.
    Items(&'static [&'static str]),
    /// An object with these keys at least.
    Json(&'static [&'static str]),
}

/// All prompts, in the order in which they are asked.
pub const PROMPTS: [Prompt; 8] = [
    Prompt {
        name: "english",
        text: "Explain to a curious twelve-year-old why the tides rise and fall. Write about 150 words of plain prose, without headings or lists.",
        answer: Right::English,
    },
    Prompt {
        name: "english-story",
        text: "Write the opening of a short story, about 150 words: a lighthouse keeper finds a letter that was posted forty years ago.",
        answer: Right::English,
    },
    Prompt {
        name: "french",
        text: "Explique en français, en 150 mots environ et sans liste, comment le pain lève et pourquoi on le laisse reposer.",
        answer: Right::French,
    },
    Prompt {
        name: "french-letter",
        text: "Écris une lettre courte, 150 mots environ, à un voisin pour le remercier d'avoir gardé le chat et arrosé le jardin pendant les vacances.",
        answer: Right::French,
    },
    Prompt {
        name: "code",
        text: "Write a Python function `merge_intervals(intervals)` that merges overlapping closed intervals given as pairs of integers and returns them sorted. Code only, with a short docstring.",
        answer: Right::Function("merge_intervals"),
    },
    Prompt {
        name: "arithmetic",
        text: "A bookseller receives 37 boxes of 48 books each and sells 95 books on the first day. How many books are left? Show the steps briefly and end with the number.",
        answer: Right::Number("1681"),
    },
    Prompt {
        name: "list",
        text: "List the planets of the solar system from the Sun outwards, one per line, each with one short fact that is true of no other planet.",
        answer: Right::Items(&[
            "mercury", "venus", "earth", "mars", "jupiter", "saturn", "uranus", "neptune",
        ]),
    },
    Prompt {
        name: "json",
        text: "Give a JSON object about Paris with the keys \"name\", \"country\", \"river\", \"founded\" and \"monuments\", the last one a list of four strings. JSON only.",
        answer: Right::Json(&["name", "country", "river", "founded", "monuments"]),
    },
];

/// At which temperature a prompt was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temperature {
    /// 0: the most likely tokens.
    Zero,
    /// The server's default.
    Default,
}

impl Temperature {
    /// Both, in the order in which they are asked.
    pub const ALL: [Self; 2] = [Self::Zero, Self::Default];

    /// In a finding.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Zero => "at temperature 0",
            Self::Default => "at the server's temperature",
        }
    }
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<'a> {
    /// To which prompt.
    pub prompt: &'a Prompt,
    /// Asked at which temperature.
    pub temperature: Temperature,
    /// The reasoning text; empty where there is none.
    pub thinking: &'a str,
    /// The answer proper.
    pub text: &'a str,
    /// Invalid bytes that the client saw.
    pub broken: u64,
    /// Whether it was cut at the limit of tokens.
    pub was_cut: bool,
}

/// Judges the answers of a launch; `findings` are of the requests without one.
pub fn judge(answers: &[Answer<'_>], mut findings: Vec<Finding>, against: &Against) -> GateReport {
    let (mut right, mut told) = (0_u32, 0_u32);
    let mut repeated: Option<f64> = None;
    for answer in answers {
        let at = answer.temperature.words();
        let name = answer.prompt.name;
        let shares = [answer.thinking, answer.text].map(repetition::repeated_4grams);
        repeated = shares.into_iter().flatten().chain(repeated).reduce(f64::max);
        let verdict = repetition::judge_answer(answer.thinking, answer.text, answer.broken);
        if let Some(verdict) = &verdict {
            let what = format!("{at}, {verdict}");
            let evidence = verdict.evidence.clone();
            findings.push(Finding::failing(name, verdict.check.as_str(), what, evidence));
        }
        let Some(is_right) = answer.prompt.right(answer.text, answer.was_cut) else { continue };
        told += 1;
        right += u32::from(is_right);
        // What loops is not told twice.
        if !is_right && verdict.is_none() {
            let what = format!("{at}, {}", answer.prompt.missing());
            findings.push(Finding::reported(
                name,
                "right",
                what,
                clean::brief(answer.text.trim(), EVIDENCE),
            ));
        }
    }
    let mut metrics = BTreeMap::from([(ANSWERS.to_owned(), answers.len() as f64)]);
    if told > 0 {
        metrics.insert(RIGHT.to_owned(), f64::from(right) / f64::from(told));
    }
    if let Some(repeated) = repeated {
        metrics.insert(REPEATED_4GRAMS.to_owned(), repeated);
    }
    GateReport::judged(Gate::Canary, findings, metrics, against)
}

impl Prompt {
    /// Whether an answer is right, roughly; `None` where that cannot be told: nothing came
    /// but thinking, or what is missing may have been cut off.
    pub fn right(&self, answer: &str, was_cut: bool) -> Option<bool> {
        if answer.trim().is_empty() {
            return None;
        }
        let is_right = match self.answer {
            Right::English => is_language(answer, ENGLISH, FRENCH),
            Right::French => is_language(answer, FRENCH, ENGLISH),
            Right::Function(name) => defines(answer, name),
            Right::Number(number) => numbers(answer).iter().any(|found| found == number),
            Right::Items(items) => has_in_order(answer, items),
            Right::Json(keys) => has_keys(answer, keys),
        };
        (is_right || !was_cut).then_some(is_right)
    }

    /// What a wrong answer lacks.
    fn missing(&self) -> String {
        match self.answer {
            Right::English => "the answer is not in English".to_owned(),
            Right::French => "the answer is not in French".to_owned(),
            Right::Function(name) => format!("the answer does not define `{name}`"),
            Right::Number(number) => format!("the answer does not have the number {number}"),
            Right::Items(_) => "the answer does not have all items in their order".to_owned(),
            Right::Json(_) => "the answer is no JSON object with the keys asked for".to_owned(),
        }
    }
}

const ENGLISH: &[&str] = &[
    "the", "of", "and", "to", "in", "a", "is", "that", "it", "was", "for", "with", "as", "he",
    "she", "on", "are", "by", "this", "from", "be", "which", "at", "had", "his", "her", "you",
    "they", "its",
];
const FRENCH: &[&str] = &[
    "le", "la", "les", "de", "des", "du", "un", "une", "et", "est", "que", "qui", "en", "dans",
    "pour", "par", "sur", "il", "elle", "se", "au", "aux", "ce", "cette", "l", "d", "vous", "nous",
    "je", "ne", "pas",
];

/// One word in ten is a frequent one of the language (prose has one in three), and fewer are
/// of the other.
fn is_language(answer: &str, own: &[&str], other: &[&str]) -> bool {
    let words = words(answer);
    let of = |list: &[&str]| words.iter().filter(|word| list.contains(&&***word)).count();
    let (own, other) = (of(own), of(other));
    own * 10 >= words.len() && own > other
}

fn defines(answer: &str, name: &str) -> bool {
    answer.match_indices("def ").any(|(at, word)| {
        let rest = answer[at + word.len()..].trim_start();
        rest.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('('))
    })
}

/// Whole numbers of a text, without what separates their thousands or follows their point.
fn numbers(answer: &str) -> Vec<String> {
    let mut numbers: Vec<String> = Vec::new();
    let (mut rest, mut is_open) = (answer, false);
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        let digits = after.len() - after.trim_start_matches(|it: char| it.is_ascii_digit()).len();
        if letter.is_ascii_digit() {
            match numbers.last_mut() {
                Some(number) if is_open => number.push(letter),
                _ => numbers.push(letter.to_string()),
            }
            is_open = true;
        } else {
            // `1,681`, `1 681`, `1.681`: three digits follow.
            is_open = is_open
                && digits == 3
                && matches!(letter, ',' | '.' | '\'' | '’' | ' ' | '\u{a0}' | '\u{202f}');
        }
        rest = after;
    }
    numbers
}

fn has_in_order(answer: &str, items: &[&str]) -> bool {
    let words = words(answer);
    let mut rest = words.iter();
    items.iter().all(|item| rest.any(|word| word == item))
}

fn has_keys(answer: &str, keys: &[&str]) -> bool {
    let (Some(start), Some(end)) = (answer.find('{'), answer.rfind('}')) else { return false };
    let object = answer.get(start..=end).unwrap_or_default();
    let Ok(Value::Object(object)) = serde_json::from_str(object) else { return false };
    keys.iter().all(|key| object.contains_key(*key))
}

#[cfg(test)]
mod tests {
    use super::super::{BaselineFailures, Effect, GateVerdict};
    use super::*;

    const TIDES: &str = "The Moon pulls on the water of the sea, and the water that is nearest to it rises. Twice a day the Earth turns under that bulge, and so the tide comes in and goes out again.";
    const PAIN: &str = "Le pain lève parce que la levure mange le sucre de la farine et rend un gaz. Il faut laisser reposer la pâte pour que ce gaz gonfle les bulles.";

    fn prompt(name: &str) -> &'static Prompt {
        PROMPTS.iter().find(|prompt| prompt.name == name).unwrap()
    }

    fn right(name: &str, answer: &str) -> Option<bool> {
        prompt(name).right(answer, false)
    }

    fn answer<'a>(name: &str, text: &'a str) -> Answer<'a> {
        Answer {
            prompt: prompt(name),
            temperature: Temperature::Zero,
            thinking: "",
            text,
            broken: 0,
            was_cut: false,
        }
    }

    #[test]
    fn names_of_prompts_are_distinct_and_prompts_do_not_loop() {
        for (number, prompt) in PROMPTS.iter().enumerate() {
            assert!(PROMPTS[..number].iter().all(|other| other.name != prompt.name));
            assert_eq!(repetition::judge(prompt.text), None, "{}", prompt.name);
            // A server that says the question again has not answered it; its language is right.
            let is_prose = matches!(prompt.answer, Right::English | Right::French);
            assert_eq!(prompt.right(prompt.text, false), Some(is_prose), "{}", prompt.name);
        }
    }

    #[test]
    fn prose_is_right_in_its_language() {
        for (name, own, other) in [
            ("english", TIDES, PAIN),
            ("english-story", TIDES, PAIN),
            ("french", PAIN, TIDES),
            ("french-letter", PAIN, TIDES),
        ] {
            assert_eq!(right(name, own), Some(true), "{name}");
            assert_eq!(right(name, other), Some(false), "{name}");
            assert_eq!(
                right(name, "lorem ipsum dolor sit amet consectetur"),
                Some(false),
                "{name}"
            );
            assert_eq!(right(name, "潮の満ち引きは月の引力による。"), Some(false), "{name}");
        }
    }

    #[test]
    fn numbers_are_found_however_they_are_written() {
        for text in
            ["1681", "1,681 books", "**1 681**", "= 1681.", "1681.0", "1\u{202f}681", "1.681"]
        {
            assert_eq!(right("arithmetic", text), Some(true), "{text}");
        }
        for text in ["1776 - 95 = 1671", "16810", "11681", "1,681,000", "no idea", "16 81"] {
            assert_eq!(right("arithmetic", text), Some(false), "{text}");
        }
    }

    #[test]
    fn code_lists_and_objects_are_recognised() {
        let code = "```python\ndef merge_intervals(intervals):\n    return sorted(intervals)\n```";
        assert_eq!(right("code", code), Some(true));
        assert_eq!(right("code", "def merge_intervals_of(x): pass"), Some(false));
        assert_eq!(right("code", "Call merge_intervals(x)."), Some(false));

        let planets =
            "1. Mercury\n2. Venus\n3. Earth\n4. Mars\n5. Jupiter\n6. Saturn\n7. Uranus\n8. Neptune";
        assert_eq!(right("list", planets), Some(true));
        assert_eq!(right("list", &planets.replace("Venus", "Vulcan")), Some(false));
        assert_eq!(right("list", &planets.replace("Mars", "Jupiter")), Some(false));

        let paris = r#"{"name": "Paris", "country": "France", "river": "Seine", "founded": null, "monuments": []}"#;
        assert_eq!(right("json", paris), Some(true));
        assert_eq!(right("json", &format!("Here it is:\n```json\n{paris}\n```\n")), Some(true));
        assert_eq!(right("json", &paris.replace("river", "stream")), Some(false));
        assert_eq!(right("json", &paris[..40]), Some(false));
        assert_eq!(right("json", "} nothing {"), Some(false));
    }

    #[test]
    fn what_was_cut_or_only_thought_is_not_told() {
        assert_eq!(prompt("json").right("{\"name\": \"Par", true), None);
        assert_eq!(prompt("arithmetic").right("37 x 48 = 1776, less 95 is 1681", true), Some(true));
        assert_eq!(prompt("list").right(" \n", false), None);
    }

    #[test]
    fn wrong_is_reported_and_a_loop_fails() {
        let mut thought = answer("arithmetic", "");
        thought.thinking = "37 times 48 is 1776";
        thought.was_cut = true;
        let answers =
            [answer("english", TIDES), answer("french", TIDES), answer("list", "Pluto"), thought];
        let report = judge(&answers, Vec::new(), &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Passed);
        let reported: Vec<_> =
            report.findings.iter().map(|it| (&*it.prompt, &*it.check, it.effect)).collect();
        assert_eq!(
            reported,
            [("french", "right", Effect::Reported), ("list", "right", Effect::Reported)]
        );
        assert_eq!(report.findings[1].evidence, "Pluto");
        assert!((report.metrics[RIGHT] - 1.0 / 3.0).abs() < 1e-9);
        assert!((report.metrics[ANSWERS] - 4.0).abs() < 1e-9);

        let wall = "!".repeat(300);
        let report =
            judge(&[answer("english", &wall), answer("french", "")], Vec::new(), &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Failed);
        let failures: Vec<_> = report.failures().map(|it| (&*it.prompt, &*it.check)).collect();
        assert_eq!(failures, [("english", "run_of_characters"), ("french", "empty")]);
        assert_eq!(
            report.findings[0].what,
            "at temperature 0, one character 300 times in a row, more than 20"
        );
    }

    #[test]
    fn a_baseline_of_random_weights_fails_nobody_on_the_same_prompts() {
        let newlines = "\n".repeat(300);
        let baseline = judge(&[answer("english", &newlines)], Vec::new(), &Against::Itself);
        assert_eq!(baseline.verdict, GateVerdict::Passed);
        let against = Against::Baseline(BaselineFailures::of([&baseline]));
        let wall = "!".repeat(300);
        assert_eq!(
            judge(&[answer("english", &wall)], Vec::new(), &against).verdict,
            GateVerdict::Passed
        );
        assert_eq!(
            judge(&[answer("french", &wall)], Vec::new(), &against).verdict,
            GateVerdict::Failed
        );
    }
}
