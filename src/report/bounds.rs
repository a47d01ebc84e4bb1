//! The configurations compared with the objective's bounds: each figure with its
//! interval next to its bound. One word for all of them does not say by how much.

use super::fields::{Field, PADDING, folded};
use super::names::narrow;
use super::text::{plain, wrap};
use crate::results::number;
use crate::results::ranking::{Bounded, ConstraintVerdict, Ranking};

/// Columns of a name at most.
const NAME: usize = 24;

/// A table of all bounds, at most `columns` wide; `None` where there is no bound, or
/// nothing was measured of any.
pub(super) fn render(ranking: &Ranking, columns: usize) -> Option<String> {
    let measured = |bounded: &Bounded| bounded.estimate.is_some();
    let rows: Vec<_> =
        ranking.rows.iter().filter(|row| row.constraints.iter().any(measured)).collect();
    let first = rows.first()?;
    let names: Vec<String> = rows.iter().map(|row| plain(&row.name)).collect();
    let baseline = rows.iter().position(|row| row.baseline);
    let label = Field::new("bounds", narrow(&names, baseline, NAME..=columns / 2).shown);
    let bounds: Vec<String> = first.constraints.iter().map(bound).collect();
    let fields = |headers: &[String]| -> Vec<Field> {
        let cells = |index: usize| rows.iter().map(|row| cell(&row.constraints[index])).collect();
        let headers = headers.iter().enumerate();
        headers.map(|(index, header)| Field::new(header, cells(index)).right()).collect()
    };
    let named = fields(&bounds);
    let wide: usize = named.iter().map(|field| field.width() + PADDING).sum();
    // Long names that do not fit side by side are listed below.
    let (fields, mut notes) = if label.width() + wide <= columns {
        (named, Vec::new())
    } else {
        let marks: Vec<String> = (1..=bounds.len()).map(|number| format!("({number})")).collect();
        let lines = marks.iter().zip(&bounds).map(|(mark, bound)| format!("{mark} {bound}"));
        (fields(&marks), lines.collect::<Vec<_>>())
    };
    let verdicts = rows.iter().flat_map(|row| &row.constraints).map(|bounded| bounded.verdict);
    let verdicts: Vec<ConstraintVerdict> = verdicts.collect();
    for (verdict, note) in [
        (ConstraintVerdict::Violated, "! broken: the whole interval is beyond the bound"),
        (
            ConstraintVerdict::NotShown,
            "? not shown to be within the bound: the bound lies in the interval",
        ),
    ] {
        notes.extend(verdicts.contains(&verdict).then(|| note.to_owned()));
    }
    let mut blocks = vec![folded(&label, &fields, columns)];
    if !notes.is_empty() {
        let lines: Vec<String> = notes.iter().map(|note| wrap(note, columns, "    ")).collect();
        blocks.push(lines.join("\n"));
    }
    Some(blocks.join("\n\n"))
}

/// `load.median_ttft_ms: at most 4000 ms`.
fn bound(bounded: &Bounded) -> String {
    let bounds: Vec<String> = bounded.bounds.iter().map(number::bound).collect();
    plain(&format!("{}: {}", bounded.metric, bounds.join(" and ")))
}

/// `4003 ms [3801, 4200] ?`.
fn cell(bounded: &Bounded) -> String {
    let mark = match bounded.verdict {
        ConstraintVerdict::Holds => ' ',
        ConstraintVerdict::NotShown => '?',
        ConstraintVerdict::Violated => '!',
        ConstraintVerdict::NotMeasured => return "-  ".to_owned(),
    };
    let unit = number::unit(&bounded.metric);
    let figure = bounded.estimate.as_ref().map_or("-".to_owned(), |e| number::estimate(e, unit));
    format!("{figure} {mark}")
}
