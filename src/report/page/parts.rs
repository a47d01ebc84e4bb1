//! The parts of a section as HTML. Every text is cleaned of what acts and escaped here.

use std::borrow::Cow;
use std::collections::HashMap;

use maud::{Markup, html};

use super::super::content::Input;
use super::super::content::files::link;
use super::super::content::parts::{Cell, Part, Span, Table, To};
use super::super::pictures::Picture;
use super::mark;
use crate::clean;

/// Text as it may stand in the page; maud escapes it.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    clean::plain(text)
}

pub(super) fn part(input: &Input<'_>, part: &Part) -> Markup {
    html! {
        @match part {
            Part::Heading(text) => h3 { (plain(text)) },
            Part::Text(spans) => p { (line(input, spans)) },
            Part::List(lines) => ul.lines { @for spans in lines { li { (line(input, spans)) } } },
            Part::Table(table) => (self::table(input, table)),
            Part::Picture(picture) => (self::picture(input, picture)),
            Part::Folded(title, parts) => details {
                summary { (plain(title)) }
                @for part in parts { (self::part(input, part)) }
            },
            Part::Code(text) => (code("Text", text)),
        }
    }
}

/// Lines as they are, in a region of their own that scrolls.
pub(super) fn code(label: &str, text: &str) -> Markup {
    html! { pre tabindex="0" role="group" aria-label=(plain(label)) { code { (clean::lines(text)) } } }
}

pub(super) fn line(input: &Input<'_>, spans: &[Span]) -> Markup {
    html! {
        @for span in spans {
            @match span {
                Span::Text(text) => (ticked(text)),
                Span::Code(text) => code { (plain(text)) },
                Span::Strong(text) => strong { (plain(text)) },
                Span::Link(text, to) => a href=(target(input, to)) { (shown(text)) },
            }
        }
    }
}

/// Words between backticks as code, where spaces or marks stand around them: a page has no
/// backticks, and names from outside that have some keep them.
pub(super) fn ticked(text: &str) -> Markup {
    let text = plain(text);
    let mut pieces: Vec<(&str, bool)> = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(open) = text[at..].find('`').map(|it| at + it) {
        let Some(end) = text[open + 1..].find('`').map(|it| open + 1 + it) else { break };
        let opens = text[..open].chars().next_back().is_none_or(|it| " (:\u{a0}".contains(it));
        let closes = text[end + 1..].chars().next().is_none_or(|it| !it.is_alphanumeric());
        if opens && closes && end > open + 1 {
            pieces.extend([(&text[from..open], false), (&text[open + 1..end], true)]);
            (from, at) = (end + 1, end + 1);
        } else {
            at = open + 1;
        }
    }
    pieces.push((&text[from..], false));
    html! {
        @for (piece, is_code) in pieces {
            @if is_code { code { (piece) } } @else { (piece) }
        }
    }
}

/// A link has words, whatever it leads to.
fn shown(text: &str) -> Cow<'_, str> {
    let text = plain(text);
    if text.trim().is_empty() { Cow::Borrowed("(no name)") } else { text }
}

/// Where a link leads.
pub(super) fn target(input: &Input<'_>, to: &To) -> String {
    match to {
        To::Configuration(index) => format!("#configuration-{}", index + 1),
        To::Launch(launch) => format!("#launch-{launch}"),
        To::File(path) => format!("{}{}", input.base, link(path)),
    }
}

/// A table in a region of its own that scrolls. A figure that is clicked leads to its launches;
/// for the keyboard one link does in each row, or above each column where these are the
/// configurations: a stop at every figure would be hundreds.
pub(super) fn table(input: &Input<'_>, table: &Table) -> Markup {
    let above: Vec<Option<&To>> =
        (0..table.head.len()).map(|at| column_target(table, at)).collect();
    html! {
        div.scroll tabindex="0" role="group" aria-label=(plain(&table.caption)) {
            table.tight[is_tight(table)] data-sort[table.is_sorted] {
                caption { (plain(&table.caption)) }
                thead { tr { @for (at, text) in table.head.iter().enumerate() {
                    (head(input, text, above[at], is_of_numbers(table, at)))
                } } }
                tbody {
                    @for row in &table.rows {
                        @let reached = reached(row);
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                @let is_reached = |to: &To| {
                                    reached.contains(&to) || above.get(at) == Some(&Some(to))
                                };
                                (self::cell(input, cell, at == 0, &is_reached))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn head(input: &Input<'_>, text: &str, to: Option<&To>, is_of_numbers: bool) -> Markup {
    let class = is_of_numbers.then_some("n");
    html! {
        th scope="col" class=[class] {
            @if let Some(to) = to { a href=(target(input, to)) { (shown(text)) } }
            @else { (plain(text)) }
        }
    }
}

/// Letters in a line of a window of 1000 pixels, the room between columns counted.
const LINE: usize = 118;
/// Letters of the room between two columns.
const GAP: usize = 3;

/// Whether a table has room in a line once its figures break before their intervals. One that
/// has to scroll all the same keeps each row on one line.
fn is_tight(table: &Table) -> bool {
    let widest =
        |text: &str| text.split([' ', '-']).map(|it| it.chars().count()).max().unwrap_or(0);
    let piece = |span: &Span| match span {
        Span::Text(text) | Span::Code(text) | Span::Strong(text) | Span::Link(text, _) => {
            let (mean, interval) = text.split_once(" [").unwrap_or((text, ""));
            widest(mean).max(interval.chars().count())
        }
    };
    let cell = |cell: &Cell| {
        if cell.is_long() { LINE / 2 } else { cell.spans.iter().map(piece).max().unwrap_or(0) }
    };
    let column = |(at, head): (usize, &String)| {
        let cells = table.rows.iter().filter_map(|row| row.get(at)).map(cell).max();
        cells.unwrap_or(0).max(widest(head)) + GAP
    };
    table.head.iter().enumerate().map(column).sum::<usize>() <= LINE
}

/// The heads of figures that are compared row by row stand above them, at the same side.
fn is_of_numbers(table: &Table, at: usize) -> bool {
    let mut cells = table.rows.iter().filter_map(|row| row.get(at));
    at > 0 && table.is_sorted && !table.rows.is_empty() && cells.all(|cell| cell.is_number)
}

/// The configuration that every link of a column leads to, where the columns are configurations.
fn column_target(table: &Table, at: usize) -> Option<&To> {
    // A head that sorts is a button.
    if at == 0 || table.is_sorted {
        return None;
    }
    let cells = table.rows.iter().filter_map(|row| row.get(at));
    let mut links = cells.flat_map(|cell| &cell.spans).filter_map(link_of);
    let first = links.next()?;
    links.all(|to| to == first).then_some(first)
}

/// What a row's words lead to.
fn reached(row: &[Cell]) -> Vec<&To> {
    row.iter().filter(|cell| !cell.is_number).flat_map(|it| &it.spans).filter_map(link_of).collect()
}

fn link_of(span: &Span) -> Option<&To> {
    match span {
        Span::Link(_, to) => Some(to),
        _ => None,
    }
}

/// Letters of a row's heading that stay on one line.
const SHORT: usize = 28;

fn cell(
    input: &Input<'_>,
    cell: &Cell,
    is_heading: bool,
    is_reached: &dyn Fn(&To) -> bool,
) -> Markup {
    html! {
        @if is_heading {
            th scope="row" class=[(cell.letters() <= SHORT).then_some("s")] {
                (line(input, &cell.spans))
            }
        }
        @else if cell.is_number {
            td.n {
                @for span in &cell.spans {
                    @match span {
                        Span::Link(text, to) => {
                            a href=(target(input, to)) tabindex=[is_reached(to).then_some("-1")] {
                                (figure(&shown(text)))
                            }
                        },
                        Span::Text(text) => (figure(&plain(text))),
                        other => (line(input, std::slice::from_ref(other))),
                    }
                }
            }
        }
        @else if cell.is_long() { td.w { (line(input, &cell.spans)) } }
        @else { td { (line(input, &cell.spans)) } }
    }
}

/// A figure may break before its interval, and not inside of it.
fn figure(text: &str) -> Markup {
    let parts = text.split_once(" [").and_then(|(mean, rest)| {
        let (interval, rest) = rest.split_once(']')?;
        Some((mean, interval, rest))
    });
    html! {
        @if let Some((mean, interval, rest)) = parts {
            (mean) " " span.i { "[" (interval) "]" } (rest)
        } @else { (text) }
    }
}

/// A picture with the table behind it; a sentence where there is nothing to draw.
fn picture(input: &Input<'_>, picture: &Picture) -> Markup {
    let id = format!("picture-{}", picture.id);
    html! {
        @if let Some(svg) = &picture.svg {
            figure id=(id) aria-labelledby={ (id) "-title" } {
                h3 id={ (id) "-title" } {
                    (plain(&picture.title))
                    // A picture's own title says it as a rule.
                    @if !picture.title.starts_with("Simulated") { (mark(input)) }
                }
                div.pictured { (super::svg::closed(svg)) }
                figcaption { (plain(&picture.caption)) }
                (behind(input, picture))
            }
        } @else {
            p id=(id) { (plain(&picture.title)) }
        }
    }
}

/// The rows that are named like a configuration lead to it.
fn behind(input: &Input<'_>, picture: &Picture) -> Markup {
    let Some((head, rows)) = picture.table.split_first() else { return html! {} };
    let configurations: HashMap<&str, usize> =
        input.rows().map(|(index, row)| (row.name.as_str(), index)).collect();
    html! {
        details {
            summary { "The same figures as a table" }
            div.scroll tabindex="0" role="group" aria-label=(plain(&picture.title)) {
                table {
                    caption { (plain(&picture.title)) }
                    thead { tr { @for cell in head { th scope="col" { (plain(cell)) } } } }
                    tbody {
                        @for row in rows {
                            tr {
                                @for (at, cell) in row.iter().enumerate() {
                                    @if at == 0 {
                                        th scope="row" {
                                            @if let Some(index) = configurations.get(cell.as_str()) {
                                                a href=(target(input, &To::Configuration(*index))) {
                                                    (shown(cell))
                                                }
                                            } @else { (plain(cell)) }
                                        }
                                    }
                                    @else { td.n { (plain(cell)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(figures: usize) -> Table {
        let figure = || Cell::figure("11012 tokens/s [10567, 11476]", To::Configuration(0));
        let head = ["use", "judged by"].into_iter().chain(std::iter::repeat_n("figure", figures));
        let row = [Cell::text("throughput"), Cell::text("load.output_throughput")];
        Table {
            caption: String::new(),
            head: head.map(str::to_owned).collect(),
            rows: vec![row.into_iter().chain((0..figures).map(|_| figure())).collect()],
            is_sorted: true,
        }
    }

    #[test]
    fn a_table_is_tight_where_it_fits_by_that() {
        assert!(is_tight(&of(4)));
        assert!(!is_tight(&of(8)), "it scrolls all the same");
        let mut remarked = of(4);
        remarked.rows[0][1] =
            Cell::text("a remark that is a sentence and has fifty letters or more");
        assert!(!is_tight(&remarked));
    }

    #[test]
    fn a_figure_breaks_before_its_interval_only() {
        let html = |text| figure(text).into_string();
        assert_eq!(html("1 [0, 2], seen"), "1 <span class=\"i\">[0, 2]</span>, seen");
        assert_eq!((html("3 x 2"), html("a [b")), ("3 x 2".to_owned(), "a [b".to_owned()));
    }
}
