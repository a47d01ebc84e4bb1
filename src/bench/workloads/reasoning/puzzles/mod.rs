//! Puzzles of the workload `reasoning`: made from a seed, each with exactly one
//! right answer, found by trying all of them. Text and checks alone; how they
//! are asked is in the workload.

mod code_review;
mod logic;
mod planning;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bench::prompt::generate::derive;
use crate::workload::ReasoningKind;

/// A puzzle and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// What is asked, with the form of the answer.
    pub prompt: String,
    /// The right answer in the form that was asked for, without `ANSWER:`.
    pub answer: String,
    /// How given answers are read.
    form: Form,
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Single letters in an order.
    Letters,
    /// Some of these names, in any order.
    Names(Vec<&'static str>),
    /// One whole number.
    Number,
}

/// The puzzle that a seed makes.
pub fn puzzle(kind: ReasoningKind, seed: u64) -> Puzzle {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    match kind {
        ReasoningKind::Planning => planning::puzzle(&mut random),
        ReasoningKind::Logic => logic::puzzle(&mut random),
        ReasoningKind::CodeReview => code_review::puzzle(&mut random),
    }
}

/// The puzzles of one repeat: the same for every configuration and launch.
pub fn of_repeat(kind: ReasoningKind, seed: u64, repeat: &str, count: u64) -> Vec<Puzzle> {
    let seed = seed.to_string();
    let one = |number: u64| {
        puzzle(kind, derive(&[&seed, repeat, "reasoning", kind.as_str(), &number.to_string()]))
    };
    (0..count).map(one).collect()
}

impl Puzzle {
    /// Whether `text`, a whole answer, ends in the right one.
    pub fn is_solved_by(&self, text: &str) -> bool {
        let Some(given) = answer_line(text) else { return false };
        match (self.form.read(&given), self.form.read(&self.answer)) {
            (Some(given), Some(right)) => given == right,
            _ => false,
        }
    }
}

/// What follows the last `ANSWER:`, or stands in the last `\boxed{}` where that
/// comes later or alone, whatever decorates it.
fn answer_line(text: &str) -> Option<String> {
    const MARK: &str = "ANSWER:";
    let plain: String = without_languages(text)
        .chars()
        .filter(|c| !matches!(c, '*' | '`' | '$' | '#' | '_'))
        .collect();
    // ASCII upper case keeps the positions of bytes.
    let marked = plain.to_ascii_uppercase().rfind(MARK).map(|at| at + MARK.len());
    if let Some((at, inside)) = boxed(&plain)
        && marked.is_none_or(|start| at >= start)
    {
        return Some(without_commands(inside));
    }
    let line = plain[marked?..].lines().find(|line| !line.trim().is_empty())?;
    Some(without_commands(line.trim().trim_end_matches('.')))
}

/// Without the words that open fenced blocks (```` ```text ````): no answers, but the
/// names of languages.
fn without_languages(text: &str) -> String {
    let without = |line: &str| match line.split_once("```") {
        Some((before, after)) if is_language(after.trim()) => format!("{before}\n"),
        _ => line.to_owned(),
    };
    text.split_inclusive('\n').map(without).collect()
}

fn is_language(word: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '#' | '_' | '.');
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(known)
}

/// The last `\boxed{}`: where it begins, and what it holds.
fn boxed(text: &str) -> Option<(usize, &str)> {
    const BOX: &str = "\\boxed{";
    let at = text.rfind(BOX)?;
    let inside = &text[at + BOX.len()..];
    let mut depth = 1;
    let end = inside.find(|c: char| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    Some((at, &inside[..end]))
}

/// Without the commands of TeX (`\text`, `\to`, `\,`), which are no words of the answer.
fn without_commands(tex: &str) -> String {
    let mut plain = String::new();
    let mut parts = tex.split('\\');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let name = part.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(part.len());
        plain.push(' ');
        plain.push_str(&part[name..]);
    }
    plain
}

impl Form {
    /// The answer as comparable words; `None` where it has another form.
    fn read(&self, text: &str) -> Option<Vec<String>> {
        let words: Vec<&str> =
            text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        match self {
            Self::Letters => {
                let letter = |word: &str| (word.len() == 1).then(|| word.to_ascii_uppercase());
                match words[..] {
                    // `BACDEF`: the letters, and nothing between them.
                    [one] => one.chars().map(|c| letter(c.encode_utf8(&mut [0; 4]))).collect(),
                    _ => words.into_iter().map(letter).collect(),
                }
            }
            Self::Names(known) => {
                let name = |word: &&str| {
                    let name = known.iter().find(|name| name.eq_ignore_ascii_case(word));
                    // Between names, and for an empty list.
                    let filler = ["and", "none"].iter().any(|w| w.eq_ignore_ascii_case(word));
                    match name {
                        Some(name) => Some(Some((*name).to_owned())),
                        None if filler => Some(None),
                        None => None,
                    }
                };
                let mut names: Vec<String> = words
                    .iter()
                    .map(name)
                    .collect::<Option<Vec<_>>>()?
                    .into_iter()
                    .flatten()
                    .collect();
                names.sort_unstable();
                names.dedup();
                Some(names)
            }
            Self::Number => {
                let mut numbers: Vec<u64> =
                    words.iter().filter_map(|word| word.parse().ok()).collect();
                // `7 (line 7)` names one line.
                numbers.dedup();
                match numbers[..] {
                    [number] => Some(vec![number.to_string()]),
                    _ => None,
                }
            }
        }
    }
}

/// The indices of a slice of `length` in every order.
fn orders(length: usize) -> impl Iterator<Item = Vec<usize>> {
    itertools::Itertools::permutations(0..length, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ReasoningKind; 3] =
        [ReasoningKind::Planning, ReasoningKind::Logic, ReasoningKind::CodeReview];

    #[test]
    fn the_right_answer_solves_it_and_the_same_seed_makes_it_again() {
        for kind in KINDS {
            for seed in 0..20 {
                let made = puzzle(kind, seed);
                assert_eq!(made, puzzle(kind, seed));
                assert_ne!(made.prompt, puzzle(kind, seed + 1).prompt);
                assert!(made.is_solved_by(&format!("So it is.\nANSWER: {}", made.answer)));
                assert!(!made.is_solved_by(&made.answer), "the form is asked for");
            }
        }
    }

    #[test]
    fn decoration_is_passed_over_and_another_answer_is_not() {
        let of =
            |answer: &str, form| Puzzle { prompt: String::new(), answer: answer.to_owned(), form };
        let order = of("C, A, B", Form::Letters);
        for right in [
            "**ANSWER: C, A, B**",
            "answer: c a b.",
            "Answer:\n\nC -> A -> B",
            "ANSWER: A\nNo, wait.\nANSWER: `C`, `A`, `B`\nThat is all.",
            r"ANSWER: \boxed{C, A, B}",
            r"**ANSWER:** $\boxed{\text{C}, \text{A}, \text{B}}$.",
            r"ANSWER: $$\boxed{C \to A \to B}$$",
            r"So it is \boxed{C,\,A,\,B}.",
            r"$\boxed{\text{ANSWER: C, A, B}}$",
            r"ANSWER: $\text{C}, \text{A}, \text{B}$",
            "ANSWER: CAB",
            r"\boxed{\text{CAB}}",
            "ANSWER:\n```text\nC, A, B\n```",
            "ANSWER: ```plaintext\nC, A, B\n```\nThat is all.",
            "ANSWER:\n```\nC, A, B\n```",
            "ANSWER: ```C, A, B```",
            "```python\norder()\n```\nANSWER: C, A, B",
        ] {
            assert!(order.is_solved_by(right), "{right}");
        }
        for wrong in [
            "ANSWER: C, B, A",
            "ANSWER: C, A",
            "ANSWER: CBA",
            "ANSWER: CA",
            "ANSWER: CABA",
            "ANSWER: CAB, C",
            "ANSWER: not CAB",
            "ANSWER:\n```text\nC, B, A\n```",
            "C, A, B",
            "ANSWER:",
            "",
            r"ANSWER: \boxed{C, B, A}",
            r"ANSWER: \boxed{C, A",
            r"\boxed{C, A, B}, no: ANSWER: C, B, A",
            r"\boxed{}",
        ] {
            assert!(!order.is_solved_by(wrong), "{wrong}");
        }
        let knights = of("Ada, Carl", Form::Names(vec!["Ada", "Bruno", "Carl"]));
        assert!(knights.is_solved_by("ANSWER: Carl and Ada"));
        assert!(knights.is_solved_by(r"ANSWER: \boxed{\text{Ada, Carl}}"));
        assert!(!knights.is_solved_by(r"ANSWER: \boxed{\text{not Ada, Carl}}"));
        for wrong in ["ANSWER: Ada", "ANSWER: Ada, Bruno, Carl", "ANSWER: not Ada, Carl"] {
            assert!(!knights.is_solved_by(wrong), "{wrong}");
        }
        let line = of("7", Form::Number);
        for right in [
            "ANSWER: line 7",
            r"ANSWER: \boxed{7}",
            r"\boxed{\text{line } 7}",
            "ANSWER: 7 (line 7)",
            "ANSWER: 7, line 7",
        ] {
            assert!(line.is_solved_by(right), "{right}");
        }
        for wrong in ["ANSWER: 17", "ANSWER: 7 or 8", "ANSWER: 7, 8, 7", "ANSWER: seven"] {
            assert!(!line.is_solved_by(wrong), "{wrong}");
        }
    }
}
