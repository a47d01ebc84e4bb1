//! The report as GitHub-flavoured Markdown: the verdict's block and the same seven sections as
//! the page has, with tables in place of pictures. Names, flags and messages from outside stay
//! text: whatever would be markup is escaped.

use std::fmt::Write as _;

use super::content::files::link;
use super::content::parts::{Cell, Part, Section, Span, Table, To};
use super::content::{Input, line, sections};
use super::pictures::Picture;
use crate::clean;

/// The report. Ends with a newline.
pub fn render(input: &Input<'_>) -> String {
    let mut text = Text { input, out: String::new() };
    let mark = text.mark();
    text.block(&format!("# {}{mark}", escaped(&input.title())));
    if input.ranking.simulated {
        text.block("**SIMULATED**: no figure here comes from a GPU.");
    }
    if let Some(partial) = input.partial() {
        text.block(&format!("**{}.**", escaped(&partial)));
    }
    text.block(&format!("## Summary{mark}"));
    let entries = input.block();
    let mut last = "";
    let mut lines = Vec::new();
    for entry in &entries {
        let spans = text.spans(&line(entry));
        lines.push(if entry.label == last {
            format!("  - {spans}")
        } else {
            format!("- **{}** {spans}", entry.label)
        });
        last = entry.label;
    }
    text.block(&lines.join("\n"));
    for (at, section) in sections(input).iter().enumerate() {
        text.section(at + 1, section);
    }
    text.out
}

/// The text as it grows.
struct Text<'a> {
    input: &'a Input<'a>,
    out: String,
}

impl Text<'_> {
    /// What follows every title of a simulated sweep.
    fn mark(&self) -> String {
        self.input.mark().map_or(String::new(), |mark| format!(" ({mark})"))
    }

    /// A block of lines, with an empty line before the next one.
    fn block(&mut self, lines: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(lines.trim_end());
        self.out.push('\n');
    }

    fn section(&mut self, number: usize, section: &Section) {
        let mark = self.mark();
        self.block(&format!("## {number}. {}{mark}", section.title));
        for part in &section.parts {
            self.part(part);
        }
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Heading(title) => self.block(&format!("### {}", escaped(title))),
            Part::Text(spans) => {
                let line = self.spans(spans);
                self.block(&line);
            }
            Part::List(lines) => {
                let lines: Vec<String> =
                    lines.iter().map(|spans| format!("- {}", self.spans(spans))).collect();
                self.block(&lines.join("\n"));
            }
            Part::Table(table) => self.table(table),
            Part::Picture(picture) => self.picture(picture),
            Part::Folded(title, parts) => {
                self.block(&format!("**{}**", escaped(title)));
                for part in parts {
                    self.part(part);
                }
            }
            Part::Code(text) => self.block(&fenced(text)),
        }
    }

    fn picture(&mut self, picture: &Picture) {
        // A picture's own title says it as a rule.
        let is_marked = picture.title.starts_with("Simulated");
        let mark = if is_marked { String::new() } else { self.mark() };
        let Some((head, rows)) = picture.table.split_first() else {
            self.block(&escaped(&picture.title));
            return;
        };
        self.block(&format!("### {}{mark}", escaped(&picture.title)));
        self.block(&escaped(&picture.caption));
        let cells = |row: &Vec<String>| row.iter().map(|it| escaped(it)).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let text = drawn(&cells(head), &rows, &[]);
        self.block(&text);
    }

    fn table(&mut self, table: &Table) {
        self.block(&format!("**{}**", escaped(&table.caption)));
        let head: Vec<String> = table.head.iter().map(|it| escaped(it)).collect();
        let rows: Vec<Vec<String>> = table
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| self.inline(&cell.spans, true)).collect())
            .collect();
        let is_number = |at: usize| {
            let mut cells = table.rows.iter().filter_map(|row| row.get(at));
            !table.rows.is_empty() && cells.all(|cell: &Cell| cell.is_number)
        };
        let numbers: Vec<usize> = (0..head.len()).filter(|at| is_number(*at)).collect();
        let text = drawn(&head, &rows, &numbers);
        self.block(&text);
    }

    fn spans(&self, spans: &[Span]) -> String {
        self.inline(spans, false)
    }

    /// `is_cell`: in a table.
    fn inline(&self, spans: &[Span], is_cell: bool) -> String {
        let text = |span: &Span| match span {
            // The launches are in the page alone.
            Span::Text(text) | Span::Link(text, To::Configuration(_) | To::Launch(_)) => {
                escaped(text)
            }
            Span::Code(text) => code(text, is_cell),
            Span::Strong(text) => format!("**{}**", escaped(text)),
            Span::Link(text, To::File(path)) => {
                format!("[{}]({}{})", escaped(text), self.input.base, link(path))
            }
        };
        spans.iter().map(text).collect()
    }
}

/// A table of cells that are escaped.
fn drawn(head: &[String], rows: &[Vec<String>], numbers: &[usize]) -> String {
    let mut out = String::new();
    let mut row = |cells: &[String]| {
        // A text takes whatever is written.
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    };
    row(head);
    let rules: Vec<String> = (0..head.len())
        .map(|at| if numbers.contains(&at) { "--:" } else { "---" }.to_owned())
        .collect();
    row(&rules);
    for cells in rows {
        row(cells);
    }
    out
}

/// One line of text that is no markup, in a table or outside of one.
fn escaped(text: &str) -> String {
    let whole = clean::plain(text);
    let text = whole.trim();
    if text.is_empty() {
        return if whole.is_empty() { String::new() } else { " ".to_owned() };
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut before: Option<char> = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let after = letters.peek().copied();
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // No address becomes a link, no name a mention.
            '@' => out.push_str("&#64;"),
            ':' if after == Some('/') => out.push_str("&#58;"),
            '.' if out.ends_with("www") => out.push_str("&#46;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '$' => out.extend(['\\', letter]),
            // Inside of a word it is one.
            '_' => {
                let is_inside = |it: Option<char>| it.is_some_and(char::is_alphanumeric);
                if !(is_inside(before) && is_inside(after)) {
                    out.push('\\');
                }
                out.push('_');
            }
            '#' if before.is_none() => out.push_str("\\#"),
            '+' | '-' | '='
                if before.is_none() && after.is_none_or(|it| it == ' ' || it == letter) =>
            {
                // A flag is no list, and no line.
                let is_flag =
                    text.starts_with("--") && text.contains(|it: char| it.is_alphanumeric());
                out.push_str(if is_flag { "" } else { "\\" });
                out.push(letter);
            }
            '.' | ')' if after.is_none_or(|it| it == ' ') && is_number(&out) => {
                out.extend(['\\', letter]);
            }
            '\u{a0}' => out.push(' '),
            other => out.push(other),
        }
        before = Some(letter);
    }
    // A cell of `-` alone is no list.
    let out = if out == "\\-" { "-".to_owned() } else { out };
    format!("{}{out}{}", space_at(whole.starts_with(' ')), space_at(whole.ends_with(' ')))
}

/// Digits alone: with a full stop they would begin a list.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

/// Spaces at both ends are those between the pieces of a line.
fn space_at(is_there: bool) -> &'static str {
    if is_there { " " } else { "" }
}

/// A piece of code, whatever backticks it has. In a table, where a bar would end the cell in code
/// too and a backslash before it would be lost, one with bars is HTML.
fn code(text: &str, is_cell: bool) -> String {
    let text = clean::plain(text);
    if text.trim().is_empty() {
        return String::new();
    }
    if is_cell && text.contains('|') {
        let letter = |it: char| match it {
            '-' | '=' => it.to_string(),
            it if it.is_ascii_punctuation() => format!("&#{};", u32::from(it)),
            it => it.to_string(),
        };
        return format!("<code>{}</code>", text.chars().map(letter).collect::<String>());
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Lines as they are, whatever fences they have.
fn fenced(text: &str) -> String {
    let text = clean::lines(text);
    let fence = "`".repeat(longest_run(&text).max(2) + 1);
    format!("{fence}text\n{}\n{fence}", text.trim_end())
}

/// The longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|it| it != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_in_code_is_itself_outside_of_a_table_and_ends_no_cell_inside() {
        assert_eq!(code("a|b", false), "`a|b`");
        assert_eq!(code(r"a\|b", false), r"`a\|b`");
        assert_eq!(code(r"--a=x\|*b*", true), "<code>--a=x&#92;&#124;&#42;b&#42;</code>");
        assert_eq!(code("a`b", true), "``a`b``", "without a bar it is code");
    }
}
