//! Reads what Python prints: literals, and lists of `key=value` as `repr` makes them.
//! vLLM logs its configuration in this form; which parts matter is decided in `observed`.

use serde_json::{Map, Number, Value};

/// Splits at commas that are outside of quotes and brackets.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut quote, mut escaped, mut start) = (0usize, None, false, 0);
    for (at, character) in text.char_indices() {
        if let Some(open) = quote {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if character == open => quote = None,
                _ => {}
            }
            continue;
        }
        match character {
            '\'' | '"' => quote = Some(character),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// A literal as JSON; anything else as its text. Depth is bounded by `levels`.
fn literal(text: &str, levels: u32) -> Value {
    let text = text.trim();
    match text {
        "None" => return Value::Null,
        "True" => return Value::Bool(true),
        "False" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    if let Some(number) = text.parse::<f64>().ok().and_then(Number::from_f64) {
        return Value::Number(number);
    }
    let inside = |open: char, close: char| text.strip_prefix(open)?.strip_suffix(close);
    if let Some(text) = inside('\'', '\'').or_else(|| inside('"', '"')) {
        return Value::from(text.replace("\\'", "'").replace("\\\\", "\\"));
    }
    if levels > 0 {
        if let Some(items) = inside('[', ']').or_else(|| inside('(', ')')) {
            return split(items).into_iter().map(|item| literal(item, levels - 1)).collect();
        }
        if let Some(items) = inside('{', '}') {
            return Value::Object(pairs(items, ':', levels - 1));
        }
    }
    Value::from(text)
}

fn pairs(text: &str, separator: char, levels: u32) -> Map<String, Value> {
    split(text)
        .into_iter()
        .filter_map(|part| {
            let (key, value) = part.split_once(separator)?;
            let key = key.trim().trim_matches(['\'', '"']);
            Some((key.to_owned(), literal(value, levels)))
        })
        .collect()
}

/// Deep enough for any configuration; an untrusted log must not exhaust the stack.
const LEVELS: u32 = 16;

/// A printed dict: `{'a': 1, 'b': [True, None]}`.
pub(super) fn dict(text: &str) -> Map<String, Value> {
    let text = text.trim();
    let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    pairs(inside, ':', LEVELS)
}

/// A printed list of `key=value`.
pub(super) fn assignments(text: &str) -> Map<String, Value> {
    pairs(text, '=', LEVELS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn literals_and_what_is_none() {
        let read = dict(
            r#"{'a': 'x, y', 'n': -3, 'f': 0.2, 'l': ['q', None], 'd': {'k': (True, 1)}, 'e': <Mode.NONE: 0>, 's': "it's"}"#,
        );
        assert_eq!(
            Value::Object(read),
            json!({"a": "x, y", "n": -3, "f": 0.2, "l": ["q", null], "d": {"k": [true, 1]},
                   "e": "<Mode.NONE: 0>", "s": "it's"})
        );
        let read = assignments("model='/m', cfg=Cfg(a=1, b=[2, 3]), dtype=torch.bfloat16, on=True");
        assert_eq!(read["cfg"], "Cfg(a=1, b=[2, 3])");
        assert_eq!((&read["dtype"], &read["on"]), (&json!("torch.bfloat16"), &json!(true)));
    }

    proptest! {
        #[test]
        fn never_panics(text in "([{}()\\[\\]'\",:=a1é\\\\ ]){0,80}") {
            dict(&text);
            assignments(&text);
        }
    }
}
