//! What a flag takes, as JSON Schema: from the same table and the same bounds as the check
//! of a value. What only reading a text shows (JSON in quotes) is not in it.

use serde_json::{Map, Value, json};

use super::check::{Bounds, Human, human};
use super::table::{Flag, Kind};

/// The schema (draft-07) of one value of a flag; null is "not passed". Of an axis it is the
/// schema of each value.
pub fn value_schema(flag: &Flag) -> Value {
    let bounds = Bounds::of(flag.name);
    let mut schema = match flag.kind {
        Kind::Bool if flag.negatable => json!({"type": ["boolean", "null"]}),
        Kind::Bool => json!({"enum": [true, null]}),
        Kind::Int => integer(flag, bounds),
        Kind::Float => bounded("number", bounds),
        Kind::Text => text(bounds),
        Kind::Choice => json!({"enum": choices(flag, true)}),
        Kind::Json => {
            json!({"type": ["object", "array", "string", "null"], "minItems": 1})
        }
        Kind::List => list(flag, bounds),
    };
    if let Value::Object(schema) = &mut schema {
        let default = match flag.default {
            "None" | "" => "chosen by vLLM",
            default => default,
        };
        let text = format!("vLLM's --{} ({}); default: {default}", flag.name, flag.group);
        schema.insert("description".to_owned(), text.into());
    }
    schema
}

/// A number or null, within bounds.
fn bounded(kind: &str, bounds: Option<Bounds>) -> Value {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!([kind, "null"]));
    schema.extend(limits(bounds));
    Value::Object(schema)
}

fn limits(bounds: Option<Bounds>) -> Map<String, Value> {
    let entries = match bounds {
        None => json!({}),
        Some(Bounds::From(min)) => json!({"minimum": number(min)}),
        Some(Bounds::Above(min)) => json!({"exclusiveMinimum": number(min)}),
        Some(Bounds::AboveUpTo(min, max)) => {
            json!({"exclusiveMinimum": number(min), "maximum": number(max)})
        }
        Some(Bounds::FromBelow(min, max)) => {
            json!({"minimum": number(min), "exclusiveMaximum": number(max)})
        }
        Some(Bounds::Within(min, max)) => {
            json!({"minimum": number(min), "maximum": number(max)})
        }
    };
    match entries {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

/// Whole where it is.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 { json!(number as i64) } else { json!(number) }
}

fn integer(flag: &Flag, bounds: Option<Bounds>) -> Value {
    let plain = bounded("integer", bounds);
    // Decimals are for the lower-case suffixes, which count in thousands.
    let suffixed = r"^\s*([0-9]+(\.[0-9]+)?[kmgt]|[0-9]+[KMGT])$";
    match human(flag.name) {
        Human::No => plain,
        Human::Suffixes => json!({"anyOf": [plain, {"type": "string", "pattern": suffixed}]}),
        Human::SuffixesOrAuto => json!({"anyOf": [
            plain, {"enum": [-1]}, {"type": "string", "pattern": suffixed},
            {"type": "string", "pattern": "^[aA][uU][tT][oO]$"},
        ]}),
    }
}

/// The known choices are no limit: a plug-in may add more.
fn text(bounds: Option<Bounds>) -> Value {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!(["string", "number", "object", "null"]));
    schema.insert("minLength".to_owned(), json!(1));
    schema.extend(limits(bounds));
    Value::Object(schema)
}

/// The choices as texts, and as numbers where they are spelt like one.
fn choices(flag: &Flag, with_null: bool) -> Vec<Value> {
    let texts = flag.choices.iter().map(|choice| json!(choice));
    let numbers = flag.choices.iter().filter_map(|choice| {
        let number: i64 = choice.parse().ok()?;
        (number.to_string() == *choice).then(|| json!(number))
    });
    texts.chain(numbers).chain(with_null.then_some(Value::Null)).collect()
}

/// One value, or several.
fn list(flag: &Flag, bounds: Option<Bounds>) -> Value {
    let item = if !flag.choices.is_empty() {
        json!({"enum": choices(flag, false)})
    } else if bounds.is_some() {
        let mut number = Map::new();
        number.insert("type".to_owned(), json!("integer"));
        number.extend(limits(bounds));
        json!({"anyOf": [number, {"type": "string", "pattern": "^[0-9]+$"}]})
    } else {
        json!({"type": ["string", "number", "object"]})
    };
    json!({"anyOf": [{"type": "null"}, item, {"type": "array", "minItems": 1, "items": item}]})
}
