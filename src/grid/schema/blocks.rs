//! Engine blocks and rows in a grid's schema.

use serde_json::{Map, Value, json};

use super::{flag_names, name, named, object, optional_text, text_schema, variables};
use crate::grid::engine_block::{DOCKER_KEYS, PROCESS_KEYS, SIMULATED_KEYS};
use crate::grid::hosts::{AT_ONCE, SLURM_KEYS};

/// `engine`.
pub(super) fn engines() -> Value {
    let blocks: [(&str, Value); 3] =
        [("docker", docker()), ("process", process()), ("simulated", simulated())];
    let mut engines = object(&blocks);
    engines["minProperties"] = json!(1);
    engines
}

fn block(keys: &[&str]) -> Value {
    let entries: Vec<(&str, Value)> = keys.iter().map(|key| (*key, key_of_block(key))).collect();
    object(&entries)
}

fn key_of_block(key: &str) -> Value {
    match key {
        "flags" => json!({"$ref": "#/definitions/flags-of-an-engine"}),
        "api-key-env" => {
            json!({"type": ["string", "null"], "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
        }
        "compose" | "env-file" => json!({"anyOf": [
            optional_text(),
            {"type": "array", "minItems": 1, "items": {"type": "string"}},
        ]}),
        "profiles" | "faults" => {
            json!({"type": ["array", "null"], "items": {"type": "string"}})
        }
        "caches" | "introspect" => json!({"type": ["boolean", "null"]}),
        "production" => production(),
        "seed" => json!({"type": ["integer", "null"], "minimum": 0}),
        "speed" => json!({"type": ["number", "null"], "exclusiveMinimum": 0}),
        "other-memory" => json!({"type": ["number", "null"], "minimum": 0}),
        _ => optional_text(),
    }
}

/// That a key is there and is not null.
fn given(key: &str) -> Value {
    json!({"required": [key], "properties": {key: {"not": {"type": "null"}}}})
}

fn both(one: &str, other: &str) -> Value {
    json!({"allOf": [given(one), given(other)]})
}

fn docker() -> Value {
    let mut docker = block(DOCKER_KEYS);
    docker["properties"]["gpus"] = json!({"type": ["boolean", "null"]});
    docker["allOf"] = json!([
        {"not": both("compose", "image")},
        {"not": both("service", "image")},
        {"if": given("compose"), "then": given("service")},
        {"anyOf": [given("compose"), given("service"), given("image")]},
    ]);
    docker
}

fn production() -> Value {
    let container = object(&[("container", text_schema())]);
    let pause = json!({
        "type": ["array", "null"],
        "items": {"anyOf": [text_schema(), container]},
    });
    let mut production =
        object(&[("container", optional_text()), ("service", optional_text()), ("pause", pause)]);
    production["type"] = json!(["object", "null"]);
    // Of null nothing is required.
    production["if"] = json!({"type": "object"});
    production["then"] = json!({"oneOf": [given("container"), given("service")]});
    production
}

fn process() -> Value {
    let mut process = block(PROCESS_KEYS);
    process["properties"]["command"] = json!({"anyOf": [
        text_schema(),
        {"type": "array", "minItems": 1, "items": {"type": ["string", "integer"]}},
    ]});
    process["required"] = json!(["command"]);
    process
}

fn simulated() -> Value {
    let mut simulated = block(SIMULATED_KEYS);
    simulated["properties"]["gpus"] =
        json!({"type": ["integer", "null"], "minimum": 1, "maximum": 64});
    simulated["properties"]["hosts"] = json!({
        "type": ["object", "null"],
        "additionalProperties": {"type": "number", "minimum": 0.01, "maximum": 100},
    });
    for needed in ["model", "gpu"] {
        simulated["properties"][needed] = text_schema();
    }
    simulated["required"] = json!(["model", "gpu"]);
    simulated
}

/// `hosts`.
pub(super) fn hosts() -> Value {
    let key_of_slurm = |key: &str| match key {
        "at-once" => json!({"type": "integer", "minimum": AT_ONCE.0, "maximum": AT_ONCE.1}),
        "time" => super::suite::duration(),
        "exclusive" => json!({"type": ["boolean", "null"]}),
        "options" => json!({
            "type": ["array", "null"], "items": {"type": "string", "pattern": "^--[A-Za-z0-9]"},
        }),
        "gres" => {
            json!({"type": ["string", "null"], "pattern": r"^[^\s:=,]([^\s,]*[^\s:=,])?(,[^\s,]+)*$"})
        }
        _ => json!({"type": ["string", "null"], "pattern": r"^[^\s,]+$"}),
    };
    let entries: Vec<(&str, Value)> =
        SLURM_KEYS.iter().map(|key| (*key, key_of_slurm(key))).collect();
    let mut slurm = object(&entries);
    slurm["anyOf"] = json!([{"required": ["at-once"]}, {"required": ["at_once"]}]);
    let mut hosts = object(&[("slurm", slurm)]);
    hosts["required"] = json!(["slurm"]);
    hosts["type"] = json!(["object", "null"]);
    hosts
}

/// Keys of a row of `include` that are no flags and that a row of `exclude` does not have.
const OF_INCLUDED: [&str; 8] = [
    "name",
    "_benchmark_name",
    "compose",
    "env-file",
    "env_file",
    "project-directory",
    "project_directory",
    "service",
];

/// A row of `include`.
pub(super) fn row() -> Value {
    let named_row = json!({"anyOf": [
        {"type": ["integer", "null"]},
        {"allOf": [name(), {"not": {"const": crate::grid::expand::PRODUCTION}}]},
    ]});
    let texts = json!({"anyOf": [
        optional_text(),
        {"type": "array", "minItems": 1, "items": text_schema()},
    ]});
    let of_included = OF_INCLUDED.iter().map(|key| {
        let schema = match *key {
            "name" | "_benchmark_name" => named_row.clone(),
            "compose" | "env-file" | "env_file" => texts.clone(),
            _ => optional_text(),
        };
        ((*key).to_owned(), schema)
    });
    let mut special: Map<String, Value> = of_included.collect();
    special.insert("environment".to_owned(), variables(false));
    special.insert("variables".to_owned(), variables(false));
    special.insert("image".to_owned(), named());
    special.insert("model".to_owned(), named());
    flag_names::row(special)
}

/// `include`, or `exclude`.
pub(super) fn rows(are_included: bool) -> Value {
    let mut row = json!({"$ref": "#/definitions/row"});
    if !are_included {
        let others = json!({"propertyNames": {"not": {"enum": OF_INCLUDED}}, "minProperties": 1});
        row = json!({"allOf": [row, others]});
    }
    json!({"type": ["array", "null"], "items": row})
}
