//! Typed access to a document's nodes. Every accessor files an error with its
//! place and gives nothing when the value is not what it should be, so that the
//! caller continues and finds the next one.

use serde_json::Value;

use super::error::Findings;
use super::node::{Content, JsonError, Key, Node, Span};
use crate::flags::shown;

/// The entries of a mapping with a fixed set of keys, each given once.
pub(super) struct Fields<'n> {
    entries: Vec<(String, &'n Key, &'n Node)>,
    /// Known keys that were probably meant by unknown ones.
    pub(super) misspelt: Vec<String>,
    /// Where the mapping is: its key in the parent.
    pub(super) span: Span,
}

impl<'n> Fields<'n> {
    /// Reads a mapping whose keys are `known` (`_` is accepted for `-`).
    /// `what` names the mapping in errors: "the grid", "`docker`".
    pub(super) fn of(
        node: &'n Node,
        what: &str,
        span: &Span,
        known: &[&str],
        findings: &mut Findings,
    ) -> Option<Self> {
        let entries = mapping(node, what, findings)?;
        let mut fields = Self { entries: Vec::new(), misspelt: Vec::new(), span: span.clone() };
        for (index, (key, value)) in entries.iter().enumerate() {
            let name = key.text.replace('_', "-");
            if let Some(number) = split_by_comma(entries, index) {
                findings
                    .error(&key.span, format!("`{}` is no key: a decimal comma?", key.text))
                    .help(format!("write {number}: numbers have a decimal point"));
            } else if !known.contains(&name.as_str()) {
                let help = match crate::workload::nearest(&name, known) {
                    Some(near) => {
                        fields.misspelt.push(near.to_owned());
                        format!("did you mean `{near}`?")
                    }
                    None => format!("known keys: {}", known.join(", ")),
                };
                let message = format!("unknown key `{}` in {what}", shown(&key.text));
                findings.error(&key.span, message).help(help);
            } else if fields.get(&name).is_some() {
                findings.error(&key.span, format!("key `{}` is given twice in {what}", key.text));
            } else {
                fields.entries.push((name, key, value));
            }
        }
        Some(fields)
    }

    /// The entry of a key; an explicit null counts as given.
    pub(super) fn get(&self, name: &str) -> Option<(&'n Key, &'n Node)> {
        self.entries.iter().find(|(known, _, _)| known == name).map(|(_, key, node)| (*key, *node))
    }

    /// The entry of a key, unless it is null.
    pub(super) fn given(&self, name: &str) -> Option<(&'n Key, &'n Node)> {
        self.get(name).filter(|(_, node)| !matches!(node.content, Content::Null))
    }

    /// A text.
    pub(super) fn text(&self, name: &str, findings: &mut Findings) -> Option<(&'n str, &'n Span)> {
        let (_, node) = self.given(name)?;
        if let Content::Text(text) = &node.content {
            if !text.trim().is_empty() {
                return Some((text, &node.span));
            }
            findings.error(&node.span, format!("`{name}` is empty"));
        } else {
            let error = findings
                .error(&node.span, format!("`{name}` must be a text, not {}", node.describe()));
            if matches!(node.content, Content::Int(_) | Content::Float(_) | Content::Bool(_)) {
                error.help("put it in quotes, if it is meant as a text");
            }
        }
        None
    }

    /// A whole number within bounds.
    pub(super) fn count(
        &self,
        name: &str,
        min: i64,
        max: i64,
        findings: &mut Findings,
    ) -> Option<i64> {
        let (_, node) = self.given(name)?;
        match node.content {
            Content::Int(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                // A larger one was read as a decimal number, which has not all of its digits.
                let is_larger = |number: f64| {
                    number.is_finite() && number.fract() == 0.0 && number > max as f64
                };
                if matches!(node.content, Content::Float(number) if is_larger(number) || number >= i64::MAX as f64)
                {
                    let message = format!("`{name}` is too large: {max} is the largest");
                    findings.error(&node.span, message);
                    return None;
                }
                let bounds = if max == i64::MAX {
                    format!("{min} or more")
                } else {
                    format!("{min} to {max}")
                };
                findings.error(
                    &node.span,
                    format!("`{name}` must be a whole number, {bounds}, not {}", node.describe()),
                );
                None
            }
        }
    }

    /// True or false.
    pub(super) fn switch(&self, name: &str, findings: &mut Findings) -> Option<bool> {
        let (_, node) = self.given(name)?;
        if let Content::Bool(value) = node.content {
            return Some(value);
        }
        let message = format!("`{name}` must be true or false, not {}", node.describe());
        findings.error(&node.span, message);
        None
    }

    /// A finite number.
    pub(super) fn number(&self, name: &str, findings: &mut Findings) -> Option<f64> {
        let (_, node) = self.given(name)?;
        number(name, node, findings)
    }
}

/// `{max: 0,5}` is read as two keys, `max` with 0 and `5` without a value: the
/// number that was meant, where the key at `index` is such a half.
pub(super) fn split_by_comma(entries: &[(Key, Node)], index: usize) -> Option<String> {
    let (key, node) = &entries[index];
    let (_, before) = &entries[index.checked_sub(1)?];
    let digits = key.text.bytes().all(|byte| byte.is_ascii_digit());
    match (&before.content, &node.content) {
        (Content::Int(whole), Content::Null) if digits && before.span.end + 1 == key.span.start => {
            Some(format!("{whole}.{}", key.text))
        }
        _ => None,
    }
}

/// A finite number, with a hint where a decimal comma was written.
pub(super) fn number(name: &str, node: &Node, findings: &mut Findings) -> Option<f64> {
    match &node.content {
        Content::Int(number) => return Some(*number as f64),
        Content::Float(number) if number.is_finite() => return Some(*number),
        _ => {}
    }
    let error =
        findings.error(&node.span, format!("`{name}` must be a number, not {}", node.describe()));
    if let Content::Text(text) = &node.content
        && let Some(fixed) = crate::flags::decimal_comma(text)
    {
        error.help(format!("write {fixed}: numbers have a decimal point"));
    }
    None
}

/// The entries of a mapping, or an error.
pub(super) fn mapping<'n>(
    node: &'n Node,
    what: &str,
    findings: &mut Findings,
) -> Option<&'n [(Key, Node)]> {
    if let Content::Map(entries) = &node.content {
        return Some(entries);
    }
    findings.error(&node.span, format!("{what} must be a mapping, not {}", node.describe()));
    None
}

/// The items of a list; null is an empty one.
pub(super) fn list<'n>(node: &'n Node, what: &str, findings: &mut Findings) -> Option<&'n [Node]> {
    match &node.content {
        Content::List(items) => Some(items),
        Content::Null => Some(&[]),
        _ => {
            findings.error(&node.span, format!("{what} must be a list, not {}", node.describe()));
            None
        }
    }
}

/// The node as JSON, or an error.
pub(super) fn json(name: &str, node: &Node, findings: &mut Findings) -> Option<Value> {
    match node.json() {
        Ok(value) => Some(value),
        Err(JsonError::NotFinite(span)) => {
            findings.error(&span, format!("`{name}` must be a finite number, not NaN or infinity"));
            None
        }
        Err(JsonError::Unprintable(span)) => {
            findings.error(&span, format!("`{name}` has control characters"));
            None
        }
        Err(JsonError::Twice(key)) => {
            findings.error(&key.span, format!("key `{}` is given twice in `{name}`", key.text));
            None
        }
    }
}
