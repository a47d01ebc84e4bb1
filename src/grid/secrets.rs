//! Secrets that are written into a grid: each is refused with its place, because the
//! file is copied into the sweep's folder. Flags and variables of secret names are
//! refused where they are read; here is what stands inside of values.

use super::error::Findings;
use super::node::{Content, Node, Span};
use crate::flags::is_secret;
use crate::secret::{is_in_arguments, is_in_text};

/// Reports every secret below `root` that is not reported yet.
pub(super) fn refuse(root: &Node, findings: &mut Findings) {
    match &root.content {
        Content::Map(entries) => {
            for (key, value) in entries {
                match &value.content {
                    Content::Text(_) if is_secret(&key.text) => {
                        refuse_at(&key.span, &format!("`{}` is", key.text), findings);
                    }
                    Content::List(items) if is_in_list(items) => {
                        refuse_at(&key.span, &format!("`{}` contains", key.text), findings);
                    }
                    _ => refuse(value, findings),
                }
            }
        }
        Content::List(items) => items.iter().for_each(|item| refuse(item, findings)),
        Content::Text(text) if is_in_text(text) => {
            refuse_at(&root.span, "this contains", findings);
        }
        _ => {}
    }
}

/// Whether a list of words is a command with a secret in it.
fn is_in_list(items: &[Node]) -> bool {
    is_in_arguments(items.iter().filter_map(|item| match &item.content {
        Content::Text(text) => Some(text.as_str()),
        _ => None,
    }))
}

fn refuse_at(span: &Span, what: &str, findings: &mut Findings) {
    if findings.errors.iter().all(|error| error.span.as_ref() != Some(span)) {
        findings
            .error(span, format!("{what} a secret: it does not belong in a grid"))
            .help("set it where the engine is started; grids have names, never secrets");
    }
}
