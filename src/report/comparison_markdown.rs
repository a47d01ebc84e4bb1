//! Compared sweeps as Markdown, for a merge request or an issue: the same blocks as in the
//! terminal, with one table. Text from outside is escaped, so that no name makes a link, a
//! tag or a further column.

use super::comparison::{fields, head, names};
use super::comparison_notes as notes;
use super::text::plain;
use crate::results::comparison::Comparison;

/// The comparison as Markdown. Ends with a newline.
pub fn render(comparison: &Comparison) -> String {
    let findings = comparison.findings();
    let mut blocks = Vec::new();
    let head = head(comparison, &findings);
    let is_mark = |line: &&String| line.starts_with("SIMULATED");
    blocks.extend(head.iter().filter(is_mark).map(|line| format!("**{}**", escaped(line))));
    let mut lines = head.iter().filter(|line| !is_mark(line));
    blocks.extend(lines.next().map(|line| format!("### {}", escaped(line))));
    blocks.push(lines.map(|line| format!("- {}", escaped(line))).collect::<Vec<_>>().join("\n"));
    if let Some(list) = notes::unsound(comparison, &findings) {
        let item = |line: &String| escaped(line).replacen("\\- ", "- ", 1);
        let (title, items) =
            list.split_first().map_or((String::new(), &[][..]), |(title, rest)| {
                (format!("**{}**", escaped(title)), rest)
            });
        blocks.push(title);
        blocks.push(items.iter().map(item).collect::<Vec<_>>().join("\n"));
    }
    blocks.extend(notes::choice(&findings).map(|choice| escaped(&choice)));
    if !comparison.configurations.is_empty() {
        blocks.push(table(comparison));
    }
    blocks.extend(comparison.worse_than.iter().map(|worse| {
        let lines = notes::worse_than(worse, comparison.scale);
        lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("  \n")
    }));
    let below = notes::below(&findings, &super::comparison::heading(comparison));
    blocks.push(
        below.iter().map(|line| format!("- {}", escaped(line))).collect::<Vec<_>>().join("\n"),
    );
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

fn table(comparison: &Comparison) -> String {
    let names: Vec<String> = names(comparison).iter().map(|name| escaped(name)).collect();
    let fields = fields(comparison);
    let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let header = fields.iter().map(|field| escaped(&field.header));
    let mut lines = vec![row(std::iter::once("configuration".to_owned()).chain(header).collect())];
    let alignment = fields.iter().map(|field| if field.is_right() { "---:" } else { "---" });
    lines.push(row(std::iter::once("---").chain(alignment).map(str::to_owned).collect()));
    for (at, name) in names.iter().enumerate() {
        let cells = fields.iter().map(|field| escaped(&field.cells[at]));
        lines.push(row(std::iter::once(name.clone()).chain(cells).collect()));
    }
    lines.join("\n")
}

/// One line in which nothing acts as Markdown or HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in plain(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            _ => escaped.push(letter),
        }
    }
    // A list or a rule begins a line only.
    if ["- ", "+ ", "--", "=="].iter().any(|start| escaped.starts_with(start)) {
        escaped.insert(0, '\\');
    }
    escaped
}
