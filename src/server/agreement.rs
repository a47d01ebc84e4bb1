//! Whether a value that is shown is the one that was requested, however each is spelt.
//! The engine's state and an argument are compared differently: the engine chooses a value
//! for `auto`, an argument is passed as it was written. What follows from it is in
//! `effective` and `proof`.

use serde_json::{Map, Value};

use crate::flags::canonical;
use crate::secret::MASK;

/// Whether the engine's state is the requested value; `None` where they cannot be compared.
pub(super) fn state(requested: &Value, shown: &Value) -> Option<bool> {
    if is_choice(requested) || requested.is_array() || requested.is_object() || expands(requested) {
        return None;
    }
    if is_masked(requested) || is_masked(shown) {
        return None;
    }
    Some(scalars(requested, shown))
}

/// Whether an argument as it was passed has the requested value.
pub(super) fn passed(requested: &Value, argument: &Value) -> Option<bool> {
    values(requested, argument, false)
}

/// Whether an argument as Python prints it has the requested value. An object may have more
/// keys than were asked for, and a class that is printed by its name is not compared.
pub(super) fn echoed(requested: &Value, shown: &Value) -> Option<bool> {
    values(requested, shown, true)
}

/// A value in the one spelling by which two effective values are compared.
pub fn one_spelling(value: &Value) -> String {
    match number(value) {
        Some(number) => canonical(&Value::from(number)),
        None if value.is_array() || value.is_object() => canonical(value),
        None => word(value),
    }
}

fn values(requested: &Value, shown: &Value, printed: bool) -> Option<bool> {
    if canonical(requested) == canonical(shown) {
        return Some(true);
    }
    if is_masked(requested) || is_masked(shown) {
        return None;
    }
    if expands(requested) || printed && (shown.is_null() || is_paraphrase(shown)) {
        return None;
    }
    match (requested, shown) {
        (Value::Object(requested), Value::Object(shown)) => objects(requested, shown, printed),
        (Value::Array(requested), Value::Array(shown)) => {
            if requested.len() != shown.len() {
                return Some(false);
            }
            all(requested.iter().zip(shown).map(|(one, other)| values(one, other, printed)))
        }
        // A list of one is written without brackets.
        (Value::Array(items), other) if items.len() == 1 && !is_structure(other) => {
            values(&items[0], other, printed)
        }
        (other, Value::Array(items)) if items.len() == 1 && !is_structure(other) => {
            values(other, &items[0], printed)
        }
        (Value::String(text), other) if is_structure(other) => {
            values(&structure(text)?, other, printed)
        }
        (requested, Value::String(text)) if is_structure(requested) => {
            values(requested, &structure(text)?, printed)
        }
        (requested, shown) if is_structure(requested) || is_structure(shown) => None,
        _ => Some(is_choice(requested) && is_choice(shown) || scalars(requested, shown)),
    }
}

fn objects(
    requested: &Map<String, Value>,
    shown: &Map<String, Value>,
    printed: bool,
) -> Option<bool> {
    if !printed && requested.len() != shown.len() {
        return Some(false);
    }
    all(requested.iter().map(|(key, value)| match shown.get(key) {
        Some(other) => values(value, other, printed),
        // A release may print a key under another name.
        None if printed => None,
        None => Some(false),
    }))
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
        || crate::flags::is_unexpanded(value)
}

/// A word that only the container's shell expands: its value is not known before.
fn expands(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains(['$', '`']))
}

/// A text of which a part is masked: the rest may be equal or not.
fn is_masked(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains(MASK))
}

/// Text that is not the value itself: what Python prints of an object (`<Mode.NONE: 0>`,
/// `Config(level=3)`), a text with escapes.
fn is_paraphrase(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.starts_with('<') || text.ends_with(')') || text.contains('\\'))
}

fn scalars(requested: &Value, shown: &Value) -> bool {
    match (number(requested), number(shown)) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(other.abs()),
        _ => word(requested) == word(shown),
    }
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

/// A word in one spelling.
fn word(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.to_ascii_lowercase(),
        other => other.to_string(),
    };
    match text.strip_prefix("torch.").unwrap_or(&text) {
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
        let same = |requested: Value, shown: Value| state(&requested, &shown);
        assert_eq!(same(json!(0.9), json!(0.90)), Some(true));
        assert_eq!(same(json!("16K"), json!(16384)), Some(true));
        assert_eq!(same(json!("16k"), json!(16000)), Some(true));
        assert_eq!(same(json!("25.6k"), json!(25600)), Some(true));
        assert_eq!(same(json!("16k"), json!(16384)), Some(false));
        assert_eq!(same(json!(true), json!("True")), Some(true));
        assert_eq!(same(json!("half"), json!("torch.float16")), Some(true));
        assert_eq!(same(json!("fp8"), json!("auto")), Some(false));
        assert_eq!(same(json!("auto"), json!("torch.bfloat16")), None);
        assert_eq!(same(json!(-1), json!(8192)), None);
        assert_eq!(same(json!("${KV:-fp8}"), json!("fp8")), None);
    }

    #[test]
    fn an_argument_is_compared_as_it_was_written() {
        let cases = [
            (json!("auto"), json!("fp8"), Some(false)),
            (json!("auto"), json!(-1), Some(true)),
            (json!(32), json!("32"), Some(true)),
            (json!(32), json!(16), Some(false)),
            (json!(["a"]), json!("a"), Some(true)),
            (json!(["a", "b"]), json!(["a"]), Some(false)),
            (json!({"n": 3}), json!({"n": 3.0}), Some(true)),
            (json!({"n": 3}), json!({"n": 3, "m": 1}), Some(false)),
            (json!({"n": 3}), json!("{\"n\": 3}"), Some(true)),
            (json!({"n": 3}), json!("other"), None),
            (json!("$N"), json!(7), None),
        ];
        for (requested, argument, expected) in cases {
            assert_eq!(passed(&requested, &argument), expected, "{requested} {argument}");
        }
    }

    #[test]
    fn what_python_prints_is_compared_as_far_as_it_can_be() {
        let cases = [
            (json!({"n": 3}), json!({"n": 3, "other": null}), Some(true)),
            (json!({"n": 3}), json!({"n": 8, "mode": "<Mode.NONE: 0>"}), Some(false)),
            (json!({"mode": 0}), json!({"mode": "<Mode.NONE: 0>"}), None),
            (json!({"level": 3}), json!({"mode": 3}), None),
            (json!({"level": 3}), json!("Config(level=3)"), None),
            (json!(3), json!("<Level.O3: 3>"), None),
            (json!(3), json!("3"), Some(true)),
            (json!(true), json!(false), Some(false)),
            (json!("x"), Value::Null, None),
            (json!("a\nb"), json!("a\\nb"), None),
            (json!("key"), json!("***"), None),
            (json!("/srv/production/m"), json!("/srv/***/m"), None),
            (json!({"url": "http://u:x@h"}), json!({"url": "http://u:***@h"}), None),
            (json!(["a", "production"]), json!(["b", "***"]), Some(false)),
        ];
        for (requested, shown, expected) in cases {
            assert_eq!(echoed(&requested, &shown), expected, "{requested} {shown}");
        }
    }

    #[test]
    fn equal_values_have_one_spelling() {
        for (one, other) in [
            (json!(16), json!("16")),
            (json!("half"), json!("torch.float16")),
            (json!(true), json!("True")),
            (json!({"b": 1.0, "a": 2}), json!({"a": 2, "b": 1})),
        ] {
            assert_eq!(one_spelling(&one), one_spelling(&other));
        }
        assert_ne!(one_spelling(&json!(16)), one_spelling(&json!(32)));
    }
}
