//! Sweeps beside each other as tables for a terminal: first what they are and what
//! makes the comparison unsound, then what became of the one that the first sweep
//! would take, then the figures.

use std::collections::HashMap;

use super::fields::{Field, folded};
use super::text::{cut, plain, width, wrap};
use crate::metric::{Goal, Scale};
use crate::results::comparison::{
    Change, Compared, ComparedConfiguration, Comparison, Figure, Standing, Way,
};
use crate::results::number;
use crate::statistics::Interval;

/// Columns of a name at most.
const NAME: usize = 24;

/// More names than this are not told in full below.
const LEGEND_ROWS: usize = 24;

/// The comparison as text of at most `columns` columns (at least 60 are used). Ends
/// with a newline.
pub fn render(comparison: &Comparison, columns: usize) -> String {
    let columns = columns.max(60);
    let lines = |lines: &[String], indent: &str| {
        lines.iter().map(|line| wrap(line, columns, indent)).collect::<Vec<_>>().join("\n")
    };
    let mut blocks = vec![lines(&head(comparison), "   ")];
    blocks.extend(unsound(comparison).map(|told| lines(&told, "    ")));
    blocks.extend(taken(comparison).map(|told| wrap(&told, columns, "  ")));
    if !comparison.configurations.is_empty() {
        let mut label = Field::new("configuration", names(comparison));
        label.cut(NAME);
        blocks.push(folded(&label, &fields(comparison), columns));
    }
    let notes = notes(comparison);
    blocks.push(lines(&notes, "  "));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

fn head(comparison: &Comparison) -> Vec<String> {
    let Comparison { metric, unit, runs, .. } = comparison;
    let simulated: Vec<&Compared> = runs.iter().filter(|run| run.simulated).collect();
    let mut lines = Vec::new();
    if simulated.len() == runs.len() {
        lines.push("SIMULATED: every figure comes from the simulator, none from a GPU".to_owned());
    } else if !simulated.is_empty() {
        let labels: Vec<&str> = simulated.iter().map(|run| run.label.as_str()).collect();
        lines.push(format!(
            "SIMULATED: the figures of {} come from the simulator and those of the others do not: \
             what one is to the other says nothing of either",
            labels.join(", ")
        ));
    }
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
        let mixed = simulated.len() < runs.len();
        let mark = if run.simulated && mixed { ", SIMULATED" } else { "" };
        let Compared { label, folder, sweep, verdict, .. } = run;
        lines.push(plain(&format!("{label}: {folder} ({sweep}{versions}{mark}): {verdict}")));
    }
    lines
}

/// What is not alike; `None` where everything that is known is.
fn unsound(comparison: &Comparison) -> Option<Vec<String>> {
    let runs = &comparison.runs;
    let mut lines = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let same =
            |other: &&Compared| (&other.sweep, &other.created_at) == (&run.sweep, &run.created_at);
        if let Some(other) = runs[..at].iter().find(same) {
            lines.push(format!(
                "- {} and {} are the same sweep: launches are compared with themselves",
                other.label, run.label
            ));
        }
    }
    for unlike in &comparison.differences {
        let values = unlike.values.iter().zip(runs).map(|(value, run)| {
            format!("{} {}", run.label, value.as_deref().unwrap_or("(not told)"))
        });
        let values: Vec<String> = values.collect();
        lines.push(format!("- {}: {}", unlike.what, plain(&values.join("; "))));
    }
    let renamed: Vec<String> = comparison
        .configurations
        .iter()
        .filter(|it| !it.same_id)
        .map(|it| plain(&it.configuration))
        .collect();
    if !renamed.is_empty() {
        lines.push(format!(
            "- engine, image or model: the same flags have other ids: {}",
            renamed.join(", ")
        ));
    }
    if lines.is_empty() {
        return None;
    }
    lines.insert(0, "not alike, so a part of every difference below:".to_owned());
    Some(lines)
}

/// What the first sweep would take, what became of it in the last one, and what that
/// one would take.
fn taken(comparison: &Comparison) -> Option<String> {
    let (first, last) = (comparison.runs.first()?, comparison.runs.last()?);
    let chosen = would_take(comparison, 0)?;
    let there = match chosen.runs.last()? {
        None => format!("{} does not have it", last.label),
        Some(Standing { rank: None, reason, .. }) => {
            let reason = reason.as_deref().unwrap_or("no reason was recorded");
            format!("in {} it is not ranked: {}", last.label, plain(reason))
        }
        Some(Standing { rank_label, figure, .. }) => {
            let place = rank_label.as_deref().unwrap_or_default();
            let meaning = match place {
                "1" => "",
                place if place.starts_with("1-") => ", not told apart from its first",
                _ if figure.is_some_and(|figure| figure.assumed) => {
                    ", behind its first on an assumed variance"
                }
                _ => ", shown to be behind its first",
            };
            format!("in {} it has rank {place}{meaning}", last.label)
        }
    };
    let name = plain(&chosen.configuration);
    let instead = match would_take(comparison, comparison.runs.len() - 1) {
        Some(instead) if instead != chosen => {
            format!("; {} would take {}", last.label, plain(&instead.configuration))
        }
        _ => String::new(),
    };
    Some(format!("{} would take {name}: {there}{instead}", first.label))
}

/// The one to take of several first ones, or the first.
fn would_take(comparison: &Comparison, run: usize) -> Option<&ComparedConfiguration> {
    let is = |test: fn(&Standing) -> bool| {
        comparison.configurations.iter().find(|it| it.runs[run].as_ref().is_some_and(test))
    };
    is(|it| it.preferred).or_else(|| is(|it| it.rank == Some(1)))
}

/// Names; what two configurations share is told with the sweep that has it.
fn names(comparison: &Comparison) -> Vec<String> {
    let all = &comparison.configurations;
    let mut shared: HashMap<&str, usize> = HashMap::new();
    for it in all {
        *shared.entry(&it.configuration).or_default() += 1;
    }
    let name = |it: &ComparedConfiguration| {
        let name = plain(&it.configuration);
        if shared[it.configuration.as_str()] > 1 {
            format!("{name} ({})", having(it, comparison).join(", "))
        } else {
            name
        }
    };
    all.iter().map(name).collect()
}

/// Labels of the sweeps that have it.
fn having<'a>(it: &ComparedConfiguration, comparison: &'a Comparison) -> Vec<&'a str> {
    let runs = it.runs.iter().zip(&comparison.runs);
    runs.filter(|(standing, _)| standing.is_some()).map(|(_, run)| run.label.as_str()).collect()
}

fn fields(comparison: &Comparison) -> Vec<Field> {
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
    let told = |read: &dyn Fn(&Change) -> String| -> Vec<String> {
        let cell = |it: &ComparedConfiguration| it.change.as_ref().map_or("-".to_owned(), read);
        configurations.iter().map(cell).collect()
    };
    let changes = told(&|change| {
        let interval = Interval { low: change.low, high: change.high };
        let text = match scale {
            Scale::Ratios => number::ratio(change.value, interval),
            _ => number::difference(change.value, interval),
        };
        if change.assumed { text.replacen('[', "~[", 1) } else { text }
    });
    let mark = |change: &Change| if change.assumed { "~" } else { "" };
    let shown = told(&|change| match change.shown {
        Some(Way::Better) => format!("{}better", mark(change)),
        Some(Way::Worse) => format!("{}worse", mark(change)),
        None => "-".to_owned(),
    });
    let changes = [Field::new(heading(comparison), changes).right(), Field::new("shown", shown)];
    ranks.chain(changes).chain(figures).collect()
}

/// `B / A` of ratios, `B - A` of differences.
fn heading(comparison: &Comparison) -> String {
    let sign = if comparison.scale == Scale::Ratios { '/' } else { '-' };
    let label = |run: Option<&Compared>| run.map_or(String::new(), |run| run.label.clone());
    let (first, last) = (label(comparison.runs.first()), label(comparison.runs.last()));
    format!("{last} {sign} {first} [95%]")
}

fn figure(figure: &Figure) -> String {
    let interval = figure.low.zip(figure.high).map(|(low, high)| Interval { low, high });
    number::estimate_of(figure.mean, interval, figure.assumed, "")
}

fn notes(comparison: &Comparison) -> Vec<String> {
    let Comparison { configurations, scale, .. } = comparison;
    let changes: Vec<Change> = configurations.iter().filter_map(|it| it.change).collect();
    let mut notes = Vec::new();
    if changes.is_empty() {
        notes.push("no configuration has a figure in the first and in the last sweep".to_owned());
    } else {
        let tested = changes.iter().filter(|change| change.p.is_some()).count();
        let heading = heading(comparison).replace(" [95%]", "");
        notes.push(match scale {
            Scale::Ratios => format!(
                "{heading}: ratio of the geometric means; its interval has the variance of both, \
                 each as its own sweep pooled it (launches and repeats), with Welch's degrees of \
                 freedom"
            ),
            _ => format!(
                "{heading}: difference of the arithmetic means, its interval from those of both \
                 (Zou and Donner)"
            ),
        });
        notes.push(format!(
            "shown: at the 5% level, Holm-adjusted over {tested} configurations; - is not shown, \
             which is no proof of no change"
        ));
        notes.push(
            "what differs from night to night by itself is in every one of these and in no \
             interval: two sweeps do not tell it from a change of the engine"
                .to_owned(),
        );
        if let (Some(_), Some(first)) = (taken(comparison), comparison.runs.first()) {
            notes.push(format!(
                "what {} would take was chosen by its own launches, so it tends to look worse in \
                 others though nothing changed",
                first.label
            ));
        }
        if changes.iter().any(|change| change.assumed) {
            notes.push(
                "~ assumed: rests on a launch-to-launch variance that a sweep did not measure"
                    .to_owned(),
            );
        }
    }
    notes.push("not recorded by sweeps, so not compared: GPU, driver, model weights".to_owned());
    notes.extend(lacking(comparison));
    notes.extend(unranked(comparison));
    notes.extend(in_full(comparison));
    notes
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

/// Why some have no rank; who shares a reason is told together.
fn unranked(comparison: &Comparison) -> Vec<String> {
    let mut told: Vec<(Vec<&str>, &str, Vec<String>)> = Vec::new();
    for it in &comparison.configurations {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for (standing, run) in it.runs.iter().zip(&comparison.runs) {
            let Some(Standing { rank: None, reason, .. }) = standing else { continue };
            let reason = reason.as_deref().unwrap_or("no reason was recorded");
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, labels)) => labels.push(&run.label),
                None => reasons.push((reason, vec![&run.label])),
            }
        }
        for (reason, labels) in reasons {
            let name = plain(&it.configuration);
            match told.iter_mut().find(|known| known.0 == labels && known.1 == reason) {
                Some((_, _, names)) => names.push(name),
                None => told.push((labels, reason, vec![name])),
            }
        }
    }
    let line = |(labels, reason, names): (Vec<&str>, &str, Vec<String>)| {
        let (labels, names) = (labels.join(", "), names.join(", "));
        format!("not ranked in {labels}: {names}: {}", plain(reason))
    };
    told.into_iter().map(line).collect()
}

/// What only some sweeps have.
fn lacking(comparison: &Comparison) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut only: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for it in &comparison.configurations {
        let having = having(it, comparison);
        if having.len() == comparison.runs.len() {
            continue;
        }
        let name = plain(&it.configuration);
        // Told once, by the first of the two.
        for namesake in it.namesakes.iter().filter(|it| it.run > 0) {
            notes.push(format!(
                "{name} asks for something else in {} than in {} ({}), so it is not compared",
                comparison.runs[namesake.run].label,
                having.join(", "),
                plain(&namesake.differs_in.join(", "))
            ));
        }
        if !it.namesakes.is_empty() {
            continue;
        }
        match only.iter_mut().find(|(labels, _)| *labels == having) {
            Some((_, names)) => names.push(name),
            None => only.push((having, vec![name])),
        }
    }
    notes.extend(
        only.into_iter()
            .map(|(labels, names)| format!("only in {}: {}", labels.join(", "), names.join(", "))),
    );
    notes
}
