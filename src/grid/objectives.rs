//! Several objectives: a list in place of one mapping. The first one ranks and has the
//! constraints; the others make a Pareto front with it.

use super::error::Findings;
use super::goal::{self, Sought, Suite};
use super::node::{Content, Node, Span};
use crate::metric::Aim;

/// The keys of the first one.
const KEYS: [&str; 3] = ["minimize", "maximize", "constraints"];

/// `objective`: one, or a list of several.
pub(super) fn objective(
    node: &Node,
    span: &Span,
    suite: &Suite,
    findings: &mut Findings,
) -> Option<Sought> {
    match &node.content {
        Content::List(items) => several(items, span, suite, findings),
        _ => goal::objective(node, span, &KEYS, suite, findings),
    }
}

fn several(items: &[Node], span: &Span, suite: &Suite, findings: &mut Findings) -> Option<Sought> {
    if items.is_empty() {
        findings
            .error(span, "`objective` names nothing")
            .help("for example `objective: {minimize: kv_cache.ttft_resent_ms}`");
        return None;
    }
    // Constraints are the sweep's, and stand once.
    let keys = |at: usize| if at == 0 { &KEYS[..] } else { &KEYS[..2] };
    let read =
        |(at, item): (usize, &Node)| goal::objective(item, &item.span, keys(at), suite, findings);
    // Each one is read, so that each one's faults are said.
    let all: Vec<Option<Sought>> = items.iter().enumerate().map(read).collect();
    let mut all = all.into_iter().collect::<Option<Vec<Sought>>>()?.into_iter();
    let mut sought = all.next()?;
    span.clone_into(&mut sought.span);
    for further in all {
        let aim = Aim { metric: further.objective.metric, goal: further.objective.goal };
        let known = sought.objective.further.iter().map(|it| &it.metric);
        if known.chain([&sought.objective.metric]).any(|it| *it == aim.metric) {
            findings.error(&further.span, format!("{} is an objective twice", aim.metric));
            return None;
        }
        sought.objective.further.push(aim);
        sought.named.extend(further.named);
    }
    Some(sought)
}
