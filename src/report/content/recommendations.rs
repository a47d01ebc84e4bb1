//! Section 5: what to take for which use. A configuration is recommended only where its
//! difference to the baseline is shown; else the baseline is kept.

use super::super::spoken;
use super::parts::{Cell, Part, Span, Table, To};
use super::{Input, change, counts, figure};

use crate::results::analysis::Use;
use crate::results::number;

pub(super) fn parts(input: &Input<'_>) -> Vec<Part> {
    let uses = &input.analysis.uses;
    if uses.is_empty() {
        return vec![Part::text("No use was judged.")];
    }
    let mut parts = vec![Part::List(uses.iter().map(|it| advice(input, it)).collect())];
    let measured: Vec<&Use> = uses.iter().filter(|it| it.without.is_none()).collect();
    if !measured.is_empty() {
        let head = [
            "use",
            "judged by",
            "best figure, or candidate",
            "figure [95%]",
            "baseline [95%]",
            "change [95%]",
            "launches x repeats",
            "shown",
        ];
        parts.push(Part::Table(Table {
            caption: "By use".to_owned(),
            head: head.map(str::to_owned).to_vec(),
            rows: measured.iter().map(|it| row(input, it)).collect(),
            is_sorted: true,
        }));
    }
    parts.push(Part::text(
        "shown: the difference to the baseline is claimed at the 5% level over all uses and \
         configurations that were compared (Holm). It is unconfirmed all the same, as it comes from the \
         launches that chose it, unless it is said to be confirmed.",
    ));
    parts
}

/// One sentence for a use.
fn advice(input: &Input<'_>, of: &Use) -> Vec<Span> {
    let mut spans = vec![Span::Strong(of.name.to_owned()), Span::text(": ")];
    if let Some(why) = &of.without {
        spans.push(Span::text(format!("nothing is said: {why}.")));
        return spans;
    }
    let link = |index: usize| Span::Link(input.name(index).to_owned(), To::Configuration(index));
    let is = if of.by_ranking { "is the ranking's candidate" } else { "has the best figure" };
    match (of.best, of.against) {
        (Some(best), Some(base)) if best == base => {
            spans.extend(keep(input, base));
            spans.push(Span::text(format!("it {is}.")));
        }
        (Some(best), _) if of.shown => {
            spans.extend([Span::text("take "), link(best)]);
            let change = of.ratio.as_ref().map_or(String::new(), |it| format!(": {}", change(it)));
            let mark =
                if of.confirmed.is_some() { "confirmed on fresh launches" } else { "unconfirmed" };
            spans.push(Span::text(format!("{change} against the baseline, {mark}.")));
        }
        (Some(best), Some(base)) => {
            spans.extend(keep(input, base));
            let shown = if of.confirmed.is_some() { "confirmed" } else { "shown" };
            let said = format!(" {is}, and is not {shown} to be better.");
            spans.extend([link(best), Span::text(said)]);
        }
        (Some(best), None) => {
            spans.extend([link(best), Span::text(format!(" {is}; there is no baseline."))]);
        }
        (None, _) => spans.push(Span::text("no configuration has a figure.")),
    }
    spans
}

/// `keep a: `, or `keep production (it ran as a): `.
fn keep(input: &Input<'_>, base: usize) -> Vec<Span> {
    let link = |index: usize| Span::Link(input.name(index).to_owned(), To::Configuration(index));
    let mut spans = vec![Span::text("keep ")];
    match input.rows().find(|(index, row)| row.baseline && *index != base) {
        Some((named, _)) => {
            spans.extend([link(named), Span::text(" (it ran as "), link(base), Span::text("): ")]);
        }
        None => spans.extend([link(base), Span::text(": ")]),
    }
    spans
}

fn row(input: &Input<'_>, of: &Use) -> Vec<Cell> {
    let unit = number::unit(&of.metric);
    let goal = spoken::wanted(of.goal);
    let best = of.best.map_or_else(Cell::nothing, |it| {
        Cell::link(input.name(it).to_owned(), To::Configuration(it))
    });
    let own = of.figure.as_ref().map_or_else(Cell::nothing, |it| match of.best {
        Some(best) => Cell::figure(figure(it, unit), To::Configuration(best)),
        None => Cell::number(figure(it, unit)),
    });
    let base = of.baseline.as_ref().map_or_else(Cell::nothing, |it| Cell::number(figure(it, unit)));
    let ratio = of.ratio.as_ref().map_or_else(Cell::nothing, |it| Cell::number(change(it)));
    let n = of.figure.as_ref().map(|it| counts(it.launches, it.repeats));
    vec![
        Cell::text(of.name),
        Cell::text(format!("{} ({goal})", of.metric)),
        best,
        own,
        base,
        ratio,
        Cell::number(n.unwrap_or_else(|| "-".to_owned())),
        Cell::text(if of.shown { "yes" } else { "no" }),
    ]
}
