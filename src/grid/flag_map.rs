//! Mappings of flags and of environment variables: as axes, as the fixed flags
//! of an engine, as rows of `include` and `exclude`. Names and values are
//! checked alike everywhere.

use std::collections::HashSet;

use serde_json::Value;

use super::error::Findings;
use super::fields::{json, split_by_comma};
use super::node::{Content, Key, Node, is_unprintable};
use crate::flags;

/// Checks names and values of flags; remembers what it has warned of.
#[derive(Debug, Default)]
pub(super) struct FlagReader {
    /// Unknown flags are errors, not warnings.
    pub(super) strict: bool,
    warned: HashSet<String>,
}

impl FlagReader {
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, warned: HashSet::new() }
    }

    /// Entries of a flag mapping by canonical name, each once. `special` are keys
    /// that are no flags; `allowed` are owned flags that this mapping may have.
    pub(super) fn names<'n>(
        &mut self,
        entries: &'n [(Key, Node)],
        special: &[&str],
        allowed: &[&str],
        findings: &mut Findings,
    ) -> Vec<(String, &'n Key, &'n Node)> {
        let mut named: Vec<(String, &Key, &Node)> = Vec::new();
        for (index, (key, node)) in entries.iter().enumerate() {
            if special.contains(&key.text.as_str()) {
                continue;
            }
            if let Some(number) = split_by_comma(entries, index) {
                findings
                    .error(&key.span, format!("`{}` is no flag: a decimal comma?", key.text))
                    .help(format!("write {number}: numbers have a decimal point"));
                continue;
            }
            let Some(name) = self.name(key, allowed, findings) else { continue };
            if let Some((_, first, _)) = named.iter().find(|(known, _, _)| *known == name) {
                let message = if first.text == key.text {
                    format!("key `{}` is given twice", key.text)
                } else {
                    format!("`{}` and `{}` are the same flag", first.text, key.text)
                };
                findings.error(&key.span, message).help("keep one of them");
                continue;
            }
            named.push((name, key, node));
        }
        for (name, key, _) in &named {
            let whole = name.split_once('.').map(|(whole, _)| whole);
            if let Some(whole) = whole
                && named.iter().any(|(other, _, _)| other == whole)
            {
                let message = format!("`{whole}` and its key `{}` are both given", key.text);
                findings.error(&key.span, message).help(
                    "vLLM would drop the first: write the key into the mapping, or every key by itself",
                );
            }
        }
        named
    }

    /// The canonical name of a flag, if a grid may set it.
    fn name(&mut self, key: &Key, allowed: &[&str], findings: &mut Findings) -> Option<String> {
        let name = flags::resolve(&key.text);
        if let Some(help) = axis_help(&name) {
            let message =
                format!("`{}` is no flag of vLLM: it would have no effect here", key.text);
            findings.error(&key.span, message).help(help);
            return None;
        }
        if flags::is_owned(&name) && !allowed.contains(&name.as_str()) {
            findings
                .error(&key.span, format!("`{name}` belongs to the tool: a grid cannot set it"))
                .help(owned_help(&name));
            return None;
        }
        if flags::is_secret(&name) {
            findings
                .error(&key.span, format!("`{name}` is a secret: it does not belong in a grid"))
                .help("give it to the engine in an environment variable");
            return None;
        }
        if flags::lookup(&name).is_some() {
            return Some(name);
        }
        if let Some(flag) = name.strip_prefix("no-").and_then(flags::lookup)
            && flag.negatable
        {
            findings
                .error(&key.span, format!("`{}` is a spelling of the command line", key.text))
                .help(format!("write `{}: false`", flag.name));
            return None;
        }
        self.unknown(name, key, findings)
    }

    fn unknown(&mut self, name: String, key: &Key, findings: &mut Findings) -> Option<String> {
        let hint = flags::successor(&name)
            .map(str::to_owned)
            .or_else(|| flags::nearest(&name).map(|near| format!("did you mean `{near}`?")));
        let wrong = name.is_empty()
            || !name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'));
        if self.strict || wrong {
            let message =
                format!("vLLM {} has no flag `{}`", flags::VLLM_VERSION, key.text.escape_debug());
            let error = findings.error(&key.span, message);
            if let Some(hint) = hint {
                error.help(hint);
            }
            return None;
        }
        if self.warned.insert(name.clone()) {
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            findings.warning(
                Some(&key.span),
                format!(
                    "vLLM {} has no flag `{name}`: it is passed on unchanged{hint}",
                    flags::VLLM_VERSION
                ),
            );
        }
        Some(name)
    }

    /// The value of a flag in its canonical form.
    pub(super) fn value(name: &str, node: &Node, findings: &mut Findings) -> Option<Value> {
        let value = json(name, node, findings)?;
        if let Value::Array(items) = &value
            && (items.is_empty() || items.iter().any(Value::is_null))
        {
            findings.error(
                &node.span,
                format!("a list of arguments of `{name}` must have values, and no null"),
            );
            return None;
        }
        match flags::check(name, &value) {
            Ok(value) => Some(value),
            Err(refused) => {
                let error = findings.error(&node.span, refused.message);
                error.help = refused.help;
                None
            }
        }
    }
}

/// What is no flag, but an axis or a key of its own.
fn axis_help(name: &str) -> Option<&'static str> {
    match name {
        "image" => Some("`image` is an axis of its own: write it at the grid's top level"),
        "variables" | "environment" => {
            Some("its axes are of their own: write it at the grid's top level")
        }
        "compose" | "env-file" | "project-directory" | "service" => {
            Some("another service is a row of `include`")
        }
        _ => None,
    }
}

fn owned_help(name: &str) -> String {
    match name {
        "model" => {
            "the model is set in the engine block; to vary it, write `model` with a list at the \
                    grid's top level"
                .to_owned()
        }
        "served-model-name" => "it is set in the engine block".to_owned(),
        "api-key" => {
            "name the variable that has it: `api-key-env: NAME` in the engine block".to_owned()
        }
        "host" | "port" | "uds" | "grpc" | "grpc-port" | "root-path" => {
            "the server is published on a free loopback port".to_owned()
        }
        _ => "the server would not be reachable, or not alone on its port".to_owned(),
    }
}

/// Entries of an environment mapping, each name once.
pub(super) fn variables<'n>(
    entries: &'n [(Key, Node)],
    findings: &mut Findings,
) -> Vec<(&'n Key, &'n Node)> {
    let mut named: Vec<(&Key, &Node)> = Vec::new();
    for (key, node) in entries {
        if named.iter().any(|(known, _)| known.text == key.text) {
            findings.error(&key.span, format!("key `{}` is given twice", key.text));
        } else if !super::error::is_variable(&key.text) {
            let message = format!("`{}` is no name of a variable", key.text.escape_debug());
            findings.error(&key.span, message);
        } else if flags::is_secret(&key.text) {
            findings
                .error(
                    &key.span,
                    format!("`{}` is a secret: it does not belong in a grid", key.text),
                )
                .help("set it where the engine is started; grids have names, never secrets");
        } else {
            named.push((key, node));
        }
    }
    named
}

/// The value of an environment variable: text, or null for "not set".
pub(super) fn variable(name: &str, node: &Node, findings: &mut Findings) -> Option<Value> {
    match &node.content {
        Content::Null => Some(Value::Null),
        Content::Text(text) if !text.contains(is_unprintable) => Some(Value::from(text.as_str())),
        Content::Int(number) => Some(Value::from(number.to_string())),
        Content::Float(number) if number.is_finite() => Some(Value::from(number.to_string())),
        Content::Text(_) => {
            findings.error(&node.span, format!("variable `{name}` has control characters"));
            None
        }
        _ => {
            let error = findings.error(
                &node.span,
                format!("variable `{name}` must be a text or a number, not {}", node.describe()),
            );
            if let Content::Bool(_) = node.content {
                error.help("write it as the program reads it: \"1\", \"true\", ...");
            }
            None
        }
    }
}
