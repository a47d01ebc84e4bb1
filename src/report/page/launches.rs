//! The end of the page: each configuration with its launches; each launch with its times, its
//! outcome, what its gates found, its repeats, and links to its files. Figures lead here.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::content::Input;
use super::super::content::files::{LaunchFiles, link};
use super::super::text::cut;
use super::mark;
use super::parts::{code, plain, ticked};
use crate::clean::counted;
use crate::gate::GateReport;
use crate::history::launch::{LaunchFailure, LaunchOutcome};
use crate::history::record::LaunchRecord;
use crate::history::values::{case_of, number};
use crate::metric::{Measurement, MetricRef, Status};
use crate::results::number;
use crate::results::ranking::RankedConfiguration;

/// Lines of a failure's log.
const LOG_LINES: usize = 30;
/// Columns of a line of it.
const LOG_COLUMNS: usize = 400;
/// Findings of a gate that are written out.
const FINDINGS: usize = 12;
/// Columns of a finding with its evidence.
const FINDING: usize = 400;
/// Columns of a message.
const MESSAGE: usize = 600;

pub(super) fn render(input: &Input<'_>) -> Markup {
    html! {
        section id="launches" aria-labelledby="launches-title" {
            h2 id="launches-title" { "Launches and repeats" (mark(input)) }
            p {
                "Every launch of every configuration, in the order of the ranking. Times are UTC. Values are \
                 those of the repeats that count, in their order; what does not count is named."
            }
            @for (index, row) in input.rows() { (configuration(input, index, row)) }
        }
    }
}

fn configuration(input: &Input<'_>, index: usize, row: &RankedConfiguration) -> Markup {
    let launches = input.launches(index);
    let rank = row.rank_label.as_ref().map_or("no rank".to_owned(), |it| format!("rank {it}"));
    html! {
        section.configuration id={ "configuration-" (index + 1) } tabindex="-1"
            aria-label={ "Launches of " (plain(&row.name)) } {
            h3 {
                @if row.name.trim().is_empty() { "(no name)" } @else { (plain(&row.name)) }
                (mark(input))
            }
            p {
                (rank)
                @if row.baseline { ", baseline" }
                @if let Some(mark) = input.ranking.mark(row) { ", " (mark) }
                @if !row.aliases.is_empty() { "; also " (plain(&row.aliases.join(", "))) }
                "; id " code { (plain(&row.id)) }
                @if let Some(reason) = row.reason() { "; " (plain(&cut(&reason, MESSAGE))) }
            }
            @if launches.is_empty() { p { "It was not launched." } }
            @for (block, launch) in launches { (self::launch(input, block, launch)) }
        }
    }
}

fn launch(input: &Input<'_>, block: u32, launch: &LaunchRecord) -> Markup {
    let counts = block == input.record.block() && launch.confirmation.is_none();
    html! {
        article.launch id={ "launch-" (launch.launch) } tabindex="-1" {
            h4 {
                "Launch " (launch.launch)
                @if let Some(number) = launch.confirmation { ", confirmation " (number) }
                @if block != input.record.block() { ", block " (block) }
            }
            p {
                (times(launch))
                @if let (Some(_), Some(host)) = (&input.record.manifest.hosts, &launch.host) {
                    " on " (plain(host))
                }
                "; " (outcome(launch)) "."
                @if !counts { " It is not counted in the ranking." }
                (files(input, launch.launch))
            }
            @for report in &launch.gates { (gate(report)) }
            @if let Some(LaunchOutcome::Failed(failure)) = &launch.outcome {
                (self::failure(failure, input.files.get(&launch.launch)))
            }
            (repeats(input, launch))
        }
    }
}

/// `2026-11-28 10:48:25 to 10:48:31, boot 3.2 s`.
fn times(launch: &LaunchRecord) -> String {
    let started = launch.started_at.map(|it| it.strftime("%F %H:%M:%S").to_string());
    let ended = launch.ended_at.map(|it| it.strftime("%H:%M:%S").to_string());
    let time = match (started, ended) {
        (Some(from), Some(to)) => format!("{from} to {to}"),
        (Some(from), None) => format!("since {from}"),
        (None, _) => "time not known".to_owned(),
    };
    let boot = launch.facts.as_ref().map(|it| format!(", boot {:.1} s", it.boot_seconds));
    time + &boot.unwrap_or_default()
}

fn outcome(launch: &LaunchRecord) -> String {
    match &launch.outcome {
        None => "not over".to_owned(),
        Some(LaunchOutcome::Measured) => match &launch.behind {
            Some(behind) => {
                let of =
                    launch.repeats.map_or(String::new(), |_| format!("{} of ", behind.repeats));
                let repeats = counted(launch.repeats.unwrap_or(behind.repeats), "repeat");
                format!("measured, and clearly behind after {of}{repeats}")
            }
            None => "measured".to_owned(),
        },
        Some(LaunchOutcome::Failed(it)) => format!("failed ({})", it.class.as_str()),
        Some(LaunchOutcome::Skipped { reason, .. }) => {
            format!("skipped: {}", plain(&cut(reason, MESSAGE)))
        }
        Some(LaunchOutcome::Interrupted) => "interrupted".to_owned(),
        Some(LaunchOutcome::Lost { message, .. }) => format!("lost: {}", plain(message)),
        Some(LaunchOutcome::Unknown) => "ended in a way that this version does not know".to_owned(),
    }
}

/// Relative links to what lies on the disk.
fn files(input: &Input<'_>, number: u32) -> Markup {
    let Some(files) = input.files.get(&number) else { return html! {} };
    let to = |path: &str| format!("{}{}", input.base, link(path));
    let name = |path: &str| plain(path.rsplit('/').next().unwrap_or(path)).into_owned();
    html! {
        span.files {
            @if let Some(log) = &files.log { " " a href=(to(log)) { "engine.log" } }
            @if let Some(telemetry) = &files.telemetry { " " a href=(to(telemetry)) { "telemetry" } }
            @for path in &files.records { " " a href=(to(path)) { (name(path).trim_end_matches(".parquet")) } }
        }
    }
}

fn gate(report: &GateReport) -> Markup {
    let more = report.findings.len().saturating_sub(FINDINGS);
    html! {
        @if report.findings.is_empty() && report.reason.is_none() {
            p.gate { "Gate " (report.gate) ": " (report.verdict) "." }
        } @else {
            details.gate {
                summary { "Gate " (report.gate) ": " (report.verdict) }
                @if let Some(reason) = &report.reason { p { (plain(&cut(reason, MESSAGE))) } }
                @if !report.findings.is_empty() {
                    ul {
                        @for finding in report.findings.iter().take(FINDINGS) {
                            li { (plain(&cut(&finding.to_string(), FINDING))) }
                        }
                    }
                }
                @if more > 0 { p { (more) " more findings are in the journal." } }
            }
        }
    }
}

fn failure(failure: &LaunchFailure, files: Option<&LaunchFiles>) -> Markup {
    let from = failure.log_lines.len().saturating_sub(LOG_LINES);
    let lines: Vec<String> =
        failure.log_lines[from..].iter().map(|it| cut(&plain(it), LOG_COLUMNS)).collect();
    let tail: Vec<String> = files.map_or_else(Vec::new, |it| {
        it.tail.iter().map(|line| cut(&plain(line), LOG_COLUMNS)).collect()
    });
    // What the log's end has besides is shown with it; what it alone has, not twice.
    let is_longer = tail.len() > lines.len();
    let lines =
        if is_longer && lines.iter().all(|it| tail.contains(it)) { Vec::new() } else { lines };
    html! {
        p.failure {
            (ticked(&cut(&failure.message, MESSAGE)))
            @if let Some(code) = failure.exit_code { " Exit code " (code) "." }
        }
        @if !lines.is_empty() {
            details {
                summary {
                    (lines.len()) @if lines.len() == 1 { " log line" } @else { " log lines" }
                    @if from > 0 { " of " (failure.log_lines.len()) }
                }
                (code("Log lines", &lines.join("\n")))
            }
        }
        @if is_longer {
            details {
                summary { "The end of engine.log, " (tail.len()) " lines" }
                (code("The end of engine.log", &tail.join("\n")))
            }
        }
    }
}

/// A row for each workload and case: the values of its main metric, and what does not count.
fn repeats(input: &Input<'_>, launch: &LaunchRecord) -> Markup {
    let mut cases: BTreeMap<(&str, &str), Vec<&Measurement>> = BTreeMap::new();
    for it in launch.measurements.iter().filter(|it| it.repeat > 0) {
        cases.entry((&it.workload, &it.case)).or_default().push(it);
    }
    if cases.is_empty() {
        return html! {};
    }
    let count: usize = cases.values().map(Vec::len).sum();
    let label = format!("Repeats of launch {}", launch.launch);
    html! {
        details {
            summary { (count) @if count == 1 { " repeat" } @else { " repeats" } }
            div.scroll tabindex="0" role="group" aria-label=(label) {
                table {
                    thead { tr {
                        th scope="col" { "workload" } th scope="col" { "metric" }
                        th scope="col" { "values" } th scope="col" { "do not count" }
                    } }
                    tbody {
                        @for ((workload, case), repeats) in &cases {
                            (row(input, workload, case, repeats))
                        }
                    }
                }
            }
        }
    }
}

fn row(input: &Input<'_>, workload: &str, case: &str, repeats: &[&Measurement]) -> Markup {
    let metric = main_metric(input, workload, case);
    let unit = metric.map_or("", number::unit);
    let valid = || repeats.iter().filter(|it| it.status == Status::Ok);
    let values: Vec<String> = metric.map_or_else(Vec::new, |metric| {
        let text = |it: &&Measurement| number(it, &metric.name).map_or("-".to_owned(), digits);
        valid().map(text).collect()
    });
    let lost: Vec<String> = repeats
        .iter()
        .filter(|it| it.status != Status::Ok)
        .map(|it| {
            let reason = it.reason.as_deref().map(|it| format!(" ({})", plain(&cut(it, MESSAGE))));
            format!("{}: {}{}", it.repeat, it.status.as_str(), reason.unwrap_or_default())
        })
        .collect();
    html! {
        tr {
            th scope="row" { (plain(workload)) @if !case.is_empty() { " " (plain(case)) } }
            td {
                @if let Some(metric) = metric { (plain(&metric.name)) }
                @if !unit.is_empty() { " in " (unit) }
            }
            td.n { (values.join(", ")) }
            td { (lost.join("; ")) }
        }
    }
}

/// The objective or a bounded metric where it is of this case, else the workload's first one.
fn main_metric<'a>(input: &Input<'a>, workload: &str, case: &str) -> Option<&'a MetricRef> {
    let key = workload.replace('-', "_");
    let is_of = |metric: &&MetricRef| {
        metric.workload == key && case_of(&input.record.manifest, metric).as_deref() == Some(case)
    };
    input.ranking.metrics.iter().find(is_of)
}

/// Four significant digits.
fn digits(value: f64) -> String {
    let decimals = (number::decimals(value) + 1).min(6);
    if number::is_huge(value) { format!("{value:.2e}") } else { format!("{value:.decimals$}") }
}
