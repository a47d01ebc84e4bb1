//! What a grid is after, in its schema: workloads with their options, the objective with the
//! metrics that exist, strategy, budget, gates, window.

use serde_json::{Map, Value, json};

use super::{either_dash, object};
use crate::gate::Gate;
use crate::grid::{confirm, strategy_block};
use crate::metric::{Form, Metric};
use crate::workload::{
    KINDS, Kind, LAUNCH, LAUNCH_METRICS, OptionKind, SHARED_OPTIONS, refused_fields,
};

/// `workloads`.
pub(super) fn workloads() -> Value {
    let of_kind = |kind: &Kind| {
        let options = kind.options.iter().chain(SHARED_OPTIONS);
        let options: Vec<(&str, Value)> = options
            .map(|option| {
                let mut schema = option_schema(option.kind);
                schema["description"] = option.help.into();
                (option.name, schema)
            })
            .collect();
        let mut schema = object(&options);
        schema["type"] = json!(["object", "null"]);
        schema["description"] = kind.about.into();
        schema
    };
    let kinds: Vec<(&str, Value)> = KINDS.iter().map(|kind| (kind.name, of_kind(kind))).collect();
    let mut workloads = object(&kinds);
    workloads["minProperties"] = json!(1);
    workloads
}

/// What an option takes.
fn option_schema(kind: OptionKind) -> Value {
    let one = match kind {
        OptionKind::Count { min, max } | OptionKind::Counts { min, max } => {
            json!({"type": "integer", "minimum": min, "maximum": max})
        }
        OptionKind::Number { min, max } | OptionKind::Numbers { min, max } => {
            json!({"type": "number", "minimum": min, "maximum": max})
        }
        OptionKind::Switch => json!({"type": "boolean"}),
        OptionKind::Word(words) | OptionKind::Words(words) => json!({"enum": words}),
        OptionKind::Text => json!({"type": "string", "minLength": 1}),
        OptionKind::Texts => json!({"type": ["string", "number", "boolean"], "minLength": 1}),
        OptionKind::Fields => request(),
    };
    if !kind.several() {
        return one;
    }
    // The words of a command may repeat; cases may not.
    let unique = kind != OptionKind::Texts;
    json!({
        "if": {"type": "array"},
        "then": {"minItems": 1, "uniqueItems": unique, "items": one},
        "else": one,
    })
}

/// `request`, of a grid and of a workload.
pub(super) fn request() -> Value {
    let refused: Vec<&str> = refused_fields().collect();
    json!({"type": "object", "propertyNames": {"not": {"enum": refused}, "pattern": "^[^-]*$"}})
}

/// `objective`.
pub(super) fn objective() -> Value {
    let metric = json!({"$ref": "#/definitions/metric"});
    let bound = json!({"type": ["number", "null"]});
    let mut constraint =
        object(&[("metric", metric.clone()), ("min", bound.clone()), ("max", bound)]);
    constraint["required"] = json!(["metric"]);
    let given =
        |key: &str| json!({"required": [key], "properties": {key: {"not": {"type": "null"}}}});
    constraint["anyOf"] = json!([given("min"), given("max")]);
    let constraints = json!({"type": ["array", "null"], "items": constraint});
    let optional = json!({"anyOf": [{"type": "null"}, metric]});
    let with = |further: &[(&str, Value)]| {
        let mut keys = vec![("minimize", optional.clone()), ("maximize", optional.clone())];
        keys.extend_from_slice(further);
        let mut objective = object(&keys);
        objective["oneOf"] = json!([given("minimize"), given("maximize")]);
        objective
    };
    let first = with(&[("constraints", constraints)]);
    let several = json!({
        "type": "array", "minItems": 1, "items": [first], "additionalItems": with(&[]),
    });
    json!({"anyOf": [first, several]})
}

/// A metric that is a number, of any workload.
pub(super) fn metric() -> Value {
    let names = |metrics: &mut dyn Iterator<Item = &Metric>| {
        let numbers = metrics.filter(|metric| metric.form() == Form::Number);
        numbers.map(|metric| either_dash(metric.name)).collect::<Vec<_>>().join("|")
    };
    let mut patterns: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let names = names(&mut kind.all_metrics());
            let key = either_dash(kind.key);
            json!({"pattern": format!(r"^{key}(\[[^\]]+\])?\.({names})$")})
        })
        .collect();
    let launches = names(&mut LAUNCH_METRICS.iter());
    patterns.push(json!({"pattern": format!(r"^{LAUNCH}\.({launches})$")}));
    json!({
        "type": "string", "anyOf": patterns,
        "description": "workload.metric or workload[case].metric; `vllm-grid metrics` lists them",
    })
}

/// `strategy`.
pub(super) fn strategy() -> Value {
    let count = |most: i64| json!({"type": ["integer", "null"], "minimum": 1, "maximum": most});
    let option = |name: &&'static str| {
        let schema = match *name {
            "max-launches" => count(strategy_block::MOST_IN_ALL),
            "repeats" => json!({"anyOf": [count(strategy_block::MOST), {"const": "auto"}]}),
            "probability" => {
                let (least, most) = strategy_block::PROBABILITY;
                json!({"type": ["number", "null"], "minimum": least, "maximum": most})
            }
            "seed" => json!({"type": ["integer", "null"], "minimum": 0}),
            "predicted" => json!({"type": ["boolean", "null"]}),
            _ => count(strategy_block::MOST),
        };
        (*name, schema)
    };
    let options = |known: &[&'static str]| {
        let mut options = object(&known.iter().map(option).collect::<Vec<_>>());
        options["type"] = json!(["object", "null"]);
        options
    };
    let mut named = object(&strategy_block::NAMES.map(|name| {
        let known: &[&str] = match name {
            "adaptive" => &strategy_block::OF_ADAPTIVE,
            "model" => &strategy_block::OF_MODEL,
            _ => &strategy_block::OF_GRID,
        };
        (name, options(known))
    }));
    named["minProperties"] = json!(1);
    named["maxProperties"] = json!(1);
    json!({"anyOf": [{"type": "null"}, {"enum": strategy_block::NAMES}, named]})
}

/// `budget`: a duration, or at least one of its parts.
pub(super) fn budget() -> Value {
    let count = json!({"type": ["integer", "null"], "minimum": 1, "maximum": 1_000_000});
    let hours = json!({"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1_000_000});
    let mut parts = object(&[("time", duration()), ("launches", count), ("gpu-hours", hours)]);
    // At least one of them is given.
    parts["not"] = json!({"additionalProperties": {"type": "null"}});
    json!({"if": {"type": "object"}, "then": parts, "else": duration()})
}

/// Whole days, hours, minutes and seconds, larger units first, and not zero.
pub(super) fn duration() -> Value {
    json!({
        "type": ["string", "null"],
        "pattern": r"^(?=.*[1-9])\s*([0-9]+d\s*)?([0-9]+h\s*)?([0-9]+m\s*)?([0-9]+s\s*)?$",
    })
}

/// `confirm`.
pub(super) fn confirm() -> Value {
    let share = |(least, most): (f64, f64), whole: &str| {
        json!({"anyOf": [
            {"type": "null"},
            {"type": "number", "minimum": least, "maximum": most, "exclusiveMaximum": 1},
            {"type": "string", "pattern": format!(r"^({whole})\s*%$")},
        ]})
    };
    // From 1 to 100, and from 5 to 90.
    let claim = share(confirm::CLAIMS, r"100(\.0+)?|[1-9][0-9]?(\.[0-9]+)?");
    let share = share(confirm::SHARES, r"90(\.0+)?|([5-9]|[1-8][0-9])(\.[0-9]+)?");
    let options = object(&[("claim", claim), ("share", share)]);
    json!({"if": {"type": "object"}, "then": options, "else": {"type": ["boolean", "null"]}})
}

/// `gates`.
pub(super) fn gates() -> Value {
    let off = json!({"enum": [false, "off", null]});
    let length = json!({"type": "integer", "minimum": 1, "maximum": 100_000_000});
    let lengths = json!({"anyOf": [
        {"type": "null"}, length, {"type": "array", "minItems": 1, "items": length},
    ]});
    let settings = |entries: &[(&str, Value)]| json!({"anyOf": [off, object(entries)]});
    let gates: Map<String, Value> = [
        (Gate::Canary, settings(&[])),
        (Gate::Survival, settings(&[("prompt-tokens", lengths)])),
        (Gate::Function, settings(&[])),
    ]
    .into_iter()
    .map(|(gate, schema)| (gate.as_str().to_owned(), schema))
    .collect();
    json!({"anyOf": [
        off, {"type": "object", "properties": gates, "additionalProperties": false},
    ]})
}

/// `window`.
pub(super) fn window() -> Value {
    let time = r"\s*([01]?[0-9]|2[0-3]):[0-5][0-9]\s*";
    json!({"type": ["string", "null"], "pattern": format!("^{time}-{time}$")})
}
