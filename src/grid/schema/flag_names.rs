//! Names of flags in a grid's schema: every flag of the table with its spellings, those that
//! a grid may not set, and those that no table has, which are passed on.

use serde_json::{Map, Value, json};

use super::{axis, either_dash, respelt};
use crate::flags::{Flag, OWNED, flags, is_owned, is_secret, value_schema};

/// What is no flag but a key of its own.
const OTHER_KEYS: [&str; 8] = [
    "image",
    "model",
    "variables",
    "environment",
    "compose",
    "env-file",
    "project-directory",
    "service",
];

/// A definition for each flag that a grid may set.
pub(super) fn definitions() -> Map<String, Value> {
    let mut definitions: Map<String, Value> =
        settable().map(|flag| (flag.name.to_owned(), value_schema(flag))).collect();
    // Of a flag that no table has, a list of arguments has values.
    let any = json!({"minItems": 1, "items": {"not": {"type": "null"}}});
    definitions.insert("unknown-flag".to_owned(), any);
    definitions.insert("flags-of-an-engine".to_owned(), fixed());
    definitions
}

fn settable() -> impl Iterator<Item = &'static Flag> {
    flags().iter().filter(|flag| !is_owned(flag.name) && !is_secret(flag.name))
}

/// `parameters`: each flag with its values.
pub(super) fn axes() -> Value {
    let mut schema = names(&[], &OTHER_KEYS, axis);
    schema["type"] = json!(["object", "null"]);
    schema
}

/// `flags` of an engine block: each with one value.
fn fixed() -> Value {
    let mut schema = names(&["served-model-name"], &OTHER_KEYS, Clone::clone);
    schema["type"] = json!(["object", "null"]);
    schema
}

/// A row of `include` or `exclude`: each with one value; `special` are the keys that are no
/// flags.
pub(super) fn row(special: Map<String, Value>) -> Value {
    let refused: Vec<&str> =
        OTHER_KEYS.into_iter().filter(|key| !special.contains_key(*key)).collect();
    let mut schema = names(&[], &refused, Clone::clone);
    if let Value::Object(properties) = &mut schema["properties"] {
        properties.extend(special);
    }
    schema
}

fn names(allowed: &[&str], refused: &[&str], form: impl Fn(&Value) -> Value) -> Value {
    let mut properties = Map::new();
    let mut patterns = Map::new();
    for flag in settable() {
        let value = form(&json!({"$ref": format!("#/definitions/{}", flag.name)}));
        properties.insert(flag.name.to_owned(), value.clone());
        let spellings: Vec<&str> =
            std::iter::once(flag.name).chain(flag.aliases.iter().copied()).collect();
        if spellings.len() > 1 || flag.name.contains('-') {
            patterns.insert(respelt(&spellings, flag.name), value);
        }
    }
    let any = form(&json!({"$ref": "#/definitions/unknown-flag"}));
    for name in allowed {
        properties.insert((*name).to_owned(), any.clone());
    }
    let owned = OWNED.iter().filter(|name| !allowed.contains(name) && **name != "model");
    let no: Vec<String> = owned.chain(refused).map(|name| either_dash(name)).collect();
    let secret = flags().iter().filter(|flag| is_secret(flag.name));
    let secret: Vec<String> = secret.map(|flag| either_dash(flag.name)).collect();
    let no = [no, secret].concat().join("|");
    patterns.insert(format!("^-{{0,2}}({no}|ssl[-_].*)$"), json!(false));
    let negatable: Vec<String> =
        settable().filter(|flag| flag.negatable).map(|flag| either_dash(flag.name)).collect();
    patterns.insert(format!("^-{{0,2}}no[-_]({})$", negatable.join("|")), json!(false));
    json!({
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z0-9._-]+$"},
        "properties": properties,
        "patternProperties": patterns,
        "additionalProperties": any,
    })
}
