//! Section 1: what was swept, on what, and what the servers are proven to have run with.

use serde_json::Value;

use super::parts::{Cell, Part, Span, Table, To};
use super::{Input, proofs, shown};
use crate::configuration::canonical;
use crate::metric::Goal;
use crate::report::spoken;
use crate::results::number;

/// Bytes of a grid file that are shown.
const MOST_OF_GRID: usize = 32 << 10;
/// Values of an axis that are written out.
const MOST_VALUES: usize = 24;

pub(super) fn parts(input: &Input<'_>) -> Vec<Part> {
    let mut parts = vec![facts("What was swept", swept(input)), grid(input)];
    if let Some(text) = input.grid {
        let cut = text.len() > MOST_OF_GRID;
        let shown = &text[..text.floor_char_boundary(MOST_OF_GRID)];
        let shown = if cut { format!("{shown}\n... cut: see grid.yaml") } else { shown.to_owned() };
        parts.push(Part::Folded("The grid file".to_owned(), vec![Part::Code(shown)]));
    }
    parts.push(workloads(input));
    parts.push(facts("Engine and hardware", engine(input)));
    parts.extend(proofs::parts(input));
    parts
}

/// Two columns: what, and its value.
fn facts(caption: &str, rows: Vec<(String, Vec<Span>)>) -> Part {
    let cells = |(what, spans): (String, Vec<Span>)| {
        vec![Cell::text(what), Cell { spans, is_number: false }]
    };
    Part::Table(Table {
        caption: caption.to_owned(),
        head: vec!["what".to_owned(), "value".to_owned()],
        rows: rows.into_iter().map(cells).collect(),
        is_sorted: false,
    })
}

fn swept(input: &Input<'_>) -> Vec<(String, Vec<Span>)> {
    let manifest = &input.record.manifest;
    let objective = &manifest.objective;
    let goal = match objective.goal {
        Goal::Minimize => "minimize",
        Goal::Maximize => "maximize",
    };
    let unit = number::unit(&objective.metric);
    let unit = if unit.is_empty() { String::new() } else { format!(" in {unit}") };
    let launches: Vec<_> = input.record.all_launches().collect();
    let text = |what: &str, value: String| (what.to_owned(), vec![Span::Text(value)]);
    let mut rows = vec![
        text("sweep", manifest.sweep.clone()),
        text("grid", manifest.grid.clone()),
        text("begun", manifest.created_at.clone()),
        (
            "objective".to_owned(),
            vec![
                Span::text(format!("{goal} ")),
                Span::Code(objective.metric.to_string()),
                Span::text(unit),
            ],
        ),
    ];
    for bound in &objective.constraints {
        rows.push((
            "bound".to_owned(),
            vec![
                Span::Code(bound.metric.to_string()),
                Span::text(format!(" {}", number::bound(bound))),
            ],
        ));
    }
    let baseline = manifest.baseline.clone();
    rows.push(text("baseline", baseline.unwrap_or_else(|| "none is named".to_owned())));
    rows.push(text("configurations", manifest.configurations.len().to_string()));
    let over = launches.iter().filter(|(_, it)| it.is_over()).count();
    rows.push(text("launches", format!("{} begun, {over} over", launches.len())));
    let budget = manifest.budget_seconds.map(|it| format!("{:.1} h", it as f64 / 3600.0));
    let count = manifest.budget.launches.map(|it| format!("{it} launches"));
    let gpus = manifest.budget.gpu_hours.map(|it| format!("{it} GPU hours"));
    let budget: Vec<String> = [budget, count, gpus].into_iter().flatten().collect();
    if !budget.is_empty() {
        rows.push(text("budget", budget.join(", ")));
    }
    rows.extend(manifest.confirm.map(|it| {
        let whole = |share: f64| (share * 10_000.0).round() / 100.0;
        let kept = if manifest.limits().is_empty() {
            String::new()
        } else {
            format!(", {}% of the budget kept for it", whole(it.share))
        };
        text("confirmation", format!("by the grid, claim {}%{kept}", whole(it.claim)))
    }));
    rows.extend(manifest.window.map(|it| text("window", it.to_string())));
    rows.push(text("vllm-grid", manifest.tool_version.clone()));
    let suite = manifest.suite_version.map(|it| text("suite version", it.to_string()));
    rows.extend(suite);
    rows
}

/// Each axis with its values, in the grid's order.
fn grid(input: &Input<'_>) -> Part {
    let manifest = &input.record.manifest;
    let mut rows = Vec::new();
    for flag in &manifest.varied {
        let mut values: Vec<String> = Vec::new();
        for configuration in &manifest.configurations {
            let value = shown(configuration.varied.get(flag));
            if !values.contains(&value) {
                values.push(value);
            }
        }
        rows.push((format!("--{flag}"), values));
    }
    let mut variables: Vec<&String> =
        manifest.configurations.iter().flat_map(|it| it.environment.keys()).collect();
    variables.sort();
    variables.dedup();
    for name in variables {
        let mut values: Vec<String> = Vec::new();
        for configuration in &manifest.configurations {
            let value = configuration.environment.get(name).cloned();
            let value = value.unwrap_or_else(|| "not set".to_owned());
            if !values.contains(&value) {
                values.push(value);
            }
        }
        rows.push((name.clone(), values));
    }
    let cells = |(name, values): (String, Vec<String>)| {
        let more = values.len().saturating_sub(MOST_VALUES);
        let mut text = values.into_iter().take(MOST_VALUES).collect::<Vec<_>>().join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        vec![Cell::code(name), Cell::text(text)]
    };
    Part::Table(Table {
        caption: "Grid: what was varied".to_owned(),
        head: vec!["flag or variable".to_owned(), "values".to_owned()],
        rows: rows.into_iter().map(cells).collect(),
        is_sorted: false,
    })
}

fn workloads(input: &Input<'_>) -> Part {
    let row = |workload: &crate::workload::Workload| {
        let cases: Vec<String> = workload.cases().into_iter().filter(|it| !it.is_empty()).collect();
        let mut options = Vec::new();
        if let Ok(value) = serde_json::to_value(workload) {
            set("", &value, &mut options);
        }
        vec![
            Cell::text(workload.kind().name),
            Cell::text(if cases.is_empty() { "one".to_owned() } else { cases.join(", ") }),
            Cell { spans: options, is_number: false },
        ]
    };
    Part::Table(Table {
        caption: "Workloads".to_owned(),
        head: ["workload", "cases", "options"].map(str::to_owned).to_vec(),
        rows: input.record.manifest.workloads.iter().map(row).collect(),
        is_sorted: false,
    })
}

/// Options that are set, each as `name=value`.
fn set(name: &str, value: &Value, options: &mut Vec<Span>) {
    match value {
        Value::Null => {}
        Value::Array(list) if list.is_empty() => {}
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| *key != "workload") {
                let dot = if name.is_empty() { "" } else { "." };
                set(&format!("{name}{dot}{key}"), value, options);
            }
        }
        value => {
            if !options.is_empty() {
                options.push(Span::text(" "));
            }
            let text = value.as_str().map_or_else(|| canonical(value), str::to_owned);
            options.push(Span::Code(format!("{name}={text}")));
        }
    }
}

fn engine(input: &Input<'_>) -> Vec<(String, Vec<Span>)> {
    let manifest = &input.record.manifest;
    let not_known = || "not known".to_owned();
    let text = |what: &str, value: String| (what.to_owned(), vec![Span::Text(value)]);
    let mark = if input.ranking.simulated { " (simulated)" } else { "" };
    let mut rows = vec![text("engine", format!("{}{mark}", manifest.engine))];
    if let Some(service) = &manifest.service {
        rows.push(text("service", service.source.clone()));
        rows.push(text("model", service.model.clone().unwrap_or_else(not_known)));
    }
    if let Some(image) = &manifest.image {
        rows.push(text("image", image.clone()));
    }
    let facts = || input.record.launches.iter().filter_map(|it| it.facts.as_ref());
    let images = distinct(facts().filter_map(|it| it.image_id.as_deref()));
    let images =
        if images.is_empty() { manifest.image_id.iter().cloned().collect() } else { images };
    let has_image = manifest.engine == "docker";
    if has_image || !images.is_empty() {
        let shown = if images.is_empty() { not_known() } else { images.join(", ") };
        rows.push(text("image id", shown));
    }
    let versions = distinct(facts().filter_map(|it| it.engine_version.as_deref()));
    let version = if versions.is_empty() { not_known() } else { versions.join(", ") };
    rows.push(text("engine version", version));
    // On a cluster all nodes are of one kind: the first one's is shown.
    let mut placed = input.record.launches.iter().filter_map(|it| it.machine.as_deref());
    if let Some(block) = &manifest.hosts {
        rows.push(text("launches", format!("jobs on {}", block.named())));
        let nodes = input.record.launches.iter().filter(|it| it.machine.is_some());
        let nodes = distinct(nodes.filter_map(|it| it.host.as_deref()));
        rows.push(text("nodes", if nodes.is_empty() { not_known() } else { nodes.join(", ") }));
    }
    match manifest.machine.as_ref().or_else(|| placed.next()) {
        Some(machine) => {
            for fact in machine.facts() {
                rows.push(text(fact.what, fact.value.unwrap_or_else(not_known)));
            }
        }
        None if manifest.hosts.is_some() => {}
        None => rows.push(text("host", manifest.host.clone())),
    }
    if input.ranking.simulated {
        let what = "the machine that the simulator ran on; no figure comes from its GPUs";
        rows.push(text("hardware", what.to_owned()));
    }
    let blocks = input.record.block();
    if blocks > 1 {
        rows.push(text("block", format!("{blocks}: what is above is measured with now")));
    }
    let launch = input.record.launches.last().map(|it| it.launch);
    if let Some(launch) = launch {
        let link = Span::Link(format!("launch {launch}"), To::Launch(launch));
        rows.push(("latest launch".to_owned(), vec![link]));
    }
    rows
}

/// Different texts, in their order.
fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in texts.filter(|it| !it.is_empty()) {
        if !all.iter().any(|known| known == text) {
            all.push(text.to_owned());
        }
    }
    all
}

/// A name in a sentence.
pub(super) fn named(name: &str) -> String {
    spoken::name_of(name).replace(spoken::GLUE, " ")
}
