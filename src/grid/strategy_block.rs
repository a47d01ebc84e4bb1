//! `strategy:` of a grid: how launches are chosen, and how often each configuration is
//! launched and measured.

use super::error::Findings;
use super::fields::{Fields, mapping};
use super::node::{Content, Node, Span};
use crate::strategy::{GridStrategy, StrategySpec};

/// How launches are chosen.
pub(super) fn strategy(node: &Node, span: &Span, findings: &mut Findings) -> StrategySpec {
    let default = StrategySpec::Grid(GridStrategy::default());
    let entries = match &node.content {
        Content::Text(name) => {
            strategy_name(name, &node.span, findings);
            return default;
        }
        _ => match mapping(node, "`strategy`", findings) {
            Some(entries) => entries,
            None => return default,
        },
    };
    let mut spec = GridStrategy::default();
    if entries.len() != 1 {
        findings
            .error(span, "`strategy` must name one strategy")
            .help("for example `strategy: {grid: {launches: 4, repeats: 3, seed: 1}}`");
    }
    for (key, node) in entries {
        if !strategy_name(&key.text, &key.span, findings) || matches!(node.content, Content::Null) {
            continue;
        }
        let known = ["launches", "repeats", "seed"];
        let Some(fields) = Fields::of(node, "`grid`", &key.span, &known, findings) else {
            continue;
        };
        let mut count = |name, default: u32| {
            let count = fields.count(name, 1, 10_000, findings);
            count.and_then(|count| u32::try_from(count).ok()).unwrap_or(default)
        };
        spec.launches = count("launches", spec.launches);
        spec.auto = fields.get("repeats").is_some_and(|(_, node)| is_auto(node));
        if !spec.auto {
            spec.repeats = count("repeats", spec.repeats);
        }
        let seed = fields.count("seed", 0, i64::MAX, findings);
        spec.seed = seed.and_then(|seed| u64::try_from(seed).ok()).unwrap_or(spec.seed);
    }
    StrategySpec::Grid(spec)
}

/// Repeats that the sweep chooses itself.
fn is_auto(node: &Node) -> bool {
    matches!(&node.content, Content::Text(text) if text == "auto")
}

fn strategy_name(name: &str, span: &Span, findings: &mut Findings) -> bool {
    if name == "grid" {
        return true;
    }
    let error = if name == "adaptive" {
        findings.error(span, "the strategy `adaptive` does not exist yet")
    } else {
        findings.error(span, format!("there is no strategy `{name}`"))
    };
    error.help("the strategy there is: `grid`");
    false
}
