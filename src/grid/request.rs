//! `request:` of a grid: fields that all its requests are to have, checked like those of a
//! workload, and each error at its place in the file.

use super::error::Findings;
use super::fields::{json, mapping};
use super::node::{Content, Key, Node, Span};
use crate::workload::{REQUEST, RequestFields, Workload};

/// The fields of the grid's key `request`; nothing where one is refused.
pub(super) fn fields(node: &Node, findings: &mut Findings) -> RequestFields {
    let none = RequestFields::default();
    if mapping(node, "`request`", findings).is_none() {
        return none;
    }
    let Some(serde_json::Value::Object(given)) = json(REQUEST, node, findings) else { return none };
    RequestFields::read(&given).unwrap_or_else(|refused| {
        for error in refused {
            let span = inside(node, &error.inside).unwrap_or(&node.span);
            findings.error(span, error.message);
        }
        none
    })
}

/// Where an option's value, or its key, has what is named inside of it.
pub(super) fn place<'n>(option: &'n Key, value: &'n Node, path: &[String]) -> &'n Span {
    inside(value, path).unwrap_or(&option.span)
}

/// The place of what a path of names leads to: a key, or an item of a list. Of a text that
/// is a secret whatever its name is, the text's: as [`super::secrets`] has it.
fn inside<'n>(node: &'n Node, path: &[String]) -> Option<&'n Span> {
    let (name, rest) = path.split_first()?;
    let (span, value) = match &node.content {
        Content::Map(entries) => {
            let (key, value) = entries.iter().find(|(key, _)| key.text == *name)?;
            match &value.content {
                Content::Text(text) if crate::secret::is_in_text(text) => (&value.span, value),
                _ => (&key.span, value),
            }
        }
        Content::List(items) => {
            let item = items.get(name.parse::<usize>().ok()?)?;
            (&item.span, item)
        }
        _ => return None,
    };
    if rest.is_empty() { Some(span) } else { inside(value, rest) }
}

/// Warns of workloads that the grid's fields do not reach.
pub(super) fn unsent(workloads: &[Workload], span: &Span, findings: &mut Findings) {
    for why in workloads.iter().filter_map(Workload::unsent) {
        findings.warning(Some(span), why);
    }
}
