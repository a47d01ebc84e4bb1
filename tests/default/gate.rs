//! Gates on texts that are not made for them: 500 pieces of the public domain without an
//! alarm (`tests/fixtures/gate`), and loops of every length planted in their words.

use std::fs;
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use vllm_grid::gate::repetition::{judge, judge_answer};

#[derive(Deserialize)]
struct Piece {
    from: String,
    text: String,
}

const KINDS: [&str; 5] = ["english", "french", "code", "tables", "lists"];

fn pieces(kind: &str) -> Vec<Piece> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gate");
    let text = fs::read_to_string(folder.join(format!("{kind}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn five_hundred_pieces_raise_no_alarm() {
    let (mut judged, mut alarms) = (0, Vec::new());
    for kind in KINDS {
        for Piece { from, text } in pieces(kind) {
            judged += 1;
            let characters: Vec<char> = text.chars().collect();
            // Whole, and cut anywhere, as a limit of tokens does it.
            for percent in [100, 90, 75, 50, 25] {
                let cut: String = characters[..characters.len() * percent / 100].iter().collect();
                if let Some(verdict) = judge(&cut) {
                    alarms.push(format!("{from}, {percent}%: {verdict}: {}", verdict.evidence));
                }
            }
            // An answer may say again what was thought.
            assert_eq!(judge_answer(&text, &text, 0), judge(&text), "{from}");
        }
    }
    assert_eq!(judged, 500);
    assert!(alarms.is_empty(), "{} alarms:\n{}", alarms.len(), alarms.join("\n"));
}

/// Words of an answer; a loop is what is left of them.
const ANSWER: usize = 220;
const PERIODS: [usize; 13] = [1, 2, 3, 5, 8, 13, 20, 30, 40, 45, 50, 55, 60];
/// Periods of one token that are no word.
const TOKENS: [&str; 13] =
    ["the", "7", "0", "!", ".", ",", "-", "|", "}", "é", "的", "\u{1f600}", "\u{1f44d}\u{1f3fd}"];

/// A loop of `period` words of a corpus after `start` others.
fn planted(random: &mut ChaCha8Rng, words: &[&str], period: usize, start: usize) -> Vec<String> {
    let mut some = |count: usize| -> Vec<String> {
        let first = random.random_range(0..words.len() - count);
        words[first..first + count].iter().map(|word| (*word).to_owned()).collect()
    };
    let mut answer = some(start);
    let unit = if period == 1 {
        vec![TOKENS[random.random_range(0..TOKENS.len())].to_owned()]
    } else {
        some(period)
    };
    answer.extend(unit.iter().cycle().take(ANSWER - start).cloned());
    answer
}

/// The answer as text: words in one line, each period on its own, or the loop's tokens
/// without anything between.
fn written(answer: &[String], start: usize, period: usize, form: &str) -> String {
    let (before, repeated) = answer.split_at(start);
    let repeated: Vec<String> = match form {
        "lines" => repeated.chunks(period).map(|unit| unit.join(" ") + "\n").collect(),
        "glued" => repeated.to_vec(),
        _ => repeated.iter().map(|word| format!("{word} ")).collect(),
    };
    format!("{} {}", before.join(" "), repeated.concat())
}

#[test]
fn every_planted_loop_is_found() {
    let mut random = ChaCha8Rng::seed_from_u64(20_26);
    let (mut planted_loops, mut missed) = (0, Vec::new());
    for (kind, _) in KINDS.into_iter().flat_map(|kind| [(kind, 1), (kind, 2), (kind, 3)]) {
        let pieces = pieces(kind);
        let words: Vec<&str> = pieces.iter().flat_map(|it| it.text.split_whitespace()).collect();
        for period in PERIODS {
            for start in [0, ANSWER / 10, ANSWER * 3 / 10, ANSWER / 2] {
                for form in ["line", "lines", "glued"] {
                    if form == "glued" && period > 1 {
                        continue;
                    }
                    let answer = planted(&mut random, &words, period, start);
                    let text = written(&answer, start, period, form);
                    planted_loops += 1;
                    if judge(&text).is_none() {
                        missed.push(format!("{kind}, {period} after {start}, {form}: {text}"));
                    }
                }
            }
        }
    }
    assert!(planted_loops > 1500, "{planted_loops}");
    assert!(missed.is_empty(), "{} missed:\n{}", missed.len(), missed.join("\n\n"));
}
