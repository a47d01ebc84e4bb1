//! The JSON Schema (draft-07, which editors' YAML language servers know) of a grid: for
//! completion and for errors while one types. Names, types and ranges come from the tables
//! that the reader uses: flags, options of workloads, metrics. The reader alone decides: what
//! depends on two places of a file, on other files or on an engine is not in a schema. A test
//! runs every grid of the tests through both.

mod blocks;
mod flag_names;
mod suite;

use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::read::KEYS;

/// The schema as text, as `docs/grid.schema.json` has it. Ends with a newline.
pub fn text() -> String {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, format);
    schema().serialize(&mut writer).expect("keys are texts, and a vector takes all");
    String::from_utf8(text).expect("JSON is UTF-8") + "\n"
}

/// The schema of a grid.
pub fn schema() -> Value {
    let of_key: Vec<(&str, Value)> = KEYS.iter().map(|key| (*key, key_schema(key))).collect();
    let mut schema = object(&of_key);
    // What is named several times is said once: the lists of names are long.
    let mut definitions = flag_names::definitions();
    definitions.insert("row".to_owned(), blocks::row());
    definitions.insert("metric".to_owned(), suite::metric());
    let needed = ["name", "engine", "workloads", "objective"];
    let head = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A grid of vllm-grid",
        "description": "What to try, on which engine, with which workloads, towards which objective.",
        "required": needed,
        "anyOf": SOURCES.iter().map(|key| filled(key)).collect::<Vec<_>>(),
        "definitions": definitions,
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
    }
    schema
}

/// Keys of which one makes configurations.
const SOURCES: [&str; 6] = ["parameters", "include", "environment", "variables", "image", "model"];

/// That a key is there and has something in it.
fn filled(key: &str) -> Value {
    json!({
        "required": [key],
        "properties": {key: {"not": {"type": "null"}, "minProperties": 1, "minItems": 1}},
    })
}

fn key_schema(key: &str) -> Value {
    let (mut schema, about) = match key {
        "name" => (name(), "Name of the grid: the sweep's folder begins with it."),
        "engine" => (blocks::engines(), "What starts the servers; the first block is used."),
        "baseline" => (
            optional_text(),
            "Configuration that the others are compared with; `production`: the engine block's own flags.",
        ),
        "parameters" => (flag_names::axes(), "Flags of vLLM, each with the values to try."),
        "environment" => (variables(true), "Variables of the server, each with the values to try."),
        "variables" => {
            (variables(true), "Variables of the compose file, each with the values to try.")
        }
        "image" => (axis(&named()), "Images to try."),
        "model" => (axis(&named()), "Models to try."),
        "include" => (blocks::rows(true), "Further configurations, one a row."),
        "exclude" => (blocks::rows(false), "Combinations to leave out, one a row."),
        "workloads" => (suite::workloads(), "What is measured."),
        "request" => (suite::request(), "Fields that are merged into each request's body."),
        "objective" => (suite::objective(), "What is minimised or maximised, within which bounds."),
        "strategy" => (
            suite::strategy(),
            "How launches are chosen; without it, by the number of configurations.",
        ),
        "budget" => (
            suite::budget(),
            "What the sweep may spend: 8h, or {time: 8h, launches: 40, gpu-hours: 16}.",
        ),
        "confirm" => (
            suite::confirm(),
            "Whether the sweep goes on with a confirmation: true, or {claim: 10%, share: 25%}.",
        ),
        "gates" => (suite::gates(), "What is looked at in a launch before it is measured."),
        "window" => (suite::window(), "Times of the day in which it may launch: 23:00-06:30."),
        "hosts" => (blocks::hosts(), "The cluster whose jobs its launches are: {slurm: {...}}."),
        _ => (json!({}), ""),
    };
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), about.into());
    }
    schema
}

/// A mapping with these keys and no others; `_` may stand for `-`.
fn object(entries: &[(&str, Value)]) -> Value {
    let mut properties = Map::new();
    let mut patterns = Map::new();
    for (key, schema) in entries {
        properties.insert((*key).to_owned(), schema.clone());
        if key.contains('-') {
            patterns.insert(respelt(&[key], key), schema.clone());
        }
    }
    let mut object = json!({
        "type": "object", "properties": properties, "additionalProperties": false,
    });
    if !patterns.is_empty() {
        object["patternProperties"] = Value::Object(patterns);
    }
    object
}

/// A pattern of these names with `_` or `-`, except for the one spelling that `properties` has.
fn respelt(names: &[&str], except: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| either_dash(name)).collect();
    format!("^(?!{except}$)-{{0,2}}({})$", names.join("|"))
}

/// A name as a pattern in which `_` may stand for `-`.
fn either_dash(name: &str) -> String {
    name.replace(['-', '_'], "[-_]").replace('.', "\\.")
}

/// One value, or a list of values.
fn axis(value: &Value) -> Value {
    json!({
        "if": {"type": "array"},
        "then": {"minItems": 1, "items": value},
        "else": value,
    })
}

/// A name of a grid or of a row, as `name::refusal` has it, without the devices of Windows.
fn name() -> Value {
    json!({
        "type": "string", "maxLength": 80,
        "pattern": "^[A-Za-z0-9]([A-Za-z0-9._+-]*[A-Za-z0-9_+-])?$",
    })
}

fn text_schema() -> Value {
    json!({"type": "string", "pattern": r"\S"})
}

fn optional_text() -> Value {
    json!({"type": ["string", "null"], "pattern": r"\S"})
}

/// The name of an image or a model, or null.
fn named() -> Value {
    json!({"type": ["string", "null"], "pattern": r"^(?!-)\S+$"})
}

/// Names of variables with their values.
fn variables(are_axes: bool) -> Value {
    let value = json!({"type": ["string", "number", "null"]});
    let value = if are_axes { axis(&value) } else { value };
    json!({
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": value,
    })
}
