//! The grid's key `gates`: what is looked at in a launch before it is measured. A grid that
//! says nothing has the canary; `gates: off` has none. What gates are is [`crate::gate`]'s.

use super::error::Findings;
use super::fields::{Fields, list};
use super::node::{Content, Node, Span};
use crate::gate::{CanarySettings, FunctionSettings, Gate, Gates, SurvivalSettings};

const NAMES: [&str; 3] = [Gate::Canary.as_str(), Gate::Survival.as_str(), Gate::Function.as_str()];

/// Longest prompt that a grid may name, in tokens: no model has such a context.
const MAX_PROMPT: i64 = 100_000_000;

/// Reads the key.
pub(super) fn gates(node: &Node, key: &Span, findings: &mut Findings) -> Gates {
    match &node.content {
        Content::Bool(false) => return Gates::off(),
        Content::Text(text) if text == "off" => return Gates::off(),
        Content::Map(_) => {}
        _ => {
            findings
                .error(
                    &node.span,
                    format!("`gates` must be `off` or gates, not {}", node.describe()),
                )
                .help("for example `gates: {canary: {}, survival: {}, function: {}}`");
            return Gates::default();
        }
    }
    let Some(fields) = Fields::of(node, "`gates`", key, &NAMES, findings) else {
        return Gates::default();
    };
    if fields.get(Gate::Canary.as_str()).is_none() {
        findings.warning(
            Some(&node.span),
            "`gates` has no `canary`, so answers that loop or are empty are not looked for before \
             measuring; add `canary: {}`, or `canary: off` to say so",
        );
    }
    let mut read = |gate: Gate, keys: &[&str]| {
        let (key, node) = fields.get(gate.as_str())?;
        match &node.content {
            Content::Bool(false) => None,
            Content::Text(text) if text == "off" => None,
            // As with workloads: without settings it has its defaults.
            Content::Null => Some(None),
            _ => Some(Fields::of(node, &format!("`{gate}`"), &key.span, keys, findings)),
        }
    };
    let canary = read(Gate::Canary, &[]).map(|_| CanarySettings {});
    let function = read(Gate::Function, &[]).map(|_| FunctionSettings {});
    let survival = read(Gate::Survival, &["prompt-tokens"]);
    let survival =
        survival.map(|fields| fields.map(|it| survival_of(&it, findings)).unwrap_or_default());
    Gates { canary, survival, function }
}

fn survival_of(fields: &Fields<'_>, findings: &mut Findings) -> SurvivalSettings {
    let Some((_, node)) = fields.given("prompt-tokens") else { return SurvivalSettings::default() };
    let single = std::slice::from_ref(node);
    let entries = match &node.content {
        Content::Int(_) => Some(single),
        _ => list(node, "`prompt-tokens`", findings),
    };
    let Some(entries) = entries else { return SurvivalSettings::default() };
    if entries.is_empty() {
        findings.error(&node.span, "`prompt-tokens` is empty").help("leave `survival` out");
    }
    let mut prompt_tokens = Vec::new();
    for entry in entries {
        if let Content::Int(count @ 1..=MAX_PROMPT) = &entry.content {
            let count = u32::try_from(*count).unwrap_or(u32::MAX);
            if !prompt_tokens.contains(&count) {
                prompt_tokens.push(count);
            }
        } else {
            let what = entry.describe();
            let rule = match &entry.content {
                Content::Int(count) if *count > MAX_PROMPT => "at most 100 million",
                _ => "whole numbers above zero",
            };
            findings.error(&entry.span, format!("`prompt-tokens` must be {rule}, not {what}"));
        }
    }
    SurvivalSettings { prompt_tokens }
}
