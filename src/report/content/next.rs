//! Section 7: what to do next. The verdict's own steps, about how many launches would separate
//! configurations, and combinations next to the candidate that were not tried.

use super::Input;
use super::parts::{Cell, Part, Span, Table, To};
use crate::report::reading_lines::Entry;
use crate::report::spoken::GLUE;
use crate::results::analysis::Separation;

/// Separations that are shown.
const MOST: usize = 40;

pub(super) fn parts(input: &Input<'_>) -> Vec<Part> {
    let steps: Vec<Vec<Span>> =
        input.block().iter().filter(|it| matches!(it.label, "NEXT" | "FIX")).map(line).collect();
    let mut parts = Vec::new();
    parts.push(if steps.is_empty() {
        Part::text("Nothing is to be done.")
    } else {
        Part::List(steps)
    });
    parts.extend(separations(input));
    parts.extend(neighbours(input));
    parts
}

/// An entry of the block as spans: what stays whole is code, but for a remark in brackets.
pub(in crate::report) fn line(entry: &Entry) -> Vec<Span> {
    if !entry.whole {
        return vec![Span::Text(entry.parts.join(" "))];
    }
    let mut spans: Vec<Span> = Vec::new();
    spans.extend(entry.prefix.map(|it| Span::text(format!("{it} "))));
    for (at, part) in entry.parts.iter().enumerate() {
        if at > 0 {
            spans.push(Span::text(" "));
        }
        let text = part.trim_start_matches(GLUE).replace(GLUE, " ");
        spans.push(if part.starts_with(GLUE) { Span::Text(text) } else { Span::Code(text) });
    }
    spans
}

fn separations(input: &Input<'_>) -> Vec<Part> {
    let all = &input.analysis.separations;
    if all.is_empty() {
        return Vec::new();
    }
    let row = |it: &Separation| {
        let name =
            |index: usize| Cell::link(input.name(index).to_owned(), To::Configuration(index));
        let launches = it.launches.map_or("more than 200".to_owned(), |it| format!("about {it}"));
        vec![
            name(it.first),
            name(it.second),
            Cell::number(format!("{:+.1}%", (it.ratio - 1.0) * 100.0)),
            Cell::number(it.have.to_string()),
            Cell::number(launches),
        ]
    };
    let head = [
        "configuration",
        "and",
        "estimated difference",
        "launches of each so far",
        "launches of each that would show it",
    ];
    let mut parts = vec![Part::Table(Table {
        caption: "What would separate configurations".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: all.iter().take(MOST).map(row).collect(),
        is_sorted: true,
    })];
    let more = all.len().saturating_sub(MOST);
    let rest =
        if more > 0 { format!(" {more} further pairs are left out.") } else { String::new() };
    parts.push(Part::text(format!(
        "Launches that show a difference of the estimated size four times out of five, at the 5% level over \
         all comparisons of the ranking. The estimate itself \
         is uncertain: the true difference may be smaller, and need more.{rest}"
    )));
    parts
}

fn neighbours(input: &Input<'_>) -> Vec<Part> {
    let all = &input.analysis.neighbours;
    if all.is_empty() {
        return Vec::new();
    }
    let row = |it: &crate::results::analysis::Neighbour| {
        vec![
            Cell::code(it.axis.clone()),
            Cell::text(it.value.clone()),
            Cell::text(it.side),
            Cell::text(it.suggestion.clone()),
        ]
    };
    vec![Part::Table(Table {
        caption: "Next to the candidate, not tried".to_owned(),
        head: ["axis", "candidate's value", "not tried", "could be tried"]
            .map(str::to_owned)
            .to_vec(),
        rows: all.iter().map(row).collect(),
        is_sorted: true,
    })]
}
