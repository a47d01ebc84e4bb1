//! Section 6: what limits the verdict. Gates, failed launches, void and failed repeats, flags
//! that are not proven, the machine's movement, ties, and what n does not allow to say.

use std::collections::BTreeMap;

use super::next::line;
use super::parts::{Cell, Part, Span, Table, To};
use super::{Input, proofs};
use crate::gate::{GateReport, GateVerdict};
use crate::history::launch::LaunchOutcome;
use crate::history::record::LaunchRecord;
use crate::metric::Status;
use crate::report::notes;
use crate::report::spoken::plain_sentence;
use crate::report::text::{cut, plain};
use crate::results::ranking::RankingVerdict;

/// Rows of a table of single launches or repeats.
const MOST: usize = 60;
/// Columns of a message in a table.
const MESSAGE: usize = 300;

pub(super) fn parts(input: &Input<'_>) -> Vec<Part> {
    let heading = |text: &str| Part::Heading(text.to_owned());
    let mut parts = vec![heading("How far to trust the verdict")];
    parts.extend(trust(input));
    parts.push(heading("Ties, and what n does not allow to say"));
    parts.push(Part::List(ties(input)));
    parts.push(heading("The course of the sweep, and the machine's movement"));
    parts.extend(machine(input));
    parts.push(heading("Gates"));
    parts.extend(gates(input));
    parts.push(heading("Failed launches"));
    parts.extend(launches(input));
    parts.push(heading("Void and failed repeats"));
    parts.extend(repeats(input));
    parts.push(heading("Flags that are not proven"));
    parts.extend(unproven(input));
    if !input.analysis.notes.is_empty() {
        parts.push(heading("What is left out of this report"));
        parts.push(Part::list(input.analysis.notes.iter().take(MOST).cloned()));
    }
    parts.push(heading("How the figures are to be read"));
    parts.push(Part::list(notes::below(
        &input.ranking.findings(),
        notes::Shown {
            // The tables' own words say these; there is no `*` and no column `lost`.
            effect: false,
            confirmed: false,
            star: false,
            numbers: false,
            uneven: false,
            lost: false,
            bounds: true,
        },
    )));
    parts
}

/// The block's own lines.
fn trust(input: &Input<'_>) -> Vec<Part> {
    let labels = ["PRODUCTION", "PARTIAL", "BOUNDS", "TRUST", "FAILED"];
    let block = input.block();
    let lines: Vec<Vec<Span>> =
        block.iter().filter(|it| labels.contains(&it.label)).map(line).collect();
    if lines.is_empty() {
        vec![Part::text("Nothing is to be said.")]
    } else {
        vec![Part::List(lines)]
    }
}

fn ties(input: &Input<'_>) -> Vec<Vec<Span>> {
    let ranking = input.ranking;
    let mut lines = Vec::new();
    let first = ranking.rows.first().and_then(|row| row.rank_label.as_ref());
    let tied: Vec<usize> = input
        .rows()
        .filter(|(_, row)| row.rank_label.is_some() && row.rank_label.as_ref() == first)
        .map(|(index, _)| index)
        .collect();
    if tied.len() > 1 {
        let undecided = matches!(ranking.verdict, RankingVerdict::Undecided { .. });
        let mut spans = vec![Span::text(if undecided {
            format!("Nothing is decided between {} configurations: ", tied.len())
        } else {
            format!("{} configurations are not distinguishable: ", tied.len())
        })];
        for (at, index) in tied.iter().enumerate() {
            if at > 0 {
                spans.push(Span::text(", "));
            }
            spans.push(Span::Link(input.name(*index).to_owned(), To::Configuration(*index)));
        }
        spans.push(Span::text(". Their order is that of their means, and says nothing."));
        lines.push(spans);
    } else if let verdict @ RankingVerdict::Unclaimed { .. } = &ranking.verdict {
        lines.push(vec![Span::text(format!("{}.", plain_sentence(&verdict.to_string())))]);
    } else if tied.len() == 1 {
        lines.push(vec![Span::text("No tie with rank 1.")]);
    }
    if let Some(chosen) = ranking.chosen.as_ref().filter(|it| it.unclaimed > 0) {
        lines.push(vec![Span::text(format!(
            "{} of {} ranked configurations are in no claim: they were launched fewer than {} times. Places \
             in brackets are by mean alone.",
            chosen.unclaimed,
            chosen.unclaimed + chosen.in_claims,
            chosen.claimed_from
        ))]);
    }
    let once = ranking.rows.iter().filter(|row| {
        row.eligible
            && row.estimates.first().and_then(Option::as_ref).is_some_and(|it| it.launches < 2)
    });
    let once = once.count();
    if once > 0 {
        lines.push(vec![Span::text(format!(
            "{once} of {} ranked configurations have figures of one launch only: how much they vary from \
             launch to launch is not measured.",
            ranking.rows.iter().filter(|row| row.eligible).count()
        ))]);
    }
    if let (Some(it), Some(chosen)) = (&ranking.detectable, &ranking.chosen) {
        lines.push(vec![Span::text(format!(
            "Between those with {} launches or more, differences under about {:.0}% of the objective cannot be \
             seen.",
            chosen.claimed_from,
            it.difference * 100.0
        ))]);
    } else if let Some(it) = &ranking.detectable {
        lines.push(vec![Span::text(format!(
            "With {} launches of each, differences under about {:.0}% of the objective cannot be seen; about {} \
             launches of each would show {:.0}%.",
            it.launches,
            it.difference * 100.0,
            it.needed_launches,
            it.wanted * 100.0
        ))]);
    }
    if let Some((launch, repeat)) = ranking.deviations {
        lines.push(vec![Span::text(format!(
            "SD between launches {:.1}% of the mean, between the repeats of a launch {:.1}%: repeats of one \
             launch say nothing of the next launch.",
            launch * 100.0,
            repeat * 100.0
        ))]);
    }
    lines
}

fn machine(input: &Input<'_>) -> Vec<Part> {
    let mut parts = Vec::new();
    match &input.ranking.machine {
        None => parts.push(Part::text("No time effect was taken out of the objective.")),
        Some(machine) => {
            let mut lines = vec![format!(
                "Fastest over slowest launch, configurations taken out: x{:.2}. Probability of a machine \
                 that neither drifts nor jumps: {:.2}. {:.0}% of the variance between launches was the \
                 machine's, and is taken out.",
                machine.speed_range,
                machine.p_calm,
                machine.share * 100.0
            )];
            lines.extend(
                machine.jumps.iter().map(|it| {
                    format!("Its speed jumped before launch {} ({it}).", it.before_launch)
                }),
            );
            let slower = machine.hosts.iter().filter_map(|it| it.slower.as_ref());
            lines.extend(slower.map(|it| {
                let said = it.to_string().replacen("host", "Host", 1);
                format!("{said}: each host has its own level, which is taken out.")
            }));
            if !machine.moved_inside.is_empty() {
                let all: Vec<String> = machine.moved_inside.iter().map(u32::to_string).collect();
                lines.push(format!("It moved during launches {}.", all.join(", ")));
            }
            parts.push(Part::list(lines));
        }
    }
    parts.extend(super::pictures(input, "night"));
    parts.extend(super::pictures(input, "timeline"));
    parts
}

/// What each gate said, over the launches that count for the ranking; and what failed one,
/// in confirmations too.
fn gates(input: &Input<'_>) -> Vec<Part> {
    if input.record.manifest.gates.as_ref().is_some_and(crate::gate::Gates::is_off) {
        return vec![Part::text("The gates are off: what was answered was not looked at.")];
    }
    let counts = verdicts(input.record.own_launches());
    let all = input.record.launches.iter();
    let reports = all.flat_map(|launch| launch.gates.iter().map(move |it| (launch, it)));
    let failures: Vec<Vec<Cell>> = reports.flat_map(|(launch, it)| failed(launch, it)).collect();
    if counts.is_empty() && failures.is_empty() {
        return vec![Part::text("No gate was asked.")];
    }
    let row = |(gate, of): (&'static str, [usize; 3])| {
        std::iter::once(Cell::text(gate)).chain(of.map(|it| Cell::number(it.to_string()))).collect()
    };
    let head = ["gate", "launches that passed", "that failed", "that were skipped"];
    let mut parts = vec![Part::Table(Table {
        caption: "Gates over the launches that count for the ranking".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: counts.into_iter().map(row).collect(),
        is_sorted: true,
    })];
    parts.extend(limited(
        "What failed a gate",
        &["launch", "configuration", "gate", "finding"],
        failures,
    ));
    parts
}

/// By gate: launches that passed it, that failed it, and that skipped it.
fn verdicts<'a>(
    launches: impl Iterator<Item = &'a LaunchRecord>,
) -> BTreeMap<&'static str, [usize; 3]> {
    let mut counts: BTreeMap<&'static str, [usize; 3]> = BTreeMap::new();
    for report in launches.flat_map(|it| &it.gates) {
        let at = match report.verdict {
            GateVerdict::Passed => 0,
            GateVerdict::Failed => 1,
            GateVerdict::Skipped => 2,
        };
        counts.entry(report.gate.as_str()).or_default()[at] += 1;
    }
    counts
}

fn failed(launch: &LaunchRecord, report: &GateReport) -> Vec<Vec<Cell>> {
    let row = |finding: &crate::gate::Finding| {
        vec![
            Cell::link(launch.launch.to_string(), To::Launch(launch.launch)),
            Cell::text(launch.configuration.clone()),
            Cell::text(report.gate.as_str()),
            Cell::text(cut(&plain(&finding.to_string()), MESSAGE)),
        ]
    };
    report.failures().map(row).collect()
}

/// A table of single things, and how many more there are.
fn limited(caption: &str, head: &[&str], mut rows: Vec<Vec<Cell>>) -> Vec<Part> {
    if rows.is_empty() {
        return Vec::new();
    }
    let all = rows.len();
    rows.truncate(MOST);
    let head = head.iter().map(|it| (*it).to_owned()).collect();
    let mut parts =
        vec![Part::Table(Table { caption: caption.to_owned(), head, rows, is_sorted: true })];
    if all > MOST {
        parts.push(Part::Text(vec![
            Span::text(format!("The first {MOST} of {all}; all are in ")),
            Span::Link("results.csv".to_owned(), To::File("results.csv".to_owned())),
            Span::text("."),
        ]));
    }
    parts
}

fn launches(input: &Input<'_>) -> Vec<Part> {
    let mut rows = Vec::new();
    let on_cluster = input.record.manifest.hosts.is_some();
    for (_, launch) in input.record.all_launches() {
        let (class, message) = match &launch.outcome {
            Some(LaunchOutcome::Failed(failure)) => {
                (failure.class.as_str(), failure.message.clone())
            }
            Some(LaunchOutcome::Skipped { reason, .. }) => ("skipped", reason.clone()),
            Some(LaunchOutcome::Interrupted) => {
                ("interrupted", "what was measured counts".to_owned())
            }
            Some(LaunchOutcome::Lost { message, .. }) => ("lost", message.clone()),
            _ => continue,
        };
        let mut row = vec![
            Cell::link(launch.launch.to_string(), To::Launch(launch.launch)),
            Cell::text(launch.configuration.clone()),
        ];
        row.extend(on_cluster.then(|| Cell::text(launch.host.clone().unwrap_or_default())));
        row.extend([Cell::code(class), Cell::text(cut(&plain(&message), MESSAGE))]);
        rows.push(row);
    }
    if rows.is_empty() {
        return vec![Part::text("No launch failed, was skipped or interrupted.")];
    }
    limited(
        "Launches that were not measured in full",
        if on_cluster {
            &["launch", "configuration", "node", "class", "message"]
        } else {
            &["launch", "configuration", "class", "message"]
        },
        rows,
    )
}

fn repeats(input: &Input<'_>) -> Vec<Part> {
    let mut rows = Vec::new();
    for (_, launch) in input.record.all_launches() {
        for it in launch.measurements.iter().filter(|it| it.status != Status::Ok) {
            let case = if it.case.is_empty() { String::new() } else { format!(" {}", it.case) };
            let repeat = if it.repeat == 0 { "warm-up".to_owned() } else { it.repeat.to_string() };
            rows.push(vec![
                Cell::link(launch.launch.to_string(), To::Launch(launch.launch)),
                Cell::text(launch.configuration.clone()),
                Cell::text(format!("{}{case}", it.workload)),
                Cell::text(repeat),
                Cell::text(it.status.as_str()),
                Cell::text(cut(&plain(it.reason.as_deref().unwrap_or_default()), MESSAGE)),
            ]);
        }
    }
    if rows.is_empty() {
        return vec![Part::text("Every repeat is valid.")];
    }
    let head = ["launch", "configuration", "workload", "repeat", "status", "reason"];
    limited("Repeats that do not count", &head, rows)
}

fn unproven(input: &Input<'_>) -> Vec<Part> {
    let mut rows = Vec::new();
    let varied = |name: &str| {
        name.starts_with("environment.") || input.record.manifest.varied.iter().any(|it| it == name)
    };
    for (index, row) in input.rows() {
        for (name, proven) in proofs::of(input.counted(index)) {
            if varied(&name) && !proven.is_proven() {
                rows.push(vec![
                    Cell::link(row.name.clone(), To::Configuration(index)),
                    Cell::code(name),
                    Cell::text(proven.words()),
                    Cell::text(proven.value.unwrap_or_else(|| "-".to_owned())),
                    Cell::number(proven.launches.to_string()),
                ]);
            }
        }
    }
    if rows.is_empty() {
        let ready = input.record.own_launches().any(|it| it.facts.is_some());
        return vec![Part::text(if ready {
            "Every varied flag of every server that was ready is proven: honoured or passed."
        } else {
            "No server was ready: nothing is proven."
        })];
    }
    let head = ["configuration", "flag", "weakest proof", "value shown", "launches"];
    limited("Varied flags without a proof that they act or arrived", &head, rows)
}
