//! The document of a grid, key by key. Nothing stops at an error: what can still
//! be checked is checked.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::engine_block::EngineReader;
use super::error::Findings;
use super::expand::{Axis, Draft, Kind, PRODUCTION, Row, Setting};
use super::fields::{Fields, list, mapping};
use super::flag_map::{FlagReader, variable, variables};
use super::node::{Content, Key, Node, Span};
use super::window::{self, Window};
use super::{
    Confirm, EngineBlock, ReadOptions, SlurmBlock, budget, confirm, gates, goal, hosts, name,
    objectives, request, stack_keys, strategy_block,
};
use crate::configuration::Stack;
use crate::gate::Gates;
use crate::workload::{Datasets, Workload};

/// The keys of a grid.
pub(super) const KEYS: &[&str] = &[
    "name",
    "engine",
    "baseline",
    "parameters",
    "environment",
    "variables",
    "image",
    "model",
    "include",
    "exclude",
    "workloads",
    "request",
    "objective",
    "strategy",
    "budget",
    "confirm",
    "gates",
    "window",
    "hosts",
];

/// Keys of a row's name; the second is that of `vllm bench sweep serve --serve-params`.
const NAMES: &[&str] = &["name", "_benchmark_name"];

/// A grid's document, as far as it could be read.
pub(super) struct Document {
    pub(super) name: Option<String>,
    pub(super) engine: Option<EngineBlock>,
    pub(super) baseline: Option<(String, Span)>,
    pub(super) draft: Draft,
    /// Whether axes and rows are free of errors, so that expanding makes sense.
    pub(super) draft_is_whole: bool,
    pub(super) workloads: Vec<Workload>,
    pub(super) datasets: Datasets,
    pub(super) sought: Option<goal::Sought>,
    pub(super) strategy: strategy_block::Chosen,
    pub(super) budget: Option<budget::Read>,
    pub(super) confirm: Option<(Confirm, Span)>,
    pub(super) gates: Gates,
    pub(super) window: Option<(Window, Span)>,
    pub(super) hosts: Option<(SlurmBlock, Span)>,
}

/// Reads a document; `None` where it is no mapping.
pub(super) fn document(
    root: &Node,
    folder: &Path,
    options: &ReadOptions,
    findings: &mut Findings,
) -> Option<Document> {
    let start = root.span.start..root.span.start;
    if matches!(root.content, Content::Null) {
        findings.error(&start, "the file is empty").help(needed_help());
        return None;
    }
    let fields = Fields::of(root, "the grid", &start, KEYS, findings)?;
    for needed in ["name", "engine", "workloads", "objective"] {
        let misspelt = fields.misspelt.iter().any(|meant| meant == needed);
        if fields.given(needed).is_none() && !misspelt {
            let place = fields.get(needed).map_or(&start, |(key, _)| &key.span);
            findings.error(place, format!("the grid needs `{needed}`"));
        }
    }
    let grid_name = grid_name(&fields, findings);
    let mut flags = FlagReader::new(options.strict);
    let engine = fields.given("engine").and_then(|(key, node)| {
        let mut reader =
            EngineReader { folder, wanted: options.engine.as_deref(), flags: &mut flags, findings };
        reader.read(node, &key.span)
    });
    let baseline =
        fields.text("baseline", findings).map(|(text, span)| (text.to_owned(), span.clone()));

    let errors = findings.errors.len();
    let draft = draft(&fields, &start, &mut flags, findings);
    let draft_is_whole = findings.errors.len() == errors;

    let common = fields.given("request").map(|(_, node)| request::fields(node, findings));
    let common = common.unwrap_or_default();
    let suite = fields
        .given("workloads")
        .map(|(key, node)| goal::workloads(node, key, &common, findings))
        .unwrap_or_default();
    if let Some((key, _)) = fields.given("request") {
        request::unsent(&suite.workloads, &key.span, findings);
    }
    let datasets = match fields.given("workloads") {
        Some((_, node)) if options.datasets => {
            goal::datasets(node, &suite.workloads, folder, findings)
        }
        _ => Datasets::relative_to(folder),
    };
    let sought = fields
        .given("objective")
        .and_then(|(key, node)| objectives::objective(node, &key.span, &suite, findings));
    let strategy = fields
        .given("strategy")
        .map(|(key, node)| strategy_block::strategy(node, &key.span, findings))
        .unwrap_or_default();
    let budget =
        fields.given("budget").and_then(|(key, node)| budget::read(node, &key.span, findings));
    let confirm = fields.given("confirm").and_then(|(key, node)| {
        let has_budget = fields.given("budget").is_some();
        let read = confirm::read(node, &key.span, has_budget, findings)?;
        Some((read, key.span.clone()))
    });
    let gates = fields.given("gates").map(|(key, node)| gates::gates(node, &key.span, findings));
    let window = fields.given("window").and_then(|(_, node)| {
        window::window(node, findings).map(|window| (window, node.span.clone()))
    });
    let hosts = fields.given("hosts").and_then(|(key, node)| {
        hosts::read(node, &key.span, findings).map(|hosts| (hosts, key.span.clone()))
    });
    Some(Document {
        name: grid_name,
        engine,
        baseline,
        draft,
        draft_is_whole,
        workloads: suite.workloads,
        datasets,
        sought,
        strategy,
        budget,
        confirm,
        gates: gates.unwrap_or_default(),
        window,
        hosts,
    })
}

fn needed_help() -> &'static str {
    "a grid needs `name`, `engine`, `workloads`, `objective`, and `parameters` or `include`"
}

fn grid_name(fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let (text, span) = fields.text("name", findings)?;
    if let Some(message) = name::refusal(text) {
        findings.error(span, message);
        return None;
    }
    Some(text.to_owned())
}

fn draft(
    fields: &Fields<'_>,
    start: &Span,
    flags: &mut FlagReader,
    findings: &mut Findings,
) -> Draft {
    let mut draft = Draft::default();
    let errors = findings.errors.len();
    if let Some((_, node)) = fields.given("parameters") {
        let entries = mapping(node, "`parameters`", findings).unwrap_or_default();
        for (name, key, node) in flags.names(entries, &[], &[], findings) {
            let read =
                |node: &Node, findings: &mut Findings| FlagReader::value(&name, node, findings);
            if let Some(values) = axis(key, node, read, findings) {
                draft.axes.push(Axis { kind: Kind::Flag, name, values, span: key.span.clone() });
            }
        }
    }
    other_axes(fields, &mut draft, findings);
    if let Some((_, node)) = fields.given("include") {
        for item in list(node, "`include`", findings).unwrap_or_default() {
            draft.include.extend(row(item, "include", flags, findings));
        }
    }
    if let Some((_, node)) = fields.given("exclude") {
        for item in list(node, "`exclude`", findings).unwrap_or_default() {
            draft.exclude.extend(row(item, "exclude", flags, findings));
        }
    }
    unique_names(&draft, findings);
    let empty = draft.axes.is_empty() && draft.include.is_empty();
    // A misspelt `parameters` has been reported already.
    if empty && fields.misspelt.is_empty() && findings.errors.len() == errors {
        let place = ["parameters", "include", "environment", "variables", "image", "model"]
            .iter()
            .find_map(|name| fields.get(name))
            .map_or(start, |(key, _)| &key.span);
        findings
            .error(place, "the grid is empty: it makes no configuration")
            .help("give axes under `parameters`, or configurations under `include`");
    }
    draft
}

/// The axes that are no flags.
fn other_axes(fields: &Fields<'_>, draft: &mut Draft, findings: &mut Findings) {
    for (what, kind) in stack_keys::MAPPINGS {
        let Some((_, node)) = fields.given(what) else { continue };
        let entries = mapping(node, &format!("`{what}`"), findings).unwrap_or_default();
        for (key, node) in variables(entries, findings) {
            let name = key.text.clone();
            let read = |node: &Node, findings: &mut Findings| variable(&name, node, findings);
            if let Some(values) = axis(key, node, read, findings) {
                draft.axes.push(Axis { kind: *kind, name, values, span: key.span.clone() });
            }
        }
    }
    for (name, kind) in stack_keys::TEXTS {
        let Some((key, node)) = fields.given(name) else { continue };
        let read = |node: &Node, findings: &mut Findings| stack_keys::text(name, node, findings);
        if let Some(values) = axis(key, node, read, findings) {
            let name = (*name).to_owned();
            draft.axes.push(Axis { kind: *kind, name, values, span: key.span.clone() });
        }
    }
}

/// The values of an axis: a list's items, or one value.
fn axis(
    key: &Key,
    node: &Node,
    read: impl Fn(&Node, &mut Findings) -> Option<Value>,
    findings: &mut Findings,
) -> Option<Vec<Value>> {
    let items = match &node.content {
        Content::List(items) if items.is_empty() => {
            findings
                .error(&key.span, format!("the axis `{}` is empty", key.text))
                .help("give a value; `null` is the flag not passed");
            return None;
        }
        Content::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut values: Vec<Value> = Vec::new();
    let mut seen = HashSet::new();
    let mut whole = true;
    for (index, item) in items.iter().enumerate() {
        match read(item, findings) {
            None => {
                whole = false;
                if let (Some(number), Some(error)) =
                    (split_number(items, index), findings.errors.last_mut())
                {
                    error.help(format!("if {number} is meant: numbers have a decimal point"));
                }
            }
            Some(value) if !seen.insert(value.clone()) => {
                let message = format!("`{}` has this value twice: it counts once", key.text);
                findings.warning(Some(&item.span), message);
            }
            Some(value) => values.push(value),
        }
    }
    whole.then_some(values)
}

/// `[0,85]` is a list of two: the number that may have been meant, where the
/// item at `index` is a half of it.
fn split_number(items: &[Node], index: usize) -> Option<String> {
    let half = |at: usize| match items.get(at) {
        Some(Node { content: Content::Int(number), span }) if *number >= 0 => Some((number, span)),
        _ => None,
    };
    [index, index.wrapping_sub(1)].into_iter().find_map(|at| {
        let ((whole, before), (fraction, after)) = (half(at)?, half(at.wrapping_add(1))?);
        (before.end + 1 == after.start).then(|| format!("{whole}.{fraction}"))
    })
}

/// A row of `include` or `exclude`.
fn row(node: &Node, what: &str, flags: &mut FlagReader, findings: &mut Findings) -> Option<Row> {
    let entries = mapping(node, &format!("an item of `{what}`"), findings)?;
    let errors = findings.errors.len();
    let mut special = vec!["environment", "variables", "image", "model"];
    if what == "include" {
        special.extend(NAMES);
        special.extend(stack_keys::OF_SERVICE);
    }
    for &name in &special {
        let mut same = entries.iter().filter(|(key, _)| key.text == name).skip(1);
        if let Some((key, _)) = same.next() {
            findings.error(&key.span, format!("key `{name}` is given twice"));
        }
    }
    let mut row = Row {
        name: None,
        settings: stack_keys::settings(entries, findings),
        service: Stack::default(),
        span: node.span.clone(),
    };
    if what == "include" {
        row.service = stack_keys::service(entries, findings);
        let of = |name: &&str| {
            let named = entries.iter().find(|(key, _)| key.text == **name).map(|(_, node)| node);
            named.filter(|node| !matches!(node.content, Content::Null))
        };
        let named = NAMES.iter().find_map(of);
        row.name = named.and_then(|node| row_name(node, findings));
    }
    for (name, key, node) in flags.names(entries, &special, &[], findings) {
        if let Some(value) = FlagReader::value(&name, node, findings) {
            let span = key.span.clone();
            row.settings.push(Setting { kind: Kind::Flag, name, value, span });
        }
    }
    if let Some((first, _)) = entries.first() {
        row.span = first.span.clone();
    }
    if row.settings.is_empty() && what == "exclude" && findings.errors.len() == errors {
        findings.error(&row.span, "this `exclude` is empty: it would match every combination");
        return None;
    }
    (findings.errors.len() == errors).then_some(row)
}

fn row_name(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = match &node.content {
        Content::Text(text) => text.clone(),
        Content::Int(number) => number.to_string(),
        _ => {
            let message = format!("`name` must be a text, not {}", node.describe());
            findings.error(&node.span, message);
            return None;
        }
    };
    if let Some(message) = name::refusal(&text) {
        findings.error(&node.span, message);
        return None;
    }
    if text == PRODUCTION {
        findings
            .error(
                &node.span,
                format!("`{PRODUCTION}` is the name of the engine block's own flags"),
            )
            .help("choose another name");
        return None;
    }
    Some(text)
}

fn unique_names(draft: &Draft, findings: &mut Findings) {
    let mut seen = std::collections::HashSet::new();
    for row in &draft.include {
        if let Some(name) = &row.name
            && !seen.insert(name.as_str())
        {
            findings.error(&row.span, format!("two configurations are named `{name}`"));
        }
    }
}
