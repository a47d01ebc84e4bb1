//! What may explain the figures of a workload, as tables for a terminal: a row for each
//! metric, a column for each configuration, the candidate and the baseline first. Which
//! metrics these are is decided in [`crate::results::why`].

use super::fields::{Field, folded};
use super::figures::first_candidate_and_baseline;
use super::names::narrow;
use super::text::{plain, wrap};
use crate::results::number;
use crate::results::ranking::Ranking;
use crate::results::why::{WhyCase, WhyMetric, WhyValue};
use crate::workload::Kind;

/// Columns of a configuration's name, where it can be as short without a cut inside a value.
const NAME: usize = 19;

/// The tables, of about `columns` columns (at least 60 are used), below those of the
/// figures; empty where no metric that may explain something was measured. Ends with a
/// newline otherwise.
pub fn render(ranking: &Ranking, kind: &Kind, cases: &[WhyCase], columns: usize) -> String {
    let columns = columns.max(60);
    let candidate = ranking.decision.as_ref().map(|it| it.candidate.configuration.as_str());
    let candidate = ranking.rows.iter().position(|row| candidate == Some(row.name.as_str()));
    let baseline = ranking.rows.iter().position(|row| row.baseline);
    let order = first_candidate_and_baseline(ranking);
    let names: Vec<String> = ranking.rows.iter().map(|row| plain(&row.name)).collect();
    let short = narrow(&names, baseline, NAME..=columns / 2);
    let role = |at: usize| match (Some(at) == candidate, Some(at) == baseline) {
        (true, true) => "candidate, baseline".to_owned(),
        (true, false) => "candidate".to_owned(),
        (false, true) => "baseline".to_owned(),
        (false, false) => ranking.rows[at].rank.map_or("-".to_owned(), |rank| format!("#{rank}")),
    };
    let mut blocks = Vec::new();
    for case in cases.iter().filter(|case| !case.metrics.is_empty()) {
        let title = if case.case.is_empty() { "why" } else { &format!("why {}", case.case) };
        let labels = std::iter::once("role".to_owned()).chain(case.metrics.iter().map(label));
        let labels = Field::new(title, labels.collect());
        let has_value = |at: &usize| case.metrics.iter().any(|it| it.values[*at].is_some());
        let fields: Vec<Field> = order
            .iter()
            .copied()
            .filter(has_value)
            .map(|at| {
                let cells = case.metrics.iter().map(|it| cell(it.values[at].as_ref()));
                let cells = std::iter::once(role(at)).chain(cells);
                Field::new(short.shown[at].clone(), cells.collect()).right()
            })
            .collect();
        blocks.push(folded(&labels, &fields, columns));
    }
    if blocks.is_empty() {
        return String::new();
    }
    let note = format!(
        "why: what {} and the server report besides; mean [95%], no claim that one caused the \
         other",
        kind.name
    );
    blocks.push(wrap(&note, columns, "  "));
    blocks.join("\n\n") + "\n"
}

fn label(it: &WhyMetric) -> String {
    let (name, unit) = (it.metric.name, it.metric.unit);
    match unit {
        "1" | "share" | "text" => name.to_owned(),
        // `queue_ms` and `tokens_share` have it in their names.
        _ if name.ends_with(&format!("_{unit}")) => name.to_owned(),
        _ => format!("{name} {unit}"),
    }
}

fn cell(value: Option<&WhyValue>) -> String {
    match value {
        None => "-".to_owned(),
        Some(WhyValue::Number(estimate)) => number::estimate(estimate, ""),
        Some(WhyValue::State { state, repeats, of }) => {
            let state = plain(state);
            if repeats == of { state } else { format!("{state} ({repeats} of {of})") }
        }
    }
}
