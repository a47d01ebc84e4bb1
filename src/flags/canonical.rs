//! JSON in one spelling: what is equal is written alike. Ids are hashes of it, and
//! values are compared by it.

use std::fmt::Write as _;

use serde_json::Value;

/// JSON with sorted keys and one spelling per number.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(&mut text, value);
    text
}

/// The same, appended.
pub(crate) fn write_canonical(text: &mut String, value: &Value) {
    // Writing to a string does not fail.
    match value {
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15);
            let _ = match whole {
                Some(float) => write!(text, "{float:.0}"),
                None => write!(text, "{number}"),
            };
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            text.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                let _ = write!(text, "{}:", Value::from(key.as_str()));
                write_canonical(text, &map[key]);
            }
            text.push('}');
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canonical;

    #[test]
    fn canonical_content_has_one_spelling() {
        assert_eq!(canonical(&json!({"b": [1.0, "x"], "a": null})), r#"{"a":null,"b":[1,"x"]}"#);
        assert_eq!(canonical(&json!(0.90)), "0.9");
        assert_eq!(canonical(&json!(-0.0)), "-0");
    }
}
