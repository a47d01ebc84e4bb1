//! What a grid varies besides flags and the server's environment: variables of the compose
//! file, image, model, and in rows of `include` whole services. Where they stand is read
//! here, and whether the engine can do anything with them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::EngineBlock;
use super::error::{Finding, Findings};
use super::expand::{Draft, Kind, Setting};
use super::fields::mapping;
use super::flag_map::{variable, variables};
use super::image_name;
use super::node::{Content, Key, Node, Span};
use crate::configuration::Stack;

/// Keys of a row that name a service, in both spellings.
pub(super) const OF_SERVICE: &[&str] =
    &["compose", "env-file", "env_file", "project-directory", "project_directory", "service"];

/// Mappings of variables that a grid, or a row, may have, and what they set.
pub(super) const MAPPINGS: &[(&str, Kind)] =
    &[("environment", Kind::Environment), ("variables", Kind::Variable)];
/// Texts that a grid, or a row, may have, and what they set.
pub(super) const TEXTS: &[(&str, Kind)] = &[("image", Kind::Image), ("model", Kind::Model)];

/// The name of an image or a model; null leaves it as it is.
pub(super) fn text(name: &str, node: &Node, findings: &mut Findings) -> Option<Value> {
    match &node.content {
        Content::Null => Some(Value::Null),
        Content::Text(text) if text.trim().is_empty() => {
            findings.error(&node.span, format!("`{name}` is empty"));
            None
        }
        Content::Text(text) if text.starts_with('-') || text.contains(char::is_whitespace) => {
            let message = format!("`{name}` must be a name, not {}", node.describe());
            findings.error(&node.span, message);
            None
        }
        Content::Text(text) => {
            if let Some(why) = image_name::refusal(text).filter(|_| name == "image") {
                findings.error(&node.span, why);
                return None;
            }
            Some(Value::from(text.as_str()))
        }
        _ => {
            let message = format!("`{name}` must be a text, not {}", node.describe());
            findings.error(&node.span, message);
            None
        }
    }
}

/// The settings of a row that are no flags.
pub(super) fn settings(entries: &[(Key, Node)], findings: &mut Findings) -> Vec<Setting> {
    let mut found = Vec::new();
    for (name, kind) in MAPPINGS {
        let Some((_, node)) = given(entries, name) else { continue };
        let entries = mapping(node, &format!("`{name}`"), findings).unwrap_or_default();
        for (key, node) in variables(entries, findings) {
            if let Some(value) = variable(&key.text, node, findings) {
                let (name, span) = (key.text.clone(), key.span.clone());
                found.push(Setting { kind: *kind, name, value, span });
            }
        }
    }
    for (name, kind) in TEXTS {
        let Some((key, node)) = given(entries, name) else { continue };
        if let Some(value) = text(name, node, findings) {
            let (name, span) = ((*name).to_owned(), key.span.clone());
            found.push(Setting { kind: *kind, name, value, span });
        }
    }
    found
}

/// The service that a row names.
pub(super) fn service(entries: &[(Key, Node)], findings: &mut Findings) -> Stack {
    let mut of = |name: &str| -> (Vec<String>, bool) {
        let either = || given(entries, &name.replace('-', "_"));
        match given(entries, name).or_else(either) {
            Some((_, node)) => texts(name, node, findings),
            None => (Vec::new(), false),
        }
    };
    let (compose, exact) = of("compose");
    let (env_files, _) = of("env-file");
    let (directory, several) = of("project-directory");
    let (service, many) = of("service");
    for (name, is_list) in [("project-directory", several), ("service", many)] {
        if let (true, Some((_, node))) = (is_list, given(entries, name)) {
            findings.error(&node.span, format!("`{name}` must be a text, not a list"));
        }
    }
    Stack {
        compose,
        exact,
        env_files,
        project_directory: directory.into_iter().next(),
        service: service.into_iter().next(),
        variables: BTreeMap::new(),
        image: None,
        model: None,
    }
}

/// One text, or a list of them; and whether it is a list.
fn texts(name: &str, node: &Node, findings: &mut Findings) -> (Vec<String>, bool) {
    let (items, is_list) = match &node.content {
        Content::List(items) => (items.as_slice(), true),
        _ => (std::slice::from_ref(node), false),
    };
    if items.is_empty() {
        findings.error(&node.span, format!("`{name}` is an empty list"));
    }
    let mut texts = Vec::new();
    for item in items {
        match &item.content {
            Content::Text(text) if !text.trim().is_empty() => texts.push(text.clone()),
            _ => {
                let message = format!("`{name}` must be a text, not {}", item.describe());
                findings.error(&item.span, message);
            }
        }
    }
    (texts, is_list)
}

/// The entry of a key, unless it is null.
fn given<'n>(entries: &'n [(Key, Node)], name: &str) -> Option<(&'n Key, &'n Node)> {
    let (key, node) = entries.iter().find(|(key, _)| key.text == name)?;
    (!matches!(node.content, Content::Null)).then_some((key, node))
}

/// Reports what the chosen engine can do nothing with: a figure that it seems to explain
/// would come from something else.
pub(super) fn refuse_idle(engine: &EngineBlock, draft: &Draft, findings: &mut Findings) {
    let of_block = matches!(engine, EngineBlock::Docker(block) if block.service.is_some());
    for axis in &draft.axes {
        report(idle(axis.kind, &axis.name, engine, of_block), &axis.span, findings);
    }
    for row in &draft.include {
        let own = row.service.has_service();
        if own && let Some(reason) = no_service(&row.service, engine) {
            findings.error(&row.span, format!("this row names a service, but {reason}"));
        }
        for it in &row.settings {
            report(idle(it.kind, &it.name, engine, of_block || own), &it.span, findings);
        }
    }
}

/// Why a row's service cannot be started.
fn no_service(service: &Stack, engine: &EngineBlock) -> Option<String> {
    let EngineBlock::Docker(block) = engine else {
        return Some(format!("the engine `{}` has no services", engine.name()));
    };
    if service.service.is_none() && block.service.is_none() {
        return Some("not by `service`, and the engine block has none".to_owned());
    }
    let has_files = block.service.is_some() || !block.compose.files.is_empty();
    (service.compose.is_empty() && !has_files)
        .then(|| "not its `compose` file, and the engine block has none".to_owned())
}

/// Why a setting cannot have an effect, and what to do.
fn idle(
    kind: Kind,
    name: &str,
    engine: &EngineBlock,
    has_service: bool,
) -> Option<(String, &'static str)> {
    match (kind, engine) {
        (Kind::Variable, _) if !has_service => Some((
            format!("`{name}` is a variable of a compose file, and the engine names no service"),
            "what the server itself reads belongs under `environment`",
        )),
        (Kind::Image, EngineBlock::Process(_) | EngineBlock::Simulated(_)) => Some((
            format!("the engine `{}` has no image", engine.name()),
            "only the engine `docker` has images",
        )),
        _ => None,
    }
}

fn report(reason: Option<(String, &'static str)>, span: &Span, findings: &mut Findings) {
    let Some((message, help)) = reason else { return };
    // An axis and the rows that repeat it: one place is enough.
    let is_known = |finding: &Finding| finding.message == message;
    if !findings.errors.iter().any(is_known) {
        findings.error(span, message).help(help);
    }
}
