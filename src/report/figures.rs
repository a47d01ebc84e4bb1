//! The figures of one workload over all configurations: a row for each metric with
//! a direction, a column for each configuration, a table for each case.

use super::fields::{Field, folded};
use super::names::{Names, narrow};
use super::reading::SIMULATED;
use super::text::{plain, wrap};
use crate::history::record::Manifest;
use crate::metric::MetricRef;
use crate::results::number;
use crate::results::ranking::{RankedConfiguration, Ranking};
use crate::workload::Kind;

/// Columns of a configuration's name, where it can be as short without a cut inside a value.
const NAME: usize = 19;

/// The tables of a workload, of about `columns` columns (at least 60 are used); `exported`:
/// the files that have more of it are there. Ends with a newline.
pub fn render(
    ranking: &Ranking,
    manifest: &Manifest,
    kind: &Kind,
    columns: usize,
    exported: bool,
) -> String {
    let columns = columns.max(60);
    let mut blocks = Vec::new();
    if ranking.simulated {
        blocks.push(SIMULATED.to_owned());
    }
    let cases = manifest.workloads.iter().filter(|workload| workload.kind().key == kind.key);
    let cases: Vec<String> = cases.flat_map(crate::workload::Workload::cases).collect();
    let names: Vec<String> = ranking.rows.iter().map(|row| plain(&row.name)).collect();
    let baseline = ranking.rows.iter().position(|row| row.baseline);
    let short = narrow(&names, baseline, NAME..=columns / 2);
    for case in &cases {
        blocks.push(table(ranking, &short, kind, case, columns));
    }
    if let Some(shared) = &short.shared {
        blocks.push(wrap(&format!("names without what all share: {shared}"), columns, "  "));
    }
    let more = if exported { "results.csv" } else { "what `export` writes" };
    let note = format!(
        "mean [95%], candidate and baseline first, then in the order of the ranking; metrics without a value are left out, and \
         counts and states are in {more}"
    );
    blocks.push(wrap(&note, columns, "  "));
    blocks.join("\n\n") + "\n"
}

fn table(ranking: &Ranking, short: &Names, kind: &Kind, case: &str, columns: usize) -> String {
    let is_of = |metric: &MetricRef| {
        metric.workload == kind.key && metric.case.as_deref().is_none_or(|named| named == case)
    };
    let measured = |index: usize| ranking.rows.iter().any(|row| row.estimates[index].is_some());
    let mut metrics: Vec<(usize, &MetricRef)> = ranking
        .metrics
        .iter()
        .enumerate()
        .filter(|(index, metric)| is_of(metric) && measured(*index))
        .collect();
    // The objective comes first in a ranking, here in its place.
    metrics
        .sort_by_key(|(_, metric)| kind.all_metrics().position(|known| known.name == metric.name));
    let title =
        if case.is_empty() { kind.name.to_owned() } else { format!("{} {case}", kind.name) };
    if metrics.is_empty() {
        return format!("{title}: nothing was measured");
    }
    let label = |(_, metric): &(usize, &MetricRef)| match metric.known().map(|it| it.unit) {
        None | Some("1") => metric.name.clone(),
        // `ttft_ms` has it in its name.
        Some(unit) if metric.name.ends_with(&format!("_{unit}")) => metric.name.clone(),
        // Two configurations side by side have space in 80 columns then.
        Some("tokens/s") => format!("{} tok/s", metric.name),
        Some(unit) => format!("{} {unit}", metric.name),
    };
    let labels = std::iter::once("rank".to_owned()).chain(metrics.iter().map(label));
    let labels = Field::new(title, labels.collect());
    let rows = first_candidate_and_baseline(ranking).into_iter();
    let fields: Vec<Field> = rows
        .map(|at| (&ranking.rows[at], &short.shown[at]))
        .filter(|(row, _)| metrics.iter().any(|(index, _)| row.estimates[*index].is_some()))
        .map(|(row, name)| {
            let cell = |(index, _): &(usize, &MetricRef)| {
                let estimate = row.estimates[*index].as_ref();
                estimate.map_or("-".to_owned(), |estimate| number::estimate(estimate, ""))
            };
            let cells = std::iter::once(role(ranking, row)).chain(metrics.iter().map(cell));
            Field::new(name.clone(), cells.collect()).right()
        })
        .collect();
    folded(&labels, &fields, columns)
}

/// All rows in the order of the ranking, but the candidate and the baseline first: side by side
/// where two have space.
pub(super) fn first_candidate_and_baseline(ranking: &Ranking) -> Vec<usize> {
    let candidate = ranking.decision.as_ref().map(|it| it.candidate.configuration.as_str());
    let candidate = ranking.rows.iter().position(|row| candidate == Some(row.name.as_str()));
    let baseline = ranking.rows.iter().position(|row| row.baseline);
    let mut order: Vec<usize> = candidate.into_iter().chain(baseline).collect();
    order.extend(0..ranking.rows.len());
    let mut seen = vec![false; ranking.rows.len()];
    order.retain(|at| !std::mem::replace(&mut seen[*at], true));
    order
}

/// `#1 candidate`, `#6 baseline`, `#3`; `-` of one without a rank.
fn role(ranking: &Ranking, row: &RankedConfiguration) -> String {
    let rank = row.rank.map_or_else(|| "-".to_owned(), |rank| format!("#{rank}"));
    let candidate = ranking.decision.as_ref().map(|it| it.candidate.configuration.as_str());
    match (candidate == Some(row.name.as_str()), row.baseline) {
        (_, true) => format!("{rank} baseline"),
        (true, false) => format!("{rank} candidate"),
        (false, false) => rank,
    }
}
