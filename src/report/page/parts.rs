//! The parts of a section as HTML. Every text is cleaned of what acts and escaped here.

use std::borrow::Cow;

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

/// A table in a region of its own that scrolls.
pub(super) fn table(input: &Input<'_>, table: &Table) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(plain(&table.caption)) {
            table data-sort[table.is_sorted] {
                caption { (plain(&table.caption)) }
                thead { tr { @for head in &table.head { th scope="col" { (plain(head)) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                (self::cell(input, cell, at == 0))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(input: &Input<'_>, cell: &Cell, is_heading: bool) -> Markup {
    html! {
        @if is_heading { th scope="row" { (line(input, &cell.spans)) } }
        @else if cell.is_number { td.n { (figure(input, &cell.spans)) } }
        @else if cell.is_long() { td.w { (line(input, &cell.spans)) } }
        @else { td { (line(input, &cell.spans)) } }
    }
}

/// A figure that is clicked leads to its launches; for the keyboard the row's name does.
fn figure(input: &Input<'_>, spans: &[Span]) -> Markup {
    html! {
        @for span in spans {
            @match span {
                Span::Link(text, to) => a href=(target(input, to)) tabindex="-1" { (shown(text)) },
                other => (line(input, std::slice::from_ref(other))),
            }
        }
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
                (behind(picture))
            }
        } @else {
            p id=(id) { (plain(&picture.title)) }
        }
    }
}

fn behind(picture: &Picture) -> Markup {
    let Some((head, rows)) = picture.table.split_first() else { return html! {} };
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
                                    @if at == 0 { th scope="row" { (plain(cell)) } }
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
