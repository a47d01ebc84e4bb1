//! The measurements of `bench` for a person: a table for each workload, a row
//! for each metric that was measured, a column for each case. All of them, with
//! what was not measured, are in the JSON.

use std::collections::BTreeMap;

use super::text::{plain, width, wrap};
use crate::metric::{Form, Measurement, Metric, MetricValue, Status};
use crate::results::number::decimals;
use crate::statistics::median;
use crate::workload::{KINDS, Kind};

/// Spaces between columns.
const PADDING: usize = 2;

/// The measurements as text of about `columns` columns (at least 60 are used);
/// warm-ups (repeat 0) are left out. Ends with a newline.
///
/// A value is that of the one valid repeat, or the median of several and their
/// range: so few have no percentiles.
pub fn render(measurements: &[&Measurement], columns: usize) -> String {
    let columns = columns.max(60);
    let mut blocks = Vec::new();
    for (workload, cases) in by_workload(measurements) {
        let kind = KINDS.iter().find(|kind| kind.name == workload);
        let known: Vec<&Metric> = kind.into_iter().flat_map(Kind::all_metrics).collect();
        let rows = rows(&known, &cases);
        for some in fitting(&cases, &rows, columns) {
            blocks.push(table(&workload, &cases, &rows, some));
        }
        let absent = known.len() - rows.len();
        let mut notes = reasons(&cases);
        if absent > 0 {
            notes.push(format!("not measured: {absent} more metrics (--format json names them)"));
        }
        if !notes.is_empty() {
            let wrapped = notes.iter().map(|note| wrap(&plain(note), columns, "  "));
            blocks.push(wrapped.collect::<Vec<_>>().join("\n"));
        }
    }
    blocks.join("\n\n") + "\n"
}

/// The repeats of one case.
struct Case<'a> {
    name: String,
    repeats: Vec<&'a Measurement>,
}

/// One metric over all cases.
struct Row {
    name: &'static str,
    unit: &'static str,
    cells: Vec<String>,
}

/// Workloads and cases in the order in which they were measured.
fn by_workload<'a>(measurements: &[&'a Measurement]) -> Vec<(String, Vec<Case<'a>>)> {
    let mut workloads: Vec<(String, Vec<Case<'a>>)> = Vec::new();
    for measurement in measurements.iter().copied().filter(|m| m.repeat > 0) {
        let at = workloads.iter().position(|(name, _)| *name == measurement.workload);
        let at = at.unwrap_or_else(|| {
            workloads.push((measurement.workload.clone(), Vec::new()));
            workloads.len() - 1
        });
        let cases = &mut workloads[at].1;
        match cases.iter_mut().find(|case| case.name == measurement.case) {
            Some(case) => case.repeats.push(measurement),
            None => cases.push(Case { name: measurement.case.clone(), repeats: vec![measurement] }),
        }
    }
    workloads
}

/// What any case has a value of, in the catalogue's order.
fn rows(known: &[&'static Metric], cases: &[Case<'_>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for metric in known {
        let cells: Vec<Option<String>> =
            cases.iter().map(|case| cell(metric, &case.repeats)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or("-".to_owned())).collect();
            let unit = match metric.unit {
                "1" | "text" => "",
                "bytes" => "GB",
                other => other,
            };
            rows.push(Row { name: metric.name, unit, cells });
        }
    }
    rows
}

fn cell(metric: &Metric, repeats: &[&Measurement]) -> Option<String> {
    let valid = repeats.iter().filter(|repeat| repeat.status == Status::Ok);
    let values: Vec<&MetricValue> =
        valid.filter_map(|repeat| repeat.metrics.get(metric.name)?.as_ref()).collect();
    let numbers: Vec<f64> = values
        .iter()
        .filter_map(|value| match value {
            MetricValue::Number(number) if metric.unit == "bytes" => Some(number / 1e9),
            MetricValue::Number(number) => Some(*number),
            MetricValue::Text(_) | MetricValue::List(_) => None,
        })
        .collect();
    if values.is_empty() || (metric.form() == Form::Number && numbers.is_empty()) {
        return None;
    }
    Some(match metric.form() {
        Form::Number => spread(&numbers),
        Form::Text => counted(values.iter().filter_map(|value| match value {
            MetricValue::Text(text) => Some(text.as_str()),
            MetricValue::Number(_) | MetricValue::List(_) => None,
        })),
        Form::List => ends(&values),
    })
}

/// The first and the last of a list, of several lists their medians: all of them
/// do not fit into a column.
fn ends(lists: &[&MetricValue]) -> String {
    let of = |pick: fn(&[Option<f64>]) -> Option<&Option<f64>>| {
        let picked = lists.iter().filter_map(|list| match list {
            MetricValue::List(numbers) => *pick(numbers)?,
            MetricValue::Number(_) | MetricValue::Text(_) => None,
        });
        median(&picked.collect::<Vec<f64>>()).map_or("-".to_owned(), digits)
    };
    format!("{} .. {}", of(<[_]>::first), of(<[_]>::last))
}

/// `214`, or `214 [205, 224]`: median, minimum and maximum.
fn spread(numbers: &[f64]) -> String {
    let Some(median) = median(numbers) else { return "-".to_owned() };
    let min = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let max = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all_same = min.to_bits() == max.to_bits();
    if all_same {
        digits(median)
    } else {
        format!("{} [{}, {}]", digits(median), digits(min), digits(max))
    }
}

/// Three significant digits; whole where that is more.
fn digits(number: f64) -> String {
    let decimals = decimals(number).min(6);
    let text = format!("{number:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `certified`, or `2 certified, 1 void`.
fn counted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    match &counts.iter().collect::<Vec<_>>()[..] {
        [(word, _)] => (**word).to_owned(),
        several => several
            .iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn heading(case: &Case<'_>) -> [String; 2] {
    let states = counted(case.repeats.iter().map(|repeat| repeat.status.as_str()));
    let count = case.repeats.len();
    let states =
        if count == 1 || states.contains(' ') { states } else { format!("{count} {states}") };
    [plain(&case.name), states]
}

fn cell_width(cases: &[Case<'_>], rows: &[Row], case: usize) -> usize {
    let cells = rows.iter().map(|row| width(&row.cells[case]));
    cells.chain(heading(&cases[case]).iter().map(|text| width(text))).max().unwrap_or(0)
}

fn label_widths(rows: &[Row], workload: &str) -> (usize, usize) {
    let names = rows.iter().map(|row| width(row.name)).max().unwrap_or(0);
    let units = rows.iter().map(|row| width(row.unit)).max().unwrap_or(0);
    (names.max(width(workload)), units)
}

/// Ranges of cases that fit side by side; one at least.
fn fitting(cases: &[Case<'_>], rows: &[Row], columns: usize) -> Vec<std::ops::Range<usize>> {
    let (names, units) = label_widths(rows, "");
    let mut ranges = Vec::new();
    let (mut from, mut used) = (0, names + PADDING + units);
    for case in 0..cases.len() {
        let wide = PADDING + cell_width(cases, rows, case);
        if case > from && used + wide > columns {
            ranges.push(from..case);
            (from, used) = (case, names + PADDING + units);
        }
        used += wide;
    }
    ranges.push(from..cases.len());
    ranges
}

fn table(workload: &str, cases: &[Case<'_>], rows: &[Row], some: std::ops::Range<usize>) -> String {
    let (names, units) = label_widths(rows, workload);
    let widths: Vec<usize> = some.clone().map(|case| cell_width(cases, rows, case)).collect();
    let line = |name: &str, unit: &str, cells: &[&str]| {
        let mut line = pad(name, names);
        line.push_str(&" ".repeat(PADDING));
        line.push_str(&pad(unit, units));
        for (cell, wide) in cells.iter().zip(&widths) {
            line.push_str(&" ".repeat(PADDING + wide - width(cell)));
            line.push_str(cell);
        }
        line.trim_end().to_owned()
    };
    let headings: Vec<[String; 2]> = some.clone().map(|case| heading(&cases[case])).collect();
    let part = |at: usize| headings.iter().map(|heading| heading[at].as_str()).collect::<Vec<_>>();
    let named = headings.iter().any(|heading| !heading[0].is_empty());
    let mut lines = Vec::new();
    if named {
        lines.push(line(workload, "", &part(0)));
        lines.push(line("", "", &part(1)));
    } else {
        lines.push(line(workload, "", &part(1)));
    }
    let whole = names + PADDING + units + widths.iter().map(|wide| PADDING + wide).sum::<usize>();
    lines.push("─".repeat(whole));
    for row in rows {
        let cells: Vec<&str> = row.cells[some.clone()].iter().map(String::as_str).collect();
        lines.push(line(row.name, row.unit, &cells));
    }
    lines.join("\n")
}

fn pad(text: &str, wide: usize) -> String {
    format!("{text}{}", " ".repeat(wide.saturating_sub(width(text))))
}

/// The reasons of single repeats.
fn reasons(cases: &[Case<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    for repeat in cases.iter().flat_map(|case| &case.repeats) {
        let Some(reason) = &repeat.reason else { continue };
        let case = if repeat.case.is_empty() { String::new() } else { format!("{} ", repeat.case) };
        let (number, status) = (repeat.repeat, repeat.status.as_str());
        notes.push(format!("{case}repeat {number}: {status}: {reason}"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(
        case: &str,
        repeat: u32,
        status: Status,
        values: &[(&str, Option<MetricValue>)],
    ) -> Measurement {
        Measurement {
            workload: "kv-cache".to_owned(),
            case: case.to_owned(),
            repeat,
            status,
            reason: (status != Status::Ok).then(|| "foreign traffic: 3 requests".to_owned()),
            metrics: values.iter().map(|(n, value)| ((*n).to_owned(), value.clone())).collect(),
            metric_reasons: crate::metric::MetricReasons::new(),
        }
    }

    fn all() -> Vec<Measurement> {
        let number = |number| Some(MetricValue::Number(number));
        let state = |state: &str| Some(MetricValue::Text(state.to_owned()));
        let values = |ms: f64, hit: Option<f64>, share: &str| {
            [
                ("ttft_miss_ms", number(ms)),
                ("ttft_hit_ms", hit.and_then(number)),
                ("hit_state", state(share)),
                ("host_memory_used_mean", number(3.77e9)),
                ("gpu_power_mean", None),
            ]
        };
        vec![
            measured("prefix=1024", 0, Status::Ok, &values(9999.0, None, "certified")),
            measured("prefix=1024", 1, Status::Ok, &values(214.26, Some(12.5), "certified")),
            measured("prefix=1024", 2, Status::Ok, &values(205.0, Some(0.0123), "certified")),
            measured("prefix=1024", 3, Status::Void, &values(1.0, None, "void")),
            measured("prefix=4096", 1, Status::Ok, &values(800.0, None, "not_applicable")),
        ]
    }

    #[test]
    fn a_person_sees_what_was_measured_and_how_often() {
        let all = all();
        let measurements: Vec<&Measurement> = all.iter().collect();
        insta::assert_snapshot!(render(&measurements, 80));
    }

    #[test]
    fn cases_that_do_not_fit_follow_below() {
        let all = all();
        let measurements: Vec<&Measurement> = all.iter().collect();
        let text = render(&measurements, 60);
        assert!(text.lines().all(|line| width(line) <= 60), "{text}");
        assert_eq!(text.matches("ttft_miss_ms").count(), 2, "{text}");
    }

    #[test]
    fn of_a_list_a_person_sees_both_ends() {
        let list = |numbers: &[f64]| {
            let numbers = numbers.iter().map(|number| Some(*number)).collect();
            Some(MetricValue::List(numbers))
        };
        let turns = |repeat, numbers: &[f64]| Measurement {
            workload: "conversation".to_owned(),
            ..measured("", repeat, Status::Ok, &[("ttft_by_turn_ms", list(numbers))])
        };
        let (one, other) = (turns(1, &[10.0, 15.0, 20.0]), turns(2, &[12.0, 15.0, 30.0]));
        let text = render(&[&one, &other], 80);
        assert!(text.contains("ttft_by_turn_ms  ms[]  11 .. 25\n"), "{text}");
    }
}
