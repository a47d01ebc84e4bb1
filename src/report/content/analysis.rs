//! Section 4: what the figures say together. Effects of the axes and their interactions,
//! trade-offs, the Pareto front, distributions, the load ladder; mostly pictures, each with its
//! table, and what cannot be said.

use super::parts::{Cell, Part, Table};
use super::{Input, figure};
use crate::results::analysis::{Axis, Interaction, Pareto};
use crate::results::number;

pub(super) fn parts(input: &Input<'_>) -> Vec<Part> {
    let mut parts = vec![Part::Heading("Effects of the axes".to_owned())];
    parts.extend(effects(input));
    parts.push(Part::Heading("Trade-offs".to_owned()));
    parts.extend(pareto(input));
    let rest = ["hit", "distribution", "turn", "ladder", "quality"];
    let rest: Vec<Part> = rest.iter().flat_map(|it| super::pictures(input, it)).collect();
    let without = without_hits(input);
    if !rest.is_empty() || without.is_some() {
        parts.push(Part::Heading("Cache, distributions, load".to_owned()));
        parts.extend(rest);
        parts.extend(without);
    }
    parts.extend(super::unplaced(input));
    parts
}

fn effects(input: &Input<'_>) -> Vec<Part> {
    let effects = &input.analysis.effects;
    let mut parts = super::pictures(input, "effect");
    parts.extend(super::pictures(input, "interaction"));
    if let Some(why) = &effects.without {
        parts.push(Part::text(format!("Nothing is said of axes: {why}.")));
    } else if effects.axes.is_empty() {
        parts.push(Part::text("No axis has two values that were measured."));
    }
    if !effects.confounded.is_empty() {
        parts.push(Part::text(format!(
            "Not estimable, since their values always change together with those of others: {}.",
            effects.confounded.join(", ")
        )));
    }
    if !effects.left_out.is_empty() {
        let names = effects.left_out.iter().map(|it| super::configuration::named(input.name(*it)));
        parts.push(Part::text(format!(
            "Left out of the effects, since each alone has a value of several axes: {}.",
            names.collect::<Vec<_>>().join(", ")
        )));
    }
    let carried = input.ranking.is_carried();
    parts.extend(effects.axes.iter().map(|axis| Part::Text(vec![said(axis, carried)])));
    if !carried && !effects.axes.is_empty() {
        parts.push(Part::text(
            "The measurement carries no decision between configurations (section 6 says why): what follows \
             from it for an axis is not shown either, whatever its p-value.",
        ));
    }
    if !effects.axes.is_empty() {
        let scale = if effects.ratios {
            "ratios to the mean over the axis's values"
        } else {
            "differences to the mean over the axis's values"
        };
        parts.push(Part::text(format!(
            "Effects are {scale}, the other axes held; p-values are adjusted over the axes (Holm)."
        )));
        parts.push(match effects.interactions.as_slice() {
            [] => Part::text(
                "No interaction is shown: that does not mean that there is none, a sweep of this \
                 size shows only large ones.",
            ),
            several => Part::text(format!(
                "{} {} not to add up: read the combinations, not each axis alone.",
                match (several.len(), carried) {
                    (1, true) => "1 pair of axes is".to_owned(),
                    (1, false) => "1 pair of axes".to_owned(),
                    (more, true) => format!("{more} pairs of axes are"),
                    (more, false) => format!("{more} pairs of axes"),
                },
                match (several.len(), carried) {
                    (_, true) => "shown",
                    (1, false) => "seems",
                    (_, false) => "seem",
                }
            )),
        });
    }
    let unit = number::unit(&input.ranking.objective.metric);
    // A picture has its table behind it.
    let is_drawn = input.pictures.iter().any(|it| it.id.starts_with("interaction"));
    let undrawn = effects.interactions.iter().filter(|_| !is_drawn);
    parts.extend(undrawn.map(|it| Part::Table(interaction(it, unit))));
    parts
}

fn said(axis: &Axis, carried: bool) -> super::parts::Span {
    let what = match axis.p {
        Some(p) if p < crate::statistics::SIGNIFICANCE && !carried => {
            format!("seems to act on the objective (p {}), which is not shown", p_value(p))
        }
        Some(p) if p < crate::statistics::SIGNIFICANCE => {
            format!("acts on the objective (p {})", p_value(p))
        }
        Some(p) => format!("is not shown to act on the objective (p {})", p_value(p)),
        None => "was not tested".to_owned(),
    };
    super::parts::Span::text(format!("{} {what}.", axis.name))
}

/// `= 0.012`, `< 0.001`.
fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("= {p:.3}") }
}

fn interaction(of: &Interaction, unit: &str) -> Table {
    let row = |(first, second, value): &(String, String, crate::results::analysis::Figure)| {
        vec![
            Cell::text(first.clone()),
            Cell::text(second.clone()),
            Cell::number(figure(value, unit)),
            Cell::number(super::counts(value.launches, value.repeats)),
        ]
    };
    Table {
        caption: format!("{} and {} do not add up (p {})", of.first, of.second, p_value(of.p)),
        head: vec![
            of.first.clone(),
            of.second.clone(),
            "objective [95%]".to_owned(),
            "launches x repeats".to_owned(),
        ],
        rows: of.cells.iter().map(row).collect(),
        is_sorted: true,
    }
}

fn pareto(input: &Input<'_>) -> Vec<Part> {
    let mut parts = super::pictures(input, "pareto");
    match &input.analysis.pareto {
        None => {
            parts.push(Part::text("There is no second metric that it could be traded against."));
        }
        Some(pareto) => parts.push(Part::text(front(input, pareto))),
    }
    parts
}

fn front(input: &Input<'_>, pareto: &Pareto) -> String {
    let on: Vec<String> = pareto
        .points
        .iter()
        .filter(|it| it.on_front)
        .map(|it| super::configuration::named(input.name(it.configuration)))
        .collect();
    format!(
        "By their means, {} of {} configurations are on the front of {} and {}: {}. A place on the front is \
         an estimate: neighbours whose intervals overlap are not shown to differ.",
        on.len(),
        pareto.points.len(),
        pareto.x,
        pareto.y,
        on.join(", ")
    )
}

fn without_hits(input: &Input<'_>) -> Option<Part> {
    let without = &input.analysis.hits.without;
    if without.is_empty() || without.len() == input.ranking.rows.len() {
        return None;
    }
    let line = |(index, why): &(usize, String)| {
        format!(
            "{}: no figure of a cache hit: {why}",
            super::configuration::named(input.name(*index))
        )
    };
    Some(Part::list(without.iter().map(line)))
}
