//! Whether a value that is shown is the one that was requested, however each is spelt.
//! The engine's state and an argument are compared differently: the engine chooses a value
//! for `auto`, an argument is passed as it was written. What follows from it is in
//! `effective` and `proof`.

use serde_json::{Map, Value};

use crate::flags::{Kind, canonical, is_unexpanded, lookup};
use crate::secret::MASK;

/// Whether the engine's state is the requested value; `None` where they cannot be compared.
pub(super) fn state(name: &str, requested: &Value, shown: &Value) -> Option<bool> {
    if is_choice(requested)
        || requested.is_array()
        || requested.is_object()
        || is_unexpanded(requested)
    {
        return None;
    }
    if is_masked(requested) || is_masked(shown) {
        return None;
    }
    Comparison { spelling: Spelling::of(name), printed: true, literal: false }
        .scalars(requested, shown)
}

/// Whether an argument as it was passed has the requested value. A `varied` value arrives
/// as it is written: no shell expands it.
pub(super) fn passed(
    name: &str,
    requested: &Value,
    argument: &Value,
    varied: bool,
) -> Option<bool> {
    Comparison { spelling: Spelling::of(name), printed: false, literal: varied }
        .values(requested, argument)
}

/// Whether an argument as Python prints it has the requested value. An object may have more
/// keys than were asked for, and a class that is printed by its name is not compared.
pub(super) fn echoed(name: &str, requested: &Value, shown: &Value, varied: bool) -> Option<bool> {
    Comparison { spelling: Spelling::of(name), printed: true, literal: varied }
        .values(requested, shown)
}

/// A flag's value in the one spelling by which two effective values are compared.
pub fn one_spelling(name: &str, value: &Value) -> String {
    if is_structure(value) {
        return canonical(value);
    }
    match Spelling::of(name) {
        Spelling::Number => {
            number(value).map_or_else(|| word(value), |number| canonical(&Value::from(number)))
        }
        Spelling::Word => word(value),
        Spelling::Dtype => dtype(value),
        Spelling::Exact | Spelling::Unstated => text(value),
    }
}

/// In which spellings a flag takes one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// `16384`, `16K`.
    Number,
    /// In any case: one of some words.
    Word,
    /// `half`, `torch.float16`.
    Dtype,
    /// In one only: paths and revisions differ by case, and `1e3` is not `1000`.
    Exact,
    /// The table does not say it: a part of a JSON value, a flag of another release.
    Unstated,
}

impl Spelling {
    fn of(name: &str) -> Self {
        match lookup(name).map(|flag| flag.kind) {
            Some(Kind::Text | Kind::List) => Self::Exact,
            Some(Kind::Json) => Self::Unstated,
            Some(Kind::Int | Kind::Float) => Self::Number,
            _ if name.ends_with("dtype") => Self::Dtype,
            Some(Kind::Bool | Kind::Choice) => Self::Word,
            None => Self::Unstated,
        }
    }
}

/// How a value is compared with what is shown of it.
#[derive(Clone, Copy)]
struct Comparison {
    spelling: Spelling,
    /// The server printed it, in its own spelling.
    printed: bool,
    /// No shell expands the requested value.
    literal: bool,
}

impl Comparison {
    fn values(self, requested: &Value, shown: &Value) -> Option<bool> {
        if canonical(requested) == canonical(shown) {
            return Some(true);
        }
        if is_masked(requested) || is_masked(shown) {
            return None;
        }
        if is_unexpanded(requested) && !self.literal
            || self.printed && (shown.is_null() || is_paraphrase(shown))
        {
            return None;
        }
        match (requested, shown) {
            (Value::Object(requested), Value::Object(shown)) => self.objects(requested, shown),
            (Value::Array(requested), Value::Array(shown)) => {
                if requested.len() != shown.len() {
                    return Some(false);
                }
                all(requested.iter().zip(shown).map(|(one, other)| self.values(one, other)))
            }
            // A list of one is written without brackets.
            (Value::Array(items), other) if items.len() == 1 && !is_structure(other) => {
                self.values(&items[0], other)
            }
            (other, Value::Array(items)) if items.len() == 1 && !is_structure(other) => {
                self.values(other, &items[0])
            }
            (Value::String(text), other) if is_structure(other) => {
                self.values(&structure(text)?, other)
            }
            (requested, Value::String(text)) if is_structure(requested) => {
                self.values(requested, &structure(text)?)
            }
            (requested, shown) if is_structure(requested) || is_structure(shown) => None,
            _ => self.scalars(requested, shown),
        }
    }

    fn objects(self, requested: &Map<String, Value>, shown: &Map<String, Value>) -> Option<bool> {
        if !self.printed && requested.len() != shown.len() {
            return Some(false);
        }
        all(requested.iter().map(|(key, value)| match shown.get(key) {
            Some(other) => self.values(value, other),
            // A release may print a key under another name.
            None if self.printed => None,
            None => Some(false),
        }))
    }

    fn scalars(self, requested: &Value, shown: &Value) -> Option<bool> {
        if self.spelling != Spelling::Exact && is_choice(requested) && is_choice(shown) {
            return Some(true);
        }
        match self.spelling {
            Spelling::Number => {
                Some(numbers(requested, shown).unwrap_or_else(|| word(requested) == word(shown)))
            }
            Spelling::Word => Some(word(requested) == word(shown)),
            Spelling::Dtype => Some(dtype(requested) == dtype(shown)),
            Spelling::Exact => Some(text(requested) == text(shown)),
            Spelling::Unstated if text(requested) == text(shown) => Some(true),
            // Two texts are two arguments, but the server may print a word in another case.
            Spelling::Unstated => {
                let are_texts = requested.is_string() && shown.is_string();
                let may_be_one = if are_texts {
                    self.printed && word(requested) == word(shown)
                } else {
                    numbers(requested, shown) == Some(true) || word(requested) == word(shown)
                };
                (!may_be_one).then_some(false)
            }
        }
    }
}

/// One that differs decides; then one that cannot be compared.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let parts: Vec<Option<bool>> = parts.collect();
    if parts.contains(&Some(false)) {
        return Some(false);
    }
    (!parts.contains(&None)).then_some(true)
}

fn is_structure(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

fn structure(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(is_structure)
}

/// The engine is to choose.
fn is_choice(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("auto"))
        || value.as_i64() == Some(-1)
}

/// A text of which a part is masked: the rest may be equal or not.
fn is_masked(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains(MASK))
}

/// Text that is not the value itself: what Python prints of an object (`<Mode.NONE: 0>`,
/// `Config(level=3)`), a masked value, a text with escapes.
fn is_paraphrase(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        text.starts_with('<') || text.ends_with(')') || text == "***" || text.contains('\\')
    })
}

/// Whether two numbers are equal; `None` where one is no number.
fn numbers(requested: &Value, shown: &Value) -> Option<bool> {
    let (one, other) = (number(requested)?, number(shown)?);
    Some((one - other).abs() <= 1e-9 * one.abs().max(other.abs()))
}

/// A number, also as vLLM's human-readable integers: `16k` is 16,000 and `16K` 16,384.
fn number(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.trim(),
        _ => return None,
    };
    let (digits, factor) = match text.char_indices().next_back()? {
        (at, unit) if unit.is_ascii_alphabetic() => {
            let power = i32::try_from("kmgt".find(unit.to_ascii_lowercase())? + 1).ok()?;
            let base: f64 = if unit.is_ascii_lowercase() { 1000.0 } else { 1024.0 };
            (&text[..at], base.powi(power))
        }
        _ => (text, 1.0),
    };
    // `inf` and `nan` are words, not numbers.
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.').then_some(())?;
    digits.parse::<f64>().ok().map(|number| number * factor)
}

/// A value as it is written.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| canonical(value), str::to_owned)
}

/// A word whose case does not matter, in one spelling.
fn word(value: &Value) -> String {
    text(value).to_ascii_lowercase()
}

/// A type of numbers in one spelling.
fn dtype(value: &Value) -> String {
    let word = word(value);
    match word.strip_prefix("torch.").unwrap_or(&word) {
        "half" => "float16".to_owned(),
        "float" => "float32".to_owned(),
        "fp8" => "fp8_e4m3".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spellings_of_one_value() {
        let cases = [
            ("gpu-memory-utilization", json!(0.9), json!(0.90), Some(true)),
            ("max-model-len", json!("16K"), json!(16384), Some(true)),
            ("max-model-len", json!("16k"), json!(16000), Some(true)),
            ("max-model-len", json!("25.6k"), json!(25600), Some(true)),
            ("max-model-len", json!("16k"), json!(16384), Some(false)),
            ("enable-prefix-caching", json!(true), json!("True"), Some(true)),
            ("dtype", json!("half"), json!("torch.float16"), Some(true)),
            ("kv-cache-dtype", json!("fp8"), json!("auto"), Some(false)),
            ("dtype", json!("auto"), json!("torch.bfloat16"), None),
            ("max-model-len", json!(-1), json!(8192), None),
            ("kv-cache-dtype", json!("${KV:-fp8}"), json!("fp8"), None),
            ("tokenizer", json!("/m/A"), json!("/m/a"), Some(false)),
            ("of-another-release", json!("x"), json!("X"), None),
            ("of-another-release", json!("x"), json!("y"), Some(false)),
        ];
        for (name, requested, shown, expected) in cases {
            assert_eq!(state(name, &requested, &shown), expected, "{name} {requested} {shown}");
        }
    }

    #[test]
    fn an_argument_is_compared_as_it_was_written() {
        let cases = [
            ("kv-cache-dtype", json!("auto"), json!("fp8"), Some(false)),
            ("max-model-len", json!("auto"), json!(-1), Some(true)),
            ("max-num-seqs", json!(32), json!("32"), Some(true)),
            ("max-num-seqs", json!(32), json!(16), Some(false)),
            ("served-model-name", json!(["a"]), json!("a"), Some(true)),
            ("served-model-name", json!(["a", "b"]), json!(["a"]), Some(false)),
            ("served-model-name", json!(["a"]), json!(["A"]), Some(false)),
            ("cudagraph-capture-sizes", json!([1, 2]), json!(["1", "2"]), Some(true)),
            ("speculative-config", json!({"n": 3}), json!({"n": 3.0}), Some(true)),
            ("speculative-config", json!({"n": 3}), json!({"n": 3, "m": 1}), Some(false)),
            ("speculative-config", json!({"n": 3}), json!("{\"n\": 3}"), Some(true)),
            ("speculative-config", json!({"n": 3}), json!("other"), None),
            ("speculative-config", json!({"m": "/m/A"}), json!({"m": "/m/a"}), Some(false)),
            ("max-num-seqs", json!("$N"), json!(7), None),
            ("tokenizer", json!("/m/A"), json!("/m/a"), Some(false)),
            ("revision", json!("1e3"), json!("1000"), Some(false)),
            ("revision", json!("1e3"), json!(1000), Some(false)),
            ("of-another-release", json!("1e3"), json!("1000"), Some(false)),
            ("of-another-release", json!(0.9), json!("0.90"), None),
        ];
        for (name, requested, argument, expected) in cases {
            let passed = passed(name, &requested, &argument, false);
            assert_eq!(passed, expected, "{name} {requested} {argument}");
        }
    }

    #[test]
    fn a_varied_value_is_not_expanded() {
        for (argument, expected) in [("$A/b", true), ("/a/b", false), ("$B/b", false)] {
            let (requested, argument) = (json!("$A/b"), json!(argument));
            assert_eq!(passed("chat-template", &requested, &argument, true), Some(expected));
            assert_eq!(echoed("chat-template", &requested, &argument, true), Some(expected));
            let fixed = (argument == requested).then_some(true);
            assert_eq!(passed("chat-template", &requested, &argument, false), fixed);
        }
    }

    #[test]
    fn what_python_prints_is_compared_as_far_as_it_can_be() {
        let cases = [
            ("speculative-config", json!({"n": 3}), json!({"n": 3, "other": null}), Some(true)),
            (
                "compilation-config",
                json!({"n": 3}),
                json!({"n": 8, "mode": "<Mode.NONE: 0>"}),
                Some(false),
            ),
            ("compilation-config", json!({"mode": 0}), json!({"mode": "<Mode.NONE: 0>"}), None),
            ("compilation-config", json!({"level": 3}), json!({"mode": 3}), None),
            ("compilation-config", json!({"level": 3}), json!("Config(level=3)"), None),
            ("optimization-level", json!(3), json!("<Level.O3: 3>"), None),
            ("optimization-level", json!(3), json!("3"), Some(true)),
            ("enable-prefix-caching", json!(true), json!(false), Some(false)),
            ("tokenizer", json!("x"), Value::Null, None),
            ("chat-template", json!("a\nb"), json!("a\\nb"), None),
            ("tokenizer", json!("key"), json!("***"), None),
            ("tokenizer", json!("/srv/production/m"), json!("/srv/***/m"), None),
            ("tokenizer", json!("/m/A"), json!("/m/a"), Some(false)),
            ("compilation-config", json!({"m": "full"}), json!({"m": "FULL"}), None),
        ];
        for (name, requested, shown, expected) in cases {
            let echoed = echoed(name, &requested, &shown, false);
            assert_eq!(echoed, expected, "{name} {requested} {shown}");
        }
    }

    #[test]
    fn equal_values_have_one_spelling() {
        for (name, one, other) in [
            ("max-num-seqs", json!(16), json!("16")),
            ("max-model-len", json!("16k"), json!(16000)),
            ("dtype", json!("half"), json!("torch.float16")),
            ("enable-prefix-caching", json!(true), json!("True")),
            ("speculative-config", json!({"b": 1.0, "a": 2}), json!({"a": 2, "b": 1})),
        ] {
            assert_eq!(one_spelling(name, &one), one_spelling(name, &other));
        }
        for (name, one, other) in [
            ("max-num-seqs", json!(16), json!(32)),
            ("tokenizer", json!("/m/A"), json!("/m/a")),
            ("revision", json!("1e3"), json!("1000")),
            ("revision", json!("half"), json!("float16")),
            ("of-another-release", json!("X"), json!("x")),
        ] {
            assert_ne!(one_spelling(name, &one), one_spelling(name, &other));
        }
    }
}
