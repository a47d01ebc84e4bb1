//! vLLM's launch flags: names, types, ranges, and the argument vector made of
//! them. Pure text and values; what a flag does to an engine is not known here.

use serde_json::Value;

use crate::configuration::Flags;

/// The canonical name of a flag: no leading dashes, `_` read as `-`
/// (the part after a dot is a key of a JSON option and stays as it is).
pub fn canonical_name(spelling: &str) -> String {
    let bare = spelling.trim_start_matches('-');
    match bare.split_once('.') {
        Some((head, tail)) => format!("{}.{tail}", head.replace('_', "-")),
        None => bare.replace('_', "-"),
    }
}

/// Whether the value of a flag or variable of this name must never be written down.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    ["api-key", "token", "secret", "password"].iter().any(|word| {
        name == *word
            || name.ends_with(&format!("-{word}"))
            || name.starts_with(&format!("{word}-"))
    })
}

/// The arguments that pass `flags`, in the order of their names: booleans as
/// `--flag` or `--no-flag`, mappings as JSON, lists as several arguments,
/// nulls not at all.
pub fn argv(flags: &Flags) -> Vec<String> {
    let mut arguments = Vec::new();
    for (name, value) in flags {
        match value {
            Value::Null => {}
            Value::Bool(true) => arguments.push(format!("--{name}")),
            Value::Bool(false) => arguments.push(format!("--no-{name}")),
            Value::Array(items) => {
                arguments.push(format!("--{name}"));
                arguments.extend(items.iter().map(argument));
            }
            other => {
                arguments.push(format!("--{name}"));
                arguments.push(argument(other));
            }
        }
    }
    arguments
}

fn argument(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
