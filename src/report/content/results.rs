//! Section 2: the ranking, then every workload and case: each metric that was measured, of
//! each configuration, with unit, interval and n.

use super::parts::{Cell, Part, Span, Table, To};
use super::{Input, counts, estimate};
use crate::history::values::case_of;
use crate::metric::MetricRef;
use crate::report::notes;
use crate::report::table::change_of;
use crate::results::confirmed::{ConfirmedGain, Standing};
use crate::results::number;
use crate::results::ranking::{Effect, Estimate, RankedConfiguration};
use crate::workload::Kind;

/// Cells of all workloads' tables at most: what is beyond is in `ranking.csv`.
const MOST_CELLS: usize = 9_000;
/// Remarks that are read without being opened.
const MOST_REMARKS: usize = 12;
/// Configurations of a table at least.
const FEWEST_ROWS: usize = 12;

pub(super) fn parts(input: &Input<'_>) -> Vec<Part> {
    let mut parts = Vec::new();
    if let Some(unswept) = &input.ranking.unswept {
        parts.push(Part::text(format!("No ranking: {unswept}.")));
    }
    parts.push(Part::Table(ranking(input)));
    parts.push(Part::text(note(input)));
    parts.extend(remarks(input));
    parts.extend(super::pictures(input, "ranking"));
    let tables = tables(input);
    let cells: usize = tables.iter().map(|it| it.metrics.len() + it.resources.len()).sum();
    let shown = MOST_CELLS.checked_div(cells).unwrap_or(usize::MAX).max(FEWEST_ROWS);
    for case in &tables {
        parts.push(Part::Heading(case.title.clone()));
        parts.extend(case.parts(input, shown));
    }
    parts
}

/// The ranking, as the terminal shows it.
fn ranking(input: &Input<'_>) -> Table {
    let ranking = input.ranking;
    let unit = number::unit(&ranking.objective.metric);
    let bounds = !ranking.constrained.is_empty();
    let unit_in = if unit.is_empty() { String::new() } else { format!(" in {unit}") };
    let mut head: Vec<String> = vec!["configuration".to_owned(), "rank".to_owned()];
    head.push(format!("{}{unit_in} [95%]", ranking.objective.metric));
    head.push("against the baseline [95%]".to_owned());
    if bounds {
        head.push("bounds".to_owned());
    }
    head.extend(["launches x repeats", "launches that failed"].map(str::to_owned));
    let row = |(index, row): (usize, &RankedConfiguration)| {
        let mut cells = vec![
            name(input, index, row),
            Cell::text(row.rank_label.clone().unwrap_or_else(|| "-".to_owned())),
            estimate(index, row.estimates.first().and_then(Option::as_ref), ""),
            effect(input, index, row),
        ];
        if bounds {
            let worst = row.constraints.iter().map(|it| it.verdict).max();
            let word = worst.filter(|_| row.repeats > 0).map_or("-", crate::report::reading::word);
            cells.push(Cell::text(word));
        }
        let n = row.estimates.first().and_then(Option::as_ref);
        cells.push(Cell::number(n.map_or("-".to_owned(), |it| counts(it.launches, it.repeats))));
        cells.push(Cell::number(row.failures.to_string()));
        cells
    };
    Table {
        caption: "Ranking".to_owned(),
        head,
        rows: input.rows().map(row).collect(),
        is_sorted: true,
    }
}

/// What is to be known of rows, one line for all of the same remark: a column of sentences would
/// make the table wider than a page.
fn remarks(input: &Input<'_>) -> Vec<Part> {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, row) in input.rows() {
        let remarks = row.all_remarks().iter().map(ToString::to_string).collect::<Vec<_>>();
        let reason = row.reason().map(|it| format!("no rank: {it}"));
        let text = reason.unwrap_or_else(|| remarks.join("; "));
        match groups.iter_mut().find(|(known, _)| *known == text) {
            _ if text.is_empty() => {}
            Some((_, rows)) => rows.push(index),
            None => groups.push((text, vec![index])),
        }
    }
    let line = |(text, rows): (String, Vec<usize>)| {
        let mut spans = Vec::new();
        for (at, index) in rows.into_iter().enumerate() {
            if at > 0 {
                spans.push(Span::text(", "));
            }
            spans.push(Span::Link(input.name(index).to_owned(), To::Configuration(index)));
        }
        spans.push(Span::text(format!(": {text}")));
        spans
    };
    let lines: Vec<Vec<Span>> = groups.into_iter().map(line).collect();
    match lines.len() {
        0 => Vec::new(),
        count if count > MOST_REMARKS => {
            vec![Part::Folded(format!("Remarks: {count}"), vec![Part::List(lines)])]
        }
        _ => vec![Part::text("Remarks:"), Part::List(lines)],
    }
}

/// The name with its marks.
fn name(input: &Input<'_>, index: usize, row: &RankedConfiguration) -> Cell {
    let mut spans = vec![Span::Link(row.name.clone(), To::Configuration(index))];
    if row.baseline {
        spans.push(Span::text(" (baseline)"));
    }
    if let Some(mark) = input.ranking.mark(row) {
        spans.push(Span::text(format!(" ({mark})")));
    }
    Cell { spans, is_number: false }
}

/// The change against the baseline, and whether fresh launches show it.
pub(super) fn effect(input: &Input<'_>, index: usize, row: &RankedConfiguration) -> Cell {
    let to = To::Configuration(index);
    match (change_of(input.ranking, row), row.effect()) {
        (Some(effect), _) => {
            let mark = standing(input.ranking.confirmed_of(&row.name));
            Cell::figure(format!("{}, {mark}", words(input, effect)), to)
        }
        (None, Some(effect)) => Cell::figure(format!("{}, unconfirmed", words(input, effect)), to),
        (None, None) if row.baseline && row.eligible => Cell::text("baseline"),
        (None, None) => Cell::nothing(),
    }
}

/// What fresh launches come to, behind the gain that they show.
fn standing(gain: Option<&ConfirmedGain>) -> &'static str {
    match gain.map(ConfirmedGain::standing) {
        Some(Standing::Confirmed) => "confirmed",
        Some(Standing::BreaksABound) => "breaks a bound in fresh launches",
        Some(Standing::Unfit) => "failed in fresh launches",
        _ => "not confirmed by fresh launches",
    }
}

fn words(input: &Input<'_>, effect: Effect) -> String {
    let unit = match effect {
        Effect::Ratio(_) => "",
        Effect::Difference { .. } => number::unit(&input.ranking.objective.metric),
    };
    let text = crate::report::notes::effect(effect);
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

fn note(input: &Input<'_>) -> String {
    let mark = if input.ranking.simulated { " Every figure is simulated." } else { "" };
    let chosen = input.ranking.chosen.as_ref().filter(|it| it.unclaimed > 0);
    let few =
        chosen.map_or_else(String::new, |it| format!("{}. ", notes::few_launches(it.claimed_from)));
    format!(
        "Means with their 95% intervals; ~ marks an interval that rests on an assumption. Configurations \
         with one label are not distinguishable from rank 1. {few}unconfirmed: from the launches that \
         chose rank 1; expect less of fresh ones.{mark}"
    )
}

/// One case of one workload.
struct Case {
    title: String,
    /// Metrics of the workload, by their index in the ranking.
    metrics: Vec<usize>,
    /// Samples of the machine meanwhile.
    resources: Vec<usize>,
    /// Metrics that no configuration has a value of.
    absent: Vec<String>,
}

/// Every workload and case.
fn tables(input: &Input<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for workload in &input.record.manifest.workloads {
        for case in workload.cases() {
            cases.push(table(input, workload.kind(), &case));
        }
    }
    cases
}

fn table(input: &Input<'_>, kind: &Kind, case: &str) -> Case {
    let manifest = &input.record.manifest;
    let is_of = |metric: &MetricRef| {
        metric.workload == kind.key && case_of(manifest, metric).as_deref() == Some(case)
    };
    let is_own = |metric: &MetricRef| kind.metrics.iter().any(|own| own.name == metric.name);
    let place = |metric: &MetricRef| kind.all_metrics().position(|it| it.name == metric.name);
    let mut known: Vec<usize> =
        (0..input.ranking.metrics.len()).filter(|at| is_of(&input.ranking.metrics[*at])).collect();
    known.sort_by_key(|at| place(&input.ranking.metrics[*at]));
    let is_measured =
        |at: &usize| input.ranking.rows.iter().any(|row| row.estimates[*at].is_some());
    let (measured, absent): (Vec<usize>, Vec<usize>) = known.into_iter().partition(is_measured);
    let (metrics, resources) =
        measured.into_iter().partition(|at| is_own(&input.ranking.metrics[*at]));
    let absent = absent.iter().map(|at| input.ranking.metrics[*at].name.clone()).collect();
    let title =
        if case.is_empty() { kind.name.to_owned() } else { format!("{} {case}", kind.name) };
    Case { title, metrics, resources, absent }
}

impl Case {
    fn parts(&self, input: &Input<'_>, shown: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        if self.metrics.is_empty() {
            parts.push(Part::text("Nothing was measured."));
        } else {
            parts.push(Part::Table(self.table(input, &self.metrics, "", shown)));
        }
        if !self.resources.is_empty() {
            let table = self.table(input, &self.resources, ", resources", shown);
            let title = format!("{}: resources meanwhile", self.title);
            parts.push(Part::Folded(title, vec![Part::Table(table)]));
        }
        let rows = self.rows(input).count();
        if rows > shown {
            parts.push(Part::Text(vec![
                Span::text(format!("The first {shown} of {rows} configurations; all are in ")),
                Span::Link("ranking.csv".to_owned(), To::File("ranking.csv".to_owned())),
                Span::text("."),
            ]));
        }
        if !self.absent.is_empty() {
            let text = format!("Not measured: {}.", self.absent.join(", "));
            let title = format!("{}: {} metrics were not measured", self.title, self.absent.len());
            parts.push(Part::Folded(title, vec![Part::Text(vec![Span::Text(text)])]));
        }
        parts
    }

    /// The rows that have a value.
    fn rows<'a>(
        &self,
        input: &Input<'a>,
    ) -> impl Iterator<Item = (usize, &'a RankedConfiguration)> {
        let has = |row: &RankedConfiguration| {
            let mut all = self.metrics.iter().chain(&self.resources);
            all.any(|at| row.estimates[*at].is_some())
        };
        input.rows().filter(move |(_, row)| has(row))
    }

    fn table(&self, input: &Input<'_>, metrics: &[usize], what: &str, shown: usize) -> Table {
        let label = |at: &usize| label(&input.ranking.metrics[*at]);
        let mut head = vec!["configuration".to_owned(), "launches x repeats".to_owned()];
        head.extend(metrics.iter().map(label));
        let row = |(index, row): (usize, &RankedConfiguration)| {
            let own: Vec<Option<&Estimate>> =
                metrics.iter().map(|at| row.estimates[*at].as_ref()).collect();
            // What most of its figures rest on; a figure that rests on less says so.
            let n = own.iter().flatten().map(|it| (it.repeats, it.launches)).max();
            let text = n.map_or("-".to_owned(), |(repeats, launches)| counts(launches, repeats));
            let mut cells =
                vec![Cell::link(row.name.clone(), To::Configuration(index)), Cell::number(text)];
            cells.extend(own.into_iter().map(|it| with_n(index, it, n)));
            cells
        };
        let rows = self.rows(input).take(shown).map(row).collect();
        Table { caption: format!("{}{what}: means [95%]", self.title), head, rows, is_sorted: true }
    }
}

fn with_n(index: usize, of: Option<&Estimate>, n: Option<(usize, usize)>) -> Cell {
    let Some(it) = of else { return Cell::nothing() };
    let figure = number::estimate(it, "");
    let own = Some((it.repeats, it.launches));
    let less =
        if own == n { String::new() } else { format!(" ({})", counts(it.launches, it.repeats)) };
    Cell::figure(figure + &less, To::Configuration(index))
}

/// `median_ttft_ms`, `output_throughput in tokens/s`.
pub(super) fn label(metric: &MetricRef) -> String {
    match metric.known().map(|it| it.unit) {
        None | Some("1") => metric.name.clone(),
        // `ttft_ms` has it in its name.
        Some(unit) if metric.name.ends_with(&format!("_{unit}")) => metric.name.clone(),
        Some(unit) => format!("{} in {unit}", metric.name),
    }
}
