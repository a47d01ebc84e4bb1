//! Section 3: few configurations side by side, a column for each: flags with proofs, the
//! objective, the bounds, and every metric that both have.

use super::parts::{Cell, Part, Table, To};
use super::results::{effect, label};
use super::{Input, counts, estimate, proofs, shown};
use crate::results::bounded::Bounded;
use crate::results::number;
use crate::results::ranking::RankedConfiguration;

pub(super) fn parts(input: &Input<'_>) -> Vec<Part> {
    let compared: Vec<(usize, &RankedConfiguration)> = input
        .compared
        .iter()
        .filter_map(|index| Some((*index, input.ranking.rows.get(*index)?)))
        .collect();
    if compared.is_empty() {
        return vec![Part::text("There is no configuration to compare.")];
    }
    let names: Vec<String> = compared.iter().map(|(_, row)| named(input, row)).collect();
    let note = "Every figure is a mean with its 95% interval and what it rests on (launches x repeats). \
                Figures of two columns whose intervals do not overlap may still not be shown to differ: \
                what is shown stands in the row \"against the baseline\".";
    vec![
        Part::Table(overview(input, &compared, &names)),
        Part::Table(metrics(input, &compared, &names)),
        Part::text(note),
    ]
}

fn named(input: &Input<'_>, row: &RankedConfiguration) -> String {
    let mark = match (row.baseline, input.ranking.mark(row)) {
        (true, Some(mark)) => format!(" (baseline, {mark})"),
        (true, None) => " (baseline)".to_owned(),
        (false, Some(mark)) => format!(" ({mark})"),
        (false, None) => String::new(),
    };
    format!("{}{mark}", row.name)
}

fn head(first: &str, names: &[String]) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(names.iter().cloned()).collect()
}

type Row<'a> = (usize, &'a RankedConfiguration);

fn overview(input: &Input<'_>, compared: &[Row<'_>], names: &[String]) -> Table {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut line = |what: &str, read: &dyn Fn(Row<'_>) -> Cell| {
        let cells = compared.iter().map(|row| read(*row));
        rows.push(std::iter::once(Cell::text(what)).chain(cells).collect());
    };
    line("rank", &|(_, row)| Cell::text(row.rank_label.clone().unwrap_or_else(|| "-".to_owned())));
    for flag in &input.record.manifest.varied {
        let cell = |(index, row): Row<'_>| {
            let asked = shown(row.varied.get(flag));
            let proven = proofs::of(input.counted(index));
            let proof = proven.get(flag).map(|it| format!(": {}", it.words()));
            Cell::text(asked + &proof.unwrap_or_default())
        };
        line(&format!("--{flag}"), &cell);
    }
    let metric = &input.ranking.objective.metric;
    let unit = number::unit(metric);
    line(&metric.to_string(), &|(index, row)| with_n(index, row, 0, unit));
    line("against the baseline", &|(index, row)| effect(input, index, row));
    for (at, bounded) in input.ranking.constrained.iter().enumerate() {
        let cell = |(index, row): Row<'_>| {
            row.constraints.get(at).map_or_else(Cell::nothing, |it| bound(index, it))
        };
        line(&format!("bound of {bounded}"), &cell);
    }
    line("launches that lived", &|(index, row)| {
        Cell::figure(format!("{} of {}", row.lived, row.settled), To::Configuration(index))
    });
    line("repeats that failed or were void", &|(index, row)| {
        let text = format!("{} failed, {} void", row.failed_repeats, row.void_repeats);
        Cell::figure(text, To::Configuration(index))
    });
    line("remarks", &|(_, row)| {
        let remarks: Vec<String> = row.all_remarks().iter().map(ToString::to_string).collect();
        Cell::text(row.reason().unwrap_or_else(|| remarks.join("; ")))
    });
    Table { caption: "Side by side".to_owned(), head: head("what", names), rows, is_sorted: false }
}

fn with_n(index: usize, row: &RankedConfiguration, at: usize, unit: &str) -> Cell {
    let it = row.estimates.get(at).and_then(Option::as_ref);
    let Some(of) = it else { return Cell::nothing() };
    let mut cell = estimate(index, it, unit);
    if let Some(super::parts::Span::Link(text, _)) = cell.spans.first_mut() {
        text.push_str(&format!(" ({})", counts(of.launches, of.repeats)));
    }
    cell
}

fn bound(index: usize, bounded: &Bounded) -> Cell {
    let unit = number::unit(&bounded.metric);
    let figure = bounded.estimate.as_ref().map_or("-".to_owned(), |it| number::estimate(it, unit));
    let bounds: Vec<String> = bounded.bounds.iter().map(number::bound).collect();
    let word = crate::report::reading::word(bounded.verdict);
    Cell::figure(format!("{figure}, {}: {word}", bounds.join(" and ")), To::Configuration(index))
}

fn metrics(input: &Input<'_>, compared: &[Row<'_>], names: &[String]) -> Table {
    let ranking = input.ranking;
    let mut rows = Vec::new();
    for (at, metric) in ranking.metrics.iter().enumerate() {
        if compared.iter().all(|(_, row)| row.estimates[at].is_none()) {
            continue;
        }
        let case = metric.case.as_ref().map_or(String::new(), |case| format!("[{case}]"));
        let what = format!("{}{case}.{}", metric.workload, label(metric));
        let cells = compared.iter().map(|(index, row)| with_n(*index, row, at, ""));
        rows.push(std::iter::once(Cell::text(what)).chain(cells).collect());
    }
    Table {
        caption: "Every metric side by side".to_owned(),
        head: head("metric", names),
        rows,
        is_sorted: false,
    }
}
