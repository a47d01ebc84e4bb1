//! The report as one HTML file: no network, no external style, font or script. A summary on
//! top, seven sections, and every launch with what it left on the disk. What it says is in
//! `content`; here it becomes HTML. It is complete without its script, which only sorts,
//! switches colours and opens what a link leads to.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::content::parts::Section;
use super::content::{Input, sections};
use super::reading_lines::Entry;

mod launches;
mod parts;
mod svg;

/// The page's own look.
const STYLE: &str = include_str!("style.css");
/// What makes it more comfortable.
const SCRIPT: &str = include_str!("script.js");
/// Nothing is fetched, from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      img-src data:; base-uri 'none'; form-action 'none'";
/// Seconds between two loads of a page that is not complete.
const RELOAD: u32 = 10;

/// The page.
pub fn render(input: &Input<'_>) -> String {
    let sections = sections(input);
    let reload = input.goes_on();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                meta name="generator" content="vllm-grid";
                @if reload {
                    noscript { meta http-equiv="refresh" content=(RELOAD); }
                }
                title { (title(input)) }
                style { (PreEscaped(STYLE)) (PreEscaped(super::pictures::STYLE)) }
            }
            body data-reload=[reload.then_some(RELOAD)] {
                a.skip href="#summary" { "Skip to the summary" }
                (header(input, &sections))
                main {
                    (summary(input))
                    @for (at, section) in sections.iter().enumerate() {
                        (self::section(input, at + 1, section))
                    }
                    (launches::render(input))
                }
                footer { p { "Written by vllm-grid " (env!("CARGO_PKG_VERSION")) "." } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The document's title.
fn title(input: &Input<'_>) -> String {
    let mark = input.mark().map_or(String::new(), |mark| format!("{} - ", mark.to_uppercase()));
    let partial = if input.partial().is_some() { " (partial)" } else { "" };
    format!("{mark}{}{partial}", parts::plain(&input.title()))
}

/// What follows a heading of a simulated sweep.
fn mark(input: &Input<'_>) -> Markup {
    html! { @if let Some(mark) = input.mark() { " " span.simulated { (mark) } } }
}

fn header(input: &Input<'_>, sections: &[Section]) -> Markup {
    html! {
        header {
            h1 { (parts::plain(&input.title())) (mark(input)) }
            @if input.ranking.simulated {
                p.banner { strong { "SIMULATED" } ": no figure here comes from a GPU." }
            }
            @if let Some(partial) = input.partial() {
                p.banner.partial { (partial) "." }
            }
            nav aria-label="Sections" {
                ul {
                    li { a href="#summary" { "Summary" } }
                    @for section in sections {
                        li { a href={ "#" (section.id) } { (section.title) } }
                    }
                    li { a href="#launches" { "Launches" } }
                }
            }
        }
    }
}

/// The block of the verdict, with its words.
fn summary(input: &Input<'_>) -> Markup {
    let block = input.block();
    let groups = block.chunk_by(|a, b| a.label == b.label);
    html! {
        section id="summary" tabindex="-1" aria-labelledby="summary-title" {
            h2 id="summary-title" { "Summary" (mark(input)) }
            dl.verdict {
                @for group in groups {
                    div class={ "entry " (group[0].label.to_lowercase()) } {
                        dt { (group[0].label) }
                        @for entry in group { dd { (self::entry(input, entry)) } }
                    }
                }
            }
        }
    }
}

fn entry(input: &Input<'_>, entry: &Entry) -> Markup {
    parts::line(input, &super::content::line(entry))
}

fn section(input: &Input<'_>, number: usize, section: &Section) -> Markup {
    let title = format!("{}-title", section.id);
    html! {
        section id=(section.id) aria-labelledby=(title) {
            h2 id=(title) { (number) ". " (section.title) (mark(input)) }
            @for part in &section.parts { (parts::part(input, part)) }
        }
    }
}
