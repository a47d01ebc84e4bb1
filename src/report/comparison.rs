//! Compared sweeps as tables for a terminal: first what they are and what makes the
//! comparison unsound, then what became of the choice of the first sweep, then the
//! figures. What is said is decided in [`crate::results::comparison`].

use std::collections::HashMap;

use super::comparison_notes as notes;
use super::fields::{Field, folded};
use super::text::{cut, plain, width, wrap};
use crate::metric::{Goal, Scale};
use crate::results::comparison::{
    Change, Compared, ComparedConfiguration, Comparison, ComparisonFinding, Figure, Standing, Way,
};
use crate::results::number;
use crate::statistics::Interval;

/// Columns of a name at most.
const NAME: usize = 24;

/// More names than this are not listed in full below.
const LEGEND_ROWS: usize = 24;

/// The comparison as text of at most `columns` columns (at least 60 are used). Ends
/// with a newline.
pub fn render(comparison: &Comparison, columns: usize) -> String {
    let columns = columns.max(60);
    let lines = |lines: &[String], indent: &str| {
        lines.iter().map(|line| wrap(&plain(line), columns, indent)).collect::<Vec<_>>().join("\n")
    };
    let findings = comparison.findings();
    let mut blocks = vec![lines(&head(comparison, &findings), "   ")];
    blocks.extend(notes::unsound(comparison, &findings).map(|list| lines(&list, "    ")));
    blocks.extend(notes::choice(&findings).map(|choice| lines(&[choice], "  ")));
    if !comparison.configurations.is_empty() {
        let mut label = Field::new("configuration", names(comparison));
        label.cut(NAME);
        blocks.push(folded(&label, &fields(comparison), columns));
    }
    blocks.extend(
        comparison
            .worse_than
            .iter()
            .map(|worse| lines(&notes::worse_than(worse, comparison.scale), "  ")),
    );
    let mut below = notes::below(&findings, &heading(comparison));
    below.extend(in_full(comparison));
    blocks.push(lines(&below, "  "));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

pub(super) fn head(comparison: &Comparison, findings: &[ComparisonFinding]) -> Vec<String> {
    let Comparison { metric, unit, runs, .. } = comparison;
    let mut lines: Vec<String> = notes::simulated(findings).into_iter().collect();
    let goal = match comparison.goal {
        Goal::Minimize => "minimize",
        Goal::Maximize => "maximize",
    };
    let unit = if unit.is_empty() { String::new() } else { format!(" in {unit}") };
    lines.push(format!("{} sweeps, {goal} {metric}{unit}", runs.len()));
    for run in runs {
        let versions = match run.engine_versions.as_slice() {
            [] => String::new(),
            versions => format!(", engine version {}", versions.join(", ")),
        };
        let mixed = runs.iter().any(|run| !run.simulated);
        let mark = if run.simulated && mixed { ", SIMULATED" } else { "" };
        let Compared { label, folder, sweep, verdict, .. } = run;
        lines.push(format!("{label}: {folder} ({sweep}{versions}{mark}): {verdict}"));
    }
    lines
}

/// Names; those that two configurations share, with the sweeps that have them.
pub(super) fn names(comparison: &Comparison) -> Vec<String> {
    let all = &comparison.configurations;
    let mut shared: HashMap<&str, usize> = HashMap::new();
    for it in all {
        *shared.entry(&it.configuration).or_default() += 1;
    }
    let name = |it: &ComparedConfiguration| {
        let name = plain(&it.configuration);
        if shared[it.configuration.as_str()] > 1 {
            format!("{name} ({})", comparison.having(it).join(", "))
        } else {
            name
        }
    };
    all.iter().map(name).collect()
}

pub(super) fn fields(comparison: &Comparison) -> Vec<Field> {
    let Comparison { runs, configurations, scale, .. } = comparison;
    let column = |at: usize, read: &dyn Fn(&Standing) -> Option<String>| -> Vec<String> {
        let cell = |it: &ComparedConfiguration| {
            it.runs[at].as_ref().and_then(read).unwrap_or("-".to_owned())
        };
        configurations.iter().map(cell).collect()
    };
    let of_runs = runs.iter().enumerate();
    let figures = of_runs.clone().map(|(at, run)| {
        let cells = column(at, &|it: &Standing| it.figure.as_ref().map(figure));
        Field::new(format!("{} [95%]", run.label), cells).right()
    });
    let ranks = of_runs.map(|(at, run)| {
        Field::new(format!("rank {}", run.label), column(at, &|it| it.rank_label.clone()))
    });
    let cells = |read: &dyn Fn(&Change) -> String| -> Vec<String> {
        let cell = |it: &ComparedConfiguration| it.change.as_ref().map_or("-".to_owned(), read);
        configurations.iter().map(cell).collect()
    };
    let changes = cells(&|change| {
        let interval = Interval { low: change.low, high: change.high };
        let text = match scale {
            Scale::Ratios => number::ratio(change.value, interval),
            _ => number::difference(change.value, interval),
        };
        if change.assumed { text.replacen('[', "~[", 1) } else { text }
    });
    let mark = |change: &Change| if change.assumed { "~" } else { "" };
    let shown = cells(&|change| match change.shown {
        Some(Way::Better) => format!("{}better", mark(change)),
        Some(Way::Worse) => format!("{}worse", mark(change)),
        None => "-".to_owned(),
    });
    let changes = [
        Field::new(format!("{} [95%]", heading(comparison)), changes).right(),
        Field::new("shown", shown),
    ];
    ranks.chain(changes).chain(figures).collect()
}

/// `B / A` of ratios, `B - A` of differences.
pub(super) fn heading(comparison: &Comparison) -> String {
    let sign = if comparison.scale == Scale::Ratios { '/' } else { '-' };
    let label = |run: Option<&Compared>| run.map_or(String::new(), |run| run.label.clone());
    let (first, last) = (label(comparison.runs.first()), label(comparison.runs.last()));
    format!("{last} {sign} {first}")
}

fn figure(figure: &Figure) -> String {
    let interval = figure.low.zip(figure.high).map(|(low, high)| Interval { low, high });
    number::estimate_of(figure.mean, interval, figure.assumed, "")
}

/// The names that the tables cut.
fn in_full(comparison: &Comparison) -> Vec<String> {
    let names = names(comparison).into_iter();
    let long: Vec<String> = names.filter(|name| width(name) > NAME).collect();
    if long.len() > LEGEND_ROWS {
        return vec!["names in full: --format json".to_owned()];
    }
    long.into_iter().map(|name| format!("{}: {name}", cut(&name, NAME))).collect()
}
